//! What is read of a peer: how many frames a message may have, how much comes in in a second, and the memory of what is not complete.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame as WireFrame};
use tokio_tungstenite::{WebSocketStream, client_async};
use tungstenite_deflate::{Compression, Level, MemLevel, WindowBits, ready_made};
use waterspout::limits::PongTimeout;
use waterspout::{Limits, Tenant, TenantLimits};
use waterspout_tests::frames::{CLOSE, Frame, PING, Raw, TEXT};
use waterspout_tests::host::Builder;
use waterspout_tests::http2::Http2;
use waterspout_tests::{Guest, Identity, Record, TestHost, within};

use crate::probe::probe;

const OFFER: (&str, &str) = ("Sec-WebSocket-Extensions", "permessage-deflate");
const RSV1: u8 = 4;

/// The embedded echo, which wants compression.
fn echo(change: impl FnOnce(&mut Limits)) -> Builder {
    TestHost::new(Guest::Echo).limits(change)
}

async fn compressed_raw(host: &TestHost) -> Raw {
    let (answer, raw) = host.request("/websocket").header(OFFER.0, OFFER.1).upgrade().await;
    assert!(answer.header("sec-websocket-extensions").is_some(), "no compression");
    raw
}

/// A message in this form, compressed by itself, as its payload.
fn deflated(text: impl Into<String>) -> Vec<u8> {
    let best = Compression { level: Level::MAX, mem_level: MemLevel::MAX, window_bits: WindowBits::MAX };
    match ready_made(&Message::text(text.into()), best) {
        Message::Frame(frame) => frame.payload().to_vec(),
        other => panic!("{other:?} is not compressed"),
    }
}

/// A text message in so many frames, with a ping behind each but the last.
fn in_frames(payload: &[u8], count: usize, rsv: u8) -> Vec<u8> {
    let size = payload.len().div_ceil(count).max(1);
    let mut bytes = Vec::new();
    for number in 1..=count {
        let from = payload.len().min((number - 1) * size);
        let to = if number == count { payload.len() } else { payload.len().min(number * size) };
        let piece = &payload[from..to];
        let frame = if number == 1 { Frame::text(piece).with_rsv(rsv) } else { Frame::continuation(piece) };
        if number < count {
            bytes.extend(frame.unfinished().masked());
            bytes.extend(Frame::ping("").masked());
        } else {
            bytes.extend(frame.masked());
        }
    }
    bytes
}

/// The next frame that answers no ping.
async fn answer(raw: &mut Raw) -> Frame {
    loop {
        let frame = raw.frame().await;
        if frame != Frame::pong("") {
            return frame;
        }
    }
}

fn too_big() -> (u16, String) {
    (1009, "message too big".into())
}

// Frames of one message.

#[tokio::test]
async fn a_message_of_as_many_frames_as_it_may_have_is_handled_and_one_of_one_more_is_1009() {
    let host = echo(|limits| limits.max_fragments = 5).start().await;
    let mut raw = host.raw("/websocket").await;
    for count in [1, 4, 5, 5] {
        raw.send_bytes(&in_frames(b"in several frames", count, 0)).await;
        assert_eq!(answer(&mut raw).await, Frame::text("in several frames"));
    }
    // What came before it in the same packet is answered.
    let bytes = [in_frames(b"first", 5, 0), in_frames(b"one too many", 6, 0)].concat();
    raw.send_bytes(&bytes).await;
    assert_eq!(answer(&mut raw).await, Frame::text("first"));
    assert_eq!(answer(&mut raw).await.close_code(), too_big());
    raw.ends().await;
    assert_eq!(host.connection_ends().await, "message_too_big");
}

#[tokio::test]
async fn frames_of_a_compressed_message_are_counted_as_they_are_on_the_wire() {
    let host = echo(|limits| limits.max_fragments = 5).start().await;
    // It is handed up inflated in many frames, which are nobody's business.
    let text = "x".repeat(1 << 20);
    let mut raw = compressed_raw(&host).await;
    raw.send_bytes(&in_frames(&deflated(text.as_str()), 5, RSV1)).await;
    assert_eq!(answer(&mut raw).await.opcode, TEXT);
    raw.send_bytes(&in_frames(&deflated(text.as_str()), 6, RSV1)).await;
    assert_eq!(answer(&mut raw).await.close_code(), too_big());
    raw.ends().await;
}

#[tokio::test]
async fn a_message_may_be_cut_anywhere_on_its_way_and_has_as_many_frames() {
    let host = echo(|limits| limits.max_fragments = 3).start().await;
    let bytes = in_frames(b"0123456789", 4, 0);
    for cut in 1..bytes.len() {
        let mut raw = host.raw("/websocket").await;
        raw.send_bytes(&bytes[..cut]).await;
        // The host has read as far as this.
        if is_between_frames(&bytes, cut) {
            raw.send(Frame::ping("here")).await;
            while raw.frame().await != Frame::pong("here") {}
        }
        raw.send_bytes(&bytes[cut..]).await;
        assert_eq!(answer(&mut raw).await.close_code(), too_big(), "cut at {cut}");
    }
}

/// Where a ping may be put in: before the frame that is one too many.
fn is_between_frames(bytes: &[u8], cut: usize) -> bool {
    let mut at = 0;
    let mut data_frames = 0;
    while at < cut {
        data_frames += usize::from(bytes[at] & 0x0f < 8);
        at += 6 + usize::from(bytes[at + 1] & 0x7f);
    }
    at == cut && data_frames < 4
}

#[tokio::test]
async fn frames_that_came_with_the_handshake_are_counted() {
    let host = echo(|limits| limits.max_fragments = 2).start().await;
    let mut raw = host.tcp().await;
    let request = host.request("/websocket").bytes();
    raw.send_bytes(&[request, in_frames(b"three", 3, 0)].concat()).await;
    let mut socket = raw.into_socket();
    let mut bytes = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut bytes);
    let _ = within("the end", read).await.expect("an orderly end");
    let close = [&[0x88, 17, 0x03, 0xf1][..], b"message too big"].concat();
    assert!(bytes.ends_with(&close), "{bytes:?}");
}

#[tokio::test]
async fn an_endless_message_of_empty_frames_ends_at_the_default() {
    let host = echo(|_| {}).start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("").unfinished()).await;
    raw.send_bytes(&Frame::continuation("").unfinished().masked().repeat(10_000)).await;
    assert_eq!(raw.close_frame().await, too_big());
}

fn fragments(count: usize) -> Vec<Message> {
    let frame = |number| {
        let opcode = OpCode::Data(if number == 1 { Data::Text } else { Data::Continue });
        Message::Frame(WireFrame::message("x", opcode, number == count))
    };
    (1..=count).map(frame).collect()
}

async fn too_many_frames_are_1009<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    for (count, expected) in [
        (5, Message::text("xxxxx")),
        (6, Message::Close(Some(CloseFrame { code: CloseCode::Size, reason: "message too big".into() }))),
    ] {
        for frame in fragments(count) {
            socket.send(frame).await.expect("sent");
        }
        let answer = within("an answer", socket.next()).await.expect("open").expect("a message");
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn frames_are_counted_over_tls_and_http2() {
    let identity = Identity::new(&["localhost"]);
    let host = echo(|limits| limits.max_fragments = 5).tls(identity.certificates()).start().await;
    let tls = identity.connect(host.second_address(), "localhost", &["http/1.1"]).await.expect("TLS");
    let request = format!("ws://localhost:{}/websocket", host.second_address().port());
    too_many_frames_are_1009(client_async(request, tls).await.expect("accepted").0).await;
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    too_many_frames_are_1009(http2.open("/websocket").await).await;
}

// Messages in a second.

/// A second's worth of messages.
const FEW: u32 = 50;

#[tokio::test]
async fn messages_past_the_rate_wait_and_others_do_not() {
    let host = probe().limits(|limits| limits.max_messages_per_second = FEW).start().await;
    let mut raw = host.raw("/websocket").await;
    let began = Instant::now();
    raw.send_bytes(&Frame::text("count").masked().repeat(3 * FEW as usize)).await;
    for number in 1..=FEW {
        assert_eq!(raw.frame().await, Frame::text(number.to_string()));
    }
    assert_eq!(host.connect("/websocket").await.say("count").await, "1");
    for number in FEW + 1..=3 * FEW {
        assert_eq!(raw.frame().await, Frame::text(number.to_string()));
    }
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn pings_are_counted_with_messages() {
    let host = TestHost::new(Guest::Echo).limits(|limits| limits.max_messages_per_second = FEW).start().await;
    let mut raw = host.raw("/websocket").await;
    let began = Instant::now();
    raw.send_bytes(&Frame::ping("x").masked().repeat(2 * FEW as usize)).await;
    for _ in 0..2 * FEW {
        assert_eq!(raw.frame().await, Frame::pong("x"));
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn compressed_messages_are_counted_as_messages() {
    let host = echo(|limits| limits.max_messages_per_second = FEW).start().await;
    let mut raw = compressed_raw(&host).await;
    let message = Frame::text(deflated("x".repeat(1000))).with_rsv(RSV1).masked();
    let began = Instant::now();
    raw.send_bytes(&message.repeat(2 * FEW as usize)).await;
    for _ in 0..2 * FEW {
        assert_eq!(raw.frame().await.opcode, TEXT);
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_honest_peer_whose_pongs_wait_behind_its_messages_stays() {
    let host = probe()
        .limits(|limits| {
            limits.max_messages_per_second = FEW;
            limits.ping_interval = Duration::from_millis(200);
            limits.pong_timeout = PongTimeout::Of(Duration::from_millis(100));
        })
        .start()
        .await;
    let mut raw = host.raw("/websocket").await;
    raw.send_bytes(&Frame::text("count").masked().repeat(3 * FEW as usize)).await;
    let mut answered = 0;
    let mut pings = 0;
    while answered < 3 * FEW {
        let frame = raw.frame().await;
        match frame.opcode {
            PING => {
                pings += 1;
                raw.send(Frame::pong(frame.payload)).await;
            }
            TEXT => answered += 1,
            _ => panic!("{frame:?}"),
        }
    }
    assert!(pings > 0, "nobody was pinged");
    // Once there is nothing behind which a pong could wait, it must come.
    loop {
        let frame = raw.frame().await;
        if frame.opcode == CLOSE {
            assert_eq!(frame.close_code(), (1000, "ping timed out".into()));
            break;
        }
    }
}

#[tokio::test]
async fn who_is_not_read_for_a_moment_can_still_be_closed() {
    let host = probe()
        .limits(|limits| {
            limits.max_messages_per_second = 1;
            limits.life_time = Some(Duration::from_millis(500));
        })
        .start()
        .await;
    let mut raw = host.raw("/websocket").await;
    raw.send_bytes(&Frame::text("count").masked().repeat(1000)).await;
    assert_eq!(raw.frame().await, Frame::text("1"));
    assert_eq!(raw.close_frame().await, (1001, "open for too long".into()));
    // The host finds the answer behind everything else.
    raw.send(Frame::close(1001, "")).await;
    raw.ends().await;
    assert_eq!(host.connection_ends().await, "life_time_over");
}

// Bytes in a second.

const SOME: usize = 64 << 10;

/// A message that takes more than two seconds, with an echo that says that it is there.
async fn takes_its_time<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) {
    let began = Instant::now();
    let message = Message::binary(vec![7; 3 * SOME]);
    socket.send(message.clone()).await.expect("sent");
    let echo = within("an echo", socket.next()).await.expect("open").expect("a message");
    assert_eq!(echo, message);
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn bytes_past_the_rate_wait_over_tcp_tls_and_http2() {
    let identity = Identity::new(&["localhost"]);
    let host = echo(|limits| limits.max_bytes_per_second = SOME).tls(identity.certificates()).start().await;
    let tcp = tokio::net::TcpStream::connect(host.address()).await.expect("TCP");
    let request = format!("ws://{}/websocket", host.address());
    let mut plain = client_async(request, tcp).await.expect("accepted").0;
    let tls = identity.connect(host.second_address(), "localhost", &["http/1.1"]).await.expect("TLS");
    let request = format!("ws://localhost:{}/websocket", host.second_address().port());
    let mut over_tls = client_async(request, tls).await.expect("accepted").0;
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    let mut stream = http2.open("/websocket").await;
    tokio::join!(takes_its_time(&mut plain), takes_its_time(&mut over_tls), takes_its_time(&mut stream));
}

#[tokio::test]
async fn bytes_are_counted_as_they_are_on_the_wire() {
    let host = echo(|limits| limits.max_bytes_per_second = SOME).start().await;
    let mut raw = compressed_raw(&host).await;
    // Inflated, these would take far longer than anybody waits here.
    let message = Frame::text(deflated("x".repeat(4 << 20))).with_rsv(RSV1);
    assert!(message.payload.len() < SOME / 8);
    for _ in 0..4 {
        raw.send(message.clone()).await;
        assert_eq!(raw.frame().await.opcode, TEXT);
    }
}

// Memory.

/// A tenant whose memory is enough for its instances, and for some MiB of messages that are not complete.
fn with_little_memory(builder: Builder) -> Builder {
    builder.route(|route| {
        let total = TenantLimits { max_memory_bytes: 24 << 20, ..TenantLimits::whole_server() };
        route.tenant = Tenant { name: "small".into(), total };
    })
}

fn overloaded() -> (u16, String) {
    (1013, "try again later".into())
}

/// Connects again and again and sends each time what does not complete a message, until one is closed; the others stay.
async fn until_one_is_closed(host: &TestHost, offers: &[(&str, &str)], unfinished: &[u8]) -> usize {
    let mut open = Vec::new();
    loop {
        let mut request = host.request("/websocket");
        for (name, value) in offers {
            request = request.header(name, value);
        }
        let mut raw = request.upgrade().await.1;
        raw.send_bytes(unfinished).await;
        raw.send(Frame::ping("read")).await;
        let frame = raw.frame().await;
        if frame.opcode == CLOSE {
            assert_eq!(frame.close_code(), overloaded());
            break;
        }
        assert_eq!(frame, Frame::pong("read"));
        open.push(raw);
        assert!(open.len() < 50, "nothing bounds them");
    }
    for raw in &mut open {
        raw.send(Frame::ping("still here")).await;
        assert_eq!(raw.frame().await, Frame::pong("still here"));
    }
    let count = open.len();
    leave(open).await;
    count
}

/// The host has closed their sockets when this returns.
async fn leave(open: Vec<Raw>) {
    for mut raw in open {
        raw.finish().await;
        raw.is_dropped().await;
    }
}

#[tokio::test]
async fn messages_that_are_not_complete_take_their_tenants_memory_and_without_it_are_1013() {
    let host = with_little_memory(echo(|_| {})).start().await;
    let began = std::time::Instant::now();
    let unfinished = Frame::binary(vec![7; 8 << 20]).unfinished().masked();
    let count = until_one_is_closed(&host, &[], &unfinished).await;
    assert_eq!(count, 2, "of 8 MiB each in 24 MiB");
    let overloads = |record: &Record| record.message == "closed" && record.field("cause") == "overloaded";
    host.logged("the end of one", overloads).await;
    // Half a frame is as much as half a message; and what those had was given back.
    let mut half = Frame::binary(vec![7; 9 << 20]).masked();
    half.truncate(8 << 20);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut raw = host.raw("/websocket").await;
        raw.send_bytes(&half).await;
        open.push(raw);
    }
    // Whichever the host read last.
    let [one, two, three] = open.as_mut_slice() else { unreachable!("three") };
    let closed = tokio::select! {
        frame = one.close_frame() => frame,
        frame = two.close_frame() => frame,
        frame = three.close_frame() => frame,
    };
    assert_eq!(closed, overloaded());
    leave(open).await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::binary(vec![7; 3 << 20])).await;
    assert_eq!(raw.frame().await.payload.len(), 3 << 20);
    // One record stands for many: a second one is for who wants all.
    let ends: Vec<Record> = host.logs().into_iter().filter(overloads).collect();
    let aloud = ends.iter().filter(|record| record.level == tracing::Level::WARN).count();
    let most = 1 + began.elapsed().as_secs() / 10;
    assert!(ends.len() >= 2 && aloud as u64 <= most, "{aloud} of {}", ends.len());
}

#[tokio::test]
async fn compressed_messages_take_memory_as_they_are_inflated() {
    let host = with_little_memory(echo(|_| {})).start().await;
    let payload = deflated("x".repeat(9 << 20));
    assert!(payload.len() < 16 << 10);
    // All but its last byte: nearly all of it is inflated.
    let (most, _) = payload.split_at(payload.len() - 1);
    let unfinished = Frame::text(most).with_rsv(RSV1).unfinished().masked();
    let count = until_one_is_closed(&host, &[OFFER], &unfinished).await;
    assert!((1..3).contains(&count), "{count} of 9 MiB each in 24 MiB");
}

#[tokio::test]
async fn small_messages_that_are_not_complete_take_nothing() {
    let host = with_little_memory(echo(|_| {})).start().await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut raw = host.raw("/websocket").await;
        raw.send(Frame::binary(vec![7; 60 << 10]).unfinished()).await;
        open.push(raw);
    }
    for raw in &mut open {
        raw.send(Frame::continuation("")).await;
        assert_eq!(raw.frame().await.payload.len(), 60 << 10);
    }
}
