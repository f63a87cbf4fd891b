//! Time-outs of open connections, each once for real; that they come when they should is tested beside the code, with time that is
//! paused. And peers that do not read, which harm nobody.

use std::time::Duration;

use waterspout::SlowConsumer;
use waterspout_tests::frames::Frame;

use crate::probe::{probe, rooms};

/// Soon, and longer than a busy machine takes for a round trip.
const SOON: Duration = Duration::from_millis(500);

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let host = probe().limits(|limits| limits.idle_timeout = Some(SOON)).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.recv_close().await, (1001, "idle for too long".into()));
    client.ends().await;
    assert_eq!(host.connection_ends().await, "idle_timeout");
}

#[tokio::test]
async fn a_connection_that_has_been_open_for_long_enough_is_closed() {
    let host = probe().limits(|limits| limits.life_time = Some(SOON)).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.recv_close().await, (1001, "open for too long".into()));
    assert_eq!(host.connection_ends().await, "life_time_over");
}

#[tokio::test]
async fn a_connection_ends_on_time_while_its_handler_is_busy() {
    let host = probe()
        .limits(|limits| {
            limits.life_time = Some(SOON);
            limits.wall_per_event = Duration::from_secs(120);
        })
        .start()
        .await;
    let mut client = host.connect("/websocket?open=sleep+60000").await;
    assert_eq!(client.recv_close().await, (1001, "open for too long".into()));
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_dropped() {
    let host = probe().limits(|limits| limits.write_timeout = SOON).start().await;
    let request = host.request("/websocket?open=write+4+x+4MiB").receive_buffer(64 << 10);
    let (_, raw) = request.upgrade().await;
    assert_eq!(host.connection_ends().await, "write_timeout");
    drop(raw);
}

#[tokio::test]
async fn a_peer_that_never_reads_in_a_room_that_flushes_harms_nobody() {
    let host = rooms()
        .limits(|limits| {
            limits.write_timeout = Duration::from_secs(3);
            limits.shared_wait = Duration::from_millis(200);
        })
        .start()
        .await;
    let mut reader = host.connect("/rooms/blue").await;
    let request = host.request("/rooms/blue").receive_buffer(64 << 10);
    let (_, mut silent) = request.upgrade().await;
    // The room writes more to it than two sockets hold, and waits until that has left: it never will.
    silent.send(Frame::text("write 2 x 8MiB\nflush")).await;
    // Each of these makes the room wait for the silent one again, if it would.
    let began = tokio::time::Instant::now();
    for _ in 0..20 {
        silent.send(Frame::text("flush")).await;
        assert!(reader.say("count").await.parse::<u32>().is_ok());
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "20 answers took {took:?}, with one wait of 200 ms among them");
    assert_eq!(host.connection_ends().await, "write_timeout");
    // The room is still there.
    assert_eq!(reader.say("count").await, "21");
}

#[tokio::test]
async fn a_subscriber_that_reads_too_slowly_misses_messages_or_is_closed_as_the_operator_says() {
    for (slow_consumer, cause) in [(SlowConsumer::Drop, "vanished"), (SlowConsumer::Close, "slow_consumer")] {
        let host = probe()
            .limits(|limits| {
                limits.max_queue_bytes = 1 << 20;
                limits.close_timeout = Duration::from_millis(200);
            })
            .route(|route| route.slow_consumer = slow_consumer)
            .start()
            .await;
        let mut publisher = host.connect("/websocket").await;
        let request = host.request("/websocket?open=subscribe:news&open=say+ready").receive_buffer(64 << 10);
        let (_, mut slow) = request.upgrade().await;
        assert_eq!(slow.frame().await, Frame::text("ready"));
        for _ in 0..200 {
            assert_eq!(publisher.say("publish-large news 100KiB").await, "ok");
        }
        let told =
            |record: &waterspout_tests::Record| record.message.contains("published messages are dropped");
        host.logged("that messages are dropped", told).await;
        if slow_consumer == SlowConsumer::Drop {
            slow.reset();
        }
        let end = host.logged("the end of the subscriber", |record| record.message == "closed").await;
        assert_eq!(end.field("cause"), cause);
        assert!(end.field("published_drops").parse::<u32>().expect("a number") > 0, "{end}");
        assert_eq!(publisher.say("count").await, "1");
    }
}

#[tokio::test]
async fn a_message_that_a_subscribers_route_does_not_allow_says_nothing_of_the_subscriber() {
    let host = probe()
        .and_route(waterspout_tests::Guest::named("probe"), "/small")
        .limits(|limits| limits.max_message_bytes = 1000)
        .route(|route| route.slow_consumer = SlowConsumer::Close)
        .start()
        .await;
    let mut subscriber = host.connect("/small?open=subscribe:news&open=say+ready").await;
    assert_eq!(subscriber.recv_text().await, "ready");
    let mut publisher = host.connect("/websocket").await;
    assert_eq!(publisher.say("publish-large news 1001").await, "ok");
    assert_eq!(publisher.say("publish news hello").await, "ok");
    assert_eq!(subscriber.recv_text().await, "hello");
}
