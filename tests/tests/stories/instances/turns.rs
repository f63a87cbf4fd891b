//! Whose turn it is in a shared instance, and in which order a handler is called.

use crate::probe::{history, probe, read_until, rooms};

#[tokio::test]
async fn a_connection_that_floods_its_instance_does_not_keep_another_from_its_turn() {
    let host = rooms().start().await;
    let mut blocks = host.connect("/rooms/blue").await;
    let mut floods = host.connect("/rooms/blue").await;
    let mut waits = host.connect("/rooms/blue").await;
    for client in [&mut floods, &mut waits] {
        // It has opened: the client may know of its 101 earlier.
        client.say("id").await;
    }

    // The instance waits until `blocks` reads; what the others want queues up. Their pongs say that the host has read it.
    blocks.send_text("say begun\nwrite 100000 x 64KiB\nflush").await;
    assert_eq!(blocks.recv_text().await, "begun");
    for (client, messages) in [(&mut floods, 100), (&mut waits, 1)] {
        for _ in 0..messages {
            client.send_text("peers").await;
        }
        client.ping("read").await;
        assert!(client.recv().await.is_pong());
    }
    read_until(&mut blocks, "ok").await;
    assert_eq!(waits.recv_text().await.split(' ').count(), 3);
    assert_eq!(waits.recv_text().await, "on-ping read");

    let lines = history(&mut waits).await;
    let position = |wanted: &str| lines.iter().position(|line| line == wanted).expect(wanted);
    let asked = position("3 on-message text peers");
    let before =
        lines[position("2 open")..asked].iter().filter(|line| *line == "2 on-message text peers").count();
    assert!(before <= 1, "{before} messages of the flood went before: {lines:?}");
    let after = lines[asked..].iter().filter(|line| *line == "2 on-message text peers").count();
    assert!(after > 0, "the flood was over already: {lines:?}");
}

#[tokio::test]
async fn a_connection_that_vanishes_within_an_event_leaves_the_instance_to_the_others() {
    let host = rooms().start().await;
    let mut stays = host.connect("/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    let mut vanishes = host.connect("/rooms/blue?ping=fill+64KiB&close=say+hello").await;
    vanishes.ping("").await;
    assert!(vanishes.recv().await.is_pong());
    // The pong leaves before the event begins; what the event writes does not.
    assert_eq!(vanishes.recv_text().await.len(), 64 << 10);
    vanishes.reset();
    let lines = read_until(&mut stays, "history 2 drop").await;
    // The event that ran learnt that its connection was closed, and so did on-close.
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("history 2 ping: fill 64KiB = filled")).count(),
        1,
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line.ends_with(": closed")), "{lines:?}");
    let end = lines.iter().position(|line| line == "history 2 on-close none").expect("on-close");
    assert_eq!(lines[end + 1..], ["history 2 close: say hello = closed"]);
    assert_eq!(stays.say("count").await, "1");
}

#[tokio::test]
async fn a_connection_of_its_own_that_vanishes_within_an_event_is_told() {
    let host = probe().start().await;
    let mut observer = host.connect("/websocket").await;
    assert_eq!(observer.say("subscribe events").await, "ok");
    let mut vanishes = host.connect("/websocket?report=events&ping=fill+64KiB").await;
    vanishes.ping("").await;
    assert!(vanishes.recv().await.is_pong());
    vanishes.reset();
    let lines = read_until(&mut observer, "1 drop").await;
    let last: Vec<_> = lines.iter().rev().take(2).map(String::as_str).collect();
    assert_eq!(last[0], "1 on-close none");
    assert!(last[1].starts_with("1 ping: fill 64KiB = filled") && last[1].ends_with(": closed"), "{lines:?}");
}

#[tokio::test]
async fn no_message_comes_before_open_has_returned() {
    let host = rooms().start().await;
    let mut stays = host.connect("/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    // While its open waits, the instance serves nobody, and messages that came already queue.
    let mut client = host.connect("/rooms/blue?open=sleep+200").await;
    client.send_text("count").await;
    assert_eq!(client.recv_text().await, "1");
    let lines = read_until(&mut stays, "history 2 on-message text count").await;
    assert_eq!(lines.last().map(String::as_str), Some("history 2 open: sleep 200 = ok"));
}

#[tokio::test]
async fn a_life_is_told_in_order() {
    let host = rooms().start().await;
    let mut stays = host.connect("/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    let mut client = host
        .connect_with(
            "/rooms/blue?select=v2",
            &[("origin", &host.origin()), ("sec-websocket-protocol", "v1, v2")],
        )
        .await;
    assert_eq!(client.subprotocol(), Some("v2"));
    assert_eq!(client.say("id").await.len(), 32);
    client.leave().await;
    let lines = read_until(&mut stays, "history 2 drop").await;
    let origin = format!("history 2 check-origin {}", host.origin());
    assert_eq!(
        lines,
        [
            "history 2 constructor",
            "history 2 prepare",
            &origin,
            "history 2 select-subprotocol v1,v2",
            "history 2 get-compression-options",
            "history 2 open",
            "history 2 on-message text id",
            "history 2 on-close 1000",
        ]
    );
}
