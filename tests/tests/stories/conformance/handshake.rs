//! What a handler is asked before the answer, and what it may answer.

use serde_json::json;
use waterspout::client::{ConnectOptions, Message};

use waterspout_tests::frames::Frame;

use super::Language;

pub(super) async fn the_request(language: Language) {
    let host = language.host().path("/{room}/{feature}").start().await;
    let headers = [("X-Test", "one"), ("X-Many", "a"), ("x-many", "b")];
    let mut client = host.connect_with("/caf%C3%A9/request?name=a%20b%26c&name=d+e&x", &headers).await;
    let mut answer = client.recv_json().await;
    let address = answer["remote_address"].take();
    assert!(address.as_str().is_some_and(|address| address.starts_with("127.0.0.1")), "{address}");
    assert_eq!(
        answer,
        json!({
            "uri": "/caf%C3%A9/request?name=a%20b%26c&name=d+e&x",
            "path": "/caf%C3%A9/request",
            "query": "name=a%20b%26c&name=d+e&x",
            "path_args": {"room": "café", "feature": "request"},
            "remote_address": null,
            "x_test": "one",
            "x_many": ["a", "b"],
            // The last, as Tornado's get_argument.
            "arg": "d e",
        })
    );
    let mut client = host.connect("/r/request").await;
    let answer = client.recv_json().await;
    assert_eq!(
        (&answer["query"], &answer["x_test"], &answer["arg"]),
        (&json!(null), &json!(null), &json!(null))
    );
    assert_eq!(answer["x_many"], json!([]));
}

pub(super) async fn headers_of_the_answer(language: Language) {
    let host = language.host().start().await;
    let mut client = host.connect("/response-header").await;
    assert_eq!(client.header("x-conformance"), Some("yes"));
    assert_eq!(client.recv_text().await, "invalid");
}

pub(super) async fn rejection(language: Language) {
    let host = language.host().start().await;
    let answer = host.request("/reject").answer().await;
    assert_eq!(answer.status, 418);
    assert_eq!(answer.header("x-why"), Some("teapot"));
    assert_eq!(answer.body, b"short and stout");
}

pub(super) async fn origins(language: Language) {
    let host = language.host().start().await;
    let status =
        async |path: &str, origin: &str| host.request(path).header("origin", origin).answer().await.status;
    assert_eq!(status("/origin", "https://good.example").await, 101);
    assert_eq!(status("/origin", "https://bad.example").await, 403);
    assert_eq!(status("/origin", &host.origin()).await, 403);
    assert_eq!(status("/origin-default", &host.origin()).await, 101);
    assert_eq!(status("/origin-default", "https://good.example").await, 403);
}

pub(super) async fn subprotocols(language: Language) {
    let host = language.host().start().await;
    for (path, offered, selected) in [
        ("/subprotocol", Some("first, second"), Some("second")),
        ("/subprotocol", Some("first"), None),
        ("/subprotocol", None, None),
        ("/subprotocol-default", Some("first, second"), None),
    ] {
        let request = host.request(path);
        let request = match offered {
            Some(offered) => request.header("sec-websocket-protocol", offered),
            None => request,
        };
        let (answer, mut peer) = request.upgrade().await;
        assert_eq!(answer.header("sec-websocket-protocol"), selected, "{path} {offered:?}");
        assert_eq!(peer.frame().await, Frame::text(selected.unwrap_or("none")));
    }
}

pub(super) async fn compression(language: Language) {
    let host = language.host().start().await;
    for (path, compressed) in [("/compression", true), ("/compression-default", false)] {
        let mut client = host
            .dial(path, ConnectOptions { compression: Some(Default::default()), ..Default::default() })
            .await;
        assert_eq!(client.is_compressed(), compressed, "{path}");
        let text = "again and ".repeat(1_000);
        client.write_message(Message::Text(text.as_str().into())).await.expect("it takes it");
        let answer = client.read_message().await.expect("an answer");
        assert_eq!(answer, Message::Text(text.as_str().into()));
    }
}
