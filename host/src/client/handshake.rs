//! The client's side of the opening handshake as pure functions (RFC 6455 section 4.1): what is asked, and whether the answer is
//! one.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri, Version};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tungstenite_deflate::{Agreed, negotiation};

use super::ConnectError;
use crate::connection::compression::Settings;
use crate::server::handshake::{is_token, lists};

/// How a URL is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Ws,
    /// Over TLS.
    Wss,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

/// Where a URL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    /// A name or an address; of an IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Target {
    /// Reads a URL (RFC 6455 section 3).
    pub(super) fn new(url: &Uri) -> Result<Self, ConnectError> {
        // Not the URL itself, which may hold a password.
        let invalid = |why: &str| ConnectError::InvalidUrl(why.to_owned());
        let scheme = match url.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("ws") => Scheme::Ws,
            Some(scheme) if scheme.eq_ignore_ascii_case("wss") => Scheme::Wss,
            _ => return Err(invalid("a WebSocket's URL begins with ws:// or wss://")),
        };
        let authority = url.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("it holds a password: use a header"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(invalid("it names no host"));
        }
        // Of a port that is no number `Authority::port` says that there is none.
        let port = match &authority.as_str()[authority.host().len()..] {
            "" | ":" => scheme.default_port(),
            rest => rest
                .strip_prefix(':')
                .filter(|port| port.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(|| invalid("its port is not 1 to 65535"))?,
        };
        Ok(Self { scheme, host: host.into(), port })
    }

    /// The Host header: the port only if it is not the scheme's own, as browsers have it (and as an Origin is written).
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

/// A handshake that has been sent: what its answer is measured by.
#[derive(Debug)]
pub(super) struct Asked {
    accept_key: String,
    subprotocols: Vec<String>,
    compression: Option<Settings>,
}

/// What the server agreed to.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) subprotocol: Option<String>,
    pub(super) deflate: Option<Agreed>,
    pub(super) headers: HeaderMap,
}

/// Headers of the handshake itself and of HTTP's framing, which a caller may not set.
const OWN: [HeaderName; 13] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_VERSION,
];

/// The request to send for the caller's, and what its answer is measured by.
pub(super) fn ask<B: Default>(
    request: Request<()>,
    target: &Target,
    subprotocols: &[String],
    compression: Option<Settings>,
) -> Result<(Request<B>, Asked), ConnectError> {
    let invalid = |why: String| Err(ConnectError::InvalidRequest(why));
    let (mut head, ()) = request.into_parts();
    if head.method != Method::GET || head.version != Version::HTTP_11 {
        return invalid("a WebSocket handshake is a GET request of HTTP/1.1".into());
    }
    if let Some(name) = OWN.iter().find(|name| head.headers.contains_key(*name)) {
        return invalid(format!("the header `{name}` is the handshake's own"));
    }
    if let Some(wrong) = subprotocols.iter().find(|subprotocol| !is_token(subprotocol)) {
        return invalid(format!("`{wrong}` is no subprotocol: a token such as `v2.chat`"));
    }
    let key = generate_key();
    let headers = &mut head.headers;
    let value = |text: &str| HeaderValue::from_str(text).expect("tokens and their lists are header values");
    headers.insert(header::HOST, value(&target.authority()));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(header::SEC_WEBSOCKET_KEY, value(&key));
    if !subprotocols.is_empty() {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value(&subprotocols.join(", ")));
    }
    if let Some(settings) = &compression {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, value(&negotiation::offer(settings)));
    }
    // `ws://host?query` has none.
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let slash = if path.starts_with('/') { "" } else { "/" };
    head.uri = format!("{slash}{path}")
        .parse()
        .map_err(|error: http::uri::InvalidUri| ConnectError::InvalidUrl(error.to_string()))?;
    let accept_key = derive_accept_key(key.as_bytes());
    let asked = Asked { accept_key, subprotocols: subprotocols.to_vec(), compression };
    Ok((Request::from_parts(head, B::default()), asked))
}

impl Asked {
    /// Whether the answer, a 101, is a WebSocket, and which.
    pub(super) fn check<B>(&self, answer: &Response<B>) -> Result<Answered, ConnectError> {
        let wrong = |why: String| Err(ConnectError::Protocol(why));
        let headers = answer.headers();
        if !lists(headers, &header::UPGRADE, "websocket") {
            return wrong("the answer's Upgrade is not `websocket`".into());
        }
        if !lists(headers, &header::CONNECTION, "upgrade") {
            return wrong("the answer's Connection is not `Upgrade`".into());
        }
        if !is_only(headers, &header::SEC_WEBSOCKET_ACCEPT, &self.accept_key) {
            return wrong("the answer's Sec-WebSocket-Accept does not belong to the key".into());
        }
        let subprotocol = match only_text(headers, &header::SEC_WEBSOCKET_PROTOCOL)? {
            Some(chosen) if self.subprotocols.iter().any(|asked| asked == chosen) => Some(chosen.to_owned()),
            Some(chosen) => {
                return wrong(format!(
                    "the server chose the subprotocol `{}`, which was not asked for",
                    chosen.escape_debug()
                ));
            }
            None => None,
        };
        let extensions = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
        let deflate = match &self.compression {
            Some(settings) => negotiation::confirm(extensions, settings)
                .map_err(|error| ConnectError::Protocol(error.to_string()))?,
            None if extensions.iter().next().is_some() => {
                return wrong("the server chose an extension, and none was offered".into());
            }
            None => None,
        };
        Ok(Answered { subprotocol, deflate, headers: headers.clone() })
    }
}

fn is_only(headers: &HeaderMap, name: &HeaderName, expected: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    values.next().is_some_and(|value| value == expected) && values.next().is_none()
}

fn only_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ConnectError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.to_str().is_ok() => Ok(value.to_str().ok()),
        _ => Err(ConnectError::Protocol(format!("the answer's {name} is not one text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(subprotocols: &[&str], compression: Option<Settings>) -> (Request<()>, Asked) {
        let request = Request::get("ws://example.com:81/a?b").header("x-a", "1").body(()).expect("a request");
        let subprotocols: Vec<String> = subprotocols.iter().map(|name| (*name).to_owned()).collect();
        ask_for(request, &subprotocols, compression).expect("a good request")
    }

    fn ask_for(
        request: Request<()>,
        subprotocols: &[String],
        compression: Option<Settings>,
    ) -> Result<(Request<()>, Asked), ConnectError> {
        let target = Target::new(request.uri())?;
        ask(request, &target, subprotocols, compression)
    }

    fn answer(asked: &Asked, change: impl FnOnce(&mut HeaderMap)) -> Result<Answered, ConnectError> {
        let mut answer = Response::builder()
            .status(101)
            .header("upgrade", "WebSocket")
            .header("connection", "keep-alive, upgrade")
            .header("sec-websocket-accept", &asked.accept_key)
            .body(())
            .expect("an answer");
        change(answer.headers_mut());
        asked.check(&answer)
    }

    fn target(url: &str) -> Result<Target, ConnectError> {
        Target::new(&url.parse().expect("a URI"))
    }

    #[test]
    fn a_url_names_scheme_host_and_perhaps_a_port() {
        let good = |url| target(url).expect("a WebSocket's URL");
        assert_eq!(good("ws://a/b"), Target { scheme: Scheme::Ws, host: "a".into(), port: 80 });
        assert_eq!(good("WSS://a/b"), Target { scheme: Scheme::Wss, host: "a".into(), port: 443 });
        assert_eq!(good("ws://[::1]:81"), Target { scheme: Scheme::Ws, host: "::1".into(), port: 81 });
        for wrong in [
            "http://a",
            "/path",
            "ws://user:secret@a",
            "ws://a:0",
            "ws://a:99999",
            "ws://[::1]:65536",
            "ws://[::1]x",
            "ws://a:+80",
        ] {
            assert!(matches!(target(wrong), Err(ConnectError::InvalidUrl(_))), "{wrong}");
        }
    }

    #[test]
    fn a_request_carries_the_callers_headers_and_the_handshakes() {
        let (request, asked) = asked(&["b", "a"], Some(Settings::default()));
        let header = |name: &str| request.headers()[name].to_str().expect("text");
        assert_eq!(request.uri(), "/a?b");
        assert_eq!((header("host"), header("x-a")), ("example.com:81", "1"));
        assert_eq!((header("sec-websocket-version"), header("sec-websocket-protocol")), ("13", "b, a"));
        assert_eq!(header("sec-websocket-extensions"), "permessage-deflate; client_max_window_bits");
        assert_eq!(derive_accept_key(header("sec-websocket-key").as_bytes()), asked.accept_key);
    }

    #[test]
    fn the_host_header_has_the_port_that_is_not_the_schemes_own() {
        for (url, host) in [
            ("ws://a", "a"),
            ("ws://a:", "a"),
            ("ws://a:80", "a"),
            ("wss://a:443", "a"),
            ("ws://a:443", "a:443"),
            ("wss://a:80", "a:80"),
            ("ws://[::1]", "[::1]"),
            ("wss://[::1]:8443/x", "[::1]:8443"),
        ] {
            assert_eq!(target(url).expect("a WebSocket's URL").authority(), host, "{url}");
        }
    }

    #[test]
    fn a_url_without_a_path_asks_for_the_root() {
        for (url, asked_for) in [("ws://a", "/"), ("ws://a?b=c", "/?b=c"), ("ws://a/?b", "/?b")] {
            let request = Request::get(url).body(()).expect("a request");
            let (request, _) = ask_for(request, &[], None).expect("a good request");
            assert_eq!(request.uri(), asked_for, "{url}");
        }
    }

    #[test]
    fn a_handshake_is_get_and_http_1_1() {
        for request in [Request::post("ws://a"), Request::get("ws://a").version(Version::HTTP_10)] {
            let request = request.body(()).expect("a request");
            assert!(matches!(ask_for(request, &[], None), Err(ConnectError::InvalidRequest(_))));
        }
    }

    #[test]
    fn the_handshakes_own_headers_are_not_the_callers() {
        for own in OWN {
            let request = Request::get("ws://a").header(own, "x").body(()).expect("a request");
            assert!(matches!(ask_for(request, &[], None), Err(ConnectError::InvalidRequest(_))));
        }
        let request = Request::get("ws://a").body(()).expect("a request");
        assert!(matches!(ask_for(request, &["a b".into()], None), Err(ConnectError::InvalidRequest(_))));
    }

    #[test]
    fn an_answer_is_taken_with_what_was_asked_for() {
        let (_, asked) = asked(&["b", "a"], Some(Settings::default()));
        let plain = answer(&asked, |_| {}).expect("an answer");
        assert_eq!((plain.subprotocol, plain.deflate), (None, None));
        let full = answer(&asked, |headers| {
            headers.insert("sec-websocket-protocol", HeaderValue::from_static("a"));
            headers.insert("sec-websocket-extensions", HeaderValue::from_static("permessage-deflate"));
        })
        .expect("an answer");
        assert_eq!(full.subprotocol.as_deref(), Some("a"));
        assert!(full.deflate.is_some());
    }

    #[test]
    fn an_answer_with_anything_else_is_a_protocol_error() {
        let (_, asked) = asked(&["a"], None);
        for (name, value) in [
            ("upgrade", "h2c"),
            ("connection", "close"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "b"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ] {
            let result = answer(&asked, |headers| {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            });
            assert!(matches!(result, Err(ConnectError::Protocol(_))), "{name}");
        }
        let twice = answer(&asked, |headers| {
            for _ in 0..2 {
                headers.append("sec-websocket-protocol", HeaderValue::from_static("a"));
            }
        });
        assert!(matches!(twice, Err(ConnectError::Protocol(_))));
    }
}
