//! How the admin listener answers: JSON, Prometheus' text, or what is wrong, in plain text. Never kept by anybody, and for no browser.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// Bounded by what may be asked, and whole.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why a request is not answered as it was meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    /// What is wrong, and what to do.
    text: String,
    /// With 405.
    allow: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), allow: None }
    }

    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Say `Authorization: Bearer TOKEN`, with the token of `token-file`.",
        )
    }

    pub(super) fn misdirected() -> Self {
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "The admin listener answers only to `localhost` and loopback addresses.",
        )
    }

    pub(super) fn method(allow: &'static str) -> Self {
        let text = format!("Only {allow}.");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, text) }
    }

    pub(super) fn ours() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The host failed; please report it.")
    }
}

pub(super) fn text(media_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

pub(super) fn json(value: &impl Serialize) -> Answer {
    let mut body = serde_json::to_string_pretty(value).expect("names and numbers are JSON");
    body.push('\n');
    text("application/json", body)
}

/// What every answer has.
pub(super) fn finish(answer: Result<Answer, Problem>) -> Answer {
    let mut answer = answer.unwrap_or_else(|Problem { status, text: why, allow }| {
        let mut answer = text("text/plain; charset=utf-8", why + "\n");
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"waterspout\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    });
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
