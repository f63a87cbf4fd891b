//! The opening handshake: what is answered to a good request, to each wrong one, and by a handler that refuses or fails.

use std::time::Duration;

use waterspout::Page;
use waterspout::server::handshake::{Hosts, Origins};
use waterspout_tests::frames::Frame;
use waterspout_tests::http::{ACCEPT, KEY, Request};
use waterspout_tests::{Answer, Client, Guest, TestHost};

use crate::probe::probe;
use crate::witness::{Witness, reporting, target};

const NO_UPGRADE: &str = "Can \"Upgrade\" only to \"WebSocket\".";
const NO_CONNECTION: &str = "\"Connection\" must be \"Upgrade\".";
const BAD_HEADERS: &str = "Missing/Invalid WebSocket headers";
const FOREIGN_ORIGIN: &str = "Cross origin websockets not allowed";
const MISDIRECTED: &str = "This server does not answer to this host name.";
const FAILED: &str = "The handler failed.";
const TOO_LONG: &str = "The handler took too long.";

/// Checks an answer of the host's own: exactly this status and body, as plain text.
#[track_caller]
fn assert_is(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status, answer.text()), (status, body), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

async fn refused(request: Request, status: u16, body: &str) -> Answer {
    let answer = request.answer().await;
    assert_is(&answer, status, body);
    answer
}

async fn echo() -> TestHost {
    TestHost::new(Guest::Echo).start().await
}

/// Under `/websocket`, with these commands for the probe.
fn asking(commands: &[(&str, &str)]) -> String {
    target("/websocket", commands)
}

// The answer 101

#[tokio::test]
async fn a_good_handshake_is_answered_with_101_and_the_accept_key() {
    let host = echo().await;
    let (answer, mut raw) = host.request("/websocket").upgrade().await;
    assert_eq!(answer.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert_eq!(answer.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
    assert_eq!(answer.header("sec-websocket-protocol"), None);
    assert_eq!(answer.header("sec-websocket-extensions"), None);
    raw.send(Frame::text("hello")).await;
    assert_eq!(raw.frame().await, Frame::text("hello"));
}

#[tokio::test]
async fn versions_7_8_and_13_are_accepted() {
    let host = echo().await;
    for version in ["7", "8", "13"] {
        let (answer, _) =
            host.request("/websocket").replace("Sec-WebSocket-Version", version).upgrade().await;
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
    }
}

#[tokio::test]
async fn upgrade_and_connection_are_compared_without_case_and_connection_is_a_list() {
    let host = echo().await;
    host.request("/websocket").replace("Upgrade", "WebSocket").upgrade().await;
    host.request("/websocket").replace("Connection", "keep-alive, UPGRADE").upgrade().await;
    host.request("/websocket")
        .replace("Connection", "keep-alive")
        .header("Connection", "Upgrade")
        .upgrade()
        .await;
}

#[tokio::test]
async fn a_handshake_after_a_refused_one_on_the_same_connection_is_served() {
    let host = echo().await;
    let mut raw = host.request("/nowhere").plain().sent().await;
    assert_is(&raw.answer(true).await, 404, "Not Found");
    raw.send_bytes(&host.request("/websocket").bytes()).await;
    assert_eq!(raw.answer(false).await.status, 101);
    raw.send(Frame::text("hello")).await;
    assert_eq!(raw.frame().await, Frame::text("hello"));
}

#[tokio::test]
async fn bytes_right_behind_the_request_are_the_first_frames() {
    let host = echo().await;
    let frames = [Frame::text("one").masked(), Frame::binary("two").masked()].concat();
    let (_, mut raw) = host.request("/websocket").behind(frames).upgrade().await;
    assert_eq!(raw.frame().await, Frame::text("one"));
    assert_eq!(raw.frame().await, Frame::binary("two"));
}

#[tokio::test]
async fn half_a_frame_behind_the_request_is_completed_by_what_follows() {
    let host = echo().await;
    let frame = Frame::text("one and a half").masked();
    let (begin, end) = frame.split_at(9);
    let (_, mut raw) = host.request("/websocket").behind(begin).upgrade().await;
    raw.send_bytes(end).await;
    assert_eq!(raw.frame().await, Frame::text("one and a half"));
}

#[tokio::test]
async fn a_second_request_smuggled_behind_the_upgrade_is_no_request() {
    let host = echo().await;
    let smuggled = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", host.authority());
    let (_, mut raw) = host.request("/websocket").behind(smuggled).upgrade().await;
    assert_eq!(raw.close_frame().await.0, 1002);
    raw.ends().await;
}

#[tokio::test]
async fn handlers_add_headers_to_the_101() {
    let host = probe().start().await;
    let target = asking(&[
        ("constructor", "set-header x-first 1"),
        ("prepare", "set-header X-Second two words"),
        ("select", "set-header x-second three"),
        ("prepare", "set-header cache-control no-store"),
    ]);
    let (answer, _) = host.request(&target).upgrade().await;
    assert_eq!(answer.header("x-first"), Some("1"));
    assert_eq!(answer.headers("x-second"), ["two words", "three"]);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn headers_that_are_not_the_handlers_are_invalid_and_not_in_the_101() {
    let host = probe().start().await;
    let names = [
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "upgrade",
        "connection",
        "content-length",
        "transfer-encoding",
        "set-cookie",
        "access-control-allow-origin",
        "server",
        "bad name",
    ];
    let commands = names.map(|name| format!("set-header {} forged", name.replace(' ', "\u{a0}")));
    let commands: Vec<_> = commands.iter().map(|command| ("prepare", command.as_str())).collect();
    let (answer, mut raw) = host.request(&asking(&commands)).upgrade().await;
    assert!(!answer.headers.iter().any(|(_, value)| value == "forged"), "{answer:?}");
    assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
    raw.send(Frame::text("history")).await;
    let history = String::from_utf8(raw.frame().await.payload).expect("text");
    assert_eq!(history.matches(" = invalid ").count(), names.len(), "{history}");
}

#[tokio::test]
async fn a_line_break_in_a_header_is_invalid() {
    let host = probe().start().await;
    let target = asking(&[
        ("prepare", "set-header x-a 1\r\nx-forged: 2"),
        ("prepare", "set-header x-a:\r\nx-forged 2"),
    ]);
    let (answer, mut raw) = host.request(&target).upgrade().await;
    assert_eq!((answer.header("x-a"), answer.header("x-forged")), (None, None));
    raw.send(Frame::text("history")).await;
    let history = String::from_utf8(raw.frame().await.payload).expect("text");
    assert_eq!(history.matches(" = invalid ").count(), 2, "{history}");
}

#[tokio::test]
async fn a_cookie_may_be_set_where_the_route_says_so() {
    let host = probe().route(|route| route.set_cookie = true).start().await;
    let (answer, _) = host.request(&asking(&[("prepare", "set-header set-cookie a=b")])).upgrade().await;
    assert_eq!(answer.header("set-cookie"), Some("a=b"));
}

#[tokio::test]
async fn after_the_101_no_header_can_be_added() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("set-header x-late 1").await, "closed");
}

#[tokio::test]
async fn headers_of_the_101_are_bounded_in_bytes() {
    // "x-a: 12345\r\n" is 12 bytes.
    let host = probe().limits(|limits| limits.max_response_header_bytes = 24).start().await;
    let command = ("prepare", "set-header x-a 12345");
    let (answer, mut raw) =
        host.request(&asking(&[command, command, ("prepare", "set-header x-b")])).upgrade().await;
    assert_eq!(answer.headers("x-a"), ["12345", "12345"]);
    assert_eq!(answer.header("x-b"), None);
    raw.send(Frame::text("history")).await;
    let history = String::from_utf8(raw.frame().await.payload).expect("text");
    assert!(history.contains("= limit max-response-header-bytes"), "{history}");
}

// Wrong requests

#[tokio::test]
async fn a_plain_get_is_400() {
    let host = echo().await;
    refused(host.request("/websocket").plain(), 400, NO_UPGRADE).await;
}

#[tokio::test]
async fn an_upgrade_to_something_else_is_400() {
    let host = echo().await;
    refused(host.request("/websocket").replace("Upgrade", "h2c"), 400, NO_UPGRADE).await;
    refused(host.request("/websocket").replace("Upgrade", "websockets"), 400, NO_UPGRADE).await;
}

#[tokio::test]
async fn a_connection_header_without_upgrade_is_400() {
    let host = echo().await;
    refused(host.request("/websocket").without("Connection"), 400, NO_CONNECTION).await;
    refused(host.request("/websocket").replace("Connection", "keep-alive, upgraded"), 400, NO_CONNECTION)
        .await;
}

#[tokio::test]
async fn an_unknown_version_is_426_and_names_the_known_ones() {
    let host = echo().await;
    for version in ["12", "14", "013", "13, 8", "", "\u{661}\u{663}"] {
        let answer =
            refused(host.request("/websocket").replace("Sec-WebSocket-Version", version), 426, "").await;
        assert_eq!(answer.header("sec-websocket-version"), Some("7, 8, 13"), "version {version}");
    }
    refused(host.request("/websocket").without("Sec-WebSocket-Version"), 426, "").await;
    refused(host.request("/websocket").header("Sec-WebSocket-Version", "13"), 426, "").await;
}

#[tokio::test]
async fn a_missing_doubled_or_wrong_key_is_400() {
    let host = echo().await;
    refused(host.request("/websocket").without("Sec-WebSocket-Key"), 400, BAD_HEADERS).await;
    refused(host.request("/websocket").header("Sec-WebSocket-Key", KEY), 400, BAD_HEADERS).await;
    for key in
        ["", "short", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZTEyMzQ=", "dGhlIHNhbXBsZSBub25j!Q=="]
    {
        refused(host.request("/websocket").replace("Sec-WebSocket-Key", key), 400, BAD_HEADERS).await;
    }
}

#[tokio::test]
async fn another_method_than_get_is_405() {
    let host = echo().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "FANCY"] {
        let request = host.request("/websocket").method(method);
        let answer = refused(request, 405, "A WebSocket handshake is a GET request.").await;
        assert_eq!(answer.header("allow"), Some("GET"));
    }
    let answer = host.request("/websocket").method("HEAD").answer().await;
    assert_eq!((answer.status, answer.body.len()), (405, 0));
}

#[tokio::test]
async fn http_1_0_is_400() {
    let host = echo().await;
    let request = host.request("/websocket").version("HTTP/1.0");
    refused(request, 400, "A WebSocket handshake needs HTTP/1.1.").await;
}

#[tokio::test]
async fn a_handshake_with_a_body_is_400() {
    let host = echo().await;
    let body = "A WebSocket handshake has no body.";
    refused(host.request("/websocket").header("Content-Length", "2").behind("hi"), 400, body).await;
    refused(host.request("/websocket").header("Transfer-Encoding", "chunked").behind("0\r\n\r\n"), 400, body)
        .await;
}

#[tokio::test]
async fn a_path_of_no_route_is_404_whatever_else_is_wrong() {
    let host = echo().await;
    for path in
        ["/", "/websocke", "/websocket/", "/websocket/a", "/WEBSOCKET", "//websocket", "/a/../websocket"]
    {
        refused(host.request(path), 404, "Not Found").await;
        refused(host.request(path).plain().method("POST"), 404, "Not Found").await;
    }
}

#[tokio::test]
async fn two_hosts_or_none_are_400() {
    let host = echo().await;
    let body = "Exactly one Host header is required.";
    refused(host.request("/websocket").header("Host", "localhost"), 400, body).await;
    refused(host.request("/websocket").without("Host"), 400, body).await;
}

#[tokio::test]
async fn a_host_that_is_none_is_400() {
    let host = echo().await;
    for name in ["", "a b", "user@localhost", "localhost/path", "\u{e9}.example", "[::1"] {
        refused(host.request("/websocket").replace("Host", name), 400, "The Host header is not a host.")
            .await;
    }
}

#[tokio::test]
async fn two_origins_are_400() {
    let host = echo().await;
    let request = host.request("/websocket").header("Origin", host.origin()).header("Origin", host.origin());
    refused(request, 400, "More than one Origin header.").await;
    let old = "Sec-WebSocket-Origin";
    let request = host.request("/websocket").header(old, host.origin()).header(old, "http://evil.example");
    refused(request, 400, "More than one Origin header.").await;
}

#[tokio::test]
async fn a_subprotocol_that_is_no_token_is_400() {
    let host = echo().await;
    for offer in ["a b", "a;b", "a/b", "\"a\"", "\u{e9}"] {
        refused(host.request("/websocket").header("Sec-WebSocket-Protocol", offer), 400, BAD_HEADERS).await;
    }
}

#[tokio::test]
async fn a_target_of_8_kib_is_the_longest() {
    let host = echo().await;
    let long = |bytes: usize| format!("/websocket?{}", "x".repeat(bytes - "/websocket?".len()));
    host.request(&long(8 << 10)).upgrade().await;
    refused(host.request(&long((8 << 10) + 1)), 414, "The request's target is too long.").await;
}

#[tokio::test]
async fn a_head_over_16_kib_is_431() {
    let host = echo().await;
    host.request("/websocket").header("X-Long", "x".repeat(15 << 10)).upgrade().await;
    let answer = host.request("/websocket").header("X-Long", "x".repeat(16 << 10)).answer().await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn a_request_has_at_most_64_headers() {
    let host = echo().await;
    let with = |headers: usize| {
        (5..headers).fold(host.request("/websocket"), |request, n| request.header(&format!("X-{n}"), "1"))
    };
    with(64).upgrade().await;
    assert_eq!(with(65).answer().await.status, 431);
}

#[tokio::test]
async fn what_is_no_http_is_answered_with_400_or_not_at_all() {
    let host = echo().await;
    for bytes in ["\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03", "GET\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let mut raw = host.tcp().await;
        raw.send_bytes(bytes.as_bytes()).await;
        raw.finish().await;
        let mut answer = Vec::new();
        let mut socket = raw.into_socket();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut answer);
        // A reset is an answer, too.
        let _ = waterspout_tests::within("the end", read).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(host.connect("/websocket").await.say("still here").await, "still here");
}

#[tokio::test]
async fn of_several_mistakes_the_first_in_tornados_order_is_answered() {
    let host = TestHost::new(Guest::named("probe"))
        .route(|route| {
            route.hosts = Hosts::Loopback;
            route.origins = Origins::listed(&["https://good.example".into()]).expect("an origin");
        })
        .start()
        .await;
    // Everything is wrong; from answer to answer the first mistake is corrected.
    let request = host
        .request(&asking(&[("constructor", "trap")]))
        .method("POST")
        .header("Host", "localhost")
        .without("Upgrade")
        .without("Connection")
        .without("Sec-WebSocket-Key")
        .replace("Sec-WebSocket-Version", "12")
        .header("Origin", "https://evil.example");
    refused(request.clone(), 400, "Exactly one Host header is required.").await;
    let request = request.replace("Host", "evil.example");
    refused(request.clone(), 421, MISDIRECTED).await;
    let request = request.replace("Host", host.authority());
    refused(request.clone(), 405, "A WebSocket handshake is a GET request.").await;
    let request = request.method("GET");
    refused(request.clone(), 400, NO_UPGRADE).await;
    let request = request.header("Upgrade", "websocket");
    refused(request.clone(), 400, NO_CONNECTION).await;
    let request = request.header("Connection", "Upgrade");
    refused(request.clone(), 426, "").await;
    let request = request.replace("Sec-WebSocket-Version", "13");
    refused(request.clone(), 400, BAD_HEADERS).await;
    let request = request.header("Sec-WebSocket-Key", KEY);
    refused(request.clone(), 403, FOREIGN_ORIGIN).await;
    let request = request.replace("Origin", "https://good.example");
    refused(request, 500, FAILED).await;
}

// Hosts

#[tokio::test]
async fn on_loopback_only_loopback_names_are_answered() {
    let host = TestHost::new(Guest::Echo).route(|route| route.hosts = Hosts::Loopback).start().await;
    for name in ["localhost", "LOCALHOST:80", "127.0.0.1", "127.9.9.9:1", "[::1]:8888"] {
        host.request("/websocket").replace("Host", name).upgrade().await;
    }
    for name in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]"] {
        refused(host.request("/websocket").replace("Host", name), 421, MISDIRECTED).await;
        refused(host.request("/nowhere").replace("Host", name).plain(), 421, MISDIRECTED).await;
    }
}

#[tokio::test]
async fn the_name_in_an_absolute_target_counts_and_not_the_host_header() {
    let host = TestHost::new(Guest::Echo).route(|route| route.hosts = Hosts::Loopback).start().await;
    refused(host.request("http://evil.example/websocket"), 421, MISDIRECTED).await;
    host.request("http://localhost/websocket").replace("Host", "evil.example").upgrade().await;
}

#[tokio::test]
async fn a_route_answers_to_its_own_hosts_only() {
    let hosts = |name: &str| Hosts::listed(&[name.to_owned()]).expect("a host");
    let host = probe()
        .route(|route| {
            route.hosts = hosts("one.example");
            route.config.insert("tenant".into(), "one".into());
        })
        .and_route(Guest::named("probe"), "/websocket")
        .route(|route| {
            route.hosts = hosts("*.two.example");
            route.config.insert("tenant".into(), "two".into());
        })
        .start()
        .await;
    let target = asking(&[("open", "config tenant"), ("message", "history")]);
    for (name, tenant) in [("one.example", "one"), ("ONE.EXAMPLE:99", "one"), ("a.two.example", "two")] {
        let (_, mut raw) = host.request(&target).replace("Host", name).upgrade().await;
        raw.send(Frame::text("")).await;
        let history = String::from_utf8(raw.frame().await.payload).expect("text");
        assert!(history.contains(&format!("config tenant = {tenant}")), "{name}: {history}");
    }
    for name in ["two.example", "three.example", "one.example.evil.example"] {
        refused(host.request(&target).replace("Host", name), 421, MISDIRECTED).await;
    }
}

// Origins

#[tokio::test]
async fn a_page_of_the_same_host_and_port_may_connect() {
    let host = echo().await;
    let port = host.address().port();
    for origin in
        [host.origin(), format!("{}/a/path", host.origin()), format!("https://{}", host.authority())]
    {
        host.request("/websocket").header("Origin", origin).upgrade().await;
    }
    let request = host.request("/websocket").replace("Host", format!("Localhost:{port}"));
    request.header("Origin", format!("http://LOCALHOST:{port}")).upgrade().await;
}

#[tokio::test]
async fn a_page_from_elsewhere_is_403() {
    let host = echo().await;
    let port = host.address().port();
    let origins = [
        host.authority(),
        "http://127.0.0.1".into(),
        format!("http://127.0.0.1:{}", port ^ 1),
        format!("http://sub.127.0.0.1:{port}"),
        format!("http://evil.example/{}", host.authority()),
        format!("http://{}@evil.example", host.authority()),
        "http://evil.example".into(),
        "null".into(),
        String::new(),
    ];
    for origin in origins {
        refused(host.request("/websocket").header("Origin", origin), 403, FOREIGN_ORIGIN).await;
    }
}

#[tokio::test]
async fn the_origin_header_of_version_8_is_checked_too() {
    let host = echo().await;
    let request = host.request("/websocket").replace("Sec-WebSocket-Version", "8");
    request.clone().header("Sec-WebSocket-Origin", host.origin()).upgrade().await;
    refused(request.header("Sec-WebSocket-Origin", "http://evil.example"), 403, FOREIGN_ORIGIN).await;
}

#[tokio::test]
async fn check_origin_is_asked_only_when_an_origin_was_sent() {
    let host = probe().start().await;
    let target = asking(&[("origin", "trap")]);
    host.request(&target).upgrade().await;
    refused(host.request(&target).header("Origin", host.origin()), 500, FAILED).await;
}

#[tokio::test]
async fn without_a_list_of_origins_the_handler_decides() {
    let host = probe().start().await;
    let allow = host.request(&asking(&[("origin", "allow")]));
    allow.header("Origin", "https://elsewhere.example").upgrade().await;
    let deny = host.request(&asking(&[("origin", "deny")]));
    refused(deny.header("Origin", host.origin()), 403, FOREIGN_ORIGIN).await;
}

#[tokio::test]
async fn check_origin_is_given_the_origin_as_it_was_sent() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let request = host.request(&reporting(&[("origin", "allow")]));
    let (_, _raw) = request.header("Origin", "HTTPS://Example.COM/path?q").upgrade().await;
    witness.sees(["1 constructor", "1 prepare", "1 check-origin HTTPS://Example.COM/path?q"]).await;
}

#[tokio::test]
async fn the_operators_origins_come_before_any_guest_code_and_the_handler_may_only_narrow() {
    let listed = Origins::listed(&["https://good.example".into(), "https://*.wild.example".into()]);
    let host = probe().route(|route| route.origins = listed.expect("origins")).start().await;
    for origin in ["https://good.example", "HTTPS://GOOD.EXAMPLE", "https://a.b.wild.example"] {
        host.request("/websocket").header("Origin", origin).upgrade().await;
        let deny = asking(&[("origin", "deny")]);
        refused(host.request(&deny).header("Origin", origin), 403, FOREIGN_ORIGIN).await;
    }
    let trap = asking(&[("constructor", "trap"), ("origin", "allow")]);
    let unlisted = [
        host.origin(),
        "http://good.example".into(),
        "https://good.example:444".into(),
        "https://evil-good.example".into(),
        "https://wild.example".into(),
        "https://evilwild.example".into(),
        "null".into(),
    ];
    for origin in unlisted {
        refused(host.request(&trap).header("Origin", origin), 403, FOREIGN_ORIGIN).await;
    }
    // Who is no browser sends none.
    host.request("/websocket").upgrade().await;
}

// Subprotocols

#[tokio::test]
async fn the_handler_chooses_one_of_the_offered_subprotocols() {
    let host = probe().start().await;
    let target = asking(&[("select", "goodproto")]);
    let mut client = host.connect_with(&target, &[("sec-websocket-protocol", "badproto, goodproto")]).await;
    assert_eq!(client.subprotocol(), Some("goodproto"));
    assert_eq!(client.say("subprotocol").await, "goodproto");
}

#[tokio::test]
async fn choosing_none_is_no_refusal() {
    let host = probe().start().await;
    let request = host.request("/websocket").header("Sec-WebSocket-Protocol", "a, b");
    let (answer, mut raw) = request.upgrade().await;
    assert_eq!(answer.header("sec-websocket-protocol"), None);
    raw.send(Frame::text("subprotocol")).await;
    assert_eq!(raw.frame().await, Frame::text("none"));
}

#[tokio::test]
async fn a_subprotocol_that_was_not_offered_is_500() {
    let host = probe().start().await;
    let target = asking(&[("select", "other")]);
    refused(host.request(&target), 500, FAILED).await;
    refused(host.request(&target).header("Sec-WebSocket-Protocol", "a, Other"), 500, FAILED).await;
    let crlf = asking(&[("select", "a\r\nx-forged: 1")]);
    let answer = refused(host.request(&crlf).header("Sec-WebSocket-Protocol", "a"), 500, FAILED).await;
    assert_eq!(answer.header("x-forged"), None);
}

#[tokio::test]
async fn select_subprotocol_is_asked_once_also_for_an_empty_offer() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let _client = host.connect(&reporting(&[])).await;
    witness
        .sees(["1 constructor", "1 prepare", "1 select-subprotocol", "1 get-compression-options", "1 open"])
        .await;
    let request = host.request(&reporting(&[]));
    let request = request.header("Sec-WebSocket-Protocol", "b,,c ").header("Sec-WebSocket-Protocol", "a");
    let _raw = request.upgrade().await;
    witness
        .sees([
            "1 constructor",
            "1 prepare",
            "1 select-subprotocol b,c,a",
            "1 get-compression-options",
            "1 open",
        ])
        .await;
}

#[tokio::test]
async fn the_handler_is_offered_what_peer_and_operator_have_in_common() {
    let listed = Some(vec!["a".to_owned(), "b".to_owned()]);
    let host = probe().route(|route| route.subprotocols = listed).start().await;
    let mut witness = Witness::of(&host).await;
    let request = host.request(&reporting(&[("select", "b")])).header("Sec-WebSocket-Protocol", "c, b");
    let (answer, _raw) = request.upgrade().await;
    assert_eq!(answer.header("sec-websocket-protocol"), Some("b"));
    witness.sees(["1 constructor", "1 prepare", "1 select-subprotocol b"]).await;
    let request = host.request(&asking(&[("select", "c")])).header("Sec-WebSocket-Protocol", "c, b");
    refused(request, 500, FAILED).await;
}

// What the handler sees of the request

#[tokio::test]
async fn named_captures_are_path_arguments_percent_decoded() {
    let host = probe().path("/chat/{room}/{seat}").start().await;
    let mut client = host.connect("/chat/r%C3%A9union%2F1/%20+%25").await;
    assert_eq!(client.say("path-args").await, r#"[["room","réunion/1"],["seat"," +%"]]"#);
}

#[tokio::test]
async fn positional_captures_are_numbered_and_one_that_matched_nothing_is_left_out() {
    let host = probe().path("^/g/(\\d+)/(?P<name>[a-z]+)(/x)?/(.*)").start().await;
    let mut client = host.connect("/g/7/ab/rest%3F").await;
    assert_eq!(client.say("path-args").await, r#"[["0","7"],["name","ab"],["2","rest?"]]"#);
    refused(host.request("/g/seven/ab/"), 404, "Not Found").await;
}

#[tokio::test]
async fn a_path_argument_that_is_no_utf8_is_404() {
    let host = probe().path("/chat/{room}").start().await;
    refused(host.request("/chat/%FF"), 404, "Not Found").await;
    refused(host.request("/chat/"), 404, "Not Found").await;
    host.request("/chat/%00%0d%0a").upgrade().await;
}

#[tokio::test]
async fn the_handler_reads_the_request_as_it_was_sent() {
    let host = probe().path("/chat/{room}").start().await;
    let headers = [("x-twice", "one"), ("X-Twice", "a: b, c"), ("origin", &host.origin())];
    let mut client = host.connect_with("/chat/a%20b?token=1?2&token=%20", &headers).await;
    assert_eq!(client.say("uri").await, "/chat/a%20b?token=1?2&token=%20");
    assert_eq!(client.say("path").await, "/chat/a%20b");
    assert_eq!(client.say("query").await, "token=1?2&token=%20");
    assert_eq!(client.say("header X-TWICE").await, "one");
    assert_eq!(client.say("header x-none").await, "none");
    assert_eq!(client.say("header host").await, host.authority());
    assert_eq!(client.say("remote-address").await, "127.0.0.1");
    assert_eq!(client.say(format!("origin-allowed {}", host.origin())).await, "true");
    assert_eq!(client.say("origin-allowed http://evil.example").await, "false");
    let all = client.say("headers").await;
    assert!(all.contains(r#"["x-twice","one"],["x-twice","a: b, c"]"#), "{all}");
    assert!(all.contains(r#"["sec-websocket-version","13"]"#), "{all}");
}

#[tokio::test]
async fn an_absent_query_is_none_and_an_empty_one_is_empty() {
    let host = probe().start().await;
    assert_eq!(host.connect("/websocket").await.say("query").await, "none");
    assert_eq!(host.connect("/websocket?").await.say("query").await, "");
}

#[tokio::test]
async fn a_header_that_is_no_utf8_reaches_the_handler() {
    let host = probe().start().await;
    let (_, mut raw) = host.request("/websocket").header("X-Latin", b"caf\xe9").upgrade().await;
    raw.send(Frame::text("header x-latin")).await;
    assert_eq!(raw.frame().await, Frame::text("caf\u{fffd}"));
}

// Rejections

#[tokio::test]
async fn prepare_answers_with_any_status_from_200_to_599() {
    let host = probe().start().await;
    for status in [200, 301, 401, 418, 451, 500, 599] {
        let answer =
            host.request(&asking(&[("prepare", &format!("status {status} no, thanks"))])).answer().await;
        assert_eq!((answer.status, answer.text()), (status, "no, thanks"));
    }
}

#[tokio::test]
async fn a_status_that_is_no_final_answer_is_500() {
    let host = probe().start().await;
    for status in [0, 1, 99, 100, 101, 103, 199, 600, 999, 1000, 65535] {
        let target = asking(&[("prepare", &format!("status {status} guest text"))]);
        refused(host.request(&target), 500, FAILED).await;
    }
    let why = host.logged("why", |record| record.field("why").contains("status 600")).await;
    assert_eq!((why.level, why.field("route")), (tracing::Level::WARN, "test"));
}

#[tokio::test]
async fn a_rejection_without_a_body_leaves_the_connection_in_step() {
    let host = probe().start().await;
    for status in [204, 304] {
        let target = asking(&[("prepare", &format!("status {status} a body that may not be"))]);
        let mut raw = host.request(&target).sent().await;
        assert_eq!(raw.answer(false).await.status, status);
        raw.send_bytes(&host.request("/healthz").plain().bytes()).await;
        assert_is(&raw.answer(true).await, 200, "ok\n");
    }
}

#[tokio::test]
async fn a_rejection_may_have_the_listed_headers() {
    let host = probe().start().await;
    let headers = [
        ("content-type", "text/x-mine"),
        ("location", "/elsewhere"),
        ("www-authenticate", "Bearer realm=\"gate\""),
        ("retry-after", "7"),
        ("cache-control", "no-store"),
        ("x-anything", "it likes"),
    ];
    let mut commands = vec![("prepare", "status 401 no".to_owned())];
    commands.extend(headers.map(|(name, value)| ("prepare", format!("rejection-header {name} {value}"))));
    let commands: Vec<_> = commands.iter().map(|(name, command)| (*name, command.as_str())).collect();
    let answer = host.request(&asking(&commands)).answer().await;
    assert_eq!(answer.status, 401);
    for (name, value) in headers {
        assert_eq!(answer.header(name), Some(value));
    }
}

#[tokio::test]
async fn a_rejection_with_another_header_is_500() {
    let host = probe().start().await;
    let headers = [
        "set-cookie a=b",
        "clear-site-data *",
        "content-length 3",
        "transfer-encoding chunked",
        "connection keep-alive",
        "upgrade websocket",
        "sec-websocket-accept x",
        "content-security-policy default-src",
        "access-control-allow-origin *",
        "x-crlf 1\r\nx-forged: 2",
        "x-lf 1\nx-forged: 2",
        "x-del a\x7fb",
        "x-na\u{e9}me 1",
        "x-name: 1",
        "x-crlf\r\nx-forged 1",
    ];
    for header in headers {
        let header = format!("rejection-header {header}");
        let target = asking(&[("prepare", "status 403 guest text"), ("prepare", &header)]);
        let answer = refused(host.request(&target), 500, FAILED).await;
        assert_eq!(answer.header("x-forged"), None);
    }
}

#[tokio::test]
async fn a_rejection_may_set_a_cookie_where_the_route_says_so() {
    let host = probe().route(|route| route.set_cookie = true).start().await;
    let target = asking(&[
        ("prepare", "status 403 no"),
        ("prepare", "rejection-header set-cookie a=b"),
        ("prepare", "rejection-header set-cookie c=d"),
    ]);
    let answer = host.request(&target).answer().await;
    assert_eq!((answer.status, answer.headers("set-cookie")), (403, vec!["a=b", "c=d"]));
}

#[tokio::test]
async fn a_rejection_cannot_run_in_a_browser_unless_the_route_says_so() {
    let target = asking(&[
        ("prepare", "status 403 <script>alert(1)</script>"),
        ("prepare", "rejection-header content-type text/html"),
    ]);
    let host = probe().start().await;
    let answer = host.request(&target).answer().await;
    assert_eq!(answer.header("content-security-policy"), Some("sandbox; default-src 'none'"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let host = probe().route(|route| route.html = true).start().await;
    let answer = host.request(&target).answer().await;
    assert_eq!(answer.header("content-security-policy"), None);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn a_handler_redirects() {
    let host = probe().start().await;
    let answer = host.request(&asking(&[("prepare", "redirect https://example.com/login")])).answer().await;
    assert!((300..400).contains(&answer.status), "{answer:?}");
    assert_eq!(answer.header("location"), Some("https://example.com/login"));
}

#[tokio::test]
async fn after_a_rejection_nothing_else_is_asked() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let target = reporting(&[("prepare", "status 403 no")]);
    assert_eq!(host.request(&target).header("Origin", host.origin()).answer().await.status, 403);
    witness.sees(["1 constructor", "1 prepare"]).await;
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn after_a_foreign_origin_nothing_else_is_asked() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let request = host.request(&reporting(&[])).header("Origin", "http://evil.example");
    refused(request, 403, FOREIGN_ORIGIN).await;
    witness.sees(["1 constructor", "1 prepare", "1 check-origin http://evil.example"]).await;
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn a_handler_that_was_refused_in_a_shared_instance_is_dropped() {
    let host = probe().instance("route").start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("watch").await, "ok");
    assert_eq!(host.request(&asking(&[("prepare", "status 403 no")])).answer().await.status, 403);
    for line in ["2 constructor", "2 prepare", "2 drop"] {
        assert_eq!(client.recv_text().await, format!("history {line}"));
    }
}

// Handlers that fail

#[tokio::test]
async fn a_trap_before_the_101_is_500_and_tells_the_peer_nothing() {
    let host = probe().start().await;
    for function in ["constructor", "prepare", "origin", "select"] {
        let target = asking(&[(function, "panic the secret is xyzzy")]);
        let answer = refused(host.request(&target).header("Origin", host.origin()), 500, FAILED).await;
        assert!(!format!("{answer:?}").contains("xyzzy"), "{answer:?}");
    }
    refused(host.request(&asking(&[("compression", "trap")])), 500, FAILED).await;
}

#[tokio::test]
async fn a_trap_before_the_101_is_logged_with_where_it_happened() {
    let host = probe().start().await;
    for (function, call) in [
        ("constructor", "constructor"),
        ("prepare", "prepare"),
        ("origin", "check-origin"),
        ("select", "select-subprotocol"),
    ] {
        let target = asking(&[(function, &format!("panic secret of {function}"))]);
        refused(host.request(&target).header("Origin", host.origin()), 500, FAILED).await;
        let record = host.logged(call, |record| record.field("call") == call).await;
        assert_eq!((record.level, record.field("route")), (tracing::Level::WARN, "test"), "{record}");
        assert!(!record.field("connection").is_empty() && !record.field("cause").is_empty(), "{record}");
        let text = host.guest_prints(&format!("secret of {function}")).await;
        assert_eq!(text.field("connection"), record.field("connection"));
    }
}

#[tokio::test]
async fn after_a_trap_in_the_handshake_nothing_else_is_called() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    for (function, lines) in [
        ("constructor", &["constructor"][..]),
        ("prepare", &["constructor", "prepare"]),
        ("select", &["constructor", "prepare", "select-subprotocol"]),
        ("compression", &["constructor", "prepare", "select-subprotocol", "get-compression-options"]),
    ] {
        refused(host.request(&reporting(&[(function, "trap")])), 500, FAILED).await;
        for line in lines {
            assert_eq!(witness.line().await, format!("1 {line}"));
        }
        witness.sees_no_more(&host).await;
    }
}

#[tokio::test]
async fn a_handler_that_spins_before_the_101_is_503() {
    let host = probe().limits(|limits| limits.cpu_per_event = Duration::from_millis(20)).start().await;
    let mut functions =
        vec![("constructor", "spin"), ("prepare", "spin"), ("origin", "spin"), ("select", "spin")];
    functions.push(("compression", "spin"));
    for command in functions {
        let request = host.request(&asking(&[command])).header("Origin", host.origin());
        let answer = refused(request, 503, TOO_LONG).await;
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
}

#[tokio::test]
async fn a_handler_that_waits_too_long_before_the_101_is_503() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_millis(200)).start().await;
    for function in ["constructor", "prepare", "select"] {
        refused(host.request(&asking(&[(function, "sleep 60000")])), 503, TOO_LONG).await;
    }
}

#[tokio::test]
async fn after_a_deadline_in_the_handshake_nothing_else_is_called() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_millis(200)).start().await;
    let mut witness = Witness::of(&host).await;
    refused(host.request(&reporting(&[("prepare", "sleep 60000")])), 503, TOO_LONG).await;
    witness.sees(["1 constructor", "1 prepare"]).await;
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn a_handler_that_answers_just_within_its_time_is_served() {
    let host = probe().limits(|limits| limits.wall_per_event = Duration::from_secs(5)).start().await;
    let mut client = host.connect(&asking(&[("prepare", "sleep 50"), ("open", "say hello")])).await;
    assert_eq!(client.recv_text().await, "hello");
}

#[tokio::test]
async fn a_failed_handshake_harms_no_other_connection() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    refused(host.request(&asking(&[("prepare", "trap")])), 500, FAILED).await;
    assert_eq!(client.say("count").await, "1");
    assert_eq!(host.connect("/websocket").await.say("count").await, "1");
}

// What is no WebSocket

#[tokio::test]
async fn healthz_is_ok_for_every_host_name() {
    let host = TestHost::new(Guest::Echo).route(|route| route.hosts = Hosts::Loopback).start().await;
    refused(host.request("/healthz").plain(), 200, "ok\n").await;
    refused(host.request("/healthz").plain().replace("Host", "10.0.0.1"), 200, "ok\n").await;
    let answer = host.request("/healthz").plain().method("HEAD").answer().await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let answer = refused(host.request("/healthz").plain().method("POST"), 405, "Only GET.").await;
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn the_hosts_page_is_served_and_lists_the_routes() {
    let host = TestHost::new(Guest::Echo)
        .path("/chat/{room}")
        .route(|route| route.subprotocols = Some(vec!["v1.chat".into()]))
        .own_page()
        .start()
        .await;
    let answer = host.request("/").plain().answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(answer.text().starts_with("<!doctype html>"), "{}", &answer.text()[..100]);
    assert!(answer.text().contains("/chat/{room}") && answer.text().contains("v1.chat"));
    let head = host.request("/").plain().method("HEAD").answer().await;
    assert_eq!((head.status, head.header("content-length")), (200, answer.header("content-length")));
}

#[tokio::test]
async fn the_page_is_only_for_get_and_for_the_routes_hosts() {
    let host =
        TestHost::new(Guest::Echo).route(|route| route.hosts = Hosts::Loopback).own_page().start().await;
    let answer = refused(host.request("/").plain().method("POST"), 405, "Only GET.").await;
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    refused(host.request("/").plain().replace("Host", "evil.example"), 421, MISDIRECTED).await;
    refused(host.request("/"), 404, "Not Found").await;
}

#[tokio::test]
async fn without_a_page_there_is_nothing_at_the_root() {
    let host = echo().await;
    refused(host.request("/").plain(), 404, "Not Found").await;
}

#[tokio::test]
async fn a_page_of_the_operators_is_served_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../example-guests/chat/page.html");
    let page = Page::from_file(path.as_ref()).expect("the chat's page");
    let host = TestHost::new(Guest::Echo).page(page).start().await;
    let answer = host.request("/").plain().answer().await;
    assert_eq!((answer.status, answer.body), (200, std::fs::read(path).expect("the chat's page")));
}

#[tokio::test]
async fn a_route_at_the_root_and_a_page_live_together() {
    let host = TestHost::new(Guest::Echo).path("/").own_page().start().await;
    assert_eq!(
        host.request("/").plain().answer().await.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let mut client: Client = host.connect("/").await;
    assert_eq!(client.say("hello").await, "hello");
}

#[tokio::test]
async fn the_first_route_that_takes_the_path_is_asked() {
    let host = TestHost::new(Guest::Echo)
        .path("/a/fixed")
        .and_route(Guest::named("probe"), "/a/{name}")
        .start()
        .await;
    assert_eq!(host.connect("/a/fixed").await.say("count").await, "count");
    assert_eq!(host.connect("/a/other").await.say("count").await, "1");
}

#[tokio::test]
async fn a_good_handshake_that_arrives_byte_by_byte_is_served() {
    let host = echo().await;
    let mut raw = host.tcp().await;
    for byte in host.request("/websocket").bytes() {
        raw.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.answer(false).await.status, 101);
    raw.send(Frame::text("hello")).await;
    assert_eq!(raw.frame().await, Frame::text("hello"));
}

#[tokio::test]
async fn a_peer_that_leaves_during_the_handshake_is_forgotten() {
    let mut host = probe().instance("route").start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("watch").await, "ok");
    for (number, function) in [(2, "constructor"), (3, "prepare"), (4, "select")] {
        let leaving = host.request(&asking(&[(function, "sleep 100")])).sent().await;
        // It is in the middle of the handshake.
        while !client.recv_text().await.contains(function) {}
        leaving.reset();
        let mut lines = Vec::new();
        while lines.last() != Some(&format!("history {number} drop")) {
            lines.push(client.recv_text().await);
        }
        assert!(!lines.iter().any(|line| line.ends_with("open") || line.contains("on-close")), "{lines:?}");
    }
    client.leave().await;
    host.shut_down();
    assert_eq!(host.gone().await, 0);
}
