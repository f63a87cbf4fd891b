//! Connections that a handler opens.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use waterspout_tests::{Client, Guest, TestHost, within};

use super::Language;
use crate::client::{server as raw_server, switching};
use crate::outgoing::bound;

async fn hosts(language: Language) -> (TestHost, TestHost) {
    let server = TestHost::new(Guest::Echo).start().await;
    let host = language.host().connects_to(&[server.authority()]).start().await;
    (server, host)
}

fn asking(url: &str) -> String {
    json!({"url": url, "headers": {"x-from": "conformance"}, "subprotocols": []}).to_string()
}

fn echo_of(server: &TestHost) -> String {
    format!("ws://{}/websocket", server.authority())
}

async fn says(client: &mut Client, conversation: &[(&str, &str)]) {
    for (command, answer) in conversation {
        assert_eq!(client.say(*command).await, *answer, "{command}");
    }
}

pub(super) async fn connect_and_read(language: Language) {
    let (server, host) = hosts(language).await;
    let mut client = host.connect("/connect").await;
    assert_eq!(client.say(asking(&echo_of(&server))).await, "connected none");
    assert_eq!(client.say("id").await, "same");
    client.send_text("send hello ÄÖ").await;
    assert_eq!(client.say("read").await, "text hello ÄÖ");
    client.send_text("send-binary bytes").await;
    assert_eq!(client.say("read").await, "binary bytes");
    assert_eq!(client.say("read-within 10").await, "timeout");
    client.send_text("flush").await;
    client.send_text("close 4003 enough").await;
    assert_eq!(client.say("read").await, "end 4003 enough");
}

pub(super) async fn connect_errors(language: Language) {
    let (server, host) = hosts(language).await;
    let mut client = host.connect("/connect").await;
    let nowhere = format!("http://{}/nowhere", server.authority());
    says(
        &mut client,
        &[
            (&asking(&nowhere.replace("http", "ws")), "failed http 404"),
            (&asking("ws://192.0.2.1/"), "failed denied"),
        ],
    )
    .await;
    let answer = client.say(asking(&nowhere)).await;
    assert!(answer.starts_with("failed invalid-url "), "{answer}");
    let (_socket, address) = bound();
    let host = language.host().connects_to(&[address.to_string()]).start().await;
    let mut client = host.connect("/connect").await;
    let answer = client.say(asking(&format!("ws://{address}/"))).await;
    assert!(answer.starts_with("failed network "), "{answer}");
    // A server that never answers, and one that answers nonsense.
    let silent = raw_server(async |socket, _| pending(socket).await).await;
    let nonsense = raw_server(async |mut socket, _| {
        let _ = socket.write_all(&switching("bm9uc2Vuc2U=", "")).await;
    })
    .await;
    let host = language.host().connects_to(&[silent.to_string(), nonsense.to_string()]).start().await;
    let mut client = host.connect("/connect").await;
    let asking_for = |ms: u32| json!({"url": format!("ws://{silent}/"), "timeout_ms": ms}).to_string();
    assert_eq!(client.say(asking_for(50)).await, "failed timeout");
    let answer = client.say(asking(&format!("ws://{nonsense}/"))).await;
    assert!(answer.starts_with("failed protocol "), "{answer}");
}

/// Keeps something for ever.
async fn pending<T>(_kept: T) {
    std::future::pending().await
}

/// A server that somebody else wrote: for one connection, on which it agrees to the subprotocol `two` where that is offered.
#[expect(clippy::result_large_err, reason = "tungstenite's own signature")]
async fn agreeing() -> (SocketAddr, oneshot::Receiver<(HeaderMap, WebSocketStream<TcpStream>)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (opened, opening) = oneshot::channel();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a client");
        let mut headers = HeaderMap::new();
        let agree = |request: &Request, mut answer: Response| {
            headers = request.headers().clone();
            if headers.contains_key("sec-websocket-protocol") {
                answer.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("two"));
            }
            Ok(answer)
        };
        let stream = accept_hdr_async(socket, agree).await.expect("a handshake");
        let _ = opened.send((headers, stream));
    });
    (address, opening)
}

pub(super) async fn connect_options(language: Language) {
    let (address, opening) = agreeing().await;
    let host = language.host().connects_to(&[address.to_string()]).start().await;
    let mut client = host.connect("/connect").await;
    let url = format!("ws://{address}/");
    let asking = json!({
        "url": url,
        "headers": {"x-from": "conformance", "x-more": "ä"},
        "subprotocols": ["one", "two"],
        "timeout_ms": 20_000,
        "max_message_size": 100,
        "ping_interval_ms": 20,
        "ping_timeout_ms": 0,
        "compression": {"level": 9, "mem_level": 1},
    });
    assert_eq!(client.say(asking.to_string()).await, "connected two");
    let (headers, mut server) = within("a handshake", opening).await.expect("one");
    assert_eq!(headers["x-from"], "conformance");
    assert_eq!(headers["x-more"].as_bytes(), "ä".as_bytes());
    assert_eq!(headers["sec-websocket-protocol"], "one, two");
    assert!(headers["sec-websocket-extensions"].as_bytes().starts_with(b"permessage-deflate"), "{headers:?}");
    // The host pings, and waits for no pong: of several pings none was answered before this reads them.
    for _ in 0..3 {
        assert!(matches!(received(&mut server).await, Message::Ping(_)));
    }
    server.send(Message::text("x".repeat(100))).await.expect("a client");
    assert_eq!(client.say("read").await, format!("text {}", "x".repeat(100)));
    server.send(Message::text("x".repeat(101))).await.expect("a client");
    assert_eq!(client.say("read").await, "end none");
    let code = loop {
        match received(&mut server).await {
            Message::Close(frame) => break frame.map(|frame| u16::from(frame.code)),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, Some(1009));

    // Without them: nothing is offered.
    let (address, opening) = agreeing().await;
    let host = language.host().connects_to(&[address.to_string()]).start().await;
    let mut client = host.connect("/connect").await;
    assert_eq!(client.say(json!({"url": format!("ws://{address}/")}).to_string()).await, "connected none");
    let (headers, _server) = within("a handshake", opening).await.expect("one");
    for absent in ["x-from", "sec-websocket-protocol", "sec-websocket-extensions"] {
        assert!(!headers.contains_key(absent), "{absent}: {headers:?}");
    }
}

async fn received(server: &mut WebSocketStream<TcpStream>) -> Message {
    within("a frame", server.next()).await.expect("it goes on").expect("a frame")
}

pub(super) async fn start_and_events(language: Language) {
    let (server, host) = hosts(language).await;
    let mut client = host.connect("/start").await;
    assert_eq!(client.say(asking(&echo_of(&server))).await, "opened");
    assert_eq!(client.say("send hello").await, "text hello");
    assert_eq!(client.say("ping there?").await, "pong there?");
    assert_eq!(client.say("close 4004 enough").await, "closed 4004 enough");
    // One that vanishes without a close frame, and one that answers no ping.
    let vanishing = raw_server(async |mut socket, key| {
        let _ = socket.write_all(&switching(&key, "")).await;
    })
    .await;
    let deaf = raw_server(async |mut socket, key| {
        let _ = socket.write_all(&switching(&key, "")).await;
        pending(socket).await;
    })
    .await;
    let host = language.host().connects_to(&[vanishing.to_string(), deaf.to_string()]).start().await;
    for (address, interval) in [(vanishing, 0), (deaf, 50)] {
        let mut client = host.connect("/start").await;
        let asking = json!({"url": format!("ws://{address}/"), "ping_interval_ms": interval});
        assert_eq!(client.say(asking.to_string()).await, "opened");
        assert_eq!(client.recv_text().await, "closed none");
    }
}

pub(super) async fn start_errors(language: Language) {
    let (server, host) = hosts(language).await;
    let mut client = host.connect("/start").await;
    let nowhere = format!("ws://{}/nowhere", server.authority());
    assert_eq!(client.say(asking(&nowhere)).await, "failed http 404");
    assert_eq!(client.say(asking("ws://192.0.2.1/")).await, "failed denied");
    // The handler is as it was.
    client.send(Message::text(asking(&echo_of(&server)))).await;
    assert_eq!(client.recv_text().await, "opened");
}
