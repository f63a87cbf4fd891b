//! Headers that a handler may set in the answer to a handshake.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Headers that a handler may set besides `x-*`; `set-cookie` only if the route allows it.
const GUEST_HEADERS: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::LOCATION,
    header::WWW_AUTHENTICATE,
    header::RETRY_AFTER,
    header::CACHE_CONTROL,
];

/// `x-*` by which a handler would command the proxy in front of this server: make it serve files, or ask other servers.
const PROXY_COMMANDS: [&str; 4] = ["x-accel-", "x-sendfile", "x-lighttpd-", "x-reproxy-"];

/// Checks a header that a handler wants in an answer: it must be well-formed and on the list.
///
/// # Errors
/// What is wrong, for the guest or the log.
fn guest_header(name: &str, value: &str, set_cookie: bool) -> Result<(HeaderName, HeaderValue), String> {
    let shown: String = name.chars().take(64).collect();
    let header =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{shown}` is not a header name"))?;
    let allowed = GUEST_HEADERS.contains(&header)
        || (header.as_str().starts_with("x-")
            && !PROXY_COMMANDS.iter().any(|command| header.as_str().starts_with(command)))
        || (set_cookie && header == header::SET_COOKIE);
    if !allowed {
        return Err(format!(
            "header `{shown}` may not be set by a handler: only content-type, location, www-authenticate, retry-after, \
             cache-control, x-* and, where the route says `set-cookie = true`, set-cookie"
        ));
    }
    let value = HeaderValue::from_str(value)
        .map_err(|_| format!("the value of header `{shown}` has forbidden characters"))?;
    Ok((header, value))
}

/// Headers that a handler adds to an answer: checked, and bounded in bytes.
#[derive(Debug, Default)]
pub(crate) struct GuestHeaders {
    headers: HeaderMap,
    bytes: usize,
}

/// Why a handler's header is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GuestHeaderError {
    Invalid(String),
    /// Over this.
    TooMany(&'static str),
}

/// Headers of a handler in one answer: as many as clients take of a server, and browsers far more. Each takes the host more memory than
/// its bytes.
const MAX_GUEST_HEADERS: usize = 64;
/// What a header takes beside its value, in a `HeaderMap`.
pub(crate) const HEADER_BYTES: usize = 128;

impl GuestHeaders {
    pub(crate) fn add(
        &mut self,
        name: &str,
        value: &str,
        set_cookie: bool,
        max_bytes: usize,
    ) -> Result<(), GuestHeaderError> {
        let (name, value) = guest_header(name, value, set_cookie).map_err(GuestHeaderError::Invalid)?;
        let bytes = self.bytes + name.as_str().len() + value.len() + b": \r\n".len();
        if bytes > max_bytes {
            return Err(GuestHeaderError::TooMany("max-response-header-bytes"));
        }
        if self.headers.len() >= MAX_GUEST_HEADERS || self.headers.try_append(name, value).is_err() {
            return Err(GuestHeaderError::TooMany("64 headers"));
        }
        self.bytes = bytes;
        Ok(())
    }

    pub(crate) fn into_headers(self) -> HeaderMap {
        self.headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_sets_only_harmless_headers() {
        assert!(guest_header("X-Thing", "1", false).is_ok());
        assert!(guest_header("Content-Type", "text/plain", false).is_ok());
        for name in [
            "Sec-WebSocket-Accept",
            "Content-Length",
            "Connection",
            "Clear-Site-Data",
            "Set-Cookie",
            "X-Accel-Redirect",
            "X-Sendfile",
            "a b",
            "",
        ] {
            assert!(guest_header(name, "1", false).is_err(), "{name} was accepted");
        }
        assert!(guest_header("Set-Cookie", "a=b", true).is_ok());
        assert!(guest_header("x-a", "1\r\nx-b: 2", false).is_err());
    }

    #[test]
    fn an_answer_has_64_of_a_handlers_headers_however_short_they_are() {
        let mut headers = GuestHeaders::default();
        for _ in 0..64 {
            headers.add("x-a", "", false, 16 << 10).expect("room");
        }
        assert_eq!(headers.add("x-a", "", false, 16 << 10), Err(GuestHeaderError::TooMany("64 headers")));
    }
}
