//! Tornado's class `WebSocketTest`. Where a case is about Tornado's client, it is told of the crate's: `waterspout::client`.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{Message, http};
use waterspout::client::{self, ClientConnection, ConnectError, ConnectOptions, Event, WriteError};
use waterspout_tests::frames::Frame;
use waterspout_tests::{Client, Guest, TestHost, within};

use super::{LARGE, SMALL_BUFFER, WRITE_LARGE, echo};
use crate::probe::{history, probe};
use crate::witness::{Witness, reporting, target};

/// What the commands for `open` answered.
async fn answers_in_open(client: &mut Client) -> Vec<String> {
    let lines = history(client).await;
    lines.iter().filter_map(|line| line.strip_prefix("1 open: ")).map(str::to_owned).collect()
}

/// How often `select-subprotocol` was called, and with what.
async fn offers(client: &mut Client) -> Vec<String> {
    let mut lines = history(client).await;
    lines.retain(|line| line.contains("select-subprotocol"));
    lines
}

/// A handler whose `call` panics with "boom" is logged, and its connection ends.
async fn fails(host: &TestHost, mut client: Client, call: &str) {
    assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
    client.ends().await;
    host.guest_prints("boom").await;
    let record = host.logged("the failure", |record| record.field("call") == call).await;
    assert_eq!(record.level, tracing::Level::WARN);
}

// Requests that are no handshake

#[tokio::test]
async fn http_request() {
    let host = echo().await;
    assert_eq!(host.request("/websocket").plain().answer().await.status, 400);
}

#[tokio::test]
async fn missing_websocket_key() {
    let host = echo().await;
    assert_eq!(host.request("/websocket").without("Sec-WebSocket-Key").answer().await.status, 400);
}

#[tokio::test]
async fn bad_websocket_version() {
    let host = echo().await;
    let request = host.request("/websocket").replace("Sec-WebSocket-Version", "12");
    assert_eq!(request.answer().await.status, 426);
    // In Tornado's case there is no key either.
    assert_eq!(request.without("Sec-WebSocket-Key").answer().await.status, 426);
}

// Messages

#[tokio::test]
async fn websocket_gen() {
    let host = probe().start().await;
    // It waits for what it writes, as Tornado's does.
    let mut client = host.connect(&target("/websocket", &[("message", "echo"), ("message", "flush")])).await;
    assert_eq!(client.say("hello").await, "hello");
    assert_eq!(client.recv_text().await, "ok");
}

#[tokio::test]
async fn websocket_callbacks() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let mut client = host.dial(&reporting(&[("message", "echo")]), ConnectOptions::default()).await;
    client.queue_message(Message::text("hello")).expect("open");
    // What Tornado calls back with, a message and then none, is an event here.
    let event = within("the echo", client.next_event()).await;
    assert_eq!(event, Some(Event::Message(Message::text("hello"))));
    client.queue_close(None, None).expect("valid");
    assert_eq!(within("the end", client.next_event()).await, None);
    assert_eq!(client.close_frame().map(|frame| frame.code), Some(1005));
    witness.sees_open().await;
    witness.sees(["1 on-message text hello", "1 on-close 1005", "1 drop"]).await;
}

#[tokio::test]
async fn binary_message() {
    let host = echo().await;
    let mut client = host.connect("/websocket").await;
    client.send_binary(b"hello \xe9").await;
    assert_eq!(client.recv_binary().await, b"hello \xe9");
}

#[tokio::test]
async fn unicode_message() {
    let host = echo().await;
    assert_eq!(host.connect("/websocket").await.say("hello \u{e9}").await, "hello \u{e9}");
}

#[tokio::test]
async fn render_message() {
    let host = TestHost::new(Guest::named("echo")).start().await;
    assert_eq!(host.connect("/websocket").await.say("hello").await, "You said: hello");
}

#[tokio::test]
async fn error_in_on_message() {
    let host = probe().start().await;
    let mut client = host.connect(&target("/websocket", &[("message", "panic boom")])).await;
    client.send_text("hello").await;
    fails(&host, client, "on-message").await;
}

#[tokio::test]
async fn coroutine() {
    let host = probe().start().await;
    let script = [("message", "say begun"), ("message", "sleep 10"), ("message", "echo")];
    let mut raw = host.raw(&target("/websocket", &script)).await;
    raw.send_bytes(&["hello1", "hello2"].map(|text| Frame::text(text).masked()).concat()).await;
    for text in ["begun", "ok", "hello1", "begun", "ok", "hello2"] {
        assert_eq!(raw.frame().await, Frame::text(text));
    }
}

// Endings

#[tokio::test]
async fn websocket_close_buffered_data() {
    let mut host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let mut client = host.dial(&reporting(&[("message", "echo")]), ConnectOptions::default()).await;
    witness.sees_open().await;
    client.write_message(Message::text("hello")).await.expect("open");
    client.write_message(Message::text("world")).await.expect("open");
    client.queue_message(Message::text("never sent")).expect("open");
    drop(client);
    // What has arrived by then is delivered, and answered to nobody.
    let mut messages = vec!["1 on-message text world", "1 on-message text hello"];
    loop {
        let line = witness.line().await;
        if line == "1 on-close none" {
            break;
        }
        assert_eq!(Some(line.as_str()), messages.pop());
    }
    witness.sees(["1 drop"]).await;
    drop(witness);
    host.shut_down();
    assert_eq!(host.gone().await, 0);
}

#[tokio::test]
async fn server_close_reason() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let path = reporting(&[("open", "close 1001 goodbye")]);
    let mut client = host.dial(&path, ConnectOptions::default()).await;
    assert_eq!(within("the end", client.read_message()).await, None);
    let frame = client.close_frame().expect("a close frame");
    assert_eq!((frame.code, frame.reason.as_str()), (1001, "goodbye"));
    witness.sees_open().await;
    // The client repeats what it was told.
    witness.sees(["1 open: close 1001 goodbye = ok", "1 on-close 1001 goodbye", "1 drop"]).await;
}

#[tokio::test]
async fn client_close_reason() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let mut client = host.dial(&reporting(&[]), ConnectOptions::default()).await;
    within("the closing handshake", client.close(Some(1001), Some("goodbye"))).await.expect("valid");
    witness.sees_open().await;
    witness.sees(["1 on-close 1001 goodbye", "1 drop"]).await;
}

// The handshake

#[tokio::test]
async fn websocket_headers() {
    let host = probe().start().await;
    // Of seven methods that Tornado's handler may no longer call in `open`, there is one here that it could.
    let script = [("open", "header x-test"), ("open", "set-header x-test late")];
    let mut client = host.connect_with(&target("/websocket", &script), &[("X-Test", "hello")]).await;
    assert_eq!(
        answers_in_open(&mut client).await,
        ["header x-test = hello", "set-header x-test late = closed"]
    );
    assert_eq!(client.header("x-test"), None);
}

#[tokio::test]
async fn websocket_header_echo() {
    let host = probe().start().await;
    let script = [
        ("constructor", "set-header X-Extra-Response-Header Extra-Response-Value"),
        ("prepare", "set-header X-Test-Hello hello"),
    ];
    let client = host.dial(&target("/websocket", &script), ConnectOptions::default()).await;
    assert_eq!(client.headers()["x-extra-response-header"], "Extra-Response-Value");
    assert_eq!(client.headers()["x-test-hello"], "hello");
}

#[tokio::test]
async fn async_prepare() {
    let mut host = probe().start().await;
    let mut client =
        host.connect(&target("/websocket", &[("prepare", "sleep 1"), ("message", "echo")])).await;
    assert_eq!(client.say("hello").await, "hello");
    // In Tornado something was once left behind by it.
    client.leave().await;
    host.shut_down();
    assert_eq!(host.gone().await, 0);
}

#[tokio::test]
async fn path_args() {
    let host = probe().path("^/path_args/(.*)$").start().await;
    let mut client = host.connect(&target("/path_args/hello", &[("open", "path-args")])).await;
    assert_eq!(answers_in_open(&mut client).await, [r#"path-args = [["0","hello"]]"#]);
}

#[tokio::test]
async fn subprotocols() {
    let host = probe().start().await;
    let target = target("/websocket", &[("select", "goodproto"), ("open", "subprotocol")]);
    let subprotocols = ["badproto", "goodproto"].map(str::to_owned).into();
    let client = host.dial(&target, ConnectOptions { subprotocols, ..ConnectOptions::default() }).await;
    assert_eq!(client.selected_subprotocol(), Some("goodproto"));
    // The same once more, by a client that asks the handler.
    let mut client = host.connect_with(&target, &[("Sec-WebSocket-Protocol", "badproto, goodproto")]).await;
    assert_eq!(client.subprotocol(), Some("goodproto"));
    assert_eq!(answers_in_open(&mut client).await, ["subprotocol = goodproto"]);
    assert_eq!(offers(&mut client).await, ["1 select-subprotocol badproto,goodproto"]);
}

#[tokio::test]
async fn subprotocols_not_offered() {
    let host = probe().start().await;
    let target = target("/websocket", &[("open", "subprotocol")]);
    let client = host.dial(&target, ConnectOptions::default()).await;
    assert_eq!(client.selected_subprotocol(), None);
    let mut client = host.connect(&target).await;
    assert_eq!(client.subprotocol(), None);
    assert_eq!(answers_in_open(&mut client).await, ["subprotocol = none"]);
    assert_eq!(offers(&mut client).await, ["1 select-subprotocol"]);
}

// Origins

/// A page at this origin gets a connection, on which it is echoed.
async fn is_allowed(host: &TestHost, origin: &str) {
    let mut client = host.connect_with("/websocket", &[("Origin", origin)]).await;
    assert_eq!(client.say("hello").await, "hello");
}

async fn is_forbidden(host: &TestHost, origin: &str) {
    let answer = host.request("/websocket").header("Origin", origin).answer().await;
    assert_eq!(answer.status, 403, "{origin}");
}

#[tokio::test]
async fn check_origin_valid_no_path() {
    let host = echo().await;
    is_allowed(&host, &host.origin()).await;
}

#[tokio::test]
async fn check_origin_valid_with_path() {
    let host = echo().await;
    is_allowed(&host, &format!("{}/something", host.origin())).await;
}

#[tokio::test]
async fn check_origin_invalid_partial_url() {
    let host = echo().await;
    is_forbidden(&host, &host.authority()).await;
}

#[tokio::test]
async fn check_origin_invalid() {
    let host = echo().await;
    is_forbidden(&host, "http://somewhereelse.com").await;
}

#[tokio::test]
async fn check_origin_invalid_subdomains() {
    let host = echo().await;
    let port = host.address().port();
    let request = host.request("/websocket").replace("Host", format!("localhost:{port}"));
    request.clone().header("Origin", format!("http://localhost:{port}")).upgrade().await;
    for origin in ["http://subtenant.localhost".to_owned(), format!("http://subtenant.localhost:{port}")] {
        assert_eq!(request.clone().header("Origin", &origin).answer().await.status, 403, "{origin}");
    }
}

// open

#[tokio::test]
async fn open_coroutine() {
    let host = probe().start().await;
    let script = [("open", WRITE_LARGE), ("open", "flush"), ("open", "say opened"), ("message", "say ok")];
    let request = host.request(&target("/websocket", &script)).receive_buffer(SMALL_BUFFER);
    let (_, mut raw) = request.upgrade().await;
    // `open` cannot have returned: it waits until something is read.
    raw.send(Frame::text("hello")).await;
    assert_eq!(raw.frame().await.payload.len(), LARGE);
    for text in ["opened", "ok"] {
        assert_eq!(raw.frame().await, Frame::text(text));
    }
}

#[tokio::test]
async fn error_in_open() {
    let host = probe().start().await;
    let client = host.connect(&target("/websocket", &[("open", "panic boom")])).await;
    fails(&host, client, "open").await;
}

#[tokio::test]
async fn error_in_async_open() {
    let host = probe().start().await;
    let client = host.connect(&target("/websocket", &[("open", "sleep 1"), ("open", "panic boom")])).await;
    fails(&host, client, "open").await;
}

#[tokio::test]
async fn nodelay() {
    let host = probe().start().await;
    let mut client = host.connect(&target("/websocket", &[("open", "nodelay"), ("open", "say hello")])).await;
    assert_eq!(client.recv_text().await, "hello");
    assert_eq!(answers_in_open(&mut client).await, ["nodelay = ok"]);
}

// The client

fn request(url: String) -> http::Request<()> {
    http::Request::get(url).body(()).expect("a request")
}

/// Connects with the crate's own client.
async fn dial(url: String) -> Result<ClientConnection, ConnectError> {
    within("an answer", client::connect(request(url), ConnectOptions::default())).await
}

#[tokio::test]
async fn error_in_closed_client_write_message() {
    let host = echo().await;
    let mut client = host.dial("/websocket", ConnectOptions::default()).await;
    within("the closing handshake", client.close(None, None)).await.expect("it was open");
    assert_eq!(client.write_message(Message::text("hello")).await, Err(WriteError::Closed));
}

#[tokio::test]
async fn websocket_http_fail() {
    let host = echo().await;
    let error = dial(format!("ws://{}/notfound", host.address())).await.expect_err("refused");
    assert!(matches!(&error, ConnectError::Http(answer) if answer.status() == 404), "{error}");
}

#[tokio::test]
async fn websocket_http_success() {
    let host = echo().await;
    let error = dial(format!("ws://{}/healthz", host.address())).await.expect_err("no WebSocket");
    assert!(matches!(&error, ConnectError::Http(answer) if answer.status() == 200), "{error}");
}

#[tokio::test]
async fn websocket_http_redirect() {
    let host = probe().start().await;
    let elsewhere = target("/websocket", &[("prepare", "redirect /elsewhere")]);
    let error = dial(format!("ws://{}{elsewhere}", host.address())).await.expect_err("a redirect");
    assert!(matches!(&error, ConnectError::Http(answer) if answer.status() == 302), "{error}");
}

#[tokio::test]
async fn websocket_network_fail() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    // A refusal is told when it comes, however long one would wait for an answer.
    let options = ConnectOptions { connect_timeout: Duration::from_secs(3600), ..ConnectOptions::default() };
    let connecting = client::connect(request(format!("ws://{address}/")), options);
    let error = within("a refusal", connecting).await.expect_err("nobody is there");
    assert!(matches!(error, ConnectError::Refused(at) if at == address), "{error}");
}

#[tokio::test]
async fn write_after_close() {
    let host = probe().start().await;
    let path = target("/websocket", &[("open", "close 1001 goodbye")]);
    let mut client = host.dial(&path, ConnectOptions::default()).await;
    assert_eq!(within("the end", client.read_message()).await, None);
    assert_eq!(client.write_message(Message::text("hello")).await, Err(WriteError::Closed));
}
