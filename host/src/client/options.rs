//! How a client's connection is opened, and what it may use.

use std::sync::Arc;
use std::time::Duration;

use super::dial::Resolver;
use crate::client::roots::Roots;
use crate::connection::compression::Settings;
use crate::limits::{Limits, PongTimeout};
use crate::units::Unit;

/// How a connection is opened and what it may use.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Subprotocols to ask for, the preferred one first.
    pub subprotocols: Vec<String>,
    /// From the look-up of the name to the server's answer. Default: 20 s, Tornado's.
    pub connect_timeout: Duration,
    /// Bytes in one message, in either direction. A server's larger message closes the connection (1009). Default: 10 MiB, Tornado's.
    pub max_message_bytes: usize,
    /// Frames of one message. A server's message of more closes the connection (1009). Default: 10,000.
    pub max_fragments: u32,
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
            max_fragments: limits.max_fragments,
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
    /// The same under a route's limits.
    pub(crate) fn with_limits(self, limits: &Limits) -> Self {
        Self {
            max_message_bytes: limits.max_message_bytes,
            max_fragments: limits.max_fragments,
            max_queue_bytes: limits.max_queue_bytes,
            close_timeout: limits.close_timeout,
            write_timeout: limits.write_timeout,
            ..self
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_message_bytes: self.max_message_bytes,
            max_fragments: self.max_fragments,
            // Whoever reads decides how fast.
            max_messages_per_second: u32::unlimited(),
            max_bytes_per_second: usize::unlimited(),
            max_queue_bytes: self.max_queue_bytes,
            close_timeout: self.close_timeout.min(LONGEST),
            write_timeout: self.write_timeout.min(LONGEST),
            ping_interval: self.ping_interval.unwrap_or_default().min(LONGEST),
            pong_timeout: self.pong_timeout.map_or(PongTimeout::Interval, PongTimeout::Of),
            idle_timeout: None,
            life_time: None,
            ..Limits::default()
        }
    }
}

/// As good as for ever, and far from where clocks overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
