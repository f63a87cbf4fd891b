//! The handler closes: what is sent, what may not be, and peers that do not answer.

use std::time::Duration;

use waterspout_tests::frames::{CLOSE, Frame};

use super::witnessed;
use crate::probe::probe;
use crate::witness::{Witness, reporting, target};

/// Commands for `open`, under `/websocket`.
fn opening(commands: &[&str]) -> String {
    let commands: Vec<_> = commands.iter().map(|command| ("open", *command)).collect();
    target("/websocket", &commands)
}

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
