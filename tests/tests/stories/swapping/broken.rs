//! New versions that are broken: the old one goes on, and nobody is disconnected.

use std::time::Duration;

use waterspout::SwapError;
use waterspout_tests::host::Builder;
use waterspout_tests::{Guest, TestHost};

use super::{counter, counting_rooms, room_version, swapped, version, who_has_counted};
use crate::probe::{probe, rooms};

fn configured(host: Builder, resume: &str) -> Builder {
    let resume = resume.to_owned();
    host.route(|route| {
        route.config.insert("resume".into(), resume);
    })
    .limits(|limits| {
        limits.cpu_per_event = Duration::from_millis(300);
        limits.max_memory_bytes = 16 << 20;
    })
}

/// It is taken back, and the connection goes on as if nothing had been.
async fn is_taken_back(host: &TestHost, next: &Guest, says: &str) {
    let mut client = who_has_counted(host).await;
    match host.swap(next, None).await {
        Err(SwapError::RolledBack { failed: 1, connections: 1, why, .. }) => {
            assert!(why.contains(says), "`{why}` says nothing of `{says}`");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.say("b").await, "1:2:b");
    assert_eq!(host.connect("/websocket").await.say("c").await, "1:1:c");
    client.leave().await;
}

#[tokio::test]
async fn a_trap_in_resume() {
    is_taken_back(&configured(counter(), "trap").start().await, &Guest::named("counter-broken"), "resume")
        .await;
}

#[tokio::test]
async fn an_endless_resume() {
    let host = configured(counter(), "spin").start().await;
    is_taken_back(&host, &Guest::named("counter-broken"), "cpu-per-event").await;
}

#[tokio::test]
async fn a_resume_that_takes_all_memory() {
    let host = configured(counter(), "grow").start().await;
    is_taken_back(&host, &Guest::named("counter-broken"), "resume").await;
}

#[tokio::test]
async fn a_resume_that_refuses_is_told_with_its_reason() {
    is_taken_back(&counter().start().await, &Guest::named("counter-broken"), "colour").await;
}

#[tokio::test]
async fn a_trap_at_the_start() {
    let traps = Guest::echo_changed(|text| {
        let text = text.trim_end().strip_suffix(')').expect("a module's end");
        format!("{text} (func $begin unreachable) (start $begin))")
    });
    let host = counter().start().await;
    let mut client = host.connect("/websocket").await;
    match host.swap(&traps, None).await {
        Err(SwapError::Unfit(why)) => assert!(why.contains("unreachable"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.say("a").await, "1:1:a");
    assert_eq!(host.connect("/websocket").await.say("b").await, "1:1:b");
}

#[tokio::test]
async fn a_few_that_cannot_go_over_stay_and_the_others_go() {
    let host = probe().route(|route| route.swap.max_failures_percent = 50).start().await;
    let mut stays = host.connect("/websocket?resume=refuse+me").await;
    let mut goes = host.connect("/websocket").await;
    assert_eq!((stays.say("count").await, goes.say("count").await), ("1".into(), "1".into()));
    let report = swapped(&host, &Guest::named("probe")).await;
    assert_eq!((report.moved, report.failed), (1, 1), "{report:?}");
    assert!(report.first_failure.is_some_and(|why| why.contains("me")));
    assert_eq!((stays.say("count").await, goes.say("count").await), ("2".into(), "2".into()));
}

#[tokio::test]
async fn those_that_had_gone_over_go_back_when_too_many_fail() {
    let host = probe().start().await;
    let mut goes = host.connect("/websocket").await;
    let mut stays = host.connect("/websocket?resume=trap").await;
    assert!(matches!(host.swap(&Guest::named("probe"), None).await, Err(SwapError::RolledBack { .. })));
    assert_eq!((stays.say("count").await, goes.say("count").await), ("1".into(), "1".into()));
    let logged = host.logged("that it is taken back", |record| record.message.contains("taken back")).await;
    assert!(logged.field("why").contains("resume"), "{logged:?}");
}

#[tokio::test]
async fn an_old_version_that_traps_in_suspend_loses_that_connection_and_no_other() {
    let host = probe().start().await;
    let mut lost = host.connect("/websocket?suspend=trap").await;
    let mut goes = host.connect("/websocket").await;
    let report = swapped(&host, &Guest::named("probe")).await;
    assert_eq!((report.lost, report.moved), (1, 1), "{report:?}");
    assert_eq!(lost.recv_close().await, (1011, "handler failed".into()));
    assert_eq!(goes.say("count").await, "1");
}

#[tokio::test]
async fn a_state_over_max_state_bytes_stays_with_the_old_version() {
    let host = probe().limits(|limits| limits.max_state_bytes = 100_000).start().await;
    let mut large = host.connect("/websocket?suspend=stuff+100001").await;
    let mut small = host.connect("/websocket?suspend=stuff+50000").await;
    let report = swapped(&host, &Guest::named("probe")).await;
    assert_eq!((report.too_large, report.no_room, report.moved), (1, 0, 1), "{report:?}");
    assert_eq!((large.say("count").await, small.say("count").await), ("1".into(), "1".into()));
}

#[tokio::test]
async fn a_bound_above_all_memory_or_none_hinders_nobody() {
    for bound in [usize::MAX, 1 << 50] {
        let host = probe().limits(|limits| limits.max_state_bytes = bound).start().await;
        let mut client = host.connect("/websocket?suspend=stuff+50000").await;
        let report = swapped(&host, &Guest::named("probe")).await;
        assert_eq!((report.too_large, report.no_room, report.moved), (0, 0, 1), "{report:?}");
        assert_eq!(client.say("count").await, "1");
    }
}

#[tokio::test]
async fn a_room_that_lingers_and_is_refused_lingers_on_as_it_was() {
    let host = TestHost::new(room_version(3)).path("/rooms/{room}").instance("{room}").start().await;
    let mut one = host.connect("/rooms/blue").await;
    assert_eq!(one.say("a").await, "3:1:1:a");
    one.leave().await;
    host.connection_ends().await;
    // Nobody is there, and the first version does not know the third one's state.
    match host.swap(&room_version(1), None).await {
        Err(error @ SwapError::RolledBack { failed: 0, connections: 0, .. }) => {
            assert!(error.to_string().contains("1 of 1 instances"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let mut back = host.connect("/rooms/blue").await;
    assert_eq!(back.say("b").await, "3:2:1:b");
}

#[tokio::test]
async fn a_room_whose_next_version_shares_nothing_stays_whole() {
    let host = counting_rooms().start().await;
    let mut one = host.connect("/rooms/blue").await;
    let mut two = host.connect("/rooms/blue").await;
    assert_eq!(one.say("a").await, "1:1:1:a");
    // A handler that shares nothing cannot take a room's state.
    let report = swapped(&host, &Guest::named("counter-broken")).await;
    assert_eq!((report.moved, report.unsupported), (0, 2), "{report:?}");
    assert!(
        report
            .unsupported_because
            .as_ref()
            .is_some_and(|why| why.starts_with("the new version does not export"))
    );
    assert_eq!(two.say("b").await, "1:2:1:b");
    assert_eq!(one.say("c").await, "1:3:2:c");
}

#[tokio::test]
async fn a_version_that_shares_nothing_tells_that_its_rooms_will_not_go_over() {
    let host = counting_rooms().start().await;
    let report = swapped(&host, &Guest::named("counter-broken")).await;
    assert!(report.hindrance.is_some_and(|why| why.contains("`shared-state`")), "{report:?}");
    host.logged("what hinders", |record| record.message.contains("does not export `shared-state`")).await;
    let mut green = host.connect("/rooms/green").await;
    let _ = green.say("a").await;
    let next = swapped(&host, &room_version(1)).await;
    assert_eq!((next.moved, next.unsupported, next.hindrance), (0, 1, None), "{next:?}");
    assert!(next.unsupported_because.is_some_and(|why| why.starts_with("the old version does not export")));
}

#[tokio::test]
async fn what_was_taken_back_is_not_what_a_rollback_goes_back_to() {
    let host = counter().start().await;
    let mut client = who_has_counted(&host).await;
    assert_eq!(swapped(&host, &version(2)).await.moved, 1);
    assert!(matches!(
        host.swap(&Guest::named("counter-broken"), None).await,
        Err(SwapError::RolledBack { .. })
    ));
    assert_eq!(client.say("b").await, "2:2:b");
    assert_eq!(host.roll_back().await.expect("a rollback").moved, 1);
    assert_eq!(client.say("c").await, "1:3:c");
}

#[tokio::test]
async fn a_room_of_which_one_handler_is_refused_stays_whole() {
    let host = rooms().start().await;
    let mut one = host.connect("/rooms/blue").await;
    let mut two = host.connect("/rooms/blue?resume=refuse+me").await;
    assert_eq!((one.say("count").await, two.say("count").await), ("1".into(), "2".into()));
    assert!(matches!(
        host.swap(&Guest::named("probe"), None).await,
        Err(SwapError::RolledBack { failed: 2, connections: 2, .. })
    ));
    assert_eq!((one.say("count").await, two.say("count").await), ("3".into(), "4".into()));
}

#[tokio::test]
async fn one_peer_in_a_full_room_is_one_failure() {
    let host = rooms().route(|route| route.swap.max_failures_percent = 50).start().await;
    let mut full = Vec::new();
    for number in 0..5 {
        let script = if number == 0 { "?resume=refuse+me" } else { "" };
        full.push(host.connect(&format!("/rooms/full{script}")).await);
    }
    let mut other = host.connect("/rooms/other").await;
    assert_eq!(other.say("count").await, "1");
    let report = swapped(&host, &Guest::named("probe")).await;
    assert_eq!((report.moved, report.failed), (1, 5), "{report:?}");
}
