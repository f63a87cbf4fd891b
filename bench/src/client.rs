//! The opening handshake from the client's side (RFC 6455, section 4.1), leaving a bare socket behind.
//!
//! A client library would keep the socket, so the request is written and the answer checked here. Only `ws://`: the
//! benchmark measures servers on the same machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

use crate::deflate;
use crate::frames::Wire;

/// A server that neither answers nor refuses is given up after this time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// An answer's head longer than this is no answer of a server measured here.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Where a WebSocket is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    authority: String,
    path: String,
}

impl Endpoint {
    /// Reads `ws://HOST:PORT/PATH`; the port defaults to 80 and the path to `/`.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix("ws://") else {
            bail!("{url:?} does not begin with ws:// (the load generator speaks no TLS)");
        };
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('?') => (&rest[..at], format!("/{}", &rest[at..])),
            Some(at) => (&rest[..at], rest[at..].to_owned()),
            None => (rest, "/".to_owned()),
        };
        let has_port = authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let with_port = if has_port && authority.contains(':') {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("{url:?}: no such host"))?
            .next()
            .with_context(|| format!("{url:?}: the host has no address"))?;
        Ok(Self { address, authority: authority.to_owned(), path })
    }

    /// Connects and upgrades, blocking; also gives what came after the answer's head.
    pub(crate) fn open(&self, wire: Wire) -> Result<(TcpStream, Vec<u8>)> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)
            .with_context(|| format!("connecting to {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let upgrade = Upgrade::new(self, wire);
        stream.write_all(upgrade.request.as_bytes()).context("sending the handshake")?;
        let mut answer = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            let read = stream.read(&mut buffer).context("waiting for the handshake's answer")?;
            ensure!(read > 0, "the server closed the connection during the handshake");
            answer.extend_from_slice(&buffer[..read]);
            if let Some(head) = upgrade.accepted(&answer)? {
                return Ok((stream, answer.split_off(head)));
            }
        }
    }
}

/// One handshake: what is sent, and what must come back.
pub(crate) struct Upgrade {
    wire: Wire,
    pub(crate) request: String,
    accept_key: String,
}

impl Upgrade {
    pub(crate) fn new(endpoint: &Endpoint, wire: Wire) -> Self {
        let key = generate_key();
        let extensions = match wire {
            Wire::Plain => String::new(),
            Wire::Compressed => format!("Sec-WebSocket-Extensions: {}\r\n", deflate::offer()),
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{extensions}\r\n",
            endpoint.path, endpoint.authority
        );
        Self { wire, request, accept_key: derive_accept_key(key.as_bytes()) }
    }

    /// The length of the answer's head once it is complete.
    ///
    /// # Errors
    /// The answer is complete and is not the 101 that belongs to this request, or agrees to something else.
    pub(crate) fn accepted(&self, answer: &[u8]) -> Result<Option<usize>> {
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            ensure!(answer.len() <= MAX_HEAD_BYTES, "the handshake's answer does not end");
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&answer[..end]);
        let (status, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        ensure!(status.starts_with("HTTP/1.1 101 "), "the server refused the handshake: {status}");
        let values = |wanted: &'static str| {
            let fields = fields.split("\r\n").filter_map(|line| line.split_once(':'));
            fields.filter(move |(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
        };
        let accept_key = values("sec-websocket-accept").next();
        ensure!(accept_key == Some(&self.accept_key), "the 101 answers another key: {accept_key:?}");
        let mut extensions = values("sec-websocket-extensions");
        match self.wire {
            Wire::Plain => {
                ensure!(extensions.next().is_none(), "the server chose an extension; none was offered");
            }
            Wire::Compressed => deflate::confirm(extensions)?,
        }
        Ok(Some(end + 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_address_authority_and_path() {
        let endpoint = Endpoint::parse("ws://127.0.0.1:9000/websocket?a=b").unwrap();
        assert_eq!(endpoint.address, "127.0.0.1:9000".parse().unwrap());
        assert_eq!(
            (endpoint.authority.as_str(), endpoint.path.as_str()),
            ("127.0.0.1:9000", "/websocket?a=b")
        );
        assert_eq!(Endpoint::parse("ws://127.0.0.1:9000").unwrap().path, "/");
        assert_eq!(Endpoint::parse("ws://127.0.0.1:9000?x").unwrap().path, "/?x");
        assert_eq!(Endpoint::parse("ws://127.0.0.1/").unwrap().address.port(), 80);
        assert_eq!(Endpoint::parse("ws://[::1]:9000/").unwrap().address, "[::1]:9000".parse().unwrap());
        Endpoint::parse("wss://127.0.0.1:9000/").unwrap_err();
    }

    #[test]
    fn only_the_101_that_answers_this_key_is_accepted() {
        let upgrade = Upgrade::new(&Endpoint::parse("ws://127.0.0.1:9000/").unwrap(), Wire::Plain);
        let good = format!("HTTP/1.1 101 Switching\r\nsec-websocket-accept: {}\r\n\r\n", upgrade.accept_key);
        let early = [good.as_bytes(), b"\x81\x00"].concat();
        assert_eq!(upgrade.accepted(&early).unwrap(), Some(good.len()));
        assert_eq!(upgrade.accepted(&good.as_bytes()[..good.len() - 1]).unwrap(), None);
        let refused = upgrade.accepted(b"HTTP/1.1 503 Busy\r\n\r\n").unwrap_err().to_string();
        assert!(refused.contains("503 Busy"));
        upgrade.accepted(b"HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: other\r\n\r\n").unwrap_err();
        upgrade.accepted(&vec![b'x'; MAX_HEAD_BYTES + 1]).unwrap_err();
    }

    #[test]
    fn compression_is_agreed_on_exactly_if_it_was_offered() {
        let accepted = |wire, extensions: &str| {
            let upgrade = Upgrade::new(&Endpoint::parse("ws://127.0.0.1:9000/").unwrap(), wire);
            let offers = upgrade.request.contains("\r\nSec-WebSocket-Extensions: permessage-deflate;");
            assert_eq!(offers, wire == Wire::Compressed);
            assert!(upgrade.request.ends_with("\r\n\r\n") && !upgrade.request.contains("\r\n\r\n\r\n"));
            let accept_key = &upgrade.accept_key;
            let answer = format!("HTTP/1.1 101 S\r\nSec-WebSocket-Accept: {accept_key}\r\n{extensions}\r\n");
            upgrade.accepted(answer.as_bytes()).map_err(|error| format!("{error:#}"))
        };
        let agreed = "sec-websocket-extensions: permessage-deflate\r\n";
        accepted(Wire::Plain, "").unwrap();
        accepted(Wire::Compressed, agreed).unwrap();
        assert!(accepted(Wire::Plain, agreed).unwrap_err().contains("none was offered"));
        assert!(accepted(Wire::Compressed, "").unwrap_err().contains("declined"));
    }
}
