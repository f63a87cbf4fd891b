//! The PROXY protocol, version 2: a header before everything else, by which a proxy that does not speak HTTP names the peer
//! (HAProxy's `doc/proxy-protocol.txt`, section 2.2).

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::server::addresses::Peer;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;
/// Of addresses and what may follow them, which is a few hundred bytes; the length field could say 64 KiB.
const MAX_REST_BYTES: usize = 4 << 10;

/// Whom a header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// This address.
    Address(IpAddr),
    /// A process on the proxy's machine.
    Unix,
    /// Nobody: the proxy itself speaks, or does not tell.
    Nobody,
}

impl Named {
    /// Who the peer is, when `proxy` has sent this.
    pub(crate) fn or(self, proxy: Peer) -> Peer {
        match self {
            Self::Address(address) => Peer::from(address),
            Self::Unix => Peer::Unix,
            Self::Nobody => proxy,
        }
    }
}

/// Why a connection that should begin with a header is dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    #[error("the connection ended within the PROXY header: {0}")]
    Ended(#[from] io::Error),
    #[error("version 1 of the PROXY protocol is not spoken here: let the proxy send version 2")]
    VersionOne,
    #[error("no PROXY header: this listener has `proxy-protocol = true`, so only a proxy may connect to it")]
    Missing,
    #[error("a wrong PROXY header: {0}")]
    Wrong(&'static str),
}

/// Reads a header, and no byte more. Memory is bounded; time is the caller's to bound.
pub(crate) async fn read<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Named, ProxyHeaderError> {
    let mut fixed = [0; FIXED_BYTES];
    // The beginning by itself: what is no header may be shorter than one, and its sender may wait for an answer.
    let (beginning, rest) = fixed.split_at_mut(6);
    socket.read_exact(beginning).await?;
    if beginning == b"PROXY " {
        return Err(ProxyHeaderError::VersionOne);
    }
    if *beginning != SIGNATURE[..6] {
        return Err(ProxyHeaderError::Missing);
    }
    socket.read_exact(rest).await?;
    if fixed[..12] != SIGNATURE {
        return Err(ProxyHeaderError::Missing);
    }
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MAX_REST_BYTES {
        return Err(ProxyHeaderError::Wrong("it is longer than 4 KiB"));
    }
    let mut rest = vec![0; length];
    socket.read_exact(&mut rest).await?;
    parse(fixed[12], fixed[13], &rest)
}

fn parse(version_and_command: u8, family_and_transport: u8, rest: &[u8]) -> Result<Named, ProxyHeaderError> {
    let too_short = ProxyHeaderError::Wrong("its addresses are cut off");
    match version_and_command {
        // LOCAL: a health check of the proxy's own.
        0x20 => return Ok(Named::Nobody),
        0x21 => {}
        version if version >> 4 != 2 => return Err(ProxyHeaderError::Wrong("its version is not 2")),
        _ => return Err(ProxyHeaderError::Wrong("its command is neither LOCAL nor PROXY")),
    }
    // What follows the addresses is extensions (TLVs) that nothing here needs.
    match family_and_transport {
        // TCP over IPv4: source, destination, and their ports.
        0x11 => match rest.first_chunk::<12>() {
            Some([a, b, c, d, ..]) => Ok(Named::Address(IpAddr::from([*a, *b, *c, *d]))),
            None => Err(too_short),
        },
        // TCP over IPv6.
        0x21 => match (rest.first_chunk::<16>(), rest.len() >= 36) {
            (Some(source), true) => Ok(Named::Address(IpAddr::from(*source))),
            _ => Err(too_short),
        },
        // A Unix stream socket: two paths of 108 bytes.
        0x31 => {
            if rest.len() >= 216 {
                Ok(Named::Unix)
            } else {
                Err(too_short)
            }
        }
        0x00 => Ok(Named::Nobody),
        // Something new, or datagrams: to be taken as if nothing had been said.
        _ => Ok(Named::Nobody),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    async fn named(bytes: &[u8]) -> Result<Named, String> {
        let mut socket = bytes;
        let named = read(&mut socket).await.map_err(|error| error.to_string());
        if named.is_ok() {
            assert_eq!(socket, b"", "all of it is read");
        }
        named
    }

    const IPV4: [u8; 12] = [203, 0, 113, 9, 192, 0, 2, 1, 0x12, 0x34, 0, 80];

    #[tokio::test]
    async fn it_names_the_source() {
        let address = |text: &str| Ok(Named::Address(text.parse().expect("an address")));
        assert_eq!(named(&header(0x21, 0x11, &IPV4)).await, address("203.0.113.9"));
        let mut ipv6 = [0; 36];
        ipv6[..16]
            .copy_from_slice(&"2001:db8::9".parse::<std::net::Ipv6Addr>().expect("an address").octets());
        assert_eq!(named(&header(0x21, 0x21, &ipv6)).await, address("2001:db8::9"));
        assert_eq!(named(&header(0x21, 0x31, &[b'/'; 216])).await, Ok(Named::Unix));
    }

    #[tokio::test]
    async fn extensions_are_skipped_and_what_follows_stays() {
        let long = [&IPV4[..], &[0x20; 500]].concat();
        let bytes = [&header(0x21, 0x11, &long)[..], b"GET /"].concat();
        let mut socket = &bytes[..];
        assert!(matches!(read(&mut socket).await, Ok(Named::Address(_))));
        assert_eq!(socket, b"GET /");
    }

    #[tokio::test]
    async fn who_speaks_for_itself_or_does_not_tell_names_nobody() {
        for (command, family, rest) in
            [(0x20, 0x11, &IPV4[..]), (0x20, 0, &[]), (0x21, 0, &[1, 2, 3]), (0x21, 0x12, &IPV4)]
        {
            assert_eq!(named(&header(command, family, rest)).await, Ok(Named::Nobody), "{command} {family}");
        }
        assert_eq!(Named::Nobody.or(Peer::Unix), Peer::Unix);
    }

    #[tokio::test]
    async fn wrong_headers_are_refused_with_the_reason() {
        for (bytes, why) in [
            (b"PROXY TCP4 203.0.113.9 192.0.2.1 4660 80\r\n".to_vec(), "version 1"),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "proxy-protocol"),
            (header(0x11, 0x11, &IPV4), "version is not 2"),
            (header(0x22, 0x11, &IPV4), "neither LOCAL nor PROXY"),
            (header(0x21, 0x11, &IPV4[..11]), "cut off"),
            (header(0x21, 0x21, &[0; 35]), "cut off"),
            (header(0x21, 0x31, &[0; 215]), "cut off"),
            (header(0x21, 0x11, &[0; MAX_REST_BYTES + 1]), "4 KiB"),
            (header(0x21, 0x11, &IPV4)[..20].to_vec(), "ended within"),
            (Vec::new(), "ended within"),
        ] {
            let error = named(&bytes).await.expect_err("wrong");
            assert!(error.contains(why), "{error}");
        }
        assert!(
            named(&header(0x21, 0x11, &[[0; MAX_REST_BYTES - 12].as_slice(), &IPV4].concat())).await.is_ok()
        );
    }
}
