//! Origins: which pages may connect, by the operator's list and by the handler's word.

use waterspout::server::handshake::Origins;

use super::{FAILED, FOREIGN_ORIGIN, asking, echo, refused};
use crate::probe::probe;
use crate::witness::{Witness, reporting};

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
