//! Handlers that refuse: which answers they may give, and which headers with them.

use super::{FAILED, FOREIGN_ORIGIN, asking, assert_is, refused};
use crate::probe::probe;
use crate::witness::{Witness, reporting};

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
