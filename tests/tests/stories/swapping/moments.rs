//! When a swap comes: during `open`, while a handler waits, during the close, during another swap.

use std::time::Duration;

use waterspout::OnSwap;
use waterspout_tests::{Guest, TestHost, within};

use super::{counter, swapped, version};
use crate::probe::{probe, rooms};

async fn is_moved(host: &TestHost, connections: usize) {
    let report = swapped(host, &Guest::named("probe")).await;
    assert_eq!(report.moved, connections, "{report:?}");
}

#[tokio::test]
async fn during_open_it_waits_until_open_has_returned() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket?open=sleep+300").await;
    is_moved(&host, 1).await;
    assert_eq!(client.say("count").await, "1");
}

#[tokio::test]
async fn during_a_flush_that_waits_it_waits_for_the_flush() {
    let host = probe().limits(|limits| limits.max_queue_bytes = 32 << 20).start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("write 16 x 1000000\nflush").await;
    let next = Guest::named("probe");
    let swap = swapped(&host, &next);
    let read = async {
        let mut texts = Vec::new();
        while texts.len() < 18 {
            texts.push(client.recv_text().await);
        }
        texts
    };
    let (report, texts) = tokio::join!(swap, read);
    assert_eq!(report.moved, 1, "{report:?}");
    assert!(texts.contains(&"ok".into()));
    assert_eq!(client.say("count").await, "1");
}

#[tokio::test]
async fn who_waits_in_read_message_for_ever_stays_until_max_drain_and_holds_nobody_up() {
    let upstream = TestHost::new(Guest::Echo).start().await;
    let host = probe()
        .connects_to(&[upstream.authority()])
        .route(|route| route.swap.max_drain = Some(Duration::from_secs(6)))
        .start()
        .await;
    let url = format!("ws://{}/websocket", upstream.authority());
    let mut waits = host.connect("/websocket").await;
    assert_eq!(waits.say(format!("dial {url}")).await, "ok");
    waits.send_text("up-read").await;
    let mut goes = host.connect("/websocket").await;
    assert_eq!(goes.say("count").await, "1");
    let next = Guest::named("probe");
    let swap = swapped(&host, &next);
    let report = within("the report, which does not wait for ever", swap).await;
    assert_eq!((report.moved, report.busy), (1, 1), "{report:?}");
    assert_eq!(goes.say("count").await, "2");
    assert_eq!(waits.recv_close().await, (1012, "service restart".into()));
}

#[tokio::test]
async fn who_is_closing_closes() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("close 4000 bye").await;
    let _ = swapped(&host, &Guest::named("probe")).await;
    assert_eq!(client.recv_close().await, (4000, "bye".into()));
    assert_eq!(host.connection_ends().await, "handler_closed");
}

#[tokio::test]
async fn another_swap_during_a_swap_is_what_stays() {
    let host = counter().start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(host.connect("/websocket").await);
    }
    // Each takes over from the other, whichever comes first.
    let (next, again) = (version(2), version(1));
    let (one, other) = tokio::join!(host.swap(&next, None), host.swap(&again, None));
    assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    let newest = host.connect("/websocket").await.say("x").await;
    for client in &mut clients {
        assert_eq!(client.say("x").await, newest);
    }
}

#[tokio::test]
async fn a_room_in_which_somebody_is_between_constructor_and_open_waits_for_him() {
    let host = rooms().start().await;
    let mut one = host.connect("/rooms/blue").await;
    assert_eq!(one.say("count").await, "1");
    let slow = host.connect("/rooms/blue?prepare=sleep+300");
    let next = Guest::named("probe");
    let (mut two, report) = tokio::join!(slow, swapped(&host, &next));
    assert_eq!(report.failed + report.lost, 0, "{report:?}");
    assert_eq!(two.say("count").await, "2");
    assert_eq!(one.say("count").await, "3");
}

#[tokio::test]
async fn newcomers_of_a_room_that_goes_over_wait_and_are_served_by_the_new_version() {
    let host = rooms().limits(|limits| limits.wall_per_event = Duration::from_secs(5)).start().await;
    let mut one = host.connect("/rooms/blue?suspend=sleep+200").await;
    assert_eq!(one.say("count").await, "1");
    let next = Guest::named("probe");
    let swap = swapped(&host, &next);
    let newcomers = async {
        let mut joined = Vec::new();
        for _ in 0..5 {
            joined.push(host.connect("/rooms/blue").await);
        }
        joined
    };
    let (report, mut joined) = tokio::join!(swap, newcomers);
    assert_eq!(report.failed + report.lost, 0, "{report:?}");
    for (number, newcomer) in joined.iter_mut().enumerate() {
        assert_eq!(newcomer.say("count").await, (number + 2).to_string());
    }
}

#[tokio::test]
async fn a_server_that_is_full_can_still_go_over() {
    let host = counter().limits(|limits| limits.max_instances = 3).start().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(host.connect("/websocket").await);
    }
    assert!(host.try_connect("/websocket", &[]).await.is_err());
    assert_eq!(swapped(&host, &version(2)).await.moved, 3);
    for client in &mut clients {
        assert_eq!(client.say("x").await, "2:1:x");
    }
    assert!(host.try_connect("/websocket", &[]).await.is_err(), "no more than before");
}

#[tokio::test]
async fn who_does_not_migrate_in_one_swap_may_in_the_next() {
    let host = counter().start().await;
    let mut client = host.connect("/websocket").await;
    let drained = host.swap(&version(2), Some(OnSwap::Drain)).await.expect("a swap");
    assert_eq!(drained.moved, 0);
    assert_eq!(client.say("a").await, "1:1:a");
    assert_eq!(swapped(&host, &version(3)).await.moved, 1);
    assert_eq!(client.say("b").await, "3:2:b");
}
