//! The crate's own client against servers that are not ours: what they do wrong, it tells, and nothing of it hurts. What it does
//! right is seen wherever another story uses it, and by the Autobahn|Testsuite.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::Request;
use waterspout::client::{
    self, ClientConnection, ConnectError, ConnectOptions, Event, Message, Step, WriteError,
};
use waterspout::connection::close::CloseCause;
use waterspout::connection::compression::Settings;
use waterspout_tests::frames::Frame;
use waterspout_tests::{Guest, TestHost, within};

/// A server for one connection: it reads the request, and then does with the socket and the accept key what it is told.
pub(crate) async fn server<F: Future<Output = ()> + Send>(
    then: impl FnOnce(TcpStream, String) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(socket.read_buf(&mut request).await.expect("a request") > 0);
        }
        let request = String::from_utf8(request).expect("text");
        let key = request.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.to_owned())
        });
        then(socket, derive_accept_key(key.expect("a key").as_bytes())).await;
    });
    address
}

pub(crate) fn switching(accept_key: &str, more: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept_key}\r\n{more}\r\n"
    )
    .into_bytes()
}

/// A server that shakes hands, sends these bytes in the same packet, and passes on what the client sends until it ends.
pub(crate) async fn sending(bytes: Vec<u8>) -> (SocketAddr, tokio::sync::oneshot::Receiver<Vec<u8>>) {
    let (heard, hearing) = tokio::sync::oneshot::channel();
    let address = server(async move |mut socket, accept_key| {
        socket.write_all(&[switching(&accept_key, ""), bytes].concat()).await.expect("the client reads");
        let mut answer = Vec::new();
        // A reset ends it, too.
        let _ = socket.read_to_end(&mut answer).await;
        let _ = heard.send(answer);
    })
    .await;
    (address, hearing)
}

async fn dial(address: SocketAddr, options: ConnectOptions) -> Result<ClientConnection, ConnectError> {
    let request = Request::get(format!("ws://{address}/chat")).body(()).expect("a request");
    within("an answer", client::connect(request, options)).await
}

/// The code that a client's close frame holds.
pub(crate) fn close_code(sent: &[u8]) -> u16 {
    let [first, second, mask @ ..] = sent else { panic!("no frame: {sent:x?}") };
    assert_eq!((*first, second & 0x80), (0x88, 0x80), "a masked close frame: {sent:x?}");
    u16::from_be_bytes([mask[4] ^ mask[0], mask[5] ^ mask[1]])
}

#[tokio::test]
async fn an_answer_that_never_comes_is_a_timeout() {
    let address = server(|socket, _| async move {
        std::future::pending::<()>().await;
        drop(socket);
    })
    .await;
    let options = ConnectOptions { connect_timeout: Duration::from_millis(50), ..ConnectOptions::default() };
    let error = dial(address, options).await.expect_err("no answer");
    assert!(matches!(error, ConnectError::Timeout(_)), "{error}");
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_a_timeout() {
    let address = server(|mut socket, _| async move {
        let mut pulse = tokio::time::interval(Duration::from_millis(1));
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nx-slow: ".iter().chain(std::iter::repeat(&b'a'));
        for byte in answer {
            pulse.tick().await;
            if socket.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
    })
    .await;
    let options = ConnectOptions { connect_timeout: Duration::from_millis(50), ..ConnectOptions::default() };
    let error = dial(address, options).await.expect_err("no answer");
    assert!(matches!(error, ConnectError::Timeout(_)), "{error}");
}

#[tokio::test]
async fn interim_answers_without_end_are_no_answer() {
    let address = server(|mut socket, _| async move {
        while socket.write_all(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)).await.is_ok() {}
    })
    .await;
    let error = dial(address, ConnectOptions::default()).await.expect_err("no answer");
    assert!(matches!(error, ConnectError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_ends_in_the_middle_of_its_answer_is_a_network_error() {
    let whole = String::from_utf8(switching("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "")).expect("text");
    for end in [0, 5, 12, 40, whole.len() - 2] {
        let part = whole[..end].to_owned();
        let address = server(|mut socket, _| async move {
            let _ = socket.write_all(part.as_bytes()).await;
        })
        .await;
        let error = dial(address, ConnectOptions::default()).await.expect_err("cut");
        assert!(matches!(error, ConnectError::Network(_)), "{end}: {error}");
    }
}

#[tokio::test]
async fn a_page_and_a_redirect_are_told_with_what_a_person_wants_to_know() {
    for (answer, status, said, body) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            200,
            "the server answered with status 200 OK",
            "hello",
        ),
        (
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: wss://a.example/\r\nContent-Length: 0\r\n\r\n",
            307,
            "the server answered with status 307 Temporary Redirect to wss://a.example/, and redirects are not followed",
            "",
        ),
        // Its end is the connection's, or never comes.
        ("HTTP/1.1 403 Forbidden\r\n\r\nno", 403, "the server answered with status 403 Forbidden", "no"),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno",
            403,
            "the server answered with status 403 Forbidden",
            "no",
        ),
    ] {
        let address = server(move |mut socket, _| async move {
            let _ = socket.write_all(answer.as_bytes()).await;
        })
        .await;
        let error = dial(address, ConnectOptions::default()).await.expect_err("no WebSocket");
        assert_eq!(error.to_string(), said);
        let ConnectError::Http(answer) = error else { panic!("{error:?}") };
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (status, body.as_bytes()));
    }
}

#[tokio::test]
async fn of_a_page_without_end_8_kib_are_kept() {
    let address = server(|mut socket, _| async move {
        let _ = socket.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
        while socket.write_all(&[b'x'; 10_000]).await.is_ok() {}
    })
    .await;
    let error = dial(address, ConnectOptions::default()).await.expect_err("no WebSocket");
    let ConnectError::Http(answer) = error else { panic!("{error:?}") };
    assert_eq!(answer.body().len(), 8 << 10);
}

#[tokio::test]
async fn a_page_that_stalls_is_told_without_the_rest() {
    let address = server(|mut socket, _| async move {
        let _ = socket.write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\nsorry").await;
        // Until the client has gone.
        let _ = socket.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let error = dial(address, ConnectOptions::default()).await.expect_err("no WebSocket");
    let ConnectError::Http(answer) = error else { panic!("{error:?}") };
    assert_eq!(&answer.body()[..], b"sorry");
}

#[tokio::test]
async fn a_101_has_no_body_whatever_it_says_of_one() {
    for more in ["Transfer-Encoding: chunked\r\n", "Content-Length: 3\r\n"] {
        let address = server(move |mut socket, key| async move {
            let answer = [switching(&key, more), Frame::text("hello").unmasked()].concat();
            socket.write_all(&answer).await.expect("the client reads");
            let _ = socket.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let mut client = dial(address, ConnectOptions::default()).await.expect(more);
        assert_eq!(within("a message", client.read_message()).await, Some(Message::text("hello")));
    }
    // A page behind it is no frame.
    let (address, hearing) = sending(b"<!doctype html>".to_vec()).await;
    let mut client = dial(address, ConnectOptions::default()).await.expect("a handshake");
    assert_eq!(within("the end", client.read_message()).await, None);
    assert_eq!(client.close_cause(), Some(CloseCause::ProtocolError));
    assert_eq!(close_code(&within("what the client sent", hearing).await.expect("the server ends")), 1002);
}

#[tokio::test]
async fn a_header_whose_name_never_ends_is_a_protocol_error() {
    for line in
        ["HTTP/1.1 101 ", "HTTP/1.1 101 Switching Protocols\r\n", "HTTP/1.1 101 Switching Protocols\r\nx: "]
    {
        let address = server(move |mut socket, _| async move {
            let _ = socket.write_all(line.as_bytes()).await;
            while socket.write_all(&[b'x'; 1000]).await.is_ok() {}
        })
        .await;
        let error = dial(address, ConnectOptions::default()).await.expect_err("too much");
        assert!(matches!(error, ConnectError::Protocol(_)), "{line}: {error}");
    }
}

#[tokio::test]
async fn headers_without_end_are_a_protocol_error() {
    let address = server(|mut socket, _| async move {
        let _ = socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await;
        while socket.write_all(b"x-more: and more and more and more\r\n").await.is_ok() {}
    })
    .await;
    let error = dial(address, ConnectOptions::default()).await.expect_err("too much");
    assert!(matches!(error, ConnectError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error() {
    let address = server(|mut socket, _| async move {
        let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
    })
    .await;
    let error = dial(address, ConnectOptions::default()).await.expect_err("no HTTP");
    assert!(matches!(error, ConnectError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn an_accept_key_of_another_request_is_a_protocol_error() {
    let address = server(|mut socket, _| async move {
        let _ = socket.write_all(&switching("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "")).await;
    })
    .await;
    let error = dial(address, ConnectOptions::default()).await.expect_err("a wrong key");
    assert!(matches!(error, ConnectError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn an_extension_or_a_parameter_that_was_not_offered_is_a_protocol_error() {
    for (compression, answer) in [
        (None, "permessage-deflate"),
        (Some(Settings::default()), "x-unknown"),
        (Some(Settings::default()), "permessage-deflate; client_max_window_bits=8"),
        (Some(Settings::default()), "permessage-deflate, permessage-deflate"),
    ] {
        let address = server(move |mut socket, key| async move {
            let extensions = format!("Sec-WebSocket-Extensions: {answer}\r\n");
            let _ = socket.write_all(&switching(&key, &extensions)).await;
        })
        .await;
        let options = ConnectOptions { compression, ..ConnectOptions::default() };
        let error = dial(address, options).await.expect_err(answer);
        assert!(matches!(error, ConnectError::Protocol(_)), "{answer}: {error}");
    }
}

#[tokio::test]
async fn messages_in_the_packet_of_the_answer_are_read() {
    let (address, _) =
        sending([Frame::text("one").unmasked(), Frame::binary("two").unmasked()].concat()).await;
    let mut client = dial(address, ConnectOptions::default()).await.expect("a handshake");
    assert_eq!(within("a message", client.read_message()).await, Some(Message::text("one")));
    assert_eq!(within("a message", client.read_message()).await, Some(Message::binary("two")));
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_told_so_with_its_code() {
    let endless = [0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff].to_vec();
    for (bytes, code, cause) in [
        (Frame::text("masked").masked(), 1002, CloseCause::ProtocolError),
        (Frame::text("compressed?").with_rsv(4).unmasked(), 1002, CloseCause::ProtocolError),
        (Frame::text([0xff]).unmasked(), 1007, CloseCause::InvalidUtf8),
        (Frame::binary(vec![0; 101]).unmasked(), 1009, CloseCause::MessageTooBig),
        (endless, 1009, CloseCause::MessageTooBig),
    ] {
        let (address, hearing) = sending(bytes.clone()).await;
        let options = ConnectOptions { max_message_bytes: 100, ..ConnectOptions::default() };
        let mut client = dial(address, options).await.expect("a handshake");
        assert_eq!(within("the end", client.read_message()).await, None);
        assert_eq!((client.close_frame(), client.close_cause()), (None, Some(cause)));
        assert_eq!(client.write_message(Message::text("too late")).await, Err(WriteError::Closed));
        let heard = within("what the client sent", hearing).await.expect("the server ends");
        assert_eq!(close_code(&heard), code, "{bytes:x?}");
    }
}

#[tokio::test]
async fn a_server_that_vanishes_leaves_no_close_frame() {
    let address = server(|mut socket, accept_key| async move {
        let _ = socket.write_all(&switching(&accept_key, "")).await;
    })
    .await;
    let mut client = dial(address, ConnectOptions::default()).await.expect("a handshake");
    assert_eq!(within("the end", client.read_message()).await, None);
    assert_eq!(client.close_frame(), None);
}

#[tokio::test]
async fn a_server_that_does_not_answer_a_close_is_given_up() {
    let (address, _hearing) = sending(Vec::new()).await;
    let options = ConnectOptions { close_timeout: Duration::from_millis(50), ..ConnectOptions::default() };
    let mut client = dial(address, options).await.expect("a handshake");
    within("the time-out", client.close(Some(1000), None)).await.expect("a valid code");
    assert_eq!(client.close_frame(), None);
    assert_eq!(
        client.close(Some(999), None).await,
        Err(WriteError::Invalid(
            "close code 999 may not be sent: use 1000 to 4999 except 1005, 1006 and 1015".into(),
        ))
    );
}

#[tokio::test]
async fn a_server_that_goes_on_sending_does_not_put_off_the_end() {
    let address = server(|mut socket, accept_key| async move {
        let _ = socket.write_all(&switching(&accept_key, "")).await;
        let messages = Frame::text("").unmasked().repeat(1000);
        while socket.write_all(&messages).await.is_ok() {}
    })
    .await;
    let options = ConnectOptions { close_timeout: Duration::from_millis(50), ..ConnectOptions::default() };
    let mut client = dial(address, options).await.expect("a handshake");
    within("the time-out", client.close(None, None)).await.expect("valid");
    assert_eq!(client.close_frame(), None);
}

#[tokio::test]
async fn a_close_waits_for_what_is_queued_as_long_as_the_server_takes_some_of_it() {
    let host = TestHost::new(Guest::Echo).start().await;
    let mut client = host.dial("/websocket", ConnectOptions::default()).await;
    for _ in 0..100 {
        client.queue_message(Message::binary(vec![7; 100 << 10])).expect("room");
    }
    within("the closing handshake", client.close(Some(1000), Some("bye"))).await.expect("valid");
    let frame = client.close_frame().expect("it came to the close frame");
    assert_eq!((frame.code, frame.reason.as_str()), (1000, "bye"));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_connection_goes_on() {
    let (address, _hearing) = sending(Frame::text("hello").unmasked()).await;
    let options = ConnectOptions { max_message_bytes: 10, ..ConnectOptions::default() };
    let mut client = dial(address, options).await.expect("a handshake");
    let refused = client.write_message(Message::text("x".repeat(11))).await;
    assert_eq!(refused, Err(WriteError::Limit("max-message-bytes".into())));
    client.write_message(Message::text("x".repeat(10))).await.expect("at the limit");
    assert_eq!(
        client.ping(&[0; 126]).await,
        Err(WriteError::Invalid("a ping has at most 125 bytes, this one has 126".into()))
    );
    assert_eq!(within("a message", client.read_message()).await, Some(Message::text("hello")));
}

#[tokio::test]
async fn who_sends_much_to_an_echo_reads_meanwhile() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a client");
        let mut socket = accept_async(socket).await.expect("a handshake");
        while let Some(Ok(message)) = socket.next().await {
            if !message.is_close() {
                socket.send(message).await.expect("the client reads");
            }
        }
    });
    let mut client = dial(address, ConnectOptions::default()).await.expect("a handshake");
    let message = Message::binary(vec![7; 100 << 10]);
    let (mut sent, mut echoes, mut ended) = (0, 0, false);
    while !ended {
        // More than both sides' queues and sockets hold.
        match within("a step", client.next_step()).await {
            Step::Flushed if sent < 400 => {
                client.queue_message(message.clone()).expect("room");
                sent += 1;
                if sent == 400 {
                    client.queue_close(Some(1000), Some("bye")).expect("valid");
                }
            }
            Step::Flushed => match within("an event", client.next_event()).await {
                Some(event) => {
                    assert_eq!(event, Event::Message(message.clone()));
                    echoes += 1;
                }
                None => ended = true,
            },
            Step::Event(event) => {
                assert_eq!(event, Event::Message(message.clone()));
                echoes += 1;
            }
            Step::Ended => ended = true,
        }
    }
    // What arrives after our close frame has left is not thrown away.
    assert_eq!((sent, echoes), (400, 400));
    assert_eq!(client.close_frame().map(|frame| frame.code), Some(1000));
}
