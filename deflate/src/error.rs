//! What can go wrong while a peer's messages are inflated.

use std::io;

/// Why no more can be read. It comes out of the socket as an [`io::Error`], and out of tungstenite as its `Error::Io`;
/// [`DeflateError::in_io_error`] finds it there. Close the connection with [`DeflateError::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeflateError {
    /// A message inflates to more than [`Settings::max_message_bytes`](crate::Settings::max_message_bytes), or is that much
    /// larger on the wire that it can only be meant to keep us busy.
    #[error("a compressed message is larger than {limit} bytes")]
    MessageTooBig {
        /// The limit.
        limit: usize,
    },
    /// A message is not what RFC 1951 allows.
    #[error("a compressed message cannot be inflated")]
    Corrupt,
    /// The [`Budget`](crate::Budget) has no room for a decompressor. Does not happen where one was reserved.
    #[error("no memory is left to inflate a message in")]
    OutOfMemory,
}

impl DeflateError {
    /// The code to close the connection with (RFC 6455 section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::MessageTooBig { .. } => 1009,
            Self::Corrupt => 1007,
            Self::OutOfMemory => 1013,
        }
    }

    /// The error that is the source of a failed read, if it is one of these.
    pub fn in_io_error(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<DeflateError> for io::Error {
    fn from(error: DeflateError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
