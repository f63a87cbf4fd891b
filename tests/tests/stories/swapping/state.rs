//! What a connection keeps when its handler is replaced.

use waterspout_tests::host::Builder;
use waterspout_tests::{Guest, TestHost};

use super::swapped;
use crate::probe::{probe, rooms};

async fn replaced(host: &TestHost) {
    let report = swapped(host, &Guest::named("probe")).await;
    assert_eq!(report.moved, report.connections, "{report:?}");
}

async fn start(host: Builder) -> TestHost {
    host.start().await
}

#[tokio::test]
async fn its_id_request_and_subprotocol() {
    let host = start(probe()).await;
    let headers = [("sec-websocket-protocol", "v2.chat")];
    let mut client = host.connect_with("/websocket?select=v2.chat&a=b", &headers).await;
    let mut before = Vec::new();
    for question in ["id", "subprotocol", "uri", "remote-address"] {
        before.push((question, client.say(question).await));
    }
    replaced(&host).await;
    for (question, answer) in before {
        assert_eq!(client.say(question).await, answer);
    }
}

#[tokio::test]
async fn its_subscriptions() {
    let host = start(probe()).await;
    let mut subscriber = host.connect("/websocket?open=subscribe+news").await;
    let mut publisher = host.connect("/websocket").await;
    assert_eq!(subscriber.say("count").await, "1");
    replaced(&host).await;
    assert_eq!(publisher.say("publish news hello").await, "ok");
    assert_eq!(subscriber.recv_text().await, "hello");
}

#[tokio::test]
async fn its_timers() {
    let host = start(probe()).await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("timer 7 200").await, "ok");
    replaced(&host).await;
    assert_eq!(client.recv_text().await, "on-timer 7");
}

#[tokio::test]
async fn what_is_queued_for_it_in_its_order() {
    let host = start(probe().limits(|limits| limits.max_queue_bytes = 1 << 20)).await;
    let mut client = host.connect("/websocket").await;
    // More than sockets hold.
    client.send_text("write 8 x 100000").await;
    replaced(&host).await;
    client.send_text("say last").await;
    let mut bytes = 0;
    loop {
        match client.recv_text().await {
            text if text == "last" => break,
            text if text.starts_with("wrote ") => {}
            text => bytes += text.len(),
        }
    }
    assert_eq!(bytes, 800_000);
}

#[tokio::test]
async fn what_arrived_meanwhile_in_its_order() {
    let host = start(probe()).await;
    let mut client = host.connect("/websocket").await;
    let swap = async { replaced(&host).await };
    let talk = async {
        for number in 0..500 {
            client.send_text(format!("say {number}")).await;
        }
        for number in 0..500 {
            assert_eq!(client.recv_text().await, number.to_string());
        }
    };
    tokio::join!(swap, talk);
}

#[tokio::test]
async fn its_connections_to_others() {
    let upstream = start(TestHost::new(Guest::Echo)).await;
    let host = start(probe().connects_to(&[upstream.authority()])).await;
    let mut client = host.connect("/websocket").await;
    let url = format!("ws://{}/websocket", upstream.authority());
    assert_eq!(client.say(format!("dial {url}")).await, "ok");
    let id = client.say("up-id").await;
    replaced(&host).await;
    assert_eq!(client.say("up-id").await, id);
    assert_eq!(client.say("up-say hello\nup-read").await, "hello");
}

#[tokio::test]
async fn a_room_keeps_its_history_and_who_is_in_it() {
    let host = start(rooms()).await;
    let (mut one, mut two) = (host.connect("/rooms/blue").await, host.connect("/rooms/blue").await);
    // Both have opened.
    assert_eq!(two.say("id").await.len(), 32);
    let peers = one.say("peers").await;
    assert_eq!(peers.split(' ').count(), 2);
    assert_eq!(one.say("count").await, "1");
    replaced(&host).await;
    assert_eq!(two.say("peers").await, peers);
    assert_eq!(two.say("count").await, "2");
    let id = one.say("id").await;
    assert_eq!(two.say(format!("write-to {id} hello")).await, "ok");
    assert_eq!(one.recv_text().await, "hello");
}
