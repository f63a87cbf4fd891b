//! A new version for a part of the newcomers, until it has shown what it is worth.

use std::time::Duration;

use tokio_tungstenite::tungstenite::{Error, Message};
use waterspout::server::proxies::TrustedProxies;
use waterspout::{OnSwap, SwapError};
use waterspout_tests::host::Builder;
use waterspout_tests::{Client, Guest, TestHost, within};

use super::{counter, counting_rooms, room_version, version};
use crate::probe::probe;

/// Judged soon, and by few addresses, which a proxy tells.
fn judged(host: Builder, time: Duration) -> Builder {
    host.route(|route| {
        route.swap.canary_time = time;
        route.swap.canary_addresses = 5;
    })
    .options(|options| {
        options.trusted_proxies = TrustedProxies::new(["127.0.0.1"]).expect("an address");
    })
}

/// From an address of its own.
async fn try_from_address(host: &TestHost, path: &str, number: usize) -> Result<Client, Error> {
    host.try_connect(path, &[("x-forwarded-for", &format!("203.0.113.{number}"))]).await
}

async fn connect_from(host: &TestHost, number: usize) -> Client {
    try_from_address(host, "/websocket", number).await.expect("a connection")
}

/// From how many addresses the canary has been used; it is withdrawn.
async fn addresses_of_canary(host: &TestHost) -> String {
    host.roll_back().await.expect("withdrawn");
    let record = host.logged("that it is withdrawn", |record| record.message.contains("withdrawn")).await;
    record.field("addresses").to_owned()
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_tenth_of_the_newcomers_gets_it_and_who_is_there_stays() {
    let host = judged(counter(), LONG).start().await;
    let mut before = host.connect("/websocket").await;
    host.offer(&version(2), 10).await.expect("a canary");
    let mut of_new = 0;
    for _ in 0..20 {
        let answer = host.connect("/websocket").await.say("x").await;
        of_new += u32::from(answer == "2:1:x");
    }
    assert_eq!(of_new, 2);
    assert_eq!(before.say("x").await, "1:1:x");
}

#[tokio::test]
async fn of_rooms_each_has_one_version_for_all_who_join_it() {
    let host = judged(counting_rooms(), LONG).start().await;
    host.offer(&room_version(2), 50).await.expect("a canary");
    let mut of_new = 0;
    for number in 0..20 {
        let path = format!("/rooms/{number}");
        let (mut one, mut two) = (host.connect(&path).await, host.connect(&path).await);
        let versions = (one.say("x").await[..2].to_owned(), two.say("x").await[..2].to_owned());
        assert_eq!(versions.0, versions.1, "{path}");
        of_new += u32::from(versions.0 == "2:");
    }
    assert!((1..20).contains(&of_new), "{of_new}");
}

#[tokio::test]
async fn where_one_instance_serves_all_there_is_none() {
    let host = judged(counting_rooms().instance("route"), LONG).start().await;
    let mut client = host.connect("/rooms/blue").await;
    let refused = host.offer(&room_version(2), 50).await;
    assert_eq!(refused, Err(SwapError::OneForAll));
    assert_eq!(client.say("x").await, "1:1:1:x");
    assert_eq!(host.swap(&room_version(2), None).await.expect("a swap").withdrawn, None);
}

#[tokio::test]
async fn promoted_it_serves_everybody() {
    let host = judged(counter(), LONG).start().await;
    let mut before = host.connect("/websocket").await;
    host.offer(&version(2), 10).await.expect("a canary");
    let report = host.promote().await.expect("promoted");
    assert_eq!((report.moved, report.version), (1, 2), "{report:?}");
    assert_eq!(before.say("x").await, "2:1:x");
    assert_eq!(host.connect("/websocket").await.say("x").await, "2:1:x");
    assert!(matches!(host.promote().await, Err(SwapError::NoCanary)));
}

#[tokio::test]
async fn one_that_does_no_worse_is_promoted_by_itself() {
    let host = judged(counter(), Duration::from_millis(200)).start().await;
    host.offer(&version(2), 50).await.expect("a canary");
    for number in 1..=10 {
        connect_from(&host, number).await.leave().await;
    }
    within("the canary to be promoted", async {
        while host.connect("/websocket").await.say("x").await != "2:1:x"
            || host.connect("/websocket").await.say("x").await != "2:1:x"
        {}
    })
    .await;
}

#[tokio::test]
async fn one_that_fails_for_several_addresses_is_withdrawn_and_the_others_notice_nothing() {
    let host = judged(counter(), LONG).start().await;
    // It knows the word, the old version does not.
    host.offer(&Guest::named("probe"), 50).await.expect("a canary");
    let mut quiet = Vec::new();
    for number in 1..=12 {
        let mut client = connect_from(&host, number).await;
        client.send_text("trap").await;
        match client.recv().await {
            Message::Text(answer) => {
                assert_eq!(answer, "1:1:trap");
                quiet.push(client);
            }
            other => assert!(matches!(other, Message::Close(_)), "{other}"),
        }
    }
    assert!((1..12).contains(&quiet.len()), "{}", quiet.len());
    let record = host.logged("that it is withdrawn", |record| record.message.contains("withdrawn")).await;
    assert!(record.field("why").contains("fails more often"), "{record:?}");
    assert!(matches!(host.promote().await, Err(SwapError::NoCanary)));
    for client in &mut quiet {
        assert_eq!(client.say("x").await, "1:2:x");
    }
}

#[tokio::test]
async fn one_address_alone_does_not_decide() {
    let host = judged(probe(), LONG).start().await;
    host.offer(&Guest::named("probe"), 99).await.expect("a canary");
    for number in 1..=10 {
        connect_from(&host, number).await.leave().await;
    }
    for _ in 0..3 {
        let mut client = connect_from(&host, 1).await;
        client.send_text("trap").await;
        assert_eq!(client.recv_close().await.0, 1011);
    }
    // Longer than it takes to judge.
    let judged_by_then = host.logged("that it is withdrawn", |record| record.message.contains("withdrawn"));
    assert!(tokio::time::timeout(Duration::from_millis(2500), judged_by_then).await.is_err());
    assert!(host.promote().await.is_ok());
}

#[tokio::test]
async fn who_joins_a_room_of_the_version_beside_it_has_not_used_it() {
    let host = judged(counting_rooms(), LONG).start().await;
    // Of a hundred rooms one is not the canary's; in these there is somebody already.
    let rooms = ["/rooms/blue", "/rooms/red"];
    let mut before = [host.connect(rooms[0]).await, host.connect(rooms[1]).await];
    assert_eq!([before[0].say("x").await, before[1].say("x").await], ["1:1:1:x", "1:1:1:x"]);
    host.offer(&room_version(2), 99).await.expect("a canary");
    for number in 1..=10 {
        let mut client = try_from_address(&host, rooms[number % 2], number).await.expect("a place");
        assert!(client.say("x").await.starts_with("1:"));
    }
    assert_eq!(addresses_of_canary(&host).await, "0");
}

#[tokio::test]
async fn who_finds_no_place_has_not_used_it() {
    let host = judged(counter(), LONG).limits(|limits| limits.max_instances = 1).start().await;
    let mut full = host.connect("/websocket").await;
    assert_eq!(full.say("x").await, "1:1:x");
    host.offer(&version(2), 99).await.expect("a canary");
    for number in 1..=6 {
        match try_from_address(&host, "/websocket", number).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 503),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(addresses_of_canary(&host).await, "0");
}

#[tokio::test]
async fn another_deployment_ends_it() {
    let host = judged(counter(), LONG).start().await;
    host.offer(&version(2), 99).await.expect("a canary");
    let mut of_canary = host.connect("/websocket").await;
    let mut of_canary_too = host.connect("/websocket").await;
    let answers = [of_canary.say("x").await, of_canary_too.say("x").await];
    assert!(answers.contains(&"2:1:x".into()), "{answers:?}");
    let report = host.swap(&version(3), None).await.expect("a swap");
    assert_eq!(report.moved, 2, "{report:?}");
    assert_eq!(of_canary.say("x").await, "3:2:x");
    assert!(matches!(host.promote().await, Err(SwapError::NoCanary)));
}

#[tokio::test]
async fn withdrawn_it_is_gone_even_if_others_cannot_go_over() {
    let host = judged(counter(), LONG).start().await;
    // Version 3's state is not for version 1.
    assert_eq!(host.swap(&version(3), None).await.expect("a swap").version, 2);
    let mut of_third = host.connect("/websocket").await;
    assert_eq!(of_third.say("x").await, "3:1:x");
    assert_eq!(host.swap(&version(1), Some(OnSwap::Drain)).await.expect("a swap").version, 3);
    host.offer(&version(2), 50).await.expect("a canary");
    let report = host.roll_back().await.expect("withdrawn");
    assert_eq!((report.version, report.failed, report.withdrawn), (3, 1, Some(4)), "{report:?}");
    assert_eq!(of_third.say("x").await, "3:2:x");
    for _ in 0..4 {
        assert_eq!(host.connect("/websocket").await.say("x").await, "1:1:x");
    }
}
