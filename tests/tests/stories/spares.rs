//! Instances that are made before a connection needs them.

use tracing::Level;
use waterspout::{Tenant, TenantLimits};
use waterspout_tests::{Guest, TestHost, within};

use crate::admin;
use crate::probe::probe;

/// An echo that says at its start `WORD ` and eight random letters.
fn loud(word: &str) -> Guest {
    let said = word.len() + 1;
    let imports = r#"
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $print (param i32 i32 i32 i32) (result i32)))
  (import "[export]waterspout"#;
    // At 200 the bytes to print, at 100 where they are and how many.
    let begin = format!(
        r#"(data (i32.const 200) "{word} ........\n")
  (func (export "_initialize")
    (drop (call $random (i32.const {at}) (i32.const 8)))
    (i64.store (i32.const {at})
      (i64.or (i64.const 0x4040404040404040) (i64.and (i64.const 0x0f0f0f0f0f0f0f0f) (i64.load (i32.const {at})))))
    (i32.store (i32.const 100) (i32.const 200))
    (i32.store (i32.const 104) (i32.const {length}))
    (drop (call $print (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 108))))
  (func $slot"#,
        at = 200 + said,
        length = said + 9
    );
    Guest::echo_changed(|text| {
        text.replacen("\n  (import \"[export]waterspout", imports, 1).replacen("(func $slot", &begin, 1)
    })
}

/// An echo that fails at its start.
fn broken() -> Guest {
    Guest::echo_changed(|text| {
        text.replacen("(func $slot", "(start $trap)\n  (func $trap unreachable)\n  (func $slot", 1)
    })
}

async fn gauge(host: &TestHost, name: &str, labels: &[(&str, &str)]) -> f64 {
    admin::metrics(host).await.sum(name, labels)
}

async fn are_ready(host: &TestHost, route: &str, count: usize) {
    within("spares", async {
        while gauge(host, "waterspout_spare_instances", &[("route", route)]).await != count as f64 {}
    })
    .await;
}

async fn takes(host: &TestHost) -> [f64; 2] {
    let metrics = admin::metrics(host).await;
    ["found", "none"].map(|outcome| metrics.sum("waterspout_spare_takes_total", &[("outcome", outcome)]))
}

/// What guests have said at their start, and about which connections.
fn said(host: &TestHost, word: &str) -> Vec<(String, String)> {
    let begins = format!("{word} ");
    let records = host.logs().into_iter().filter(|record| record.message.starts_with(&begins));
    records.map(|record| (record.message.clone(), record.field("connection").to_owned())).collect()
}

#[tokio::test]
async fn a_connection_is_served_by_a_spare_and_another_is_made_in_its_place() {
    let (host, _folder) =
        admin::start(TestHost::new(loud("begins")).route(|route| route.spare_instances = 2)).await;
    are_ready(&host, "test", 2).await;
    let before = said(&host, "begins");
    assert_eq!(before.len(), 2);
    assert!(before.iter().all(|(_, connection)| connection.is_empty()), "nobody has come: {before:?}");
    assert_eq!(gauge(&host, "waterspout_instances_live", &[]).await, 2.0);

    let mut clients = Vec::new();
    for number in 1..=3 {
        are_ready(&host, "test", 2).await;
        let mut client = host.connect("/websocket").await;
        assert_eq!(client.say("hello").await, "hello");
        clients.push(client);
        assert_eq!(takes(&host).await, [f64::from(number), 0.0]);
    }
    are_ready(&host, "test", 2).await;
    assert_eq!(gauge(&host, "waterspout_instances_live", &[]).await, 5.0);
    let mut all: Vec<_> = said(&host, "begins").into_iter().map(|(message, _)| message).collect();
    assert_eq!(all.len(), 5, "each was started once: {all:?}");
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5, "each has randomness of its own");
}

#[tokio::test]
async fn without_the_key_nothing_is_made_before_somebody_comes() {
    let (host, _folder) = admin::start(TestHost::new(loud("begins"))).await;
    let mut client = host.connect("/websocket").await;
    let record = host.guest_prints("begins").await;
    assert!(!record.field("connection").is_empty(), "{record}");
    assert_eq!(client.say("hello").await, "hello");
    assert_eq!(said(&host, "begins").len(), 1);
    assert_eq!(takes(&host).await, [0.0, 0.0], "nobody has counted on any");
}

#[tokio::test]
async fn a_room_takes_a_spare_and_who_joins_it_takes_none() {
    let builder = probe().path("/rooms/{room}").instance("{room}").route(|route| route.spare_instances = 1);
    let (host, _folder) = admin::start(builder).await;
    for (room, counts) in [("blue", ["1", "2"]), ("red", ["1", "2"])] {
        are_ready(&host, "test", 1).await;
        let path = format!("/rooms/{room}");
        let mut first = host.connect(&path).await;
        assert_eq!(first.say("count").await, counts[0]);
        assert_eq!(host.connect(&path).await.say("count").await, counts[1]);
        // What acts is granted, although it was not when the instance was made.
        assert_eq!(first.say("subscribe news").await, "ok");
    }
    assert_eq!(takes(&host).await, [2.0, 0.0]);
}

#[tokio::test]
async fn a_new_version_has_spares_of_its_own_and_those_of_the_old_one_go() {
    let (host, _folder) =
        admin::start(TestHost::new(loud("one")).route(|route| route.spare_instances = 2)).await;
    are_ready(&host, "test", 2).await;
    host.swap(&loud("two"), None).await.expect("it is taken");
    within("spares of the new version", async {
        // With an await, so that it can be given up.
        while said(&host, "two").len() < 3 {
            admin::metrics(&host).await;
        }
    })
    .await;
    are_ready(&host, "test", 2).await;
    assert_eq!(gauge(&host, "waterspout_instances_live", &[]).await, 2.0);
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("hello").await, "hello");
    assert_eq!(takes(&host).await, [1.0, 0.0]);
    assert_eq!(gauge(&host, "waterspout_version_connections", &[("version", "2")]).await, 1.0);
    are_ready(&host, "test", 2).await;
    assert_eq!((said(&host, "one").len(), said(&host, "two").len()), (2, 4), "one for the trial");
}

#[tokio::test]
async fn a_canary_takes_no_spare_of_the_version_beside_it() {
    let (host, _folder) =
        admin::start(TestHost::new(loud("one")).route(|route| route.spare_instances = 1)).await;
    are_ready(&host, "test", 1).await;
    host.offer(&loud("two"), 99).await.expect("it is offered");
    let mut clients = Vec::new();
    // Of a hundred in a row one gets the other.
    for _ in 0..5 {
        clients.push(host.connect("/websocket").await);
    }
    let canaries = gauge(&host, "waterspout_version_connections", &[("version", "2")]).await;
    assert!(canaries >= 4.0, "{canaries}");
    assert_eq!(takes(&host).await, [5.0 - canaries, 0.0]);
    assert_eq!(
        said(&host, "two").len() as f64,
        canaries + 1.0,
        "each was made for its connection, and one tried"
    );
}

#[tokio::test]
async fn spares_give_way_before_a_connection_of_their_tenant_is_refused() {
    let acme = |max_instances, max_memory_bytes| Tenant {
        name: "acme".into(),
        total: TenantLimits { max_instances, max_memory_bytes, ..TenantLimits::default() },
    };
    // Each instance has 384 KiB of linear memory, and some 70 KiB beside.
    for (tenant, spares) in [(acme(3, 1 << 30), 3), (acme(100, 1840 << 10), 4)] {
        let also = tenant.clone();
        let builder = TestHost::new(Guest::Echo)
            .route(|route| {
                route.tenant = tenant;
                route.spare_instances = spares;
            })
            .and_route(Guest::Echo, "/other")
            .route(|route| route.tenant = also);
        let (host, _folder) = admin::start(builder).await;
        are_ready(&host, "test", spares as usize).await;
        let mut clients = Vec::new();
        for number in 1..=3 {
            let mut client = host.connect("/other").await;
            assert_eq!(client.say("hello").await, "hello", "{number}");
            clients.push(client);
        }
        assert_eq!(gauge(&host, "waterspout_spare_instances", &[]).await, 0.0);
        let refused = host.request("/other").answer().await;
        assert_eq!((refused.status, refused.text()), (503, "The server is full."));
        let labels = [("scope", "tenant")];
        assert_eq!(gauge(&host, "waterspout_refusals_total", &labels).await, 1.0);
    }
}

#[tokio::test]
async fn a_route_that_is_full_of_spares_is_not_full() {
    let builder = TestHost::new(Guest::Echo).limits(|limits| limits.max_instances = 2);
    let (host, _folder) = admin::start(builder.route(|route| route.spare_instances = 2)).await;
    are_ready(&host, "test", 2).await;
    let mut clients = [host.connect("/websocket").await, host.connect("/websocket").await];
    for client in &mut clients {
        assert_eq!(client.say("hello").await, "hello");
    }
    assert_eq!(host.request("/websocket").answer().await.status, 503);
    assert_eq!(takes(&host).await, [2.0, 1.0]);
}

#[tokio::test]
async fn memory_that_an_instance_grows_to_is_taken_from_spares() {
    let tenant = Tenant {
        name: "acme".into(),
        total: TenantLimits { max_memory_bytes: 32 << 20, ..TenantLimits::default() },
    };
    let (host, _folder) = admin::start(probe().route(|route| {
        route.tenant = tenant;
        route.spare_instances = 10;
    }))
    .await;
    are_ready(&host, "test", 10).await;
    let used = gauge(&host, "waterspout_memory_bytes", &[]).await as usize;
    let mut client = host.connect("/websocket").await;
    let more = (32 << 20) - used + (1 << 20);
    assert_eq!(client.say(format!("grow {more}")).await, "ok");
    assert!(gauge(&host, "waterspout_spare_instances", &[]).await < 9.0);
}

#[tokio::test]
async fn a_handler_that_fails_at_its_start_pauses_its_route_before_anybody_comes_and_is_told_once() {
    let (host, _folder) =
        admin::start(TestHost::new(broken()).route(|route| route.spare_instances = 5)).await;
    let is_it = |record: &waterspout_tests::Record| record.message == "the handler trapped";
    let record = host.logged("the failure", is_it).await;
    assert_eq!(
        (record.level, record.field("call"), record.field("connection")),
        (Level::WARN, "instantiate", "")
    );
    assert_eq!(record.field("pause"), "1s", "{record}");
    let answer = host.request("/websocket").answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    let traps = gauge(&host, "waterspout_traps_total", &[]).await;
    assert!(traps <= 2.0, "{traps}: one a pause");
    // It can be mended.
    host.swap(&loud("mended"), None).await.expect("it is taken");
    are_ready(&host, "test", 5).await;
    assert_eq!(host.connect("/websocket").await.say("hello").await, "hello");
}

#[tokio::test]
async fn a_server_that_goes_away_waits_for_no_spare() {
    let (mut host, _folder) =
        admin::start(TestHost::new(Guest::Echo).route(|route| route.spare_instances = 3)).await;
    are_ready(&host, "test", 3).await;
    let mut client = host.connect("/websocket").await;
    host.shut_down();
    assert_eq!(client.recv_close().await.0, 1001);
    are_ready(&host, "test", 0).await;
    client.ends().await;
    assert_eq!(host.gone().await, 0);
}
