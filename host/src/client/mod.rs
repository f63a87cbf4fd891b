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

mod handshake;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
pub use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tungstenite_deflate::DeflateStream;

use self::handshake::{Answered, Target};
use crate::close::{CloseCause, CloseFrame, CloseRequest};
use crate::compression::Settings;
use crate::inbox::{Arrival, Inbox};
use crate::limits::{Limits, PongTimeout};
use crate::link::{Closing, Errand, Link, LinkError};
use crate::routes::SlowConsumer;
use crate::socket::{Counted, Socket};
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
        }
    }
}

impl ConnectOptions {
    fn limits(&self) -> Limits {
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

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a URL that a WebSocket can have. Correct it.
    #[error("not a URL to connect to: {0}")]
    InvalidUrl(String),
    /// A header or a subprotocol that cannot be sent. Correct it.
    #[error("not a request to send: {0}")]
    InvalidRequest(String),
    /// The name is unknown, or nobody answers at the address, or the connection broke. Perhaps try again.
    #[error("the server cannot be reached: {0}")]
    Network(#[source] io::Error),
    /// The server took too long. Perhaps try again.
    #[error("the server did not answer within {0:?}")]
    Timeout(Duration),
    /// The server answered, but not with 101. Redirects are not followed.
    #[error("the server answered with status {0}")]
    Http(StatusCode),
    /// The server's answer is no WebSocket handshake, or names what was not asked for.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
}

/// Why a message or a close could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The connection is closed or closing: Tornado's `WebSocketClosedError`.
    #[error("the connection is closed")]
    Closed,
    /// The queue is full: wait for [`ClientConnection::flush`].
    #[error("the queue is full")]
    BufferFull,
    /// Larger than a message may be.
    #[error("over the limit `{0}`")]
    Limit(String),
    /// Not what the protocol allows.
    #[error("{0}")]
    Invalid(String),
}

impl From<LinkError> for WriteError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed => Self::Closed,
            LinkError::BufferFull => Self::BufferFull,
            LinkError::Limit(limit) => Self::Limit(limit),
            LinkError::Invalid(why) => Self::Invalid(why),
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

/// Headers of an answer, in number.
const MAX_HEADERS: usize = 100;
/// The head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Opens a connection: a GET request for a `ws://` URL, with headers of the caller's.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    request: Request<()>,
    options: ConnectOptions,
) -> Result<ClientConnection, ConnectError> {
    let timeout = options.connect_timeout;
    tokio::time::timeout(timeout, Box::pin(open(request, options)))
        .await
        .unwrap_or(Err(ConnectError::Timeout(timeout)))
}

async fn open(request: Request<()>, options: ConnectOptions) -> Result<ClientConnection, ConnectError> {
    let target = Target::new(request.uri())?;
    let limits = options.limits();
    let compression = options
        .compression
        .map(|settings| Settings { max_message_bytes: limits.max_message_bytes, ..settings });
    let (request, asked) = handshake::ask(request, &options.subprotocols, compression.clone())?;
    let socket =
        TcpStream::connect((target.host.as_str(), target.port)).await.map_err(ConnectError::Network)?;
    // Messages leave as soon as they are flushed; that it cannot be set is told by the next write.
    let _ = socket.set_nodelay(true);
    let (mut sender, conversation) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(socket))
        .await
        .map_err(broken)?;
    // Ends with this function, whichever way that ends.
    let mut driver = JoinSet::new();
    driver.spawn(conversation.with_upgrades());
    let answer = sender.send_request(request).await.map_err(broken)?;
    let Answered { subprotocol, deflate, headers } = asked.check(&answer)?;
    let upgraded = hyper::upgrade::on(answer).await.map_err(broken)?;
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        unreachable!("hyper gives back the socket that it was given");
    };
    let socket = Counted::new(parts.io.into_inner());
    let (socket, read_ahead): (BoxedSocket, &[u8]) = match (deflate, &compression) {
        (Some(agreed), Some(settings)) => {
            let stream = DeflateStream::new(socket, Role::Client, &agreed, settings);
            (Box::new(stream.with_read_ahead(&parts.read_buf)), &[])
        }
        _ => (Box::new(socket), &parts.read_buf),
    };
    let link = Link::new(&limits, SlowConsumer::default());
    if let Some(subprotocol) = subprotocol {
        link.select_subprotocol(subprotocol);
    }
    Ok(ClientConnection {
        wire: Some(Wire::new(socket, read_ahead, Role::Client, &limits).await),
        link,
        headers,
        compressed: deflate.is_some(),
        close_frame: None,
        inbox: Inbox::default(),
        watch: Watch::new(Timeouts::of(&limits)),
        close_timeout: limits.close_timeout,
    })
}

/// What ended the HTTP of the handshake.
fn broken(error: hyper::Error) -> ConnectError {
    if error.is_parse() {
        ConnectError::Protocol(error.to_string())
    } else {
        ConnectError::Network(io::Error::other(error))
    }
}

type BoxedSocket = Box<dyn Socket<Transport = TcpStream>>;

/// A connection to a server; see the module. Dropped, it is gone without a close frame.
pub struct ClientConnection {
    /// None once it has ended.
    wire: Option<Wire<BoxedSocket>>,
    link: Link,
    headers: HeaderMap,
    compressed: bool,
    close_frame: Option<CloseFrame>,
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
        self.link.ping(data.to_vec())?;
        self.flush().await
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
        let Some(arrival) = poll_fn(|cx| self.poll_event(cx)).await else {
            self.finish().await;
            return None;
        };
        Some(match arrival {
            Arrival::Text(text) => Event::Message(Message::Text(text)),
            Arrival::Binary(bytes) => Event::Message(Message::Binary(bytes)),
            Arrival::Ping(data) => Event::Ping(data),
            Arrival::Pong(data) => Event::Pong(data),
        })
    }

    /// Starts the closing handshake after what is queued, and waits for its end; messages that still arrive are thrown away. A reason
    /// without a code means 1000; neither means an empty frame. Closing what is closed changes nothing. A server that takes nothing for
    /// `close_timeout` is given up: then [`Self::close_frame`] is none.
    ///
    /// # Errors
    /// [`WriteError::Invalid`]: a code or a reason that may not be sent.
    pub async fn close(&mut self, code: Option<u16>, reason: Option<&str>) -> Result<(), WriteError> {
        let request = CloseRequest::new(code, reason.map(str::to_owned)).map_err(WriteError::Invalid)?;
        // An error only says that it is closed already.
        let _ = self.link.close(Closing::Handler(request));
        while self.next_event().await.is_some() {}
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
        let Self { wire, link, inbox, watch, .. } = self;
        if let Some(arrival) = inbox.pop() {
            return Poll::Ready(Some(arrival));
        }
        let Some(wire) = wire else { return Poll::Ready(None) };
        loop {
            // Before the next frame is read: it may be a close frame, after which nothing may be sent.
            let _ = wire.poll_feed(cx, link);
            let read = wire.poll_read(cx, link);
            // Pongs leave, and what is queued with them. Pending: what was taken waits for the socket, which wakes the task.
            let _ = wire.poll_write(cx, link);
            if let Poll::Ready(arrival) = read {
                // A server that goes on sending does not put off what is due.
                watch.check(wire, link, true);
                return Poll::Ready(arrival);
            }
            if link.next_errand(cx, Instant::now) == Errand::Write {
                continue;
            }
            ready!(watch.poll(cx, wire, link, true, None));
        }
    }

    /// The end of the closing handshake, and of the socket.
    async fn finish(&mut self) {
        let Some(wire) = self.wire.take() else { return };
        let ended = wire.ended().cloned();
        self.close_frame = ended.as_ref().and_then(|ended| ended.frame.clone());
        let cause = ended.map_or(CloseCause::Vanished, |ended| ended.cause);
        wire.finish(cause, &self.link, self.close_timeout).await;
    }
}
