//! What an operator sees and does by the admin listener: counts, tenants, connections, kicks; and who is kept out.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use waterspout::limits::TenantLimits;
use waterspout::server::proxies::TrustedProxies;
use waterspout::{Admin, AdminOptions, Application, Runtime, RuntimeOptions, Tenant};
use waterspout_tests::host::Builder;
use waterspout_tests::http::Request;
use waterspout_tests::{Answer, Guest, Metrics, TestHost, within};

use crate::probe::{history, probe, rooms};

const TOKEN: &str = "correct-horse-battery-staple";

/// A folder of a test's own, gone with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("waterspout-admin-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    /// The file with the token, put in its place as a whole.
    fn token(&self, token: &str) -> PathBuf {
        let (new, file) = (self.0.join("new"), self.0.join("token"));
        std::fs::write(&new, token).expect("written");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).expect("ours");
        std::fs::rename(new, &file).expect("ours");
        file
    }

    fn options(&self) -> AdminOptions {
        AdminOptions {
            address: "127.0.0.1:0".parse().expect("an address"),
            mode: None,
            token_file: Some(self.token(TOKEN)),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// With an admin listener.
pub(crate) async fn start(host: Builder) -> (TestHost, Folder) {
    let folder = Folder::new();
    (host.admin(folder.options()).start().await, folder)
}

fn ask(host: &TestHost, method: &str, target: &str) -> Request {
    host.admin_request(target).method(method).header("Authorization", format!("Bearer {TOKEN}"))
}

pub(crate) async fn metrics(host: &TestHost) -> Metrics {
    let answer = ask(host, "GET", "/metrics").answer().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Metrics::parse(answer.text())
}

/// Waits until so many connections are open: a client has its 101 a moment before the host says so.
async fn are_open(host: &TestHost, connections: usize) {
    within("connections to be open", async {
        while metrics(host).await.sum("waterspout_connections_open", &[]) != connections as f64 {}
    })
    .await;
}

pub(crate) async fn json(host: &TestHost, method: &str, target: &str) -> Value {
    let answer = ask(host, method, target).answer().await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json")),
        "{}",
        answer.text()
    );
    serde_json::from_str(answer.text()).expect("JSON")
}

fn tenant(name: &str, change: impl FnOnce(&mut TenantLimits)) -> Tenant {
    let mut total = TenantLimits::default();
    change(&mut total);
    Tenant { name: name.into(), total }
}

fn refused(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.text().trim_end())
}

// Counts.

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
    let documented = include_str!("../../../docs/admin.md")
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

// Tenants and connections.

#[tokio::test]
async fn tenants_are_listed_with_their_limits_and_what_they_use() {
    let host = probe()
        .route(|route| route.tenant = tenant("red", |total| total.max_connections = 7))
        .and_route(Guest::Echo, "/echo")
        .route(|route| route.tenant = tenant("blue", |_| {}));
    let (host, _folder) = start(host).await;
    let _client = host.connect("/websocket").await;
    are_open(&host, 1).await;
    let tenants = json(&host, "GET", "/tenants").await;
    let tenants = tenants["tenants"].as_array().expect("a list");
    let names: Vec<_> = tenants.iter().map(|tenant| tenant["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["red", "blue"]);
    assert_eq!(tenants[0]["limits"]["max-connections"], "7");
    assert_eq!(tenants[0]["used"]["connections"], 1);
    assert_eq!(tenants[0]["used"]["instances"], 1);
    assert!(tenants[0]["used"]["memory_bytes"].as_u64().expect("bytes") > 32 << 10);
    assert_eq!(tenants[1]["used"]["connections"], 0);
    assert_eq!(tenants[1]["routes"][0]["name"], "/echo");
    assert_eq!(tenants[1]["routes"][0]["path"], "/echo");
}

#[tokio::test]
async fn connections_are_listed_with_what_is_known_of_them() {
    let (host, _folder) = start(probe().and_route(Guest::Echo, "/echo")).await;
    let mut client = host.connect("/websocket").await;
    let id = client.say("id").await;
    let _other = host.connect("/echo").await;
    are_open(&host, 2).await;
    let page = json(&host, "GET", "/connections?route=test&tenant=default").await;
    let connections = page["connections"].as_array().expect("a list");
    assert_eq!((connections.len(), &page["next"]), (1, &Value::Null));
    let connection = &connections[0];
    assert_eq!(connection["id"], *id);
    assert_eq!((&connection["route"], &connection["tenant"]), (&"test".into(), &"default".into()));
    assert_eq!((&connection["peer"], &connection["http"]), (&"127.0.0.1".into(), &1.into()));
    assert_eq!(connection["received"], serde_json::json!({ "messages": 1, "bytes": 2 }));
    assert_eq!(connection["sent"], serde_json::json!({ "messages": 1, "bytes": 32 }));
    assert_eq!(connection["queue_bytes"], 0);
    assert!(connection["since"].as_str().expect("a time").ends_with('Z'));
    assert_eq!(json(&host, "GET", "/connections").await["connections"].as_array().expect("a list").len(), 2);
}

#[tokio::test]
async fn a_kick_closes_with_its_code_and_the_handler_hears_of_it() {
    let (host, _folder) = start(rooms()).await;
    let (mut kicked, mut stays) = (host.connect("/rooms/a").await, host.connect("/rooms/a").await);
    let id = kicked.say("id").await;
    let answer = json(&host, "DELETE", &format!("/connections/{id}?code=4003&reason=too%20loud")).await;
    assert_eq!(answer["kicked"], 1);
    assert_eq!(kicked.recv_close().await, (4003, "too loud".into()));
    kicked.ends().await;
    assert_eq!(host.connection_ends().await, "kicked");
    let last = loop {
        let calls = history(&mut stays).await;
        if let Some(close) = calls.iter().find(|call| call.contains("on-close")) {
            break close.clone();
        }
    };
    assert_eq!(last, "1 on-close 4003 too loud");
    let metrics = metrics(&host).await;
    assert_eq!(metrics.sum("waterspout_closes_total", &[("cause", "kicked")]), 1.0);
    let gone = ask(&host, "DELETE", &format!("/connections/{id}")).answer().await;
    assert_eq!(refused(&gone), (404, "No open connection has this id."));
}

#[tokio::test]
async fn a_route_or_a_tenant_is_kicked_as_a_whole_and_nobody_else() {
    let (host, _folder) = start(probe().and_route(Guest::Echo, "/echo")).await;
    let mut clients = [host.connect("/echo").await, host.connect("/echo").await];
    let mut other = host.connect("/websocket").await;
    are_open(&host, 3).await;
    assert_eq!(json(&host, "DELETE", "/connections?route=/echo").await["kicked"], 2);
    for client in &mut clients {
        assert_eq!(client.recv_close().await, (1008, String::new()));
    }
    assert_eq!(other.say("count").await, "1");
    assert_eq!(
        json(&host, "DELETE", "/connections?tenant=default&code=1001").await["kicked"]
            .as_u64()
            .map(|n| n >= 1),
        Some(true)
    );
    assert_eq!(other.recv_close().await.0, 1001);
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_nobody_is_kicked() {
    let (host, _folder) = start(probe()).await;
    let mut client = host.connect("/websocket").await;
    let id = client.say("id").await;
    let id = format!("/connections/{id}");
    for (method, target, status) in [
        ("DELETE", format!("{id}?code=1005"), 400),
        ("DELETE", format!("{id}?code=999"), 400),
        ("DELETE", format!("{id}?kode=1000"), 400),
        ("DELETE", format!("{id}?reason={}", "x".repeat(124)), 400),
        ("DELETE", "/connections/1".into(), 400),
        ("DELETE", format!("/connections/{}", "0".repeat(32)), 404),
        ("DELETE", "/connections".into(), 400),
        ("DELETE", "/connections?route=none".into(), 404),
        ("GET", "/connections?limit=0".into(), 400),
        ("GET", "/connections?limit=1001".into(), 400),
        ("GET", "/connections?after=x".into(), 400),
        ("GET", "/connections?tenant=none".into(), 404),
        ("GET", id.clone(), 405),
        ("POST", "/metrics".into(), 405),
        ("OPTIONS", "/connections".into(), 405),
        ("GET", "/".into(), 404),
        ("GET", "/metrics/".into(), 404),
    ] {
        let answer = ask(&host, method, &target).answer().await;
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{method} {target}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {target}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(client.say("count").await, "1");
    let head = ask(&host, "HEAD", "/metrics").answer().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

// Who is kept out.

#[tokio::test]
async fn only_who_knows_the_token_is_answered() {
    let (host, folder) = start(probe()).await;
    let with = |authorization: &str| host.admin_request("/metrics").header("Authorization", authorization);
    let missing = host.admin_request("/metrics").answer().await;
    assert_eq!(
        (missing.status, missing.header("www-authenticate")),
        (401, Some("Bearer realm=\"waterspout\""))
    );
    for wrong in ["Bearer wrong-horse-battery-staple", "Bearer", "Basic correct-horse-battery-staple"] {
        assert_eq!(with(wrong).answer().await.status, 401, "{wrong}");
    }
    assert_eq!(with(&format!("Bearer {TOKEN}")).answer().await.status, 200);
    // What is unknown is not told to strangers either.
    assert_eq!(host.admin_request("/nowhere").answer().await.status, 401);
    folder.token("another-horse-battery-staple\n");
    assert_eq!(with(&format!("Bearer {TOKEN}")).answer().await.status, 401);
    assert_eq!(with("Bearer another-horse-battery-staple").answer().await.status, 200);
    folder.token("short");
    assert_eq!(with("Bearer another-horse-battery-staple").answer().await.status, 503);
    host.logged("why", |record| record.message.contains("the admin token cannot be used")).await;
    folder.token(TOKEN);
    assert_eq!(with(&format!("Bearer {TOKEN}")).answer().await.status, 200);
}

#[tokio::test]
async fn a_page_under_a_strangers_name_is_not_answered() {
    let (host, _folder) = start(probe()).await;
    let answer = ask(&host, "GET", "/metrics").replace("Host", "rebound.example").answer().await;
    assert_eq!(answer.status, 421, "{}", answer.text());
    for name in ["localhost", "127.0.0.1:1", "[::1]"] {
        assert_eq!(ask(&host, "GET", "/metrics").replace("Host", name).answer().await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused_and_so_is_a_port_without_a_token() {
    let folder = Folder::new();
    let application = || Application::new::<waterspout::Handler>([], None);
    let refuse = |address: &str, token_file: Option<PathBuf>| {
        let options = AdminOptions { address: address.parse().expect("an address"), mode: None, token_file };
        Admin::bind(&options, application()).expect_err("refused").to_string()
    };
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "systemd"] {
        let error = refuse(address, Some(folder.token(TOKEN)));
        assert!(
            error.contains("must not be reachable from elsewhere") && error.contains("loopback"),
            "{error}"
        );
    }
    let error = refuse("127.0.0.1:0", None);
    assert!(error.contains("token-file"), "{error}");
    let file = folder.token(TOKEN);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let error = refuse("127.0.0.1:0", Some(file));
    assert!(error.contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn a_unix_socket_is_its_owners_and_needs_no_token() {
    let folder = Folder::new();
    let path = folder.0.join("admin.sock");
    let options = AdminOptions {
        address: format!("unix:{}", path.display()).parse().expect("an address"),
        mode: None,
        token_file: None,
    };
    let _host = probe().admin(options).start().await;
    let mode = std::fs::metadata(&path).expect("the socket's file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut socket = tokio::net::UnixStream::connect(&path).await.expect("it listens");
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    within("the answer", socket.read_to_string(&mut answer)).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    Metrics::parse(answer.split_once("\r\n\r\n").expect("a body").1);
}

#[tokio::test]
async fn while_the_server_drains_its_operator_still_sees_it() {
    let (mut host, _folder) = start(probe()).await;
    let mut client = host.connect("/websocket").await;
    are_open(&host, 1).await;
    host.shut_down();
    host.logged("the drain", |record| record.message == "draining").await;
    assert_eq!(metrics(&host).await.sum("waterspout_connections_open", &[]), 1.0);
    assert_eq!(client.recv_close().await.0, 1001);
    client.ends().await;
    assert_eq!(host.gone().await, 0);
    assert_eq!(metrics(&host).await.sum("waterspout_closes_total", &[("cause", "going_away")]), 1.0);
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_from_asking() {
    let (host, _folder) = start(probe()).await;
    let mut silent = Vec::new();
    for _ in 0..15 {
        silent.push(tokio::net::TcpStream::connect(host.admin_address()).await.expect("it listens"));
    }
    assert_eq!(ask(&host, "GET", "/metrics").answer().await.status, 200);
}
