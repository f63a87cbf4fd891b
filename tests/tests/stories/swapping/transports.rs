//! Swaps on every way to speak WebSocket: over TLS, in streams of HTTP/2, and compressed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::http::Request;
use tungstenite_deflate::Settings;
use waterspout::client::{self, ConnectOptions};
use waterspout_tests::http2::Http2;
use waterspout_tests::{Guest, within};

use super::{counter, swapped, version};
use crate::probe::probe;
use crate::{http2, tls};

#[tokio::test]
async fn over_tls_a_connection_goes_on_with_the_new_version() {
    let (identity, host) = http2::start(counter()).await;
    let mut client = tls::open(&host, &identity).await;
    for (number, answer) in [(1, "1:1:x"), (2, "2:2:x"), (3, "3:3:x")] {
        if number > 1 {
            assert_eq!(swapped(&host, &version(number)).await.moved, 1);
        }
        assert_eq!(tls::say(&mut client, "x").await.into_text().expect("text").as_str(), answer);
    }
}

#[tokio::test]
async fn streams_that_share_a_socket_go_on_each_with_its_own_state() {
    let (identity, host) = http2::start(counter()).await;
    let mut http2 = Http2::connect(&identity, host.second_address()).await;
    let (mut one, mut two) = (http2.open("/websocket").await, http2.open("/websocket").await);
    assert_eq!(http2::say(&mut one, "a").await, "1:1:a");
    assert_eq!(http2::say(&mut one, "b").await, "1:2:b");
    assert_eq!(http2::say(&mut two, "a").await, "1:1:a");
    let report = swapped(&host, &version(2)).await;
    assert_eq!((report.moved, report.connections), (2, 2), "{report:?}");
    assert_eq!(http2::say(&mut one, "c").await, "2:3:c");
    assert_eq!(http2::say(&mut two, "b").await, "2:2:b");
    let mut newcomer = http2.open("/websocket").await;
    assert_eq!(http2::say(&mut newcomer, "a").await, "2:1:a");
}

/// Bytes on the wire, from the client to the host and back.
#[derive(Default)]
struct Wire([AtomicU64; 2]);

impl Wire {
    /// Since it was last asked.
    fn take(&self) -> [u64; 2] {
        [0, 1].map(|direction| self.0[direction].swap(0, Ordering::Relaxed))
    }

    /// Passes one connection on to `host`, and counts. Returns where.
    async fn before(host: SocketAddr) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let wire = Arc::new(Self::default());
        let counts = wire.clone();
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.expect("a client");
            let (from_client, to_client) = client.into_split();
            let (from_host, to_host) = TcpStream::connect(host).await.expect("the host").into_split();
            let one_way = async |direction: usize,
                                 mut from: tokio::net::tcp::OwnedReadHalf,
                                 mut to: tokio::net::tcp::OwnedWriteHalf| {
                let mut buffer = [0; 1 << 14];
                while let Ok(read @ 1..) = from.read(&mut buffer).await {
                    // Before it arrives: who has an answer has its count.
                    counts.0[direction].fetch_add(read as u64, Ordering::Relaxed);
                    if to.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            };
            tokio::join!(one_way(0, from_client, to_host), one_way(1, from_host, to_client));
        });
        (wire, address)
    }
}

/// Text in which nothing repeats: hexadecimal digits of a generator (Marsaglia's xorshift).
fn unlike_itself(bytes: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    std::iter::repeat_with(next).flat_map(|digits| digits.into_bytes()).take(bytes).map(char::from).collect()
}

/// A message of which nothing repeats cannot be short by itself. Sent once more it is short, both ways, and can be read only by who knows
/// the first one: so both contexts went over.
#[tokio::test]
async fn compressed_messages_refer_to_those_before_the_swap_both_ways() {
    let host = probe().start().await;
    let (wire, address) = Wire::before(host.address()).await;
    let request = Request::get(format!("ws://{address}/websocket?compression=on")).body(());
    let options = ConnectOptions { compression: Some(Settings::default()), ..ConnectOptions::default() };
    let dialled = client::connect(request.expect("a request"), options);
    let mut client = within("a handshake", dialled).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(client.is_compressed());
    let text = unlike_itself(4000);
    let question = format!("say {text}");
    wire.take();
    for repeated in [false, true] {
        client.write_message(client::Message::text(question.clone())).await.expect("open");
        let answer = within("an answer", client.read_message()).await;
        assert_eq!(answer, Some(client::Message::text(text.clone())), "after a swap: {repeated}");
        for bytes in wire.take() {
            assert!(
                if repeated { bytes < 200 } else { bytes > 2000 },
                "{bytes} bytes; after a swap: {repeated}"
            );
        }
        assert_eq!(swapped(&host, &Guest::named("probe")).await.moved, 1);
    }
}
