//! WebSockets as streams of HTTP/2 (RFC 8441): as good as any other, and what attacks by frames do not achieve.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::ext::Protocol;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::http::{HeaderMap, Method};
use waterspout_tests::host::Builder;
use waterspout_tests::http2::{
    END_HEADERS, END_STREAM, Http2, Http2Frame, RawHttp2, StreamSocket, handshake_headers, kind, literals,
};
use waterspout_tests::{Guest, Identity, TestHost, within};

use crate::probe::probe;

/// HTTP/2's error codes (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: u32 = 11;
const REFUSED_STREAM: u32 = 7;

fn identity() -> Identity {
    Identity::new(&["localhost"])
}

pub(crate) async fn start(builder: Builder) -> (Identity, TestHost) {
    let identity = identity();
    let host = builder.tls(identity.certificates()).start().await;
    (identity, host)
}

async fn recv(socket: &mut StreamSocket) -> Message {
    within("a message", socket.next()).await.expect("open").expect("a message")
}

pub(crate) async fn say(socket: &mut StreamSocket, text: &str) -> String {
    socket.send(Message::text(text)).await.expect("sent");
    recv(socket).await.into_text().expect("text").as_str().to_owned()
}

// As good as any other

#[tokio::test]
async fn several_connections_share_a_socket_with_pages() {
    let (identity, host) = start(TestHost::new(Guest::Echo).own_page()).await;
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    let mut one = http2.open("/websocket").await;
    let mut two = http2.open("/websocket").await;
    assert_eq!(say(&mut one, "one").await, "one");
    assert_eq!(say(&mut two, "two").await, "two");
    for size in [0, 1 << 10, 64 << 10, 1 << 20, 5 << 20] {
        let text = "x".repeat(size);
        assert_eq!(say(&mut one, &text).await, text);
    }
    assert_eq!(http2.get("/").await.0, 200);
    assert_eq!(http2.get("/nowhere").await, (404, "Not Found".into()));
    host.logged("`open`", |record| record.message == "open" && record.field("http") == "2").await;
}

#[tokio::test]
async fn a_handler_sees_no_difference() {
    let (identity, host) = start(probe()).await;
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    let mut request = http2.handshake("/websocket?a=b");
    request.headers_mut().append("cookie", "a=1".parse().expect("a value"));
    request.headers_mut().append("cookie", "b=2".parse().expect("a value"));
    request.headers_mut().insert("sec-websocket-protocol", "v1, v2".parse().expect("a value"));
    request.headers_mut().insert(
        "origin",
        format!("https://localhost:{}", host.second_address().port()).parse().expect("a value"),
    );
    let (_, mut socket) = http2.open_with(request).await;
    assert_eq!(say(&mut socket, "uri").await, "/websocket?a=b");
    assert_eq!(say(&mut socket, "header host").await, format!("localhost:{}", host.second_address().port()));
    assert_eq!(say(&mut socket, "header cookie").await, "a=1; b=2");
    assert_eq!(say(&mut socket, "remote-address").await, "127.0.0.1");
    assert_eq!(say(&mut socket, "nodelay").await, "ok");
    socket.close(None).await.expect("sent");
    assert!(matches!(recv(&mut socket).await, Message::Close(_)));
    assert!(within("the end", socket.next()).await.is_none_or(|end| end.is_err()));
    assert_eq!(host.connection_ends().await, "peer_closed");
}

#[tokio::test]
async fn the_other_sides_end_of_a_stream_is_the_connections_end() {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    let mut stays = http2.open("/websocket").await;
    drop(http2.open("/websocket").await);
    assert_eq!(host.connection_ends().await, "vanished");
    assert_eq!(say(&mut stays, "still here").await, "still here");
}

#[tokio::test]
async fn what_is_no_handshake_is_refused_as_the_rfcs_say() {
    let (identity, host) = start(TestHost::new(Guest::Echo).own_page()).await;
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    let change = |http2: &Http2, change: &dyn Fn(&mut HeaderMap)| {
        let mut request = http2.handshake("/websocket");
        change(request.headers_mut());
        request
    };
    let mut cases = vec![(400, http2.request(Method::GET, "/websocket"))];
    cases.push((405, http2.request(Method::POST, "/websocket")));
    cases.push((404, http2.handshake("/")));
    cases.push((405, http2.handshake("/healthz")));
    cases.push((400, change(&http2, &|headers| drop(headers.remove("sec-websocket-version")))));
    cases.push((
        400,
        change(&http2, &|headers| {
            drop(headers.insert("sec-websocket-version", "8".parse().expect("a value")))
        }),
    ));
    cases.push((
        400,
        change(&http2, &|headers| drop(headers.insert("host", "example.com".parse().expect("a value")))),
    ));
    cases.push((
        403,
        change(&http2, &|headers| {
            drop(headers.insert("origin", "https://example.com".parse().expect("a value")))
        }),
    ));
    let mut other = http2.handshake("/websocket");
    other.extensions_mut().insert(Protocol::from_static("connect-udp"));
    cases.push((501, other));
    for (status, request) in cases {
        let shown = format!("{request:?}");
        assert_eq!(http2.answer(request).await.0, status, "{shown}");
    }
    let mut socket = http2.open("/websocket").await;
    assert_eq!(say(&mut socket, "still here").await, "still here");
}

#[tokio::test]
async fn a_handler_that_declines_with_200_does_not_open_a_websocket() {
    let (identity, host) = start(probe()).await;
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    let declined = http2.handshake("/websocket?prepare=status:200+not+today");
    assert_eq!(http2.answer(declined).await, (403, "not today".into()));
}

#[tokio::test]
async fn a_connect_without_a_protocol_is_refused() {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[]).await;
    let block = literals(&[(":method", "CONNECT"), (":authority", "localhost:1")]);
    raw.send(Http2Frame::new(kind::HEADERS, END_HEADERS, 1, block)).await.expect("sent");
    let answer = raw.find(|frame| frame.kind == kind::HEADERS).await.expect("an answer");
    // `:status 405`: a literal with an indexed name (8), three digits long, by Huffman two bytes.
    assert_eq!((answer.stream, answer.payload[0] & 0x0f), (1, 8), "{answer:?}");
    host.logged("the refusal", |record| record.message == "refused" && record.field("status") == "405").await;
}

#[tokio::test]
async fn each_stream_counts_as_a_connection() {
    let (identity, host) =
        start(TestHost::new(Guest::Echo).options(|options| options.max_connections = 4)).await;
    // One is the socket's, and one waits for the next socket.
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    let one = http2.open("/websocket").await;
    let _two = http2.open("/websocket").await;
    let request = http2.handshake("/websocket");
    let refused = http2.send(request).await.expect("an answer");
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "5");
    drop(one);
    host.connection_ends().await;
    let mut again = http2.open("/websocket").await;
    assert_eq!(say(&mut again, "there is room").await, "there is room");
}

#[tokio::test]
async fn a_server_that_goes_away_says_so_on_every_stream() {
    let (identity, mut host) = start(TestHost::new(Guest::Echo)).await;
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    let mut sockets = [http2.open("/websocket").await, http2.open("/websocket").await];
    host.shut_down();
    for socket in &mut sockets {
        match recv(socket).await {
            Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1001),
            other => panic!("a close frame was expected: {other:?}"),
        }
        // The answer to it leaves with the next flush.
        let _ = socket.flush().await;
    }
    assert_eq!(host.gone().await, 0);
}

#[tokio::test]
async fn a_socket_without_a_stream_is_closed_and_one_with_a_stream_is_not() {
    let identity = identity();
    let host = TestHost::new(Guest::Echo)
        .tls(identity.certificates())
        .options(|options| options.handshake_timeout = Duration::from_millis(300))
        .start()
        .await;
    let mut used = Http2::connect(&identity, host.second_address()).await;
    let mut socket = used.open("/websocket").await;
    let mut idle = RawHttp2::connect(&identity, host.second_address(), &[]).await;
    assert_eq!(idle.ends().await, Some(0), "GOAWAY, and no error");
    assert_eq!(say(&mut socket, "still here").await, "still here");
}

// Attacks

#[tokio::test]
async fn requests_that_are_taken_back_again_and_again_end_the_socket() {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut bystander = host.connect("/websocket").await;
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[]).await;
    let block = handshake_headers("/websocket");
    let mut sent = 0;
    for number in 0..50_000_u32 {
        let stream = 2 * number + 1;
        let open = Http2Frame::new(kind::HEADERS, END_HEADERS, stream, block.clone()).bytes();
        let reset = Http2Frame::new(kind::RST_STREAM, 0, stream, 8_u32.to_be_bytes()).bytes();
        if raw.send_bytes(&[open, reset].concat()).await.is_err() {
            break;
        }
        sent = number;
    }
    assert!(sent < 49_000, "{sent} were taken");
    assert_eq!(bystander.say("unharmed").await, "unharmed");
}

#[tokio::test]
async fn headers_without_end_end_the_socket() {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[]).await;
    raw.send(Http2Frame::new(kind::HEADERS, 0, 1, handshake_headers("/websocket"))).await.expect("sent");
    let more = literals(&[("x-more", &"x".repeat(100))]).repeat(100);
    let mut sent = 0;
    while sent < 10_000 && raw.send(Http2Frame::new(kind::CONTINUATION, 0, 1, more.clone())).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 10_000, "100 MB of headers were taken");
    raw.ends().await;
}

#[tokio::test]
async fn empty_continuations_end_the_socket() {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[]).await;
    raw.send(Http2Frame::new(kind::HEADERS, 0, 1, handshake_headers("/websocket"))).await.expect("sent");
    let many = Http2Frame::new(kind::CONTINUATION, 0, 1, []).bytes().repeat(1000);
    let mut sent = 0;
    while sent < 1_000 && raw.send_bytes(&many).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 1_000, "a million frames were taken");
}

#[tokio::test]
async fn headers_over_their_limit_are_refused() {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    let mut request = http2.handshake("/websocket");
    request.headers_mut().insert("x-large", "x".repeat(17 << 10).parse().expect("a value"));
    // hyper's client keeps to the limit that it was told; either way there is no connection.
    assert!(http2.send(request).await.map_or(true, |answer| answer.status() == 431));
    let mut socket = http2.open("/websocket").await;
    assert_eq!(say(&mut socket, "still here").await, "still here");
}

/// Sends a flood and reads nothing, until the host takes no more (then it has not piled up answers) or ends the socket.
async fn flood(frame: Http2Frame, frames: u32) {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut bystander = host.connect("/websocket").await;
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[]).await;
    let many = frame.bytes().repeat(1000);
    let flooding = async {
        for _ in 0..frames / 1000 {
            if raw.send_bytes(&many).await.is_err() {
                return;
            }
        }
    };
    // It stops when nothing is taken any more.
    let _ = tokio::time::timeout(Duration::from_secs(3), flooding).await;
    assert_eq!(bystander.say("unharmed").await, "unharmed");
}

#[tokio::test]
async fn floods_of_settings_and_pings_harm_nobody() {
    flood(Http2Frame::new(kind::SETTINGS, 0, 0, []), 1_000_000).await;
    flood(Http2Frame::new(kind::PING, 0, 0, [0; 8]), 1_000_000).await;
}

#[tokio::test]
async fn floods_of_empty_data_end_the_socket() {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[]).await;
    raw.send(Http2Frame::new(kind::HEADERS, END_HEADERS, 1, handshake_headers("/websocket")))
        .await
        .expect("sent");
    raw.find(|frame| frame.kind == kind::HEADERS).await.expect("an answer");
    let many = Http2Frame::new(kind::DATA, 0, 1, []).bytes().repeat(1000);
    let mut sent = 0;
    while sent < 1_000 && raw.send_bytes(&many).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 1_000, "a million frames were taken");
    // Its end is told, unless it was lost to a reset.
    assert!(matches!(raw.ends().await, None | Some(ENHANCE_YOUR_CALM)));
    assert_eq!(host.connection_ends().await, "vanished");
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[]).await;
    // Its settings are acknowledged, so that it must keep to them.
    raw.find(|frame| frame.kind == kind::SETTINGS && frame.flags == 0).await.expect("settings");
    raw.send(Http2Frame::new(kind::SETTINGS, 1, 0, [])).await.expect("sent");
    let block = handshake_headers("/websocket");
    for number in 0..101_u32 {
        let open = Http2Frame::new(kind::HEADERS, END_HEADERS, 2 * number + 1, block.clone());
        raw.send(open).await.expect("sent");
    }
    let reset = raw.find(|frame| frame.kind == kind::RST_STREAM).await.expect("a reset");
    assert_eq!((reset.stream, reset.payload), (201, REFUSED_STREAM.to_be_bytes().to_vec()));
}

#[tokio::test]
async fn a_peer_without_a_window_is_dropped_by_the_write_timeout_and_the_others_stay() {
    let small = |limits: &mut waterspout::Limits| {
        limits.max_queue_bytes = 64 << 10;
        limits.write_timeout = Duration::from_millis(300);
    };
    let (identity, host) = start(probe().limits(small)).await;
    let mut bystander = host.connect("/websocket").await;
    // SETTINGS_INITIAL_WINDOW_SIZE is 0: nothing may be sent on any stream.
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[(4, 0)]).await;
    raw.send(Http2Frame::new(kind::HEADERS, END_HEADERS, 1, handshake_headers("/websocket")))
        .await
        .expect("sent");
    raw.find(|frame| frame.kind == kind::HEADERS).await.expect("an answer");
    // The handler writes messages of 16 KiB for as long as they are taken.
    let command = waterspout_tests::Frame::text("fill 16384").masked();
    raw.send(Http2Frame::new(kind::DATA, 0, 1, command)).await.expect("sent");
    let end = host.logged("its end", |record| record.message == "closed").await;
    assert_eq!(end.field("cause"), "write_timeout", "{end}");
    assert_eq!(bystander.say("id").await.len(), 32);
}

/// Opens a stream whose handler writes until its queue is full.
async fn open_stuck(raw: &mut RawHttp2, stream: u32) -> std::io::Result<()> {
    raw.send(Http2Frame::new(kind::HEADERS, END_HEADERS, stream, handshake_headers("/websocket"))).await?;
    let command = waterspout_tests::Frame::text("fill 16384").masked();
    raw.send(Http2Frame::new(kind::DATA, 0, stream, command)).await
}

#[tokio::test]
async fn a_peer_that_leaves_stream_after_stream_unread_loses_its_socket() {
    let small = |limits: &mut waterspout::Limits| {
        limits.max_queue_bytes = 64 << 10;
        limits.write_timeout = Duration::from_millis(100);
    };
    let (identity, host) = start(probe().limits(small)).await;
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[(4, 0)]).await;
    let mut streams = (1..).step_by(2);
    for stream in streams.by_ref().take(8) {
        open_stuck(&mut raw, stream).await.expect("sent");
        let end = host.logged("its end", |record| record.message == "closed").await;
        assert_eq!(end.field("cause"), "write_timeout", "{end}");
    }
    // Eight may happen to anybody.
    let quiet = streams.next().expect("a number");
    let headers = Http2Frame::new(kind::HEADERS, END_HEADERS, quiet, handshake_headers("/websocket"));
    raw.send(headers).await.expect("sent");
    raw.find(|frame| frame.kind == kind::HEADERS && frame.stream == quiet).await.expect("an answer");
    open_stuck(&mut raw, quiet + 2).await.expect("sent");
    raw.ends().await;
}

#[tokio::test]
async fn streams_that_their_peer_resets_leave_the_socket_as_it_was() {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[(4, 0)]).await;
    for stream in (1..).step_by(2).take(20) {
        let headers = Http2Frame::new(kind::HEADERS, END_HEADERS, stream, handshake_headers("/websocket"));
        raw.send(headers).await.expect("sent");
        raw.find(|frame| frame.kind == kind::HEADERS && frame.stream == stream).await.expect("an answer");
        // An answer that it never takes.
        let echo = waterspout_tests::Frame::text("unread").masked();
        raw.send(Http2Frame::new(kind::DATA, 0, stream, echo)).await.expect("sent");
        raw.send(Http2Frame::new(kind::RST_STREAM, 0, stream, 8_u32.to_be_bytes())).await.expect("sent");
        host.logged("its end", |record| record.message == "closed").await;
    }
    raw.send(Http2Frame::new(kind::PING, 0, 0, [7; 8])).await.expect("sent");
    let pong = raw.find(|frame| frame.kind == kind::PING && frame.flags == 1).await;
    assert_eq!(pong.expect("still open").payload, [7; 8]);
}

#[tokio::test]
async fn a_body_before_the_end_of_a_request_is_nobodys() {
    let (identity, host) = start(TestHost::new(Guest::Echo)).await;
    let mut raw = RawHttp2::connect(&identity, host.second_address(), &[]).await;
    let get = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/healthz")];
    raw.send(Http2Frame::new(kind::HEADERS, END_HEADERS, 1, literals(&get))).await.expect("sent");
    let end = raw.find(|frame| frame.kind == kind::DATA && frame.flags & END_STREAM != 0).await;
    assert!(end.is_some_and(|frame| frame.stream == 1), "it is answered all the same");
}
