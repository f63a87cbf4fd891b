//! When instances begin, linger and end.

use std::sync::Arc;
use std::time::Duration;

use waterspout_tests::{Client, TestHost, within};

use crate::probe::{history, read_until, rooms};

const FOR_EVER: Duration = Duration::from_secs(3600);

/// The instance has gone: it had begun a line (`print-part`) that its end completes.
const LAST_WORDS: &str = "last words";

/// Connects, and lets the instance say when it ends.
async fn mortal(host: &TestHost, path: &str) -> Client {
    let mut client = host.connect(path).await;
    assert_eq!(client.say(format!("print-part {LAST_WORDS}")).await, "ok");
    client
}

#[tokio::test]
async fn many_at_once_find_the_same_instance() {
    const CONNECTIONS: u32 = 40;
    let host = Arc::new(rooms().start().await);
    let mut counts = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let host = host.clone();
        counts.spawn(async move {
            let mut client = host.connect("/rooms/blue").await;
            let count: u32 = client.say("count").await.parse().expect("a number");
            (client, count)
        });
    }
    let all = within("all connections", counts.join_all()).await;
    let mut counts: Vec<u32> = all.iter().map(|(_, count)| *count).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=CONNECTIONS).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_key_has_one_live_instance_while_others_come_and_go() {
    let host = Arc::new(rooms().limits(|limits| limits.linger = Duration::ZERO).start().await);
    let mut stays = host.connect("/rooms/blue").await;
    let mut visits = tokio::task::JoinSet::new();
    for visitor in 0..4 {
        let host = host.clone();
        visits.spawn(async move {
            for visit in 0..25 {
                let mut client = host.connect("/rooms/blue").await;
                client.say("count").await;
                if (visitor + visit) % 2 == 0 { client.leave().await } else { client.reset() }
            }
        });
    }
    within("all visits", visits.join_all()).await;
    assert_eq!(stays.say("count").await, "101");
}

#[tokio::test]
async fn an_instance_lingers_after_its_last_connection() {
    let host = rooms().limits(|limits| limits.linger = FOR_EVER).start().await;
    for visit in 1..=3 {
        let mut client = host.connect("/rooms/blue").await;
        assert_eq!(client.say("count").await, visit.to_string());
        client.leave().await;
    }
}

#[tokio::test]
async fn an_instance_ends_when_it_has_lingered() {
    let host = rooms().limits(|limits| limits.linger = Duration::from_millis(10)).start().await;
    let mut client = mortal(&host, "/rooms/blue").await;
    assert_eq!(client.say("count").await, "1");
    client.leave().await;
    host.guest_prints(LAST_WORDS).await;
    assert_eq!(host.connect("/rooms/blue").await.say("count").await, "1");
}

#[tokio::test]
async fn an_instance_does_not_end_before_its_last_connection() {
    let host = rooms().limits(|limits| limits.linger = Duration::ZERO).start().await;
    let mut stays = mortal(&host, "/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    host.connect("/rooms/blue").await.leave().await;
    read_until(&mut stays, "history 2 drop").await;
    assert_eq!(stays.say("count").await, "1");
    assert_eq!(host.printed(), [""; 0]);
}

#[tokio::test]
async fn an_instance_that_nobody_entered_ends_at_once() {
    let host = rooms().limits(|limits| limits.linger = FOR_EVER).start().await;
    let refused =
        format!("/rooms/blue?prepare=print-part+{}&prepare=status:403", LAST_WORDS.replace(' ', "+"));
    assert_eq!(host.request(&refused).answer().await.status, 403);
    host.guest_prints(LAST_WORDS).await;
    let mut client = host.connect("/rooms/blue").await;
    assert_eq!(history(&mut client).await[0..2], ["1 constructor", "1 prepare"]);
}

#[tokio::test]
async fn who_is_refused_leaves_the_instance_to_those_in_it() {
    let host = rooms().start().await;
    let mut inside = host.connect("/rooms/blue").await;
    assert_eq!(inside.say("watch").await, "ok");
    assert_eq!(host.request("/rooms/blue?prepare=status:403").answer().await.status, 403);
    read_until(&mut inside, "history 2 drop").await;
    let lines = history(&mut inside).await;
    assert!(!lines.iter().any(|line| line.contains("2 open") || line.contains("2 on-close")), "{lines:?}");
    assert_eq!(inside.say("count").await, "1");
}
