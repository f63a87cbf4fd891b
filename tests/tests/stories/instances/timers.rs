//! Timers: when they ring, and for whom.

use crate::probe::{history, probe, read_until, rooms};

#[tokio::test]
async fn a_timer_rings_once_with_its_token() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("timer 7 0\ntimer 8 30").await;
    for expected in ["ok", "ok", "on-timer 7", "on-timer 8"] {
        assert_eq!(client.recv_text().await, expected);
    }
    assert_eq!(client.say("count").await, "1");
    let lines = history(&mut client).await;
    assert_eq!(lines.iter().filter(|line| line.contains("on-timer")).count(), 2, "{lines:?}");
}

#[tokio::test]
async fn timers_ring_in_the_order_of_their_times() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("timer 1 90\ntimer 2 60\ntimer 3 30").await;
    for expected in ["ok", "ok", "ok", "on-timer 3", "on-timer 2", "on-timer 1"] {
        assert_eq!(client.recv_text().await, expected);
    }
}

#[tokio::test]
async fn a_timer_with_the_same_token_replaces_the_earlier_one() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    // Replaced by a sooner one, and by a later one.
    client.send_text("timer 1 3600000\ntimer 1 1\ntimer 2 1\ntimer 2 3600000\ntimer 3 50").await;
    for expected in ["ok", "ok", "ok", "ok", "ok", "on-timer 1", "on-timer 3"] {
        assert_eq!(client.recv_text().await, expected);
    }
}

#[tokio::test]
async fn a_cleared_timer_does_not_ring() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("timer 1 5\nclear-timer 1\nclear-timer 99\ntimer 2 50").await;
    for expected in ["ok", "ok", "ok", "ok", "on-timer 2"] {
        assert_eq!(client.recv_text().await, expected);
    }
}

#[tokio::test]
async fn a_timer_can_be_set_again_as_it_rings() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket?timer=say+tick&timer=timer:1+1&open=timer:1+0").await;
    for _ in 0..5 {
        assert_eq!(client.recv_text().await, "tick");
    }
}

#[tokio::test]
async fn timers_of_a_shared_instance_belong_to_their_connections() {
    let host = rooms().start().await;
    let mut one = host.connect("/rooms/blue").await;
    let mut two = host.connect("/rooms/blue").await;
    assert_eq!(one.say("timer 1 30").await, "ok");
    assert_eq!(two.say("timer 1 3600000").await, "ok");
    assert_eq!(one.recv_text().await, "on-timer 1");
    assert_eq!(two.say("clear-timer 1").await, "ok");
}

#[tokio::test]
async fn a_timer_does_not_ring_after_its_connection_has_ended() {
    let host = rooms().start().await;
    let mut stays = host.connect("/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    let mut leaves = host.connect("/rooms/blue").await;
    assert_eq!(leaves.say("timer 1 100").await, "ok");
    leaves.leave().await;
    read_until(&mut stays, "history 2 drop").await;
    assert_eq!(stays.say("timer 2 200").await, "ok");
    assert_eq!(stays.recv_text().await, "on-timer 2");
}
