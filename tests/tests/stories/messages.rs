//! Messages: what arrives is what was sent, whole, in order, one at a time, and never too large.

use waterspout_tests::frames::{CONTINUATION, Frame};
use waterspout_tests::{Guest, Raw, TestHost};

use crate::probe::probe;
use crate::witness::{Witness, reporting, target};

async fn echo() -> TestHost {
    TestHost::new(Guest::Echo).start().await
}

/// The embedded echo with messages of at most so many bytes.
async fn echo_up_to(max_message_bytes: usize) -> TestHost {
    TestHost::new(Guest::Echo).limits(|limits| limits.max_message_bytes = max_message_bytes).start().await
}

/// Sends a frame and gets the same one back.
async fn is_echoed(raw: &mut Raw, frame: Frame) {
    raw.send(frame.clone()).await;
    assert_eq!(raw.frame().await, frame);
}

async fn is_too_big(mut raw: Raw) {
    assert_eq!(raw.close_frame().await, (1009, "message too big".into()));
    raw.ends().await;
}

#[tokio::test]
async fn text_stays_text_and_binary_stays_binary() {
    for guest in [Guest::Echo, Guest::named("bench-echo")] {
        let host = TestHost::new(guest).start().await;
        let mut raw = host.raw("/websocket").await;
        is_echoed(&mut raw, Frame::text("both are UTF-8")).await;
        is_echoed(&mut raw, Frame::binary("both are UTF-8")).await;
        is_echoed(&mut raw, Frame::binary(b"hello \xe9")).await;
        is_echoed(&mut raw, Frame::text("hello é")).await;
    }
}

#[tokio::test]
async fn tornados_first_handler_answers_as_in_its_documentation() {
    let host = TestHost::new(Guest::named("echo")).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("hello").await, "You said: hello");
    host.guest_prints("WebSocket opened").await;
    client.leave().await;
    host.guest_prints("WebSocket closed").await;
}

#[tokio::test]
async fn the_echo_of_every_language_answers_text_and_sends_binary_back_as_it_came() {
    for echo in ["echo", "javascript-echo", "python-echo", "c-echo", "go-echo"] {
        let host = TestHost::new(Guest::named(echo)).start().await;
        let mut client = host.connect("/websocket").await;
        for text in ["hello", "", "before\0behind", "é"] {
            assert_eq!(client.say(text).await, format!("You said: {text}"), "{echo}");
        }
        for bytes in [&b"hello \xe9"[..], b"", b"both are UTF-8", &[7; 1 << 20]] {
            client.send_binary(bytes).await;
            assert!(client.recv_binary().await == bytes, "{echo} has not sent {} bytes back", bytes.len());
        }
    }
}

#[tokio::test]
async fn empty_messages_are_messages() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    is_echoed(&mut raw, Frame::text("")).await;
    is_echoed(&mut raw, Frame::binary("")).await;
}

#[tokio::test]
async fn every_unicode_scalar_value_passes_unchanged() {
    let host = echo().await;
    let mut client = host.connect("/websocket").await;
    let all: String = ('\0'..=char::MAX).collect();
    assert!(client.say(all.clone()).await == all, "some character was changed");
}

#[tokio::test]
async fn nul_line_breaks_and_byte_order_marks_pass_unchanged() {
    let host = probe().start().await;
    let mut client = host.connect(&target("/websocket", &[("message", "echo")])).await;
    for text in ["\0", "a\0b", "\r\n", "\u{feff}bom", "\u{fffe}\u{ffff}", "\u{1f300}", "e\u{301}"] {
        assert_eq!(client.say(text).await, text);
    }
}

#[tokio::test]
async fn every_byte_passes_unchanged() {
    let host = probe().start().await;
    let mut client = host.connect(&target("/websocket", &[("message", "echo")])).await;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    client.send_binary(bytes.clone()).await;
    assert!(client.recv_binary().await == bytes, "some byte was changed");
}

#[tokio::test]
async fn messages_of_every_frame_length_form_pass() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    for length in [1, 124, 125, 126, 127, 128, 4095, 4096, 8191, 8192, 8193, 65_535, 65_536, 65_537, 1 << 20]
    {
        let frame = Frame::binary(vec![0xa5; length]);
        let echoed = raw.exchange(&frame.masked(), 1).await;
        assert!(echoed == [frame], "{length} bytes came back changed");
    }
}

// The bound

#[tokio::test]
async fn a_message_of_exactly_the_limit_passes_and_one_byte_more_is_1009() {
    let host = echo_up_to(1024).await;
    for frame in [Frame::text, Frame::binary] {
        let mut raw = host.raw("/websocket").await;
        is_echoed(&mut raw, frame(vec![b'x'; 1024])).await;
        raw.send(frame(vec![b'x'; 1025])).await;
        is_too_big(raw).await;
    }
    assert_eq!(host.connection_ends().await, "message_too_big");
}

#[tokio::test]
async fn the_limit_is_in_bytes_and_not_in_characters() {
    let host = echo_up_to(10).await;
    let mut raw = host.raw("/websocket").await;
    is_echoed(&mut raw, Frame::text("ééééé")).await;
    raw.send(Frame::text("éééééé")).await;
    is_too_big(raw).await;
}

#[tokio::test]
async fn the_limit_counts_all_fragments_of_a_message() {
    let host = echo_up_to(1024).await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text(vec![b'x'; 1000]).unfinished()).await;
    raw.send(Frame::continuation(vec![b'x'; 24])).await;
    assert_eq!(raw.frame().await, Frame::text(vec![b'x'; 1024]));
    raw.send(Frame::text(vec![b'x'; 1000]).unfinished()).await;
    raw.send(Frame::continuation(vec![b'x'; 25])).await;
    is_too_big(raw).await;
}

#[tokio::test]
async fn a_message_that_is_going_to_be_too_big_is_refused_at_its_first_bytes() {
    let host = echo_up_to(1024).await;
    let mut raw = host.raw("/websocket").await;
    let header = &Frame::binary(vec![0; 1025]).masked()[..8];
    raw.send_bytes(header).await;
    is_too_big(raw).await;
}

#[tokio::test]
async fn tornados_default_limit_is_ours() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    let frame = Frame::binary(vec![7; 10 << 20]);
    assert!(raw.exchange(&frame.masked(), 1).await == [frame], "10 MiB came back changed");
    raw.send_bytes(&Frame::binary(vec![7; (10 << 20) + 1]).masked()[..14]).await;
    is_too_big(raw).await;
}

#[tokio::test]
async fn after_a_message_that_was_too_big_on_close_is_told_of_no_frame() {
    let host = probe().limits(|limits| limits.max_message_bytes = 1024).start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    raw.send(Frame::text(vec![b'x'; 1025])).await;
    is_too_big(raw).await;
    witness.sees(["1 on-close none", "1 drop"]).await;
}

#[tokio::test]
async fn a_control_frame_is_no_message_and_may_be_larger() {
    let host = echo_up_to(10).await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::ping(vec![b'x'; 125])).await;
    assert_eq!(raw.frame().await, Frame::pong(vec![b'x'; 125]));
    raw.send(Frame::close(4000, "a reason of more than 10 bytes")).await;
    assert_eq!(raw.close_frame().await, (4000, "a reason of more than 10 bytes".into()));
}

#[tokio::test]
async fn a_handler_that_writes_too_much_at_once_is_told_which_limit_it_is() {
    let host = probe().limits(|limits| limits.max_message_bytes = 1024).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("write 1 x 1025").await, "wrote 0: limit max-message-bytes");
    client.send_text("write 1 x 1024").await;
    assert_eq!(client.recv_text().await, "x".repeat(1024));
    assert_eq!(client.recv_text().await, "wrote 1: ok");
}

// Order

#[tokio::test]
async fn many_messages_in_flight_come_back_in_order() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    let frames: Vec<_> = (0..10_000)
        .map(|n: usize| {
            let payload = format!("{n} {}", "x".repeat(n % 300));
            if n.is_multiple_of(3) { Frame::binary(payload) } else { Frame::text(payload) }
        })
        .collect();
    let bytes = frames.iter().flat_map(Frame::masked).collect::<Vec<_>>();
    let echoed = raw.exchange(&bytes, frames.len()).await;
    let wrong = frames.iter().zip(&echoed).position(|(sent, received)| sent != received);
    assert_eq!(wrong, None, "this message came back changed or in another place");
}

#[tokio::test]
async fn large_messages_pass_through_small_tcp_buffers() {
    let host = echo().await;
    let (_, mut raw) = host.request("/websocket").receive_buffer(4 << 10).upgrade().await;
    let frames: Vec<_> = (1..=4_u8)
        .map(|n| Frame::binary((0..1 << 20).map(|at| (at as u8).wrapping_mul(n)).collect::<Vec<u8>>()))
        .collect();
    let bytes = frames.iter().flat_map(Frame::masked).collect::<Vec<_>>();
    assert!(raw.exchange(&bytes, frames.len()).await == frames, "a message came back changed");
}

#[tokio::test]
async fn a_handler_is_asked_one_message_at_a_time() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    let messages = ["sleep 50\nsay one", "say two\nsleep 50\nsay three", "say four"];
    raw.send_bytes(&messages.map(|text| Frame::text(text).masked()).concat()).await;
    for text in ["ok", "one", "two", "ok", "three", "four"] {
        assert_eq!(raw.frame().await, Frame::text(text));
    }
}

#[tokio::test]
async fn no_message_is_delivered_before_open_has_returned() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let request = host.request(&reporting(&[("open", "sleep 100"), ("open", "say first")]));
    let early = [Frame::text("say second").masked(), Frame::ping("early").masked()].concat();
    let (_, mut raw) = request.behind(early).upgrade().await;
    witness.sees_open().await;
    witness.sees(["1 open: sleep 100 = ok", "1 on-message text say second", "1 on-ping early"]).await;
    // The pong does not wait for the handler.
    assert_eq!(raw.frame().await, Frame::pong("early"));
    for text in ["first", "second", "on-ping early"] {
        assert_eq!(raw.frame().await, Frame::text(text));
    }
}

#[tokio::test]
async fn what_open_writes_is_the_first_that_the_peer_gets() {
    let host = probe().start().await;
    let request = host.request(&target("/websocket", &[("open", "say one"), ("open", "say two")]));
    let (_, mut raw) = request.behind(Frame::text("say three").masked()).upgrade().await;
    for text in ["one", "two", "three"] {
        assert_eq!(raw.frame().await, Frame::text(text));
    }
}

#[tokio::test]
async fn what_a_handler_has_flushed_is_no_longer_buffered() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let commands = ["write 10 x 64KiB", "flush", "buffered"].map(|command| ("open", command));
    let mut raw = host.raw(&reporting(&commands)).await;
    for _ in 0..10 {
        assert_eq!(raw.frame().await.payload.len(), 64 << 10);
    }
    witness.sees_open().await;
    witness
        .sees(["1 open: write 10 x 64KiB = wrote 10: ok", "1 open: flush = ok", "1 open: buffered = 0"])
        .await;
}

#[tokio::test]
async fn a_handler_may_turn_nagles_algorithm_off() {
    let host = probe().start().await;
    let mut client = host.connect(&target("/websocket", &[("open", "nodelay"), ("open", "say hello")])).await;
    assert_eq!(client.recv_text().await, "hello");
    assert_eq!(client.say("nodelay").await, "ok");
    assert_eq!(client.say("count").await, "1");
}

// Fragments

#[tokio::test]
async fn a_fragmented_message_arrives_whole() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    for whole in [Frame::text("one two three"), Frame::binary("one two three")] {
        raw.send(Frame::new(whole.opcode, "one ").unfinished()).await;
        raw.send(Frame::continuation("two ").unfinished()).await;
        raw.send(Frame::continuation("").unfinished()).await;
        raw.send(Frame::continuation("three")).await;
        assert_eq!(raw.frame().await, whole);
    }
}

#[tokio::test]
async fn control_frames_between_fragments_are_answered_at_once() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("one ").unfinished()).await;
    raw.send(Frame::ping("a")).await;
    assert_eq!(raw.frame().await, Frame::pong("a"));
    raw.send(Frame::continuation("two ").unfinished()).await;
    raw.send(Frame::pong("nobody asked")).await;
    raw.send(Frame::ping("b")).await;
    assert_eq!(raw.frame().await, Frame::pong("b"));
    raw.send(Frame::continuation("three")).await;
    assert_eq!(raw.frame().await, Frame::text("one two three"));
}

#[tokio::test]
async fn a_close_between_fragments_ends_the_connection_and_the_fragments_are_nobodys() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    raw.send(Frame::text("say one ").unfinished()).await;
    raw.send(Frame::close(4000, "enough")).await;
    assert_eq!(raw.close_frame().await, (4000, "enough".into()));
    raw.ends().await;
    witness.sees(["1 on-close 4000 enough", "1 drop"]).await;
}

#[tokio::test]
async fn characters_may_be_cut_by_fragments() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    let text = "aé€\u{1f300}";
    let bytes = text.as_bytes();
    raw.send(Frame::text("").unfinished()).await;
    for (at, byte) in bytes.iter().enumerate() {
        let frame = Frame::new(CONTINUATION, [*byte]);
        raw.send(if at + 1 < bytes.len() { frame.unfinished() } else { frame }).await;
    }
    assert_eq!(raw.frame().await, Frame::text(text));
}

#[tokio::test]
async fn frames_that_arrive_byte_by_byte_are_put_together() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    for byte in [Frame::text("slow").masked(), Frame::binary(vec![1; 200]).masked()].concat() {
        raw.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.frame().await, Frame::text("slow"));
    assert_eq!(raw.frame().await, Frame::binary(vec![1; 200]));
}

// Pings and pongs

#[tokio::test]
async fn a_ping_is_answered_before_on_ping_is_told() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::ping("are you there")).await;
    assert_eq!(raw.frame().await, Frame::pong("are you there"));
    assert_eq!(raw.frame().await, Frame::text("on-ping are you there"));
    // Also when on-ping never returns.
    let mut raw = host.raw(&target("/websocket", &[("ping", "trap")])).await;
    raw.send(Frame::ping("are you there")).await;
    assert_eq!(raw.frame().await, Frame::pong("are you there"));
    assert_eq!(raw.close_frame().await.0, 1011);
}

#[tokio::test]
async fn a_ping_is_answered_while_the_handler_is_busy() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send_bytes(&[Frame::text("sleep 300").masked(), Frame::ping("p").masked()].concat()).await;
    assert_eq!(raw.frame().await, Frame::pong("p"));
    assert_eq!(raw.frame().await, Frame::text("ok"));
    assert_eq!(raw.frame().await, Frame::text("on-ping p"));
    // It spins now: it is made to yield.
    raw.send_bytes(&[Frame::text("spin 300").masked(), Frame::ping("q").masked()].concat()).await;
    assert_eq!(raw.frame().await, Frame::pong("q"));
    assert_eq!(raw.frame().await, Frame::text("ok"));
}

#[tokio::test]
async fn an_empty_ping_gets_an_empty_pong() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::ping("")).await;
    assert_eq!(raw.frame().await, Frame::pong(""));
    assert_eq!(raw.frame().await, Frame::text("on-ping "));
}

#[tokio::test]
async fn a_handlers_ping_is_answered_to_on_pong() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("ping hello")).await;
    assert_eq!(raw.frame().await, Frame::ping("hello"));
    assert_eq!(raw.frame().await, Frame::text("ok"));
    raw.send(Frame::pong("hello")).await;
    assert_eq!(raw.frame().await, Frame::text("on-pong hello"));
}

#[tokio::test]
async fn a_ping_has_at_most_125_bytes() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("ping-of 125")).await;
    assert_eq!(raw.frame().await, Frame::ping("x".repeat(125)));
    assert_eq!(raw.frame().await, Frame::text("ok"));
    raw.send(Frame::text("ping-of 126")).await;
    let answer = String::from_utf8(raw.frame().await.payload).expect("text");
    assert!(answer.starts_with("invalid "), "{answer}");
    raw.send(Frame::text("ping-of 0")).await;
    assert_eq!(raw.frame().await, Frame::ping(""));
}
