//! A good request: the 101, what handlers add to it, and the first bytes behind it.

use waterspout_tests::frames::Frame;
use waterspout_tests::http::ACCEPT;

use super::{asking, assert_is, echo};
use crate::probe::probe;

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
