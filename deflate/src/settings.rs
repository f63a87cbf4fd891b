//! What one side of a connection is willing to do.

use crate::Budget;

/// A number is outside of its range; it names the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {least} to {most}, not {value}")]
pub struct OutOfRange {
    name: &'static str,
    least: u8,
    most: u8,
    value: u8,
}

macro_rules! bounded {
    ($(#[doc = $doc:literal])+ $type:ident, $name:literal, $least:literal..=$most:literal, default $default:literal) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(u8);

        impl $type {
            /// The least.
            pub const MIN: Self = Self($least);
            /// The most.
            pub const MAX: Self = Self($most);

            /// The number.
            pub const fn get(self) -> u8 {
                self.0
            }
        }

        impl Default for $type {
            fn default() -> Self {
                Self($default)
            }
        }

        impl TryFrom<u8> for $type {
            type Error = OutOfRange;

            fn try_from(value: u8) -> Result<Self, OutOfRange> {
                if ($least..=$most).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(OutOfRange { name: $name, least: $least, most: $most, value })
                }
            }
        }
    };
}

bounded! {
    /// The base-two logarithm of a window's bytes (RFC 7692 section 7.1.2): 9 to 15, by default 15.
    ///
    /// RFC 7692 knows 8, too. zlib cannot compress with it: it silently takes 9, which a peer with a window of 8 cannot read. So 8
    /// is declined when it is offered, and never reaches zlib.
    WindowBits, "a window's bits", 9..=15, default 15
}

bounded! {
    /// How hard a compressor tries: 0 (not at all) to 9 (smallest), by default 6.
    Level, "the level of compression", 0..=9, default 6
}

bounded! {
    /// How much memory a compressor takes beside its window: 1 (least) to 9 (fastest), by default 8.
    MemLevel, "the memory level", 1..=9, default 8
}

/// What one side of a connection is willing to do: read by [`negotiation`](crate::negotiation), obeyed by
/// [`DeflateStream`](crate::DeflateStream). The names beginning with `server_` and `client_` mean the same on both sides, as in
/// RFC 7692.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How hard our messages are compressed.
    pub level: Level,
    /// How much memory our compressor takes beside its window.
    pub mem_level: MemLevel,
    /// Our messages of fewer bytes go uncompressed. `None`: 16 where our messages share a window, 256 where each begins with an
    /// empty one, which makes small messages larger rather than smaller.
    pub threshold: Option<usize>,
    /// A peer's message that inflates to more bytes is [`DeflateError::MessageTooBig`](crate::DeflateError::MessageTooBig); found
    /// out while it is inflated, so that no more than this is ever held. Default: 64 MiB, as tungstenite's own limit.
    pub max_message_bytes: usize,
    /// The server's messages are each compressed by themselves: costs size, saves the memory of a window and of a compressor per
    /// connection, and allows [`ready_made`](crate::ready_made) messages. Default: false.
    pub server_no_context_takeover: bool,
    /// The client's messages are each compressed by themselves. Default: false.
    pub client_no_context_takeover: bool,
    /// The server's window. Default: the largest.
    pub server_max_window_bits: WindowBits,
    /// The client's window. A server can limit it only where the client's offer says that it can be limited. Default: the largest.
    pub client_max_window_bits: WindowBits,
    /// The memory that compressors and decompressors may take together with those of other connections. Default: unlimited.
    pub budget: Budget,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: Level::default(),
            mem_level: MemLevel::default(),
            threshold: None,
            max_message_bytes: 64 << 20,
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: WindowBits::MAX,
            client_max_window_bits: WindowBits::MAX,
            budget: Budget::unlimited(),
        }
    }
}

/// What [`Settings::threshold`] stands for when it is unset.
const THRESHOLD: usize = 16;
const THRESHOLD_ALONE: usize = 256;

impl Settings {
    /// The [`threshold`](Self::threshold) that holds, by whether each of our messages is compressed by itself.
    pub fn threshold(&self, no_context_takeover: bool) -> usize {
        self.threshold.unwrap_or(if no_context_takeover { THRESHOLD_ALONE } else { THRESHOLD })
    }
}

/// What decides how a compressor's output looks: two connections with the same can be sent the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Compression {
    /// How hard it tries.
    pub level: Level,
    /// How much memory it takes beside its window.
    pub mem_level: MemLevel,
    /// How far back it may refer.
    pub window_bits: WindowBits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_eight_bits_cannot_be_expressed() {
        assert_eq!(
            WindowBits::try_from(8).expect_err("refused").to_string(),
            "a window's bits is 9 to 15, not 8"
        );
        assert_eq!(WindowBits::try_from(9), Ok(WindowBits::MIN));
        assert_eq!(WindowBits::try_from(15), Ok(WindowBits::MAX));
        assert!(WindowBits::try_from(16).is_err());
    }

    #[test]
    fn levels_are_zlibs() {
        assert!(Level::try_from(9).is_ok() && Level::try_from(10).is_err());
        assert!(MemLevel::try_from(0).is_err() && MemLevel::try_from(1).is_ok());
        assert_eq!((Level::default().get(), MemLevel::default().get()), (6, 8));
    }
}
