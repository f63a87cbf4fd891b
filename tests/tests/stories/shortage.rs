//! What tenants' handlers share runs out: neither a handler nor a peer is to blame for it, and nobody is made to wait longer than it lasts.

use waterspout::server::proxies::TrustedProxies;
use waterspout::{Tenant, TenantLimits};
use waterspout_tests::host::Builder;
use waterspout_tests::{Client, Guest, TestHost};

use crate::admin;
use crate::probe::probe;

const MEBIBYTE: usize = 1 << 20;

fn acme(max_memory_bytes: usize) -> Tenant {
    Tenant { name: "acme".into(), total: TenantLimits { max_memory_bytes, ..TenantLimits::default() } }
}

/// A host that believes what a proxy on this machine says of its peers.
fn from_addresses(builder: Builder) -> Builder {
    builder.options(|options| {
        options.trusted_proxies = TrustedProxies::new(["127.0.0.1"]).expect("networks");
    })
}

const INNOCENT: [(&str, &str); 1] = [("X-Forwarded-For", "203.0.113.9")];

/// The tenant's memory is nearly used up as long as this client stays.
async fn who_takes(host: &TestHost, path: &str, memory: &str) -> Client {
    let mut greedy = host.connect(path).await;
    assert_eq!(greedy.say(format!("grow {memory}")).await, "ok");
    greedy
}

#[tokio::test]
async fn a_trap_for_want_of_the_tenants_memory_is_1013_and_the_address_is_not_made_to_wait() {
    let tenant = acme(64 * MEBIBYTE);
    let host = from_addresses(probe().route(|route| route.tenant = tenant)).start().await;
    let greedy = who_takes(&host, "/websocket", "50MiB").await;
    for _ in 0..6 {
        let mut innocent = host.connect_with("/websocket", &INNOCENT).await;
        innocent.send_text("publish-large news 20MiB").await;
        assert_eq!(innocent.recv_close().await, (1013, "try again later".into()));
    }
    let record = host.logged("it", |record| record.message.starts_with("the handler could not go on")).await;
    assert_eq!(record.field("cause"), "max-memory-bytes of the tenant is used up");
    assert!(record.field("pause").is_empty(), "{record}");
    greedy.leave().await;
    host.logged("its end", |record| record.message == "closed" && record.field("cause") == "peer_closed")
        .await;
    let mut innocent = host.connect_with("/websocket", &INNOCENT).await;
    assert_eq!(innocent.say("publish-large news 5MiB").await, "ok");
}

#[tokio::test]
async fn who_wants_most_of_the_tenants_memory_for_himself_is_what_others_lack() {
    let tenant = acme(32 * MEBIBYTE);
    let host = from_addresses(probe().route(|route| route.tenant = tenant)).start().await;
    for _ in 0..4 {
        let mut greedy = host.connect_with("/websocket", &INNOCENT).await;
        greedy.send_text("publish-large news 40MiB").await;
        assert_eq!(greedy.recv_close().await, (1011, "handler failed".into()));
    }
    let refused = host.request("/websocket").header(INNOCENT[0].0, INNOCENT[0].1).answer().await;
    assert_eq!(refused.status, 429);
}

#[tokio::test]
async fn an_instances_own_bound_is_its_handlers_fault_however_much_the_tenant_has() {
    let host = from_addresses(probe().limits(|limits| limits.max_memory_bytes = 8 * MEBIBYTE)).start().await;
    let mut client = host.connect_with("/websocket", &INNOCENT).await;
    client.send_text("publish-large news 20MiB").await;
    assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
}

#[tokio::test]
async fn a_question_of_the_handshake_that_wants_memory_when_there_is_none_is_503_and_counted_by_limit() {
    let tenant = acme(64 * MEBIBYTE);
    let (host, _folder) = admin::start(from_addresses(probe().route(|route| route.tenant = tenant))).await;
    let _greedy = who_takes(&host, "/websocket", "50MiB").await;
    let question = "/websocket?prepare=publish-large+news+20MiB";
    for _ in 0..5 {
        let answer = host.request(question).header(INNOCENT[0].0, INNOCENT[0].1).answer().await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{}", answer.text());
    }
    let mut late = host.connect_with("/websocket", &INNOCENT).await;
    late.send_text("publish-large news 20MiB").await;
    assert_eq!(late.recv_close().await.0, 1013);
    let metrics = admin::metrics(&host).await;
    let labels = [("tenant", "acme"), ("route", "test"), ("scope", "tenant"), ("limit", "max-memory-bytes")];
    assert_eq!(metrics.sum("waterspout_refusals_total", &labels), 6.0);
    let labels = [("tenant", "acme"), ("route", "test"), ("cause", "exhausted")];
    assert_eq!(metrics.sum("waterspout_traps_total", &labels), 6.0);
}

/// An echo that wants 6 MiB more when it starts, and traps without.
fn hungry_at_start() -> Guest {
    let grow = "(start $grow)\n  (func $grow (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable)))\n  (func $slot";
    Guest::echo_changed(|text| text.replacen("(func $slot", grow, 1))
}

#[tokio::test]
async fn a_start_for_which_the_tenant_has_no_memory_does_not_pause_the_route() {
    let tenant = acme(24 * MEBIBYTE);
    let also_acme = tenant.clone();
    let host = TestHost::new(hungry_at_start())
        .route(|route| route.tenant = tenant)
        .and_route(Guest::named("probe"), "/probe")
        .route(|route| route.tenant = also_acme)
        .start()
        .await;
    let greedy = who_takes(&host, "/probe", "16MiB").await;
    for _ in 0..3 {
        let answer = host.request("/websocket").answer().await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
        assert_eq!(answer.text(), "The server is full.");
    }
    greedy.leave().await;
    host.logged("its end", |record| record.message == "closed").await;
    assert_eq!(host.connect("/websocket").await.say("at once").await, "at once");
}

#[tokio::test]
async fn a_table_that_cannot_grow_for_want_of_the_tenants_memory_is_nobodys_fault_either() {
    // 15,000 elements of 8 bytes; and the answer is a trap without them.
    let grow = "    (local $connection i32)\n    (if (i32.eq (table.grow $grown (ref.null func) (i32.const 15000)) (i32.const -1)) (then unreachable))\n    (local.set $connection";
    let guest = Guest::echo_changed(|text| {
        text.replacen("  (memory (export", "  (table $grown 1 funcref)\n  (memory (export", 1).replacen(
            "    (local $connection i32)\n    (local.set $connection",
            grow,
            1,
        )
    });
    let tenant = acme(24 * MEBIBYTE);
    let also_acme = tenant.clone();
    let host = TestHost::new(guest)
        .route(|route| route.tenant = tenant)
        .and_route(Guest::named("probe"), "/probe")
        .route(|route| route.tenant = also_acme)
        .start()
        .await;
    let mut greedy = who_takes(&host, "/probe", "16MiB").await;
    let mut client = host.connect("/websocket").await;
    while greedy.say("grow 32KiB").await == "ok" {}
    client.send_text("grow").await;
    assert_eq!(client.recv_close().await.0, 1013);
}
