//! WebSockets over HTTP/2: a well-behaved client (hyper's), and frames made by hand (RFC 9113 section 4.1) for what no good
//! client sends.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::http::{Method, Request, Response, Uri};
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::tls::Identity;
use crate::within;

/// A WebSocket that is a stream.
pub type StreamSocket = WebSocketStream<TokioIo<Upgraded>>;

/// A connection on which requests are streams.
#[derive(Debug)]
pub struct Http2 {
    sender: SendRequest<Empty<Bytes>>,
    authority: String,
}

impl Http2 {
    /// Connects, and asks for `/healthz`: then it is known that the host takes extended CONNECT.
    pub async fn connect(identity: &Identity, address: SocketAddr) -> Self {
        let tls = identity.connect(address, "localhost", &["h2", "http/1.1"]).await.expect("TLS");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
                .await
                .expect("HTTP/2");
        tokio::spawn(connection);
        let mut this = Self { sender, authority: format!("localhost:{}", address.port()) };
        assert_eq!(this.get("/healthz").await, (200, "ok\n".to_owned()));
        this
    }

    /// A request for this path.
    pub fn request(&self, method: Method, path: &str) -> Request<Empty<Bytes>> {
        let uri: Uri = format!("https://{}{path}", self.authority).parse().expect("a URI");
        Request::builder().method(method).uri(uri).body(Empty::new()).expect("a request")
    }

    /// A good handshake for this path, to be changed and sent.
    pub fn handshake(&self, path: &str) -> Request<Empty<Bytes>> {
        let mut request = self.request(Method::CONNECT, path);
        request.headers_mut().insert("sec-websocket-version", "13".parse().expect("a value"));
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        request
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The stream or the connection ends without an answer.
    pub async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<hyper::body::Incoming>, hyper::Error> {
        within("an answer", self.sender.send_request(request)).await
    }

    /// Status and body of the answer to this request.
    pub async fn answer(&mut self, request: Request<Empty<Bytes>>) -> (u16, String) {
        let response = self.send(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = within("a body", response.into_body().collect()).await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// Status and body of a GET.
    pub async fn get(&mut self, path: &str) -> (u16, String) {
        let request = self.request(Method::GET, path);
        self.answer(request).await
    }

    /// Opens a WebSocket.
    pub async fn open(&mut self, path: &str) -> StreamSocket {
        let request = self.handshake(path);
        self.open_with(request).await.1
    }

    /// Opens a WebSocket with this request; the answer must be 200.
    pub async fn open_with(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> (Response<hyper::body::Incoming>, StreamSocket) {
        let mut response = self.send(request).await.expect("an answer");
        assert_eq!(response.status(), 200, "{response:?}");
        let upgraded = hyper::upgrade::on(&mut response).await.expect("a stream");
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await;
        (response, socket)
    }
}

/// Types of frames.
pub mod kind {
    #![expect(missing_docs, reason = "RFC 9113 section 6 has them")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// END_STREAM, or ACK.
pub const END_STREAM: u8 = 1;
/// END_HEADERS.
pub const END_HEADERS: u8 = 4;

/// One frame of HTTP/2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2Frame {
    /// See [`kind`].
    pub kind: u8,
    /// Of this kind.
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Http2Frame {
    /// A frame.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("short").to_be_bytes();
        let head = [&length[1..], &[self.kind, self.flags], &self.stream.to_be_bytes()].concat();
        [head, self.payload.clone()].concat()
    }
}

/// Headers as literals without an index (RFC 7541 section 6.2.2); names and values of less than 127 bytes.
pub fn literals(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "{text}");
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The headers of a good handshake.
pub fn handshake_headers(path: &str) -> Vec<u8> {
    literals(&[
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        ("sec-websocket-version", "13"),
    ])
}

/// A socket after TLS, on which frames are made by hand.
#[derive(Debug)]
pub struct RawHttp2 {
    socket: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl RawHttp2 {
    /// Connects, and sends the preface with these settings (identifier, value).
    pub async fn connect(identity: &Identity, address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let socket = identity.connect(address, "localhost", &["h2"]).await.expect("TLS");
        let mut this = Self { socket, buffer: Vec::new() };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        let first = Http2Frame::new(kind::SETTINGS, 0, 0, payload).bytes();
        this.send_bytes(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &first[..]].concat()).await.expect("sent");
        this
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The host has gone.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        within("the host to read", async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        })
        .await
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The host has gone.
    pub async fn send(&mut self, frame: Http2Frame) -> std::io::Result<()> {
        self.send_bytes(&frame.bytes()).await
    }

    /// The next frame; none at the end of the connection, however it ends.
    pub async fn next(&mut self) -> Option<Http2Frame> {
        within("a frame of HTTP/2", async {
            loop {
                if let Some(head) = self.buffer.first_chunk::<9>() {
                    let length =
                        usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                    if self.buffer.len() >= 9 + length {
                        let (kind, flags) = (head[3], head[4]);
                        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                        let payload = self.buffer.drain(..9 + length).skip(9).collect::<Vec<u8>>();
                        return Some(Http2Frame { kind, flags, stream, payload });
                    }
                }
                match self.socket.read_buf(&mut self.buffer).await {
                    Ok(read) if read > 0 => {}
                    _ => return None,
                }
            }
        })
        .await
    }

    /// The next frame that `wanted` takes; none if the connection ends before it.
    pub async fn find(&mut self, wanted: impl Fn(&Http2Frame) -> bool) -> Option<Http2Frame> {
        loop {
            let frame = self.next().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// Reads to the end of the connection; the error code of its GOAWAY, if there was one.
    pub async fn ends(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == kind::GOAWAY {
                code =
                    frame.payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("4 bytes")));
            }
        }
        code
    }
}
