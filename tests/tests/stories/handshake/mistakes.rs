//! Requests that are no good handshake: each mistake has its answer.

use waterspout::server::handshake::{Hosts, Origins};
use waterspout_tests::http::KEY;
use waterspout_tests::{Guest, TestHost};

use super::{FAILED, FOREIGN_ORIGIN, MISDIRECTED, asking, echo, refused};

const NO_UPGRADE: &str = "Can \"Upgrade\" only to \"WebSocket\".";
const NO_CONNECTION: &str = "\"Connection\" must be \"Upgrade\".";
const BAD_HEADERS: &str = "Missing/Invalid WebSocket headers";

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
