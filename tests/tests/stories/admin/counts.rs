//! What is counted, and under which names: `/metrics`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use waterspout::limits::TenantLimits;
use waterspout::server::proxies::TrustedProxies;
use waterspout::{Runtime, RuntimeOptions};
use waterspout_tests::{Guest, Metrics, TestHost, within};

use super::{are_open, ask, json, metrics, refused, start, tenant};
use crate::probe::{probe, rooms};

#[tokio::test]
async fn messages_and_bytes_are_counted_exactly_by_tenant_route_and_direction() {
    let host = probe()
        .route(|route| route.tenant = tenant("red", |_| {}))
        .and_route(Guest::Echo, "/echo")
        .route(|route| route.tenant = tenant("blue", |_| {}));
    let (host, _folder) = start(host).await;
    let (mut one, mut two) = (host.connect("/echo").await, host.connect("/echo").await);
    for text in ["", "abc", "wörter"] {
        assert_eq!(one.say(text).await, text);
    }
    two.send_binary([7; 1000]).await;
    two.recv_binary().await;
    let mut red = host.connect("/websocket").await;
    red.send_text("write 3 x 10").await;
    for _ in 0..3 {
        red.recv_text().await;
    }
    assert_eq!(red.recv_text().await, "wrote 3: ok");
    let check = |metrics: &Metrics| {
        let count = |name: &str, tenant: &str, direction: &str| {
            metrics.sum(name, &[("tenant", tenant), ("direction", direction)])
        };
        for direction in ["received", "sent"] {
            assert_eq!(count("waterspout_messages_total", "blue", direction), 4.0);
            assert_eq!(count("waterspout_bytes_total", "blue", direction), 1010.0);
        }
        assert_eq!(count("waterspout_messages_total", "red", "received"), 1.0);
        assert_eq!(count("waterspout_messages_total", "red", "sent"), 4.0);
        assert_eq!(count("waterspout_bytes_total", "red", "received"), 12.0);
        assert_eq!(count("waterspout_bytes_total", "red", "sent"), 41.0);
        assert_eq!(metrics.sum("waterspout_handshakes_total", &[("route", "/echo"), ("status", "101")]), 2.0);
    };
    let open = metrics(&host).await;
    check(&open);
    assert_eq!(open.sum("waterspout_connections_open", &[("tenant", "blue"), ("route", "/echo")]), 2.0);
    assert_eq!(open.sum("waterspout_instances_live", &[("tenant", "red"), ("route", "test")]), 1.0);
    assert!(open.sum("waterspout_memory_bytes", &[("tenant", "blue")]) >= 2.0 * 32.0 * 1024.0);
    assert!(open.sum("waterspout_cpu_seconds_total", &[("tenant", "blue")]) > 0.0);
    let timed = open.sum("waterspout_guest_call_seconds_count", &[("route", "/echo"), ("call", "message")]);
    assert!((1.0..=4.0).contains(&timed), "{timed} of 4 are timed");
    for client in [one, two, red] {
        client.leave().await;
        host.connection_ends().await;
    }
    // Nothing is lost by an end.
    let closed = |metrics: &Metrics| metrics.sum("waterspout_closes_total", &[("cause", "peer_closed")]);
    let ended = loop {
        let ended = metrics(&host).await;
        if closed(&ended) == 3.0 && ended.sum("waterspout_instances_live", &[]) == 0.0 {
            break ended;
        }
    };
    check(&ended);
    assert_eq!(ended.sum("waterspout_connections_open", &[]), 0.0);
    assert_eq!(ended.fallen_since(&open), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_new_version_computes_on_trial_is_its_tenants_processor_time() {
    let host = TestHost::new(Guest::Echo)
        .route(|route| route.tenant = tenant("blue", |_| {}))
        .limits(|limits| limits.cpu_per_event = Duration::from_millis(200));
    let (host, _folder) = start(host).await;
    let spins = "(start $spin) (func $spin (loop $again (br $again))) (func $slot";
    let spins = Guest::echo_changed(|echo| echo.replacen("(func $slot", spins, 1));
    let error = host.swap(&spins, None).await.expect_err("it never ends").to_string();
    assert!(error.contains("cpu-per-event"), "{error}");
    let used = metrics(&host).await.sum("waterspout_cpu_seconds_total", &[("tenant", "blue")]);
    assert!(used >= 0.19, "{used}");
}

#[tokio::test]
async fn traps_are_counted_by_their_cause() {
    let host = probe().limits(|limits| {
        limits.cpu_per_event = Duration::from_millis(300);
        limits.wall_per_event = Duration::from_secs(2);
    });
    let (host, _folder) = start(host).await;
    let causes = [("trap", "unreachable"), ("spin", "cpu"), ("sleep 60000", "wall"), ("recurse", "stack")];
    for (command, _) in causes {
        let mut client = host.connect("/websocket").await;
        client.send_text(command).await;
        assert_eq!(client.recv_close().await.0, 1011, "{command}");
        client.ends().await;
    }
    assert_eq!(host.request("/websocket?prepare=trap").answer().await.status, 500);
    let metrics = metrics(&host).await;
    let traps = |cause: &str| metrics.sum("waterspout_traps_total", &[("route", "test"), ("cause", cause)]);
    for (command, cause) in causes {
        let expected = if cause == "unreachable" { 2.0 } else { 1.0 };
        assert_eq!(traps(cause), expected, "{command}");
    }
    assert_eq!(metrics.sum("waterspout_traps_total", &[]), 5.0);
    assert_eq!(metrics.sum("waterspout_handshakes_total", &[("status", "500")]), 1.0);
}

#[tokio::test]
async fn a_calls_time_includes_what_it_waits_for() {
    let (host, _folder) = start(probe()).await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("sleep 300").await, "ok");
    let metrics = metrics(&host).await;
    let labels = [("route", "test"), ("call", "message")];
    let longer = |bound: &str| {
        let labels = [labels[0], labels[1], ("le", bound)];
        metrics.sum("waterspout_guest_call_seconds_bucket", &labels)
    };
    assert_eq!((longer("0.2"), longer("+Inf")), (0.0, 1.0));
    assert!(metrics.sum("waterspout_guest_call_seconds_sum", &labels) >= 0.3);
}

/// Refused once, and counted so.
async fn one_refusal(host: &TestHost, status: u16, scope: &str, limit: &str) {
    let metrics = metrics(host).await;
    assert_eq!(
        metrics.sum("waterspout_refusals_total", &[("scope", scope), ("limit", limit)]),
        1.0,
        "{scope} {limit}"
    );
    assert_eq!(metrics.sum("waterspout_refusals_total", &[]), 1.0, "{scope} {limit}");
    assert_eq!(metrics.sum("waterspout_handshakes_total", &[("status", &status.to_string())]), 1.0);
}

#[tokio::test]
async fn each_limit_that_refuses_a_handshake_is_counted_with_whose_it_is() {
    let of_tenant =
        |change: fn(&mut TenantLimits)| probe().route(|route| route.tenant = tenant("red", change));
    let small = RuntimeOptions { max_instances: 1, ..RuntimeOptions::default() };
    let limits = waterspout::Limits { max_memory_bytes: 16 << 20, ..waterspout::Limits::default() };
    let runtime = std::sync::Arc::new(Runtime::new(&small, [&limits]).expect("room"));
    let hosts = [
        ("tenant", "max-connections", of_tenant(|total| total.max_connections = 1)),
        ("tenant", "max-instances", of_tenant(|total| total.max_instances = 1)),
        ("tenant", "max-memory-bytes", of_tenant(|total| total.max_memory_bytes = 3 << 20)),
        ("route", "max-instances", probe().limits(|limits| limits.max_instances = 1)),
        ("instance", "max-connections-per-instance", {
            probe().instance("route").limits(|limits| limits.max_connections_per_instance = 1)
        }),
        ("server", "max-instances", {
            probe().runtime(runtime).limits(|limits| limits.max_memory_bytes = 16 << 20)
        }),
    ];
    for (scope, limit, host) in hosts {
        let (host, _folder) = start(host).await;
        let mut first = host.connect("/websocket").await;
        let mut others = Vec::new();
        let answer = loop {
            let (answer, raw) = {
                let mut raw = host.request("/websocket").sent().await;
                (raw.answer(true).await, raw)
            };
            if answer.status != 101 {
                break answer;
            }
            // Memory has room for a few.
            assert_eq!(limit, "max-memory-bytes");
            others.push(raw);
        };
        assert_eq!(refused(&answer), (503, "The server is full."), "{scope} {limit}");
        one_refusal(&host, 503, scope, limit).await;
        assert_eq!(first.say("count").await, "1");
    }
}

#[tokio::test]
async fn an_address_that_has_its_connections_is_counted_as_429() {
    let host = probe().options(|options| {
        options.max_connections_per_address = 1;
        options.trusted_proxies = TrustedProxies::new(["127.0.0.1"]).expect("an address");
    });
    let (host, _folder) = start(host).await;
    let from = |host: &TestHost| host.request("/websocket").header("X-Forwarded-For", "192.0.2.1");
    let _first = from(&host).upgrade().await;
    assert_eq!(from(&host).answer().await.status, 429);
    one_refusal(&host, 429, "address", "max-connections-per-address").await;
}

#[tokio::test]
async fn a_socket_that_had_to_wait_for_max_connections_is_counted_without_a_route() {
    let (host, _folder) = start(probe().options(|options| options.max_connections = 1)).await;
    let labels = [("tenant", ""), ("route", ""), ("scope", "server"), ("limit", "max-connections")];
    let waited = async || metrics(&host).await.sum("waterspout_refusals_total", &labels);
    let first = host.connect("/websocket").await;
    assert_eq!(
        waited().await,
        0.0,
        "the series is there from the start, and who takes the last place does not wait"
    );
    let mut second = host.request("/websocket").sent().await;
    host.logged("it", |record| record.message.starts_with("`max-connections` are open")).await;
    first.leave().await;
    assert_eq!(second.answer(true).await.status, 101);
    assert_eq!(waited().await, 1.0);
}

#[tokio::test]
async fn a_socket_that_is_closed_at_once_is_counted_without_a_route() {
    let host = probe()
        .listen("127.0.0.1:0", |listener| listener.with_proxy_protocol())
        .options(|options| options.max_connections_per_address = 0);
    let (host, _folder) = start(host).await;
    let mut socket = tokio::net::TcpStream::connect(host.second_address()).await.expect("connected");
    // PROXY, version 2, of TCP over IPv4 from 203.0.113.9.
    let header =
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[203, 0, 113, 9, 127, 0, 0, 1, 1, 1, 0, 80]].concat();
    socket.write_all(&header).await.expect("sent");
    let mut answer = Vec::new();
    let _ = within("its end", socket.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
    let labels =
        [("tenant", ""), ("route", ""), ("scope", "address"), ("limit", "max-connections-per-address")];
    assert_eq!(metrics(&host).await.sum("waterspout_refusals_total", &labels), 1.0);
}

#[tokio::test]
async fn what_handlers_exchange_over_connections_of_their_own_is_counted_apart() {
    let server = TestHost::new(Guest::Echo).start().await;
    let (host, _folder) = start(probe().connects_to(&[server.address().to_string()])).await;
    let mut client = host.connect("/websocket").await;
    let dial = format!("dial ws://{}/websocket", server.address());
    for (command, answer) in [(dial.as_str(), "ok"), ("up-say hello\nup-read", "hello")] {
        assert_eq!(client.say(command).await, answer, "{command}");
    }
    let route = |direction| [("tenant", "default"), ("route", "test"), ("direction", direction)];
    let of_clients = |metrics: &Metrics, direction| {
        let sum = |name| metrics.sum(name, &route(direction));
        (sum("waterspout_client_messages_total"), sum("waterspout_client_bytes_total"))
    };
    let open = |metrics: &Metrics| metrics.sum("waterspout_client_connections_open", &[("route", "test")]);
    let now = metrics(&host).await;
    assert_eq!(
        (open(&now), of_clients(&now, "sent"), of_clients(&now, "received")),
        (1.0, (1.0, 5.0), (1.0, 5.0))
    );
    assert_eq!(now.sum("waterspout_messages_total", &route("received")), 2.0, "the peer's are its own");
    // What was counted stays when the connection has ended.
    assert_eq!(client.say("up-close 1000 bye").await, "ok");
    server.connection_ends().await;
    within("the end of it", async { while open(&metrics(&host).await) != 0.0 {} }).await;
    assert_eq!(of_clients(&metrics(&host).await, "sent"), (1.0, 5.0));
}

#[tokio::test]
async fn what_no_route_takes_is_counted_without_names_and_pages_are_not() {
    let (host, _folder) = start(probe().own_page()).await;
    assert_eq!(host.request("/nowhere/secret").answer().await.status, 404);
    assert_eq!(host.request("/websocket").replace("Host", "example.com").answer().await.status, 101);
    assert_eq!(host.request("/healthz").plain().answer().await.status, 200);
    assert_eq!(host.request("/").plain().answer().await.status, 200);
    assert_eq!(host.request("/websocket?prepare=status:418").answer().await.status, 418);
    let metrics = metrics(&host).await;
    let count = |labels: &[(&str, &str)]| metrics.sum("waterspout_handshakes_total", labels);
    assert_eq!(count(&[("tenant", ""), ("route", ""), ("status", "404")]), 1.0);
    assert_eq!(count(&[("route", "test"), ("status", "4xx")]), 1.0);
    assert_eq!(count(&[]), 3.0, "with the one that was accepted");
}

#[tokio::test]
async fn every_family_is_exposed_and_pages_name_no_peer() {
    let (host, _folder) = start(probe()).await;
    let _client = host.connect("/websocket?secret").await;
    let text = ask(&host, "GET", "/metrics").answer().await.text().to_owned();
    let families = Metrics::parse(&text).families().len();
    let documented = include_str!("../../../../docs/admin.md")
        .lines()
        .filter(|line| line.starts_with("| `waterspout_") || line.starts_with("| `process_"))
        .count();
    // Where there is no /proc there are fewer.
    let least = if cfg!(target_os = "linux") { documented } else { documented - 4 };
    assert!((least..=documented).contains(&families), "{families} of {documented}");
    assert!(!text.contains("secret") && !text.contains("127.0.0.1"), "{text}");
}

#[tokio::test]
async fn published_messages_that_were_dropped_are_counted_while_the_connection_is_open() {
    let host = rooms().instance("route").limits(|limits| limits.max_queue_bytes = 1000);
    let (host, _folder) = start(host).await;
    let mut reader = host.connect("/rooms/a?open=subscribe+news").await;
    let mut writer = host.connect("/rooms/a").await;
    assert_eq!(reader.say("count").await, "1");
    assert_eq!(writer.say("publish-large news 2000").await, "ok");
    let metrics = metrics(&host).await;
    assert_eq!(metrics.sum("waterspout_published_drops_total", &[("route", "test")]), 1.0);
}

#[tokio::test]
async fn a_scrape_of_a_thousand_connections_that_come_and_go_loses_nothing_and_never_falls() {
    const CONNECTIONS: usize = 1_000;
    let host = TestHost::new(Guest::Echo)
        .limits(|limits| limits.max_memory_bytes = 16 << 20)
        .options(|options| options.max_connections = 3_000);
    let (host, _folder) = start(host).await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(host.raw("/websocket").await);
    }
    are_open(&host, CONNECTIONS).await;
    let mut last = metrics(&host).await;
    let mut ids = std::collections::BTreeSet::new();
    let mut target = "/connections?limit=300".to_owned();
    let pages = loop {
        let page = json(&host, "GET", &target).await;
        let connections = page["connections"].as_array().expect("a list");
        ids.extend(connections.iter().map(|connection| connection["id"].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(next) => target = format!("/connections?limit=300&after={next}"),
            None => break connections.len(),
        }
    };
    assert_eq!((ids.len(), pages), (CONNECTIONS, 100));
    for (at, client) in clients.into_iter().enumerate() {
        drop(client);
        if at % 100 == 0 {
            let now = metrics(&host).await;
            assert_eq!(now.fallen_since(&last), Vec::<String>::new());
            last = now;
        }
    }
    within("all ends to be counted", async {
        while metrics(&host).await.sum("waterspout_closes_total", &[("cause", "vanished")])
            < CONNECTIONS as f64
        {}
    })
    .await;
}
