//! The queue of what is to be sent: what it takes, and who waits for room in it.

use std::time::Duration;

use waterspout_tests::host::Builder;
use waterspout_tests::{Client, TestHost};

use super::unasked_pong;
use crate::probe::{history, probe, read_until, rooms};

#[tokio::test]
async fn a_message_as_large_as_a_message_may_be_is_sent_and_a_larger_one_is_refused() {
    let host = probe().limits(|limits| limits.max_message_bytes = 1000).start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("write 1 x 1001\nwrite 1 x 1000").await;
    assert_eq!(client.recv_text().await, "wrote 0: limit max-message-bytes");
    assert_eq!(client.recv_text().await, "x".repeat(1000));
    assert_eq!(client.recv_text().await, "wrote 1: ok");
    // Published ones, too.
    client.send_text("subscribe t\npublish-large t 1001\npublish-large t 1000").await;
    assert_eq!(client.recv_text().await, "ok");
    assert_eq!(client.recv_text().await, "limit max-message-bytes");
    assert_eq!(client.recv_text().await, "x".repeat(1000));
    assert_eq!(client.recv_text().await, "ok");
}

#[tokio::test]
async fn a_message_far_over_the_limit_is_refused_and_not_a_trap() {
    let host = probe().limits(|limits| limits.max_message_bytes = 1 << 20).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("write 1 x 2MiB").await, "wrote 0: limit max-message-bytes");
    assert_eq!(client.say("count").await, "1");
}

#[tokio::test]
async fn a_message_larger_than_the_queue_is_a_limit_and_not_a_full_buffer() {
    let host = probe().limits(|limits| limits.max_queue_bytes = 1000).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("write 1 x 1001").await, "wrote 0: limit max-queue-bytes");
    client.send_text("write 1 x 1000").await;
    assert_eq!(client.recv_text().await, "x".repeat(1000));
    // Its answer may have to wait until there is room for it.
    assert_eq!(client.recv_text().await, "wrote 1: ok");
}

/// What `fill` and `write` send here.
const PIECE: usize = 60_000;

/// With a queue of 1 MiB, and a second before an event must end.
fn with_a_small_queue() -> Builder {
    probe().limits(|limits| {
        limits.max_queue_bytes = 1 << 20;
        limits.wall_per_event = Duration::from_secs(1);
    })
}

/// A connection that reads nothing while as much is written to it as the queue and the kernel take; after that, in an event of
/// their own, `commands` run. Returns it with what they answered, which another connection is told.
async fn stuck(host: &TestHost, commands: &[&str]) -> (Client, Vec<String>) {
    let mut observer = host.connect("/websocket").await;
    assert_eq!(observer.say("subscribe stuck").await, "ok");
    let script: String =
        commands.iter().map(|command| format!("&timer={}", command.replace(' ', "+"))).collect();
    let path = format!("/websocket?report=stuck&pong=fill+{PIECE}&pong=timer:1+0{script}");
    let mut client = host.connect(&path).await;
    client.send(unasked_pong()).await;
    let mut answers = Vec::new();
    while answers.len() < commands.len() {
        let line = observer.recv_text().await;
        let (call, answer) = line.split_once(" = ").unwrap_or((&line, ""));
        if call.starts_with("1 pong: fill") {
            assert!(answer.starts_with("filled ") && answer.ends_with(": timeout"), "{line}");
        } else if call.starts_with("1 timer: ") {
            answers.push(answer.to_owned());
        }
    }
    (client, answers)
}

/// Reads the pieces: how many there were before something else came, and that.
async fn drain(client: &mut Client) -> (usize, String) {
    let mut messages = 0;
    loop {
        let text = client.recv_text().await;
        if text.len() != PIECE {
            return (messages, text);
        }
        messages += 1;
    }
}

#[tokio::test]
async fn the_queue_takes_exactly_its_bytes_and_not_one_more() {
    let host = with_a_small_queue().start().await;
    let commands = ["top-up 1048576", "buffered", "write 1 x 1", "buffered"];
    let (mut client, answers) = stuck(&host, &commands).await;
    assert_eq!(answers, ["ok", "1048576", "wrote 0: buffer-full", "1048576"]);

    // What was accepted arrives, and then everything is as before.
    let (pieces, mut top) = drain(&mut client).await;
    if top == "on-writable" {
        // The kernel had taken half the queue before the commands ran.
        top = client.recv_text().await;
    }
    assert!(pieces > 17 && top.bytes().all(|byte| byte == b'x'), "{pieces} pieces, then {} bytes", top.len());
    assert_eq!(client.recv_text().await, "on-writable");
    assert_eq!(client.say("write 1 x 1").await, "x");
    assert_eq!(client.recv_text().await, "wrote 1: ok");
}

#[tokio::test]
async fn flush_gives_up_in_time_for_the_event_to_return() {
    let host = with_a_small_queue().start().await;
    let (mut client, answers) = stuck(&host, &["flush", "write 1 x 1"]).await;
    assert_eq!(answers, ["timeout", "wrote 1: ok"]);
    // Told before or after, as much as the kernel takes.
    let (_, first) = drain(&mut client).await;
    let mut rest = [first, client.recv_text().await];
    rest.sort();
    assert_eq!(rest, ["on-writable", "x"]);
    assert_eq!(client.say("flush").await, "ok");
}

#[tokio::test]
async fn flush_waits_for_a_peer_that_reads_slowly() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_secs(60)).start().await;
    let mut client = host.connect("/websocket").await;
    // More than the kernel holds for a socket that is not read.
    client.send_text(format!("write 100000 x {PIECE}\nbuffered\nflush\nbuffered")).await;
    let (messages, answer) = drain(&mut client).await;
    assert_eq!(answer, format!("wrote {messages}: buffer-full"));
    let buffered: usize = client.recv_text().await.parse().expect("a number");
    // A little may have left meanwhile: the handler is interrupted every millisecond.
    assert!(buffered > 8 << 20, "{buffered}");
    assert_eq!(client.recv_text().await, "ok");
    // Nothing but that answer, unless it has left, too.
    let buffered = client.recv_text().await;
    assert!(["0", "2"].contains(&buffered.as_str()), "{buffered}");
}

#[tokio::test]
async fn flush_returns_when_its_connection_closes() {
    let host = rooms().limits(|limits| limits.wall_per_event = Duration::from_secs(60)).start().await;
    let mut stays = host.connect("/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    let mut client = host.connect(&format!("/rooms/blue?pong=write:100000+x+{PIECE}&pong=flush")).await;
    client.send(unasked_pong()).await;
    // The host reads the close frame although the handler waits; the peer reads nothing.
    client.close(4000, "").await;
    let lines = read_until(&mut stays, "history 2 on-close 4000").await;
    assert_eq!(lines.last().map(String::as_str), Some("history 2 pong: flush = closed"));
}

#[tokio::test]
async fn on_writable_comes_once_after_a_full_queue_and_only_then() {
    let host = probe().limits(|limits| limits.max_queue_bytes = 1 << 20).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("write 1 x 10").await, "x".repeat(10));
    assert_eq!(client.recv_text().await, "wrote 1: ok");
    // Refused twice, told once.
    client.send_text(format!("write 100000 x {PIECE}\nwrite 1 x {PIECE}")).await;
    let (_, answer) = drain(&mut client).await;
    assert!(answer.ends_with(": buffer-full"), "{answer}");
    read_until(&mut client, "on-writable").await;
    assert_eq!(client.say("count").await, "1");
    let lines = history(&mut client).await;
    assert_eq!(lines.iter().filter(|line| line.ends_with("on-writable")).count(), 1, "{lines:?}");
}

#[tokio::test]
async fn empty_messages_fill_the_queue_too() {
    let host = with_a_small_queue().limits(|limits| limits.max_queue_bytes = 64 << 10).start().await;
    let (_client, answers) = stuck(&host, &["write 100000 x 0"]).await;
    let written = answers[0].strip_prefix("wrote ").and_then(|rest| rest.strip_suffix(": buffer-full"));
    let written: usize = written.unwrap_or_else(|| panic!("{answers:?}")).parse().expect("a number");
    assert!(written <= 1024, "{written}");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_misses_messages_and_the_others_do_not() {
    let host = probe().limits(|limits| limits.max_queue_bytes = 1 << 20).start().await;
    let mut slow = host.connect("/websocket").await;
    let mut quick = host.connect("/websocket").await;
    let mut publisher = host.connect("/websocket").await;
    assert_eq!(slow.say("subscribe t").await, "ok");
    assert_eq!(quick.say("subscribe t").await, "ok");
    for _ in 0..400 {
        assert_eq!(publisher.say(format!("publish-large t {PIECE}")).await, "ok");
        assert_eq!(quick.recv_text().await.len(), PIECE);
    }
    let warnings = || {
        let dropped =
            |record: &waterspout_tests::Record| record.message.starts_with("published messages are dropped");
        host.logs().into_iter().filter(dropped).count()
    };
    assert_eq!(warnings(), 1, "warned once, however many");
    // What did come is whole, and then the connection serves as before. Its handler was refused nothing: no on-writable is owed.
    slow.send_text("unsubscribe t").await;
    let (messages, answer) = drain(&mut slow).await;
    assert!((16..400).contains(&messages), "{messages}");
    assert_eq!(answer, "ok");
    assert_eq!(slow.say("count").await, "1");
    let lines = history(&mut slow).await;
    assert!(!lines.iter().any(|line| line.contains("on-writable")), "{lines:?}");
}
