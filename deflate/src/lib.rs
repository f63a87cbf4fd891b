#![doc = include_str!("../README.md")]
//!
//! # Layout
//! Each module uses only those above it.
//! - `budget`: memory that several connections share
//! - [`settings`](Settings): what one side is willing to do, and its numbers: [`WindowBits`], [`Level`], [`MemLevel`]
//! - `error`: what a peer can do wrong while it is inflated
//! - `extensions`: the grammar of `Sec-WebSocket-Extensions`
//! - [`negotiation`]: offer, acceptance and confirmation, as pure functions over header values
//! - `buffer`: bytes on their way
//! - `turn`: how much a connection may do before others have their turn
//! - `context`: zlib's compressor and decompressor, and what they weigh
//! - `frame`: where a frame's header ends
//! - `decoder`: from what the peer sent to plain frames
//! - `encoder`: from plain frames to what the peer is sent
//! - `stream`: [`DeflateStream`], both of them around a socket
//! - `ready_made`: a message that is compressed once for many connections

mod budget;
mod buffer;
mod context;
mod decoder;
mod encoder;
mod error;
mod extensions;
mod frame;
pub mod negotiation;
mod ready_made;
mod settings;
mod stream;
mod turn;

pub use budget::{Budget, DECOMPRESSOR_BYTES, DecompressorMemory, Reservation};
pub use error::DeflateError;
pub use negotiation::{Accepted, Agreed, NegotiationError};
pub use ready_made::ready_made;
pub use settings::{Compression, Level, MemLevel, OutOfRange, Settings, WindowBits};
pub use stream::DeflateStream;
/// The version whose types stand in this crate's functions.
pub use tungstenite;
