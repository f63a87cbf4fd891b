//! What can go wrong for a client, for its caller to tell apart.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, header};

use super::tls::TlsError;
use crate::connection::link::LinkError;
use crate::units::printable;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a URL that a WebSocket can have. Correct it.
    #[error("not a URL to connect to: {0}")]
    InvalidUrl(String),
    /// A header or a subprotocol that cannot be sent. Correct it.
    #[error("not a request to send: {0}")]
    InvalidRequest(String),
    /// Every address of this host is one that may not be dialled. Only where the host of a guest dials, whose route says which may be.
    #[error("no address of `{0}` may be dialled")]
    Denied(String),
    /// Nobody listens at the address. Of several, one that refused. Perhaps try again.
    #[error("the server cannot be reached: nobody listens at {0}")]
    Refused(SocketAddr),
    /// The name is unknown, or nobody answers at the address, or the connection broke. Perhaps try again.
    #[error("the server cannot be reached: {0}")]
    Network(#[source] io::Error),
    /// The server is not who it is to be, or speaks no TLS that this side speaks.
    #[error("the server cannot be trusted: {0}")]
    Tls(#[source] TlsError),
    /// The server took too long. Perhaps try again.
    #[error("the server did not answer within {0:?}")]
    Timeout(Duration),
    /// The server answered, but not with 101: its answer, with the first 8 KiB of the body. Redirects are not followed.
    #[error("the server answered with status {}{}", .0.status(), redirect(.0))]
    Http(Box<Response<Bytes>>),
    /// The server's answer is no WebSocket handshake, or names what was not asked for.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
}

impl From<TlsError> for ConnectError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

/// Where an answer would have the client go.
fn redirect(answer: &Response<Bytes>) -> String {
    let location = answer.headers().get(header::LOCATION).filter(|_| answer.status().is_redirection());
    location.map_or(String::new(), |location| {
        format!(" to {}, and redirects are not followed", printable(location.as_bytes()))
    })
}

/// Why a message or a close could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The connection is closed or closing: Tornado's `WebSocketClosedError`.
    #[error("the connection is closed")]
    Closed,
    /// The queue is full: wait for [`ClientConnection::flush`](super::ClientConnection::flush).
    #[error("the queue is full")]
    BufferFull,
    /// Larger than a message may be.
    #[error("over the limit `{0}`")]
    Limit(String),
    /// Not what the protocol allows.
    #[error("{0}")]
    Invalid(String),
}

impl From<LinkError> for WriteError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed => Self::Closed,
            LinkError::BufferFull => Self::BufferFull,
            LinkError::Limit(limit) => Self::Limit(limit),
            LinkError::Invalid(why) => Self::Invalid(why),
        }
    }
}
