//! The client: WebSocket connections that this side opens, with Tornado's names (`websocket_connect`).
//!
//! A connection is driven by whoever holds it: it reads and writes while one of its functions is awaited. Messages that are not
//! read stop the reading, and TCP slows the server down.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use waterspout::client::{ConnectOptions, Message, connect};
//!
//! let request = http::Request::get("ws://127.0.0.1:8888/websocket").body(())?;
//! let mut connection = connect(request, ConnectOptions::default()).await?;
//! connection.write_message(Message::text("hello")).await?;
//! println!("{:?}", connection.read_message().await);
//! connection.close(Some(1000), Some("bye")).await?;
//! # Ok(())
//! # }
//! ```

mod dial;
mod error;
mod handshake;
mod tls;
mod transport;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::Instant;
pub use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tungstenite_deflate::DeflateStream;

pub use self::dial::{Resolver, Resolving};
pub use self::error::{ConnectError, WriteError};
use self::handshake::{Answered, Scheme, Target};
pub use self::tls::{Roots, RootsError, TlsError};
pub(crate) use self::transport::ClientTransport;
use crate::close::{CloseCause, CloseFrame, CloseRequest};
use crate::compression::Settings;
use crate::inbox::{Arrival, Inbox};
use crate::limits::{Limits, PongTimeout};
use crate::link::{Closing, Errand, Link};
use crate::routes::SlowConsumer;
use crate::socket::{BoxedSocket, Counted};
use crate::watch::{Timeouts, Watch};
use crate::wire::Wire;

/// How a connection is opened and what it may use.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Subprotocols to ask for, the preferred one first.
    pub subprotocols: Vec<String>,
    /// From the look-up of the name to the server's answer. Default: 20 s, Tornado's.
    pub connect_timeout: Duration,
    /// Bytes in one message, in either direction. A server's larger message closes the connection (1009). Default: 10 MiB, Tornado's.
    pub max_message_bytes: usize,
    /// Bytes that wait to be sent. Default: 16 MiB.
    pub max_queue_bytes: usize,
    /// How long the server may take to answer our close frame, and to end the connection after both. Default: 5 s.
    pub close_timeout: Duration,
    /// How long the server may take nothing of what waits for it. Default: 30 s.
    pub write_timeout: Duration,
    /// How often the server is pinged while one of the connection's functions is awaited. Default: never, as in Tornado.
    pub ping_interval: Option<Duration>,
    /// How long the server may take to answer such a ping; at most, and by default, as long as `ping_interval`. Zero waits for none.
    pub pong_timeout: Option<Duration>,
    /// Offer permessage-deflate; its `max_message_bytes` is this one's. Default: no.
    pub compression: Option<Settings>,
    /// Whom a `wss://` server's certificate must come from. Default: whom the system trusts, [`Roots::system`].
    pub ca: Option<Roots>,
    /// Who finds the addresses of the URL's host. Default: the system.
    pub resolver: Option<Arc<dyn Resolver>>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            subprotocols: Vec::new(),
            connect_timeout: Duration::from_secs(20),
            max_message_bytes: limits.max_message_bytes,
            max_queue_bytes: limits.max_queue_bytes,
            close_timeout: limits.close_timeout,
            write_timeout: limits.write_timeout,
            ping_interval: None,
            pong_timeout: None,
            compression: None,
            ca: None,
            resolver: None,
        }
    }
}

impl ConnectOptions {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_message_bytes: self.max_message_bytes,
            max_queue_bytes: self.max_queue_bytes,
            close_timeout: self.close_timeout,
            write_timeout: self.write_timeout,
            ping_interval: self.ping_interval.unwrap_or_default(),
            pong_timeout: self.pong_timeout.map_or(PongTimeout::Interval, PongTimeout::Of),
            idle_timeout: None,
            life_time: None,
            ..Limits::default()
        }
    }
}

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

/// Headers of an answer, in number.
const MAX_HEADERS: usize = 100;
/// The head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// The body of an answer that is no 101, in bytes, and how long it is waited for.
const MAX_BODY_BYTES: usize = 8 << 10;
const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// Opens a connection: a GET request for a `ws://` or `wss://` URL, with headers of the caller's.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    request: Request<()>,
    options: ConnectOptions,
) -> Result<ClientConnection, ConnectError> {
    let link = Link::new(&options.limits(), SlowConsumer::default());
    connect_for(request, options, Arc::new(link), |_| true).await
}

/// Host (of an IPv6 address without its brackets) and port that a URL leads to.
pub(crate) fn target(url: &Uri) -> Result<(String, u16), ConnectError> {
    Target::new(url).map(|target| (target.host, target.port))
}

/// The same for a connection whose link there is already, and only to an address that `permit` allows. If it allows none:
/// [`ConnectError::Denied`].
pub(crate) async fn connect_for(
    request: Request<()>,
    options: ConnectOptions,
    link: Arc<Link>,
    permit: impl Fn(SocketAddr) -> bool,
) -> Result<ClientConnection, ConnectError> {
    let opened = in_time(&options, async {
        let transport = dial(request.uri(), &options, permit).await?;
        shake_hands(transport, request, &options).await
    });
    let Opened { wire, subprotocol, headers, compressed } = opened.await?;
    if let Some(subprotocol) = subprotocol {
        link.select_subprotocol(subprotocol);
    }
    Ok(ClientConnection {
        wire: Some(wire),
        link,
        headers,
        compressed,
        close_frame: None,
        close_cause: None,
        inbox: Inbox::default(),
        watch: Watch::new(Timeouts::of(&options.limits())),
        close_timeout: options.close_timeout,
    })
}

/// Does something within `connect_timeout`.
pub(crate) async fn in_time<R>(
    options: &ConnectOptions,
    opening: impl Future<Output = Result<R, ConnectError>>,
) -> Result<R, ConnectError> {
    let timeout = options.connect_timeout;
    tokio::time::timeout(timeout, Box::pin(opening)).await.unwrap_or(Err(ConnectError::Timeout(timeout)))
}

/// A socket to where a URL leads, with TLS where that asks for it.
pub(crate) async fn dial(
    url: &Uri,
    options: &ConnectOptions,
    permit: impl Fn(SocketAddr) -> bool,
) -> Result<ClientTransport, ConnectError> {
    let target = Target::new(url)?;
    let socket = dial::dial(&target, options.resolver.as_deref(), permit).await?;
    Ok(match target.scheme {
        Scheme::Ws => ClientTransport::Plain(socket),
        Scheme::Wss => {
            let roots = match &options.ca {
                Some(roots) => roots.clone(),
                None => Roots::system().await.map_err(TlsError::from)?,
            };
            ClientTransport::Tls(Box::new(roots.handshake(&target.host, socket).await?))
        }
    })
}

/// A WebSocket that a server has agreed to.
pub(crate) struct Opened {
    pub(crate) wire: Wire<BoxedSocket<ClientTransport>>,
    /// What the server selected.
    pub(crate) subprotocol: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) compressed: bool,
}

/// The opening handshake on a socket.
pub(crate) async fn shake_hands(
    transport: ClientTransport,
    request: Request<()>,
    options: &ConnectOptions,
) -> Result<Opened, ConnectError> {
    let target = Target::new(request.uri())?;
    let limits = options.limits();
    let settings =
        |settings: &Settings| Settings { max_message_bytes: limits.max_message_bytes, ..settings.clone() };
    let compression = options.compression.as_ref().map(settings);
    let (request, asked) = handshake::ask(request, &target, &options.subprotocols, compression.clone())?;
    let (mut sender, conversation) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(transport))
        .await
        .map_err(broken)?;
    // Ends with this function, whichever way that ends.
    let mut driver = JoinSet::new();
    driver.spawn(conversation.with_upgrades());
    let answer = sender.send_request(request).await.map_err(broken)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(ConnectError::Http(Box::new(refusal(answer).await)));
    }
    let Answered { subprotocol, deflate, headers } = asked.check(&answer)?;
    let upgraded = hyper::upgrade::on(answer).await.map_err(broken)?;
    let Ok(parts) = upgraded.downcast::<TokioIo<ClientTransport>>() else {
        unreachable!("hyper gives back the socket that it was given");
    };
    let socket = Counted::new(parts.io.into_inner());
    let (socket, read_ahead): (_, &[u8]) = match (deflate, &compression) {
        (Some(agreed), Some(settings)) => {
            let stream = DeflateStream::new(socket, Role::Client, &agreed, settings);
            (BoxedSocket::new(stream.with_read_ahead(&parts.read_buf)), &[])
        }
        _ => (BoxedSocket::new(socket), &parts.read_buf),
    };
    let wire = Wire::new(socket, read_ahead, Role::Client, &limits).await;
    Ok(Opened { wire, subprotocol, headers, compressed: deflate.is_some() })
}

/// An answer that is no WebSocket, with the beginning of its body, for a person.
async fn refusal(answer: Response<Incoming>) -> Response<Bytes> {
    let (head, mut incoming) = answer.into_parts();
    let mut body = Vec::new();
    let _ = tokio::time::timeout(BODY_PATIENCE, async {
        while body.len() < MAX_BODY_BYTES
            && let Some(Ok(frame)) = incoming.frame().await
        {
            body.extend(frame.into_data().iter().flatten());
        }
    })
    .await;
    body.truncate(MAX_BODY_BYTES);
    Response::from_parts(head, body.into())
}

/// What ended the HTTP of the handshake.
fn broken(error: hyper::Error) -> ConnectError {
    if error.is_parse() {
        ConnectError::Protocol(error.to_string())
    } else {
        ConnectError::Network(io::Error::other(error))
    }
}

/// A connection to a server; see the module. Dropped, it is gone without a close frame.
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
        let Self { wire, link, inbox, watch, .. } = self;
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
                watch.check(wire, link, reads);
                return Poll::Ready(arrival);
            }
            // Asleep, it is woken by what is queued. Nobody here has timers, or waits to be told that there is room.
            if !matches!(link.next_errand(cx, Instant::now), Errand::Sleep(_)) {
                continue;
            }
            ready!(watch.poll(cx, wire, link, reads, None));
            if !reads && wire.ended().is_some() {
                return Poll::Ready(None);
            }
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
