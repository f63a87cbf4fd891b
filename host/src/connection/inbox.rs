//! What a peer sent, and what of it was read before anybody could take it: while a handler's call ran, or while a client waited
//! to write. Bounded, so that TCP slows the peer down.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// What a peer sent: a message, or a control frame that is an event of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrival {
    Text(Utf8Bytes),
    Binary(Bytes),
    /// It has been answered.
    Ping(Bytes),
    Pong(Bytes),
}

impl Arrival {
    /// None for what is no event of its own.
    pub(crate) fn of(message: Message) -> Option<Self> {
        match message {
            Message::Text(text) => Some(Self::Text(text)),
            Message::Binary(bytes) => Some(Self::Binary(bytes)),
            Message::Ping(data) => Some(Self::Ping(data)),
            Message::Pong(data) => Some(Self::Pong(data)),
            Message::Close(_) | Message::Frame(_) => None,
        }
    }

    /// Bytes of its payload.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes.len(),
        }
    }
}

/// Bytes read ahead. One message may be larger.
const READ_AHEAD_BYTES: usize = 64 << 10;
/// What an arrival costs beside its payload: bounds how many empty ones there are.
const READ_AHEAD_ENTRY_BYTES: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    arrivals: VecDeque<Arrival>,
    bytes: usize,
}

impl Inbox {
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < READ_AHEAD_BYTES
    }

    /// What it holds, with what each arrival costs beside its payload.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Nobody wants what is in it.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn push(&mut self, arrival: Arrival) {
        self.bytes += READ_AHEAD_ENTRY_BYTES + arrival.len();
        self.arrivals.push_back(arrival);
    }

    pub(crate) fn pop(&mut self) -> Option<Arrival> {
        let arrival = self.arrivals.pop_front()?;
        self.bytes -= READ_AHEAD_ENTRY_BYTES + arrival.len();
        Some(arrival)
    }
}
