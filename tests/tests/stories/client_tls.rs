//! The crate's own client over TLS: whom it trusts, and what it says of whom it does not.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::http::Request;
use waterspout::client::{
    self, ClientConnection, ConnectError, ConnectOptions, Message, Resolver, Resolving, Roots, TlsError,
};
use waterspout::connection::close::CloseCause;
use waterspout_tests::certificates::Authority;
use waterspout_tests::{Guest, TestHost, within};

/// Does with each connection what it is told.
async fn server<F: Future<Output = ()> + Send>(
    then: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            then(socket).await;
        }
    });
    address
}

/// An echo over TLS, which says first what the client asked for: its name for the server, and the protocol.
async fn echo(acceptor: TlsAcceptor) -> SocketAddr {
    server(move |socket| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let session = stream.get_ref().1;
            let name = session.server_name().unwrap_or("no name").to_owned();
            let protocol = String::from_utf8_lossy(session.alpn_protocol().unwrap_or(b"none")).into_owned();
            let mut socket = accept_async(stream).await.expect("a handshake");
            let _ = socket.send(Message::text(format!("{name} {protocol}"))).await;
            while let Some(Ok(message)) = socket.next().await {
                if !message.is_close() && socket.send(message).await.is_err() {
                    break;
                }
            }
        }
    })
    .await
}

/// Finds every name at this address.
#[derive(Debug)]
struct Everywhere(SocketAddr);

impl Resolver for Everywhere {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolving<'a> {
        Box::pin(async { Ok(vec![self.0]) })
    }
}

/// Of a client that trusts `roots`.
fn trusting(roots: Roots) -> ConnectOptions {
    ConnectOptions { ca: Some(roots), ..ConnectOptions::default() }
}

async fn dial(url: &str, options: ConnectOptions) -> Result<ClientConnection, ConnectError> {
    let request = Request::get(url).body(()).expect("a request");
    within("an answer", client::connect(request, options)).await
}

/// What a client that trusts `authority` says of a server.
async fn refused(authority: &Authority, address: SocketAddr) -> ConnectError {
    let options = trusting(authority.roots());
    dial(&format!("wss://{address}/"), options).await.expect_err("a server that is not to be trusted")
}

#[tokio::test]
async fn a_server_is_known_by_its_name_or_its_address() {
    let authority = Authority::new("a friend");
    let certificate = authority.issue(&["chat.example", "*.rooms.example", "127.0.0.1"]);
    let address = echo(certificate.acceptor(&["h2", "http/1.1"])).await;
    for (url, asked) in [
        (format!("wss://{address}/"), "no name http/1.1"),
        ("wss://chat.example/".into(), "chat.example http/1.1"),
        ("wss://CHAT.example./".into(), "chat.example http/1.1"),
        ("wss://blue.rooms.example:4321/x".into(), "blue.rooms.example http/1.1"),
    ] {
        let resolver = Some(Arc::new(Everywhere(address)) as Arc<dyn Resolver>);
        let options = ConnectOptions { resolver, ..trusting(authority.roots()) };
        let mut client = dial(&url, options).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(within("what it asked for", client.read_message()).await, Some(Message::text(asked)));
        // More than a TLS record, a socket's buffer, and what the session keeps.
        for message in [Message::text("hé"), Message::binary(vec![7; 3 << 20])] {
            client.queue_message(message.clone()).expect("room");
            assert!(within("the echo", client.read_message()).await == Some(message));
        }
        within("the closing handshake", client.close(Some(1000), Some("bye"))).await.expect("valid");
        assert_eq!(client.close_frame().map(|frame| frame.code), Some(1000));
    }
}

#[tokio::test]
async fn a_server_without_alpn_is_taken_at_its_word() {
    let authority = Authority::new("a friend");
    let address = echo(authority.issue(&["127.0.0.1"]).acceptor(&[])).await;
    let mut client =
        dial(&format!("wss://{address}/"), trusting(authority.roots())).await.expect("a handshake");
    assert_eq!(within("what it asked for", client.read_message()).await, Some(Message::text("no name none")));
}

#[tokio::test]
async fn a_server_that_is_not_to_be_trusted_is_told_with_the_reason() {
    let authority = Authority::new("a friend");
    let here = ["127.0.0.1"];

    let address = echo(Authority::new("a stranger").issue(&here).acceptor(&[])).await;
    let error = refused(&authority, address).await;
    assert!(matches!(error, ConnectError::Tls(TlsError::UnknownIssuer)), "{error:?}");

    let address = echo(Authority::new("a friend").issue(&here).acceptor(&[])).await;
    let error = refused(&authority, address).await;
    assert!(matches!(error, ConnectError::Tls(TlsError::BadSignature)), "{error:?}");

    let address = echo(authority.issue(&["a.example", "*.b.example", "10.0.0.1"]).acceptor(&[])).await;
    let error = refused(&authority, address).await;
    assert_eq!(
        error.to_string(),
        "the server cannot be trusted: its certificate is for a.example, *.b.example, 10.0.0.1, not for 127.0.0.1"
    );
    assert!(matches!(error, ConnectError::Tls(TlsError::WrongName { .. })), "{error:?}");

    let address = echo(authority.issue_expired(&here).acceptor(&[])).await;
    let error = refused(&authority, address).await;
    assert_eq!(
        error.to_string(),
        "the server cannot be trusted: its certificate has expired, on 2002-03-04T00:00:00Z"
    );
    assert!(matches!(error, ConnectError::Tls(TlsError::Expired { .. })), "{error:?}");

    let address = echo(authority.issue_early(&here).acceptor(&[])).await;
    let error = refused(&authority, address).await;
    assert!(matches!(error, ConnectError::Tls(TlsError::NotYetValid { .. })), "{error:?}");

    let address = echo(authority.as_server().acceptor(&[])).await;
    let error = refused(&authority, address).await;
    assert!(matches!(error, ConnectError::Tls(TlsError::AuthorityAsServer)), "{error:?}");
}

#[tokio::test]
async fn by_default_only_whom_the_system_trusts_is_trusted() {
    let address = echo(Authority::new("a friend").issue(&["127.0.0.1"]).acceptor(&[])).await;
    let error = dial(&format!("wss://{address}/"), ConnectOptions::default()).await.expect_err("a stranger");
    // A machine may have nobody to trust.
    assert!(matches!(error, ConnectError::Tls(TlsError::UnknownIssuer | TlsError::NoRoots(_))), "{error:?}");
}

#[tokio::test]
async fn a_server_with_no_protocol_in_common_is_a_tls_error() {
    let authority = Authority::new("a friend");
    let address = echo(authority.issue(&["127.0.0.1"]).acceptor(&["h2"])).await;
    let error = refused(&authority, address).await;
    assert!(matches!(error, ConnectError::Tls(TlsError::Other(_))), "{error:?}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_so() {
    let authority = Authority::new("a friend");
    // It waits for a request that ends; this one says at once that it is none.
    let host = TestHost::new(Guest::Echo).start().await;
    let ssh = server(|mut socket| async move {
        let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
        let _ = socket.read_to_end(&mut Vec::new()).await;
    })
    .await;
    for address in [host.address(), ssh] {
        let error = refused(&authority, address).await;
        assert!(matches!(error, ConnectError::Tls(TlsError::NotTls)), "{error:?}");
    }
}

#[tokio::test]
async fn a_tls_server_that_is_spoken_to_without_is_an_error() {
    let address = echo(Authority::new("a friend").issue(&["127.0.0.1"]).acceptor(&[])).await;
    let error = dial(&format!("ws://{address}/"), ConnectOptions::default()).await.expect_err("an alert");
    assert!(matches!(error, ConnectError::Protocol(_) | ConnectError::Network(_)), "{error:?}");
}

#[tokio::test]
async fn a_handshake_that_stalls_is_a_timeout_and_one_that_breaks_a_network_error() {
    let authority = Authority::new("a friend");
    let silent = server(|mut socket| async move {
        let _ = socket.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let options =
        ConnectOptions { connect_timeout: Duration::from_millis(50), ..trusting(authority.roots()) };
    let error = dial(&format!("wss://{silent}/"), options).await.expect_err("silence");
    assert!(matches!(error, ConnectError::Timeout(_)), "{error:?}");

    let gone = server(|mut socket| async move {
        // The client's first record, so that the end is no reset.
        let _ = socket.read(&mut [0; 4096]).await;
    })
    .await;
    let error = refused(&authority, gone).await;
    assert!(matches!(error, ConnectError::Network(_)), "{error:?}");
}

#[tokio::test]
async fn a_session_that_is_cut_has_vanished() {
    let authority = Authority::new("a friend");
    let acceptor = authority.issue(&["127.0.0.1"]).acceptor(&[]);
    let address = server(move |socket| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(socket).await.expect("a session");
            let mut socket = accept_async(stream).await.expect("a handshake");
            socket.send(Message::text("last words")).await.expect("the client reads");
            // Neither a close frame nor TLS's own end.
            let (tcp, _) = socket.get_mut().get_mut();
            tcp.shutdown().await.expect("open");
            let _ = tcp.read_to_end(&mut Vec::new()).await;
        }
    })
    .await;
    let mut client =
        dial(&format!("wss://{address}/"), trusting(authority.roots())).await.expect("a handshake");
    assert_eq!(within("a message", client.read_message()).await, Some(Message::text("last words")));
    assert_eq!(within("the end", client.read_message()).await, None);
    assert_eq!((client.close_frame(), client.close_cause()), (None, Some(CloseCause::Vanished)));
}
