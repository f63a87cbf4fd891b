//! Why a call failed: the interface's `error`, as an error that people can read.

use std::fmt;

use crate::generated::app::waterspout::websocket::types;

/// Why a call to the host failed. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The connection is closed or closing: stop writing, [`on_close`](crate::Handler::on_close) comes or came.
    Closed,
    /// The outbound queue is full, because the peer reads slower than we write: nothing was queued.
    /// [`on_writable`](crate::Handler::on_writable) tells when to go on.
    BufferFull,
    /// Waiting took longer than it may; what was waited for may still happen.
    Timeout,
    /// Over a limit that the operator set; it is named.
    Limit(String),
    /// The operator's policy, or this moment (suspend, resume), does not allow it.
    Denied,
    /// The argument is not what the protocol allows; it says why.
    Invalid(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Closed => f.write_str("the connection is closed or closing"),
            Error::BufferFull => f.write_str("the outbound queue is full, nothing was queued"),
            Error::Timeout => f.write_str("waiting took longer than it may"),
            Error::Limit(limit) => write!(f, "over a limit that the operator set: {limit}"),
            Error::Denied => f.write_str("not allowed by the operator's policy, or not at this moment"),
            Error::Invalid(why) => write!(f, "not what the protocol allows: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Closed => Error::Closed,
            types::Error::BufferFull => Error::BufferFull,
            types::Error::Timeout => Error::Timeout,
            types::Error::Limit(limit) => Error::Limit(limit),
            types::Error::Denied => Error::Denied,
            types::Error::Invalid(why) => Error::Invalid(why),
        }
    }
}

/// A value that is no JSON, or JSON that is no such value, is an invalid argument, so that `?` serves both.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Error::Invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_clear_sentence() {
        let errors = [
            Error::Closed,
            Error::BufferFull,
            Error::Timeout,
            Error::Limit("max_message_bytes is 1024".into()),
            Error::Denied,
            Error::Invalid("close code 1005".into()),
        ];
        for error in errors {
            let sentence = error.to_string();
            assert!(sentence.len() > 20 && !sentence.contains("Error"), "{sentence}");
        }
        assert_eq!(
            Error::Limit("max_message_bytes is 1024".into()).to_string(),
            "over a limit that the operator set: max_message_bytes is 1024"
        );
    }

    #[test]
    fn question_mark_takes_the_host_s_errors_and_json_s() {
        fn host() -> Result<(), Error> {
            Err(types::Error::Invalid("a ping of 126 bytes".into()))?
        }
        fn json() -> Result<u32, Error> {
            Ok(serde_json::from_str("\"no number\"")?)
        }
        assert_eq!(host(), Err(Error::Invalid("a ping of 126 bytes".into())));
        assert!(matches!(json(), Err(Error::Invalid(why)) if why.contains("expected u32")));
    }
}
