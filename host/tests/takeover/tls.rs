//! Takeovers with TLS: connections and certificates, and the streams of HTTP/2.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::CertificateDer;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client as connect};

use super::{Line, is_there, serve, until};
use crate::support::tls::{get_over_tls, renew};
use crate::support::{Folder, PATIENCE, echoes, socket};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Trusts one certificate. It keeps the tickets that it gets, and offers them to whoever answers next.
fn trusting(certificate: &CertificateDer<'static>, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring has cipher suites").with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn tls(address: SocketAddr, config: &Arc<ClientConfig>) -> Tls {
    let name = "localhost".try_into().expect("a name");
    let session = ClientConnection::new(config.clone(), name).expect("a client");
    let mut stream = StreamOwned::new(session, socket(address));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).expect("TLS");
    }
    stream
}

fn open(address: SocketAddr, stream: Tls) -> WebSocket<Tls> {
    connect(format!("wss://localhost:{}/websocket", address.port()), stream).expect("accepted").0
}

fn serve_tls(folder: &Folder) -> Line {
    Line::start(serve(folder).args(["--tls-certificate", "chain.pem", "--tls-key", "key.pem"]))
}

#[test]
fn tls_goes_on_through_takeovers_and_newcomers_see_the_certificate_of_the_day() {
    let folder = Folder::new();
    let old = renew(&folder);
    let mut line = serve_tls(&folder);
    let address = line.first.address();
    let of_old = trusting(&old, &[]);
    let mut stays = open(address, tls(address, &of_old));
    echoes(&mut stays, "before");
    // It has shaken hands, and asks when the other process accepts.
    let undecided = tls(address, &of_old);
    let first = line.last();
    line.go_on();
    echoes(&mut stays, "after");
    let mut undecided = open(address, undecided);
    echoes(&mut undecided, "decided");
    // The tickets are the old one's: the new one shakes hands anew.
    echoes(&mut open(address, tls(address, &of_old)), "came again");
    // A renewal that nobody was told of is served from the next takeover on, at the latest.
    let new = renew(&folder);
    line.go_on();
    let of_new = trusting(&new, &[]);
    let mut newcomer = open(address, tls(address, &of_new));
    echoes(&mut newcomer, "new certificate");
    let error = get_over_tls(address, &old).expect_err("another certificate");
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    echoes(&mut stays, "of the first certificate still");
    // And a successor takes renewals as the first one does.
    let newest = renew(&folder);
    rustix::process::kill_process(line.last(), Signal::HUP).expect("it runs");
    line.first.record_with("SIGHUP: the certificates are reloaded");
    get_over_tls(address, &newest).expect("the newest certificate is served");
    echoes(&mut newcomer, "of the one before still");
    for mut client in [stays, undecided] {
        client.close(None).expect("open");
        while client.read().is_ok() {}
    }
    until("who has no connection left ends", || !is_there(first));
    let ended = line.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stderr.contains("WARN") && !ended.stderr.contains("ERROR"), "{ended:?}");
}

#[test]
fn a_successor_without_its_certificate_changes_nothing() {
    let folder = Folder::new();
    let certificate = renew(&folder);
    let mut line = serve_tls(&folder);
    let address = line.first.address();
    let mut stays = open(address, tls(address, &trusting(&certificate, &[])));
    let key = std::fs::read(folder.path("key.pem")).expect("ours");
    // A key of another certificate, half a key, none, and a pipe that nobody writes to.
    for content in [&b"nonsense"[..], &key[..key.len() / 2]] {
        folder.write("key.pem", content);
        line.first.signal(Signal::USR2);
        line.first.record_with("there is no takeover; this process goes on");
    }
    std::fs::remove_file(folder.path("key.pem")).expect("ours");
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path("key.pem"), rustix::fs::Mode::RUSR).expect("a pipe");
    line.first.signal(Signal::USR2);
    line.first.record_with("key.pem: cannot be read: it is no plain file");
    line.first.record_with("there is no takeover; this process goes on");
    get_over_tls(address, &certificate).expect("the certificate of before goes on");
    std::fs::remove_file(folder.path("key.pem")).expect("ours");
    folder.write("key.pem", key);
    line.go_on();
    echoes(&mut stays, "still here");
    get_over_tls(address, &certificate).expect("served");
}

// HTTP/2.

type Stream = WebSocketStream<TokioIo<Upgraded>>;

struct Http2 {
    sender: SendRequest<Empty<Bytes>>,
    authority: String,
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: not after {PATIENCE:?}"))
}

impl Http2 {
    async fn connect(address: SocketAddr, certificate: &CertificateDer<'static>) -> Self {
        let connector = tokio_rustls::TlsConnector::from(trusting(certificate, &["h2"]));
        let tcp = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let name = "localhost".try_into().expect("a name");
        let tls = within("TLS", connector.connect(name, tcp)).await.expect("the certificate");
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tls)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut this = Self { sender, authority: format!("localhost:{}", address.port()) };
        // Then its settings are known: extended CONNECT among them.
        let asked = this.request(http::Method::GET, "/healthz");
        assert_eq!(within("health", this.sender.send_request(asked)).await.expect("answered").status(), 200);
        this
    }

    fn request(&self, method: http::Method, path: &str) -> http::Request<Empty<Bytes>> {
        let uri = format!("https://{}{path}", self.authority);
        http::Request::builder().method(method).uri(uri).body(Empty::new()).expect("a request")
    }

    /// A WebSocket; none if the socket takes no more streams.
    async fn open(&mut self) -> Option<Stream> {
        let mut request = self.request(http::Method::CONNECT, "/websocket");
        request.headers_mut().insert("sec-websocket-version", "13".parse().expect("a value"));
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        let mut answer = within("an answer", self.sender.send_request(request)).await.ok()?;
        assert_eq!(answer.status(), 200, "{answer:?}");
        let upgraded = hyper::upgrade::on(&mut answer).await.expect("a stream");
        Some(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
    }
}

async fn stream_echoes(stream: &mut Stream, text: &str) {
    stream.send(Message::text(text)).await.expect("sent");
    let echo = within("an echo", stream.next()).await.expect("not the end").expect("a message");
    assert_eq!(echo, Message::text(text));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_http2_stay_where_they_are_and_their_socket_takes_no_more() {
    let folder = Folder::new();
    let certificate = renew(&folder);
    let mut line = tokio::task::block_in_place(|| serve_tls(&folder));
    let address = line.first.address();
    let mut before = Http2::connect(address, &certificate).await;
    let mut streams = vec![before.open().await.expect("room"), before.open().await.expect("room")];
    // One of them is busy while the other process comes.
    let mut busy = before.open().await.expect("room");
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let busy = tokio::spawn(async move {
        let large = "x".repeat(200_000);
        let mut echoed = 0_u32;
        while stopped.try_recv().is_err() {
            stream_echoes(&mut busy, &large).await;
            echoed += 1;
        }
        (busy, echoed)
    });
    let first = line.last();
    tokio::task::block_in_place(|| line.go_on());
    for stream in &mut streams {
        stream_echoes(stream, "still here").await;
    }
    stop.send(()).expect("it is at it");
    let (busy, echoed) = within("the busy one", busy).await.expect("no message was lost");
    assert!(echoed > 0);
    // The socket was told to go: what it asks for from now on belongs elsewhere.
    assert!(before.open().await.is_none(), "a stream more of a socket that is to end");
    let mut after = Http2::connect(address, &certificate).await;
    let mut newcomer = after.open().await.expect("room");
    stream_echoes(&mut newcomer, "of the new one").await;
    assert!(is_there(first), "it has streams");
    for mut stream in streams.into_iter().chain([busy]) {
        stream_echoes(&mut stream, "to the end").await;
        // The server may have answered, and ended the stream, before this has returned.
        let _ = stream.close(None).await;
        while within("the end", stream.next()).await.is_some_and(|message| message.is_ok()) {}
    }
    tokio::task::block_in_place(|| until("who has no stream left ends", || !is_there(first)));
    stream_echoes(&mut newcomer, "stays").await;
    drop((newcomer, after));
    let ended = tokio::task::block_in_place(|| line.end());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stderr.contains("WARN") && !ended.stderr.contains("ERROR"), "{ended:?}");
}
