//! Connections that a handler opens.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use waterspout_tests::{Client, Guest, TestHost};

use super::Language;
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
}

pub(super) async fn start_and_events(language: Language) {
    let (server, host) = hosts(language).await;
    let mut client = host.connect("/start").await;
    assert_eq!(client.say(asking(&echo_of(&server))).await, "opened");
    assert_eq!(client.say("send hello").await, "text hello");
    assert_eq!(client.say("ping there?").await, "pong there?");
    assert_eq!(client.say("close 4004 enough").await, "closed 4004 enough");
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
