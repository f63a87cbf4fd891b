//! A peer does not outlive its end: what is handled of what it has sent, by how it ended, and when its socket is closed.

use std::time::Duration;

use waterspout::server::proxies::TrustedProxies;
use waterspout::{Limits, SlowConsumer};
use waterspout_tests::frames::Frame;
use waterspout_tests::host::Builder;
use waterspout_tests::{Guest, Raw, TestHost};

use crate::probe::probe;
use crate::witness::{Witness, reporting_from};

/// Soon, and longer than a busy machine takes for a round trip.
const SOON: Duration = Duration::from_millis(500);

/// An event that is still going on when whatever is to happen has happened.
const BUSY: &str = "sleep 1500";

fn together(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::masked).collect()
}

/// A host whose limits of `/busy` are not those of the witness.
fn beside_a_witness() -> Builder {
    probe().and_route(Guest::named("probe"), "/busy")
}

fn reporting(commands: &[(&str, &str)]) -> String {
    reporting_from("/busy", commands)
}

/// A handler that is busy with the first message of its peer, and a second message that waits.
async fn busy(change: impl FnOnce(&mut Limits)) -> (TestHost, Witness, Raw) {
    let host = beside_a_witness().limits(change).start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    raw.send_bytes(&together(&[Frame::text(BUSY), Frame::text("say late")])).await;
    witness.sees([&format!("1 on-message text {BUSY}")]).await;
    (host, witness, raw)
}

#[tokio::test]
async fn what_waits_when_the_peer_resets_is_nobodys() {
    let (host, mut witness, raw) = busy(|_| {}).await;
    raw.reset();
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "vanished");
}

#[tokio::test]
async fn a_reset_is_noticed_behind_more_than_is_read() {
    let (host, mut witness, mut raw) = busy(|_| {}).await;
    raw.send_bytes(&together(&vec![Frame::text(""); 20_000])).await;
    raw.reset();
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "vanished");
}

#[tokio::test]
async fn what_waits_when_the_peer_ends_without_a_close_frame_is_nobodys() {
    let (host, mut witness, mut raw) = busy(|_| {}).await;
    raw.finish().await;
    // Although the handler is busy.
    raw.is_dropped().await;
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "vanished");
}

#[tokio::test]
async fn what_waits_when_a_life_time_is_over_is_nobodys_and_the_socket_ends_while_the_handler_is_busy() {
    let (host, mut witness, mut raw) = busy(|limits| limits.life_time = Some(SOON)).await;
    assert_eq!(raw.close_frame().await, (1001, "open for too long".into()));
    raw.send(Frame::close(1001, "bye")).await;
    raw.ends().await;
    assert!(!host.logs().iter().any(|record| record.message == "closed"), "the handler is not busy any more");
    witness.sees(["1 on-close 1001 bye", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "life_time_over");
}

#[tokio::test]
async fn a_peer_that_does_not_answer_the_hosts_close_is_dropped_while_the_handler_is_busy() {
    let (host, mut witness, mut raw) = busy(|limits| {
        limits.life_time = Some(SOON);
        limits.close_timeout = Duration::from_millis(100);
    })
    .await;
    assert_eq!(raw.close_frame().await.0, 1001);
    raw.send(Frame::text("say too late")).await;
    raw.is_dropped().await;
    assert!(!host.logs().iter().any(|record| record.message == "closed"), "the handler is not busy any more");
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "life_time_over");
}

#[tokio::test]
async fn who_sends_more_than_is_read_ahead_does_not_outlive_its_life_time() {
    let (host, mut witness, mut raw) = busy(|limits| limits.life_time = Some(SOON)).await;
    // More than fits: the host stops reading.
    raw.send_bytes(&together(&vec![Frame::text(""); 2000])).await;
    assert_eq!(raw.close_frame().await.0, 1001);
    // The answer is found behind what nobody wants.
    raw.send(Frame::close(1001, "")).await;
    raw.ends().await;
    witness.sees(["1 on-close 1001", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "life_time_over");
}

#[tokio::test]
async fn a_ping_that_nobody_answers_ends_what_waits() {
    let (host, mut witness, mut raw) = busy(|limits| {
        limits.ping_interval = Duration::from_millis(200);
        limits.close_timeout = Duration::from_millis(100);
    })
    .await;
    assert_eq!(raw.frame().await, Frame::ping(""));
    assert_eq!(raw.close_frame().await, (1000, "ping timed out".into()));
    raw.is_dropped().await;
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "ping_timeout");
}

#[tokio::test]
async fn what_waits_when_the_handlers_own_close_is_not_answered_is_nobodys() {
    let host =
        beside_a_witness().limits(|limits| limits.close_timeout = Duration::from_millis(100)).start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    let closing = format!("close 4000\n{BUSY}");
    raw.send_bytes(&together(&[Frame::text(&closing), Frame::text("say late")])).await;
    assert_eq!(raw.close_frame().await.0, 4000);
    raw.is_dropped().await;
    assert!(!host.logs().iter().any(|record| record.message == "closed"), "the handler is not busy any more");
    assert!(witness.line().await.starts_with("1 on-message text close 4000"));
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "handler_closed");
}

#[tokio::test]
async fn what_waits_when_the_handlers_own_close_is_answered_is_handled() {
    let host = beside_a_witness().start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    let frames = [Frame::text("close 4000\nsleep 100"), Frame::text("late"), Frame::close(4000, "")];
    raw.send_bytes(&together(&frames)).await;
    assert!(witness.line().await.starts_with("1 on-message text close 4000"));
    witness.sees(["1 on-message text late", "1 on-close 4000", "1 drop"]).await;
}

#[tokio::test]
async fn what_waits_of_a_subscriber_that_reads_too_slowly_is_nobodys() {
    let host = beside_a_witness()
        .limits(|limits| {
            limits.max_queue_bytes = 1 << 20;
            limits.close_timeout = Duration::from_millis(200);
        })
        .route(|route| route.slow_consumer = SlowConsumer::Close)
        .start()
        .await;
    let mut witness = Witness::of(&host).await;
    let mut publisher = host.connect("/websocket").await;
    let request = host.request(&reporting(&[("open", "subscribe news")])).receive_buffer(64 << 10);
    let (_, mut slow) = request.upgrade().await;
    witness.sees_open().await;
    witness.sees(["1 open: subscribe news = ok"]).await;
    slow.send_bytes(&together(&[Frame::text(BUSY), Frame::text("say late")])).await;
    witness.sees([&format!("1 on-message text {BUSY}")]).await;
    for _ in 0..200 {
        assert_eq!(publisher.say("publish-large news 100KiB").await, "ok");
    }
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "slow_consumer");
}

#[tokio::test]
async fn what_waits_of_a_peer_that_takes_nothing_is_nobodys() {
    let host = beside_a_witness().limits(|limits| limits.write_timeout = SOON).start().await;
    let mut witness = Witness::of(&host).await;
    let (_, mut raw) = host.request(&reporting(&[])).receive_buffer(64 << 10).upgrade().await;
    witness.sees_open().await;
    let busy = format!("write 4 x 4MiB\n{BUSY}");
    raw.send_bytes(&together(&[Frame::text(busy), Frame::text("say late")])).await;
    assert!(witness.line().await.starts_with("1 on-message text write 4"));
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "write_timeout");
}

// The peer's own close frame.

#[tokio::test]
async fn what_came_before_a_close_frame_is_handled_although_the_peer_ends_its_side() {
    let (host, mut witness, mut raw) = busy(|_| {}).await;
    raw.send(Frame::close(4001, "done")).await;
    raw.finish().await;
    for text in ["ok", "late"] {
        assert_eq!(raw.frame().await, Frame::text(text));
    }
    assert_eq!(raw.close_frame().await.0, 4001);
    witness.sees(["1 on-message text say late", "1 on-close 4001 done", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "peer_closed");
}

#[tokio::test]
async fn what_came_before_a_close_frame_is_nobodys_once_the_peer_resets() {
    let (host, mut witness, mut raw) = busy(|_| {}).await;
    raw.send(Frame::close(4001, "done")).await;
    // The reset is behind the close frame, and the host has read that.
    raw.send(Frame::ping("")).await;
    raw.reset();
    witness.sees(["1 on-close 4001 done", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "peer_closed");
}

#[tokio::test]
async fn what_came_before_a_close_frame_is_handled_for_no_longer_than_the_life_time() {
    let (host, mut witness, mut raw) = busy(|limits| limits.life_time = Some(SOON)).await;
    raw.send(Frame::close(4001, "done")).await;
    raw.is_dropped().await;
    witness.sees(["1 on-close 4001 done", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "peer_closed");
}

// What a connection takes from others.

#[tokio::test]
async fn an_address_may_have_another_connection_as_soon_as_a_socket_is_closed() {
    let host = probe()
        .options(|options| {
            options.max_connections_per_address = 1;
            options.trusted_proxies = TrustedProxies::new(["127.0.0.1"]).expect("networks");
        })
        .limits(|limits| {
            limits.life_time = Some(SOON);
            limits.close_timeout = Duration::from_millis(100);
            limits.wall_per_event = Duration::from_secs(600);
        })
        .start()
        .await;
    let from = |target: &str| host.request(target).header("X-Forwarded-For", "203.0.113.9");
    let (_, mut raw) = from("/websocket?open=sleep+300000").upgrade().await;
    assert_eq!(from("/websocket").answer().await.status, 429);
    assert_eq!(raw.close_frame().await.0, 1001);
    raw.is_dropped().await;
    from("/websocket").upgrade().await;
}
