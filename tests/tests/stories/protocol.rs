//! What a peer may not send (RFC 6455 section 5), and what it may send to annoy: answered with the right code, at no cost to
//! others.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use waterspout_tests::frames::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT};
use waterspout_tests::{Guest, TestHost};

use crate::probe::probe;
use crate::witness::{Witness, reporting, target};

const PROTOCOL_ERROR: (u16, &str) = (1002, "protocol error");
const INVALID_UTF8: (u16, &str) = (1007, "invalid UTF-8");
const TOO_BIG: (u16, &str) = (1009, "message too big");

async fn echo() -> TestHost {
    TestHost::new(Guest::Echo).start().await
}

/// Each of these, sent on a connection of its own, ends it with this close frame and then with a FIN; another connection
/// goes on all the while.
async fn each_ends_with(closing: (u16, &str), cases: impl IntoIterator<Item = Vec<u8>>) {
    let host = echo().await;
    let mut other = host.connect("/websocket").await;
    for (index, bytes) in cases.into_iter().enumerate() {
        let shown = bytes[..bytes.len().min(40)].to_vec();
        let mut raw = host.raw("/websocket").await;
        raw.send_bytes(&bytes).await;
        let (code, reason) = raw.close_frame().await;
        assert_eq!((code, reason.as_str()), closing, "case {index}: {shown:02x?}");
        raw.ends().await;
        assert_eq!(other.say("hello").await, "hello");
    }
}

#[tokio::test]
async fn an_unmasked_frame_is_1002() {
    let frames = [Frame::text("hello"), Frame::binary(""), Frame::ping("x"), Frame::close(1000, "")];
    each_ends_with(PROTOCOL_ERROR, frames.map(|frame| frame.unmasked())).await;
}

#[tokio::test]
async fn reserved_bits_are_1002() {
    let frames = (1..=7).flat_map(|rsv| {
        [Frame::text("hello"), Frame::binary("hello"), Frame::ping("x"), Frame::close(1000, "")]
            .map(|frame| frame.with_rsv(rsv).masked())
    });
    each_ends_with(PROTOCOL_ERROR, frames).await;
    let later = [Frame::text("a").unfinished().masked(), Frame::continuation("b").with_rsv(4).masked()];
    each_ends_with(PROTOCOL_ERROR, [later.concat()]).await;
}

#[tokio::test]
async fn what_is_being_handled_when_a_broken_frame_comes_is_answered_and_what_waits_is_nobodys() {
    let host = probe().start().await;
    // All are there while the handler waits with the first.
    let mut raw = host.raw(&target("/websocket", &[("message", "sleep 50"), ("message", "echo")])).await;
    let broken = Frame::new(13, "").masked();
    raw.send_bytes(&[Frame::text("first").masked(), Frame::text("second").masked(), broken].concat()).await;
    for text in ["ok", "first"] {
        assert_eq!(raw.frame().await, Frame::text(text));
    }
    assert_eq!(raw.close_frame().await, (1002, "protocol error".into()));
    raw.ends().await;
}

#[tokio::test]
async fn reserved_opcodes_are_1002() {
    let frames = (3..=7).chain(11..=15).flat_map(|opcode| {
        [
            Frame::new(opcode, "").masked(),
            Frame::new(opcode, "hello").masked(),
            Frame::new(opcode, "").unfinished().masked(),
        ]
    });
    each_ends_with(PROTOCOL_ERROR, frames).await;
}

#[tokio::test]
async fn a_fragmented_control_frame_is_1002() {
    let frames = [Frame::ping("x"), Frame::pong("x"), Frame::close(1000, "")];
    each_ends_with(PROTOCOL_ERROR, frames.map(|frame| frame.unfinished().masked())).await;
}

#[tokio::test]
async fn a_control_frame_over_125_bytes_is_1002() {
    let frames = [PING, PONG, CLOSE].map(|opcode| Frame::new(opcode, vec![3; 126]).masked());
    each_ends_with(PROTOCOL_ERROR, frames).await;
    let frames = [PING, PONG].map(|opcode| Frame::new(opcode, vec![3; 65_536]).masked());
    each_ends_with(PROTOCOL_ERROR, frames).await;
}

#[tokio::test]
async fn a_control_frame_of_125_bytes_is_fine() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::pong(vec![b'x'; 125])).await;
    raw.send(Frame::ping(vec![b'x'; 125])).await;
    assert_eq!(raw.frame().await, Frame::pong(vec![b'x'; 125]));
}

#[tokio::test]
async fn a_continuation_of_nothing_is_1002() {
    let cases = [
        Frame::continuation("x").masked(),
        Frame::continuation("x").unfinished().masked(),
        Frame::continuation("").masked(),
    ];
    each_ends_with(PROTOCOL_ERROR, cases).await;
}

#[tokio::test]
async fn a_continuation_after_a_whole_message_is_1002() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("a").unfinished()).await;
    raw.send(Frame::continuation("b")).await;
    assert_eq!(raw.frame().await, Frame::text("ab"));
    raw.send(Frame::continuation("c")).await;
    assert_eq!(raw.close_frame().await.0, 1002);
}

#[tokio::test]
async fn a_message_within_a_fragmented_one_is_1002() {
    let cases = [
        [Frame::text("a").unfinished().masked(), Frame::text("b").masked()].concat(),
        [Frame::text("a").unfinished().masked(), Frame::binary("b").masked()].concat(),
        [Frame::binary("a").unfinished().masked(), Frame::text("b").unfinished().masked()].concat(),
    ];
    each_ends_with(PROTOCOL_ERROR, cases).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_is_1007() {
    let texts: [&[u8]; 10] = [
        b"\xff",
        b"hello \xe9",
        b"cut \xe2\x82",
        b"\x80",
        b"overlong \xc0\xaf",
        b"overlong \xe0\x80\xaf",
        b"surrogate \xed\xa0\x80",
        b"surrogates \xed\xa0\x80\xed\xb0\x80",
        b"beyond \xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
    ];
    each_ends_with(INVALID_UTF8, texts.map(|text| Frame::text(text).masked())).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_across_fragments_is_1007() {
    let fragments = |pieces: &[&[u8]]| {
        let last = pieces.len() - 1;
        let frame = |(at, piece): (usize, &&[u8])| {
            let frame = Frame::new(if at == 0 { TEXT } else { CONTINUATION }, piece);
            if at < last { frame.unfinished().masked() } else { frame.masked() }
        };
        pieces.iter().enumerate().flat_map(frame).collect::<Vec<u8>>()
    };
    let cases = [
        fragments(&[b"\xe2\x82", b"\x28"]),
        fragments(&[b"\xe2\x82", b""]),
        fragments(&[b"ok", b"\xff", b"ok"]),
        fragments(&[b"\xf0", b"\x9f", b"\x8c", b"a"]),
        fragments(&[b"\xed", b"\xa0\x80"]),
    ];
    each_ends_with(INVALID_UTF8, cases).await;
}

#[tokio::test]
async fn binary_need_not_be_utf8() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::binary(b"\xff\xfe")).await;
    assert_eq!(raw.frame().await, Frame::binary(b"\xff\xfe"));
}

#[tokio::test]
async fn a_frame_of_absurd_length_is_refused_at_its_header() {
    let header = |length: u64| [&[0x80 | BINARY, 0xff], &length.to_be_bytes()[..], &[1, 2, 3, 4]].concat();
    // Too big already; that the top bit must be 0 (section 5.2) need not be looked at.
    each_ends_with(TOO_BIG, [1 << 63, u64::MAX, (1 << 63) - 1, 1 << 62, 1 << 40, 1 << 32].map(header)).await;
}

#[tokio::test]
async fn endless_tiny_fragments_are_1009_at_the_limit() {
    let host = TestHost::new(Guest::Echo).limits(|limits| limits.max_message_bytes = 1000).start().await;
    let mut raw = host.raw("/websocket").await;
    let mut bytes = Frame::text("x").unfinished().masked();
    for _ in 1..1000 {
        bytes.extend(Frame::continuation("x").unfinished().masked());
    }
    raw.send_bytes(&bytes).await;
    raw.send(Frame::ping("still there")).await;
    assert_eq!(raw.frame().await, Frame::pong("still there"));
    raw.send(Frame::continuation("x").unfinished()).await;
    assert_eq!(raw.close_frame().await, (1009, "message too big".into()));
    raw.ends().await;
}

#[tokio::test]
async fn many_empty_fragments_are_one_message_and_delay_nobody() {
    let host = TestHost::new(Guest::Echo).limits(|limits| limits.max_fragments = u32::MAX).start().await;
    let mut other = host.connect("/websocket").await;
    let mut raw = host.raw("/websocket").await;
    let empty = Frame::continuation("").unfinished().masked().repeat(100_000);
    let bytes =
        [Frame::text("begun").unfinished().masked(), empty, Frame::continuation(" and ended").masked()]
            .concat();
    assert_eq!(raw.exchange(&bytes, 1).await, [Frame::text("begun and ended")]);
    assert_eq!(other.say("hello").await, "hello");
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_in_order_up_to_the_last() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    let pings = (0..5000).flat_map(|n| Frame::ping(format!("{n}")).masked()).collect::<Vec<u8>>();
    raw.send_bytes(&pings).await;
    let mut last = None;
    while last != Some(4999) {
        let frame = raw.frame().await;
        assert_eq!(frame.opcode, PONG);
        let number = String::from_utf8(frame.payload).expect("text").parse::<u32>().expect("a number");
        // Section 5.5.3: a pong may answer several pings, the most recent of them.
        assert!(last < Some(number), "{number} after {last:?}");
        last = Some(number);
    }
    raw.send(Frame::text("hello")).await;
    assert_eq!(raw.frame().await, Frame::text("hello"));
}

#[tokio::test]
async fn a_peer_that_pings_and_does_not_read_is_not_read_either_until_it_does() {
    let host = TestHost::new(Guest::Echo)
        .limits(|limits| {
            limits.max_message_bytes = 512;
            limits.max_queue_bytes = 1024;
        })
        .start()
        .await;
    let (_, raw) = host.request("/websocket").receive_buffer(4 << 10).upgrade().await;
    let (mut reading, mut writing) = raw.into_socket().into_split();
    // 15 MB: more than the buffers of both sockets hold of pongs.
    let pings = Frame::ping(vec![b'x'; 125]).masked().repeat(1000);
    let mut sent = 0;
    while writing.writable().await.is_ok() {
        match writing.try_write(&pings[sent % pings.len()..]) {
            Ok(bytes) => sent += bytes,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                // Nothing is taken now; that it stays so shows that the host has stopped reading.
                if timeout(Duration::from_millis(300), writing.writable()).await.is_err() {
                    break;
                }
            }
            Err(error) => panic!("the host ended the connection: {error}"),
        }
        assert!(sent < 120_000_000, "the host reads on, and so must hold the pongs");
    }
    // The rest of the ping that was cut, then a message: everything is answered in order.
    let rest = pings[sent % pings.len()..].to_vec();
    let all = (sent + rest.len()) / 131;
    let write = async move {
        writing.write_all(&rest).await.expect("the host reads again");
        writing.write_all(&Frame::text("hello").masked()).await.expect("the host reads again");
        writing
    };
    let read = async move {
        let mut bytes = vec![0; all * 127 + 7];
        reading.read_exact(&mut bytes).await.expect("every pong and the message");
        bytes
    };
    let (_writing, bytes) = tokio::join!(write, read);
    assert!(bytes.ends_with(b"\x81\x05hello"));
}

#[tokio::test]
async fn pongs_that_nobody_asked_for_are_told_to_on_pong() {
    let host = probe().start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::pong("unasked")).await;
    assert_eq!(raw.frame().await, Frame::text("on-pong unasked"));
    raw.send(Frame::pong("")).await;
    assert_eq!(raw.frame().await, Frame::text("on-pong "));
}

#[tokio::test]
async fn half_a_frame_and_then_nothing_is_a_peer_that_vanished() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let frame = Frame::text("say hello").masked();
    for bytes in [1, 2, 5, 6, frame.len() - 1] {
        let mut raw = host.raw(&reporting(&[])).await;
        witness.sees_open().await;
        raw.send_bytes(&frame[..bytes]).await;
        raw.finish().await;
        raw.ends().await;
        witness.sees(["1 on-close none", "1 drop"]).await;
    }
    assert_eq!(host.connection_ends().await, "vanished");
}

#[tokio::test]
async fn half_a_message_and_then_nothing_is_a_peer_that_vanished() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    raw.send(Frame::text("say hello").unfinished()).await;
    raw.finish().await;
    raw.ends().await;
    witness.sees(["1 on-close none", "1 drop"]).await;
}

#[tokio::test]
async fn messages_before_a_protocol_error_are_delivered_and_answered() {
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    let bytes =
        [Frame::text("one").masked(), Frame::text("two").masked(), Frame::new(3, "").masked()].concat();
    raw.send_bytes(&bytes).await;
    assert_eq!(raw.frame().await, Frame::text("one"));
    assert_eq!(raw.frame().await, Frame::text("two"));
    assert_eq!(raw.close_frame().await.0, 1002);
}

#[tokio::test]
async fn after_a_protocol_error_on_close_is_told_of_no_frame() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    raw.send_bytes(&Frame::text("unmasked").unmasked()).await;
    assert_eq!(raw.close_frame().await.0, 1002);
    raw.send(Frame::close(1002, "")).await;
    raw.ends().await;
    drop(raw);
    witness.sees(["1 on-close none", "1 drop"]).await;
    assert_eq!(host.connection_ends().await, "protocol_error");
}

#[tokio::test]
async fn after_a_protocol_error_nothing_more_is_delivered() {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    raw.send_bytes(&[Frame::new(3, "").masked(), Frame::text("say late").masked()].concat()).await;
    assert_eq!(raw.close_frame().await.0, 1002);
    witness.sees(["1 on-close none", "1 drop"]).await;
    witness.sees_no_more(&host).await;
}

#[tokio::test]
async fn noise_ends_its_connection_and_nothing_else() {
    let host = echo().await;
    let mut other = host.connect("/websocket").await;
    for seed in 0..=255_u8 {
        let mut raw = host.raw("/websocket").await;
        let noise = (0..200_u32).map(|at| (at * at * 7919 + at * u32::from(seed)) as u8 ^ seed);
        raw.send_bytes(&noise.collect::<Vec<_>>()).await;
        raw.finish().await;
        // Messages among the noise are echoed; what follows a frame that was not complete is nothing.
        while let Ok(Some(frame)) = raw.next().await {
            if frame.opcode == CLOSE && frame.payload.len() >= 2 {
                assert!([1002, 1007, 1009].contains(&frame.close_code().0), "seed {seed}: {frame:?}");
            }
        }
    }
    assert_eq!(other.say("hello").await, "hello");
}

#[tokio::test]
async fn connections_that_come_and_go_as_fast_as_they_can_leave_nothing_behind() {
    let mut host = echo().await;
    for _ in 0..200 {
        host.raw("/websocket").await.reset();
        drop(host.tcp().await);
        drop(host.raw("/websocket").await);
    }
    assert_eq!(host.connect("/websocket").await.say("hello").await, "hello");
    host.shut_down();
    assert_eq!(host.gone().await, 0);
}
