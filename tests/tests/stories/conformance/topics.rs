//! What reaches a connection without its peer's doing: published messages, and timers.

use super::Language;

pub(super) async fn publish_and_subscribe(language: Language) {
    let host = language.host().limits(|limits| limits.max_topics = 2).start().await;
    let (mut reader, mut writer) = (host.connect("/topics").await, host.connect("/topics").await);
    assert_eq!(reader.say("subscribe news").await, "ok");
    assert_eq!(writer.say("publish news hello there").await, "ok");
    assert_eq!(reader.recv_text().await, "hello there");
    assert_eq!(writer.say("publish-binary news \u{1F32A}").await, "ok");
    assert_eq!(reader.recv_binary().await, "\u{1F32A}".as_bytes());
    assert_eq!(reader.say("subscribe more").await, "ok");
    assert_eq!(reader.say("subscribe third").await, "limit");
    assert_eq!(reader.say("unsubscribe news").await, "ok");
    assert_eq!(writer.say("publish news unheard").await, "ok");
    assert_eq!(writer.say("publish more heard").await, "ok");
    assert_eq!(reader.recv_text().await, "heard");
}

pub(super) async fn timers(language: Language) {
    let host = language.host().start().await;
    let mut client = host.connect("/timers").await;
    // One event sets them, so that they ring by their delays, however late the next event is.
    client.send_text("set 1 400; set 2 20").await;
    assert_eq!(client.recv_text().await, "timer 2");
    assert_eq!(client.recv_text().await, "timer 1");
    // What was cleared would have rung before what is heard.
    client.send_text("set 3 20; set 4 60; clear 3").await;
    assert_eq!(client.recv_text().await, "timer 4");
    // One that is set again is one, which rings by the second.
    client.send_text("set 5 60000; set 5 20; set 6 60").await;
    assert_eq!(client.recv_text().await, "timer 5");
    assert_eq!(client.recv_text().await, "timer 6");
    client.send_text("set 4294967295 1").await;
    assert_eq!(client.recv_text().await, "timer 4294967295");
}
