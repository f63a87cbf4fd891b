//! An HTTP answer that ends a handshake.

use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};

use crate::limits::Reached;

/// An HTTP answer that ends a handshake.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The status line's code.
    pub status: StatusCode,
    /// One sentence for a person; also the body.
    pub body: String,
    /// A header beside content-type and the like.
    pub header: Option<Box<(HeaderName, HeaderValue)>>,
    /// The bound that was full, if that is why.
    pub(crate) reached: Option<Reached>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), header: None, reached: None }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.header = Some(Box::new((name, HeaderValue::from_static(value))));
        self
    }

    /// When to come again: in whole seconds, at least one.
    pub(crate) fn retry_after(mut self, pause: Duration) -> Self {
        let seconds = pause.as_millis().div_ceil(1000).max(1);
        self.header = Some(Box::new((header::RETRY_AFTER, HeaderValue::from(seconds as u64))));
        self
    }

    pub(crate) fn at(mut self, reached: Reached) -> Self {
        self.reached = Some(reached);
        self
    }

    pub(super) fn bad_request(body: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, body)
    }
}
