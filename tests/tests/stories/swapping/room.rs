//! Connections for whose handlers there is no room twice: they go over when there is some.

use waterspout::{SwapError, SwapReport, Tenant, TenantLimits};
use waterspout_tests::host::Builder;
use waterspout_tests::{Client, Guest, TestHost, within};

use super::{counter, counting_rooms, room_version, version, who_has_counted};

const MEMORY: usize = 32 << 20;
/// Less than an instance of the [`counter`] has.
const HOG: &str = "grow 256KiB";

/// The same tenant has a probe at `/hog`.
fn bounded(host: Builder) -> Builder {
    let tenant = || Tenant {
        name: "acme".into(),
        total: TenantLimits { max_memory_bytes: MEMORY, ..TenantLimits::default() },
    };
    host.route(|route| route.tenant = tenant())
        .and_route(Guest::named("probe"), "/hog")
        .route(|route| route.tenant = tenant())
}

/// Somebody who takes what memory there is, except for one instance, until he leaves.
async fn hog(host: &TestHost) -> Client {
    let instance = host.connect("/hog").await;
    let mut hog = host.connect("/hog").await;
    while hog.say(HOG).await == "ok" {}
    instance.leave().await;
    hog
}

/// As soon as there is room for the trial. There is none for an instance and what the old one has.
async fn swapped(host: &TestHost, guest: &Guest) -> SwapReport {
    within("room for the trial", async {
        loop {
            match host.swap(guest, None).await {
                Err(SwapError::NoRoom(_)) => {}
                swapped => break swapped.expect("a swap"),
            }
        }
    })
    .await
}

async fn goes_over_later(host: &TestHost, connections: &str) {
    let record =
        host.logged("who goes over later", |record| record.message.contains("goes over later")).await;
    assert_eq!(record.field("connections"), connections);
}

#[tokio::test]
async fn who_finds_no_memory_goes_over_when_others_have_left() {
    let host = bounded(counter()).start().await;
    let mut client = who_has_counted(&host).await;
    let hog = hog(&host).await;
    let report = swapped(&host, &version(2)).await;
    assert_eq!((report.no_room, report.moved, report.busy), (1, 0, 0), "{report:?}");
    assert_eq!(report.no_room_because.as_deref(), Some("max-memory-bytes of the tenant"));
    assert_eq!(client.say("b").await, "1:2:b");
    hog.leave().await;
    // Idle as it is.
    goes_over_later(&host, "1").await;
    assert_eq!(client.say("c").await, "2:3:c");
}

#[tokio::test]
async fn a_room_that_finds_no_memory_is_joined_meanwhile_and_goes_over_whole() {
    let host = bounded(counting_rooms()).start().await;
    let mut one = host.connect("/rooms/blue").await;
    assert_eq!(one.say("a").await, "1:1:1:a");
    let hog = hog(&host).await;
    let report = swapped(&host, &room_version(2)).await;
    assert_eq!((report.no_room, report.moved, report.busy), (1, 0, 0), "{report:?}");
    let mut two = host.connect("/rooms/blue").await;
    assert_eq!(two.say("b").await, "1:2:1:b");
    hog.leave().await;
    goes_over_later(&host, "2").await;
    assert_eq!(two.say("c").await, "2:3:2:c");
    assert_eq!(one.say("d").await, "2:4:2:d");
}

#[tokio::test]
async fn a_room_that_lingers_and_finds_no_memory_lingers_on_and_goes_over() {
    let host = bounded(counting_rooms()).start().await;
    let mut one = host.connect("/rooms/blue").await;
    assert_eq!(one.say("a").await, "1:1:1:a");
    one.leave().await;
    host.connection_ends().await;
    let hog = hog(&host).await;
    let report = swapped(&host, &room_version(2)).await;
    assert_eq!((report.no_room, report.moved, report.busy), (0, 0, 0), "{report:?}");
    hog.leave().await;
    goes_over_later(&host, "0").await;
    let mut back = host.connect("/rooms/blue").await;
    assert_eq!(back.say("b").await, "2:2:1:b");
}

#[tokio::test]
async fn if_those_fail_who_go_over_later_the_swap_is_taken_back_then() {
    let host = bounded(counter()).start().await;
    let mut client = who_has_counted(&host).await;
    let hog = hog(&host).await;
    assert_eq!(swapped(&host, &Guest::named("counter-broken")).await.no_room, 1);
    hog.leave().await;
    host.logged("that it is taken back", |record| record.message.contains("taken back")).await;
    assert_eq!(client.say("b").await, "1:2:b");
    assert_eq!(host.connect("/websocket").await.say("c").await, "1:1:c");
}
