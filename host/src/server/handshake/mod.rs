//! The opening handshake as pure functions over a request's head (RFC 6455 section 4, Tornado's `WebSocketHandler.get`):
//! what is asked for, what is wrong with it, and which headers a handler may answer with.
//!
//! Statuses and bodies are Tornado's. Nothing here knows of routes, sockets or guests.

mod guest_headers;
mod host;
mod origin;
mod refusal;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

pub(crate) use self::guest_headers::{GuestHeaderError, GuestHeaders, HEADER_BYTES};
pub use self::host::Hosts;
pub(crate) use self::host::{Host, host_name, host_of};
pub use self::origin::Origins;
pub use self::refusal::Refusal;

/// A well-formed request to become a WebSocket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Upgrade {
    /// Over HTTP/2 there is none.
    pub(crate) accept_key: Option<String>,
    /// The page that opens the connection, if the request names it.
    pub(crate) origin: Option<String>,
    pub(crate) subprotocols: Vec<String>,
    /// The values of `Sec-WebSocket-Extensions`, in order.
    pub(crate) extensions: Vec<HeaderValue>,
}

impl Upgrade {
    /// # Errors
    /// Tornado's answers in Tornado's order: 405, 400, 426, 400.
    pub(crate) fn parse<B>(request: &Request<B>) -> Result<Self, Refusal> {
        let headers = request.headers();
        if request.version() == Version::HTTP_2 {
            return Self::parse_extended_connect(request);
        }
        if request.method() != Method::GET {
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "A WebSocket handshake is a GET request.",
            )
            .with_header(header::ALLOW, "GET"));
        }
        if request.version() < Version::HTTP_11 {
            return Err(Refusal::bad_request("A WebSocket handshake needs HTTP/1.1."));
        }
        if !lists(headers, &header::UPGRADE, "websocket") {
            return Err(Refusal::bad_request("Can \"Upgrade\" only to \"WebSocket\"."));
        }
        if !lists(headers, &header::CONNECTION, "upgrade") {
            return Err(Refusal::bad_request("\"Connection\" must be \"Upgrade\"."));
        }
        if headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING) {
            return Err(Refusal::bad_request("A WebSocket handshake has no body."));
        }
        let origin = origin(headers)?;
        if !matches!(single(headers, &header::SEC_WEBSOCKET_VERSION), Some(b"7" | b"8" | b"13")) {
            return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, "")
                .with_header(header::SEC_WEBSOCKET_VERSION, "7, 8, 13"));
        }
        let key = single(headers, &header::SEC_WEBSOCKET_KEY)
            .filter(|key| is_base64_of_16_bytes(key))
            .ok_or_else(|| Refusal::bad_request("Missing/Invalid WebSocket headers"))?;
        Self::new(Some(derive_accept_key(key)), origin, headers)
    }

    /// The handshake over HTTP/2 (RFC 8441 section 5): CONNECT with `:protocol`, without the headers that HTTP/1.1 needs.
    fn parse_extended_connect<B>(request: &Request<B>) -> Result<Self, Refusal> {
        let headers = request.headers();
        match *request.method() {
            Method::CONNECT => {}
            Method::GET => return Err(Refusal::bad_request("Can \"Upgrade\" only to \"WebSocket\".")),
            _ => {
                let body = "A WebSocket handshake over HTTP/2 is a CONNECT request.";
                return Err(
                    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, body).with_header(header::ALLOW, "CONNECT")
                );
            }
        }
        if connect_protocol(request) != Some("websocket") {
            // RFC 9220 section 3.
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "`:protocol` can only be `websocket`."));
        }
        let origin = origin(headers)?;
        if single(headers, &header::SEC_WEBSOCKET_VERSION) != Some(b"13") {
            return Err(Refusal::bad_request("Sec-WebSocket-Version must be 13.")
                .with_header(header::SEC_WEBSOCKET_VERSION, "13"));
        }
        Self::new(None, origin, headers)
    }

    fn new(accept_key: Option<String>, origin: Option<String>, headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Self {
            accept_key,
            origin,
            subprotocols: subprotocols(headers)?,
            extensions: headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().cloned().collect(),
        })
    }
}

/// `:protocol` of an extended CONNECT (RFC 8441 section 4).
pub(crate) fn connect_protocol<B>(request: &Request<B>) -> Option<&str> {
    request.extensions().get::<hyper::ext::Protocol>().map(hyper::ext::Protocol::as_str)
}

/// A CONNECT over HTTP/2 without `:protocol`, which asks for a tunnel to somewhere else.
pub(crate) fn is_tunnel<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2
        && request.method() == Method::CONNECT
        && connect_protocol(request).is_none()
}

/// The only value of a header; none if it is missing, empty or repeated.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Some(value.as_bytes()),
        _ => None,
    }
}

/// Whether a comma-separated header lists `token`, case-insensitively.
pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    elements(headers, name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
}

fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
}

/// The page's origin; version 8 and older name the header differently (Tornado: "Handle WebSocket Origin naming convention
/// differences").
fn origin(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let old = HeaderName::from_static("sec-websocket-origin");
    let name = if headers.contains_key(header::ORIGIN) { header::ORIGIN } else { old };
    let mut values = headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(String::from_utf8_lossy(value.as_bytes()).into_owned())),
        _ => Err(Refusal::bad_request("More than one Origin header.")),
    }
}

fn subprotocols(headers: &HeaderMap) -> Result<Vec<String>, Refusal> {
    elements(headers, &header::SEC_WEBSOCKET_PROTOCOL)
        .filter(|token| !token.is_empty())
        .map(|token| match std::str::from_utf8(token) {
            Ok(text) if is_token(text) => Ok(text.to_owned()),
            _ => Err(Refusal::bad_request("Missing/Invalid WebSocket headers")),
        })
        .collect()
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// 16 bytes are 22 characters and two of padding (RFC 6455 section 4.2.1).
fn is_base64_of_16_bytes(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// Makes the headers of a request over HTTP/2 those that it would have had over HTTP/1.1: `:authority` is Host, and cookies are
/// one header (RFC 9113 section 8.2.3).
pub(crate) fn as_over_http1(head: &mut http::request::Parts) {
    // Also of a request in absolute form (RFC 9112 section 3.2.2).
    let authority = head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(authority) = authority {
        head.headers.insert(header::HOST, authority);
    }
    if head.version != Version::HTTP_2 {
        return;
    }
    let cookies: Vec<&[u8]> =
        head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(cookies) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        head.headers.insert(header::COOKIE, cookies);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method("GET").uri("/websocket");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request")
    }

    const GOOD: [(&str, &str); 5] = [
        ("host", "example.com:8888"),
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn without(name: &str) -> Vec<(&'static str, &'static str)> {
        GOOD.into_iter().filter(|(header, _)| *header != name).collect()
    }

    fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        let mut headers = without(name);
        headers.push((name, value));
        headers
    }

    fn refusal(headers: &[(&str, &str)]) -> (u16, String) {
        let refusal = Upgrade::parse(&request(headers)).expect_err("refused");
        (refusal.status.as_u16(), refusal.body)
    }

    #[test]
    fn the_rfcs_own_example_gets_the_rfcs_accept_key() {
        let upgrade = Upgrade::parse(&request(&GOOD)).expect("accepted");
        assert_eq!(upgrade.accept_key.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(upgrade.origin, None);
        assert!(upgrade.subprotocols.is_empty());
    }

    #[test]
    fn a_plain_request_gets_tornados_400() {
        assert_eq!(refusal(&without("upgrade")), (400, "Can \"Upgrade\" only to \"WebSocket\".".into()));
        assert_eq!(refusal(&with("upgrade", "h2c")), (400, "Can \"Upgrade\" only to \"WebSocket\".".into()));
        assert_eq!(
            refusal(&with("connection", "close")),
            (400, "\"Connection\" must be \"Upgrade\".".into())
        );
    }

    #[test]
    fn an_unknown_version_gets_426_and_the_known_ones() {
        for headers in [with("sec-websocket-version", "12"), without("sec-websocket-version")] {
            let refusal = Upgrade::parse(&request(&headers)).expect_err("refused");
            assert_eq!(refusal.status, 426);
            let version = (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("7, 8, 13"));
            assert_eq!(refusal.header.as_deref(), Some(&version));
        }
        for version in ["7", "8"] {
            assert!(Upgrade::parse(&request(&with("sec-websocket-version", version))).is_ok());
        }
    }

    #[test]
    fn a_missing_or_malformed_key_gets_400() {
        let expected = (400, "Missing/Invalid WebSocket headers".to_string());
        assert_eq!(refusal(&without("sec-websocket-key")), expected);
        assert_eq!(refusal(&with("sec-websocket-key", "short==")), expected);
        let mut twice = GOOD.to_vec();
        twice.push(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(refusal(&twice), expected);
    }

    fn over_http2(method: Method, protocol: Option<&'static str>, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = request(headers);
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = method;
        *request.uri_mut() = "https://example.com/websocket".parse().expect("a URI");
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(hyper::ext::Protocol::from_static(protocol));
        }
        request
    }

    #[test]
    fn over_http2_a_handshake_is_an_extended_connect() {
        let version = [("sec-websocket-version", "13")];
        let upgrade =
            Upgrade::parse(&over_http2(Method::CONNECT, Some("websocket"), &version)).expect("accepted");
        assert_eq!(upgrade.accept_key, None);
        for (method, protocol, headers, status) in [
            (Method::CONNECT, Some("connect-udp"), &version[..], 501),
            (Method::CONNECT, Some("websocket"), &[], 400),
            (Method::CONNECT, Some("websocket"), &[("sec-websocket-version", "8")], 400),
            (Method::GET, None, &version, 400),
            (Method::POST, None, &version, 405),
        ] {
            let request = over_http2(method, protocol, headers);
            assert_eq!(Upgrade::parse(&request).expect_err("refused").status, status, "{request:?}");
        }
    }

    #[test]
    fn over_http2_the_authority_is_the_host() {
        let host = |headers: &[(&str, &str)]| host_name(&over_http2(Method::CONNECT, None, headers));
        assert_eq!(host(&[]).expect("a host").name, "example.com");
        assert_eq!(host(&[("host", "Example.com")]).expect("the same host").name, "example.com");
        assert_eq!(host(&[("host", "example.org")]).expect_err("another").status, 400);
        assert_eq!(host(&[("host", "example.com"), ("host", "example.com")]).expect_err("two").status, 400);
        let cookies = [("cookie", "a=1"), ("cookie", "b=2")];
        let (mut head, ()) = over_http2(Method::CONNECT, None, &cookies).into_parts();
        as_over_http1(&mut head);
        assert_eq!(head.headers[header::HOST], "example.com");
        assert_eq!(head.headers.get_all(header::COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn a_body_before_the_upgrade_is_refused() {
        assert_eq!(refusal(&with("content-length", "4")).0, 400);
        assert_eq!(refusal(&with("transfer-encoding", "chunked")).0, 400);
    }

    #[test]
    fn two_origins_or_two_hosts_are_400() {
        let mut origins = GOOD.to_vec();
        origins.extend([("origin", "http://a"), ("origin", "http://b")]);
        assert_eq!(refusal(&origins).0, 400);
        let hosts = request(&[("host", "a"), ("host", "b")]);
        assert_eq!(host_name(&hosts).expect_err("refused").status, 400);
        assert_eq!(host_name(&request(&[])).expect_err("refused").status, 400);
        assert_eq!(host_name(&request(&[("host", "")])).expect_err("refused").status, 400);
        assert_eq!(host_name(&request(&[("host", "a@b")])).expect_err("refused").status, 400);
    }

    #[test]
    fn subprotocols_keep_the_peers_order_over_several_headers() {
        let mut headers = GOOD.to_vec();
        headers.extend([("sec-websocket-protocol", "b, a"), ("sec-websocket-protocol", "c")]);
        assert_eq!(Upgrade::parse(&request(&headers)).expect("accepted").subprotocols, ["b", "a", "c"]);
        assert_eq!(refusal(&with("sec-websocket-protocol", "two words")).0, 400);
    }
}
