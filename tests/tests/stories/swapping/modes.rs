//! What becomes of connections that are open, and of newcomers: `migrate`, `drain`, `close`.

use std::time::Duration;

use waterspout::OnSwap;
use waterspout_tests::{Guest, TestHost, within};

use super::{counter, counting_rooms, is_answered, room_version, swapped, version, who_has_counted};

#[tokio::test]
async fn an_open_connection_goes_on_with_the_new_version_and_its_state() {
    let host = counter().start().await;
    let mut client = who_has_counted(&host).await;
    let report = swapped(&host, &version(2)).await;
    assert_eq!((report.connections, report.moved, report.version), (1, 1, 2));
    assert_eq!(client.say("b").await, "2:2:b");
    let mut newcomer = host.connect("/websocket").await;
    assert_eq!(newcomer.say("c").await, "2:1:c");
    client.leave().await;
}

#[tokio::test]
async fn versions_that_know_each_others_state_follow_each_other() {
    let host = counter().start().await;
    let mut client = host.connect("/websocket").await;
    for (number, message) in [(1, "1:1:x"), (2, "2:2:x"), (3, "3:3:x")] {
        if number > 1 {
            assert_eq!(swapped(&host, &version(number)).await.moved, 1);
        }
        assert_eq!(client.say("x").await, message);
    }
}

#[tokio::test]
async fn a_room_goes_over_whole_and_its_people_stay_in_it() {
    let host = counting_rooms().start().await;
    let mut blue = [host.connect("/rooms/blue").await, host.connect("/rooms/blue").await];
    let mut red = host.connect("/rooms/red").await;
    assert_eq!(blue[0].say("a").await, "1:1:1:a");
    assert_eq!(red.say("a").await, "1:1:1:a");
    let report = swapped(&host, &room_version(2)).await;
    assert_eq!((report.moved, report.connections), (3, 3), "{report:?}");
    assert_eq!(blue[1].say("b").await, "2:2:1:b");
    assert_eq!(blue[0].say("all c").await, "2:3:2:all c");
    assert_eq!(blue[1].recv_text().await, "2:3:2:all c");
    assert_eq!(red.say("d").await, "2:2:2:d");
    let mut newcomer = host.connect("/rooms/blue").await;
    assert_eq!(newcomer.say("e").await, "2:4:1:e");
}

#[tokio::test]
async fn a_room_that_lingers_keeps_its_state_for_who_comes_back() {
    let host = counting_rooms().start().await;
    let mut one = host.connect("/rooms/blue").await;
    assert_eq!(one.say("a").await, "1:1:1:a");
    one.leave().await;
    host.connection_ends().await;
    let _ = swapped(&host, &room_version(2)).await;
    let mut back = host.connect("/rooms/blue").await;
    is_answered(&mut back, "b", "2:2:1:b").await;
}

#[tokio::test]
async fn a_handler_that_gives_no_state_is_drained() {
    let host = TestHost::new(Guest::named("counter-fixed")).start().await;
    let mut client = host.connect("/websocket").await;
    is_answered(&mut client, "a", "fixed").await;
    let report = swapped(&host, &version(1)).await;
    assert_eq!((report.unsupported, report.moved), (1, 0), "{report:?}");
    assert!(
        report.unsupported_because.as_ref().is_some_and(|why| why.contains("`suspend` answers none")),
        "{report:?}"
    );
    is_answered(&mut client, "b", "fixed").await;
    let mut newcomer = host.connect("/websocket").await;
    assert_eq!(newcomer.say("c").await, "1:1:c");
}

#[tokio::test]
async fn drained_connections_keep_the_old_version_until_max_drain_and_then_close_with_1012() {
    let host = counter()
        .route(|route| {
            route.swap.on_swap = OnSwap::Drain;
            route.swap.max_drain = Some(Duration::from_millis(300));
        })
        .start()
        .await;
    let mut client = who_has_counted(&host).await;
    let _ = swapped(&host, &version(2)).await;
    assert_eq!(host.connect("/websocket").await.say("b").await, "2:1:b");
    assert_eq!(client.recv_close().await, (1012, "service restart".into()));
}

#[tokio::test]
async fn who_joins_a_room_that_drains_joins_the_old_version_and_the_next_room_is_new() {
    let host = counting_rooms().route(|route| route.swap.on_swap = OnSwap::Drain).start().await;
    let mut one = host.connect("/rooms/blue").await;
    assert_eq!(one.say("a").await, "1:1:1:a");
    let _ = swapped(&host, &room_version(2)).await;
    let mut two = host.connect("/rooms/blue").await;
    assert_eq!(two.say("b").await, "1:2:1:b");
    assert_eq!(host.connect("/rooms/red").await.say("c").await, "2:1:1:c");
    one.leave().await;
    two.leave().await;
    within("the old room to go", async {
        loop {
            let mut three = host.connect("/rooms/blue").await;
            let answer = three.say("d").await;
            three.leave().await;
            if answer.starts_with("2:") {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn close_ends_every_connection_with_1012_within_the_spread() {
    let host = counter()
        .route(|route| {
            route.swap.on_swap = OnSwap::Close;
            route.swap.spread = Duration::from_millis(300);
        })
        .start()
        .await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(host.connect("/websocket").await);
    }
    let _ = swapped(&host, &version(2)).await;
    for client in &mut clients {
        assert_eq!(client.recv_close().await, (1012, "service restart".into()));
    }
    assert_eq!(host.connect("/websocket").await.say("b").await, "2:1:b");
}

#[tokio::test]
async fn a_room_is_closed_at_once_and_who_comes_back_finds_the_new_version() {
    let host = counting_rooms()
        .route(|route| {
            route.swap.on_swap = OnSwap::Close;
            route.swap.spread = Duration::ZERO;
        })
        .start()
        .await;
    let mut clients = [host.connect("/rooms/blue").await, host.connect("/rooms/blue").await];
    let _ = swapped(&host, &room_version(2)).await;
    for client in &mut clients {
        assert_eq!(client.recv_close().await.0, 1012);
    }
    let mut back = within("a place in the new room", async {
        loop {
            if let Ok(client) = host.try_connect("/rooms/blue", &[]).await {
                break client;
            }
        }
    })
    .await;
    assert_eq!(back.say("a").await, "2:1:1:a");
}

#[tokio::test]
async fn a_deployment_may_say_otherwise_than_its_route() {
    let host = counter().start().await;
    let mut client = host.connect("/websocket").await;
    let report = host.swap(&version(2), Some(OnSwap::Drain)).await.expect("a swap");
    assert_eq!((report.on_swap, report.moved), (OnSwap::Drain, 0));
    assert_eq!(client.say("a").await, "1:1:a");
}
