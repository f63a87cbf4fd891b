//! Handlers that trap, spin or wait before the 101, and peers that leave before it.

use std::time::Duration;

use super::{FAILED, asking, refused};
use crate::probe::probe;
use crate::witness::{Witness, reporting};

const TOO_LONG: &str = "The handler took too long.";

#[tokio::test]
async fn a_trap_before_the_101_is_500_and_tells_the_peer_nothing() {
    let host = probe().start().await;
    for function in ["constructor", "prepare", "origin", "select"] {
        let target = asking(&[(function, "panic the secret is xyzzy")]);
        let answer = refused(host.request(&target).header("Origin", host.origin()), 500, FAILED).await;
        assert!(!format!("{answer:?}").contains("xyzzy"), "{answer:?}");
    }
    refused(host.request(&asking(&[("compression", "trap")])), 500, FAILED).await;
}

#[tokio::test]
async fn a_trap_before_the_101_is_logged_with_where_it_happened() {
    let host = probe().start().await;
    for (function, call) in [
        ("constructor", "constructor"),
        ("prepare", "prepare"),
        ("origin", "check-origin"),
        ("select", "select-subprotocol"),
    ] {
        let target = asking(&[(function, &format!("panic secret of {function}"))]);
        refused(host.request(&target).header("Origin", host.origin()), 500, FAILED).await;
        let record = host.logged(call, |record| record.field("call") == call).await;
        assert_eq!((record.level, record.field("route")), (tracing::Level::WARN, "test"), "{record}");
        assert!(!record.field("connection").is_empty() && !record.field("cause").is_empty(), "{record}");
        let text = host.guest_prints(&format!("secret of {function}")).await;
        assert_eq!(text.field("connection"), record.field("connection"));
    }
}

#[tokio::test]
async fn after_a_trap_in_the_handshake_nothing_else_is_called() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    for (function, lines) in [
        ("constructor", &["constructor"][..]),
        ("prepare", &["constructor", "prepare"]),
        ("select", &["constructor", "prepare", "select-subprotocol"]),
        ("compression", &["constructor", "prepare", "select-subprotocol", "get-compression-options"]),
    ] {
        refused(host.request(&reporting(&[(function, "trap")])), 500, FAILED).await;
        for line in lines {
            assert_eq!(witness.line().await, format!("1 {line}"));
        }
        witness.sees_no_more(&host).await;
    }
}

#[tokio::test]
async fn a_handler_that_spins_before_the_101_is_503() {
    let host = probe().limits(|limits| limits.cpu_per_event = Duration::from_millis(20)).start().await;
    let mut functions =
        vec![("constructor", "spin"), ("prepare", "spin"), ("origin", "spin"), ("select", "spin")];
    functions.push(("compression", "spin"));
    for command in functions {
        let request = host.request(&asking(&[command])).header("Origin", host.origin());
        let answer = refused(request, 503, TOO_LONG).await;
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
}

#[tokio::test]
async fn a_handler_that_waits_too_long_before_the_101_is_503() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_millis(200)).start().await;
    for function in ["constructor", "prepare", "select"] {
        refused(host.request(&asking(&[(function, "sleep 60000")])), 503, TOO_LONG).await;
    }
}

#[tokio::test]
async fn after_a_deadline_in_the_handshake_nothing_else_is_called() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_millis(200)).start().await;
    let mut witness = Witness::of(&host).await;
    refused(host.request(&reporting(&[("prepare", "sleep 60000")])), 503, TOO_LONG).await;
    witness.sees(["1 constructor", "1 prepare"]).await;
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn a_handler_that_answers_just_within_its_time_is_served() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_secs(5)).start().await;
    let mut client = host.connect(&asking(&[("prepare", "sleep 50"), ("open", "say hello")])).await;
    assert_eq!(client.recv_text().await, "hello");
}

#[tokio::test]
async fn a_failed_handshake_harms_no_other_connection() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    refused(host.request(&asking(&[("prepare", "trap")])), 500, FAILED).await;
    assert_eq!(client.say("count").await, "1");
    assert_eq!(host.connect("/websocket").await.say("count").await, "1");
}

#[tokio::test]
async fn a_peer_that_leaves_during_the_handshake_is_forgotten() {
    let mut host = probe().instance("route").start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("watch").await, "ok");
    for (number, function) in [(2, "constructor"), (3, "prepare"), (4, "select")] {
        let leaving = host.request(&asking(&[(function, "sleep 100")])).sent().await;
        // It is in the middle of the handshake.
        while !client.recv_text().await.contains(function) {}
        leaving.reset();
        let mut lines = Vec::new();
        while lines.last() != Some(&format!("history {number} drop")) {
            lines.push(client.recv_text().await);
        }
        assert!(!lines.iter().any(|line| line.ends_with("open") || line.contains("on-close")), "{lines:?}");
    }
    client.leave().await;
    host.shut_down();
    assert_eq!(host.gone().await, 0);
}
