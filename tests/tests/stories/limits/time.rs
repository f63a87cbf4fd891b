//! Processor time and wall-clock time of an event.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;
use tracing::Level;
use waterspout_tests::host::Builder;
use waterspout_tests::{Guest, TestHost};

use super::{goes_on, unasked_pong};
use crate::probe::{probe, rooms};

/// More than any event of these tests needs, less than an endless one gets.
const CPU: Duration = Duration::from_millis(300);

fn with_little_cpu() -> Builder {
    probe().limits(|limits| limits.cpu_per_event = CPU)
}

const TOO_LONG: &str = "handler took too long";

#[tokio::test]
async fn a_question_of_the_handshake_that_does_not_return_is_503() {
    let host = with_little_cpu().start().await;
    for call in ["constructor", "prepare", "origin", "select", "compression"] {
        let answer =
            host.request(&format!("/websocket?{call}=spin")).header("Origin", host.origin()).answer().await;
        assert_eq!((answer.status, answer.text()), (503, "The handler took too long."), "{call}");
        assert!(answer.header("retry-after").is_some(), "{call}");
    }
    let calls: Vec<_> = host
        .logs()
        .into_iter()
        .filter(|record| record.message == "the handler ran past its deadline")
        .map(|record| record.field("call").to_owned())
        .collect();
    let expected =
        ["constructor", "prepare", "check-origin", "select-subprotocol", "get-compression-options"];
    assert_eq!(calls, expected);
    goes_on(&host, "/websocket").await;
}

#[tokio::test]
async fn an_event_that_does_not_return_ends_its_connection_with_1011() {
    let host = with_little_cpu().start().await;
    for (call, name) in [
        ("open", "open"),
        ("message", "on-message"),
        ("ping", "on-ping"),
        ("pong", "on-pong"),
        ("timer", "on-timer"),
    ] {
        let timer = if call == "timer" { "&open=timer:1+0" } else { "" };
        let mut client = host.connect(&format!("/websocket?{call}=spin{timer}")).await;
        match call {
            "message" => client.send_text("spin, please").await,
            "ping" => {
                client.ping("").await;
                assert!(client.recv().await.is_pong(), "the pong goes out before on-ping");
            }
            "pong" => client.send(unasked_pong()).await,
            _ => {}
        }
        assert_eq!(client.recv_close().await, (1011, TOO_LONG.into()), "{call}");
        client.ends().await;
        let record = host.logged(name, |record| record.field("call") == name).await;
        assert_eq!(
            (record.level, record.message.as_str()),
            (Level::WARN, "the handler ran past its deadline")
        );
        assert!(record.field("cause").contains("cpu-per-event"), "{record}");
    }
    goes_on(&host, "/websocket").await;
}

#[tokio::test]
async fn an_on_writable_that_does_not_return_ends_its_connection() {
    let host = with_little_cpu().limits(|limits| limits.max_queue_bytes = 1000).start().await;
    let mut client = host.connect("/websocket?writable=spin").await;
    client.send_text("write 100000 x 900").await;
    loop {
        if let Message::Close(frame) = client.recv().await {
            assert_eq!(u16::from(frame.expect("a code").code), 1011);
            break;
        }
    }
    host.logged("on-writable", |record| record.field("call") == "on-writable").await;
}

#[tokio::test]
async fn an_on_close_that_does_not_return_is_stopped_and_nobody_waits_for_it() {
    let host = with_little_cpu().start().await;
    let mut client = host.connect("/websocket?close=spin").await;
    client.close(1000, "").await;
    assert_eq!(client.recv_close().await.0, 1000);
    client.ends().await;
    let record = host.logged("on-close", |record| record.field("call") == "on-close").await;
    assert_eq!(record.message, "the handler ran past its deadline");
    assert_eq!(host.connection_ends().await, "peer_closed");
    goes_on(&host, "/websocket").await;
}

#[tokio::test]
async fn an_endless_event_of_a_shared_instance_ends_all_its_connections_and_no_other() {
    let host = rooms().limits(|limits| limits.cpu_per_event = CPU).start().await;
    let mut red = host.connect("/rooms/red").await;
    let (mut one, mut two) = (host.connect("/rooms/blue").await, host.connect("/rooms/blue").await);
    one.send_text("spin").await;
    assert_eq!(one.recv_close().await, (1011, TOO_LONG.into()));
    assert_eq!(two.recv_close().await, (1011, TOO_LONG.into()));
    assert_eq!(red.say("count").await, "1");
    goes_on(&host, "/rooms/blue").await;
}

#[tokio::test]
async fn each_event_has_the_whole_of_its_processor_time() {
    let host = probe().limits(|limits| limits.cpu_per_event = Duration::from_secs(1)).start().await;
    let mut client = host.connect("/websocket").await;
    // Together more than one event may have.
    for _ in 0..12 {
        assert_eq!(client.say("spin 100").await, "ok");
    }
}

#[tokio::test]
async fn waiting_is_no_processor_time() {
    let host = probe().limits(|limits| limits.cpu_per_event = Duration::from_millis(100)).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("sleep 400").await, "ok");
}

#[tokio::test]
async fn other_connections_are_served_while_guests_use_all_the_processor() {
    let host = probe()
        .limits(|limits| {
            limits.cpu_per_event = Duration::from_secs(600);
            limits.wall_per_event = Duration::from_secs(600);
        })
        .start()
        .await;
    // More than the host has threads.
    let mut spinning = Vec::new();
    for _ in 0..4 {
        let mut client = host.connect("/websocket").await;
        client.send_text("say begun\nspin").await;
        assert_eq!(client.recv_text().await, "begun");
        spinning.push(client);
    }
    let mut other = host.connect("/websocket").await;
    for turn in 1..=10 {
        assert_eq!(other.say("count").await, turn.to_string());
    }
    // Those are alive, and their pings are answered.
    for client in &mut spinning {
        client.ping("still there?").await;
        assert!(client.recv().await.is_pong());
    }
}

#[tokio::test]
async fn a_handshake_that_waits_too_long_is_503() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_millis(300)).start().await;
    for call in ["constructor", "prepare", "select"] {
        let answer = host.request(&format!("/websocket?{call}=sleep:3600000")).answer().await;
        assert_eq!((answer.status, answer.text()), (503, "The handler took too long."), "{call}");
    }
    goes_on(&host, "/websocket").await;
}

#[tokio::test]
async fn an_event_that_waits_too_long_ends_its_connection_with_1011() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_millis(300)).start().await;
    let mut other = host.connect("/websocket").await;
    let mut client = host.connect("/websocket").await;
    client.send_text("say begun\nsleep 3600000").await;
    assert_eq!(client.recv_text().await, "begun");
    assert_eq!(other.say("count").await, "1");
    assert_eq!(client.recv_close().await, (1011, TOO_LONG.into()));
    let record =
        host.logged("the deadline", |record| record.message == "the handler ran past its deadline").await;
    assert!(record.field("cause").contains("wall-per-event"), "{record}");
}

#[tokio::test]
async fn a_waiting_event_delays_neither_pongs_nor_what_it_wrote() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_secs(600)).start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("say before\nsleep 3600000").await;
    assert_eq!(client.recv_text().await, "before");
    client.ping("there?").await;
    assert_eq!(client.recv().await.into_data().as_ref(), b"there?");
}

/// Before it echoes it asks the host so often for a number, one call after the other: no function, no loop, and no memory that the host would want
/// to write to through one of the guest's.
fn asks_in_a_row(calls: usize) -> Guest {
    Guest::echo_changed(|text| {
        let import = "(module\n  (import \"waterspout:websocket/connection@0.1.0\" \"[method]connection.buffered-amount\"\n    \
                      (func $buffered-amount (param i32) (result i32)))\n";
        let begin = "    (block $done\n      (call $write-message";
        assert!(text.contains("(module\n") && text.contains(begin), "the echo has another beginning");
        let row = "    (drop (call $buffered-amount (local.get $connection)))\n".repeat(calls);
        text.replacen("(module\n", import, 1).replacen(begin, &format!("{row}{begin}"), 1)
    })
}

#[tokio::test]
async fn an_event_that_does_nothing_but_call_the_host_is_stopped_as_any_other() {
    const CALLS: usize = 500_000;
    let with = |cpu| TestHost::new(asks_in_a_row(CALLS)).limits(move |limits| limits.cpu_per_event = cpu);
    let host = with(Duration::from_secs(60)).start().await;
    assert_eq!(host.connect("/websocket").await.say("in its time").await, "in its time");

    // A call takes 60 ns at least.
    let host = with(Duration::from_millis(20)).start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("in less").await;
    assert_eq!(client.recv_close().await, (1011, TOO_LONG.into()));
}
