//! Any bytes as the head of a request, read as hyper reads it, and as a PROXY header.
//!
//! The first byte says what the rest is.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tungstenite_deflate::{Settings, negotiation};

use super::input::Input;
use crate::server::addresses::Peer;
use crate::server::conversation::{MAX_HEAD_BYTES, MAX_HEADERS};
use crate::server::handshake::{Host, Hosts, Origins, Upgrade, host_name, is_token};
use crate::server::proxies::TrustedProxies;
use crate::server::proxy_header::{self, Named};
use crate::server::routes::{Pattern, Route};

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
}

/// A handshake to which there are only headers to be added.
const BEGINNING: &str =
    "GET /websocket HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
const VERSION_AND_KEY: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Runs the target once.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let rest = input.rest();
    RUNTIME.with(|runtime| match kind % 5 {
        0 => runtime.block_on(request(rest.to_vec())),
        1 => runtime.block_on(request([BEGINNING.as_bytes(), rest, b"\r\n\r\n"].concat())),
        2 => runtime.block_on(request(
            [BEGINNING.as_bytes(), VERSION_AND_KEY.as_bytes(), rest, b"\r\n\r\n"].concat(),
        )),
        3 => runtime.block_on(proxy(rest)),
        _ => walk(rest),
    });
}

/// Gives `bytes` to hyper, with the limits of the server, and looks at each request that it makes of them.
async fn request(bytes: Vec<u8>) {
    let (ours, mut theirs) = tokio::io::duplex(MAX_HEAD_BYTES + bytes.len());
    theirs.write_all(&bytes).await.expect("it is large enough");
    theirs.shutdown().await.expect("it is in memory");
    let examined = RefCell::new(0);
    let service = service_fn(|request: Request<Incoming>| {
        *examined.borrow_mut() += 1;
        examine(&request);
        async { Ok::<_, Infallible>(http::Response::new(String::new())) }
    });
    let mut http = http1::Builder::new();
    http.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
    let served = http.serve_connection(TokioIo::new(ours), service);
    let answers = async {
        let mut answers = Vec::new();
        // Answers of requests that are none end with the connection.
        let _ = theirs.read_to_end(&mut answers).await;
    };
    let _ = tokio::join!(served, answers);
}

fn examine(request: &Request<Incoming>) {
    let headers = request.headers();
    let host = host_name(request);
    if let Ok(host) = &host {
        assert!(headers.get_all(header::HOST).iter().count() == 1, "exactly one Host: {headers:?}");
        assert!(!host.name.is_empty() && !host.with_port.contains('@'), "{host:?}");
        assert_eq!(
            (&host.name, &host.with_port),
            (&host.name.to_lowercase(), &host.with_port.to_lowercase())
        );
        assert!(host.with_port.starts_with(&host.name), "{host:?}");
        hosts(host);
    }
    if let Ok(upgrade) = Upgrade::parse(request) {
        accepted(request, &upgrade);
        if let (Some(origin), Ok(host)) = (&upgrade.origin, &host) {
            origins(origin, host);
        }
    }
    forwarded(headers);
}

fn hosts(host: &Host) {
    assert!(Hosts::Any.allow(&host.name));
    if Hosts::Loopback.allow(&host.name) {
        let address = host.name.trim_matches(['[', ']']).parse::<IpAddr>();
        assert!(host.name == "localhost" || address.is_ok_and(|address| address.is_loopback()), "{host:?}");
    }
    let listed = Hosts::listed(&["a.example".into(), "*.b.example".into()]).expect("names");
    let expected = host.name == "a.example"
        || host.name.strip_suffix(".b.example").is_some_and(|below| !below.is_empty());
    assert_eq!(listed.allow(&host.name), expected, "{host:?}");
}

/// What must be so wherever a handshake is taken for one.
fn accepted(request: &Request<Incoming>, upgrade: &Upgrade) {
    let headers = request.headers();
    assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
    let keys: Vec<&HeaderValue> = headers.get_all(header::SEC_WEBSOCKET_KEY).iter().collect();
    let [key] = keys[..] else { panic!("accepted with {} keys", keys.len()) };
    assert_eq!(key.len(), 24, "{key:?}");
    assert_eq!(upgrade.accept_key, Some(derive_accept_key(key.as_bytes())));
    assert!(
        !headers.contains_key(header::CONTENT_LENGTH) && !headers.contains_key(header::TRANSFER_ENCODING)
    );
    let contains = |name: &HeaderName, text: &str| {
        let mut values = headers.get_all(name).iter();
        values.any(|value| {
            value.as_bytes().to_ascii_lowercase().windows(text.len()).any(|w| w == text.as_bytes())
        })
    };
    assert!(contains(&header::UPGRADE, "websocket") && contains(&header::CONNECTION, "upgrade"));
    assert_eq!(headers.get_all(header::SEC_WEBSOCKET_VERSION).iter().count(), 1);
    assert!(headers.get_all(header::ORIGIN).iter().count() <= 1);
    for subprotocol in &upgrade.subprotocols {
        assert!(is_token(subprotocol), "{subprotocol:?}");
        let lower = subprotocol.to_ascii_lowercase();
        assert!(contains(&header::SEC_WEBSOCKET_PROTOCOL, &lower), "{subprotocol:?} was never offered");
    }
    let mut route = Route::new("fuzz", Pattern::new("/").expect("a pattern"));
    route.subprotocols = Some(vec!["v2.chat".into(), "v1.chat".into()]);
    for offered in route.offered(upgrade.subprotocols.clone()) {
        assert!(upgrade.subprotocols.contains(&offered), "{offered:?} was never offered");
    }
    if negotiation::accept(&upgrade.extensions, &Settings::default()).is_some() {
        assert!(contains(&header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate"), "never offered");
    }
}

fn origins(origin: &str, host: &Host) {
    assert!(!Origins::Same.forbid(origin, host), "that is for the handler to say");
    if Origins::Same.allow(origin, host) {
        let after = origin.split_once("://").expect("a scheme").1.to_ascii_lowercase();
        let rest = after.strip_prefix(&host.with_port).expect("the same host and port");
        assert!(rest.is_empty() || rest.starts_with(['/', '?', '#']), "{origin:?} {host:?}");
    }
    let listed =
        Origins::listed(&["https://a.example".into(), "https://*.b.example".into()]).expect("origins");
    assert_ne!(listed.forbid(origin, host), listed.allow(origin, host));
    if listed.allow(origin, host) {
        let lower = origin.to_ascii_lowercase();
        let netloc = lower.strip_prefix("https://").expect("the scheme").split(['/', '?', '#']).next();
        let netloc = netloc.unwrap_or_default();
        let below = netloc.strip_suffix(".b.example").is_some_and(|below| !below.is_empty());
        assert!(netloc == "a.example" || below, "{origin:?}");
    }
}

fn peer(text: &str) -> Peer {
    Peer::from(text.parse::<IpAddr>().expect("an address"))
}

/// Header values that a client has written, one a line.
fn walk(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate().take(8) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            let name = if index % 2 == 0 { "x-forwarded-for" } else { "forwarded" };
            headers.append(name, value);
        }
    }
    forwarded(&headers);
}

/// Whatever a client has written, it is left of what the proxies add, and none of it counts.
fn forwarded(written: &HeaderMap) {
    let trusted = TrustedProxies::new(["10.0.0.0/8", "fd00::/8"]).expect("networks");
    let (proxy, client) = (peer("10.0.0.1"), peer("203.0.113.9"));
    assert_eq!(trusted.client(client, written).ok(), Some(client), "who is not trusted speaks for itself");
    assert_eq!(TrustedProxies::default().client(proxy, written).ok(), Some(proxy));
    let forms: [(&str, [&str; 4]); 2] = [
        (
            "x-forwarded-for",
            ["203.0.113.9", "203.0.113.9:4711", "203.0.113.9, 10.0.0.2", "::ffff:203.0.113.9,fd00::1"],
        ),
        (
            "forwarded",
            [
                "for=203.0.113.9",
                "proto=https; For=\"203.0.113.9:1\"",
                "for=203.0.113.9, for=10.0.0.2;by=_x",
                "for=\"[::ffff:203.0.113.9]\", for=\"[fd00::1]:80\"",
            ],
        ),
    ];
    for (name, added) in forms {
        let lines: Vec<&HeaderValue> = written.get_all(name).iter().collect();
        for added in added {
            // A proxy adds to the last line, or a line of its own.
            let mut longer = lines.last().map_or_else(Vec::new, |last| [last.as_bytes(), b", "].concat());
            longer.extend_from_slice(added.as_bytes());
            let kept = lines.len().saturating_sub(1);
            for (kept, last) in [(kept, longer.as_slice()), (lines.len(), added.as_bytes())] {
                let mut headers = HeaderMap::new();
                for line in &lines[..kept] {
                    headers.append(HeaderName::from_static(name), (*line).clone());
                }
                let last = HeaderValue::from_bytes(last).expect("made of values");
                headers.append(HeaderName::from_static(name), last);
                assert_eq!(trusted.client(proxy, &headers).ok(), Some(client), "{headers:?}");
            }
        }
    }
}

async fn proxy(bytes: &[u8]) {
    let mut left = bytes;
    let Ok(named) = proxy_header::read(&mut left).await else { return };
    let read = bytes.len() - left.len();
    assert_eq!(read, 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]])), "no byte more");
    assert!(bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    let proxy = peer("10.0.0.1");
    match named {
        Named::Address(IpAddr::V4(address)) => assert_eq!(bytes[16..20], address.octets()),
        Named::Address(IpAddr::V6(address)) => assert_eq!(bytes[16..32], address.octets()),
        Named::Unix => assert!(read >= 16 + 216),
        Named::Nobody => assert_eq!(named.or(proxy), proxy),
    }
}
