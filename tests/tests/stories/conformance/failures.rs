//! A handler that throws, in each method: its connection ends with 1011 or the handshake with 500, the language's own message is in the
//! log with the place, and nobody else notices.

use waterspout_tests::logs::Record;
use waterspout_tests::{Client, Guest, TestHost};

use super::Language;
use super::connection::observer;

/// What the language says must name the failure and the file it is in.
async fn tells(host: &TestHost, method: &str) {
    host.guest_prints(&format!("conformance: {method}")).await;
    let places = [".rs:", ".js:", ".py\", line ", ".c:", ".go:"];
    let names_place =
        |record: &Record| record.is_guest() && places.iter().any(|place| record.message.contains(place));
    host.logged(&format!("the place of {method} in the source"), names_place).await;
}

async fn bystander(host: &TestHost) -> Client {
    let mut bystander = host.connect("/echo").await;
    assert_eq!(bystander.say("before").await, "before");
    bystander
}

pub(super) async fn before_the_answer(language: Language) {
    for method in ["construct", "prepare", "check_origin", "select_subprotocol", "get_compression_options"] {
        let host = language.host().start().await;
        let mut bystander = bystander(&host).await;
        let path = format!("/throw?in={method}");
        let answer = host
            .request(&path)
            .header("origin", host.origin())
            .header("sec-websocket-protocol", "one")
            .header("sec-websocket-extensions", "permessage-deflate")
            .answer()
            .await;
        assert_eq!(answer.status, 500, "{method}");
        tells(&host, method).await;
        assert_eq!(bystander.say("after").await, "after", "{method}");
    }
}

/// Errors are values in Go: one that is no answer ends the handshake that it is of, and no instance.
#[tokio::test]
async fn in_go_an_error_of_prepare_ends_nobody_else() {
    let host = Language("go").host().instance("route").start().await;
    let mut bystander = host.connect("/room").await;
    assert_eq!(bystander.say("before").await, "1 before");
    let answer = host.request("/room?fails=no+database").answer().await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.body, b"Internal Server Error");
    host.guest_prints("Visitor.Prepare: conformance: no database").await;
    assert_eq!(bystander.say("after").await, "2 after");
}

pub(super) async fn while_connected(language: Language) {
    let upstream = TestHost::new(Guest::Echo).start().await;
    for method in ["open", "on_message", "on_ping", "on_pong", "on_writable", "on_timer", "on_client_event"] {
        let host = language
            .host()
            .limits(|limits| limits.max_queue_bytes = 256 << 10)
            .connects_to(&[upstream.authority()])
            .start()
            .await;
        let mut bystander = bystander(&host).await;
        let upstream = format!("ws://{}/websocket", upstream.authority());
        let mut client = host.connect(&format!("/throw?in={method}&url={upstream}")).await;
        match method {
            "open" => {}
            "on_ping" => client.ping("?").await,
            "on_writable" => {
                let mut observer = observer(&host, "conformance-full").await;
                client.send_text("now").await;
                assert_eq!(observer.recv_text().await, "full");
            }
            // What makes the others happen, the handler does itself.
            _ => client.send_text("now").await,
        }
        let code = loop {
            match client.next().await {
                Some(Ok(tokio_tungstenite::tungstenite::Message::Close(frame))) => {
                    break frame.map(|frame| u16::from(frame.code));
                }
                Some(Ok(_)) => {}
                other => panic!("{method}: {other:?}"),
            }
        };
        assert_eq!(code, Some(1011), "{method}");
        tells(&host, method).await;
        assert_eq!(bystander.say("after").await, "after", "{method}");
    }
    // The peer is gone already: the log has it.
    let host = language.host().start().await;
    let mut bystander = bystander(&host).await;
    let mut client = host.connect("/throw?in=on_close").await;
    client.close(1000, "").await;
    tells(&host, "on_close").await;
    assert_eq!(bystander.say("after").await, "after");
}

pub(super) async fn while_swapping(language: Language) {
    for method in ["suspend", "resume"] {
        let host = language.host().start().await;
        let mut bystander = bystander(&host).await;
        let mut client = host.connect(&format!("/throw?in={method}")).await;
        // How many may fail is the policy's affair; that it is told, and that who fails stays or ends alone, is not.
        let _ = host.swap(&language.guest(), None).await;
        tells(&host, method).await;
        assert_eq!(bystander.say("after").await, "after", "{method}");
        if method == "resume" {
            assert_eq!(client.say("still here").await, "still here");
        }
    }
}
