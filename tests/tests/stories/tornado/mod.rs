//! Tornado's tests of its WebSockets, told of handlers that are Wasm components: the cases of Tornado 6.5.7's
//! `tornado/test/websocket_test.py`, each under its own name, in a module for each class. Its 45 methods are 53 cases at run
//! time: the two about compression run for four combinations of sides, the two about masks for two functions. Where
//! another story says more, the case is here all the same, and short.
//!
//! # Told in another way
//!
//! - `error_in_on_message`, `error_in_open`, `error_in_async_open`: Tornado ends the socket without a word; here the peer is
//!   told 1011.
//! - `render_message`: there are no templates; the handler formats its answer.
//! - `websocket_headers`: of the seven methods that fail after the upgrade, setting a header is the one that there is.
//! - `websocket_header_echo`: the value comes back from the query; that a handler reads headers is in `websocket_headers`.
//! - `coroutine` waits in a WASI clock and `native_coroutine` in `flush`: a handler's two ways to wait, as a generator and
//!   `async def` are Tornado's.
//! - `client_ping_timeout`: who misses the pongs is a peer without a WebSocket library; in Tornado's case, its client.
//! - `python_mask::mask`, `cython_mask::mask`: Tornado has two functions, a plain one and a fast one. Here the vectors come alone,
//!   and then as the end of long messages, which are unmasked by words.
//!
//! # Left out
//!
//! - `python_mask::length_validation`, `cython_mask::length_validation`: a mask of another length than four cannot be written
//!   down, neither in a frame nor in Rust.
//! - `ping_calculation::ping_sleep_time`: a function of Tornado's own, of which nothing can be seen from outside.

mod compression;
mod web_socket_test;

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;
use waterspout::Limits;
use waterspout::client::ConnectOptions;
use waterspout::limits::PongTimeout;
use waterspout_tests::frames::Frame;
use waterspout_tests::{Guest, TestHost, within};

use crate::probe::probe;
use crate::witness::{Witness, reporting, target};

/// A host with what Tornado calls an `EchoHandler`.
async fn echo() -> TestHost {
    TestHost::new(Guest::Echo).start().await
}

/// A command that writes more than the buffers of two sockets hold, so that `flush` waits until the peer reads: a message of
/// [`LARGE`] bytes.
const WRITE_LARGE: &str = "write 1 x 8MiB";
const LARGE: usize = 8 << 20;
/// For the socket of a peer that is to be written more than it holds.
const SMALL_BUFFER: u32 = 64 << 10;

mod web_socket_native_coroutine {
    use super::*;

    #[tokio::test]
    async fn native_coroutine() {
        let host = probe().start().await;
        let script = [("message", WRITE_LARGE), ("message", "flush"), ("message", "echo")];
        let request = host.request(&target("/websocket", &script)).receive_buffer(SMALL_BUFFER);
        let (_, mut raw) = request.upgrade().await;
        // Both are there before the first can be done with: it waits until something is read.
        raw.send(Frame::text("hello1")).await;
        raw.send(Frame::text("hello2")).await;
        for message in ["hello1", "hello2"] {
            assert_eq!(raw.frame().await.payload.len(), LARGE);
            for text in ["wrote 1: ok", "ok", message] {
                assert_eq!(raw.frame().await, Frame::text(text));
            }
        }
    }
}

/// One of Tornado's classes about compression: who wants it, and what crosses the wire then.
macro_rules! compression_class {
    ($class:ident, server: $server:literal, client: $client:literal, $assert:ident) => {
        mod $class {
            use crate::tornado::compression::{self, Sides};

            const SIDES: Sides = Sides { server: $server, client: $client };

            #[tokio::test]
            async fn message_sizes() {
                compression::message_sizes(SIDES).await.$assert();
            }

            #[tokio::test]
            async fn size_limit() {
                compression::size_limit(SIDES).await;
            }
        }
    };
}

compression_class!(no_compression, server: false, client: false, assert_plain);
compression_class!(server_only_compression, server: true, client: false, assert_plain);
compression_class!(client_only_compression, server: false, client: true, assert_plain);
compression_class!(default_compression, server: true, client: true, assert_compressed);

/// Sends Tornado's masks with what they make of each other to an echo, each behind so many bytes that are zero once they
/// are unmasked.
async fn is_unmasked(zeros: usize) {
    let vectors: [(&[u8; 4], &[u8], &[u8]); 6] = [
        (b"abcd", b"", b""),
        (b"abcd", b"b", b"\x03"),
        (b"abcd", b"54321", b"TVPVP"),
        (b"ZXCV", b"98765432", b"c`t`olpd"),
        // NUL, where C might see the end of a string; the high bit, where it might see a sign.
        (b"\x00\x01\x02\x03", b"\xff\xfb\xfd\xfc\xfe\xfa", b"\xff\xfa\xff\xff\xfe\xfb"),
        (b"\xff\xfb\xfd\xfc", b"\x00\x01\x02\x03\x04\x05", b"\xff\xfa\xff\xff\xfb\xfe"),
    ];
    let host = echo().await;
    let mut raw = host.raw("/websocket").await;
    for (mask, masked, plain) in vectors {
        let frame = Frame::binary([&vec![0; zeros], plain].concat());
        let bytes = frame.masked_with(*mask);
        assert!(bytes.ends_with(masked), "{bytes:02x?}");
        raw.send_bytes(&bytes).await;
        assert!(raw.frame().await == frame, "{masked:02x?} was unmasked wrong by {mask:02x?}");
    }
}

mod python_mask {
    #[tokio::test]
    async fn mask() {
        super::is_unmasked(0).await;
    }
}

mod cython_mask {
    #[tokio::test]
    async fn mask() {
        super::is_unmasked(4096).await;
    }
}

mod server_periodic_ping {
    use super::*;

    #[tokio::test]
    async fn server_ping() {
        let host = probe().limits(|limits| limits.ping_interval = Duration::from_millis(20)).start().await;
        // tungstenite answers pings.
        let mut client = host.connect(&target("/websocket", &[("pong", "say got pong")])).await;
        let mut pongs = 0;
        while pongs < 3 {
            match client.recv().await {
                Message::Ping(data) => assert!(data.is_empty()),
                Message::Text(text) if text == "got pong" => pongs += 1,
                other => panic!("{other:?}"),
            }
        }
    }
}

mod client_periodic_ping {
    use super::*;

    #[tokio::test]
    async fn client_ping() {
        let host = probe().start().await;
        let options =
            ConnectOptions { ping_interval: Some(Duration::from_millis(20)), ..ConnectOptions::default() };
        let mut client = host.dial(&target("/websocket", &[("ping", "say got ping")]), options).await;
        for _ in 0..3 {
            assert_eq!(within("a message", client.read_message()).await, Some(Message::text("got ping")));
        }
        within("the closing handshake", client.close(None, None)).await.expect("valid");
    }
}

mod server_ping_timeout {
    use super::*;

    #[tokio::test]
    async fn client_ping_timeout() {
        let limits = |limits: &mut Limits| {
            limits.ping_interval = Duration::from_millis(700);
            limits.pong_timeout = PongTimeout::Of(Duration::from_millis(600));
        };
        // The witness is not pinged.
        let host = probe().and_route(Guest::named("probe"), "/pinged").limits(limits).start().await;
        let mut witness = Witness::of(&host).await;
        let mut raw = host.raw(&reporting(&[]).replace("/websocket", "/pinged")).await;
        let ping = Frame::ping("");
        for _ in 0..5 {
            assert_eq!(raw.frame().await, ping);
            raw.send(Frame::pong("")).await;
            assert_eq!(raw.frame().await, Frame::text("on-pong "));
        }
        // The sixth is not answered.
        assert_eq!(raw.frame().await, ping);
        assert_eq!(raw.close_frame().await, (1000, "ping timed out".into()));
        raw.send(Frame::close(1000, "ping timed out")).await;
        raw.ends().await;
        witness.sees_open().await;
        witness.sees(["1 on-pong "; 5]).await;
        witness.sees(["1 on-close 1000 ping timed out", "1 drop"]).await;
    }
}

mod manual_ping {
    use super::*;

    #[tokio::test]
    async fn manual_ping() {
        let host = probe().start().await;
        let mut client = host.connect("/websocket").await;
        let refused = client.say("ping-of 126").await;
        assert!(refused.starts_with("invalid "), "{refused}");
        // A ping's data are bytes, whether they are text or not.
        for (data, seen) in [(&b"hello"[..], "hello"), (b"binary hello \xe9", "binary hello \u{fffd}")] {
            client.ping(data).await;
            assert_eq!(client.recv().await, Message::Pong(data.into()));
            assert_eq!(client.recv_text().await, format!("on-ping {seen}"));
        }
    }
}

mod max_message_size {
    use super::*;

    #[tokio::test]
    async fn large_message() {
        let host = TestHost::new(Guest::Echo).limits(|limits| limits.max_message_bytes = 1024).start().await;
        let mut client = host.dial("/websocket", ConnectOptions::default()).await;
        let largest = Message::text("a".repeat(1024));
        client.write_message(largest.clone()).await.expect("open");
        assert_eq!(within("the echo", client.read_message()).await, Some(largest));
        client.write_message(Message::text("a".repeat(1025))).await.expect("open");
        assert_eq!(within("the end", client.read_message()).await, None);
        let frame = client.close_frame().expect("a close frame");
        assert_eq!((frame.code, frame.reason.as_str()), (1009, "message too big"));
    }
}
