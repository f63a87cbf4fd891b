//! What some do is not held against others: who computes beside guests that spin, and who connects beside an address that traps the handler.

use std::time::Duration;

use tokio::task::JoinSet;
use waterspout::server::proxies::TrustedProxies;
use waterspout::{Tenant, TenantLimits};
use waterspout_tests::host::Builder;
use waterspout_tests::{Client, Guest, TestHost};

use crate::admin;
use crate::probe::probe;

fn tenant(name: &str) -> Tenant {
    Tenant { name: name.into(), total: TenantLimits::default() }
}

/// The echo, which first computes for some 5 ms: the same work, however often it is interrupted.
fn working_echo() -> Guest {
    let begin = "    (local $connection i32)\n    (local.set $connection";
    let work = "    (local $connection i32)\n    (local $turns i32)\n    (loop $work\n      \
                (br_if $work (i32.lt_u (local.tee $turns (i32.add (local.get $turns) (i32.const 1))) (i32.const 10000000))))\n    (local.set $connection";
    Guest::echo_changed(|text| {
        assert!(text.contains(begin), "host/src/handler/echo.wat has changed");
        text.replacen(begin, work, 1)
    })
}

/// Eight guests that spin for ever; an echo that works, and a probe, either with 50 ms of processor time for an event. `spinner` is the tenant who
/// spins; the others' is `acme`.
fn beside_spinners(spinner: &str) -> Builder {
    let little = Duration::from_millis(50);
    probe()
        .path("/spin")
        .limits(|limits| {
            limits.cpu_per_event = Duration::from_secs(600);
            limits.wall_per_event = Duration::from_secs(600);
        })
        .route(|route| route.tenant = tenant(spinner))
        .and_route(working_echo(), "/work")
        .limits(|limits| limits.cpu_per_event = little)
        .route(|route| route.tenant = tenant("acme"))
        .and_route(Guest::named("probe"), "/wait")
        .limits(|limits| limits.cpu_per_event = little)
        .route(|route| route.tenant = tenant("acme"))
}

async fn spin(host: &TestHost) -> Vec<Client> {
    let mut spinning = Vec::new();
    for _ in 0..8 {
        let mut client = host.connect("/spin").await;
        client.send_text("say begun\nspin").await;
        assert_eq!(client.recv_text().await, "begun");
        spinning.push(client);
    }
    spinning
}

#[tokio::test]
async fn beside_eight_guests_that_spin_neither_who_computes_a_little_nor_who_waits_is_stopped() {
    // On two threads, as all hosts of these tests.
    for spinner in ["acme", "another"] {
        let (host, _folder) = admin::start(beside_spinners(spinner)).await;
        let (mut works, mut waits) = (host.connect("/work").await, host.connect("/wait").await);
        let _spinning = spin(&host).await;
        for _ in 0..10 {
            assert_eq!(works.say("done").await, "done", "beside {spinner}");
        }
        assert_eq!(waits.say("sleep 300").await, "ok", "beside {spinner}");
        let metrics = admin::metrics(&host).await;
        for route in ["/work", "/wait"] {
            assert_eq!(
                metrics.sum("waterspout_traps_total", &[("route", route)]),
                0.0,
                "{route} beside {spinner}"
            );
        }
        assert_eq!(metrics.sum("waterspout_connections_open", &[]), 10.0, "all go on");
    }
}

/// Any address but the attacker's.
fn from(number: usize) -> String {
    format!("198.51.100.{}", number % 250)
}

#[tokio::test]
async fn an_address_that_traps_the_handler_ten_thousand_times_shuts_nobody_else_out() {
    const ATTACKERS: usize = 8;
    let host = probe()
        .options(|options| {
            options.trusted_proxies = TrustedProxies::new(["127.0.0.1"]).expect("networks");
            // So that nothing but the traps' own pause is in its way.
            options.max_handshakes_per_address = u32::MAX;
        })
        .start()
        .await;
    let mut stays = host.connect_with("/websocket", &[("X-Forwarded-For", &from(249))]).await;
    let mut attacks = JoinSet::new();
    for _ in 0..ATTACKERS {
        let request = host.request("/websocket?prepare=trap").header("X-Forwarded-For", "203.0.113.9");
        attacks.spawn(async move {
            let (mut trapped, mut paused) = (0, 0);
            for _ in 0..10_000 / ATTACKERS {
                match request.answer().await.status {
                    500 => trapped += 1,
                    429 => paused += 1,
                    other => panic!("{other}"),
                }
            }
            (trapped, paused)
        });
    }
    let (mut trapped, mut paused, mut newcomers) = (0, 0, 0);
    while !attacks.is_empty() {
        // Who is refused fails this.
        let address = from(newcomers);
        let mut newcomer = host.connect_with("/websocket", &[("X-Forwarded-For", &address)]).await;
        assert_eq!(newcomer.say("count").await, "1");
        newcomer.leave().await;
        newcomers += 1;
        assert_eq!(stays.say("count").await, newcomers.to_string());
        while let Some(ended) = attacks.try_join_next() {
            let (more_trapped, more_paused) = ended.expect("the attacker's own");
            trapped += more_trapped;
            paused += more_paused;
        }
    }
    assert_eq!(trapped + paused, 10_000);
    assert!(trapped >= 4 && paused > 9_000, "{trapped} traps, then {paused} times 429");
    assert!(newcomers >= 10, "{newcomers} newcomers meanwhile");
}

#[tokio::test]
async fn traps_of_whom_no_pause_holds_back_shut_nobody_else_out_either() {
    let host = probe().start().await;
    for number in 0..300 {
        // On this machine, as a proxy that says no more is.
        assert_eq!(host.request("/websocket?prepare=trap").answer().await.status, 500);
        if number % 30 == 0 {
            assert_eq!(host.connect("/websocket").await.say("count").await, "1");
        }
    }
}
