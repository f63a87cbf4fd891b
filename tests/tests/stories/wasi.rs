//! What of WASI a guest is given: its output is logged, its configuration is what the route lists, clocks and randomness
//! work; there are no files and there is no network.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::net::TcpListener;
use tracing::Level;

use crate::probe::{probe, rooms};

#[tokio::test]
async fn what_a_guest_prints_is_logged_with_its_connection() {
    let host = probe().start().await;
    let (mut one, mut two) = (host.connect("/websocket").await, host.connect("/websocket").await);
    for (client, text) in [(&mut one, "from one"), (&mut two, "from two")] {
        let id = client.say("id").await;
        assert_eq!(client.say(format!("print {text}")).await, "ok");
        let record = host.guest_prints(text).await;
        assert_eq!((record.level, record.message.as_str()), (Level::INFO, text));
        assert_eq!((record.field("connection"), record.field("route")), (id.as_str(), "test"));
        assert_eq!(client.say(format!("eprint error {text}")).await, "ok");
        let record = host.guest_prints(&format!("error {text}")).await;
        assert_eq!((record.level, record.field("connection")), (Level::WARN, id.as_str()));
    }
}

#[tokio::test]
async fn in_a_shared_instance_a_line_is_of_the_connection_whose_event_runs() {
    let host = rooms().start().await;
    let (mut one, mut two) = (host.connect("/rooms/blue").await, host.connect("/rooms/blue").await);
    let ids = [one.say("id").await, two.say("id").await];
    assert_eq!(one.say("print from one").await, "ok");
    assert_eq!(two.say("print from two").await, "ok");
    assert_eq!(host.guest_prints("from one").await.field("connection"), ids[0]);
    assert_eq!(host.guest_prints("from two").await.field("connection"), ids[1]);
}

#[tokio::test]
async fn what_is_printed_before_the_101_is_logged_with_the_connections_id_to_be() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket?constructor=print+early&prepare=print+later").await;
    let id = client.say("id").await;
    assert_eq!(host.guest_prints("early").await.field("connection"), id);
    assert_eq!(host.guest_prints("later").await.field("connection"), id);
    let refused = host.request("/websocket?prepare=print+refused&prepare=status:403").answer().await;
    assert_eq!(refused.status, 403);
    assert_eq!(host.guest_prints("refused").await.field("connection").len(), id.len());
}

#[tokio::test]
async fn a_panic_is_logged_with_its_message_and_its_line() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    let id = client.say("id").await;
    client.send_text("panic one hand clapping").await;
    assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
    let message = host.guest_prints("one hand clapping").await;
    let place = host.guest_prints("probe/src/commands.rs:").await;
    for record in [message, place] {
        assert_eq!((record.level, record.field("connection")), (Level::WARN, id.as_str()), "{record}");
    }
}

#[tokio::test]
async fn a_guest_that_exits_ends_its_instance() {
    let host = probe().start().await;
    for code in [0, 1] {
        let mut client = host.connect("/websocket").await;
        client.send_text(format!("exit {code}")).await;
        assert_eq!(client.recv_close().await, (1011, "handler failed".into()), "{code}");
    }
    assert_eq!(host.connect("/websocket").await.say("count").await, "1");
}

#[tokio::test]
async fn control_characters_are_escaped_so_that_a_line_stays_a_line() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    let nasty = "print \u{1b}[2J\u{7}a\rb\u{85}c\u{202e}d\0e\tf";
    assert_eq!(client.say(nasty).await, "ok");
    assert_eq!(client.say("print end").await, "ok");
    host.guest_prints("end").await;
    assert_eq!(
        host.printed(),
        [r"\u{1b}[2J\u{7}a\rb\u{85}c\u{202e}d\u{0}e".to_owned() + "\tf", "end".into()]
    );
}

#[tokio::test]
async fn a_line_that_was_not_ended_is_logged_when_its_instance_ends() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("print-part half").await, "ok");
    assert_eq!(client.say("print-part , a line").await, "ok");
    assert_eq!(host.printed(), [""; 0]);
    client.leave().await;
    assert_eq!(host.guest_prints("half").await.message, "half, a line");
}

#[tokio::test]
async fn the_environment_is_what_the_route_lists_and_nothing_else() {
    let host = probe()
        .route(|route| {
            route.environment = [("MODE".into(), "test".into()), ("EMPTY".into(), "".into())].into()
        })
        .and_route(waterspout_tests::Guest::named("probe"), "/without")
        .start()
        .await;
    let mut client = host.connect("/websocket").await;
    client.send_text("env").await;
    assert_eq!(client.recv_json().await, json!({ "MODE": "test", "EMPTY": "" }));
    assert_eq!(client.say("env MODE").await, "test");
    assert!(std::env::var_os("PATH").is_some(), "the host has what the guest must not see");
    assert_eq!(client.say("env PATH").await, "none");
    assert_eq!(client.say("args").await, "[]");
    assert_eq!(client.say("stdin").await, "0 bytes");
    assert_eq!(host.connect("/without").await.say("env").await, "{}");
}

#[tokio::test]
async fn the_configuration_is_the_routes() {
    let host = probe()
        .route(|route| {
            route.config = [("token".into(), "sesame".into()), ("limit".into(), "3".into())].into()
        })
        .and_route(waterspout_tests::Guest::named("probe"), "/without")
        .start()
        .await;
    let mut client = host.connect("/websocket?constructor=config:token").await;
    client.send_text("config").await;
    assert_eq!(client.recv_json().await, json!({ "token": "sesame", "limit": "3" }));
    assert_eq!(client.say("config token").await, "sesame");
    assert_eq!(client.say("config other").await, "none");
    client.send_text("history").await;
    assert_eq!(client.recv_json().await[1], "1 constructor: config:token = sesame");
    assert_eq!(host.connect("/without").await.say("config").await, "{}");
}

#[tokio::test]
async fn there_are_no_files() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    for path in ["/etc/passwd", "Cargo.toml", "/proc/self/environ", "../../etc/passwd"] {
        assert!(
            std::fs::exists("/etc/passwd").is_ok_and(|exists| exists),
            "the host has what the guest must not see"
        );
        let answer = client.say(format!("read-file {path}")).await;
        assert!(answer.starts_with("error: "), "{path}: {answer}");
    }
    for path in ["/", ".", ".."] {
        let answer = client.say(format!("list {path}")).await;
        assert!(answer.starts_with("error: "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn there_is_no_network() {
    let host = probe().start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let listening = listener.local_addr().expect("an address");
    let mut client = host.connect("/websocket").await;
    for command in [
        format!("connect {listening}"),
        format!("connect {}", host.address()),
        "connect 169.254.169.254:80".into(),
        "bind 127.0.0.1:0".into(),
        "bind 0.0.0.0:0".into(),
        "udp 127.0.0.1:0".into(),
    ] {
        let answer = client.say(&command).await;
        assert!(
            ["error: access-denied", "error: not-supported"].contains(&answer.as_str()),
            "{command}: {answer}"
        );
    }
    assert_eq!(client.say(format!("fetch {listening}")).await, "error: ErrorCode::HttpRequestDenied");
    for name in ["localhost", "example.com", "127.0.0.1"] {
        let answer = client.say(format!("resolve {name}")).await;
        assert!(answer.starts_with("error: "), "{name}: {answer}");
    }
    assert!(tokio::time::timeout(Duration::ZERO, listener.accept()).await.is_err(), "somebody connected");
}

#[tokio::test]
async fn no_outgoing_websocket_may_be_opened() {
    let host = probe().start().await;
    let url = format!("ws://{}/websocket", host.address());
    let mut client = host.connect(&format!("/websocket?constructor=dial+{url}&open=start+{url}")).await;
    for command in ["dial", "start"] {
        let answer = client.say(format!("{command} {url}")).await;
        assert!(answer.to_lowercase().contains("denied"), "{answer}");
    }
    assert_eq!(client.say("count").await, "1");
}

#[tokio::test]
async fn clocks_tell_the_time() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let before = now();
    let guests: u128 = client.say("now").await.parse().expect("a number");
    // The guest's clock and ours are read through different calls of the system.
    assert!((before.saturating_sub(1000)..=now() + 1000).contains(&guests), "{guests}");
    let ticks: u64 = client.say("ticks").await.parse().expect("a number");
    assert_eq!(client.say("sleep 1").await, "ok");
    let later: u64 = client.say("ticks").await.parse().expect("a number");
    assert!(later >= ticks + 1_000_000, "{ticks}, then {later}");
}

#[tokio::test]
async fn no_two_instances_have_the_same_randomness() {
    let host = probe().start().await;
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let mut client = host.connect("/websocket").await;
        for command in ["random 16", "random 16", "hash"] {
            let value = client.say(command).await;
            assert!(value.len() > 8, "{value}");
            assert!(seen.insert(value), "{command} gave a value twice: {seen:?}");
        }
    }
}

#[tokio::test]
async fn random_bytes_are_bounded_in_one_call() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("random 65536").await.len(), 2 * 65536);
    client.send_text("random 65537").await;
    assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
}
