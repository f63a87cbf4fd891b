//! What is no WebSocket: `/healthz` and the page.

use waterspout::Page;
use waterspout::server::handshake::Hosts;
use waterspout_tests::{Client, Guest, TestHost};

use super::{MISDIRECTED, echo, refused};

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
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../example-guests/chat.html");
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
