//! Subprotocols: what is offered, to whom, and what is chosen.

use waterspout_tests::frames::Frame;

use super::{FAILED, asking, refused};
use crate::probe::probe;
use crate::witness::{Witness, reporting};

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
