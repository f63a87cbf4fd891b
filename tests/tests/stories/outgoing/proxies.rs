//! The example guest proxy: what comes on one side goes out on the other.

use std::net::SocketAddr;

use tokio_tungstenite::tungstenite::Message;
use waterspout_tests::{Guest, TestHost, within};

use super::{bound, echo};
use crate::probe::probe;

async fn proxy(server: SocketAddr, path: &str) -> TestHost {
    let upstream = format!("ws://{server}{path}");
    TestHost::new(Guest::named("proxy"))
        .connects_to(&[server.to_string()])
        .route(|route| route.config = [("upstream".to_owned(), upstream)].into())
        .start()
        .await
}

#[tokio::test]
async fn a_proxy_passes_on_both_ways_and_closes_the_other_side_with_the_same_code() {
    let server = probe().start().await;
    let host = proxy(server.address(), "/websocket").await;
    // The peer closes.
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("say hello").await, "hello");
    client.send_binary([1, 2, 3]).await;
    assert_eq!(client.recv_binary().await, [1, 2, 3]);
    client.close(4001, "enough").await;
    assert_eq!(client.recv_close().await, (4001, "enough".into()));
    assert_eq!(server.connection_ends().await, "peer_closed");
    // The server closes, after a last word.
    let mut client = host.connect("/websocket").await;
    client.send_text("say last words\nclose 4002 go away").await;
    assert_eq!(client.recv_text().await, "last words");
    assert_eq!(client.recv_close().await, (4002, "go away".into()));
    client.ends().await;
}

#[tokio::test]
async fn a_proxy_whose_server_cannot_be_reached_says_so() {
    let (_socket, gone) = bound();
    let host = proxy(gone, "/websocket").await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.recv_close().await, (1011, "the server cannot be reached".into()));
    host.guest_prints("no connection to the server").await;
}

#[tokio::test]
async fn a_proxy_under_load_loses_nothing_and_keeps_the_order() {
    let server = echo().await;
    let host = proxy(server.address(), "/websocket").await;
    const MESSAGES: usize = 300;
    let mut tasks = tokio::task::JoinSet::new();
    for peer in 0..8 {
        let mut client = host.connect("/websocket").await;
        tasks.spawn(async move {
            let text = |number: usize| format!("{peer} {number} {}", "x".repeat(number % 3_000));
            let mut received = 0;
            for number in 0..MESSAGES {
                client.send_text(text(number)).await;
                // So many are on their way at once.
                if number >= 100 {
                    assert_eq!(client.recv_text().await, text(received));
                    received += 1;
                }
            }
            while received < MESSAGES {
                assert_eq!(client.recv_text().await, text(received));
                received += 1;
            }
            client.leave().await;
        });
    }
    while let Some(ended) = within("all peers", tasks.join_next()).await {
        ended.expect("no peer fails");
    }
}

#[tokio::test]
async fn a_proxy_under_load_passes_on_a_close_from_the_servers_side_too() {
    let server = probe().start().await;
    let target = crate::witness::target(
        "/websocket",
        &[("message", "echo"), ("open", "timer 1 300"), ("timer", "close 4002 enough")],
    );
    let host = proxy(server.address(), &target).await;
    let mut tasks = tokio::task::JoinSet::new();
    for peer in 0..4 {
        let mut client = host.connect("/websocket").await;
        tasks.spawn(async move {
            let text = |number: usize| format!("{peer} {number} {}", "x".repeat(number % 500));
            for number in 0.. {
                client.send_text(text(number)).await;
                match client.recv().await {
                    Message::Text(echo) => assert_eq!(echo.as_str(), text(number)),
                    Message::Close(frame) => return u16::from(frame.expect("a code").code),
                    other => panic!("{other:?}"),
                }
            }
            unreachable!("it ends with the close")
        });
    }
    while let Some(code) = within("all peers", tasks.join_next()).await {
        assert_eq!(code.expect("no peer fails"), 4002);
    }
}

/// A proxy with small queues to a server that sends so many messages of 64 KiB at once.
async fn proxied_flood(messages: u32) -> (TestHost, TestHost) {
    let server = probe().start().await;
    let target = crate::witness::target("/websocket", &[("open", &format!("write {messages} x 64KiB"))]);
    let upstream = format!("ws://{}{target}", server.address());
    let host = TestHost::new(Guest::named("proxy"))
        .connects_to(&[server.address().to_string()])
        .route(|route| route.config = [("upstream".to_owned(), upstream)].into())
        .limits(|limits| {
            limits.max_message_bytes = 1 << 20;
            limits.max_queue_bytes = 1 << 20;
        })
        .start()
        .await;
    (server, host)
}

#[tokio::test]
async fn a_proxy_keeps_what_a_slow_peer_does_not_take_yet() {
    let (_server, host) = proxied_flood(60).await;
    let (_, mut raw) = host.request("/websocket").receive_buffer(64 << 10).upgrade().await;
    for _ in 0..60 {
        assert_eq!(raw.frame().await.payload.len(), 64 << 10);
    }
}

#[tokio::test]
async fn a_proxy_gives_up_a_peer_that_is_much_too_slow() {
    let (server, host) = proxied_flood(200).await;
    let (_, raw) = host.request("/websocket").receive_buffer(64 << 10).upgrade().await;
    assert_eq!(server.connection_ends().await, "peer_closed");
    host.logged("the end", |record| record.message == "closed").await;
    drop(raw);
}
