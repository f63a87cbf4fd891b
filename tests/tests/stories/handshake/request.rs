//! What a handler sees of the request: its path, its query, its headers; and which route's handler that is.

use waterspout_tests::frames::Frame;
use waterspout_tests::{Guest, TestHost};

use super::refused;
use crate::probe::probe;

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
