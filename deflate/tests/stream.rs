//! Stories of a connection: tokio-tungstenite at both ends, a pipe in memory between them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio_tungstenite::WebSocketStream;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::{CloseCode, Data};
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Error, Message};
use tungstenite_deflate::{
    Agreed, Budget, DECOMPRESSOR_BYTES, DeflateError, DeflateStream, Settings, WindowBits, ready_made,
};

const AGREED: Agreed = Agreed {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: WindowBits::MAX,
    client_max_window_bits: WindowBits::MAX,
};
const NO_TAKEOVER: Agreed =
    Agreed { server_no_context_takeover: true, client_no_context_takeover: true, ..AGREED };

/// The longest message.
const MOST: usize = 200_000;

type Socket<S = DuplexStream> = WebSocketStream<DeflateStream<S>>;

async fn websocket<S>(stream: S, role: Role, agreed: &Agreed, settings: &Settings) -> Socket<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    WebSocketStream::from_raw_socket(DeflateStream::new(stream, role, agreed, settings), role, None).await
}

/// A server and a client, `capacity` bytes between them in each direction.
async fn pair(capacity: usize, agreed: &Agreed, settings: &Settings) -> (Socket, Socket) {
    let (ours, theirs) = duplex(capacity);
    (
        websocket(ours, Role::Server, agreed, settings).await,
        websocket(theirs, Role::Client, agreed, settings).await,
    )
}

/// What waits for something that never comes has failed.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("an end within 30 seconds")
}

/// Sends every message back.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: Socket<S>) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        match message? {
            Message::Close(_) => {}
            message => socket.send(message).await?,
        }
    }
    Ok(())
}

/// zlib finds nothing in it.
fn random_bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let random = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    });
    random.take(length).collect()
}

/// Around the lengths at which something changes: the thresholds, a header's forms, a fragment, what is enough for one read.
fn messages_up_to(most: usize) -> impl Iterator<Item = Message> {
    let lengths = [0, 1, 15, 16, 125, 126, 255, 256, 16 << 10, 65_535, 65_536, 200_000];
    lengths.into_iter().filter(move |length| *length <= most).flat_map(|length| {
        [
            Message::binary(random_bytes(length)),
            Message::binary(vec![0; length]),
            Message::text("Übung macht den Meister. ".repeat(length / 26)),
        ]
    })
}

/// What one end writes to the wire for a message.
async fn wire_of(message: Message, role: Role, agreed: &Agreed) -> Vec<u8> {
    let wire = tokio::io::join(tokio::io::empty(), Vec::new());
    let mut socket = websocket(wire, role, agreed, &Settings::default()).await;
    socket.send(message).await.expect("a vector takes everything");
    socket.get_ref().get_ref().writer().clone()
}

/// A socket from which only `wire` comes.
async fn reading<'a>(
    wire: &'a [u8],
    agreed: &Agreed,
    settings: &Settings,
) -> Socket<impl AsyncRead + AsyncWrite + Unpin + 'a> {
    websocket(tokio::io::join(wire, tokio::io::sink()), Role::Client, agreed, settings).await
}

fn error_of(message: Option<Result<Message, Error>>) -> Option<DeflateError> {
    match message {
        Some(Err(Error::Io(error))) => DeflateError::in_io_error(&error),
        other => panic!("not an I/O error: {other:?}"),
    }
}

#[tokio::test]
async fn messages_of_every_size_come_back_through_pipes_of_every_size() {
    for agreed in [AGREED, NO_TAKEOVER] {
        // A byte at a time takes its time.
        for (capacity, most) in [(1, 16 << 10), (7, 65_536), (64, MOST), (1 << 20, MOST)] {
            let (server, mut client) = pair(capacity, &agreed, &Settings::default()).await;
            let server = tokio::spawn(echo(server));
            for message in messages_up_to(most) {
                within(client.send(message.clone())).await.expect("sent");
                let answer = within(client.next()).await.expect("an answer").expect("a message");
                assert!(answer == message, "{} bytes through {capacity}", message.len());
            }
            within(client.close(None)).await.expect("closed");
            assert!(matches!(within(client.next()).await, Some(Ok(Message::Close(None)))));
            assert!(within(client.next()).await.is_none());
            within(server).await.expect("no panic").expect("a clean end");
        }
    }
}

/// Takes and gives one byte at a time, and that only when asked twice.
struct Trickle<S> {
    socket: S,
    asked_to_read: bool,
    asked_to_write: bool,
}

impl<S> Trickle<S> {
    fn new(socket: S) -> Self {
        Self { socket, asked_to_read: false, asked_to_write: false }
    }

    fn is_first(asked: &mut bool, cx: &mut Context<'_>) -> bool {
        *asked = !*asked;
        if *asked {
            cx.waker().wake_by_ref();
        }
        *asked
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Trickle<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if Self::is_first(&mut self.asked_to_read, cx) {
            return Poll::Pending;
        }
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut byte))?;
        buffer.put_slice(byte.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Trickle<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if Self::is_first(&mut self.asked_to_write, cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_write(cx, &bytes[..bytes.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_socket_may_take_and_give_one_byte_at_a_time() {
    let (ours, theirs) = duplex(1 << 20);
    let settings = Settings::default();
    let server = websocket(Trickle::new(ours), Role::Server, &AGREED, &settings).await;
    let mut client = websocket(Trickle::new(theirs), Role::Client, &AGREED, &settings).await;
    tokio::spawn(echo(server));
    for message in messages_up_to(MOST) {
        within(client.send(message.clone())).await.expect("sent");
        let answer = within(client.next()).await.expect("an answer").expect("a message");
        assert!(answer == message, "{} bytes", message.len());
    }
}

#[tokio::test]
async fn both_sides_may_send_at_the_same_time() {
    let (server, client) = pair(64, &AGREED, &Settings::default()).await;
    tokio::spawn(echo(server));
    let (mut sink, mut stream) = client.split();
    let sender = tokio::spawn(async move {
        for message in messages_up_to(MOST) {
            sink.send(message).await.expect("sent");
        }
        sink
    });
    for message in messages_up_to(MOST) {
        let answer = within(stream.next()).await.expect("an answer").expect("a message");
        assert!(answer == message, "{} bytes", message.len());
    }
    let _sink = sender.await.expect("no panic");
}

/// Polls `future` once and drops it.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn reads_and_flushes_that_are_dropped_lose_nothing() {
    let (mut server, mut client) = pair(7, &AGREED, &Settings::default()).await;
    let message = Message::binary(random_bytes(100_000));
    let mut dropped = 0;
    for _ in 0..2 {
        client.feed(message.clone()).await.expect("fed");
        let mut read = None;
        while read.is_none() {
            // Each is dropped as soon as it waits.
            once(client.flush()).await.transpose().expect("flushed");
            read = once(server.next()).await;
            dropped += 1;
            tokio::task::yield_now().await;
        }
        let read = read.flatten().expect("a message").expect("a message");
        assert!(read == message);
    }
    assert!(dropped > 1_000, "only {dropped} were dropped");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_connection_with_1009_after_what_came_before_it() {
    let limited = Settings { max_message_bytes: 1_000, ..Settings::default() };
    let (ours, theirs) = duplex(1 << 20);
    let mut server = websocket(ours, Role::Server, &AGREED, &limited).await;
    let mut client = websocket(theirs, Role::Client, &AGREED, &Settings::default()).await;
    let at_the_limit = Message::binary(vec![0; 1_000]);
    client.send(at_the_limit.clone()).await.expect("sent");
    client.send(Message::binary(vec![0; 1_001])).await.expect("sent");
    client.send(Message::text("too late")).await.expect("sent");
    let first = within(server.next()).await.expect("a message").expect("at the limit");
    assert_eq!(first, at_the_limit);
    let error = error_of(within(server.next()).await).expect("the layer's");
    assert_eq!(error, DeflateError::MessageTooBig { limit: 1_000 });

    let close = CloseFrame { code: error.close_code().into(), reason: "too big".into() };
    within(server.close(Some(close.clone()))).await.expect("sent");
    let answer = within(client.next()).await.expect("an answer").expect("a message");
    assert_eq!((answer, close.code), (Message::Close(Some(close)), CloseCode::Size));
    // tokio-tungstenite reads no more after an error: what still comes is drained below it until the peer is gone.
    within(client.flush()).await.expect("the peer's close frame");
    drop(client);
    let mut rest = Vec::new();
    within(server.get_mut().read_to_end(&mut rest)).await.expect("thrown away");
    assert_eq!(rest, []);
}

#[tokio::test]
async fn a_peer_in_the_middle_of_a_message_that_is_too_big_can_still_be_told() {
    let limited = Settings { max_message_bytes: 1_000, ..Settings::default() };
    let (ours, theirs) = duplex(64);
    let mut server = websocket(ours, Role::Server, &AGREED, &limited).await;
    let mut client = websocket(theirs, Role::Client, &AGREED, &Settings::default()).await;
    let server = tokio::spawn(async move {
        assert!(error_of(server.next().await).is_some());
        let close = CloseFrame { code: CloseCode::Size, reason: "".into() };
        server.close(Some(close)).await.expect("sent");
        tokio::io::copy(server.get_mut(), &mut tokio::io::sink()).await
    });
    within(client.send(Message::binary(random_bytes(200_000)))).await.expect("sent");
    let answer = within(client.next()).await.expect("an answer").expect("a message");
    assert!(matches!(answer, Message::Close(Some(close)) if close.code == CloseCode::Size));
    drop(client);
    let read = within(server).await.expect("no panic").expect("thrown away");
    assert_eq!(read, 0);
}

#[tokio::test]
async fn what_is_not_deflate_ends_the_connection_with_1007() {
    let mut wire = wire_of(Message::text("fine"), Role::Server, &AGREED).await;
    wire.extend([0xc1, 0x02, 0xff, 0xff]);
    let mut socket = reading(&wire, &AGREED, &Settings::default()).await;
    assert!(matches!(socket.next().await, Some(Ok(message)) if message == Message::text("fine")));
    let error = error_of(socket.next().await).expect("the layer's");
    assert_eq!((error, error.close_code()), (DeflateError::Corrupt, 1007));
}

#[tokio::test]
async fn what_tungstenite_refuses_by_itself_is_still_its_error() {
    for (wire, expected) in [
        (&[0xc9, 0x01, 0x00][..], ProtocolError::NonZeroReservedBits),
        (&[0xa1, 0x01, 0x00], ProtocolError::NonZeroReservedBits),
        (&[0x80, 0x00], ProtocolError::UnexpectedContinueFrame),
        (&[0x83, 0x00], ProtocolError::InvalidOpcode(3)),
        (&[0x41, 0x00, 0x81, 0x00], ProtocolError::ExpectedFragment(Data::Text)),
        (&[0x81, 0x80, 0, 0, 0, 0], ProtocolError::MaskedFrameFromServer),
    ] {
        let mut socket = reading(wire, &AGREED, &Settings::default()).await;
        let read = socket.next().await;
        assert!(
            matches!(&read, Some(Err(Error::Protocol(error))) if *error == expected),
            "{wire:x?}: {read:?} instead of {expected:?}"
        );
    }
}

#[tokio::test]
async fn ready_made_messages_pass_with_takeover_and_without_between_others() {
    for agreed in [AGREED, NO_TAKEOVER] {
        for sender in [Role::Server, Role::Client] {
            let settings = Settings::default();
            let (server, client) = pair(1 << 20, &agreed, &settings).await;
            let (mut from, mut to) = match sender {
                Role::Server => (server, client),
                Role::Client => (client, server),
            };
            let compression = agreed.compression(sender, &settings);
            for message in messages_up_to(MOST) {
                let ready = ready_made(&message, compression);
                assert!(matches!(ready, Message::Frame(_)));
                for sent in [ready.clone(), message.clone(), ready] {
                    let (sent, received) = within(async { tokio::join!(from.send(sent), to.next()) }).await;
                    sent.expect("sent");
                    let received = received.expect("a message").expect("a message");
                    assert!(received == message, "{} bytes from {sender:?}, {agreed:?}", message.len());
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_neither_text_nor_binary_is_not_made_ready() {
    let compression = AGREED.compression(Role::Server, &Settings::default());
    for message in [Message::Ping("a".repeat(100).into()), Message::Pong("".into()), Message::Close(None)] {
        assert_eq!(ready_made(&message, compression), message);
    }
}

#[tokio::test]
async fn bytes_that_were_read_past_the_handshake_come_first() {
    let message = Message::text("a message that is long enough to be compressed, compressed");
    let wire = wire_of(message.clone(), Role::Server, &AGREED).await;
    assert_eq!(wire[0], 0xc1);
    for cut in 0..=wire.len() {
        let (ahead, rest) = wire.split_at(cut);
        let stream = tokio::io::join(rest, tokio::io::sink());
        let stream =
            DeflateStream::new(stream, Role::Client, &AGREED, &Settings::default()).with_read_ahead(ahead);
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        assert_eq!(socket.next().await.expect("a message").expect("a message"), message, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_decompressor_that_was_reserved_is_there_when_nothing_else_is() {
    let message = Message::text("a message that is long enough to be compressed, compressed");
    for agreed in [AGREED, NO_TAKEOVER] {
        let wire = wire_of(
            ready_made(&message, agreed.compression(Role::Server, &Settings::default())),
            Role::Server,
            &agreed,
        )
        .await;
        let wire = wire.repeat(2);
        let budget = Budget::of(DECOMPRESSOR_BYTES);
        let settings = Settings { budget: budget.clone(), ..Settings::default() };
        let reserved = budget.reserve_decompressor().expect("room");

        let mut without = reading(&wire, &agreed, &settings).await;
        let error = error_of(without.next().await).expect("the layer's");
        assert_eq!((error, error.close_code()), (DeflateError::OutOfMemory, 1013));

        let stream = tokio::io::join(&wire[..], tokio::io::sink());
        let stream = DeflateStream::new(stream, Role::Client, &agreed, &settings).with_decompressor(reserved);
        let mut with = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        for _ in 0..2 {
            assert_eq!(with.next().await.expect("a message").expect("a message"), message);
        }
        // What it would send goes uncompressed for want of memory, and the memory comes back with the connection.
        with.send(message.clone()).await.expect("sent");
        assert_eq!(budget.used(), DECOMPRESSOR_BYTES);
        drop(with);
        assert_eq!(budget.used(), 0);
    }
}

#[tokio::test]
async fn a_socket_that_ends_within_a_frame_ends_the_connection() {
    let wire = wire_of(Message::binary(random_bytes(1_000)), Role::Server, &AGREED).await;
    assert_eq!(wire[0], 0xc2);
    for length in 0..wire.len() {
        let mut socket = reading(&wire[..length], &AGREED, &Settings::default()).await;
        assert!(
            matches!(
                socket.next().await,
                Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))
            ),
            "after {length} bytes"
        );
    }
}

/// A client's frame of 126 zeroes.
fn plain_frame() -> Vec<u8> {
    [&[0x82, 0xfe, 0, 126, 0, 0, 0, 0][..], &[0; 126]].concat()
}

#[tokio::test]
async fn what_is_written_waits_for_a_flush_and_is_flushed_by_a_shutdown() {
    let (ours, mut theirs) = duplex(5);
    let mut stream = DeflateStream::new(ours, Role::Client, &AGREED, &Settings::default());
    stream.write_all(&plain_frame()).await.expect("written");
    assert!(once(theirs.read_u8()).await.is_none(), "nothing has been flushed");
    let mut wire = Vec::new();
    let (shut_down, read) =
        within(async { tokio::join!(stream.shutdown(), theirs.read_to_end(&mut wire)) }).await;
    shut_down.expect("shut down");
    read.expect("read");
    let mut server = DeflateStream::new(
        tokio::io::join(&wire[..], tokio::io::sink()),
        Role::Server,
        &AGREED,
        &Settings::default(),
    );
    let mut plain = Vec::new();
    server.read_to_end(&mut plain).await.expect("read");
    assert_eq!((wire[0], plain), (0xc2, plain_frame()));
}

#[tokio::test]
async fn a_broken_socket_is_an_error_of_the_write() {
    let (ours, theirs) = duplex(5);
    drop(theirs);
    let mut stream = DeflateStream::new(ours, Role::Client, &AGREED, &Settings::default());
    stream.write_all(&plain_frame()).await.expect("it waits");
    let error = stream.flush().await.expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

/// How often another task has its turn while `work` is done.
async fn turns_during<F: Future>(work: F) -> (F::Output, usize) {
    let turns = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let turns = turns.clone();
        async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    let output = work.await;
    other.abort();
    (output, turns.load(Ordering::Relaxed))
}

#[test]
fn many_small_writes_pass_the_turn_as_one_large_one_does() {
    let mut stream = DeflateStream::new(
        tokio::io::join(tokio::io::empty(), tokio::io::sink()),
        Role::Server,
        &AGREED,
        &Settings::default(),
    );
    let mut cx = Context::from_waker(Waker::noop());
    // A frame of 50,000 bytes, far under what is taken of a write at once.
    let frame = [&[0x82, 126, 0xc3, 0x50][..], &[b'a'; 50_000]].concat();
    let mut passed = 0;
    for _ in 0..20 {
        let mut rest = &frame[..];
        while !rest.is_empty() {
            match Pin::new(&mut stream).poll_write(&mut cx, rest) {
                Poll::Ready(taken) => rest = &rest[taken.expect("a sink takes everything")..],
                Poll::Pending => passed += 1,
            }
        }
    }
    assert!(passed >= 3, "{passed} turns in a million bytes");
}

#[tokio::test]
async fn other_tasks_have_their_turn_while_a_large_message_is_compressed_or_inflated() {
    let message = Message::binary(vec![0; 8 << 20]);
    let (wire, turns) = turns_during(wire_of(message.clone(), Role::Server, &AGREED)).await;
    assert!(turns >= 30, "{turns} turns in 8 MiB");
    let mut socket = reading(&wire, &AGREED, &Settings::default()).await;
    let (read, turns) = turns_during(socket.next()).await;
    assert!(read.expect("a message").expect("a message") == message);
    assert!(turns >= 30, "{turns} turns in 8 MiB");
}
