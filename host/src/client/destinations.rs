//! Where a route's handlers may connect to: the operator's list of hosts and ports, and the addresses that no name may lead to.
//!
//! A URL must name a listed host and port. What the name then resolves to must be an address of the public internet, or be listed
//! itself: else a name of a stranger's (DNS rebinding) would open what only this machine or its neighbours may reach.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A route's list. Empty: nothing may be connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destinations(Vec<Destination>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Destination {
    host: ListedHost,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ListedHost {
    /// Lower-case.
    Name(String),
    /// Every name below this one: `*.example.com` without the star and the dot.
    Below(String),
    Address(IpAddr),
}

impl Destinations {
    /// These hosts with their ports: `example.com:443`, `*.example.com:443`, `10.0.0.5:9000`, `[::1]:9000`.
    ///
    /// # Errors
    /// What is no host with a port, for a person.
    pub fn listed(entries: &[String]) -> Result<Self, String> {
        entries
            .iter()
            .map(|entry| {
                Destination::read(entry).ok_or_else(|| {
                    format!(
                        "`{entry}` is no host with a port: such as `example.com:443`, `*.example.com:443`, \
                         `10.0.0.5:9000` or `[::1]:9000`"
                    )
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether nothing may be connected to.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an entry is a name, which has to be resolved.
    pub(crate) fn has_names(&self) -> bool {
        self.0.iter().any(|listed| !matches!(listed.host, ListedHost::Address(_)))
    }

    /// The ports of all entries.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|listed| listed.port)
    }

    /// The first of `others` that these do not cover.
    pub(crate) fn first_outside(&self, others: &Self) -> Option<String> {
        let covered = |other: &&Destination| self.0.iter().any(|own| own.covers(other));
        others.0.iter().find(|other| !covered(other)).map(Destination::to_string)
    }

    /// Whether a URL may name this host (of an IPv6 address without its brackets) and port.
    pub(crate) fn allow(&self, host: &str, port: u16) -> bool {
        match host.parse() {
            Ok(address) => self.list(SocketAddr::new(address, port)),
            Err(_) => self.0.iter().any(|listed| listed.port == port && listed.host.is_named(host)),
        }
    }

    /// Whether what a listed name has led to may be dialled.
    pub(crate) fn allow_address(&self, address: SocketAddr) -> bool {
        is_public(address.ip()) || self.list(address)
    }

    fn list(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.0.iter().any(|listed| listed.port == address.port() && listed.host == ListedHost::Address(ip))
    }
}

impl fmt::Display for Destinations {
    /// As in a file, without quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, destination) in self.0.iter().enumerate() {
            write!(f, "{}{destination}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            ListedHost::Name(name) => write!(f, "{name}:{}", self.port),
            ListedHost::Below(base) => write!(f, "*.{base}:{}", self.port),
            ListedHost::Address(address) => SocketAddr::new(*address, self.port).fmt(f),
        }
    }
}

impl Destination {
    /// Whether everything that `other` allows is allowed by this.
    fn covers(&self, other: &Self) -> bool {
        let host = match &other.host {
            ListedHost::Name(name) => self.host.is_named(name) || self.host == other.host,
            // Every name below one that is itself below ours, or ours.
            ListedHost::Below(base) => self.host == other.host || self.host.is_below(base),
            // No name stands for an address: what it leads to is for others to say.
            ListedHost::Address(_) => self.host == other.host,
        };
        host && self.port == other.port
    }

    fn read(entry: &str) -> Option<Self> {
        if let Ok(address) = entry.parse::<SocketAddr>() {
            let host = ListedHost::Address(address.ip().to_canonical());
            return (address.port() != 0).then_some(Self { host, port: address.port() });
        }
        let (name, port) = entry.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let name = name.to_ascii_lowercase();
        let (below, base) = match name.strip_prefix("*.") {
            Some(base) => (true, base),
            None => (false, name.as_str()),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if base.is_empty() || !base.chars().all(is_name) {
            return None;
        }
        let host = if below { ListedHost::Below(base.to_owned()) } else { ListedHost::Name(name) };
        Some(Self { host, port })
    }
}

impl ListedHost {
    fn is_named(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        match self {
            Self::Name(name) => *name == host,
            Self::Below(base) => {
                host.strip_suffix(base.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            Self::Address(_) => false,
        }
    }

    /// Whether this is a star that has `name` below it.
    fn is_below(&self, name: &str) -> bool {
        matches!(self, Self::Below(_)) && self.is_named(name)
    }
}

/// Whether an address is one of the public internet (IANA's registries of special-purpose addresses, RFC 6890), and none under which
/// clouds serve their machines' secrets. Addresses that stand for an IPv4 address are judged by that.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // "This network", private, loopback.
        (0 | 10 | 127, _, _) => true,
        // Shared by the customers of a provider (RFC 6598); Alibaba's metadata among them.
        (100, 64..=127, _) => true,
        // Link-local; metadata of most clouds.
        (169, 254, _) => true,
        (172, 16..=31, _) | (192, 168, _) => true,
        // Protocol assignments, documentation, 6to4 relays, AS112.
        (192, 0, 0 | 2) | (192, 88, 99) | (192, 31, 196) | (192, 52, 193) | (192, 175, 48) => true,
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        // Multicast, reserved, broadcast.
        (224.., _, _) => true,
        _ => false,
    };
    !special && address != AZURE_WIRE_SERVER
}

/// A public address by its number, which inside of Azure answers with a machine's configuration.
const AZURE_WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b, c, d) {
        // Translated by NAT64 (RFC 6052).
        (0x64, 0xff9b, 0, 0) if (e, f) == (0, 0) => is_public_v4(embedded(g, h)),
        // 6to4 (RFC 3056).
        (0x2002, high, low, _) => is_public_v4(embedded(high, low)),
        // Protocol assignments with Teredo, benchmarking, ORCHID; documentation.
        (0x2001, 0..=0x1ff | 0xdb8, _, _) | (0x3fff, 0..=0xfff, _, _) => false,
        // All of global unicast (RFC 4291 section 2.4), and nothing else: no loopback, unique local, link-local, multicast.
        (0x2000..=0x3fff, _, _, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Result<Destinations, String> {
        Destinations::listed(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    }

    fn destinations(entries: &[&str]) -> Destinations {
        list(entries).expect("a good list")
    }

    #[test]
    fn without_a_list_nothing_may_be_connected_to() {
        assert!(!Destinations::default().allow("example.com", 443));
    }

    #[test]
    fn host_and_port_must_be_listed_both() {
        let listed = destinations(&["Example.com:443", "*.example.org:80", "10.0.0.5:9000", "[::1]:9000"]);
        for (host, port, allowed) in [
            ("example.com", 443, true),
            ("EXAMPLE.com", 443, true),
            ("example.com", 80, false),
            ("a.example.com", 443, false),
            ("a.b.example.org", 80, true),
            ("example.org", 80, false),
            ("evilexample.org", 80, false),
            (".example.org", 80, false),
            ("10.0.0.5", 9000, true),
            ("::ffff:10.0.0.5", 9000, true),
            ("10.0.0.5", 9001, false),
            ("::1", 9000, true),
            ("127.0.0.1", 9000, false),
            // Forms of addresses that resolvers know are names here, and not on the list.
            ("167772165", 9000, false),
            ("0x0a000005", 9000, false),
            ("example.com.", 443, false),
        ] {
            assert_eq!(listed.allow(host, port), allowed, "{host}:{port}");
        }
    }

    #[test]
    fn a_list_covers_what_it_allows_and_nothing_else() {
        let bound = destinations(&["example.com:443", "*.example.org:80", "10.0.0.5:9000", "[::1]:9000"]);
        for (entry, covered) in [
            ("EXAMPLE.com:443", true),
            ("example.com:80", false),
            ("*.example.com:443", false),
            ("a.example.com:443", false),
            ("a.b.example.org:80", true),
            ("*.example.org:80", true),
            ("*.a.example.org:80", true),
            ("*.org:80", false),
            ("*.evilexample.org:80", false),
            ("example.org:80", false),
            ("10.0.0.5:9000", true),
            ("[::ffff:10.0.0.5]:9000", true),
            ("10.0.0.5:9001", false),
            ("10.0.0.6:9000", false),
            ("[::1]:9000", true),
        ] {
            let outside = bound.first_outside(&destinations(&["example.com:443", entry]));
            assert_eq!(outside.is_none(), covered, "{entry}: {outside:?}");
        }
        assert_eq!(bound.first_outside(&Destinations::default()), None);
        let shown = bound.to_string();
        assert_eq!(shown, "example.com:443, *.example.org:80, 10.0.0.5:9000, [::1]:9000");
        assert_eq!(Destinations::default().first_outside(&bound).as_deref(), Some("example.com:443"));
    }

    #[test]
    fn what_is_no_host_with_a_port_is_named() {
        for wrong in [
            "example.com",
            "example.com:0",
            "example.com:http",
            ":80",
            "*:80",
            "a b:80",
            "http://a:80",
            "::1:x",
        ] {
            let error = list(&[wrong]).expect_err(wrong);
            assert!(error.contains(wrong) && error.contains("example.com:443"), "{error}");
        }
    }

    #[test]
    fn a_name_may_lead_to_public_addresses_and_to_listed_ones() {
        let listed = destinations(&["example.com:443", "10.0.0.5:443"]);
        for (address, allowed) in [
            ("93.184.215.14:443", true),
            ("10.0.0.5:443", true),
            ("[::ffff:10.0.0.5]:443", true),
            ("10.0.0.5:80", false),
            ("10.0.0.6:443", false),
            ("127.0.0.1:443", false),
        ] {
            assert_eq!(listed.allow_address(address.parse().expect("an address")), allowed, "{address}");
        }
    }

    #[test]
    fn special_addresses_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
        ] {
            assert!(!is_public(address.parse().expect("an address")), "{address}");
        }
        for address in [
            "1.1.1.1",
            "93.184.215.14",
            "100.63.0.1",
            "100.128.0.1",
            "168.63.129.17",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::101:101",
            "2002:101:101::",
            "::ffff:1.1.1.1",
            "2001:200::1",
            "2620:fe::fe",
        ] {
            assert!(is_public(address.parse().expect("an address")), "{address}");
        }
    }
}
