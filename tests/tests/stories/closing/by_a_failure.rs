//! The handler fails: it traps, spins, or waits too long.

use std::time::Duration;

use waterspout_tests::frames::Frame;

use super::witnessed;
use crate::probe::probe;
use crate::witness::{Witness, reporting, target};

fn failed() -> (u16, String) {
    (1011, "handler failed".into())
}

fn took_too_long() -> (u16, String) {
    (1011, "handler took too long".into())
}

#[tokio::test]
async fn a_trap_is_1011_and_on_close_is_not_called() {
    let (host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send(Frame::text("trap")).await;
    assert_eq!(raw.close_frame().await, failed());
    raw.send(Frame::close(1011, "")).await;
    raw.ends().await;
    witness.sees(["1 on-message text trap"]).await;
    assert_eq!(host.connection_ends().await, "trapped");
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn a_trap_in_any_event_is_1011() {
    let host = probe().start().await;
    for script in [
        &[("open", "trap")][..],
        &[("message", "trap")],
        &[("ping", "trap")],
        &[("pong", "trap")],
        &[("open", "timer 1 0"), ("timer", "trap")],
    ] {
        let mut raw = host.raw(&target("/websocket", script)).await;
        match script[0].0 {
            "message" => raw.send(Frame::binary("")).await,
            "ping" => {
                raw.send(Frame::ping("")).await;
                assert_eq!(raw.frame().await, Frame::pong(""));
            }
            "pong" => raw.send(Frame::pong("")).await,
            _ => {}
        }
        assert_eq!(raw.close_frame().await, failed(), "{script:?}");
        raw.send(Frame::close(1011, "")).await;
        raw.ends().await;
    }
}

#[tokio::test]
async fn a_trap_in_open_calls_nothing_else() {
    let (host, mut witness, mut raw) = witnessed(&[("open", "trap")]).await;
    assert_eq!(raw.close_frame().await, failed());
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn a_trap_in_on_close_concerns_nobody_but_the_log() {
    let (host, mut witness, mut raw) = witnessed(&[("close", "trap")]).await;
    raw.send(Frame::close(1000, "")).await;
    assert_eq!(raw.close_frame().await.0, 1000);
    raw.ends().await;
    witness.sees(["1 on-close 1000"]).await;
    let record = host.logged("the trap", |record| record.field("call") == "on-close").await;
    assert_eq!(record.level, tracing::Level::WARN);
    assert_eq!(host.connection_ends().await, "peer_closed");
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn a_traps_place_and_a_panics_message_are_in_the_log_and_not_on_the_wire() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("panic the secret is xyzzy")).await;
    assert_eq!(raw.close_frame().await, failed());
    raw.send(Frame::close(1011, "")).await;
    let trap = host.logged("the trap", |record| record.field("call") == "on-message").await;
    assert_eq!((trap.level, trap.field("route")), (tracing::Level::WARN, "test"));
    assert!(trap.field("at").contains("probe"), "{trap}");
    assert!(trap.field("cause").contains("unreachable"), "{trap}");
    let message = host.guest_prints("the secret is xyzzy").await;
    assert_eq!(message.field("connection"), trap.field("connection"));
    let place = host.guest_prints("panicked at").await;
    assert!(place.message.contains("commands.rs:"), "{place}");
    let end = host.logged("the end", |record| record.message == "closed").await;
    assert_eq!((end.level, end.field("connection")), (tracing::Level::WARN, trap.field("connection")));
}

#[tokio::test]
async fn a_handler_that_exits_has_failed() {
    let host = probe().start().await;
    for command in ["exit 0", "exit 1"] {
        let mut raw = host.raw("/websocket").await;
        raw.send(Frame::text(command)).await;
        assert_eq!(raw.close_frame().await, failed());
    }
}

#[tokio::test]
async fn a_handler_that_fills_its_stack_has_failed() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("recurse")).await;
    assert_eq!(raw.close_frame().await, failed());
}

#[tokio::test]
async fn what_was_written_before_a_trap_is_sent() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("say last words\ntrap")).await;
    assert_eq!(raw.frame().await, Frame::text("last words"));
    assert_eq!(raw.close_frame().await, failed());
}

#[tokio::test]
async fn answers_to_earlier_messages_are_sent_before_the_1011() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send_bytes(&["say one", "say two", "trap"].map(|text| Frame::text(text).masked()).concat()).await;
    assert_eq!(raw.frame().await, Frame::text("one"));
    assert_eq!(raw.frame().await, Frame::text("two"));
    assert_eq!(raw.close_frame().await, failed());
}

#[tokio::test]
async fn messages_behind_the_one_that_trapped_are_nobodys() {
    let (host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send_bytes(&[Frame::text("trap").masked(), Frame::text("say late").masked()].concat()).await;
    assert_eq!(raw.close_frame().await, failed());
    witness.sees(["1 on-message text trap"]).await;
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn a_handler_that_spins_is_1011_and_others_go_on() {
    let host = probe().limits(|limits| limits.cpu_per_event = Duration::from_millis(50)).start().await;
    let mut other = host.connect("/websocket").await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("spin")).await;
    assert_eq!(other.say("say still here").await, "still here");
    assert_eq!(raw.close_frame().await, took_too_long());
    raw.send(Frame::close(1011, "")).await;
    assert_eq!(host.connection_ends().await, "deadline_exceeded");
    assert_eq!(other.say("count").await, "1");
}

#[tokio::test]
async fn a_handler_that_waits_too_long_is_1011_and_on_close_is_not_called() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_millis(200)).start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    raw.send(Frame::text("sleep 60000")).await;
    assert_eq!(raw.close_frame().await, took_too_long());
    witness.sees(["1 on-message text sleep 60000"]).await;
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn a_trap_of_one_connection_harms_no_other() {
    let host = probe().start().await;
    let mut others = Vec::new();
    for _ in 0..5 {
        others.push(host.connect("/websocket").await);
    }
    for _ in 0..5 {
        let mut raw = host.raw("/websocket").await;
        raw.send(Frame::text("trap")).await;
        assert_eq!(raw.close_frame().await, failed());
    }
    for other in &mut others {
        assert_eq!(other.say("count").await, "1");
    }
    assert_eq!(host.connect("/websocket").await.say("count").await, "1");
}

#[tokio::test]
async fn a_peer_that_does_not_answer_the_1011_is_dropped() {
    let host = probe().limits(|limits| limits.close_timeout = Duration::from_millis(100)).start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("trap")).await;
    assert_eq!(raw.close_frame().await, failed());
    raw.is_dropped().await;
    assert_eq!(host.connection_ends().await, "trapped");
}
