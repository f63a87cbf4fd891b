//! One side of the loop: the socket with its WebSocket framing. What it reads are [`Arrival`]s; what it writes comes from the
//! connection's [`Link`].
//!
//! It flushes once per wake-up rather than once per message, and hands tungstenite no more than one write buffer at a time:
//! what is not yet on its way stays in the queue, where it is bounded and counted.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::connection::close::{CloseCause, CloseFrame};
use crate::connection::compression::Reservation;
use crate::connection::inbox::Arrival;
use crate::connection::intake::Intake;
use crate::connection::link::{Closing, Link, Unsent};
use crate::connection::socket::{Socket, Transport};
use crate::limits::Limits;
use crate::limits::throttle::Throttle;
use crate::units::Unit;

/// tungstenite's buffers. Its own defaults, 128 KiB each, made a native echo 3 times slower; the read buffer is there as long as
/// the connection is.
const READ_BUFFER: usize = 4 << 10;
const WRITE_BUFFER: usize = 4 << 10;
/// Both.
#[cfg(test)]
pub(crate) const BUFFER_BYTES: usize = READ_BUFFER + WRITE_BUFFER;
/// Room beside the largest message for frame headers and control frames: without it tungstenite panics or refuses for ever.
const WRITE_SLACK: usize = 16 << 10;

/// A frame's header (RFC 6455 section 5.2): two bytes, a length of eight, and a client's masking key.
const MAX_HEADER_BYTES: usize = 14;
/// A control frame's, without a mask.
const MIN_HEADER_BYTES: usize = 2;
/// Pongs that wait for a peer that does not read.
const MAX_PONG_BYTES: usize = WRITE_SLACK / 2;
/// The payload of a control frame (RFC 6455 section 5.5), which is no message.
const MAX_CONTROL_BYTES: usize = 125;

/// See the module.
pub(crate) struct Wire<S> {
    /// None once the peer is gone: then the socket is closed, whoever still holds the connection.
    stream: Option<WebSocketStream<Intake<S>>>,
    role: Role,
    /// Taken from the link, not yet given to tungstenite.
    outgoing: VecDeque<Message>,
    /// What was given to tungstenite since everything was last flushed.
    fed: Unsent,
    needs_flush: bool,
    /// The last flush waits for the socket: nothing is fed behind it.
    blocked: bool,
    /// A write has failed: what is given to tungstenite would only pile up in its buffer.
    broken: bool,
    /// Bytes of pongs that tungstenite has made since everything was last flushed.
    pong_bytes: usize,
    /// Messages that have passed, in either direction.
    messages: u64,
    /// Pongs that have come.
    pongs: u64,
    /// How many messages, pings and pongs may come.
    pace: Throttle,
    /// Why we sent a close frame, or will when `outgoing` is empty.
    closing: Option<Closing>,
    close_sent: Option<CloseCause>,
    /// See [`Late`].
    late: Option<Late>,
    ended: Option<Ended>,
    /// Nobody wants what the peer still sends.
    discards: bool,
    /// The peer's side has been read to its end, behind its close frame.
    read_to_end: bool,
}

/// The peer has closed, and what came before its close frame has not been dealt with. tungstenite sends nothing behind a peer's close
/// frame but its answer; so what is written until then is framed here, and leaves before that (RFC 6455 section 5.5.1 lets an endpoint
/// finish first). Lost is still what a peer that closes has not taken so far: what tungstenite holds cannot be followed. A client's frames
/// would need masks; it does without.
#[derive(Debug, Default)]
struct Late {
    frames: Vec<u8>,
    sent: usize,
}

/// How the reading side ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) cause: CloseCause,
    /// The peer's close frame.
    pub(crate) frame: Option<CloseFrame>,
}

impl<S: Socket> Wire<S> {
    /// `read_ahead` are bytes that were read past the handshake and have not passed through `socket`; a copy, so that hyper's
    /// buffer can go.
    pub(crate) async fn new(socket: S, read_ahead: &[u8], role: Role, limits: &Limits) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(limits.max_queue_bytes.saturating_add(WRITE_BUFFER + WRITE_SLACK))
            .max_message_size(Some(limits.max_message_bytes))
            .max_frame_size(Some(limits.max_message_bytes.max(MAX_CONTROL_BYTES)));
        let socket = Intake::new(socket, read_ahead.len(), Reservation::default());
        let stream =
            WebSocketStream::from_partially_read(socket, read_ahead.to_vec(), role, Some(config)).await;
        let messages_per_second =
            Some(limits.max_messages_per_second).filter(|count| *count != u32::unlimited());
        Self {
            stream: Some(stream),
            role,
            outgoing: VecDeque::new(),
            fed: Unsent::default(),
            needs_flush: false,
            blocked: false,
            broken: false,
            pong_bytes: 0,
            messages: 0,
            pongs: 0,
            pace: Throttle::new(messages_per_second.map_or(u64::MAX, u64::from)),
            closing: None,
            close_sent: None,
            late: None,
            ended: None,
            discards: false,
            read_to_end: false,
        }
    }

    /// What the peer's messages take of somebody's memory while they are put together and not dealt with; without this of nobody's.
    pub(crate) fn with_memory(mut self, memory: Reservation) -> Self {
        if let Some(stream) = &mut self.stream {
            stream.get_mut().set_memory(memory);
        }
        self
    }

    /// So many bytes of what has arrived have not been dealt with.
    pub(crate) fn hold(&mut self, bytes: usize) {
        if let Some(stream) = &mut self.stream {
            stream.get_mut().hold(bytes);
        }
    }

    /// Nothing is read for a moment, because the peer has sent more than it may.
    pub(crate) fn is_paused(&self) -> bool {
        self.pace.is_paused()
            || self.stream.as_ref().is_some_and(|stream| stream.get_ref().socket().counted().is_paused())
    }

    /// The reading side has ended, and how.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// A write has failed: nothing more will leave.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The peer is gone, and the socket closed: nothing can be written any more, and nobody would answer.
    pub(crate) fn is_gone(&self) -> bool {
        self.stream.is_none()
    }

    /// Nobody is to be told any more of what the peer sends or has sent: it is gone, it broke the protocol, or the host has ended the
    /// connection. What came before a close frame of the peer's own is dealt with, and so is what comes before its answer to the
    /// handler's close, or to a server's that goes away.
    pub(crate) fn is_over(&self) -> bool {
        let asked_for = self.close_sent.or_else(|| self.closing.as_ref().map(Closing::cause));
        self.is_gone()
            || self.ended.as_ref().is_some_and(|ended| ended.frame.is_none())
            || asked_for.is_some_and(CloseCause::ends_at_once)
    }

    /// From now on what the peer sends is thrown away, up to its end. True if it was not before.
    pub(crate) fn discard_arrivals(&mut self) -> bool {
        if std::mem::replace(&mut self.discards, true) {
            return false;
        }
        // Nobody is to be protected from it, and the peer's close is to be found.
        self.pace.lift();
        if let Some(stream) = &mut self.stream {
            let socket = stream.get_mut().socket_mut();
            socket.skip_messages();
            if let Some(gate) = socket.counted_mut().gate() {
                gate.lift();
            }
        }
        true
    }

    /// Our close frame is on its way, or waits behind what is queued; the peer's is awaited.
    pub(crate) fn awaits_close(&self) -> bool {
        (self.closing.is_some() || self.close_sent.is_some()) && self.ended.is_none()
    }

    /// What has been flushed waits for a peer that does not read.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Messages that have passed, in either direction.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Pongs that have come, asked for or not.
    pub(crate) fn pongs(&self) -> u64 {
        self.pongs
    }

    /// Bytes that have left, as they are on the wire: tells a slow peer from one that takes nothing.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.stream.as_ref().map_or(0, |stream| stream.get_ref().socket().written_bytes())
    }

    /// [`Wire::poll_read`] for who has not dealt with what came before: if the peer closes now, its answers still leave, unless the peer
    /// does not even take what was written before them.
    pub(crate) fn poll_read_ahead(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<Option<Arrival>> {
        // What tungstenite holds can only leave behind its answer to a close frame.
        let holds_nothing = self.poll_write(cx, link).is_ready();
        self.poll_frames(cx, link, holds_nothing)
    }

    /// The next thing that the peer sent; none when it will send nothing more, and [`Wire::ended`] says why.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<Option<Arrival>> {
        self.poll_frames(cx, link, false)
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>, link: &Link, ahead: bool) -> Poll<Option<Arrival>> {
        while self.ended.is_none() {
            if self.pong_bytes >= MAX_PONG_BYTES {
                // A peer that pings and does not read: it is not read either.
                ready!(self.poll_flush(cx, link));
            }
            ready!(self.pace.poll(cx));
            let Some(stream) = &mut self.stream else { break };
            match ready!(Pin::new(&mut *stream).poll_next(cx)) {
                Some(Ok(Message::Close(frame))) => {
                    // tungstenite has queued the answer.
                    self.needs_flush = true;
                    // A client takes it for what it says: it is also what such a server answers to a code of ours.
                    if self.role == Role::Server && is_violation(frame.as_ref()) {
                        // A close frame all the same.
                        link.refuse_writes();
                        self.end(link, CloseCause::ProtocolError, None);
                    } else {
                        let cause = self.close_sent.unwrap_or(CloseCause::PeerClosed);
                        if ahead
                            && self.role == Role::Server
                            && self.close_sent.is_none()
                            && !self.is_broken()
                        {
                            self.late = Some(Late::default());
                        }
                        self.end(link, cause, Some(CloseFrame::from_wire(frame)));
                    }
                }
                Some(Ok(message)) => {
                    self.pace.take(1);
                    let intake = stream.get_mut();
                    match message {
                        Message::Ping(_) => {
                            intake.not_of_a_message(MIN_HEADER_BYTES + message.len());
                            // tungstenite has queued the pong.
                            self.needs_flush = true;
                            self.pong_bytes += message.len() + MAX_HEADER_BYTES;
                        }
                        Message::Pong(_) => {
                            intake.not_of_a_message(MIN_HEADER_BYTES + message.len());
                            self.pongs += 1;
                        }
                        _ => {
                            intake.complete();
                            self.messages += 1;
                            link.traffic.received.count(message.len());
                        }
                    }
                    if !self.discards
                        && let Some(arrival) = Arrival::of(message)
                    {
                        return Poll::Ready(Some(arrival));
                    }
                }
                Some(Err(error)) => self.fail(link, CloseCause::from_wire(&error), &error),
                None => self.give_up(link),
            }
        }
        Poll::Ready(None)
    }

    fn fail(&mut self, link: &Link, cause: CloseCause, error: &tungstenite::Error) {
        if cause == CloseCause::Vanished {
            self.give_up(link);
        } else {
            tracing::debug!(connection = %link.id(), %error, "the peer is read no further");
            self.end(link, cause, None);
        }
    }

    /// For who does not read, which would tell: gives a peer up to which nothing can be written, or that has reset the connection.
    pub(crate) fn look_without_reading(&mut self, link: &Link) {
        let reset =
            |stream: &WebSocketStream<Intake<S>>| stream.get_ref().socket().counted().transport().is_reset();
        if self.broken || self.stream.as_ref().is_some_and(reset) {
            self.give_up(link);
        }
    }

    /// The peer is gone, or has not answered our close frame in time.
    pub(crate) fn give_up(&mut self, link: &Link) {
        let asked_for = self.closing.as_ref().map(Closing::cause);
        self.drop_peer(link, self.close_sent.or(asked_for).unwrap_or(CloseCause::Vanished));
    }

    /// Ends without a close frame, and closes the socket.
    pub(crate) fn drop_peer(&mut self, link: &Link, cause: CloseCause) {
        self.stream = None;
        self.late = None;
        self.broken = true;
        let ended = self.ended.take();
        let frame = ended.as_ref().and_then(|ended| ended.frame.clone());
        self.end(link, ended.map_or(cause, |ended| ended.cause), frame);
    }

    fn end(&mut self, link: &Link, cause: CloseCause, frame: Option<CloseFrame>) {
        link.note_ended();
        // Behind the peer's close frame tungstenite sends nothing but its answer; to a peer that is gone nothing can be sent at all. Who
        // broke the protocol still gets the answers to what came before.
        if self.is_gone() || (frame.is_some() && self.late.is_none()) {
            link.refuse_writes();
            link.discard_queue();
            self.outgoing.clear();
        }
        self.ended = Some(Ended { cause, frame });
    }

    /// For who deals with what came before the peer's close frame: whether the peer is still there for the answers. Who ends its own side
    /// only (FIN) is; who resets the connection is gone.
    pub(crate) fn look_behind_close(&mut self, cx: &mut Context<'_>, link: &Link) {
        let Some(Ended { cause, frame: Some(_) }) = self.ended else { return };
        if self.discards {
            // There will be no answers: it ends here.
            let ends = self.poll_write(cx, link).is_ready();
            if ends
                && let Some(stream) = &mut self.stream
                && Pin::new(stream.get_mut()).poll_shutdown(cx).is_ready()
            {
                self.drop_peer(link, cause);
            }
            return;
        }
        if let Some(stream) = self.stream.as_mut().filter(|_| !self.read_to_end)
            && let Poll::Ready(end) = poll_discard(Pin::new(stream.get_mut().socket_mut().counted_mut()), cx)
        {
            self.read_to_end = true;
            if end.is_err() {
                self.drop_peer(link, cause);
            }
        }
    }

    /// Writes what the link has and flushes; ready when nothing is left, or nothing can be written any more.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<()> {
        ready!(self.poll_feed(cx, link));
        if self.needs_flush { self.poll_flush(cx, link) } else { Poll::Ready(()) }
    }

    /// Hands what the link has to tungstenite, without a flush unless its buffer is full. Pending: the rest waits for the socket,
    /// which wakes the task.
    pub(crate) fn poll_feed(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<()> {
        let taken = link.take(&mut self.outgoing);
        if let Some(nodelay) = taken.nodelay {
            // Only fails on a socket that is gone, which the next read tells.
            let _ = self.stream.as_ref().map(|stream| stream.get_ref().socket().set_nodelay(nodelay));
        }
        if taken.closing.is_some() {
            self.closing = taken.closing;
        }
        loop {
            if self.blocked || self.fed.bytes + self.fed.messages * MAX_HEADER_BYTES >= WRITE_BUFFER {
                ready!(self.poll_flush(cx, link));
            }
            if let Some(message) = self.outgoing.pop_front() {
                self.fed.add(&message);
                if !self.broken && !message.is_ping() {
                    self.messages += 1;
                    link.traffic.sent.count(message.len());
                }
                self.feed(message);
            } else if let Some(closing) = self.closing.take() {
                self.send_close(closing);
            } else {
                return Poll::Ready(());
            }
        }
    }

    /// A ping of the host's own: ahead of what is queued, and in nobody's count.
    pub(crate) fn ping(&mut self) {
        self.feed(Message::Ping(Bytes::new()));
    }

    fn feed(&mut self, message: Message) {
        self.needs_flush = true;
        if self.broken {
            return;
        }
        if let Some(late) = &mut self.late {
            return late.add(message);
        }
        let Some(stream) = &mut self.stream else { return };
        let sent = Pin::new(stream).start_send(message);
        // Any other error is a socket that is gone: reading tells, with the cause.
        debug_assert!(
            !matches!(sent, Err(tungstenite::Error::WriteBufferFull(_))),
            "no more is fed than fits beside the pongs"
        );
    }

    fn send_close(&mut self, closing: Closing) {
        let cause = closing.cause();
        let frame = match closing {
            Closing::Handler(request) | Closing::Operator(request) => request.to_wire(),
            Closing::Host(cause) => cause.to_wire(),
        };
        // The answer to the peer's own close frame is on its way.
        if self.close_sent.is_none() && self.late.is_none() {
            self.close_sent = Some(cause);
            self.feed(Message::Close(frame));
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, link: &Link) -> Poll<()> {
        if !self.broken
            && let Some(stream) = &mut self.stream
        {
            let flushed = match &mut self.late {
                None => Pin::new(stream).poll_flush(cx).map(|flushed| flushed.is_ok()),
                Some(late) => late.poll_flush(stream.get_mut(), cx).map(|flushed| flushed.is_ok()),
            };
            self.blocked = flushed.is_pending();
            // Nothing more will leave: for the queue it is the same as having left. Reading tells why.
            self.broken = !ready!(flushed);
        }
        self.pong_bytes = 0;
        self.needs_flush = false;
        if self.fed != Unsent::default() {
            link.settle(std::mem::take(&mut self.fed));
        }
        Poll::Ready(())
    }

    /// Ends the connection in an orderly way: sends `cause`'s close frame if none was sent, waits for the peer's answer, and
    /// takes in what is still on its way, so that the close frame is not lost to a reset. Takes at most `timeout`.
    pub(crate) async fn finish(mut self, cause: CloseCause, link: &Link, timeout: Duration) {
        let _ = tokio::time::timeout(timeout, async {
            self.discard_arrivals();
            link.refuse_writes();
            std::future::poll_fn(|cx| self.poll_write(cx, link)).await;
            if cause.to_wire().is_some() {
                self.send_close(Closing::Host(cause));
            }
            std::future::poll_fn(|cx| self.poll_write(cx, link)).await;
            while self.awaits_close() {
                let read = std::future::poll_fn(|cx| self.poll_read(cx, link)).await;
                if read.is_none() {
                    break;
                }
            }
            // Now the answer to the peer's close frame.
            self.needs_flush |= self.late.take().is_some();
            let answered = matches!(self.ended, Some(Ended { frame: Some(_), .. }));
            std::future::poll_fn(|cx| self.poll_write(cx, link)).await;
            let Some(stream) = &mut self.stream else { return };
            let socket = stream.get_mut().socket_mut();
            if answered && self.role == Role::Client {
                // It is the server that ends the connection (RFC 6455 section 7.1.1).
                let transport = socket.counted_mut();
                let _ = std::future::poll_fn(|cx| poll_discard(Pin::new(&mut *transport), cx)).await;
            }
            let _ = socket.shutdown().await;
            if !answered {
                // Nobody interprets it any more: not through a layer that would.
                let transport = socket.counted_mut();
                let _ = std::future::poll_fn(|cx| poll_discard(Pin::new(&mut *transport), cx)).await;
            }
        })
        .await;
    }
}

impl Late {
    fn add(&mut self, message: Message) {
        let frame = match message {
            Message::Text(text) => Frame::message(Bytes::from(text), OpCode::Data(Data::Text), true),
            Message::Binary(bytes) => Frame::message(bytes, OpCode::Data(Data::Binary), true),
            Message::Ping(data) => Frame::ping(data),
            Message::Pong(data) => Frame::pong(data),
            Message::Frame(frame) => frame,
            Message::Close(_) => return,
        };
        frame.format(&mut self.frames).expect("a vector takes everything");
    }

    fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.frames.len() {
            let sent = ready!(Pin::new(&mut *socket).poll_write(cx, &self.frames[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        *self = Self::default();
        Pin::new(socket).poll_flush(cx)
    }
}

/// A close frame with a code that must not be on the wire: tungstenite answers it with 1002, and hands up its own answer.
fn is_violation(frame: Option<&tungstenite::protocol::CloseFrame>) -> bool {
    frame.is_some_and(|frame| {
        frame.code == CloseCode::Protocol && frame.reason.as_str() == "Protocol violation"
    })
}

/// Reads and forgets until the peer stops.
fn poll_discard<S: AsyncRead>(mut socket: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut bytes = [0; 1024];
    loop {
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(socket.as_mut().poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
}
