//! permessage-deflate (RFC 7692): what the operator allows, what the handler asks for, and what is agreed with the peer.
//!
//! The bytes themselves are the business of the crate `tungstenite-deflate`.

use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
pub(crate) use tungstenite_deflate::Reservation;
use tungstenite_deflate::{
    Agreed, Compression, DecompressorMemory, DeflateStream, OutOfRange, negotiation, ready_made,
};
pub use tungstenite_deflate::{Budget, Level, MemLevel, Settings, WindowBits};

use crate::limits::Limits;
use crate::limits::processors::work_aside;
use crate::limits::records::{Kind, Records};
use crate::limits::tenants::Tenancy;

/// What an operator says about the compression of a route's messages. Whether there is any is the handler's choice, too
/// (`get-compression-options`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressionPolicy {
    /// Whether messages may refer to earlier ones: smaller messages, for the memory of a compressor per connection. Default: true.
    pub context_takeover: bool,
    /// The largest window, in either direction. Default: 15, which is 32 KiB.
    pub max_window_bits: WindowBits,
    /// The highest level; a handler that asks for more gets this. Default: 9, the highest there is.
    pub max_level: Level,
    /// Messages of fewer bytes are sent as they are. Default: 16, or 256 without context takeover.
    pub threshold: Option<usize>,
}

impl Default for CompressionPolicy {
    fn default() -> Self {
        Self {
            context_takeover: true,
            max_window_bits: WindowBits::MAX,
            max_level: Level::MAX,
            threshold: None,
        }
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
        let level = level.map(Level::try_from).transpose()?.unwrap_or_default();
        Ok(Settings {
            level: level.min(self.max_level),
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

/// What the compressors and decompressors of one route may take together.
#[derive(Debug)]
pub(crate) struct CompressionMemory {
    pub(crate) budget: Budget,
}

impl CompressionMemory {
    /// A part of the tenant's memory.
    pub(crate) fn new(memory: &Budget, limits: &Limits) -> Self {
        Self { budget: memory.part(limits.max_compression_bytes) }
    }

    /// For a peer that is to be promised compression, which it may use at any time.
    fn reserve_decompressor(&self, records: &Records) -> Option<DecompressorMemory> {
        let memory = self.budget.reserve_decompressor();
        // Peers that come and go can make it full, and not full, as often as they like.
        if memory.is_none()
            && let Some(untold) = records.tell(Kind::Uncompressed)
        {
            tracing::warn!(
                tenant = records.tenant(),
                route = records.route(),
                untold,
                "`max-compression-bytes` are in use: newcomers go uncompressed until there is room"
            );
        }
        memory
    }
}

/// What was agreed with one peer, and the memory that it needs at least.
#[derive(Debug)]
pub(crate) struct Deflate {
    agreed: Agreed,
    settings: Settings,
    decompressor: DecompressorMemory,
    /// The answer's `Sec-WebSocket-Extensions`.
    pub(crate) response: String,
}

impl Deflate {
    /// Answers a peer's offers. None: the connection goes uncompressed.
    pub(crate) fn accept(
        offers: &[HeaderValue],
        settings: Settings,
        memory: &CompressionMemory,
        records: &Records,
    ) -> Option<Self> {
        let accepted = negotiation::accept(offers, &settings)?;
        let decompressor = memory.reserve_decompressor(records)?;
        Some(Self { agreed: accepted.agreed, settings, decompressor, response: accepted.response })
    }

    /// How a message can be compressed once for this connection and others, if its messages share no context.
    pub(crate) fn ready_made(&self) -> Option<ReadyMade> {
        self.agreed.server_no_context_takeover.then(|| ReadyMade {
            window_bits: self.agreed.server_max_window_bits,
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

/// A connection whose messages share no context: what is published to it can be compressed once for all that have its window. Their
/// handlers' levels do not matter then: whoever reads a message needs to know only the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadyMade {
    pub(crate) window_bits: WindowBits,
    /// Smaller messages are sent as they are.
    threshold: usize,
}

/// A published message in the forms in which it is sent.
#[derive(Debug)]
pub(crate) struct Published {
    plain: Message,
    /// One for each window, of which there are seven.
    compressed: Vec<(WindowBits, Message)>,
}

/// What is compressed within the publisher's own call, all windows together: a few milliseconds at the worst, in which its thread
/// serves nobody else. More is compressed on a thread of its own, on the tenant's account.
const INLINE_BYTES: usize = 64 << 10;
/// Messages that are compressed on threads of their own at once, one of a tenant's. What finds no place is sent plain, and each connection
/// compresses it for itself.
static COMPRESSING: Semaphore = Semaphore::const_new(2);

impl Published {
    /// `windows` are those of the subscribers that have a [`ReadyMade`]; `publisher` is who pays.
    ///
    /// Cancel safety: what has begun on another thread ends there.
    pub(crate) async fn new(plain: Message, windows: Vec<WindowBits>, publisher: &Arc<Tenancy>) -> Self {
        let bytes = plain.len();
        if bytes.saturating_mul(windows.len()) <= INLINE_BYTES {
            return Self::compress(plain, windows);
        }
        let uncompressed = Self::plain(plain.clone());
        let Some(of_tenant) = publisher.try_compressing() else { return uncompressed };
        let Ok(of_process) = COMPRESSING.try_acquire() else { return uncompressed };
        let compressing = work_aside(publisher.clone(), move || {
            let _permits = (of_tenant, of_process);
            Self::compress(plain, windows)
        });
        compressing.await.unwrap_or(uncompressed)
    }

    fn compress(plain: Message, windows: Vec<WindowBits>) -> Self {
        let form = |window_bits| {
            let compression =
                Compression { window_bits, level: Level::default(), mem_level: MemLevel::default() };
            (window_bits, ready_made(&plain, compression))
        };
        let compressed = windows.into_iter().map(form).collect();
        Self { plain, compressed }
    }

    /// As it was published.
    pub(crate) fn plain(plain: Message) -> Self {
        Self { plain, compressed: Vec::new() }
    }

    /// Whether there is no form of it but the plain one.
    #[cfg(test)]
    pub(crate) fn is_plain(&self) -> bool {
        self.compressed.is_empty()
    }

    /// Bytes before compression.
    pub(crate) fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// What a connection is sent. Plain is right for every one: those that compress for themselves do.
    pub(crate) fn form(&self, ready_made: Option<ReadyMade>) -> &Message {
        let form = ready_made
            .filter(|ready_made| self.plain.len() >= ready_made.threshold)
            .and_then(|ready_made| self.compressed.iter().find(|(bits, _)| *bits == ready_made.window_bits));
        form.map_or(&self.plain, |(_, form)| form)
    }
}
