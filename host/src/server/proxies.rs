//! Proxies in front of this server: which are trusted, and whom they name as the peer (`Forwarded`, RFC 7239, or
//! `X-Forwarded-For`).
//!
//! What a client writes itself stands to the left of what proxies add. So the list is read from the right, as far as it names
//! proxies that are trusted; the first address that is not is the peer's. What cannot be read ends the walk: then it is the last
//! address that was good.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::{self, HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net};

use crate::server::addresses::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies whose word about the peer's address is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: bool,
}

/// Text that names no proxies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither an address nor a network nor `unix`: such as `10.0.0.0/8`, `192.0.2.7`, `::1`, or `unix` for whoever \
     comes through a Unix socket"
)]
pub struct TrustedProxyError(String);

/// `Forwarded` and `X-Forwarded-For` name different peers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contradiction;

/// Addresses are compared as what they are: an IPv4 address that is mapped into IPv6 is an IPv4 address.
fn canonical(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(address) => Ipv4Net::new(address, v6.prefix_len() - 96).map_or(network, IpNet::V4),
            None => network,
        },
        _ => network,
    }
}

impl TrustedProxies {
    /// From addresses, networks and `unix`.
    ///
    /// # Errors
    /// What is none of these.
    pub fn new<T: AsRef<str>>(proxies: impl IntoIterator<Item = T>) -> Result<Self, TrustedProxyError> {
        let mut trusted = Self::default();
        for text in proxies {
            let text = text.as_ref();
            if text == "unix" {
                trusted.unix = true;
                continue;
            }
            let network = IpNet::from_str(text).or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            trusted.networks.push(canonical(network.map_err(|_| TrustedProxyError(text.to_owned()))?));
        }
        Ok(trusted)
    }

    /// None is trusted.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    pub(crate) fn trust(&self, peer: Peer) -> bool {
        match peer {
            Peer::Unix => self.unix,
            Peer::Address(address) => self.networks.iter().any(|network| network.contains(&address)),
        }
    }

    /// Who asks, when `peer` has sent these headers.
    ///
    /// # Errors
    /// Both headers are there and disagree: a proxy that writes one of them passes on the other as the client wrote it, and nobody
    /// can tell which that is.
    pub(crate) fn client(&self, peer: Peer, headers: &HeaderMap) -> Result<Peer, Contradiction> {
        if !self.trust(peer) {
            return Ok(peer);
        }
        let named = |name: &HeaderName, parse: fn(&str) -> Option<IpAddr>| {
            headers.contains_key(name).then(|| self.walk(peer, headers, name, parse))
        };
        match (named(&header::FORWARDED, forwarded_for), named(&X_FORWARDED_FOR, address)) {
            (Some(one), Some(other)) if one != other => Err(Contradiction),
            (one, other) => Ok(one.or(other).unwrap_or(peer)),
        }
    }

    fn walk(
        &self,
        peer: Peer,
        headers: &HeaderMap,
        name: &HeaderName,
        parse: fn(&str) -> Option<IpAddr>,
    ) -> Peer {
        let mut good = peer;
        // A byte that is no text spoils the element that it is in, not those that a proxy has added behind it.
        let lines: Vec<_> =
            headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        for element in lines.iter().rev().flat_map(|line| ElementsFromRight(line)) {
            let Some(address) = parse(element) else { break };
            good = Peer::from(address);
            if !self.trust(good) {
                break;
            }
        }
        good
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks = self.networks.iter().map(ToString::to_string);
        let all: Vec<String> = networks.chain(self.unix.then(|| "unix".to_owned())).collect();
        f.write_str(&all.join(", "))
    }
}

/// The elements of a list from the last to the first, without empty ones (RFC 9110 section 5.6.1). From the right, because an
/// open quote that a client wrote must not swallow what a proxy has added behind it.
struct ElementsFromRight<'a>(&'a str);

impl<'a> Iterator for ElementsFromRight<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        while !self.0.is_empty() {
            let mut quoted = false;
            let comma = self.0.bytes().rposition(|byte| {
                quoted ^= byte == b'"';
                byte == b',' && !quoted
            });
            let (rest, element) = match comma {
                Some(at) => (&self.0[..at], &self.0[at + 1..]),
                None => ("", self.0),
            };
            self.0 = rest;
            let element = element.trim_matches([' ', '\t']);
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// The only `for` of a `Forwarded` element.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut nodes = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    let (Some(node), None) = (nodes.next(), nodes.next()) else { return None };
    // A node has nothing that would need an escape.
    let node = match node.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => node,
    };
    address(node)
}

/// An address with or without port; IPv6 with or without brackets. Not `unknown`, and no name that hides one (`_hidden`).
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    text.parse()
        .ok()
        .or_else(bracketed)
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/8", "192.0.2.7", "fd00::/8", "unix"]).expect("networks")
    }

    fn peer(address: &str) -> Peer {
        Peer::from(address.parse::<IpAddr>().expect("an address"))
    }

    fn client(from: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        match proxies().client(peer(from), &map) {
            Ok(peer) => peer.to_string(),
            Err(Contradiction) => "contradiction".into(),
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let claim = [("x-forwarded-for", "203.0.113.9")];
        assert_eq!(client("10.1.2.3", &claim), "203.0.113.9");
        assert_eq!(client("192.0.2.7", &claim), "203.0.113.9");
        assert_eq!(client("::ffff:10.1.2.3", &claim), "203.0.113.9");
        assert_eq!(client("192.0.2.8", &claim), "192.0.2.8");
        assert_eq!(client("10.1.2.3", &[]), "10.1.2.3");
        let none = TrustedProxies::default();
        assert!(none.is_empty() && !none.trust(peer("127.0.0.1")) && !none.trust(Peer::Unix));
        assert!(proxies().trust(Peer::Unix));
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_peers() {
        for (list, expected) in [
            ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
            ("6.6.6.6, 203.0.113.9, 10.0.0.2, 10.0.0.3", "203.0.113.9"),
            ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
            (" , 203.0.113.9 ,, ", "203.0.113.9"),
            ("", "10.1.2.3"),
        ] {
            assert_eq!(client("10.1.2.3", &[("x-forwarded-for", list)]), expected, "{list}");
        }
        let lines = [("x-forwarded-for", "6.6.6.6, 203.0.113.9"), ("x-forwarded-for", "10.0.0.2")];
        assert_eq!(client("10.1.2.3", &lines), "203.0.113.9");
    }

    #[test]
    fn what_cannot_be_read_ends_the_walk_at_the_last_good_address() {
        for list in ["203.0.113.9, unknown", "203.0.113.9, _hidden", "203.0.113.9, 1.2.3", "\"", "[::1", "é"]
        {
            assert_eq!(client("10.1.2.3", &[("x-forwarded-for", list)]), "10.1.2.3", "{list}");
        }
        assert_eq!(client("10.1.2.3", &[("x-forwarded-for", "203.0.113.9, x, 10.0.0.2")]), "10.0.0.2");
        for element in ["proto=http", "for=1.2.3.4;for=5.6.7.8", "for", "for=", "for=\"1.2.3.4", "for=_x"] {
            assert_eq!(client("10.1.2.3", &[("forwarded", element)]), "10.1.2.3", "{element}");
        }
    }

    #[test]
    fn addresses_come_with_and_without_port_and_brackets() {
        for (text, expected) in [
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("[2001:db8::9]", "2001:db8::9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(client("10.1.2.3", &[("x-forwarded-for", text)]), expected, "{text}");
            let quoted = format!("For=\"{text}\";proto=https;by=_gate");
            assert_eq!(client("10.1.2.3", &[("forwarded", &quoted)]), expected, "{quoted}");
        }
        assert_eq!(client("10.1.2.3", &[("forwarded", "for=203.0.113.9, for=10.0.0.2")]), "203.0.113.9");
    }

    #[test]
    fn an_open_quote_of_a_clients_swallows_nothing() {
        assert_eq!(client("10.1.2.3", &[("forwarded", "for=\", for=203.0.113.9")]), "203.0.113.9");
        assert_eq!(client("10.1.2.3", &[("forwarded", "for=\"a,b\", for=\"203.0.113.9\"")]), "203.0.113.9");
    }

    #[test]
    fn two_headers_must_agree() {
        let both = |one, other| [("forwarded", one), ("x-forwarded-for", other)];
        assert_eq!(client("10.1.2.3", &both("for=203.0.113.9", "203.0.113.9")), "203.0.113.9");
        assert_eq!(client("10.1.2.3", &both("for=203.0.113.9", "6.6.6.6")), "contradiction");
        assert_eq!(client("192.0.2.8", &both("for=203.0.113.9", "6.6.6.6")), "192.0.2.8");
    }

    #[test]
    fn bytes_that_are_no_text_hide_nothing_that_a_proxy_has_added_behind_them() {
        for (name, value) in [
            ("x-forwarded-for", &b"\xe9, 203.0.113.9"[..]),
            ("forwarded", b"for=\xe9, for=203.0.113.9"),
            ("forwarded", b"for=x;by=\x80, for=203.0.113.9"),
        ] {
            let value = http::HeaderValue::from_bytes(value).expect("a value");
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
            let client = proxies().client(peer("10.0.0.1"), &headers);
            assert_eq!(client.expect("one address").to_string(), "203.0.113.9");
        }
    }

    #[test]
    fn what_is_no_proxy_is_named() {
        let error = TrustedProxies::new(["10.0.0.0/33"]).expect_err("no network").to_string();
        assert!(error.contains("`10.0.0.0/33`") && error.contains("10.0.0.0/8"), "{error}");
        assert_eq!(proxies().to_string(), "10.0.0.0/8, 192.0.2.7/32, fd00::/8, unix");
    }
}
