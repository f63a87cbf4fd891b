//! Endings: by the peer, by the handler, by a failure, by the server, and by nobody at all.

use std::time::Duration;

use waterspout_tests::frames::{CLOSE, Frame};
use waterspout_tests::{Guest, Raw, TestHost};

use crate::probe::probe;
use crate::witness::{Witness, reporting, target};

/// Commands for `open`, under `/websocket`.
fn opening(commands: &[&str]) -> String {
    let commands: Vec<_> = commands.iter().map(|command| ("open", *command)).collect();
    target("/websocket", &commands)
}

/// A probe, a witness, and a connection that it reports of and has seen open.
async fn witnessed(commands: &[(&str, &str)]) -> (TestHost, Witness, Raw) {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let raw = host.raw(&reporting(commands)).await;
    witness.sees_open().await;
    (host, witness, raw)
}

fn failed() -> (u16, String) {
    (1011, "handler failed".into())
}

fn took_too_long() -> (u16, String) {
    (1011, "handler took too long".into())
}

// The peer closes

#[tokio::test]
async fn a_close_of_the_peer_is_answered_with_its_code_and_told_to_on_close() {
    let (host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send(Frame::close(1001, "goodbye")).await;
    assert_eq!(raw.close_frame().await.0, 1001);
    raw.ends().await;
    witness.sees(["1 on-close 1001 goodbye", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "peer_closed");
}

#[tokio::test]
async fn a_close_without_a_code_is_answered_likewise_and_told_as_1005() {
    let (_host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send(Frame::new(CLOSE, "")).await;
    assert_eq!(raw.close_frame().await.0, 1005);
    raw.ends().await;
    witness.sees(["1 on-close 1005", "1 drop"]).await;
}

#[tokio::test]
async fn every_code_that_a_peer_may_send_is_told_to_on_close() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        let mut raw = host.raw(&reporting(&[])).await;
        witness.sees_open().await;
        raw.send(Frame::close(code, "r\u{e9}ason")).await;
        assert_eq!(raw.close_frame().await.0, code);
        witness.sees([&format!("1 on-close {code} r\u{e9}ason"), "1 drop"]).await;
    }
}

#[tokio::test]
async fn a_reason_of_123_bytes_is_told_to_on_close() {
    let (_host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send(Frame::close(1000, "x".repeat(123))).await;
    raw.close_frame().await;
    // The probe cuts what it remembers.
    assert!(witness.line().await.starts_with(&format!("1 on-close 1000 {}", "x".repeat(50))));
}

#[tokio::test]
async fn on_close_is_called_once_even_if_the_handler_closes_in_it() {
    let (host, mut witness, mut raw) = witnessed(&[("close", "close 4001 again")]).await;
    raw.send(Frame::close(1000, "")).await;
    assert_eq!(raw.close_frame().await.0, 1000);
    raw.ends().await;
    assert_eq!(witness.line().await, "1 on-close 1000");
    assert!(witness.line().await.starts_with("1 close: close 4001 again = "));
    witness.sees(["1 drop"]).await;
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn in_on_close_everything_that_acts_is_closed() {
    let commands = ["say x", "ping x", "flush", "nodelay", "timer 1 1", "subscribe t", "close 4001"];
    let script: Vec<_> = commands.iter().map(|command| ("close", *command)).collect();
    let (_host, mut witness, mut raw) = witnessed(&script).await;
    raw.send(Frame::close(1000, "")).await;
    raw.close_frame().await;
    raw.ends().await;
    assert_eq!(witness.line().await, "1 on-close 1000");
    for command in commands {
        assert_eq!(witness.line().await, format!("1 close: {command} = closed"));
    }
    witness.sees(["1 drop"]).await;
}

#[tokio::test]
async fn in_on_close_the_request_and_the_connection_can_still_be_read() {
    let script =
        [("close", "uri"), ("close", "subprotocol"), ("close", "buffered"), ("close", "header host")];
    let (host, mut witness, mut raw) = witnessed(&script).await;
    raw.send(Frame::close(1000, "")).await;
    raw.close_frame().await;
    assert_eq!(witness.line().await, "1 on-close 1000");
    assert!(witness.line().await.starts_with("1 close: uri = /websocket?report=witness&close=uri"));
    witness
        .sees([
            "1 close: subprotocol = none",
            "1 close: buffered = 0",
            &format!("1 close: header host = {}", host.authority()),
        ])
        .await;
}

#[tokio::test]
async fn what_arrives_behind_the_peers_close_is_not_delivered() {
    let (_host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send_bytes(&[Frame::close(1000, "").masked(), Frame::text("say late").masked()].concat()).await;
    raw.close_frame().await;
    raw.ends().await;
    witness.sees(["1 on-close 1000", "1 drop"]).await;
}

#[tokio::test]
async fn what_arrived_before_the_peers_close_is_delivered_and_answered_first() {
    let (_host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send_bytes(&[Frame::text("say hello").masked(), Frame::close(1000, "").masked()].concat()).await;
    witness.sees(["1 on-message text say hello", "1 on-close 1000", "1 drop"]).await;
    assert_eq!(raw.frame().await, Frame::text("hello"));
    assert_eq!(raw.close_frame().await.0, 1000);
    raw.ends().await;
}

#[tokio::test]
async fn a_close_is_answered_when_the_handler_has_dealt_with_what_came_before() {
    let (_host, mut witness, mut raw) = witnessed(&[("message", "sleep 300")]).await;
    raw.send_bytes(&[Frame::text("work").masked(), Frame::close(1000, "").masked()].concat()).await;
    assert_eq!(raw.frame().await, Frame::text("ok"));
    assert_eq!(raw.close_frame().await.0, 1000);
    witness.sees(["1 on-message text work", "1 on-close 1000", "1 drop"]).await;
    raw.ends().await;
}

// The handler closes

#[tokio::test]
async fn a_handlers_close_reaches_the_peer_and_the_peers_answer_reaches_on_close() {
    let (host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send(Frame::text("close 4000 that is all")).await;
    assert_eq!(raw.close_frame().await, (4000, "that is all".into()));
    raw.send(Frame::close(4000, "that is all")).await;
    raw.ends().await;
    witness.sees(["1 on-message text close 4000 that is all", "1 on-close 4000 that is all", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "handler_closed");
}

#[tokio::test]
async fn on_close_is_told_what_the_peer_answered_and_not_what_was_sent() {
    let (_host, mut witness, mut raw) = witnessed(&[("message", "close 4000 ours")]).await;
    raw.send(Frame::text("go")).await;
    assert_eq!(raw.close_frame().await, (4000, "ours".into()));
    raw.send(Frame::close(4321, "theirs")).await;
    raw.ends().await;
    witness.sees(["1 on-message text go", "1 on-close 4321 theirs", "1 drop"]).await;
}

#[tokio::test]
async fn a_close_without_code_and_reason_is_an_empty_frame() {
    let host = probe().start().await;
    let mut raw = host.raw(&opening(&["close"])).await;
    assert_eq!(raw.frame().await, Frame::new(CLOSE, ""));
}

#[tokio::test]
async fn a_reason_without_a_code_is_sent_with_1000() {
    let host = probe().start().await;
    let mut raw = host.raw(&opening(&["close-reason enough"])).await;
    assert_eq!(raw.close_frame().await, (1000, "enough".into()));
}

#[tokio::test]
async fn a_code_without_a_reason_is_sent_alone() {
    let host = probe().start().await;
    for code in [1000, 1001, 1003, 1007, 1011, 1013, 3000, 4999] {
        let mut raw = host.raw(&opening(&[&format!("close {code}")])).await;
        assert_eq!(raw.frame().await, Frame::close(code, ""));
    }
}

#[tokio::test]
async fn codes_that_may_not_be_sent_are_invalid_and_the_connection_goes_on() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    for code in [0, 1, 999, 1005, 1006, 1015, 5000, 65535] {
        let answer = client.say(format!("close {code}")).await;
        assert!(answer.starts_with("invalid ") && answer.contains(&code.to_string()), "{code}: {answer}");
    }
    assert_eq!(client.say("say still here").await, "still here");
}

#[tokio::test]
async fn a_reason_of_123_bytes_is_sent_and_one_of_124_is_invalid() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    let answer = client.say("close-long 1000 124").await;
    assert!(answer.starts_with("invalid "), "{answer}");
    let answer = client.say(format!("close 1000 {}", "é".repeat(62))).await;
    assert!(answer.starts_with("invalid "), "{answer}");
    client.send_text("close-long 1000 123").await;
    assert_eq!(client.recv_close().await, (1000, "x".repeat(123)));
}

#[tokio::test]
async fn a_second_close_changes_nothing() {
    let host = probe().start().await;
    let mut raw = host.raw(&opening(&["close 4000 first", "close 4001 second", "close"])).await;
    assert_eq!(raw.close_frame().await, (4000, "first".into()));
    raw.send(Frame::close(4000, "")).await;
    raw.ends().await;
}

#[tokio::test]
async fn what_was_written_before_close_is_sent_before_it() {
    let host = probe().start().await;
    let mut raw = host.raw(&opening(&["say one", "write 50 x 64KiB", "say two", "close 4000"])).await;
    assert_eq!(raw.frame().await, Frame::text("one"));
    for _ in 0..50 {
        assert_eq!(raw.frame().await.payload.len(), 64 << 10);
    }
    assert_eq!(raw.frame().await, Frame::text("two"));
    assert_eq!(raw.close_frame().await.0, 4000);
}

#[tokio::test]
async fn after_close_everything_that_acts_is_closed() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let acts = ["say x", "ping x", "flush", "nodelay", "timer 1 1", "subscribe t"];
    let mut script = vec![("open", "close 4000")];
    script.extend(acts.iter().map(|command| ("open", *command)));
    let mut raw = host.raw(&reporting(&script)).await;
    witness.sees_open().await;
    witness.sees(["1 open: close 4000 = ok"]).await;
    for command in acts {
        assert_eq!(witness.line().await, format!("1 open: {command} = closed"));
    }
    assert_eq!(raw.close_frame().await.0, 4000);
}

#[tokio::test]
async fn messages_that_arrive_after_a_handlers_close_are_delivered() {
    let (_host, mut witness, mut raw) = witnessed(&[("message", "close 4000")]).await;
    raw.send(Frame::text("one")).await;
    assert_eq!(raw.close_frame().await.0, 4000);
    raw.send(Frame::text("two")).await;
    raw.send(Frame::binary("three")).await;
    raw.send(Frame::close(4000, "")).await;
    raw.ends().await;
    witness
        .sees([
            "1 on-message text one",
            "1 on-message text two",
            "1 on-message binary 5",
            "1 on-close 4000",
            "1 drop",
        ])
        .await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_a_close_is_dropped() {
    let host = probe().limits(|limits| limits.close_timeout = Duration::from_millis(100)).start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[("open", "close 4000")])).await;
    assert_eq!(raw.close_frame().await.0, 4000);
    raw.is_dropped().await;
    witness.sees_open().await;
    witness.sees(["1 open: close 4000 = ok", "1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "handler_closed");
}

#[tokio::test]
async fn a_peer_that_talks_on_and_never_answers_a_close_is_dropped() {
    let host = probe().limits(|limits| limits.close_timeout = Duration::from_millis(100)).start().await;
    let mut raw = host.raw(&opening(&["close 4000"])).await;
    assert_eq!(raw.close_frame().await.0, 4000);
    let talk = async {
        let mut socket = raw.into_socket();
        let message = Frame::text("say and another thing").masked();
        while tokio::io::AsyncWriteExt::write_all(&mut socket, &message).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    waterspout_tests::within("the host to drop who talks on", talk).await;
}

#[tokio::test]
async fn a_peer_that_does_not_even_take_the_close_is_dropped() {
    let host = probe().limits(|limits| limits.close_timeout = Duration::from_millis(100)).start().await;
    let mut witness = Witness::of(&host).await;
    // More than the buffers of both sockets hold.
    let commands = [("open", "write 200 x 64KiB"), ("open", "close 4000")];
    let (_, _raw) = host.request(&reporting(&commands)).receive_buffer(4 << 10).upgrade().await;
    witness.sees_open().await;
    witness.sees(["1 open: write 200 x 64KiB = wrote 200: ok", "1 open: close 4000 = ok"]).await;
    witness.sees(["1 on-close none", "1 drop"]).await;
}

#[tokio::test]
async fn a_handler_may_close_another_connection_of_its_instance() {
    let host = probe().instance("route").start().await;
    let (mut one, mut two) = (host.connect("/websocket").await, host.connect("/websocket").await);
    let id = two.say("id").await;
    assert_eq!(one.say(format!("close-peer {id} 4000 out")).await, "ok");
    assert_eq!(two.recv_close().await, (4000, "out".into()));
    two.ends().await;
    assert_eq!(one.say("say still here").await, "still here");
}

// Nobody closes

#[tokio::test]
async fn a_peer_that_ends_without_a_close_frame_has_vanished() {
    let (host, mut witness, mut raw) = witnessed(&[]).await;
    raw.finish().await;
    raw.ends().await;
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "vanished");
}

#[tokio::test]
async fn a_peer_that_resets_the_connection_has_vanished() {
    let (host, mut witness, raw) = witnessed(&[]).await;
    raw.reset();
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "vanished");
}

#[tokio::test]
async fn a_peer_that_vanishes_while_the_handler_is_busy_is_noticed_after_it() {
    let (_host, mut witness, mut raw) = witnessed(&[("message", "sleep 100")]).await;
    raw.send(Frame::text("work")).await;
    witness.sees(["1 on-message text work"]).await;
    raw.reset();
    witness.sees(["1 on-close none", "1 drop"]).await;
}

#[tokio::test]
async fn a_peer_that_vanishes_after_our_close_gave_no_answer() {
    let (_host, mut witness, mut raw) = witnessed(&[("message", "close 4000")]).await;
    raw.send(Frame::text("go")).await;
    raw.close_frame().await;
    raw.finish().await;
    witness.sees(["1 on-message text go", "1 on-close none", "1 drop"]).await;
}

#[tokio::test]
async fn a_flush_that_waits_ends_with_closed_when_the_peer_leaves() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let commands = [("open", "write 200 x 64KiB"), ("open", "flush")];
    let (_, raw) = host.request(&reporting(&commands)).receive_buffer(4 << 10).upgrade().await;
    witness.sees_open().await;
    witness.sees(["1 open: write 200 x 64KiB = wrote 200: ok"]).await;
    raw.reset();
    witness.sees(["1 open: flush = closed", "1 on-close none", "1 drop"]).await;
}

#[tokio::test]
async fn a_flush_that_waits_ends_with_closed_when_the_peer_closes() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let commands = [("open", "write 200 x 64KiB"), ("open", "flush")];
    let (_, mut raw) = host.request(&reporting(&commands)).receive_buffer(4 << 10).upgrade().await;
    witness.sees_open().await;
    witness.sees(["1 open: write 200 x 64KiB = wrote 200: ok"]).await;
    raw.send(Frame::close(1000, "")).await;
    witness.sees(["1 open: flush = closed", "1 on-close 1000", "1 drop"]).await;
}

// Failures

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

// Close frames that are none

#[tokio::test]
async fn a_close_code_that_may_not_be_sent_is_1002() {
    let host = TestHost::new(Guest::Echo).start().await;
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let mut raw = host.raw("/websocket").await;
        raw.send(Frame::close(code, "reason")).await;
        assert_eq!(raw.close_frame().await.0, 1002, "code {code}");
        raw.ends().await;
    }
}

#[tokio::test]
async fn a_close_frame_of_one_byte_is_1002() {
    let host = TestHost::new(Guest::Echo).start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::new(CLOSE, [3])).await;
    assert_eq!(raw.close_frame().await.0, 1002);
    raw.ends().await;
}

#[tokio::test]
async fn a_reason_that_is_not_utf8_is_1007() {
    let host = TestHost::new(Guest::Echo).start().await;
    for reason in [&b"\xff"[..], b"cut \xe2\x82"] {
        let mut raw = host.raw("/websocket").await;
        raw.send(Frame::close(1000, reason)).await;
        assert_eq!(raw.close_frame().await, (1007, "invalid UTF-8".into()));
        raw.ends().await;
    }
}

#[tokio::test]
async fn an_invalid_close_frame_is_a_protocol_error_and_none_for_on_close() {
    for payload in [&[0x03, 0xe7][..], &[0x03, 0xed, b'x'], &[3], &[0x03, 0xe8, 0xff]] {
        let (host, mut witness, mut raw) = witnessed(&[]).await;
        raw.send(Frame::new(CLOSE, payload)).await;
        raw.close_frame().await;
        witness.sees(["1 on-close none", "1 drop"]).await;
        let cause = host.connection_ends().await;
        assert!(["protocol_error", "invalid_utf8"].contains(&cause.as_str()), "{payload:?}: {cause}");
    }
}

// The server goes away

#[tokio::test]
async fn a_server_that_goes_away_closes_every_connection_with_1001() {
    let mut host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("count").await, "1");
    host.shut_down();
    assert_eq!(client.recv_close().await, (1001, "going away".into()));
    client.ends().await;
    assert_eq!(raw.close_frame().await, (1001, "going away".into()));
    raw.send(Frame::close(1001, "")).await;
    raw.ends().await;
    drop(witness);
    assert_eq!(host.gone().await, 0);
    assert_eq!(host.connection_ends().await, "going_away");
}

#[tokio::test]
async fn a_server_that_goes_away_calls_on_close() {
    let mut host = probe().start().await;
    let mut client = host.connect(&target("/websocket", &[("close", "print on-close was called")])).await;
    assert_eq!(client.say("count").await, "1");
    host.shut_down();
    client.recv_close().await;
    client.ends().await;
    host.guest_prints("on-close was called").await;
    assert_eq!(host.gone().await, 0);
}

#[tokio::test]
async fn a_peer_that_does_not_go_is_dropped_after_the_grace() {
    let mut host = probe().options(|options| options.grace = Duration::from_millis(100)).start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("count")).await;
    assert_eq!(raw.frame().await, Frame::text("1"));
    host.shut_down();
    assert_eq!(raw.close_frame().await.0, 1001);
    assert_eq!(host.gone().await, 1);
    raw.is_dropped().await;
}

#[tokio::test]
async fn a_server_that_goes_away_takes_no_new_connections() {
    let mut host = probe().start().await;
    let mut open = host.raw("/websocket").await;
    open.send(Frame::text("count")).await;
    assert_eq!(open.frame().await, Frame::text("1"));
    let mut waiting = host.request("/healthz").plain().sent().await;
    assert_eq!(waiting.answer(true).await.status, 200);
    host.shut_down();
    host.logged("the drain", |record| record.message == "draining").await;
    assert!(tokio::net::TcpStream::connect(host.address()).await.is_err(), "the port is still open");
    waiting.send_bytes(&host.request("/websocket").bytes()).await;
    let answer = waiting.answer(true).await;
    assert_eq!((answer.status, answer.text()), (503, "The server is going away."));
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(open.close_frame().await.0, 1001);
    open.send(Frame::close(1001, "")).await;
    assert_eq!(host.gone().await, 0);
}

#[tokio::test]
async fn the_answers_to_what_came_before_a_close_leave_before_it_is_answered() {
    let host = probe().start().await;
    for compression in ["", "&compression=on"] {
        let request = host.request(&format!("/websocket?open=count{compression}"));
        let (_, mut raw) = request.upgrade().await;
        // While the first is handled the rest is read ahead, to the close frame.
        let frames =
            [Frame::text("sleep 50\nsay one"), Frame::text("write 3 x 64KiB"), Frame::close(4000, "enough")];
        raw.send_bytes(&frames.iter().flat_map(Frame::masked).collect::<Vec<u8>>()).await;
        for text in ["ok", "one"] {
            assert_eq!(raw.frame().await, Frame::text(text));
        }
        for _ in 0..3 {
            assert_eq!(raw.frame().await.payload.len(), 64 << 10);
        }
        assert_eq!(raw.frame().await, Frame::text("wrote 3: ok"));
        assert_eq!(raw.close_frame().await, (4000, "enough".into()));
        raw.ends().await;
    }
}

#[tokio::test]
async fn a_close_of_the_handlers_own_behind_the_peers_changes_nothing() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    let frames = [Frame::text("sleep 50\nsay one\nclose 4001 mine"), Frame::close(4000, "yours")];
    raw.send_bytes(&frames.iter().flat_map(Frame::masked).collect::<Vec<u8>>()).await;
    for text in ["ok", "one"] {
        assert_eq!(raw.frame().await, Frame::text(text));
    }
    assert_eq!(raw.close_frame().await, (4000, "yours".into()));
    raw.ends().await;
    assert_eq!(host.connection_ends().await, "peer_closed");
}
