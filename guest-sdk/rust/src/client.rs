//! Connections that a handler opens itself: the interface's `client`, as it is generated.
//!
//! The operator lists where a route may connect to; everything else, and for now everything, is [`ConnectError::Denied`].
//!
//! Two styles. [`connect`] waits for the opening handshake, and [`ClientConnection::read_message`] for each message.
//! [`start`] returns at once, and [`on_client_event`](crate::Handler::on_client_event) brings everything else: the
//! style for shared instances, where whoever waits makes all wait.
//!
//! A connection belongs to the handler whose function opened it. It ends by [`ClientConnection::close`], by the
//! server, or with that handler; dropping a [`ClientConnection`] closes nothing.

pub use crate::generated::app::waterspout::websocket::client::{
    ClientConnection, ClientEvent, ConnectError, ConnectOptions, connect, get, start,
};

/// What [`ClientConnection`]'s functions fail with; `?` makes an [`Error`](crate::Error) of it.
pub use crate::generated::app::waterspout::websocket::types::Error as ClientError;

/// The host's defaults throughout.
impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            subprotocols: Vec::new(),
            connect_timeout_ms: None,
            max_message_size: None,
            ping_interval_ms: None,
            ping_timeout_ms: None,
            compression: None,
        }
    }
}
