//! HTTP requests written byte by byte, and their answers as they came.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::frames::Raw;
use crate::within;

/// The key of RFC 6455 section 1.3; its accept key is [`ACCEPT`].
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What a server answers to [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request: at first a good WebSocket handshake, then whatever a test makes of it.
#[derive(Debug, Clone)]
pub struct Request {
    address: SocketAddr,
    method: String,
    target: String,
    version: String,
    headers: Vec<(String, Vec<u8>)>,
    behind: Vec<u8>,
    receive_buffer: Option<u32>,
}

impl Request {
    pub(crate) fn new(address: SocketAddr, target: &str) -> Self {
        let good = [
            ("Host", address.to_string()),
            ("Upgrade", "websocket".into()),
            ("Connection", "Upgrade".into()),
            ("Sec-WebSocket-Version", "13".into()),
            ("Sec-WebSocket-Key", KEY.into()),
        ];
        Self {
            address,
            method: "GET".into(),
            target: target.into(),
            version: "HTTP/1.1".into(),
            headers: good.map(|(name, value)| (name.to_owned(), value.into_bytes())).into(),
            behind: Vec::new(),
            receive_buffer: None,
        }
    }

    /// No handshake: only the Host header.
    pub fn plain(mut self) -> Self {
        self.headers.retain(|(header, _)| header.eq_ignore_ascii_case("host"));
        self
    }

    /// Another method than GET.
    pub fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    /// Another version than HTTP/1.1.
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    /// Without this header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| !header.eq_ignore_ascii_case(name));
        self
    }

    /// With one more header, even if there is one of that name.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().into()));
        self
    }

    /// With this header in place of those of that name.
    pub fn replace(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).header(name, value)
    }

    /// Bytes in the same packet, right behind the request's head.
    pub fn behind(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.behind = bytes.into();
        self
    }

    /// On a socket with a receive buffer of about so many bytes (SO_RCVBUF).
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} {}\r\n", self.method, self.target, self.version).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.behind);
        bytes
    }

    /// Sends it and reads the answer.
    pub async fn answer(&self) -> Answer {
        self.send().await.0
    }

    /// Sends it; the answer must be 101. The socket is the caller's.
    ///
    /// # Panics
    /// The answer is another one.
    pub async fn upgrade(&self) -> (Answer, Raw) {
        let (answer, raw) = self.send().await;
        assert_eq!(answer.status, 101, "{answer:?}");
        (answer, raw)
    }

    async fn send(&self) -> (Answer, Raw) {
        let mut raw = self.sent().await;
        let answer = raw.answer(self.method != "HEAD").await;
        (answer, raw)
    }

    /// Sends it on a connection of its own; the answer can be read with [`Raw::answer`].
    pub async fn sent(&self) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes).expect("a TCP socket has the option");
        }
        let socket =
            within("a TCP connection", socket.connect(self.address)).await.expect("the host listens");
        socket.set_nodelay(true).expect("a TCP socket has the option");
        let mut raw = Raw::new(socket, Vec::new());
        raw.send_bytes(&self.bytes()).await;
        raw
    }
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status line's code.
    pub status: u16,
    /// Lower-case names with their values, in order.
    pub headers: Vec<(String, String)>,
    /// What came after the head.
    pub body: Vec<u8>,
}

impl Answer {
    /// The only value of a header, or none.
    ///
    /// # Panics
    /// There are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values =
            self.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "there is a second {name} header");
        value
    }

    /// All values of a header.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The body, which is text.
    ///
    /// # Panics
    /// It is not.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    fn parse_head(head: &str) -> Self {
        let mut lines = head.lines();
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("`{line}` is no header"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self {
            status: status.unwrap_or_else(|| panic!("`{status_line}` is no status line")),
            headers: lines.filter(|line| !line.is_empty()).map(header).collect(),
            body: Vec::new(),
        }
    }

    fn body_bytes(&self) -> usize {
        self.header("content-length").map_or(0, |length| length.parse().expect("a number"))
    }
}

impl Raw {
    /// Reads one HTTP answer; what follows it stays.
    pub async fn answer(&mut self, with_body: bool) -> Answer {
        within("an HTTP answer", async {
            let end = loop {
                if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                    break at + 4;
                }
                let shown = String::from_utf8_lossy(&self.buffer).into_owned();
                let read = self
                    .socket
                    .read_buf(&mut self.buffer)
                    .await
                    .unwrap_or_else(|error| panic!("{error}: {shown:?}"));
                assert!(read > 0, "the connection ended within the head of the answer: {shown:?}");
            };
            let head: Vec<u8> = self.buffer.drain(..end).collect();
            let mut answer = Answer::parse_head(&String::from_utf8_lossy(&head));
            if with_body && answer.status != 101 {
                let length = answer.body_bytes();
                while self.buffer.len() < length {
                    let read = self.socket.read_buf(&mut self.buffer).await.expect("the body can be read");
                    assert!(read > 0, "the connection ended within the body of {answer:?}");
                }
                answer.body = self.buffer.drain(..length).collect();
            }
            answer
        })
        .await
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// The host does not take them.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        within("the host to read", self.socket.write_all(bytes)).await.expect("the host takes bytes");
    }
}
