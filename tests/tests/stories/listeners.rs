//! Several listeners, Unix sockets, and the time that a peer has to ask.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use waterspout::{InheritedSockets, ListenAddress, Listener};
use waterspout_tests::{Guest, Identity, TestHost, within};

use crate::probe::probe;

/// A socket's path that nobody else has. Gone with the value.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("waterspout-{}-{}.sock", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn address(&self) -> String {
        format!("unix:{}", self.0.display())
    }

    fn bind(&self, mode: Option<u32>) -> std::io::Result<Listener> {
        Listener::bind(&ListenAddress::Unix(self.0.clone()), mode, &mut InheritedSockets::none())
    }

    async fn open(&self, path: &str) -> WebSocketStream<UnixStream> {
        let socket = UnixStream::connect(&self.0).await.expect("somebody listens");
        let request = format!("ws://localhost{path}");
        within("a handshake", client_async(request, socket)).await.expect("accepted").0
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn ask(socket: &mut WebSocketStream<UnixStream>, text: &str) -> String {
    socket.send(Message::text(text)).await.expect("sent");
    let answer = within("an answer", socket.next()).await.expect("open").expect("a message");
    answer.into_text().expect("text").as_str().to_owned()
}

#[tokio::test]
async fn a_unix_socket_is_served_beside_tcp_and_its_file_goes_with_it() {
    let path = SocketPath::new();
    let mut host = probe().listen(&path.address(), |listener| listener).start().await;
    let mut there = path.open("/websocket").await;
    let mut here = host.connect("/websocket").await;
    // Tornado's address for who has none.
    assert_eq!(ask(&mut there, "remote-address").await, "0.0.0.0");
    assert_eq!(here.say("remote-address").await, "127.0.0.1");
    assert_eq!(ask(&mut there, "nodelay").await, "ok");
    host.logged("its opening", |record| record.message == "open" && record.field("peer") == "unix").await;
    drop((there, here));
    host.shut_down();
    host.gone().await;
    assert!(!path.0.exists(), "the file is removed");
}

#[tokio::test]
async fn a_file_that_nobody_answers_on_is_replaced_and_one_that_somebody_does_is_not() {
    let path = SocketPath::new();
    drop(std::os::unix::net::UnixListener::bind(&path.0).expect("bound"));
    assert!(path.0.exists(), "it is left behind");
    let first = path.bind(None).expect("a stale file is replaced");
    let error = path.bind(None).expect_err("it is in use").to_string();
    assert!(error.contains("another program answers"), "{error}");
    assert!(path.0.exists());
    drop(first);
    assert!(!path.0.exists());
    std::fs::write(&path.0, "precious").expect("written");
    let error = path.bind(None).expect_err("no socket").to_string();
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(std::fs::read(&path.0).expect("still there"), b"precious");
}

#[tokio::test]
async fn a_socket_that_has_been_replaced_meanwhile_is_not_removed() {
    let path = SocketPath::new();
    let old = path.bind(None).expect("bound");
    std::fs::remove_file(&path.0).expect("removed");
    let _new = path.bind(None).expect("bound");
    drop(old);
    assert!(path.0.exists(), "it is the new one's");
}

#[tokio::test]
async fn a_unix_sockets_mode_is_as_asked() {
    let path = SocketPath::new();
    let _listener = path.bind(Some(0o660)).expect("bound");
    assert_eq!(std::fs::metadata(&path.0).expect("there").permissions().mode() & 0o777, 0o660);
}

#[tokio::test]
async fn tls_is_spoken_on_unix_sockets_too() {
    let path = SocketPath::new();
    let identity = Identity::new(&["localhost"]);
    let certificates = identity.certificates();
    let host = TestHost::new(Guest::Echo)
        .listen(&path.address(), |listener| listener.with_tls(certificates))
        .start()
        .await;
    let mut socket = UnixStream::connect(&path.0).await.expect("somebody listens");
    // Only that it is TLS that is answered: an alert.
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    let _ = within("the end", socket.read_to_end(&mut answer)).await;
    host.logged("it", |record| record.message == "the TLS handshake failed").await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let host = TestHost::new(Guest::Echo).start().await;
    let taken = ListenAddress::Tcp(host.address());
    let error = Listener::bind(&taken, None, &mut InheritedSockets::none()).expect_err("taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn who_asks_nothing_is_dropped_after_the_handshakes_time() {
    let host = TestHost::new(Guest::Echo)
        .options(|options| options.handshake_timeout = Duration::from_millis(100))
        .start()
        .await;
    for beginning in [&b""[..], b"G", b"GET /websocket HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut raw = host.tcp().await;
        raw.send_bytes(beginning).await;
        raw.ends().await;
    }
}

#[tokio::test]
async fn who_asks_and_does_not_take_the_answers_is_dropped_too() {
    let host = TestHost::new(Guest::Echo)
        .own_page()
        .options(|options| options.handshake_timeout = Duration::from_millis(200))
        .start()
        .await;
    let mut socket = TcpStream::connect(host.address()).await.expect("it listens");
    let requests = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20_000);
    let asking = async {
        // It is not read to the end.
        let _ = socket.write_all(&requests).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = asking => unreachable!("it waits for ever"),
        _ = host.logged("its end", |record| record.message.contains("an answer that nobody took")) => {}
    }
}

#[tokio::test]
async fn an_open_connection_and_a_kept_one_outlive_the_first_requests_time() {
    let host = TestHost::new(Guest::Echo)
        .options(|options| options.handshake_timeout = Duration::from_millis(200))
        .start()
        .await;
    let mut client = host.connect("/websocket").await;
    let mut kept = host.request("/healthz").plain().sent().await;
    assert_eq!(kept.answer(true).await.status, 200);
    // A silent peer that came later has gone: so has the time of those before it.
    host.tcp().await.ends().await;
    assert_eq!(client.say("still here").await, "still here");
    // The kept connection had the same time for its next request, and has ended.
    kept.ends().await;
}
