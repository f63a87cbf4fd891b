//! The HTTP answers of a handshake: the 101, the refusals, and what a handler answers instead.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version};
use hyper::Response;

use crate::connection::link::Link;
use crate::handler::bindings::types::Rejection;
use crate::handler::endpoint::Endpoint;
use crate::instance::{CallFailure, Declined};
use crate::limits::records::Kind;
use crate::limits::{Reached, Scope};
use crate::server::answer_body::{AnswerBody, counted_value};
use crate::server::handshake::{GuestHeaderError, GuestHeaders, HEADER_BYTES, Refusal};
use crate::units::shown;

/// Everything that is answered is small, and whole.
pub(crate) type HttpAnswer = Response<AnswerBody>;

/// The answer after which the connection is a WebSocket: 101, or over HTTP/2, where there is no `accept_key`, 200 (RFC 8441
/// section 5).
pub(crate) fn switching_protocols(
    accept_key: Option<&str>,
    subprotocol: Option<&str>,
    extensions: Option<&str>,
    extra: HeaderMap,
) -> HttpAnswer {
    let mut answer = Response::new(AnswerBody::default());
    *answer.headers_mut() = extra;
    let value = |text| HeaderValue::from_str(text).expect("base64, tokens and their lists are header values");
    if let Some(accept_key) = accept_key {
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, value(accept_key));
    }
    let headers = answer.headers_mut();
    if let Some(subprotocol) = subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value(subprotocol));
    }
    if let Some(extensions) = extensions {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, value(extensions));
    }
    answer
}

pub(crate) fn healthz(method: &Method) -> HttpAnswer {
    if matches!(*method, Method::GET | Method::HEAD) {
        text_answer(StatusCode::OK, "ok\n".into())
    } else {
        refusal_answer(
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Only GET.").with_header(header::ALLOW, "GET, HEAD"),
        )
    }
}

fn text_answer(status: StatusCode, body: String) -> HttpAnswer {
    let mut answer = Response::new(AnswerBody::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

pub(crate) fn refusal_answer(refusal: Refusal) -> HttpAnswer {
    let mut answer = text_answer(refusal.status, refusal.body);
    if let Some(header) = refusal.header {
        let (name, value) = *header;
        answer.headers_mut().insert(name, value);
    }
    answer
}

pub(crate) fn foreign_origin() -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "Cross origin websockets not allowed")
}

pub(crate) fn misdirected(name: &str) -> Refusal {
    tracing::debug!(host = shown(name), "no route has this host name: list it in `hosts`");
    Refusal::new(StatusCode::MISDIRECTED_REQUEST, "This server does not answer to this host name.")
}

pub(crate) fn unavailable(body: &str) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, body).with_header(header::RETRY_AFTER, "5")
}

/// No room, whoever's bound it is.
pub(crate) fn full(reached: Reached) -> Refusal {
    unavailable("The server is full.").at(reached)
}

/// `max-connections-per-address`.
pub(crate) fn too_many_connections() -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Too many connections from this address.")
        .with_header(header::RETRY_AFTER, "5")
        .at(Reached { scope: Scope::Address, limit: "max-connections-per-address" })
}

/// More requests than `max-handshakes-per-address` in a second.
pub(crate) fn too_many_requests() -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests from this address.")
        .with_header(header::RETRY_AFTER, "1")
        .at(Reached { scope: Scope::Address, limit: "max-handshakes-per-address" })
}

/// The handler has failed for this address again and again.
pub(crate) fn paused_address(left: Duration) -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "The handler has failed too often for this address.")
        .retry_after(left)
        .at(Reached { scope: Scope::Address, limit: "traps" })
}

/// The handler cannot start.
pub(crate) fn paused_start(left: Duration) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The handler cannot start.")
        .retry_after(left)
        .at(Reached { scope: Scope::Route, limit: "traps" })
}

/// The handler could not be loaded. It may be mended meanwhile, by a person.
pub(crate) fn not_loaded() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "The handler is not loaded.")
        .with_header(header::RETRY_AFTER, "60")
}

/// A trusted proxy names two peers.
pub(crate) fn two_peers() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "Forwarded and X-Forwarded-For name different addresses.")
}

pub(crate) fn internal_error() -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "The handler failed.")
}

/// No guest text: what went wrong is in the log.
pub(crate) fn failed(failure: CallFailure) -> Refusal {
    match failure {
        CallFailure::Trapped => internal_error(),
        CallFailure::Deadline => unavailable("The handler took too long."),
        CallFailure::OutOfFuel => unavailable("The handler ran out of fuel."),
        CallFailure::Exhausted(reached) => full(reached),
    }
}

/// The answer that a handler gave instead of the upgrade. As long as any of it waits for the peer it is the tenant's memory.
pub(crate) fn rejection_answer(
    declined: Declined,
    endpoint: &Endpoint,
    link: &Link,
    version: Version,
) -> Result<HttpAnswer, Refusal> {
    let Endpoint { route, tenancy, metrics, .. } = endpoint;
    let invalid = |why: String| {
        let why = shown(&why);
        if let Some(untold) = metrics.records.tell_each(Kind::Prepare, why.len(), tenancy) {
            tracing::warn!(
                tenant = tenancy.name, route = %route.name, connection = %link.id(), why, untold,
                "prepare answered what it may not"
            );
        }
        internal_error()
    };
    let Rejection { status, headers, body } = match declined {
        Declined::With(rejection) => rejection,
        Declined::TooLarge(why) => return Err(invalid(why)),
    };
    let status = StatusCode::from_u16(status)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or_else(|| invalid(format!("status {status} is not in 200 to 599")))?;
    // To an extended CONNECT every 2xx says that the WebSocket is open (RFC 8441 section 5, RFC 9110 section 9.3.6).
    let opens = version == Version::HTTP_2 && status.is_success();
    let status = if opens { StatusCode::FORBIDDEN } else { status };
    let mut guest_headers = GuestHeaders::default();
    for (name, value) in headers {
        let most = route.limits.max_response_header_bytes;
        guest_headers.add(&name, &value, route.set_cookie, most).map_err(|error| match error {
            GuestHeaderError::Invalid(why) => invalid(why),
            GuestHeaderError::TooMany(limit) => invalid(format!("its headers are over `{limit}`")),
        })?;
    }
    let mut answer = Response::new(AnswerBody::counted(&body, tenancy).map_err(full)?);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    *headers = guest_headers.into_headers();
    for value in headers.values_mut() {
        *value = counted_value(value, tenancy.try_memory(HEADER_BYTES + value.len()).map_err(full)?);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !route.html {
        let policy = HeaderValue::from_static("sandbox; default-src 'none'");
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(answer)
}
