//! The peer closes, in order or with a close frame that is none.

use waterspout_tests::frames::{CLOSE, Frame};
use waterspout_tests::{Guest, TestHost};

use super::witnessed;
use crate::probe::probe;
use crate::witness::{Witness, reporting};

#[tokio::test]
async fn a_close_of_the_peer_is_answered_with_its_code_and_told_to_on_close() {
    let (host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send(Frame::close(1001, "goodbye")).await;
    assert_eq!(raw.close_frame().await.0, 1001);
    raw.ends().await;
    witness.sees(["1 on-close 1001 goodbye", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "peer_closed");
}

#[tokio::test]
async fn a_close_without_a_code_is_answered_likewise_and_told_as_1005() {
    let (_host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send(Frame::new(CLOSE, "")).await;
    assert_eq!(raw.close_frame().await.0, 1005);
    raw.ends().await;
    witness.sees(["1 on-close 1005", "1 drop"]).await;
}

#[tokio::test]
async fn every_code_that_a_peer_may_send_is_told_to_on_close() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        let mut raw = host.raw(&reporting(&[])).await;
        witness.sees_open().await;
        raw.send(Frame::close(code, "r\u{e9}ason")).await;
        assert_eq!(raw.close_frame().await.0, code);
        witness.sees([&format!("1 on-close {code} r\u{e9}ason"), "1 drop"]).await;
    }
}

#[tokio::test]
async fn a_reason_of_123_bytes_is_told_to_on_close() {
    let (_host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send(Frame::close(1000, "x".repeat(123))).await;
    raw.close_frame().await;
    // The probe cuts what it remembers.
    assert!(witness.line().await.starts_with(&format!("1 on-close 1000 {}", "x".repeat(50))));
}

#[tokio::test]
async fn on_close_is_called_once_even_if_the_handler_closes_in_it() {
    let (host, mut witness, mut raw) = witnessed(&[("close", "close 4001 again")]).await;
    raw.send(Frame::close(1000, "")).await;
    assert_eq!(raw.close_frame().await.0, 1000);
    raw.ends().await;
    assert_eq!(witness.line().await, "1 on-close 1000");
    assert!(witness.line().await.starts_with("1 close: close 4001 again = "));
    witness.sees(["1 drop"]).await;
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn in_on_close_everything_that_acts_is_closed() {
    let commands = ["say x", "ping x", "flush", "nodelay", "timer 1 1", "subscribe t", "close 4001"];
    let script: Vec<_> = commands.iter().map(|command| ("close", *command)).collect();
    let (_host, mut witness, mut raw) = witnessed(&script).await;
    raw.send(Frame::close(1000, "")).await;
    raw.close_frame().await;
    raw.ends().await;
    assert_eq!(witness.line().await, "1 on-close 1000");
    for command in commands {
        assert_eq!(witness.line().await, format!("1 close: {command} = closed"));
    }
    witness.sees(["1 drop"]).await;
}

#[tokio::test]
async fn in_on_close_the_request_and_the_connection_can_still_be_read() {
    let script =
        [("close", "uri"), ("close", "subprotocol"), ("close", "buffered"), ("close", "header host")];
    let (host, mut witness, mut raw) = witnessed(&script).await;
    raw.send(Frame::close(1000, "")).await;
    raw.close_frame().await;
    assert_eq!(witness.line().await, "1 on-close 1000");
    assert!(witness.line().await.starts_with("1 close: uri = /websocket?report=witness&close=uri"));
    witness
        .sees([
            "1 close: subprotocol = none",
            "1 close: buffered = 0",
            &format!("1 close: header host = {}", host.authority()),
        ])
        .await;
}

#[tokio::test]
async fn what_arrives_behind_the_peers_close_is_not_delivered() {
    let (_host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send_bytes(&[Frame::close(1000, "").masked(), Frame::text("say late").masked()].concat()).await;
    raw.close_frame().await;
    raw.ends().await;
    witness.sees(["1 on-close 1000", "1 drop"]).await;
}

#[tokio::test]
async fn what_arrived_before_the_peers_close_is_delivered_and_answered_first() {
    let (_host, mut witness, mut raw) = witnessed(&[]).await;
    raw.send_bytes(&[Frame::text("say hello").masked(), Frame::close(1000, "").masked()].concat()).await;
    witness.sees(["1 on-message text say hello", "1 on-close 1000", "1 drop"]).await;
    assert_eq!(raw.frame().await, Frame::text("hello"));
    assert_eq!(raw.close_frame().await.0, 1000);
    raw.ends().await;
}

#[tokio::test]
async fn a_close_is_answered_when_the_handler_has_dealt_with_what_came_before() {
    let (_host, mut witness, mut raw) = witnessed(&[("message", "sleep 300")]).await;
    raw.send_bytes(&[Frame::text("work").masked(), Frame::close(1000, "").masked()].concat()).await;
    assert_eq!(raw.frame().await, Frame::text("ok"));
    assert_eq!(raw.close_frame().await.0, 1000);
    witness.sees(["1 on-message text work", "1 on-close 1000", "1 drop"]).await;
    raw.ends().await;
}

#[tokio::test]
async fn a_close_code_that_may_not_be_sent_is_1002() {
    let host = TestHost::new(Guest::Echo).start().await;
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let mut raw = host.raw("/websocket").await;
        raw.send(Frame::close(code, "reason")).await;
        assert_eq!(raw.close_frame().await.0, 1002, "code {code}");
        raw.ends().await;
    }
}

#[tokio::test]
async fn a_close_frame_of_one_byte_is_1002() {
    let host = TestHost::new(Guest::Echo).start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::new(CLOSE, [3])).await;
    assert_eq!(raw.close_frame().await.0, 1002);
    raw.ends().await;
}

#[tokio::test]
async fn a_reason_that_is_not_utf8_is_1007() {
    let host = TestHost::new(Guest::Echo).start().await;
    for reason in [&b"\xff"[..], b"cut \xe2\x82"] {
        let mut raw = host.raw("/websocket").await;
        raw.send(Frame::close(1000, reason)).await;
        assert_eq!(raw.close_frame().await, (1007, "invalid UTF-8".into()));
        raw.ends().await;
    }
}

#[tokio::test]
async fn an_invalid_close_frame_is_a_protocol_error_and_none_for_on_close() {
    for payload in [&[0x03, 0xe7][..], &[0x03, 0xed, b'x'], &[3], &[0x03, 0xe8, 0xff]] {
        let (host, mut witness, mut raw) = witnessed(&[]).await;
        raw.send(Frame::new(CLOSE, payload)).await;
        raw.close_frame().await;
        witness.sees(["1 on-close none", "1 drop"]).await;
        let cause = host.connection_ends().await;
        assert!(["protocol_error", "invalid_utf8"].contains(&cause.as_str()), "{payload:?}: {cause}");
    }
}

#[tokio::test]
async fn the_answers_to_what_came_before_a_close_leave_before_it_is_answered() {
    let host = probe().start().await;
    for compression in ["", "&compression=on"] {
        let request = host.request(&format!("/websocket?open=count{compression}"));
        let (_, mut raw) = request.upgrade().await;
        // While the first is handled the rest is read ahead, to the close frame.
        let frames =
            [Frame::text("sleep 50\nsay one"), Frame::text("write 3 x 64KiB"), Frame::close(4000, "enough")];
        raw.send_bytes(&frames.iter().flat_map(Frame::masked).collect::<Vec<u8>>()).await;
        for text in ["ok", "one"] {
            assert_eq!(raw.frame().await, Frame::text(text));
        }
        for _ in 0..3 {
            assert_eq!(raw.frame().await.payload.len(), 64 << 10);
        }
        assert_eq!(raw.frame().await, Frame::text("wrote 3: ok"));
        assert_eq!(raw.close_frame().await, (4000, "enough".into()));
        raw.ends().await;
    }
}

#[tokio::test]
async fn a_close_of_the_handlers_own_behind_the_peers_changes_nothing() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    let frames = [Frame::text("sleep 50\nsay one\nclose 4001 mine"), Frame::close(4000, "yours")];
    raw.send_bytes(&frames.iter().flat_map(Frame::masked).collect::<Vec<u8>>()).await;
    for text in ["ok", "one"] {
        assert_eq!(raw.frame().await, Frame::text(text));
    }
    assert_eq!(raw.close_frame().await, (4000, "yours".into()));
    raw.ends().await;
    assert_eq!(host.connection_ends().await, "peer_closed");
}
