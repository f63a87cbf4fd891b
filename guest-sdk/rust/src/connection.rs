//! The accepted connection, as its handler sees it.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;

use crate::generated::app::waterspout::websocket::connection;
use crate::{Error, Message, Request};

/// An open connection. A clone is another handle to the same, cheap to make and to keep: in a shared instance,
/// handlers write to each other's connections through clones that they leave in what they [share](crate::Shared).
/// Dropping a handle ends nothing.
///
/// After the connection's end [`id`](Self::id) and [`selected_subprotocol`](Self::selected_subprotocol) still answer,
/// [`buffered_amount`](Self::buffered_amount) is 0, and everything else is [`Error::Closed`].
#[derive(Clone)]
pub struct Connection(Rc<Parts>);

struct Parts {
    handle: connection::Connection,
    request: Request,
}

impl Connection {
    pub(crate) fn new(handle: connection::Connection, request: Request) -> Self {
        Self(Rc::new(Parts { handle, request }))
    }

    /// Unguessable, unique in the cluster, the same for the whole life of the connection, also when its handler is
    /// replaced.
    pub fn id(&self) -> String {
        self.0.handle.id()
    }

    /// The request that asked for this connection.
    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// What [`select_subprotocol`](crate::Handler::select_subprotocol) selected.
    pub fn selected_subprotocol(&self) -> Option<String> {
        self.0.handle.selected_subprotocol()
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
        Ok(self.0.handle.write_message(message)?)
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
        Ok(self.0.handle.flush()?)
    }

    /// Bytes queued and not yet handed to the network.
    pub fn buffered_amount(&self) -> u32 {
        self.0.handle.buffered_amount()
    }

    /// Sends a ping with at most 125 bytes; [`on_pong`](crate::Handler::on_pong) brings them back.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed); [`BufferFull`](Error::BufferFull); [`Invalid`](Error::Invalid), more than 125 bytes.
    pub fn ping(&self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        Ok(self.0.handle.ping(data.as_ref())?)
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
        Ok(self.0.handle.close(code.into(), reason.into())?)
    }

    /// Whether small frames are sent at once (TCP_NODELAY), or may wait for more.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed).
    pub fn set_nodelay(&self, value: bool) -> Result<(), Error> {
        Ok(self.0.handle.set_nodelay(value)?)
    }

    /// From now on this connection is sent what anybody [publishes](crate::publish) under `topic`.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed); [`Limit`](Error::Limit), of topics; [`Denied`](Error::Denied);
    /// [`Invalid`](Error::Invalid).
    pub fn subscribe(&self, topic: &str) -> Result<(), Error> {
        Ok(self.0.handle.subscribe(topic)?)
    }

    /// Takes back [`subscribe`](Self::subscribe).
    pub fn unsubscribe(&self, topic: &str) {
        self.0.handle.unsubscribe(topic);
    }

    /// Calls [`on_timer`](crate::Handler::on_timer) with `token`, once, after `delay`, which is rounded up to whole
    /// milliseconds. An earlier timer with that token is replaced.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed); [`Limit`](Error::Limit), of timers; [`Invalid`](Error::Invalid), over 24 days.
    pub fn set_timer(&self, token: u32, delay: Duration) -> Result<(), Error> {
        Ok(self.0.handle.set_timer(token, milliseconds(delay)?)?)
    }

    /// Takes back [`set_timer`](Self::set_timer).
    pub fn clear_timer(&self, token: u32) {
        self.0.handle.clear_timer(token);
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

    #[test]
    fn a_delay_stays_below_what_the_interface_carries() {
        assert_eq!(milliseconds(Duration::from_millis(0x7fff_ffff)), Ok(0x7fff_ffff));
        assert!(matches!(milliseconds(Duration::from_millis(0x8000_0000)), Err(Error::Invalid(_))));
        assert!(matches!(milliseconds(Duration::MAX), Err(Error::Invalid(_))));
    }
}
