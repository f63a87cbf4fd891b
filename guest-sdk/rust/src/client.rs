//! Connections that a handler opens itself: Tornado's `websocket_connect`.
//!
//! The operator lists where a route may connect to (the key `connect`); everything else is
//! [`ConnectError::Denied`]. A connection belongs to the handler whose function opened it: it ends by
//! [`ClientConnection::close`], by the server, or with that handler (1001). Dropping a [`ClientConnection`] closes nothing.
//!
//! Two styles, as in Tornado. In the first the handler asks and waits; nothing else is called meanwhile, so it is for handlers that have
//! an instance of their own, where it may wait for a message as long as that takes:
//!
//! ```no_run
//! use waterspout_guest::{Connection, Handler, client::websocket_connect};
//!
//! #[derive(Default)]
//! struct Mirror;
//!
//! impl Handler for Mirror {
//!     fn open(&mut self, conn: &Connection) {
//!         let Ok(upstream) = websocket_connect("ws://news.example.com/feed") else { return };
//!         while let Ok(Some(message)) = upstream.read_message() {
//!             let _ = conn.write_message(message);
//!         }
//!     }
//! }
//! # waterspout_guest::export!(Mirror);
//! ```
//!
//! In the second, [`websocket_start`] returns at once, and [`on_client_event`](crate::Handler::on_client_event) brings everything else:
//! the style for shared instances, and for handlers that listen to both sides, as the example `proxy` does.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::connection::milliseconds;
use crate::generated::app::waterspout::websocket::client;
use crate::resuming::{self, Reader};
use crate::{CloseFrame, CompressionOptions, Error, Message};

/// What to connect to, and how. A URL alone is enough: `"wss://example.com/chat".into()`.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    url: String,
    options: client::ConnectOptions,
    /// What cannot be said to the host.
    error: Option<Error>,
}

impl ConnectRequest {
    /// To this URL, with the host's defaults throughout.
    pub fn new(url: impl Into<String>) -> Self {
        let options = client::ConnectOptions {
            headers: Vec::new(),
            subprotocols: Vec::new(),
            connect_timeout_ms: None,
            max_message_size: None,
            ping_interval_ms: None,
            ping_timeout_ms: None,
            compression: None,
        };
        Self { url: url.into(), options, error: None }
    }

    /// Adds a header to the request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.headers.push((name.into(), value.into()));
        self
    }

    /// Offers a subprotocol, after those offered before.
    pub fn subprotocol(mut self, subprotocol: impl Into<String>) -> Self {
        self.options.subprotocols.push(subprotocol.into());
        self
    }

    /// How long it may take until the connection is open. 20 s, if it is not said.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout_ms = self.in_milliseconds(timeout);
        self
    }

    /// Bytes in one message, either way, if that is less than the operator allows.
    pub fn max_message_size(mut self, bytes: u32) -> Self {
        self.options.max_message_size = Some(bytes.min(i32::MAX as u32));
        self
    }

    /// Pings the server so often. Never, if it is not said.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.options.ping_interval_ms = self.in_milliseconds(interval);
        self
    }

    /// How long the server may take to answer such a ping; at most, and if it is not said, as long as the interval. Zero: for ever.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.options.ping_timeout_ms = self.in_milliseconds(timeout);
        self
    }

    /// Offers compression.
    pub fn compression(mut self, options: CompressionOptions) -> Self {
        self.options.compression = Some(options);
        self
    }

    fn in_milliseconds(&mut self, time: Duration) -> Option<u32> {
        milliseconds(time).inspect_err(|error| self.error = Some(error.clone())).ok()
    }

    fn check(self) -> Result<(String, client::ConnectOptions), ConnectError> {
        match self.error {
            Some(error) => Err(ConnectError::Invalid(error.to_string())),
            None => Ok((self.url, self.options)),
        }
    }
}

impl From<&str> for ConnectRequest {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<&String> for ConnectRequest {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}

impl From<String> for ConnectRequest {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

/// Connects, and waits until the connection is open: [`ClientConnection::read_message`] follows.
///
/// # Errors
/// See [`ConnectError`].
pub fn websocket_connect(request: impl Into<ConnectRequest>) -> Result<ClientConnection, ConnectError> {
    let (url, options) = request.into().check()?;
    Ok(ClientConnection::new(client::connect(&url, Some(&options))?))
}

/// Begins to connect, and returns at once: [`on_client_event`](crate::Handler::on_client_event) tells what happens. Until
/// [`ClientEvent::Opened`] writes are [`Error::Closed`].
///
/// # Errors
/// What is known at once; see [`ConnectError`].
pub fn websocket_start(request: impl Into<ConnectRequest>) -> Result<ClientConnection, ConnectError> {
    let (url, options) = request.into().check()?;
    Ok(ClientConnection::new(client::start(&url, Some(&options))?))
}

/// This handler's own connection by its id, also after a swap.
pub fn get(id: &str) -> Option<ClientConnection> {
    client::get(id).map(ClientConnection::new)
}

/// A connection to a server. A clone is another handle to the same. Dropping a handle closes nothing.
///
/// It can be serialised in what a handler, or what handlers share, leaves to its [next version](crate#surviving-a-swap), and is the same
/// connection there. If it has gone meanwhile, it is like one that the server closed: there is nothing to read, and writing is
/// [`Error::Closed`].
#[derive(Clone)]
pub struct ClientConnection(Rc<Parts>);

struct Parts {
    /// None until the handler that it belongs to has been resumed; for ever, if it has gone.
    handle: OnceCell<client::ClientConnection>,
    /// Known without asking the host: of a connection that was read from a snapshot.
    id: Option<String>,
}

thread_local! {
    /// Read from a snapshot, and not found yet.
    static AWAITED: RefCell<Vec<Weak<Parts>>> = const { RefCell::new(Vec::new()) };
    /// [`find_all`] once there are any, so that handlers that never read a connection do without the code.
    static FIND: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Finds what belongs to the handler that is being resumed. What handlers share was read before, when nobody was there to ask.
pub(crate) fn find_awaited() {
    if let Some(find_all) = FIND.get() {
        find_all();
    }
}

fn find_all() {
    AWAITED.with_borrow_mut(|awaited| {
        awaited.retain(|parts| parts.upgrade().is_some_and(|parts| !parts.find()));
    });
}

impl Parts {
    /// Whether it is there; the host knows only those of the handler that asks.
    fn find(&self) -> bool {
        let found = self.id.as_deref().and_then(client::get);
        found.is_some_and(|handle| self.handle.set(handle).is_ok())
    }
}

impl ClientConnection {
    fn new(handle: client::ClientConnection) -> Self {
        Self(Rc::new(Parts { handle: handle.into(), id: None }))
    }

    fn named(id: String) -> Self {
        let parts = Rc::new(Parts { handle: OnceCell::new(), id: Some(id) });
        let is_there = resuming::reader() != Some(Reader::Shared) && parts.find();
        if !is_there && resuming::reader().is_some() {
            AWAITED.with_borrow_mut(|awaited| awaited.push(Rc::downgrade(&parts)));
            FIND.set(Some(find_all));
        }
        Self(parts)
    }

    fn handle(&self) -> Result<&client::ClientConnection, Error> {
        self.0.handle.get().ok_or(Error::Closed)
    }

    /// What [`on_client_event`](crate::Handler::on_client_event) and [`get`] call it.
    pub fn id(&self) -> String {
        match (&self.0.id, self.0.handle.get()) {
            (Some(id), _) => id.clone(),
            (None, handle) => handle.map(client::ClientConnection::id).unwrap_or_default(),
        }
    }

    /// The subprotocol that the server selected of those that were offered.
    pub fn selected_subprotocol(&self) -> Option<String> {
        self.0.handle.get()?.selected_subprotocol()
    }

    /// Waits for the next message; none once the connection is closed, and [`close_frame`](Self::close_frame) says how.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed): the handler's own connection has ended. [`Timeout`](Error::Timeout), in shared instances.
    /// [`Invalid`](Error::Invalid): made by [`websocket_start`].
    pub fn read_message(&self) -> Result<Option<Message>, Error> {
        self.read_message_for(None)
    }

    /// [`read_message`](Self::read_message), but no longer than so.
    ///
    /// # Errors
    /// Those of [`read_message`](Self::read_message), and [`Timeout`](Error::Timeout).
    pub fn read_message_within(&self, time: Duration) -> Result<Option<Message>, Error> {
        self.read_message_for(Some(milliseconds(time)?))
    }

    fn read_message_for(&self, timeout_ms: Option<u32>) -> Result<Option<Message>, Error> {
        let Ok(handle) = self.handle() else { return Ok(None) };
        Ok(handle.read_message(timeout_ms)?)
    }

    /// Queues a message and returns at once, as [`Connection::write_message`](crate::Connection::write_message).
    ///
    /// # Errors
    /// [`Closed`](Error::Closed), [`BufferFull`](Error::BufferFull), [`Limit`](Error::Limit).
    pub fn write_message(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.write_message_ref(&message.into())
    }

    /// [`write_message`](Self::write_message) of a message that is needed again: without a copy.
    ///
    /// # Errors
    /// Those of [`write_message`](Self::write_message).
    pub fn write_message_ref(&self, message: &Message) -> Result<(), Error> {
        Ok(self.handle()?.write_message(message)?)
    }

    /// Queues a value as JSON text.
    ///
    /// # Errors
    /// Those of [`write_message`](Self::write_message), and [`Invalid`](Error::Invalid) where JSON cannot say it.
    pub fn write_json(&self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.write_message(Message::from_json(value)?)
    }

    /// Waits until everything queued has been handed to the network. In a shared instance, all wait.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed), [`Timeout`](Error::Timeout).
    pub fn flush(&self) -> Result<(), Error> {
        Ok(self.handle()?.flush()?)
    }

    /// Sends a ping with at most 125 bytes; in callback style [`ClientEvent::Pong`] brings them back.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed), [`BufferFull`](Error::BufferFull), [`Invalid`](Error::Invalid).
    pub fn ping(&self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        Ok(self.handle()?.ping(data.as_ref())?)
    }

    /// Starts the closing handshake, after what is queued, as [`Connection::close`](crate::Connection::close). A connection that is not
    /// open yet is given up.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed), [`Invalid`](Error::Invalid).
    pub fn close<'r>(
        &self,
        code: impl Into<Option<u16>>,
        reason: impl Into<Option<&'r str>>,
    ) -> Result<(), Error> {
        Ok(self.handle()?.close(code.into(), reason.into())?)
    }

    /// What the server closed with, once it has.
    pub fn close_frame(&self) -> Option<CloseFrame> {
        self.0.handle.get()?.close_frame()
    }
}

/// Its id.
impl Serialize for ClientConnection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ClientConnection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::named)
    }
}

impl fmt::Debug for ClientConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConnection").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// What happens on a connection made by [`websocket_start`], in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// It is open.
    Opened,
    /// It will never be.
    Failed(ConnectError),
    /// A message came.
    Message(Message),
    /// A pong came, usually for a [`ClientConnection::ping`].
    Pong(Vec<u8>),
    /// It has ended; none when the server vanished without a close frame.
    Closed(Option<CloseFrame>),
}

impl From<client::ClientEvent> for ClientEvent {
    fn from(event: client::ClientEvent) -> Self {
        match event {
            client::ClientEvent::Opened => Self::Opened,
            client::ClientEvent::Failed(error) => Self::Failed(error.into()),
            client::ClientEvent::Message(message) => Self::Message(message),
            client::ClientEvent::Pong(data) => Self::Pong(data),
            client::ClientEvent::Closed(frame) => Self::Closed(frame),
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Not on the route's list of the operator; or asked for before `open`.
    Denied,
    /// The handler's own connection has ended, or this one was closed before it was open.
    Closed,
    /// Over a limit that the operator set; it is named.
    Limit(String),
    /// Not what can be asked for; it says why.
    Invalid(String),
    /// The server cannot be reached, or cannot be trusted; it says why.
    Network(String),
    /// It took longer than it may.
    Timeout,
    /// The server answered with this status instead of 101. Redirects are not followed.
    Http(u16),
    /// The server, or what it was to be asked, broke the protocol; it says why.
    Protocol(String),
}

impl From<client::ConnectError> for ConnectError {
    fn from(error: client::ConnectError) -> Self {
        match error {
            client::ConnectError::Denied => Self::Denied,
            client::ConnectError::Closed => Self::Closed,
            client::ConnectError::Limit(limit) => Self::Limit(limit),
            client::ConnectError::InvalidUrl(why) => Self::Invalid(why),
            client::ConnectError::Network(why) => Self::Network(why),
            client::ConnectError::Timeout => Self::Timeout,
            client::ConnectError::Http(status) => Self::Http(status),
            client::ConnectError::Protocol(why) => Self::Protocol(why),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => {
                f.write_str("the operator does not allow this destination, or not at this moment")
            }
            Self::Closed => f.write_str("the connection was closed before it was open"),
            Self::Limit(limit) => write!(f, "over a limit that the operator set: {limit}"),
            Self::Invalid(why) => write!(f, "not what can be asked for: {why}"),
            Self::Network(why) => write!(f, "no connection: {why}"),
            Self::Timeout => f.write_str("connecting took longer than it may"),
            Self::Http(status) => write!(f, "the server answered with status {status}"),
            Self::Protocol(why) => write!(f, "not what the protocol allows: {why}"),
        }
    }
}

impl std::error::Error for ConnectError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_nobody_found_is_like_one_that_the_server_closed() {
        let connection: ClientConnection = resuming::of_shared(|| serde_json::from_str("\"c1\"")).unwrap();
        assert_eq!(connection.id(), "c1");
        assert_eq!(serde_json::to_string(&connection).unwrap(), "\"c1\"");
        assert_eq!(connection.read_message(), Ok(None));
        assert_eq!(connection.read_message_within(Duration::ZERO), Ok(None));
        assert_eq!(connection.write_message("hello"), Err(Error::Closed));
        assert_eq!(connection.flush(), Err(Error::Closed));
        assert_eq!(connection.ping(""), Err(Error::Closed));
        assert_eq!(connection.close(None, None), Err(Error::Closed));
        assert_eq!((connection.close_frame(), connection.selected_subprotocol()), (None, None));
        drop(connection);
        find_awaited();
        assert!(AWAITED.with_borrow(Vec::is_empty), "what nobody keeps is not looked for");
    }
}
