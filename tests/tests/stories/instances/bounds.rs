//! How many instances there may be, and how many connections of one.

use std::sync::Arc;
use std::time::Duration;

use tokio_tungstenite::tungstenite::Error;
use waterspout::{Limits, Runtime, RuntimeOptions};
use waterspout_tests::{Client, TestHost, within};

use crate::probe::{probe, rooms};

/// The answer to a handshake that finds no room.
async fn is_full(host: &TestHost, path: &str) {
    let answer = host.request(path).answer().await;
    assert_eq!((answer.status, answer.text()), (503, "The server is full."), "{answer:?}");
    let seconds = answer.header("retry-after").expect("a Retry-After header");
    assert!(seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{seconds}");
}

/// Connects as soon as there is room: what has ended for its client still has to be taken apart.
async fn connect_when_there_is_room(host: &TestHost, path: &str) -> Client {
    within("room for an instance", async {
        loop {
            match host.try_connect(path, &[]).await {
                Ok(client) => break client,
                Err(Error::Http(answer)) => assert_eq!(answer.status(), 503),
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_route_has_at_most_max_instances() {
    let host = rooms()
        .limits(|limits| {
            limits.max_instances = 2;
            limits.linger = Duration::ZERO;
        })
        .start()
        .await;
    let mut blue = host.connect("/rooms/blue").await;
    let mut red = host.connect("/rooms/red").await;
    is_full(&host, "/rooms/green").await;
    // There is room where an instance lives.
    assert_eq!(host.connect("/rooms/red").await.say("count").await, "1");
    assert_eq!(blue.say("count").await, "1");

    blue.leave().await;
    assert_eq!(connect_when_there_is_room(&host, "/rooms/green").await.say("count").await, "1");
    assert_eq!(red.say("count").await, "2");
}

#[tokio::test]
async fn max_instances_counts_instances_of_single_connections_too() {
    let host = probe().limits(|limits| limits.max_instances = 1).start().await;
    let mut first = host.connect("/websocket").await;
    is_full(&host, "/websocket").await;
    assert_eq!(first.say("count").await, "1");
    first.leave().await;
    assert_eq!(connect_when_there_is_room(&host, "/websocket").await.say("count").await, "1");
}

#[tokio::test]
async fn all_routes_together_have_the_runtimes_instances() {
    let limits = Limits::default();
    let options = RuntimeOptions { max_instances: 2, ..RuntimeOptions::default() };
    let runtime = Runtime::new(&options, [&limits]).expect("address space for two instances");
    let host = probe()
        .path("/one")
        .and_route(waterspout_tests::Guest::named("probe"), "/rooms/{room}")
        .instance("{room}")
        .limits(|limits| limits.linger = Duration::ZERO)
        .runtime(Arc::new(runtime))
        .start()
        .await;
    let mut one = host.connect("/one").await;
    let mut blue = host.connect("/rooms/blue").await;
    is_full(&host, "/one").await;
    is_full(&host, "/rooms/red").await;
    assert_eq!(one.say("count").await, "1");
    one.leave().await;
    assert_eq!(connect_when_there_is_room(&host, "/rooms/red").await.say("count").await, "1");
    assert_eq!(blue.say("count").await, "1");
}

#[tokio::test]
async fn a_shared_instance_has_at_most_max_connections_per_instance() {
    let host = rooms().limits(|limits| limits.max_connections_per_instance = 2).start().await;
    let mut one = host.connect("/rooms/blue").await;
    let two = host.connect("/rooms/blue").await;
    is_full(&host, "/rooms/blue").await;
    assert_eq!(host.connect("/rooms/red").await.say("count").await, "1");

    two.leave().await;
    assert_eq!(connect_when_there_is_room(&host, "/rooms/blue").await.say("count").await, "1");
    assert_eq!(one.say("count").await, "2");
}
