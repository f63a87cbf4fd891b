//! The trait that a handler implements.

use crate::client::ClientEvent;
use crate::{CloseFrame, CompressionOptions, Connection, Message, Rejection, Request};

/// One connection's handler, as Tornado's `WebSocketHandler`. Each function has a default; an empty `impl` accepts a
/// connection and ignores it.
///
/// For each connection, in this order: [`new`](Self::new), [`prepare`](Self::prepare),
/// [`check_origin`](Self::check_origin) if the request names an origin,
/// [`select_subprotocol`](Self::select_subprotocol), [`get_compression_options`](Self::get_compression_options), the
/// 101 answer, [`open`](Self::open), then events as they come, one at a time, and [`on_close`](Self::on_close) once.
/// Then the handler is dropped.
///
/// A panic ends every connection of this instance with 1011; its message goes to the host's log.
///
/// ```
/// use waterspout_guest::{Connection, Handler, Message};
///
/// #[derive(Default)]
/// struct Counter {
///     messages: u64,
/// }
///
/// impl Handler for Counter {
///     fn on_message(&mut self, conn: &Connection, _: Message) {
///         self.messages += 1;
///         if conn.write_message(format!("That was number {}", self.messages)).is_err() {
///             println!("{} is gone, or reads too slowly", conn.id());
///         }
///     }
/// }
///
/// waterspout_guest::export!(Counter);
/// ```
#[allow(
    unused_variables,
    reason = "the names are for the documentation and for editors that fill in a function"
)]
pub trait Handler: Default + 'static {
    /// Makes the handler of a connection that is asked for.
    fn new(request: &Request) -> Self {
        Self::default()
    }

    /// Called first. A [`Rejection`] ends the handshake here, with any HTTP answer. Headers of the 101 answer may be
    /// set from here on ([`Request::set_response_header`]).
    fn prepare(&mut self, request: &Request) -> Result<(), Rejection> {
        Ok(())
    }

    /// Whether pages of this origin may connect; if not, the answer is 403. Asked only when the request names an
    /// origin, and the operator's list, if there is one, allows it. By default: the same host and port.
    fn check_origin(&mut self, request: &Request, origin: &str) -> bool {
        request.origin_allowed(origin)
    }

    /// Which of the offered subprotocols is spoken, if any. Asked once, also when none is offered.
    fn select_subprotocol(&mut self, request: &Request, offered: &[String]) -> Option<String> {
        None
    }

    /// Whether and how messages are compressed, if the peer offers it; `Some(CompressionOptions::default())` for the
    /// host's defaults. By default they are not.
    fn get_compression_options(&mut self) -> Option<CompressionOptions> {
        None
    }

    /// The connection is open. No message is delivered before this returns.
    fn open(&mut self, conn: &Connection) {}

    /// A message came.
    fn on_message(&mut self, conn: &Connection, message: Message) {}

    /// A ping came; the pong has been sent.
    fn on_ping(&mut self, conn: &Connection, data: Vec<u8>) {}

    /// A pong came, usually for a [`Connection::ping`] of ours.
    fn on_pong(&mut self, conn: &Connection, data: Vec<u8>) {}

    /// Once after an [`Error::BufferFull`](crate::Error::BufferFull), when half the queue is free again.
    fn on_writable(&mut self, conn: &Connection) {}

    /// A timer that was set with this token ([`Connection::set_timer`]) ran out.
    fn on_timer(&mut self, conn: &Connection, token: u32) {}

    /// Something happened on the connection with this id, which this handler [started](crate::client::websocket_start).
    fn on_client_event(&mut self, conn: &Connection, id: &str, event: ClientEvent) {}

    /// The connection has ended. `frame` is what the peer sent, also as its answer to our [`Connection::close`]; none
    /// when no close frame came.
    fn on_close(&mut self, conn: &Connection, frame: Option<CloseFrame>) {}
}
