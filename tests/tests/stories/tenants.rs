//! Tenants who do not trust each other: what one uses up is his own. And handlers and peers that fail again and again.

use std::time::Duration;

use waterspout::server::proxies::TrustedProxies;
use waterspout::{Tenant, TenantLimits};
use waterspout_tests::host::Builder;
use waterspout_tests::{Guest, TestHost};

use crate::probe::probe;

fn tenant(name: &str, change: impl FnOnce(&mut TenantLimits)) -> Tenant {
    let mut total = TenantLimits::default();
    change(&mut total);
    Tenant { name: name.into(), total }
}

/// Acme's probe at `/acme` and `/acme/too`, bounded, and the neighbour's at `/neighbour`.
fn acme_and_neighbour(change: impl FnOnce(&mut TenantLimits)) -> Builder {
    let acme = tenant("acme", change);
    let also_acme = acme.clone();
    probe()
        .path("/acme")
        .route(|route| route.tenant = acme)
        .and_route(Guest::named("probe"), "/acme/too")
        .route(|route| route.tenant = also_acme)
        .and_route(Guest::named("probe"), "/neighbour")
        .route(|route| route.tenant = tenant("neighbour", |_| {}))
}

async fn status(host: &TestHost, path: &str) -> u16 {
    host.request(path).answer().await.status
}

#[tokio::test]
async fn a_topic_is_a_tenants_own_on_all_his_routes() {
    let host = acme_and_neighbour(|_| {}).start().await;
    let mut publisher = host.connect("/acme").await;
    let mut subscribers = Vec::new();
    for path in ["/acme", "/acme/too", "/neighbour"] {
        let mut client = host.connect(path).await;
        assert_eq!(client.say("subscribe news").await, "ok");
        subscribers.push(client);
    }
    assert_eq!(publisher.say("publish news for acme").await, "ok");
    let mut of_neighbour = subscribers.pop().expect("the last");
    for client in &mut subscribers {
        assert_eq!(client.recv_text().await, "for acme");
    }
    let mut neighbour = host.connect("/neighbour").await;
    assert_eq!(neighbour.say("publish news for the neighbour").await, "ok");
    assert_eq!(of_neighbour.recv_text().await, "for the neighbour", "and nothing before it");
}

#[tokio::test]
async fn a_tenant_has_so_many_connections_on_all_his_routes_and_others_have_their_own() {
    let host = acme_and_neighbour(|total| total.max_connections = 2).start().await;
    let first = host.connect("/acme").await;
    let _second = host.connect("/acme/too").await;
    assert_eq!(status(&host, "/acme").await, 503);
    let refused = host.logged("it", |record| record.message == "refused").await;
    assert_eq!(refused.field("limit"), "max-connections of the tenant");
    host.connect("/neighbour").await;
    first.leave().await;
    host.logged("its end", |record| record.message == "closed" && record.field("route") == "test").await;
    host.connect("/acme").await;
}

#[tokio::test]
async fn a_tenant_has_so_many_instances_and_others_have_their_own() {
    let host = acme_and_neighbour(|total| total.max_instances = 1).start().await;
    let _first = host.connect("/acme").await;
    assert_eq!(status(&host, "/acme/too").await, 503);
    let refused = host.logged("it", |record| record.message == "refused").await;
    assert_eq!(refused.field("limit"), "max-instances of the tenant");
    host.connect("/neighbour").await;
}

/// What the probe begins with, and some more.
const SOME_MEMORY: usize = 8 << 20;

#[tokio::test]
async fn what_a_tenants_instances_grow_to_is_his_memory_and_comes_back() {
    let host = acme_and_neighbour(|total| total.max_memory_bytes = 4 * SOME_MEMORY).start().await;
    let mut first = host.connect("/acme").await;
    let mut second = host.connect("/acme/too").await;
    assert_eq!(first.say("grow 20MiB").await, "ok");
    assert_eq!(second.say("grow 20MiB").await, "refused", "there is none left of the tenant's");
    assert_eq!(host.connect("/neighbour").await.say("grow 20MiB").await, "ok");
    first.leave().await;
    host.logged("its end", |record| record.message == "closed" && record.field("route") == "test").await;
    assert_eq!(second.say("grow 20MiB").await, "ok");
}

#[tokio::test]
async fn handles_are_their_tenants_memory_and_without_any_they_are_a_trap() {
    let host = acme_and_neighbour(|total| total.max_memory_bytes = 2 * SOME_MEMORY).start().await;
    let (mut greedy, mut modest) = (host.connect("/acme").await, host.connect("/acme").await);
    assert_eq!(modest.say("handles 100").await, "ok");
    greedy.send_text("handles 10000").await;
    assert_eq!(greedy.recv_close().await, (1011, "handler failed".into()));
    let record = host.logged("it", |record| record.message == "the handler trapped").await;
    assert!(record.field("cause").contains("has no memory left for"), "{record}");
    assert_eq!(modest.say("count").await, "1", "who makes no more goes on");
    assert_eq!(host.connect("/neighbour").await.say("handles 10000").await, "ok");
}

#[tokio::test]
async fn a_handshake_for_which_a_tenant_has_no_memory_is_503_and_others_have_theirs() {
    let host = acme_and_neighbour(|total| total.max_memory_bytes = 100 << 10).start().await;
    assert_eq!(status(&host, "/acme").await, 503);
    let refused = host.logged("it", |record| record.message == "refused").await;
    assert_eq!(refused.field("limit"), "max-memory-bytes of the tenant");
    host.connect("/neighbour").await;
}

#[tokio::test]
async fn a_queue_takes_its_tenants_memory_and_a_write_without_any_is_buffer_full_until_there_is_some() {
    let host = acme_and_neighbour(|total| total.max_memory_bytes = SOME_MEMORY).start().await;
    let mut slow = host.connect("/acme").await;
    // All of it within one event: nothing leaves meanwhile. Its queue alone could take 16 MiB.
    slow.send_text("write 1000 x 64KiB").await;
    let mut read = 0;
    let told = loop {
        let text = slow.recv_text().await;
        if text.len() < 64 << 10 {
            break text;
        }
        read += 1;
    };
    assert_eq!(told, format!("wrote {read}: buffer-full"));
    assert!((1..1000).contains(&read), "{read} messages of 64 KiB");
    assert_eq!(slow.say("say again").await, "again", "it has been read: there is memory again");
}

// Who fails again and again.

fn from_addresses() -> Builder {
    probe().options(|options| {
        options.trusted_proxies = TrustedProxies::new(["127.0.0.1"]).expect("networks");
    })
}

fn from(address: &str) -> [(&'static str, &str); 1] {
    [("X-Forwarded-For", address)]
}

#[tokio::test]
async fn an_address_that_traps_the_handler_again_and_again_waits_and_nobody_else_does() {
    let host = from_addresses().start().await;
    for _ in 0..4 {
        let mut attacker = host.connect_with("/websocket", &from("203.0.113.9")).await;
        attacker.send_text("trap").await;
        assert_eq!(attacker.recv_close().await.0, 1011);
    }
    let answer = host.request("/websocket").header("X-Forwarded-For", "203.0.113.9").answer().await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    assert_eq!(answer.text(), "The handler has failed too often for this address.");
    let paused = host.logged("the pause", |record| !record.field("pause").is_empty()).await;
    assert_eq!(paused.field("call"), "on-message");
    for address in ["203.0.113.10", "2001:db8::9"] {
        assert_eq!(host.connect_with("/websocket", &from(address)).await.say("count").await, "1");
    }
    assert_eq!(host.connect("/websocket").await.say("count").await, "1", "nor who is on this machine");
}

#[tokio::test]
async fn traps_before_the_101_count_against_the_address_too() {
    let host = from_addresses().start().await;
    let trap = host.request("/websocket?prepare=trap").header("X-Forwarded-For", "203.0.113.9");
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(trap.answer().await.status);
    }
    assert_eq!(statuses, [500, 500, 500, 500, 429]);
}

#[tokio::test]
async fn a_handler_that_cannot_start_is_not_tried_for_everybody() {
    let guest = Guest::echo_changed(|text| {
        text.replacen("(func $slot", "(start $boom)\n  (func $boom unreachable)\n  (func $slot", 1)
    });
    let host = TestHost::new(guest).and_route(Guest::Echo, "/echo").start().await;
    assert_eq!(status(&host, "/websocket").await, 500);
    for _ in 0..3 {
        let answer = host.request("/websocket").answer().await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(answer.text(), "The handler cannot start.");
    }
    let traps: Vec<_> =
        host.logs().into_iter().filter(|record| record.message == "the handler trapped").collect();
    assert_eq!(traps.len(), 1, "one line in the log");
    assert_eq!((traps[0].field("call"), traps[0].field("pause")), ("instantiate", "1s"));
    assert_eq!(host.connect("/echo").await.say("still here").await, "still here");
}

#[tokio::test]
async fn an_address_has_so_many_handshakes_a_second() {
    let host = from_addresses().options(|options| options.max_handshakes_per_address = 3).start().await;
    let shake = |address| host.request("/websocket?prepare=status+403").header("X-Forwarded-For", address);
    let mut refused = None;
    // More of them than a slow machine takes a second for.
    for _ in 0..200 {
        let answer = shake("203.0.113.9").answer().await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("200 in a row are too many");
    assert_eq!(refused.text(), "Too many requests from this address.");
    assert!(refused.header("retry-after").is_some());
    assert_ne!(shake("203.0.113.10").answer().await.status, 429, "another address has its own");
}

#[tokio::test]
async fn whatever_an_address_asks_for_counts_and_one_request_too_many_ends_the_socket() {
    let host = from_addresses().options(|options| options.max_handshakes_per_address = 3).start().await;
    for path in ["/nothing", "/healthz", "/websocket"] {
        let ask = || host.request(path).plain().header("X-Forwarded-For", "203.0.113.9");
        let mut answer = ask().answer().await;
        // More of them than a slow machine takes a second for.
        for _ in 0..200 {
            if answer.status == 429 {
                break;
            }
            answer = ask().answer().await;
        }
        assert_eq!(
            (answer.status, answer.header("connection")),
            (429, Some("close")),
            "{path}: {}",
            answer.text()
        );
    }
}

// What guests print.

#[tokio::test]
async fn what_an_instance_prints_over_its_rate_is_dropped_and_counted() {
    let host = probe().limits(|limits| limits.max_log_bytes_per_second = 1000).start().await;
    let mut client = host.connect("/websocket").await;
    for number in 0..100 {
        client.send_text(format!("print line {number}")).await;
        assert_eq!(client.recv_text().await, "ok");
    }
    let printed = host.printed().len();
    assert!((9..90).contains(&printed), "{printed} of 100 lines, each about 108 bytes with its record");
    client.leave().await;
    let dropped = host
        .logged("what was dropped", |record| {
            record.message.starts_with("what the handler printed was dropped")
        })
        .await;
    assert!(dropped.field("lines").parse::<usize>().expect("a number") >= 10, "{dropped}");
}

#[tokio::test]
async fn a_tenants_instances_together_print_no_more_than_he_may() {
    let host = acme_and_neighbour(|total| total.max_log_bytes_per_second = 1000).start().await;
    let mut clients = [host.connect("/acme").await, host.connect("/acme/too").await];
    for _ in 0..50 {
        for client in &mut clients {
            assert_eq!(client.say("print a line").await, "ok");
        }
    }
    let of_acme = host.printed().len();
    assert!((9..90).contains(&of_acme), "{of_acme} of 100 lines");
    assert_eq!(host.connect("/neighbour").await.say("print the neighbour's").await, "ok");
    host.guest_prints("the neighbour's").await;
}

#[tokio::test]
async fn a_neighbour_is_answered_while_a_tenant_computes() {
    let host = probe()
        .path("/acme")
        .route(|route| route.tenant = tenant("acme", |_| {}))
        .limits(|limits| limits.cpu_per_event = Duration::from_millis(600))
        .and_route(Guest::named("probe"), "/neighbour")
        .route(|route| route.tenant = tenant("neighbour", |_| {}))
        .start()
        .await;
    let mut computing = Vec::new();
    for _ in 0..8 {
        let mut client = host.connect("/acme").await;
        client.send_text("spin").await;
        computing.push(client);
    }
    let mut neighbour = host.connect("/neighbour").await;
    for number in 1..=200 {
        assert_eq!(neighbour.say("count").await, number.to_string());
    }
    // Together they may take five seconds of a processor: none is over yet.
    assert!(host.logs().iter().all(|record| record.message != "closed"), "{:?}", host.logs());
    for mut client in computing {
        assert_eq!(client.recv_close().await.0, 1011);
    }
}
