//! TLS on a listener: certificates by name, new ones without dropping a connection, and clients that do it wrong.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use waterspout::Certificates;
use waterspout_tests::{Guest, Identity, TestHost, within};

async fn echo(certificates: Certificates) -> TestHost {
    TestHost::new(Guest::Echo).tls(certificates).start().await
}

/// A WebSocket over HTTP/1.1 over TLS.
pub(crate) async fn open(host: &TestHost, identity: &Identity) -> WebSocketStream<TlsStream<TcpStream>> {
    let tls = identity.connect(host.second_address(), "localhost", &["http/1.1"]).await.expect("TLS");
    let request = format!("ws://localhost:{}/websocket", host.second_address().port());
    within("a handshake", client_async(request, tls)).await.expect("accepted").0
}

pub(crate) async fn say<S>(socket: &mut WebSocketStream<S>, text: &str) -> Message
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    socket.send(Message::text(text)).await.expect("sent");
    within("an echo", socket.next()).await.expect("open").expect("a message")
}

#[tokio::test]
async fn messages_of_any_size_pass_through_tls() {
    let identity = Identity::new(&["localhost"]);
    let host = echo(identity.certificates()).await;
    let mut client = open(&host, &identity).await;
    for size in [0, 1, 125, 126, 16 << 10, 1 << 20, 5 << 20] {
        let text = "x".repeat(size);
        assert_eq!(say(&mut client, &text).await, Message::text(text));
    }
    host.logged("`open`", |record| record.message == "open" && record.field("http") == "1").await;
}

#[tokio::test]
async fn a_closed_connection_ends_with_close_frame_and_close_notify() {
    let identity = Identity::new(&["localhost"]);
    let host = echo(identity.certificates()).await;
    let mut client = open(&host, &identity).await;
    client.close(None).await.expect("sent");
    assert!(matches!(within("a close frame", client.next()).await, Some(Ok(Message::Close(_)))));
    let tls = client.get_mut();
    // Without close_notify this would be an error.
    assert_eq!(within("the end", tls.read(&mut [0; 16])).await.expect("close_notify"), 0);
    assert_eq!(host.connection_ends().await, "peer_closed");
}

#[tokio::test]
async fn a_client_that_ends_without_close_notify_has_vanished_and_nothing_else_happens() {
    let identity = Identity::new(&["localhost"]);
    let host = echo(identity.certificates()).await;
    let mut stays = open(&host, &identity).await;
    let leaves = open(&host, &identity).await;
    drop(leaves.into_inner().into_inner());
    assert_eq!(host.connection_ends().await, "vanished");
    assert_eq!(say(&mut stays, "still here").await, Message::text("still here"));
}

#[tokio::test]
async fn a_certificate_is_chosen_by_its_name() {
    let first = Identity::new(&["localhost", "127.0.0.1"]);
    let second = Identity::new(&["example.com", "*.example.com"]);
    let certificates = Certificates::load([first.files(), second.files()]).expect("two certificates");
    let host = echo(certificates).await;
    let address = host.second_address();
    for name in ["example.com", "www.example.com", "EXAMPLE.com"] {
        second.connect(address, name, &[]).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // The first: by its name, by an address, which is never asked for, and for names that none has.
    first.connect(address, "localhost", &[]).await.expect("its name");
    first.connect(address, "127.0.0.1", &[]).await.expect("no name");
    for name in ["a.b.example.com", "unknown.test"] {
        let error = second.connect(address, name, &[]).await.expect_err("the first certificate").to_string();
        assert!(error.contains("UnknownIssuer") || error.contains("invalid peer certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_served_and_open_connections_stay() {
    let mut identity = Identity::new(&["localhost"]);
    let certificates = identity.certificates();
    let host = echo(certificates.clone()).await;
    let mut before = open(&host, &identity).await;
    assert!(!certificates.reload().expect("the same files"));
    identity.renew(&["localhost"]);
    assert!(certificates.reload().expect("new files"));
    let mut after = open(&host, &identity).await;
    assert_eq!(say(&mut before, "one").await, Message::text("one"));
    assert_eq!(say(&mut after, "two").await, Message::text("two"));
}

#[tokio::test]
async fn new_files_that_are_wrong_leave_the_old_certificate() {
    let identity = Identity::new(&["localhost"]);
    let other = Identity::new(&["localhost"]);
    let certificates = identity.certificates();
    let host = echo(certificates.clone()).await;
    std::fs::copy(other.files().key, identity.files().key).expect("copied");
    let error = certificates.reload().expect_err("another's key").to_string();
    assert!(error.contains("key.pem: is not the key of the certificate"), "{error}");
    std::fs::write(identity.files().certificate, "").expect("written");
    let error = certificates.reload().expect_err("an empty file").to_string();
    assert!(error.contains("chain.pem: holds no certificate"), "{error}");
    std::fs::remove_file(identity.files().certificate).expect("removed");
    let error = certificates.reload().expect_err("no file").to_string();
    assert!(error.contains("chain.pem: cannot be read"), "{error}");
    let mut client = open(&host, &identity).await;
    assert_eq!(say(&mut client, "on").await, Message::text("on"));
}

#[tokio::test]
async fn changed_files_are_found_without_being_told() {
    let mut identity = Identity::new(&["localhost"]);
    let host = echo(identity.certificates()).await;
    identity.renew(&["localhost"]);
    // Looked for every 5 s, and taken when they have stayed for as long.
    tokio::time::timeout(Duration::from_secs(30), async {
        while identity.connect(host.second_address(), "localhost", &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("the new certificate is served");
    assert!(host.logs().iter().any(|record| record.message == "the certificates have changed and are taken"));
}

#[tokio::test]
async fn who_speaks_no_tls_is_dropped_and_only_debug_tells() {
    let identity = Identity::new(&["localhost"]);
    let host = echo(identity.certificates()).await;
    let mut socket = TcpStream::connect(host.second_address()).await.expect("a connection");
    socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("sent");
    // An alert, then the end.
    let mut answer = Vec::new();
    let _ = within("the end", socket.read_to_end(&mut answer)).await;
    assert_ne!(answer.get(..4), Some(b"HTTP".as_slice()));
    let record = host.logged("a failed handshake", |record| record.message.contains("TLS")).await;
    assert_eq!(record.level, tracing::Level::DEBUG);
}

#[tokio::test]
async fn half_a_tls_handshake_has_the_handshakes_time() {
    let identity = Identity::new(&["localhost"]);
    let host = TestHost::new(Guest::Echo)
        .tls(identity.certificates())
        .options(|options| options.handshake_timeout = Duration::from_millis(100))
        .start()
        .await;
    for bytes in [&b""[..], &[0x16, 3, 1, 2, 0][..]] {
        let mut socket = TcpStream::connect(host.second_address()).await.expect("a connection");
        socket.write_all(bytes).await.expect("sent");
        assert_eq!(within("the end", socket.read(&mut [0; 16])).await.expect("no reset"), 0);
    }
    host.logged("it", |record| record.message == "no TLS within `handshake-timeout`").await;
}
