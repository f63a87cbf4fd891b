//! How connections end. Every ending after the 101 is one [`CloseCause`], and one table maps it to the close frame that
//! is sent, the level it is logged at, and the label it is counted under.

use std::io;

use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame as WireFrame, coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as WireError, error::CapacityError, error::ProtocolError};
use tungstenite_deflate::DeflateError;

/// A close frame's content (RFC 6455 section 5.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// 1000 to 4999; 1005 stands for "a close frame without a code".
    pub code: u16,
    /// At most 123 bytes.
    pub reason: String,
}

impl CloseFrame {
    pub(crate) fn from_wire(frame: Option<WireFrame>) -> Self {
        match frame {
            Some(frame) => Self { code: frame.code.into(), reason: frame.reason.as_str().to_owned() },
            None => Self { code: 1005, reason: String::new() },
        }
    }
}

/// The close frame a handler or an operator asked for: nothing, or a code with a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CloseRequest(Option<CloseFrame>);

impl CloseRequest {
    /// Checks what a handler asked for (RFC 6455 sections 5.5.1 and 7.4). A reason without a code means 1000.
    pub(crate) fn new(code: Option<u16>, reason: Option<String>) -> Result<Self, String> {
        let reason = reason.unwrap_or_default();
        let code = match code {
            None if reason.is_empty() => return Ok(Self(None)),
            None => 1000,
            Some(code @ (1000..=1004 | 1007..=1014 | 1016..=4999)) => code,
            Some(code) => {
                return Err(format!(
                    "close code {code} may not be sent: use 1000 to 4999 except 1005, 1006 and 1015"
                ));
            }
        };
        if reason.len() > 123 {
            return Err(format!("a close reason has at most 123 bytes, this one has {}", reason.len()));
        }
        Ok(Self(Some(CloseFrame { code, reason })))
    }

    pub(crate) fn to_wire(&self) -> Option<WireFrame> {
        self.0.as_ref().map(|frame| wire_frame(frame.code, frame.reason.clone()))
    }
}

fn wire_frame(code: u16, reason: impl Into<String>) -> WireFrame {
    WireFrame { code: CloseCode::from(code), reason: reason.into().into() }
}

/// Why a read fails although the socket is fine: the source of its [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadRefused {
    #[error("a message has more than `max-fragments` frames")]
    TooManyFragments,
    #[error("the tenant has no memory left to read a message into")]
    NoMemory,
}

impl ReadRefused {
    pub(crate) fn in_io_error(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<ReadRefused> for io::Error {
    fn from(refused: ReadRefused) -> Self {
        Self::new(io::ErrorKind::InvalidData, refused)
    }
}

/// How many causes there are.
pub(crate) const CAUSES: usize = 19;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer sent the first close frame.
    PeerClosed,
    /// The handler called `close`.
    HandlerClosed,
    /// An operator ended it by the admin listener.
    Kicked,
    /// The handler trapped, or returned what it may not.
    Trapped,
    /// An event ran past its limit of processor time or of wall-clock time.
    DeadlineExceeded,
    /// An event used more fuel than its limit.
    OutOfFuel,
    /// The peer broke the protocol.
    ProtocolError,
    /// The peer sent text that is not UTF-8.
    InvalidUtf8,
    /// The peer sent a compressed message that cannot be inflated.
    CorruptCompression,
    /// The peer sent a message over `max-message-bytes`, inflated or not, or one of more than `max-fragments` frames.
    MessageTooBig,
    /// The server is shutting down.
    GoingAway,
    /// Its handler, or the whole host, has been replaced, and the connection did not go over.
    Replaced,
    /// No instance could be had although its permit was: a pool is exhausted. Or the tenant has no memory for what the peer sends.
    Overloaded,
    /// A ping was not answered in time.
    PingTimeout,
    /// Neither side has sent a message for `idle-timeout`.
    IdleTimeout,
    /// It has been open for `life-time`.
    LifeTimeOver,
    /// The peer has taken nothing of what waits for it for `write-timeout`.
    WriteTimeout,
    /// Its queue was full when something was published, and the route's `slow-consumer` is `close`.
    SlowConsumer,
    /// The socket ended without a close frame.
    Vanished,
}

impl CloseCause {
    /// All of them, in the order of the declaration.
    pub(crate) const ALL: [Self; CAUSES] = [
        Self::PeerClosed,
        Self::HandlerClosed,
        Self::Kicked,
        Self::Trapped,
        Self::DeadlineExceeded,
        Self::OutOfFuel,
        Self::ProtocolError,
        Self::InvalidUtf8,
        Self::CorruptCompression,
        Self::MessageTooBig,
        Self::GoingAway,
        Self::Replaced,
        Self::Overloaded,
        Self::PingTimeout,
        Self::IdleTimeout,
        Self::LifeTimeOver,
        Self::WriteTimeout,
        Self::SlowConsumer,
        Self::Vanished,
    ];
}

/// One row of the table: what a [`CloseCause`] means to the peer, the log and the metrics.
struct Row {
    /// The close frame that we start, if any.
    frame: Option<(u16, &'static str)>,
    label: &'static str,
    level: tracing::Level,
}

impl CloseCause {
    fn row(self) -> Row {
        use tracing::Level;
        let (frame, label, level) = match self {
            Self::PeerClosed => (None, "peer_closed", Level::DEBUG),
            Self::HandlerClosed => (None, "handler_closed", Level::DEBUG),
            Self::Kicked => (None, "kicked", Level::INFO),
            Self::Trapped => (Some((1011, "handler failed")), "trapped", Level::WARN),
            Self::DeadlineExceeded => {
                (Some((1011, "handler took too long")), "deadline_exceeded", Level::WARN)
            }
            Self::OutOfFuel => (Some((1011, "handler out of fuel")), "out_of_fuel", Level::WARN),
            Self::ProtocolError => (Some((1002, "protocol error")), "protocol_error", Level::DEBUG),
            Self::InvalidUtf8 => (Some((1007, "invalid UTF-8")), "invalid_utf8", Level::DEBUG),
            Self::CorruptCompression => {
                (Some((1007, "invalid compressed data")), "corrupt_compression", Level::DEBUG)
            }
            Self::MessageTooBig => (Some((1009, "message too big")), "message_too_big", Level::DEBUG),
            Self::GoingAway => (Some((1001, "going away")), "going_away", Level::DEBUG),
            Self::Replaced => (Some((1012, "service restart")), "replaced", Level::DEBUG),
            Self::Overloaded => (Some((1013, "try again later")), "overloaded", Level::WARN),
            // Tornado's words and code.
            Self::PingTimeout => (Some((1000, "ping timed out")), "ping_timeout", Level::DEBUG),
            Self::IdleTimeout => (Some((1001, "idle for too long")), "idle_timeout", Level::DEBUG),
            Self::LifeTimeOver => (Some((1001, "open for too long")), "life_time_over", Level::DEBUG),
            Self::WriteTimeout => (None, "write_timeout", Level::DEBUG),
            Self::SlowConsumer => (Some((1008, "reads too slowly")), "slow_consumer", Level::DEBUG),
            Self::Vanished => (None, "vanished", Level::DEBUG),
        };
        Row { frame, label, level }
    }

    /// The close frame that the host sends for this cause; none where the other side or the handler chose it.
    pub(crate) fn to_wire(self) -> Option<WireFrame> {
        self.row().frame.map(|(code, reason)| wire_frame(code, reason))
    }

    /// The label under which this ending is logged and counted.
    pub fn label(self) -> &'static str {
        self.row().label
    }

    /// The host wants nothing more of the peer's: what it still sends, or has sent and nobody has dealt with, is thrown away. Otherwise the
    /// closing handshake is what ends it.
    pub(crate) fn ends_at_once(self) -> bool {
        !matches!(self, Self::PeerClosed | Self::HandlerClosed | Self::GoingAway | Self::Replaced)
    }

    pub(crate) fn level(self) -> tracing::Level {
        self.row().level
    }

    /// What a failed read or write of the socket means.
    pub(crate) fn from_wire(error: &WireError) -> Self {
        match error {
            WireError::Capacity(CapacityError::MessageTooLong { .. }) => Self::MessageTooBig,
            WireError::Utf8(_) => Self::InvalidUtf8,
            WireError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Vanished,
            WireError::Protocol(_) | WireError::Capacity(_) => Self::ProtocolError,
            WireError::Io(error) => Self::from_io(error),
            _ => Self::Vanished,
        }
    }

    fn from_io(error: &io::Error) -> Self {
        if let Some(refused) = ReadRefused::in_io_error(error) {
            return match refused {
                ReadRefused::TooManyFragments => Self::MessageTooBig,
                ReadRefused::NoMemory => Self::Overloaded,
            };
        }
        match DeflateError::in_io_error(error) {
            Some(DeflateError::MessageTooBig { .. }) => Self::MessageTooBig,
            Some(DeflateError::Corrupt) => Self::CorruptCompression,
            Some(DeflateError::OutOfMemory) => Self::Overloaded,
            Some(_) => Self::ProtocolError,
            None => Self::Vanished,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_must_not_appear_on_the_wire_are_refused() {
        for code in [0, 999, 1005, 1006, 1015, 5000, u16::MAX] {
            assert!(CloseRequest::new(Some(code), None).is_err(), "{code} was accepted");
        }
        for code in [1000, 1001, 1003, 1011, 1014, 3000, 4999] {
            assert!(CloseRequest::new(Some(code), None).is_ok(), "{code} was refused");
        }
    }

    #[test]
    fn a_reason_without_a_code_means_1000() {
        let frame = CloseRequest::new(None, Some("bye".into())).expect("valid").to_wire().expect("a frame");
        assert_eq!(u16::from(frame.code), 1000);
        assert_eq!(frame.reason.as_str(), "bye");
    }

    #[test]
    fn neither_code_nor_reason_means_an_empty_frame() {
        assert_eq!(CloseRequest::new(None, None).expect("valid").to_wire(), None);
    }

    #[test]
    fn a_reason_has_at_most_123_bytes() {
        assert!(CloseRequest::new(Some(1000), Some("é".repeat(61))).is_ok());
        assert!(CloseRequest::new(Some(1000), Some("é".repeat(62))).is_err());
    }

    #[test]
    fn all_causes_are_listed_in_order_and_have_labels_of_their_own() {
        for (at, cause) in CloseCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, at);
        }
        let labels: std::collections::BTreeSet<_> =
            CloseCause::ALL.into_iter().map(CloseCause::label).collect();
        assert_eq!(labels.len(), CAUSES);
    }

    #[test]
    fn the_documentation_has_every_cause_with_its_frame_and_level() {
        let page = include_str!("../../../docs/operating.md");
        for cause in CloseCause::ALL {
            let Row { frame, label, level } = cause.row();
            let begin = format!("| `{label}` | ");
            let row = page.lines().find_map(|line| line.strip_prefix(&begin));
            let row = row.unwrap_or_else(|| panic!("docs/operating.md lacks {label}"));
            if let Some((code, reason)) = frame {
                assert!(row.starts_with(&format!("{code} {reason} | ")), "{label}: {row}");
            }
            let level = level.as_str().to_lowercase();
            assert!(row.split(" | ").nth(1).is_some_and(|cell| cell.starts_with(&level)), "{label}: {row}");
        }
    }

    #[test]
    fn every_reason_of_ours_fits_a_close_frame() {
        for cause in [
            CloseCause::Trapped,
            CloseCause::DeadlineExceeded,
            CloseCause::OutOfFuel,
            CloseCause::GoingAway,
            CloseCause::Replaced,
            CloseCause::Overloaded,
            CloseCause::PingTimeout,
            CloseCause::IdleTimeout,
            CloseCause::LifeTimeOver,
            CloseCause::SlowConsumer,
        ] {
            let frame = cause.to_wire().expect("a frame of ours");
            assert!(frame.reason.len() <= 123);
        }
    }
}
