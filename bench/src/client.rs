//! The opening handshake from the client's side (RFC 6455, section 4.1), leaving a bare socket behind.
//!
//! A client library would keep the socket, so the request is written and the answer checked here. Only `ws://`: the
//! benchmark measures servers on the same machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

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
    pub(crate) fn open(&self) -> Result<(TcpStream, Vec<u8>)> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)
            .with_context(|| format!("connecting to {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let upgrade = Upgrade::new(self);
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
    pub(crate) request: String,
    accept_key: String,
}

impl Upgrade {
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        let key = generate_key();
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n",
            endpoint.path, endpoint.authority
        );
        Self { request, accept_key: derive_accept_key(key.as_bytes()) }
    }

    /// The length of the answer's head once it is complete.
    ///
    /// # Errors
    /// The answer is complete and is not the 101 that belongs to this request.
    pub(crate) fn accepted(&self, answer: &[u8]) -> Result<Option<usize>> {
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            ensure!(answer.len() <= MAX_HEAD_BYTES, "the handshake's answer does not end");
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&answer[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        ensure!(status.starts_with("HTTP/1.1 101 "), "the server refused the handshake: {status}");
        let accept_key = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-accept"))
            .map(|(_, value)| value.trim());
        ensure!(accept_key == Some(&self.accept_key), "the 101 answers another key: {accept_key:?}");
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
        let upgrade = Upgrade::new(&Endpoint::parse("ws://127.0.0.1:9000/").unwrap());
        let good = format!("HTTP/1.1 101 Switching\r\nsec-websocket-accept: {}\r\n\r\n", upgrade.accept_key);
        let early = [good.as_bytes(), b"\x81\x00"].concat();
        assert_eq!(upgrade.accepted(&early).unwrap(), Some(good.len()));
        assert_eq!(upgrade.accepted(&good.as_bytes()[..good.len() - 1]).unwrap(), None);
        let refused = upgrade.accepted(b"HTTP/1.1 503 Busy\r\n\r\n").unwrap_err().to_string();
        assert!(refused.contains("503 Busy"));
        upgrade.accepted(b"HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: other\r\n\r\n").unwrap_err();
        upgrade.accepted(&vec![b'x'; MAX_HEAD_BYTES + 1]).unwrap_err();
    }
}
