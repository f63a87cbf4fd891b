//! All of the opening handshake: who may come in, from which page, what is spoken, and where to.
//!
//! The operator's configuration of the route (`wasi:config`) says
//!
//! - `token`: what a client must show, as `Authorization: Bearer TOKEN` or, because browsers cannot set headers here,
//!   as `?token=TOKEN`;
//! - `domain`: pages of this domain and of its subdomains may connect, beside those of the same origin.
//!
//! Inside, every message comes back with the area's name before it.

use waterspout_guest::serde_json::json;
use waterspout_guest::{Connection, Handler, Message, Rejection, Request, config};

/// The subprotocols we speak, the best first.
const SUBPROTOCOLS: [&str; 2] = ["v2.gate", "v1.gate"];

#[derive(Default)]
struct Gatekeeper {
    /// What `{area}` of the route's path, `/gate/{area}`, matched.
    area: String,
}

impl Handler for Gatekeeper {
    fn new(request: &Request) -> Self {
        Self { area: request.path_arg("area").unwrap_or_default() }
    }

    fn prepare(&mut self, request: &Request) -> Result<(), Rejection> {
        let Some(expected) = config::get("token") else {
            // Closed is the safe side of a mistake. The client need not know; the operator reads it in the log.
            eprintln!("the route's configuration has no `token`: nobody can come in");
            return Err(Rejection::new(503, "The gate is closed."));
        };
        let shown = bearer(request).or_else(|| request.query_arg("token"));
        if !shown.is_some_and(|shown| is_same(&shown, &expected)) {
            return Err(Rejection::new(401, "Show a valid token.")
                .header("www-authenticate", r#"Bearer realm="gate""#));
        }
        // A header of the 101 answer: it tells the client that it was this gate that let it in.
        request
            .set_response_header("x-gate", "open")
            .map_err(|error| Rejection::new(500, format!("x-gate: {error}")))
    }

    fn check_origin(&mut self, request: &Request, origin: &str) -> bool {
        // Without this function only pages of the same host and port may connect.
        request.origin_allowed(origin)
            || config::get("domain").is_some_and(|domain| is_within(origin, &domain))
    }

    fn select_subprotocol(&mut self, _request: &Request, offered: &[String]) -> Option<String> {
        SUBPROTOCOLS.into_iter().find(|ours| offered.iter().any(|theirs| theirs == ours)).map(String::from)
    }

    fn open(&mut self, conn: &Connection) {
        let _ = conn.write_message(json!({
            "welcome": self.area,
            "subprotocol": conn.selected_subprotocol(),
            "from": conn.request().remote_address(),
        }));
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        let _ = conn.write_message(format!("{}: {message}", self.area));
    }
}

/// The token of an `Authorization: Bearer TOKEN` header; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(request: &Request) -> Option<String> {
    let header = request.header("authorization")?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Compares in a time that does not tell where the first difference is, so that a token cannot be guessed byte by byte.
fn is_same(shown: &str, expected: &str) -> bool {
    let differences = shown.bytes().zip(expected.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    shown.len() == expected.len() && differences == 0
}

/// Whether an origin's host is the domain or a subdomain of it. `evil-example.com` is not within `example.com`: hence
/// the dot.
fn is_within(origin: &str, domain: &str) -> bool {
    let Some(host) = host(origin) else { return false };
    let (host, domain) = (host.to_ascii_lowercase(), domain.to_ascii_lowercase());
    host == domain || host.strip_suffix(&domain).is_some_and(|subdomain| subdomain.ends_with('.'))
}

/// The host of `scheme://host:port`, which is all that an origin is; none for `null` and for anything else.
fn host(origin: &str) -> Option<&str> {
    let (_scheme, authority) = origin.split_once("://")?;
    if authority.contains(['/', '?', '#', '@', '\\']) {
        return None;
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    (!host.is_empty()).then_some(host)
}

waterspout_guest::export!(Gatekeeper);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_and_its_subdomains_are_within_it() {
        for origin in [
            "https://example.com",
            "http://a.example.com:8888",
            "https://B.A.Example.COM",
            "app://example.com",
        ] {
            assert!(is_within(origin, "example.com"), "{origin}");
        }
    }

    #[test]
    fn what_only_looks_like_a_subdomain_is_not() {
        for origin in [
            "https://evil-example.com",
            "https://example.com.evil.net",
            "https://evil.net/.example.com",
            "https://evil.net?.example.com",
            "https://evil.net#.example.com",
            "https://evil.net\\.example.com",
            "https://a.example.com@evil.net",
            "https://evil.net:x.example.com@",
            "example.com",
            "null",
            "",
        ] {
            assert!(!is_within(origin, "example.com"), "{origin}");
        }
    }

    #[test]
    fn only_the_same_token_is_the_same() {
        assert!(is_same("sesame", "sesame"));
        for shown in ["", "sesam", "sesame!", "Sesame", "sesamf"] {
            assert!(!is_same(shown, "sesame"), "{shown}");
        }
    }
}
