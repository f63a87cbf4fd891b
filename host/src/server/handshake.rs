//! The opening handshake as pure functions over a request's head (RFC 6455 section 4, Tornado's `WebSocketHandler.get`):
//! what is asked for, what is wrong with it, and which headers a handler may answer with.
//!
//! Statuses and bodies are Tornado's. Nothing here knows of routes, sockets or guests.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

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

    fn bad_request(body: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, body)
    }
}

/// Bytes allowed in a request's target: more is 414.
const MAX_TARGET_BYTES: usize = 8 << 10;

/// The host name that a request is for: lower-case, without port.
///
/// # Errors
/// 400 if there is not exactly one Host (RFC 9112 section 3.2), or it is no host. Over HTTP/2 `:authority` is Host, and a Host
/// header beside it must be the same (RFC 9113 section 8.3.1).
pub(crate) fn host_name<B>(request: &Request<B>) -> Result<Host, Refusal> {
    let mut values = request.headers().get_all(header::HOST).iter();
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let is_http2 = request.version() == Version::HTTP_2;
    let header = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (None, None) if is_http2 => authority.unwrap_or_default(),
        _ => return Err(Refusal::bad_request("Exactly one Host header is required.")),
    };
    if request.uri().to_string().len() > MAX_TARGET_BYTES {
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, "The request's target is too long."));
    }
    let text = authority.unwrap_or(header);
    if is_http2 && !text.eq_ignore_ascii_case(header) {
        return Err(Refusal::bad_request("Host and :authority must be the same."));
    }
    host_of(text).ok_or_else(|| Refusal::bad_request("The Host header is not a host."))
}

/// The host that an authority names; none if it names none, or a user.
pub(crate) fn host_of(authority: &str) -> Option<Host> {
    authority
        .parse::<http::uri::Authority>()
        .ok()
        .filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty())
        .map(|authority| Host {
            name: authority.host().to_ascii_lowercase(),
            with_port: authority.as_str().to_ascii_lowercase(),
        })
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

/// A request's Host, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    /// As the peer sent it, lower-case: with the port, if it named one.
    pub(crate) with_port: String,
}

/// Which host names a route answers to. Others get 421.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Every name: what a listener on a public address has by default.
    Any,
    /// localhost and the loopback addresses: the default on loopback, against DNS rebinding.
    Loopback,
    /// Lower-case names without port; `*.example.com` stands for every name below example.com.
    Listed(Vec<String>),
}

impl Hosts {
    /// `local`: only this machine can reach what is listened on. Then loopback names are answered; else any.
    pub fn default_for(local: bool) -> Self {
        if local { Self::Loopback } else { Self::Any }
    }

    /// These names.
    ///
    /// # Errors
    /// What is no host name without port, for a person.
    pub fn listed(names: &[String]) -> Result<Self, String> {
        let check = |host: &String| {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let is_ipv6 = name.starts_with('[') && name.ends_with(']');
            if !name.is_empty() && !name.contains(['/', '*', '@']) && (is_ipv6 || !name.contains(':')) {
                Ok(host.to_ascii_lowercase())
            } else {
                Err(format!(
                    "`{host}` is no host: a name without port such as `example.com` or `*.example.com`"
                ))
            }
        };
        Ok(Self::Listed(names.iter().map(check).collect::<Result<_, _>>()?))
    }

    pub(crate) fn allow(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => {
                let address = name.trim_start_matches('[').trim_end_matches(']');
                name == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            Self::Listed(names) => names.iter().any(|pattern| matches_wildcard(pattern, name)),
        }
    }
}

impl Hosts {
    /// A name that both answer to, as an operator would write it.
    pub(crate) fn common(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Any, Self::Any) => Some("any name".into()),
            (Self::Any, hosts) | (hosts, Self::Any) => hosts.any_name(),
            (Self::Loopback, Self::Loopback) => Some("localhost".into()),
            (Self::Loopback, Self::Listed(names)) | (Self::Listed(names), Self::Loopback) => {
                let listed = Self::Listed(names.clone());
                let loopback = |name: &&String| Self::Loopback.allow(name);
                names
                    .iter()
                    .find(loopback)
                    .cloned()
                    .or_else(|| listed.allow("localhost").then(|| "localhost".into()))
            }
            (Self::Listed(ours), Self::Listed(theirs)) => ours.iter().find_map(|our| {
                Some(
                    theirs
                        .iter()
                        .find(|their| overlap(our, their))
                        .map(|their| narrower(our, their))?
                        .to_owned(),
                )
            }),
        }
    }

    fn any_name(&self) -> Option<String> {
        match self {
            Self::Any => Some("any name".into()),
            Self::Loopback => Some("localhost".into()),
            Self::Listed(names) => names.first().cloned(),
        }
    }
}

/// Whether there is a name that matches both patterns.
fn overlap(one: &str, other: &str) -> bool {
    match (one.strip_prefix("*."), other.strip_prefix("*.")) {
        (Some(_), Some(_)) => narrower(one, other).ends_with(&wider(one, other)[1..]),
        (Some(_), None) => matches_wildcard(one, other),
        (None, _) => matches_wildcard(other, one),
    }
}

fn narrower<'a>(one: &'a str, other: &'a str) -> &'a str {
    if one.len() >= other.len() { one } else { other }
}

fn wider<'a>(one: &'a str, other: &'a str) -> &'a str {
    if one.len() >= other.len() { other } else { one }
}

fn matches_wildcard(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => name.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == name,
    }
}

/// Which origins an operator allows a route's pages to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Only the same host and port as the request's: Tornado's default. The handler's `check-origin` may decide otherwise.
    Same,
    /// Only these (`https://example.com`, `https://*.example.com`), whatever the handler says; it may only narrow.
    Listed(Vec<String>),
}

impl Origins {
    /// These origins.
    ///
    /// # Errors
    /// What is no origin, for a person.
    pub fn listed(origins: &[String]) -> Result<Self, String> {
        let check = |origin: &String| {
            let valid = origin.split_once("://").is_some_and(|(scheme, host)| {
                !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', '@'])
            });
            if valid {
                Ok(origin.to_ascii_lowercase())
            } else {
                Err(format!(
                    "`{origin}` is no origin: a scheme and a host such as `https://example.com` or \
                     `https://*.example.com`, without a path"
                ))
            }
        };
        Ok(Self::Listed(origins.iter().map(check).collect::<Result<_, _>>()?))
    }

    /// Whether the default policy or the operator's list allows `origin`.
    pub(crate) fn allow(&self, origin: &str, host: &Host) -> bool {
        let Some(netloc) = netloc(origin) else { return false };
        match self {
            Self::Same => netloc == host.with_port,
            Self::Listed(list) => {
                let scheme = origin.split("://").next().unwrap_or_default().to_ascii_lowercase();
                list.iter().any(|pattern| {
                    let (pattern_scheme, pattern_host) = pattern.split_once("://").unwrap_or(("", pattern));
                    pattern_scheme == scheme && matches_wildcard(pattern_host, &netloc)
                })
            }
        }
    }

    /// Whether `origin` is refused before the handler is asked.
    pub(crate) fn forbid(&self, origin: &str, host: &Host) -> bool {
        matches!(self, Self::Listed(_)) && !self.allow(origin, host)
    }
}

/// Host and port of an origin, lower-case; a path after it is ignored, as Tornado's `urlparse(origin).netloc` does.
fn netloc(origin: &str) -> Option<String> {
    let (_, rest) = origin.split_once("://")?;
    let netloc = rest.split(['/', '?', '#']).next().unwrap_or_default();
    (!netloc.is_empty()).then(|| netloc.to_ascii_lowercase())
}

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
pub(crate) fn guest_header(
    name: &str,
    value: &str,
    set_cookie: bool,
) -> Result<(HeaderName, HeaderValue), String> {
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
    /// `max-response-header-bytes`.
    TooMany,
}

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
        if bytes > max_bytes || self.headers.try_append(name, value).is_err() {
            return Err(GuestHeaderError::TooMany);
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

    fn host(text: &str) -> Host {
        host_name(&request(&[("host", text)])).expect("a host")
    }

    #[test]
    fn the_default_origin_policy_is_tornados() {
        let here = host("Localhost:8888");
        for (origin, allowed) in [
            ("http://localhost:8888", true),
            ("https://LOCALHOST:8888/some/path?x", true),
            ("localhost:8888", false),
            ("http://localhost", false),
            ("http://sub.localhost:8888", false),
            ("http://localhost:8888.evil.example", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(Origins::Same.allow(origin, &here), allowed, "{origin}");
        }
    }

    #[test]
    fn an_operators_list_allows_what_it_names_and_forbids_the_rest() {
        let list = Origins::Listed(vec!["https://example.com".into(), "https://*.example.org".into()]);
        let here = host("localhost");
        for (origin, allowed) in [
            ("https://example.com", true),
            ("http://example.com", false),
            ("https://a.example.com", false),
            ("https://a.b.example.org", true),
            ("https://example.org", false),
            ("https://evilexample.org", false),
            ("http://localhost", false),
        ] {
            assert_eq!(list.allow(origin, &here), allowed, "{origin}");
            assert_eq!(list.forbid(origin, &here), !allowed, "{origin}");
        }
        assert!(!Origins::Same.forbid("http://anything.example", &here));
    }

    #[test]
    fn on_loopback_only_loopback_names_are_answered() {
        for (name, allowed) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("evil.example", false),
            ("192.168.0.1", false),
            ("127.0.0.1.evil.example", false),
        ] {
            assert_eq!(Hosts::Loopback.allow(name), allowed, "{name}");
        }
        assert_eq!(host("[::1]:8888").name, "[::1]");
    }

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
}
