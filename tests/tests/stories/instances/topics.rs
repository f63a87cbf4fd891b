//! Topics: who hears what is published.

use crate::probe::{probe, rooms};

#[tokio::test]
async fn what_is_published_reaches_subscribers_in_every_instance_the_publisher_among_them() {
    let host = probe().start().await;
    let mut one = host.connect("/websocket").await;
    let mut two = host.connect("/websocket").await;
    let mut stranger = host.connect("/websocket").await;
    assert_eq!(one.say("subscribe news").await, "ok");
    assert_eq!(two.say("subscribe news").await, "ok");
    assert_eq!(stranger.say("subscribe other").await, "ok");
    // It is in the publisher's own queue before the call returns.
    assert_eq!(one.say("publish news it rains").await, "it rains");
    assert_eq!(one.recv_text().await, "ok");
    assert_eq!(two.recv_text().await, "it rains");
    assert_eq!(stranger.say("publish news it pours").await, "ok");
    assert_eq!(one.recv_text().await, "it pours");
    assert_eq!(two.recv_text().await, "it pours");
}

#[tokio::test]
async fn what_is_published_reaches_each_connection_of_a_shared_instance_that_subscribed() {
    let host = rooms().start().await;
    let mut one = host.connect("/rooms/blue").await;
    let mut two = host.connect("/rooms/blue").await;
    let mut red = host.connect("/rooms/red").await;
    assert_eq!(one.say("subscribe news").await, "ok");
    assert_eq!(red.say("subscribe news").await, "ok");
    assert_eq!(two.say("publish news it rains").await, "ok");
    assert_eq!(one.recv_text().await, "it rains");
    assert_eq!(red.recv_text().await, "it rains");
    assert_eq!(two.say("count").await, "1");
}

#[tokio::test]
async fn a_second_subscription_changes_nothing_and_one_unsubscription_ends_it() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("subscribe news").await, "ok");
    assert_eq!(client.say("subscribe news").await, "ok");
    client.send_text("publish news once\nunsubscribe news\npublish news never").await;
    for expected in ["once", "ok", "ok", "ok"] {
        assert_eq!(client.recv_text().await, expected);
    }
    assert_eq!(client.say("unsubscribe never-subscribed").await, "ok");
}

#[tokio::test]
async fn messages_published_by_one_arrive_in_order() {
    let host = probe().start().await;
    let mut subscriber = host.connect("/websocket").await;
    let mut publisher = host.connect("/websocket").await;
    assert_eq!(subscriber.say("subscribe news").await, "ok");
    let lines: Vec<_> = (0..500).map(|index| format!("publish news {index}")).collect();
    publisher.send_text(lines.join("\n")).await;
    for index in 0..500 {
        assert_eq!(subscriber.recv_text().await, index.to_string());
    }
}
