//! permessage-deflate (RFC 7692): who agrees to what, what crosses the wire, and what a peer cannot do with it.

use tokio_tungstenite::tungstenite::Message;
use tungstenite_deflate::{
    Compression, DECOMPRESSOR_BYTES, Level, MemLevel, Settings, WindowBits, ready_made,
};
use waterspout::client::{ClientConnection, ConnectOptions};
use waterspout::connection::compression::CompressionPolicy;
use waterspout_tests::frames::{Frame, Raw, TEXT};
use waterspout_tests::host::Builder;
use waterspout_tests::{Guest, TestHost, within};

use crate::probe::probe;
use crate::witness::target;

const OFFER: (&str, &str) = ("Sec-WebSocket-Extensions", "permessage-deflate");
const BEST: Compression =
    Compression { level: Level::MAX, mem_level: MemLevel::MAX, window_bits: WindowBits::MAX };
const RSV1: u8 = 4;

/// The embedded echo, which wants compression.
fn echo() -> Builder {
    TestHost::new(Guest::Echo)
}

/// What the host answers to these offers.
async fn answer_to(host: &TestHost, offers: &[&str]) -> Option<String> {
    let mut request = host.request("/websocket");
    for offer in offers {
        request = request.header(OFFER.0, offer);
    }
    request.upgrade().await.0.header("sec-websocket-extensions").map(str::to_owned)
}

/// A socket on which compression was agreed.
async fn compressed_raw(host: &TestHost, target: &str, offer: &str) -> Raw {
    let (answer, raw) = host.request(target).header(OFFER.0, offer).upgrade().await;
    assert!(answer.header("sec-websocket-extensions").is_some(), "no compression");
    raw
}

/// One frame that holds this text, compressed by itself.
fn compressed(text: impl Into<String>) -> Frame {
    match ready_made(&Message::text(text.into()), BEST) {
        Message::Frame(frame) => Frame::text(frame.payload()).with_rsv(RSV1),
        other => panic!("{other:?} is not compressed"),
    }
}

fn offering(settings: Settings) -> ConnectOptions {
    ConnectOptions { compression: Some(settings), ..ConnectOptions::default() }
}

/// A connection of the host's own client on which compression was agreed.
async fn dial(host: &TestHost, target: &str, settings: Settings) -> ClientConnection {
    let client = host.dial(target, offering(settings)).await;
    assert!(client.is_compressed());
    client
}

async fn say(client: &mut ClientConnection, text: &str) -> Message {
    client.write_message(Message::text(text)).await.expect("the connection is open");
    read(client).await
}

async fn read(client: &mut ClientConnection) -> Message {
    within("a message", client.read_message()).await.expect("the connection is open")
}

#[tokio::test]
async fn an_offer_is_answered_with_what_both_sides_will_do() {
    let host = echo().start().await;
    for (offers, answer) in [
        (&[][..], None),
        (&["permessage-deflate"], Some("permessage-deflate")),
        // What Chromium, Firefox and Safari send.
        (&["permessage-deflate; client_max_window_bits"], Some("permessage-deflate")),
        (
            &["permessage-deflate; server_no_context_takeover; server_max_window_bits=10"],
            Some("permessage-deflate; server_no_context_takeover; server_max_window_bits=10"),
        ),
        (&["x-unknown", "permessage-deflate; nonsense, permessage-deflate"], Some("permessage-deflate")),
        (&["permessage-deflate; server_max_window_bits=8"], None),
        (&["permessage-deflate; client_max_window_bits=8"], None),
        (&["permessage-deflate; client_no_context_takeover; client_no_context_takeover"], None),
        (&["permessage-deflate; server_max_window_bits=10; server_max_window_bits=12"], None),
        (&["permessage-deflate; x=\""], None),
    ] {
        assert_eq!(answer_to(&host, offers).await.as_deref(), answer, "{offers:?}");
    }
}

#[tokio::test]
async fn messages_are_compressed_both_ways_and_come_back_the_same() {
    let host = echo().start().await;
    let mut raw = compressed_raw(&host, "/websocket", OFFER.1).await;
    let text = "all work and no play makes Jack a dull boy, ".repeat(20);
    raw.send(compressed(&text)).await;
    let first = raw.frame().await;
    assert_eq!((first.rsv, first.opcode, first.fin), (RSV1, TEXT, true));
    assert!(first.payload.len() < text.len() / 4, "{} of {}", first.payload.len(), text.len());
    // It refers to the one before.
    raw.send(compressed(&text)).await;
    let second = raw.frame().await.payload.len();
    assert!(second < first.payload.len() / 2, "{second} after {}", first.payload.len());

    let mut client = dial(&host, "/websocket", Settings::default()).await;
    for message in
        [Message::text(text), Message::binary(vec![7; 100_000]), Message::text(""), Message::binary(vec![])]
    {
        client.write_message(message.clone()).await.expect("open");
        assert_eq!(read(&mut client).await, message);
    }
}

#[tokio::test]
async fn every_window_and_either_takeover_echoes() {
    let host = echo().start().await;
    for bits in 9..=15 {
        for takeover in [false, true] {
            let window = WindowBits::try_from(bits).expect("a window");
            let settings = Settings {
                server_max_window_bits: window,
                client_max_window_bits: window,
                server_no_context_takeover: takeover,
                client_no_context_takeover: takeover,
                threshold: Some(0),
                ..Settings::default()
            };
            let mut client = dial(&host, "/websocket", settings).await;
            for size in [0, 1, 600, 40_000, 70_000] {
                let text: String = (0..size).map(|n| char::from(b'a' + (n % 1009 * n % 26) as u8)).collect();
                assert_eq!(say(&mut client, &text).await, Message::text(text), "{bits} {takeover}");
            }
        }
    }
}

#[tokio::test]
async fn small_messages_go_as_they_are() {
    let host = echo().start().await;
    let mut raw = compressed_raw(&host, "/websocket", OFFER.1).await;
    raw.send(Frame::text("x".repeat(15))).await;
    assert_eq!(raw.frame().await, Frame::text("x".repeat(15)));
    raw.send(Frame::text("x".repeat(16))).await;
    assert_eq!(raw.frame().await.rsv, RSV1);

    let policy = CompressionPolicy { threshold: Some(100), ..CompressionPolicy::default() };
    let host = echo().route(|route| route.compression = Some(policy)).start().await;
    let mut raw = compressed_raw(&host, "/websocket", OFFER.1).await;
    raw.send(compressed("x".repeat(99))).await;
    assert_eq!(raw.frame().await, Frame::text("x".repeat(99)));
    raw.send(compressed("x".repeat(100))).await;
    assert_eq!(raw.frame().await.rsv, RSV1);
}

#[tokio::test]
async fn what_comes_with_the_handshake_is_inflated_too() {
    let host = echo().start().await;
    let request = host.request("/websocket").header(OFFER.0, OFFER.1);
    let (_, mut raw) = request.behind(compressed("hello").masked()).upgrade().await;
    assert_eq!(raw.frame().await, Frame::text("hello"));
}

#[tokio::test]
async fn a_compressed_message_may_come_in_fragments_with_pings_between() {
    let host = echo().start().await;
    let mut raw = compressed_raw(&host, "/websocket", OFFER.1).await;
    let whole = compressed("hello, hello").payload;
    let (first, rest) = whole.split_at(3);
    raw.send(Frame::text(first).with_rsv(RSV1).unfinished()).await;
    raw.send(Frame::ping("are you there?")).await;
    assert_eq!(raw.frame().await, Frame::pong("are you there?"));
    raw.send(Frame::continuation("").unfinished()).await;
    raw.send(Frame::continuation(rest)).await;
    assert_eq!(raw.frame().await, Frame::text("hello, hello"));
}

#[tokio::test]
async fn a_handler_that_does_not_want_it_gets_none() {
    let host = probe().start().await;
    assert_eq!(answer_to(&host, &[OFFER.1]).await, None);
    let mut raw = host.raw("/websocket").await;
    raw.send(compressed("hello")).await;
    assert_eq!(raw.close_frame().await, (1002, "protocol error".into()));
}

#[tokio::test]
async fn a_route_can_forbid_it() {
    let host = echo().route(|route| route.compression = None).start().await;
    assert_eq!(answer_to(&host, &[OFFER.1]).await, None);
}

#[tokio::test]
async fn a_route_can_limit_windows_and_takeover() {
    let policy = CompressionPolicy {
        context_takeover: false,
        max_window_bits: WindowBits::try_from(11).expect("a window"),
        ..CompressionPolicy::default()
    };
    let host = echo().route(|route| route.compression = Some(policy)).start().await;
    let ours = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11";
    assert_eq!(answer_to(&host, &["permessage-deflate"]).await.as_deref(), Some(ours));
    let limited = format!("{ours}; client_max_window_bits=11");
    assert_eq!(answer_to(&host, &["permessage-deflate; client_max_window_bits"]).await, Some(limited));
}

#[tokio::test]
async fn a_handler_chooses_level_and_memory_level() {
    let host = probe().start().await;
    let text = "she sells sea shells on the sea shore; ".repeat(30);
    let mut sizes = Vec::new();
    for commands in [&["level 0"][..], &["level 9", "mem-level 9"]] {
        let mut script: Vec<_> = commands.iter().map(|command| ("compression", *command)).collect();
        script.push(("message", "echo"));
        let mut raw = compressed_raw(&host, &target("/websocket", &script), OFFER.1).await;
        raw.send(Frame::text(&text)).await;
        sizes.push(raw.frame().await.payload.len());
    }
    // An operator's limit holds without a word.
    let policy = CompressionPolicy { max_level: Level::MIN, ..CompressionPolicy::default() };
    let host = probe().route(|route| route.compression = Some(policy)).start().await;
    let script = [("compression", "level 9"), ("message", "echo")];
    let mut raw = compressed_raw(&host, &target("/websocket", &script), OFFER.1).await;
    raw.send(Frame::text(&text)).await;
    assert_eq!(raw.frame().await.payload.len(), sizes[0]);
    assert!(sizes[0] > text.len() && sizes[1] < text.len() / 5, "{sizes:?}");
}

#[tokio::test]
async fn a_handler_that_asks_for_an_impossible_level_is_500_and_in_the_log() {
    let host = probe().start().await;
    for command in ["level 10", "mem-level 0", "mem-level 10"] {
        let request = host.request(&target("/websocket", &[("compression", command)]));
        let answer = request.header(OFFER.0, OFFER.1).answer().await;
        assert_eq!(answer.status, 500, "{command}");
    }
    let told =
        host.logs().into_iter().filter(|record| record.message.contains("get-compression-options")).count();
    assert_eq!(told, 3);
}

#[tokio::test]
async fn a_message_that_inflates_to_the_limit_is_fine_and_one_byte_more_is_1009() {
    let host = echo().limits(|limits| limits.max_message_bytes = 100_000).start().await;
    let mut raw = compressed_raw(&host, "/websocket", OFFER.1).await;
    raw.send(compressed("x".repeat(100_000))).await;
    assert_eq!(raw.frame().await.rsv, RSV1);
    raw.send(compressed("x".repeat(100_001))).await;
    assert_eq!(raw.close_frame().await, (1009, "message too big".into()));
    raw.ends().await;
}

#[tokio::test]
async fn the_message_that_a_bomb_finds_at_work_is_answered_before_its_1009() {
    let host = echo().limits(|limits| limits.max_message_bytes = 1000).start().await;
    let mut other = host.connect("/websocket").await;
    let mut raw = compressed_raw(&host, "/websocket", OFFER.1).await;
    let bomb = compressed("x".repeat(4 << 20));
    raw.send_bytes(&[compressed("one").masked(), bomb.masked()].concat()).await;
    assert_eq!(raw.frame().await, Frame::text("one"));
    assert_eq!(raw.close_frame().await.0, 1009);
    assert_eq!(other.say("hello").await, "hello");
}

#[tokio::test]
async fn what_cannot_be_inflated_is_1007() {
    let host = echo().start().await;
    let mut raw = compressed_raw(&host, "/websocket", OFFER.1).await;
    raw.send(Frame::text([0xff; 20]).with_rsv(RSV1)).await;
    assert_eq!(raw.close_frame().await, (1007, "invalid compressed data".into()));
    raw.ends().await;
}

#[tokio::test]
async fn inflated_text_that_is_not_utf8_is_1007() {
    let host = echo().start().await;
    let mut raw = compressed_raw(&host, "/websocket", OFFER.1).await;
    // A stored block (RFC 7692 section 7.2.3.3) with one byte that begins nothing.
    raw.send(Frame::text([0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00]).with_rsv(RSV1)).await;
    assert_eq!(raw.close_frame().await, (1007, "invalid UTF-8".into()));
}

#[tokio::test]
async fn compression_changes_nothing_about_broken_frames() {
    let host = echo().start().await;
    for bytes in [
        compressed("unmasked").unmasked(),
        Frame::ping("x").with_rsv(RSV1).masked(),
        Frame::text("x").with_rsv(2).masked(),
        Frame::continuation("of nothing").masked(),
        [Frame::text("a").unfinished().masked(), Frame::continuation("b").with_rsv(RSV1).masked()].concat(),
        [compressed("a").unfinished().masked(), Frame::text("b").masked()].concat(),
    ] {
        let mut raw = compressed_raw(&host, "/websocket", OFFER.1).await;
        raw.send_bytes(&bytes).await;
        assert_eq!(raw.close_frame().await, (1002, "protocol error".into()), "{bytes:x?}");
        raw.ends().await;
    }
}

#[tokio::test]
async fn closing_is_the_same_with_compression() {
    let host = probe().start().await;
    let script = [("compression", "on"), ("message", "close 4001 enough")];
    let mut client = dial(&host, &target("/websocket", &script), Settings::default()).await;
    client.write_message(Message::text("please leave me alone now")).await.expect("open");
    assert_eq!(within("the end", client.read_message()).await, None);
    let frame = client.close_frame().expect("a close frame");
    assert_eq!((frame.code, frame.reason.as_str()), (4001, "enough"));

    let mut client = dial(&host, &target("/websocket", &[("compression", "on")]), Settings::default()).await;
    within("the closing handshake", client.close(Some(1000), Some("bye"))).await.expect("a valid code");
    assert_eq!(client.close_frame().map(|frame| frame.code), Some(1000));
}

#[tokio::test]
async fn at_max_compression_bytes_newcomers_go_uncompressed_until_there_is_room_again() {
    let host = echo().limits(|limits| limits.max_compression_bytes = 2 * DECOMPRESSOR_BYTES).start().await;
    let mut first = compressed_raw(&host, "/websocket", OFFER.1).await;
    let second = dial(&host, "/websocket", Settings::default()).await;
    assert_eq!(answer_to(&host, &[OFFER.1]).await, None);
    assert_eq!(answer_to(&host, &[OFFER.1]).await, None);
    let told = host.logs().into_iter().filter(|record| record.message.contains("max-compression-bytes"));
    assert_eq!(told.count(), 1, "told once, not for each newcomer");
    // There is no room for a compressor; a decompressor was promised.
    first.send(compressed("hello ".repeat(20))).await;
    assert_eq!(first.frame().await, Frame::text("hello ".repeat(20)));
    let mut second = second;
    within("the closing handshake", second.close(None, None)).await.expect("valid");
    within("room", async {
        while answer_to(&host, &[OFFER.1]).await.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn however_a_connection_ends_its_memory_is_free_again() {
    let host = probe().limits(|limits| limits.max_compression_bytes = DECOMPRESSOR_BYTES).start().await;
    let path = target("/websocket", &[("compression", "on")]);
    let refused = target("/websocket", &[("compression", "on"), ("open", "trap")]);
    for round in 0..3 {
        // A trap in `open`, a trap later, a peer that vanishes within a compressed message, one that is reset.
        let mut raw = compressed_raw_at_last(&host, &refused).await;
        assert_eq!(raw.close_frame().await.0, 1011);
        let mut raw = compressed_raw_at_last(&host, &path).await;
        raw.send(compressed("trap")).await;
        assert_eq!(raw.close_frame().await.0, 1011, "{round}");
        drop(raw);
        let mut raw = compressed_raw_at_last(&host, &path).await;
        raw.send(compressed("half of a message").unfinished()).await;
        drop(raw);
        compressed_raw_at_last(&host, &path).await.reset();
    }
}

/// A socket on which compression was agreed as soon as there was memory for it.
async fn compressed_raw_at_last(host: &TestHost, target: &str) -> Raw {
    within("room for another decompressor", async {
        loop {
            let (answer, raw) = host.request(target).header(OFFER.0, OFFER.1).upgrade().await;
            if answer.header("sec-websocket-extensions").is_some() {
                return raw;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_published_message_is_the_same_bytes_for_all_without_takeover_and_right_for_everybody() {
    let host = probe().start().await;
    let subscribe = |compression: &'static str| {
        let mut script = vec![("open", "subscribe news"), ("message", "count")];
        if !compression.is_empty() {
            script.push(("compression", compression));
        }
        target("/websocket", &script)
    };
    let alone = "permessage-deflate; server_no_context_takeover";
    let small = "permessage-deflate; server_no_context_takeover; server_max_window_bits=9";
    let mut subscribers = vec![
        compressed_raw(&host, &subscribe("on"), alone).await,
        compressed_raw(&host, &subscribe("on"), alone).await,
        compressed_raw(&host, &subscribe("on"), small).await,
        compressed_raw(&host, &subscribe("on"), OFFER.1).await,
        host.raw(&subscribe("")).await,
    ];
    for raw in &mut subscribers {
        raw.send(Frame::text("subscribed?")).await;
        assert_eq!(raw.frame().await, Frame::text("1"));
    }
    let mut publisher = host.connect("/websocket").await;
    let news = "the news of the day, which is no news at all; ".repeat(40);
    for _ in 0..2 {
        assert_eq!(publisher.say(format!("publish news {news}")).await, "ok");
    }
    let mut received = Vec::new();
    for raw in &mut subscribers {
        received.push([raw.frame().await, raw.frame().await]);
    }
    let [first, second, small, taking, plain] = &received[..] else { panic!("five subscribers") };
    assert_eq!(first, second);
    assert_eq!(first[0], first[1]);
    assert_eq!((first[0].rsv, small[0].rsv, taking[0].rsv, plain[0].rsv), (RSV1, RSV1, RSV1, 0));
    assert!(taking[1].payload.len() < taking[0].payload.len() / 2, "the second refers to the first");
    assert_eq!(plain[0].payload, news.as_bytes());
    // The same text, read by a client that checks it.
    let settings = Settings { server_no_context_takeover: true, ..Settings::default() };
    let mut client = dial(&host, &subscribe("on"), settings).await;
    assert_eq!(say(&mut client, "subscribed?").await, Message::text("1"));
    assert_eq!(publisher.say(format!("publish news {news}")).await, "ok");
    assert_eq!(read(&mut client).await, Message::text(news));
}

#[tokio::test]
async fn a_small_published_message_goes_as_it_is() {
    let host = probe().start().await;
    let script = [("open", "subscribe news"), ("message", "count"), ("compression", "on")];
    let alone = "permessage-deflate; server_no_context_takeover";
    let mut raw = compressed_raw(&host, &target("/websocket", &script), alone).await;
    raw.send(Frame::text("subscribed?")).await;
    assert_eq!(raw.frame().await, Frame::text("1"));
    let mut publisher = host.connect("/websocket").await;
    publisher.say(format!("publish news {}", "n".repeat(255))).await;
    assert_eq!(raw.frame().await, Frame::text("n".repeat(255)));
    publisher.say(format!("publish news {}", "n".repeat(256))).await;
    assert_eq!(raw.frame().await.rsv, RSV1);
}

#[tokio::test]
async fn a_slow_peer_gets_everything_that_was_queued() {
    let policy = CompressionPolicy { threshold: Some(100), ..CompressionPolicy::default() };
    let host = probe()
        .limits(|limits| limits.max_queue_bytes = 1 << 20)
        .route(|route| route.compression = Some(policy))
        .start()
        .await;
    let script = [("compression", "on"), ("message", "write 2000 x 10KiB"), ("message", "buffered")];
    let request = host.request(&target("/websocket", &script)).header(OFFER.0, OFFER.1);
    let (_, mut raw) = request.receive_buffer(4 << 10).upgrade().await;
    raw.send(Frame::text("go")).await;
    let mut data = 0;
    let wrote = loop {
        let frame = raw.frame().await;
        if frame.rsv == 0 {
            break String::from_utf8(frame.payload).expect("text");
        }
        data += 1;
    };
    assert!(data > 100 && wrote.starts_with(&format!("wrote {data}: ")), "{wrote}, and {data} came");
}

#[tokio::test]
async fn a_server_that_goes_away_says_so_under_compression_too() {
    let mut host = echo().start().await;
    let mut client = dial(&host, "/websocket", Settings::default()).await;
    assert_eq!(
        say(&mut client, "a message that is compressed").await,
        Message::text("a message that is compressed")
    );
    host.shut_down();
    assert_eq!(within("the end", client.read_message()).await, None);
    assert_eq!(client.close_frame().map(|frame| frame.code), Some(1001));
    assert_eq!(host.gone().await, 0);
}
