//! The two styles: a handler reads its connection message by message, or is told what happens on it.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::TcpListener;
use waterspout_tests::within;

use super::{dialling, echo, says, url};
use crate::client::{close_code, sending};
use crate::probe::probe;

#[tokio::test]
async fn a_handler_connects_and_reads_message_by_message() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let dial = format!("dial {}", url(&server));
    says(&mut client, &[(&dial, "ok"), ("up-say hello\nup-read", "hello"), ("up-subprotocol", "none")]).await;
    says(&mut client, &[("up-frame", "none"), ("up-close 4001 bye", "ok"), ("up-read", "none")]).await;
    says(&mut client, &[("up-frame", "4001 bye"), ("up-say late", "closed"), ("up-flush", "closed")]).await;
    assert_eq!(server.connection_ends().await, "peer_closed");
    client.leave().await;
}

#[tokio::test]
async fn a_handler_that_has_started_a_connection_is_told_what_happens_in_order() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("start {}", url(&server)), "ok")]).await;
    assert_eq!(client.recv_text().await, "on-client-event opened");
    client.send_text("up-say hello\nup-ping are you there?\nup-say again\nup-close 1000 bye").await;
    // What the commands answer, and what comes of them.
    for line in ["ok", "ok"] {
        assert_eq!(client.recv_text().await, line);
    }
    // A pong comes from the server's host, and does not wait for its handler.
    let mut first = [client.recv_text().await, client.recv_text().await];
    first.sort();
    assert_eq!(first, ["on-client-event pong are you there?", "on-client-event text hello"]);
    for event in ["text again", "closed 1000 bye"] {
        assert_eq!(client.recv_text().await, format!("on-client-event {event}"));
    }
    let why = "invalid made by `start`: its messages come to `on-client-event`";
    says(&mut client, &[("up-read", why), ("up-say late", "closed")]).await;
    client.leave().await;
}

#[tokio::test]
async fn until_it_is_open_a_started_connection_takes_no_message_and_can_be_given_up() {
    // It listens, and never answers.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let host = dialling(&[address]).start().await;
    let mut client = host.connect("/websocket").await;
    let start = format!("start ws://{address}");
    says(&mut client, &[(&start, "ok"), ("up-say early", "closed"), ("up-close", "ok")]).await;
    assert_eq!(client.recv_text().await, "on-client-event failed closed");
    client.leave().await;
}

#[tokio::test]
async fn several_connections_are_told_apart_by_their_ids() {
    let servers = (echo().await, echo().await);
    let host = dialling(&[servers.0.address(), servers.1.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial {}", url(&servers.0)), "ok")]).await;
    let first = client.say("up-id").await;
    says(&mut client, &[(&format!("dial {}", url(&servers.1)), "ok")]).await;
    let second = client.say("up-id").await;
    assert_ne!(first, second);
    for id in [&first, &second] {
        says(&mut client, &[(&format!("up-get {id}"), "ok")]).await;
    }
    says(&mut client, &[("up-get 0123", "none")]).await;
    // Another connection's are not one's own.
    let mut other = host.connect("/websocket").await;
    says(&mut other, &[(&format!("up-get {first}"), "none")]).await;
}

#[tokio::test]
async fn the_options_of_a_connection_reach_the_server() {
    let server = probe().route(|route| route.subprotocols = Some(vec!["b".into()])).start().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let target = format!("ws://{}/websocket?select=b&compression=on", server.address());
    let dial = format!("dial {target} sub=a sub=b header=x-Name:value deflate");
    says(&mut client, &[(&dial, "ok"), ("up-subprotocol", "b")]).await;
    says(
        &mut client,
        &[("up-say header x-name\nup-read", "value"), ("up-say header host\nup-read", &server.authority())],
    )
    .await;
    let offer = "permessage-deflate; client_max_window_bits";
    says(&mut client, &[("up-say header sec-websocket-extensions\nup-read", offer)]).await;
    let long = "x".repeat(50);
    says(&mut client, &[(&format!("up-say say {long}\nup-read"), &long)]).await;
}

#[tokio::test]
async fn a_message_over_the_limit_that_a_handler_asked_for_closes_its_connection() {
    let server = probe().start().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial {} max=100", url(&server)), "ok")]).await;
    says(&mut client, &[("up-write 1 x 101", "wrote 0: limit max-message-bytes")]).await;
    says(&mut client, &[("up-say write 1 x 101\nup-read", "none"), ("up-frame", "none")]).await;
    assert_eq!(server.connection_ends().await, "peer_closed");
}

#[tokio::test]
async fn a_server_that_does_not_answer_a_handlers_pings_is_left() {
    let (address, heard) = sending(Vec::new()).await;
    let limits = |limits: &mut waterspout::Limits| limits.close_timeout = Duration::from_millis(50);
    let host = dialling(&[address]).limits(limits).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("start ws://{address} ping=100"), "ok")]).await;
    assert_eq!(client.recv_text().await, "on-client-event opened");
    assert_eq!(client.recv_text().await, "on-client-event closed none");
    let heard = within("what the server heard", heard).await.expect("it ends");
    assert_eq!(
        (&heard[..2], close_code(&heard[6..])),
        (&[0x89, 0x80][..], 1000),
        "a ping, and a close frame"
    );
}

#[tokio::test]
async fn the_answers_to_a_handlers_pings_are_told() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("start {} ping=20 pong=0", url(&server)), "ok")]).await;
    assert_eq!(client.recv_text().await, "on-client-event opened");
    for _ in 0..3 {
        assert_eq!(client.recv_text().await, "on-client-event pong ");
    }
}
