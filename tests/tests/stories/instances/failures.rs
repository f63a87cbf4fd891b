//! A trap, and whom it concerns.

use crate::probe::{history, probe, read_until, rooms};

#[tokio::test]
async fn a_trap_ends_every_connection_of_its_instance_and_nothing_else() {
    let host = rooms().start().await;
    let mut other = host.connect("/rooms/red").await;
    assert_eq!(other.say("subscribe blue").await, "ok");
    let mut one = host.connect("/rooms/blue").await;
    let mut two = host.connect("/rooms/blue?report=blue").await;
    for (client, count) in [(&mut one, "1"), (&mut two, "2")] {
        // It has opened: the client may know of its 101 earlier.
        assert_eq!(client.say("count").await, count);
    }

    one.send_text("trap").await;
    for client in [&mut one, &mut two] {
        assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
        client.ends().await;
    }
    // Newcomers get an instance that remembers nothing.
    let mut newcomer = host.connect("/rooms/blue").await;
    assert_eq!(newcomer.say("count").await, "1");
    assert_eq!(history(&mut newcomer).await[0], "1 constructor");

    // Nobody asked the dead instance for its on-close.
    other.send_text("count").await;
    let reported = read_until(&mut other, "1").await;
    assert!(reported.contains(&"2 open".to_owned()), "{reported:?}");
    assert!(!reported.iter().any(|line| line.contains("on-close") || line.contains("drop")), "{reported:?}");
}

#[tokio::test]
async fn a_trap_is_logged_with_its_call_and_its_place() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    let id = client.say("id").await;
    client.send_text("trap").await;
    assert_eq!(client.recv_close().await.0, 1011);
    let record = host.logged("the trap", |record| record.message == "the handler trapped").await;
    assert_eq!(
        (record.field("call"), record.field("connection"), record.field("route")),
        ("on-message", id.as_str(), "test")
    );
    assert!(record.field("at").contains("probe"), "{record}");
    assert!(record.field("cause").contains("unreachable"), "{record}");
}

#[tokio::test]
async fn without_sharing_a_trap_ends_one_connection() {
    let host = probe().start().await;
    let (mut one, mut two) = (host.connect("/websocket").await, host.connect("/websocket").await);
    one.send_text("trap").await;
    assert_eq!(one.recv_close().await.0, 1011);
    assert_eq!(two.say("count").await, "1");
}

#[tokio::test]
async fn a_trap_in_a_newcomers_handshake_ends_the_instance_it_came_to() {
    for call in ["constructor", "prepare", "select", "compression"] {
        let host = rooms().start().await;
        let mut inside = host.connect("/rooms/blue").await;
        assert_eq!(inside.say("count").await, "1");
        let answer = host.request(&format!("/rooms/blue?{call}=trap")).answer().await;
        assert_eq!((answer.status, answer.text()), (500, "The handler failed."), "{call}");
        assert_eq!(inside.recv_close().await, (1011, "handler failed".into()), "{call}");
        assert_eq!(host.connect("/rooms/blue").await.say("count").await, "1", "{call}");
    }
}

#[tokio::test]
async fn calls_that_waited_behind_a_trap_end_with_their_connections() {
    let host = rooms().start().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(host.connect("/rooms/blue").await);
    }
    for client in &mut clients {
        client.send_text("trap").await;
    }
    for client in &mut clients {
        assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
        client.ends().await;
    }
}
