//! The accepted connection, as its handler sees it.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use crate::generated::app::waterspout::websocket::{connection, handshake};
use crate::{Error, Message, Request, resuming};

/// An open connection. A clone is another handle to the same, cheap to make and to keep: in a shared instance,
/// handlers write to each other's connections through clones that they leave in what they [share](crate::Shared).
/// Dropping a handle ends nothing.
///
/// After the connection's end [`id`](Self::id) and [`selected_subprotocol`](Self::selected_subprotocol) still answer,
/// [`buffered_amount`](Self::buffered_amount) is 0, and everything else is [`Error::Closed`].
///
/// It can be serialised in what a handler, or what handlers share, leaves to its
/// [next version](crate#surviving-a-swap), and is the same connection there. That of another handler is
/// [`Error::Closed`] until that handler has been resumed, too, which is before any event. Elsewhere, as from JSON, it cannot be
/// deserialised.
#[derive(Clone)]
pub struct Connection(Rc<Parts>);

struct Parts {
    /// None until its handler has been resumed; for ever, if it ended before.
    handle: OnceCell<connection::Connection>,
    request: Request,
    /// Known without asking the host: of a connection that was resumed, or is to be.
    id: Option<String>,
}

thread_local! {
    /// Those that were resumed, or are to be: whatever is read from snapshots leads to the one that its handler holds. A trait's
    /// object, so that handlers that never read a connection do without the code.
    static RESUMED: RefCell<Option<Box<dyn Directory>>> = const { RefCell::new(None) };
}

trait Directory {
    fn get(&self, id: &str) -> Option<Connection>;
    fn insert(&mut self, id: String, connection: &Connection);
}

impl Directory for BTreeMap<String, Weak<Parts>> {
    fn get(&self, id: &str) -> Option<Connection> {
        self.get(id).and_then(Weak::upgrade).map(Connection)
    }

    fn insert(&mut self, id: String, connection: &Connection) {
        self.insert(id, Rc::downgrade(&connection.0));
    }
}

impl Connection {
    pub(crate) fn new(handle: connection::Connection, request: Request) -> Self {
        Self(Rc::new(Parts { handle: handle.into(), request, id: None }))
    }

    /// That of a handler that is being resumed: the one that was read from a snapshot, if it was.
    pub(crate) fn resumed(handle: connection::Connection, request: handshake::Request) -> Self {
        let id = handle.id();
        let read = RESUMED.with_borrow(|resumed| resumed.as_ref().and_then(|resumed| resumed.get(&id)));
        let connection = read.unwrap_or_else(|| Self::awaited(id));
        // Nobody resumes a connection twice.
        let _ = connection.0.handle.set(handle);
        connection.0.request.arrive(request);
        connection
    }

    /// Whatever reads this connection from a snapshot from now on shall have this one.
    pub(crate) fn keep(&self) {
        RESUMED.with_borrow_mut(|resumed| {
            resumed.get_or_insert_with(|| Box::new(BTreeMap::new())).insert(self.id(), self);
        });
    }

    /// All that will ever be resumed in this instance has been.
    pub(crate) fn end_of_resuming() {
        RESUMED.take();
    }

    /// The one with this id, whether its handler has been resumed or will be.
    fn named(id: String) -> Self {
        let known = RESUMED.with_borrow(|resumed| resumed.as_ref().and_then(|resumed| resumed.get(&id)));
        known.unwrap_or_else(|| {
            let connection = Self::awaited(id);
            connection.keep();
            connection
        })
    }

    fn awaited(id: String) -> Self {
        Self(Rc::new(Parts { handle: OnceCell::new(), request: Request::awaited(), id: Some(id) }))
    }

    fn handle(&self) -> Result<&connection::Connection, Error> {
        self.0.handle.get().ok_or(Error::Closed)
    }

    /// Unguessable, unique in the cluster, the same for the whole life of the connection, also when its handler is
    /// replaced.
    pub fn id(&self) -> String {
        match (&self.0.id, self.0.handle.get()) {
            (Some(id), _) => id.clone(),
            (None, handle) => handle.map(connection::Connection::id).unwrap_or_default(),
        }
    }

    /// The request that asked for this connection.
    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// What [`select_subprotocol`](crate::Handler::select_subprotocol) selected.
    pub fn selected_subprotocol(&self) -> Option<String> {
        self.0.handle.get()?.selected_subprotocol()
    }

    /// Queues a message and returns at once: a `String`, `&str` or JSON value as text, bytes as binary. Messages
    /// arrive whole and in order.
    ///
    /// To know that it has been handed to the network, [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`Closed`](Error::Closed); [`BufferFull`](Error::BufferFull), nothing was queued; [`Limit`](Error::Limit), it
    /// is larger than a message, or the whole queue, may be.
    pub fn write_message(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.write_message_ref(&message.into())
    }

    /// [`write_message`](Self::write_message) of a message that is needed again, as for the next connection of a
    /// room: without a copy.
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
    /// [`Closed`](Error::Closed); [`Timeout`](Error::Timeout) shortly before the event's time is up.
    pub fn flush(&self) -> Result<(), Error> {
        Ok(self.handle()?.flush()?)
    }

    /// Bytes queued and not yet handed to the network.
    pub fn buffered_amount(&self) -> u32 {
        self.handle().map_or(0, connection::Connection::buffered_amount)
    }

    /// Sends a ping with at most 125 bytes; [`on_pong`](crate::Handler::on_pong) brings them back.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed); [`BufferFull`](Error::BufferFull); [`Invalid`](Error::Invalid), more than 125 bytes.
    pub fn ping(&self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        Ok(self.handle()?.ping(data.as_ref())?)
    }

    /// Starts the closing handshake, after what is queued: `close(1000, "bye")`, `close(4000, None)`, or `close(None,
    /// None)` for a frame without a code. A reason without a code means 1000. A second call changes nothing.
    ///
    /// From now on writes are [`Closed`](Error::Closed), messages still arrive, and
    /// [`on_close`](crate::Handler::on_close) brings the peer's answer.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed), the connection has ended; [`Invalid`](Error::Invalid): a code below 1000, above
    /// 4999, or 1005, 1006 or 1015, or a reason over 123 bytes.
    pub fn close<'r>(
        &self,
        code: impl Into<Option<u16>>,
        reason: impl Into<Option<&'r str>>,
    ) -> Result<(), Error> {
        Ok(self.handle()?.close(code.into(), reason.into())?)
    }

    /// Whether small frames are sent at once (TCP_NODELAY), or may wait for more.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed).
    pub fn set_nodelay(&self, value: bool) -> Result<(), Error> {
        Ok(self.handle()?.set_nodelay(value)?)
    }

    /// From now on this connection is sent what anybody [publishes](crate::publish) under `topic`.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed); [`Limit`](Error::Limit), of topics; [`Denied`](Error::Denied);
    /// [`Invalid`](Error::Invalid).
    pub fn subscribe(&self, topic: &str) -> Result<(), Error> {
        Ok(self.handle()?.subscribe(topic)?)
    }

    /// Takes back [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&self, topic: &str) {
        if let Ok(handle) = self.handle() {
            handle.unsubscribe(topic);
        }
    }

    /// Calls [`on_timer`](crate::Handler::on_timer) with `token`, once, after `delay`, which is rounded up to whole
    /// milliseconds. An earlier timer with that token is replaced.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed); [`Limit`](Error::Limit), of timers; [`Invalid`](Error::Invalid), over 24 days.
    pub fn set_timer(&self, token: u32, delay: Duration) -> Result<(), Error> {
        Ok(self.handle()?.set_timer(token, milliseconds(delay)?)?)
    }

    /// Takes back [`set_timer`](Self::set_timer).
    pub fn clear_timer(&self, token: u32) {
        if let Ok(handle) = self.handle() {
            handle.clear_timer(token);
        }
    }
}

/// Its id.
impl Serialize for Connection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Connection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        match resuming::reader() {
            Some(_) => Ok(Self::named(id)),
            None => Err(de::Error::custom("a Connection can be read only from a snapshot")),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Rounded up, so that no timer comes early; the interface keeps numbers below 2^31.
pub(crate) fn milliseconds(delay: Duration) -> Result<u32, Error> {
    let rounded_up = delay.as_nanos().div_ceil(1_000_000);
    match u32::try_from(rounded_up) {
        Ok(ms) if ms <= i32::MAX as u32 => Ok(ms),
        _ => Err(Error::Invalid(format!("a time of {delay:?}, the most are {} ms", i32::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_rounded_up_to_milliseconds() {
        assert_eq!(milliseconds(Duration::ZERO), Ok(0));
        assert_eq!(milliseconds(Duration::from_nanos(1)), Ok(1));
        assert_eq!(milliseconds(Duration::from_micros(1500)), Ok(2));
        assert_eq!(milliseconds(Duration::from_millis(500)), Ok(500));
    }

    fn read(bytes: &str) -> Connection {
        resuming::of_shared(|| serde_json::from_str(bytes)).unwrap()
    }

    #[test]
    fn a_connection_read_from_a_snapshot_is_closed_until_its_handler_is_resumed() {
        let connection = read("\"c1\"");
        assert_eq!(connection.id(), "c1");
        assert_eq!(
            serde_json::to_string(&connection).unwrap(),
            "\"c1\"",
            "it can be left to one more version"
        );
        assert_eq!(connection.write_message("hello"), Err(Error::Closed));
        assert_eq!(connection.flush(), Err(Error::Closed));
        assert_eq!(connection.ping(""), Err(Error::Closed));
        assert_eq!(connection.close(1000, None), Err(Error::Closed));
        assert_eq!(connection.set_nodelay(true), Err(Error::Closed));
        assert_eq!(connection.subscribe("news"), Err(Error::Closed));
        assert_eq!(connection.set_timer(0, Duration::ZERO), Err(Error::Closed));
        connection.unsubscribe("news");
        connection.clear_timer(0);
        assert_eq!(connection.buffered_amount(), 0);
        assert_eq!(connection.selected_subprotocol(), None);
        let request = connection.request();
        assert_eq!((request.uri(), request.query(), request.headers().len()), (String::new(), None, 0));
        assert_eq!(request.set_response_header("x-a", "b"), Err(Error::Closed));
        assert!(!request.origin_allowed("http://localhost"));
    }

    #[test]
    fn all_that_is_read_with_one_id_is_one_connection() {
        let (first, second, other) = (read("\"c1\""), read("\"c1\""), read("\"c2\""));
        assert!(Rc::ptr_eq(&first.0, &second.0));
        assert!(!Rc::ptr_eq(&first.0, &other.0));
        drop((first, second));
        assert_eq!(Rc::strong_count(&read("\"c1\"").0), 1, "nothing holds what nobody kept");
    }

    #[test]
    fn a_delay_stays_below_what_the_interface_carries() {
        assert_eq!(milliseconds(Duration::from_millis(0x7fff_ffff)), Ok(0x7fff_ffff));
        assert!(matches!(milliseconds(Duration::from_millis(0x8000_0000)), Err(Error::Invalid(_))));
        assert!(matches!(milliseconds(Duration::MAX), Err(Error::Invalid(_))));
    }
}
