//! permessage-deflate (RFC 7692): what the operator allows, what the handler asks for, and what is agreed with the peer.
//!
//! The bytes themselves are the business of the crate `tungstenite-deflate`.

use http::HeaderValue;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tungstenite_deflate::{
    Agreed, Budget, Compression, DECOMPRESSOR_BYTES, DeflateStream, OutOfRange, Reservation, negotiation,
    ready_made,
};
pub use tungstenite_deflate::{Level, MemLevel, Settings, WindowBits};

use crate::limits::Limits;

/// What an operator says about the compression of a route's messages. Whether there is any is the handler's choice, too
/// (`get-compression-options`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressionPolicy {
    /// Whether messages may refer to earlier ones. Smaller messages, for the memory of two windows per connection. Default: true.
    pub context_takeover: bool,
    /// The largest window, in either direction. Default: 15, which is 32 KiB.
    pub max_window_bits: WindowBits,
    /// Messages of fewer bytes are sent as they are. Default: 16, or 256 without context takeover.
    pub threshold: Option<usize>,
}

impl Default for CompressionPolicy {
    fn default() -> Self {
        Self { context_takeover: true, max_window_bits: WindowBits::MAX, threshold: None }
    }
}

impl CompressionPolicy {
    /// What the server's side of a connection is willing to do, with the level and memory level that its handler asks for.
    ///
    /// # Errors
    /// The handler's numbers are outside of their ranges.
    pub(crate) fn settings(
        &self,
        (level, mem_level): (Option<u8>, Option<u8>),
        limits: &Limits,
        budget: &Budget,
    ) -> Result<Settings, OutOfRange> {
        Ok(Settings {
            level: level.map(Level::try_from).transpose()?.unwrap_or_default(),
            mem_level: mem_level.map(MemLevel::try_from).transpose()?.unwrap_or_default(),
            threshold: self.threshold,
            max_message_bytes: limits.max_message_bytes,
            server_no_context_takeover: !self.context_takeover,
            client_no_context_takeover: !self.context_takeover,
            server_max_window_bits: self.max_window_bits,
            client_max_window_bits: self.max_window_bits,
            budget: budget.clone(),
        })
    }
}

/// What was agreed with one peer, and the memory that it needs at least.
#[derive(Debug)]
pub(crate) struct Deflate {
    agreed: Agreed,
    settings: Settings,
    decompressor: Reservation,
    /// The answer's `Sec-WebSocket-Extensions`.
    pub(crate) response: String,
}

impl Deflate {
    /// Answers a peer's offers. None: the connection goes uncompressed.
    pub(crate) fn accept(offers: &[HeaderValue], settings: Settings) -> Option<Self> {
        let accepted = negotiation::accept(offers, &settings)?;
        // A peer that was promised compression may use it at any time.
        let decompressor = settings.budget.reserve(DECOMPRESSOR_BYTES)?;
        Some(Self { agreed: accepted.agreed, settings, decompressor, response: accepted.response })
    }

    /// How a message can be compressed once for this connection and others, if its messages share no context.
    pub(crate) fn ready_made(&self) -> Option<ReadyMade> {
        self.agreed.server_no_context_takeover.then(|| ReadyMade {
            compression: self.agreed.compression(Role::Server, &self.settings),
            threshold: self.settings.threshold(self.agreed.server_no_context_takeover),
        })
    }

    /// `read_ahead` are bytes that were read past the handshake.
    pub(crate) fn wrap<S>(self, socket: S, read_ahead: &[u8]) -> DeflateStream<S> {
        DeflateStream::new(socket, Role::Server, &self.agreed, &self.settings)
            .with_decompressor(self.decompressor)
            .with_read_ahead(read_ahead)
    }
}

/// What decides how a published message looks on a connection whose messages share no context: all with the same are sent the
/// same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ReadyMade {
    pub(crate) compression: Compression,
    /// Smaller messages are sent as they are.
    pub(crate) threshold: usize,
}

/// A published message in the forms in which it is sent.
#[derive(Debug)]
pub(crate) struct Published {
    plain: Message,
    compressed: Vec<(ReadyMade, Message)>,
}

/// Larger messages are compressed on a thread of their own: a few milliseconds in which a loop would serve nobody else.
const INLINE_BYTES: usize = 64 << 10;

impl Published {
    /// `kinds` are those of the subscribers.
    pub(crate) async fn new(plain: Message, kinds: Vec<ReadyMade>) -> Self {
        let kinds = kinds.into_iter().filter(|kind| plain.len() >= kind.threshold);
        let compress = |plain: Message, kinds: Vec<ReadyMade>| {
            let compressed =
                kinds.into_iter().map(|kind| (kind, ready_made(&plain, kind.compression))).collect();
            Self { plain, compressed }
        };
        let kinds: Vec<ReadyMade> = kinds.collect();
        if kinds.is_empty() || plain.len() <= INLINE_BYTES {
            return compress(plain, kinds);
        }
        let uncompressed = Self { plain: plain.clone(), compressed: Vec::new() };
        // Fails only when the process ends; each connection can do it for itself.
        tokio::task::spawn_blocking(move || compress(plain, kinds)).await.unwrap_or(uncompressed)
    }

    /// Bytes before compression.
    pub(crate) fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// What a connection of this kind is sent; of none, or of one that was not there when the message was compressed, the plain
    /// message, which its own layer compresses.
    pub(crate) fn form(&self, kind: Option<ReadyMade>) -> &Message {
        let form = kind.and_then(|kind| self.compressed.iter().find(|(own, _)| *own == kind));
        form.map_or(&self.plain, |(_, form)| form)
    }
}
