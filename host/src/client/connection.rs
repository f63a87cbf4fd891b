//! An open connection to a server, and what arrives on it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::error::WriteError;
use super::opening::Opened;
use super::options::ConnectOptions;
use super::transport::ClientTransport;
use crate::connection::close::{CloseCause, CloseFrame, CloseRequest};
use crate::connection::compression::Reservation;
use crate::connection::inbox::{Arrival, Inbox};
use crate::connection::link::{Closing, Errand, Link};
use crate::connection::socket::BoxedSocket;
use crate::connection::watch::{Timeouts, Watch};
use crate::connection::wire::Wire;

/// What arrives.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A text or a binary message.
    Message(Message),
    /// It has been answered.
    Ping(Bytes),
    /// The answer to a ping of ours, or nobody's.
    Pong(Bytes),
}

impl Event {
    fn of(arrival: Arrival) -> Self {
        match arrival {
            Arrival::Text(text) => Self::Message(Message::Text(text)),
            Arrival::Binary(bytes) => Self::Message(Message::Binary(bytes)),
            Arrival::Ping(data) => Self::Ping(data),
            Arrival::Pong(data) => Self::Pong(data),
        }
    }
}

/// What [`ClientConnection::next_step`] has waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Something has arrived.
    Event(Event),
    /// Nothing is queued any more.
    Flushed,
    /// The connection has ended, and [`ClientConnection::close_cause`] says why.
    Ended,
}

impl Step {
    fn of(arrival: Option<Arrival>) -> Self {
        arrival.map_or(Self::Ended, |arrival| Self::Event(Event::of(arrival)))
    }
}

/// Arrivals in a row before the clocks are looked at.
const WATCHED_EVERY: u32 = 64;

/// A connection to a server; see [`client`](crate::client). Dropped, it is gone without a close frame.
pub struct ClientConnection {
    /// None once it has ended.
    wire: Option<Wire<BoxedSocket<ClientTransport>>>,
    link: Arc<Link>,
    headers: HeaderMap,
    compressed: bool,
    close_frame: Option<CloseFrame>,
    close_cause: Option<CloseCause>,
    /// What arrived while something was written.
    inbox: Inbox,
    watch: Watch,
    /// Arrivals since the watch last looked.
    unwatched: u32,
    close_timeout: Duration,
}

impl std::fmt::Debug for ClientConnection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClientConnection")
            .field("open", &self.wire.is_some())
            .field("close_frame", &self.close_frame)
            .finish_non_exhaustive()
    }
}

impl ClientConnection {
    pub(super) fn new(opened: Opened, link: Arc<Link>, options: &ConnectOptions) -> Self {
        let Opened { wire, subprotocol, headers, compressed } = opened;
        if let Some(subprotocol) = subprotocol {
            link.select_subprotocol(subprotocol);
        }
        Self {
            wire: Some(wire),
            link,
            headers,
            compressed,
            close_frame: None,
            close_cause: None,
            inbox: Inbox::default(),
            unwatched: 0,
            watch: Watch::new(Timeouts::of(&options.limits())),
            close_timeout: options.close_timeout,
        }
    }

    /// The subprotocol that the server chose of those that were asked for.
    pub fn selected_subprotocol(&self) -> Option<&str> {
        self.link.selected_subprotocol()
    }

    /// The headers of the server's answer.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether permessage-deflate was agreed on.
    pub fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// What the server closed with, once it has: 1005 for a frame without a code; none where it vanished.
    pub fn close_frame(&self) -> Option<&CloseFrame> {
        self.close_frame.as_ref()
    }

    /// Why it ended, once it has: where the server sent no close frame, what it did instead.
    pub fn close_cause(&self) -> Option<CloseCause> {
        self.close_cause
    }

    /// Queues a message; it leaves while another function of the connection is awaited.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn queue_message(&mut self, message: Message) -> Result<(), WriteError> {
        Ok(self.link.write(message)?)
    }

    /// Sends a message: returns when it has been handed to the network.
    ///
    /// Cancel safety: once polled, the message is queued.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write_message(&mut self, message: Message) -> Result<(), WriteError> {
        self.queue_message(message)?;
        self.flush().await
    }

    /// Returns when everything that is queued has been handed to the network. Meanwhile it reads ahead, 64 KiB or one message: a
    /// server that waits for its answers to be read before it reads on is waited for, until they are.
    ///
    /// Cancel safety: nothing is lost.
    ///
    /// # Errors
    /// [`WriteError::Closed`]: the connection has ended, and what was queued is lost.
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Sends a ping, of at most 125 bytes.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn ping(&mut self, data: &[u8]) -> Result<(), WriteError> {
        self.queue_ping(data)?;
        self.flush().await
    }

    /// Queues a ping, of at most 125 bytes; it leaves while another function of the connection is awaited.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn queue_ping(&mut self, data: &[u8]) -> Result<(), WriteError> {
        Ok(self.link.ping(data.to_vec())?)
    }

    /// The next message; none once the connection has ended, and [`Self::close_frame`] says how.
    ///
    /// Cancel safety: no message is lost.
    pub async fn read_message(&mut self) -> Option<Message> {
        loop {
            if let Event::Message(message) = self.next_event().await? {
                return Some(message);
            }
        }
    }

    /// The next thing that arrives, pings and pongs included; none once the connection has ended.
    ///
    /// Cancel safety: no event is lost. Cancelled at the connection's end, it drops the socket without waiting for the server to end
    /// it first.
    pub async fn next_event(&mut self) -> Option<Event> {
        let event = poll_fn(|cx| self.poll_event(cx)).await.map(Event::of);
        if event.is_none() {
            self.finish().await;
        }
        event
    }

    /// For who sends much and reads as well: waits until everything that is queued has been handed to the network, or something
    /// arrives, whichever is first. What is not read would keep a server from reading on, and [`Self::flush`] alone from returning.
    ///
    /// Cancel safety: as [`Self::next_event`].
    pub async fn next_step(&mut self) -> Step {
        let step = poll_fn(|cx| {
            if let Poll::Ready(step) = self.poll_event(cx).map(Step::of) {
                return Poll::Ready(step);
            }
            match self.poll_flush(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Step::Flushed),
                // It may have read ahead, or found the end.
                Poll::Ready(Err(_)) | Poll::Pending => self.poll_event(cx).map(Step::of),
            }
        });
        let step = step.await;
        if step == Step::Ended {
            self.finish().await;
        }
        step
    }

    /// Starts the closing handshake after what is queued, and waits for its end; messages that still arrive are thrown away. A reason
    /// without a code means 1000; neither means an empty frame. Closing what is closed changes nothing. A server that takes nothing for
    /// `close_timeout` is given up: then [`Self::close_frame`] is none.
    ///
    /// # Errors
    /// [`WriteError::Invalid`]: a code or a reason that may not be sent.
    pub async fn close(&mut self, code: Option<u16>, reason: Option<&str>) -> Result<(), WriteError> {
        self.queue_close(code, reason)?;
        while self.next_event().await.is_some() {}
        Ok(())
    }

    /// Queues a close frame, as [`Self::close`] does, and leaves it to the caller to go on reading: what still arrives, and the end.
    ///
    /// # Errors
    /// [`WriteError::Invalid`]: a code or a reason that may not be sent.
    pub fn queue_close(&mut self, code: Option<u16>, reason: Option<&str>) -> Result<(), WriteError> {
        let request = CloseRequest::new(code, reason.map(str::to_owned)).map_err(WriteError::Invalid)?;
        // An error only says that it is closed already.
        let _ = self.link.close(Closing::Handler(request));
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let Self { wire, link, inbox, watch, .. } = self;
        let Some(wire) = wire else { return Poll::Ready(Err(WriteError::Closed)) };
        loop {
            let written = wire.poll_write(cx, link);
            if wire.is_broken() {
                return Poll::Ready(Err(WriteError::Closed));
            }
            if written.is_ready() {
                return Poll::Ready(Ok(()));
            }
            let reads = inbox.has_room();
            if reads {
                match wire.poll_read(cx, link) {
                    Poll::Ready(Some(arrival)) => {
                        inbox.push(arrival);
                        continue;
                    }
                    // How it ended is told by the next read.
                    Poll::Ready(None) => return Poll::Ready(Err(WriteError::Closed)),
                    Poll::Pending => {}
                }
            }
            ready!(watch.poll(cx, wire, link, reads, None));
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arrival>> {
        self.poll_arrival(cx, true)
    }

    /// The next arrival; none once nothing more will come: then [`Self::finish`]. Without `reads` only what is queued is written.
    pub(crate) fn poll_arrival(&mut self, cx: &mut Context<'_>, reads: bool) -> Poll<Option<Arrival>> {
        let Self { wire, link, inbox, watch, unwatched, .. } = self;
        if let Some(arrival) = inbox.pop() {
            return Poll::Ready(Some(arrival));
        }
        let Some(wire) = wire else { return Poll::Ready(None) };
        loop {
            // Before the next frame is read: it may be a close frame, after which nothing may be sent.
            let _ = wire.poll_feed(cx, link);
            let read = if reads { wire.poll_read(cx, link) } else { Poll::Pending };
            // Pongs leave, and what is queued with them. Pending: what was taken waits for the socket, which wakes the task.
            let _ = wire.poll_write(cx, link);
            if let Poll::Ready(arrival) = read {
                // A server that goes on sending does not put off what is due.
                *unwatched += 1;
                if *unwatched >= WATCHED_EVERY {
                    *unwatched = 0;
                    watch.check(wire, link, reads);
                }
                return Poll::Ready(arrival);
            }
            if !reads {
                if wire.is_broken() {
                    // Nobody reads, which would tell.
                    wire.give_up(link);
                }
                if wire.ended().is_some() {
                    return Poll::Ready(None);
                }
            }
            // Asleep, it is woken by what is queued. Nobody here has timers, or waits to be told that there is room.
            if !matches!(link.next_errand(cx, Instant::now), Errand::Sleep(_)) {
                continue;
            }
            *unwatched = 0;
            ready!(watch.poll(cx, wire, link, reads, None));
        }
    }

    /// What messages take while they are put together, or are held.
    pub(crate) fn take_memory(&mut self, memory: Reservation) {
        self.wire = self.wire.take().map(|wire| wire.with_memory(memory));
    }

    /// So many bytes of what has arrived have not been read.
    pub(crate) fn hold(&mut self, bytes: usize) {
        if let Some(wire) = &mut self.wire {
            wire.hold(bytes);
        }
    }

    /// What still arrives is thrown away, up to the end.
    pub(crate) fn discard_arrivals(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.discard_arrivals();
        }
    }

    /// How it ended, as far as the server has told: before the end of the closing handshake.
    pub(crate) fn note_end(&mut self) -> Option<&CloseFrame> {
        if let Some(ended) = self.wire.as_ref().and_then(Wire::ended) {
            self.close_frame = ended.frame.clone();
            self.close_cause = Some(ended.cause);
        }
        self.close_frame.as_ref()
    }

    /// The end of the closing handshake, and of the socket.
    pub(crate) async fn finish(&mut self) {
        self.note_end();
        let Some(wire) = self.wire.take() else { return };
        let cause = *self.close_cause.get_or_insert(CloseCause::Vanished);
        wire.finish(cause, &self.link, self.close_timeout).await;
    }
}
