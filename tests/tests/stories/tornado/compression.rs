//! What Tornado's four classes about compression have in common: two cases, and what tells the classes apart.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Message, http};
use tungstenite_deflate::Settings;
use waterspout::client::{self, ClientConnection, ConnectOptions};
use waterspout_tests::within;

use crate::probe::probe;
use crate::witness::target;

/// Sent three times, so that what is remembered of earlier messages makes later ones smaller.
const MESSAGE: &str = "the same words, and once more the same words";

/// Which sides want `permessage-deflate`. If only one does, messages are not compressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides {
    pub(super) server: bool,
    pub(super) client: bool,
}

impl Sides {
    async fn connect(self, address: SocketAddr) -> ClientConnection {
        let mut script = vec![("message", "echo")];
        if self.server {
            script.push(("compression", "on"));
        }
        let url = format!("ws://{address}{}", target("/websocket", &script));
        let request = http::Request::get(url).body(()).expect("a request");
        let options =
            ConnectOptions { compression: self.client.then(Settings::default), ..ConnectOptions::default() };
        let client =
            within("a handshake", client::connect(request, options)).await.expect("a good handshake");
        assert_eq!(client.is_compressed(), self.server && self.client);
        client
    }
}

/// What [`message_sizes`] took of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WireBytes {
    pub(super) to_host: usize,
    pub(super) to_client: usize,
}

impl WireBytes {
    /// The messages crossed the wire as they are, behind two bytes of header; the client's also behind four of mask.
    pub(super) fn assert_plain(self) {
        let (to_host, to_client) = (3 * (MESSAGE.len() + 6), 3 * (MESSAGE.len() + 2));
        assert_eq!(self, Self { to_host, to_client });
    }

    /// They were smaller than that, and the same both ways but for the client's masks.
    pub(super) fn assert_compressed(self) {
        assert!(
            self.to_host < 3 * (MESSAGE.len() + 6) && self.to_client < 3 * (MESSAGE.len() + 2),
            "{self:?}"
        );
        assert_eq!(self.to_host, self.to_client + 3 * 4);
    }
}

pub(super) async fn message_sizes(sides: Sides) -> WireBytes {
    let host = probe().start().await;
    let relay = Relay::to(host.address()).await;
    let mut client = sides.connect(relay.address).await;
    let before = relay.counted();
    for _ in 0..3 {
        client.write_message(Message::text(MESSAGE)).await.expect("open");
        assert_eq!(within("the echo", client.read_message()).await, Some(Message::text(MESSAGE)));
    }
    let after = relay.counted();
    WireBytes { to_host: after.to_host - before.to_host, to_client: after.to_client - before.to_client }
}

pub(super) async fn size_limit(sides: Sides) {
    let host = probe().limits(|limits| limits.max_message_bytes = 1024).start().await;
    let mut client = sides.connect(host.address()).await;
    let small = Message::text("a".repeat(128));
    client.write_message(small.clone()).await.expect("open");
    assert_eq!(within("the echo", client.read_message()).await, Some(small));
    // Compressed, it is smaller than the limit.
    client.write_message(Message::text("a".repeat(2048))).await.expect("open");
    assert_eq!(within("the end", client.read_message()).await, None);
    let frame = client.close_frame().expect("a close frame");
    assert_eq!((frame.code, frame.reason.as_str()), (1009, "message too big"));
}

/// Stands between one client and a host, passes on what they send each other, and counts it.
struct Relay {
    address: SocketAddr,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    to_host: AtomicUsize,
    to_client: AtomicUsize,
}

impl Relay {
    async fn to(host: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let counters = Arc::new(Counters::default());
        let relay = Self { address, counters: counters.clone() };
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.expect("a client");
            let host = TcpStream::connect(host).await.expect("the host listens");
            let ((from_client, to_client), (from_host, to_host)) = (client.into_split(), host.into_split());
            tokio::join!(
                pass_on(from_client, to_host, &counters.to_host),
                pass_on(from_host, to_client, &counters.to_client),
            );
        });
        relay
    }

    /// At least everything that has arrived so far.
    fn counted(&self) -> WireBytes {
        let Counters { to_host, to_client } = &*self.counters;
        WireBytes { to_host: to_host.load(Ordering::SeqCst), to_client: to_client.load(Ordering::SeqCst) }
    }
}

/// Until one side ends, and then ends the other.
async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counter: &AtomicUsize) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        counter.fetch_add(bytes, Ordering::SeqCst);
        if to.write_all(&buffer[..bytes]).await.is_err() {
            break;
        }
    }
}
