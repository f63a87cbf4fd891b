//! What a guest may use of the host, and what happens at each limit; and that everybody else goes on.
//!
//! Limits of the handshake's headers are in `handshake`, those of incoming messages in `messages`, those of instances in
//! `instances`.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;
use tracing::Level;
use waterspout::{HandlerSource, Limits, Runtime, RuntimeOptions};
use waterspout_tests::host::Builder;
use waterspout_tests::{Client, Guest, TestHost};

use crate::probe::{history, probe, read_until, rooms};

/// More than any event of these tests needs, less than an endless one gets.
const CPU: Duration = Duration::from_millis(300);

fn with_little_cpu() -> Builder {
    probe().limits(|limits| limits.cpu_per_event = CPU)
}

const TOO_LONG: &str = "handler took too long";

/// What makes a handler do something without that there is a message.
fn unasked_pong() -> Message {
    Message::Pong(Default::default())
}

/// Somebody else is served as before.
async fn goes_on(host: &TestHost, path: &str) {
    assert_eq!(host.connect(path).await.say("count").await, "1");
}

// Processor time.

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

// Wall-clock time.

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

// Memory.

#[tokio::test]
async fn memory_over_the_limit_is_refused_inside_the_guest() {
    let host = probe().limits(|limits| limits.max_memory_bytes = 16 << 20).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("grow 8MiB").await, "ok");
    assert_eq!(client.say("grow 8MiB").await, "refused");
    // The guest lives, and has what is left.
    assert_eq!(client.say("grow 4MiB").await, "ok");
    goes_on(&host, "/websocket").await;
}

#[tokio::test]
async fn the_default_memory_is_64_mib() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("grow 60MiB").await, "ok");
    assert_eq!(client.say("grow 4MiB").await, "refused");
    let mut another = host.connect("/websocket").await;
    assert_eq!(another.say("grow 60MiB").await, "ok");
}

#[tokio::test]
async fn a_component_that_begins_with_more_than_it_may_have_is_refused_naming_the_limit() {
    let limits = Limits { max_memory_bytes: 64 << 10, ..Limits::default() };
    let few_elements = Limits { max_table_elements: 1, ..Limits::default() };
    let options = RuntimeOptions { max_instances: 1, ..RuntimeOptions::default() };
    let runtime = Runtime::new(&options, [&limits, &few_elements]).expect("address space for two instances");
    for (limits, key) in [(limits, "max-memory-bytes"), (few_elements, "max-table-elements")] {
        let error =
            runtime.load(&Guest::named("probe").source(), &limits).expect_err("too large").to_string();
        assert!(error.contains(&format!("raise `{key}`")), "{error}");
        assert!(error.starts_with("needs "), "{error}");
    }
}

#[tokio::test]
async fn a_component_may_begin_with_exactly_what_it_may_have() {
    // The embedded echo's memory has six pages.
    let pages = |pages: usize| Limits { max_memory_bytes: pages << 16, ..Limits::default() };
    let options = RuntimeOptions { max_instances: 1, ..RuntimeOptions::default() };
    let runtime = Runtime::new(&options, [&pages(1)]).expect("address space for an instance");
    runtime.load(&HandlerSource::Echo, &pages(6)).expect("six pages are enough");
    let error = runtime.load(&HandlerSource::Echo, &pages(5)).expect_err("too large").to_string();
    assert_eq!(
        error,
        "needs 393216 bytes of memory to begin with, and the route allows 327680 bytes: raise `max-memory-bytes`"
    );
}

#[tokio::test]
async fn a_stack_that_overflows_is_a_trap() {
    let host = probe().start().await;
    let mut other = host.connect("/websocket").await;
    for call in ["constructor", "prepare"] {
        assert_eq!(host.request(&format!("/websocket?{call}=recurse")).answer().await.status, 500);
    }
    let mut client = host.connect("/websocket").await;
    client.send_text("recurse").await;
    assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
    let record = host.logged("the trap", |record| record.field("call") == "on-message").await;
    assert!(record.field("cause").contains("call stack exhausted"), "{record}");
    assert!(record.field("at").contains("recurse"), "{record}");
    assert_eq!(other.say("count").await, "1");
}

#[tokio::test]
async fn component_handles_over_the_limit_are_a_trap() {
    let host = probe().limits(|limits| limits.max_handles = 1000).start().await;
    let mut other = host.connect("/websocket").await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("handles 900").await, "ok");
    client.send_text("handles 100").await;
    assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
    assert_eq!(other.say("handles 900").await, "ok");
}

// The queue of what is to be sent.

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

// Counts.

#[tokio::test]
async fn timers_are_bounded_and_a_replaced_one_is_none_more() {
    let host = probe().limits(|limits| limits.max_timers = 3).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("timers 3").await, "set 3: ok");
    assert_eq!(client.say("timer 4 3600000").await, "limit max-timers");
    assert_eq!(client.say("timer 3 3600000").await, "ok");
    assert_eq!(client.say("clear-timer 1").await, "ok");
    assert_eq!(client.say("timer 4 0").await, "ok");
    assert_eq!(client.recv_text().await, "on-timer 4");
    // One that rang is none any more.
    assert_eq!(client.say("timer 5 3600000").await, "ok");
    assert_eq!(client.say("timer 6 3600000").await, "limit max-timers");
}

#[tokio::test]
async fn topics_are_bounded_in_number_and_length() {
    let host = probe()
        .limits(|limits| {
            limits.max_topics = 3;
            limits.max_topic_bytes = 8;
        })
        .start()
        .await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("subscribe 123456789").await, "invalid a topic has 1 to 8 bytes");
    assert_eq!(client.say("subscribe ").await, "invalid a topic has 1 to 8 bytes");
    assert_eq!(client.say("publish 123456789 x").await, "invalid a topic has 1 to 8 bytes");
    assert_eq!(client.say("topics 3").await, "subscribed 3: ok");
    assert_eq!(client.say("subscribe 12345678").await, "limit max-topics");
    assert_eq!(client.say("subscribe topic-3").await, "ok");
    assert_eq!(client.say("unsubscribe topic-1").await, "ok");
    assert_eq!(client.say("subscribe 12345678").await, "ok");
    assert_eq!(client.say("publish 12345678 heard").await, "heard");
}

#[tokio::test]
async fn a_printed_line_over_the_limit_is_cut_and_says_so() {
    let host = probe().limits(|limits| limits.max_log_line_bytes = 1000).start().await;
    let mut client = host.connect("/websocket").await;
    for bytes in [1000, 1001, 1_000_000] {
        assert_eq!(client.say(format!("print-long {bytes}")).await, "ok");
    }
    assert_eq!(client.say("print short").await, "ok");
    host.guest_prints("short").await;
    let line = "x".repeat(1000);
    let cut = format!("{line} ... (cut at `max-log-line-bytes`)");
    assert_eq!(host.printed(), [line, cut.clone(), cut, "short".into()]);
}
