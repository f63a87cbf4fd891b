//! Timers, topics, and printed lines.

use crate::probe::probe;

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
