//! A well-behaved client: tokio-tungstenite's.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::within;

/// See the module. Dropped, it is gone without a close frame.
#[derive(Debug)]
pub struct Client {
    stream: WebSocketStream<TcpStream>,
    answer: Response,
}

impl Client {
    /// Connects, or tells why not.
    ///
    /// # Errors
    /// tungstenite's; `Error::Http` holds an answer other than 101.
    pub async fn connect(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Self, Error> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            request.headers_mut().append(name, HeaderValue::from_str(value).expect("a header's value"));
        }
        let socket = within("a TCP connection", TcpStream::connect(address)).await?;
        socket.set_nodelay(true)?;
        let (stream, answer) = within("the answer to a handshake", client_async(request, socket)).await?;
        Ok(Self { stream, answer })
    }

    /// A header of the 101 answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer.headers().get(name).map(|value| value.to_str().expect("a header of text"))
    }

    /// The subprotocol that was selected.
    pub fn subprotocol(&self) -> Option<&str> {
        self.header("sec-websocket-protocol")
    }

    /// Sends a message.
    ///
    /// # Panics
    /// The connection is closed.
    pub async fn send(&mut self, message: Message) {
        within("the host to read", self.stream.send(message)).await.expect("the connection is open");
    }

    /// Sends text.
    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.send(Message::text(text.into())).await;
    }

    /// Sends bytes.
    pub async fn send_binary(&mut self, bytes: impl Into<Vec<u8>>) {
        self.send(Message::binary(bytes.into())).await;
    }

    /// Sends a ping.
    pub async fn ping(&mut self, data: impl Into<Vec<u8>>) {
        self.send(Message::Ping(data.into().into())).await;
    }

    /// Sends a close frame and goes on reading.
    pub async fn close(&mut self, code: u16, reason: &str) {
        self.send(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))).await;
    }

    /// Sends a close frame without a code and goes on reading.
    pub async fn close_without_code(&mut self) {
        self.send(Message::Close(None)).await;
    }

    /// The next message, a close frame or a pong included.
    ///
    /// # Panics
    /// The connection has ended.
    pub async fn recv(&mut self) -> Message {
        match self.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => panic!("a message was expected: {error}"),
            None => panic!("the connection has ended; a message was expected"),
        }
    }

    /// The next message as tungstenite has it.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        within("a message", self.stream.next()).await
    }

    /// The next message, which must be text.
    pub async fn recv_text(&mut self) -> String {
        match self.recv().await {
            Message::Text(text) => text.as_str().to_owned(),
            other => panic!("text was expected: {other:?}"),
        }
    }

    /// The next message but for the server's pings, which are answered by reading them; it must be text. Waits for as long as it takes:
    /// for what may go on beside something that does.
    pub async fn hear(&mut self) -> String {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(Message::Text(text))) => return text.as_str().to_owned(),
                other => panic!("text was expected: {other:?}"),
            }
        }
    }

    /// The next message, which must be binary.
    pub async fn recv_binary(&mut self) -> Vec<u8> {
        match self.recv().await {
            Message::Binary(bytes) => bytes.to_vec(),
            other => panic!("a binary message was expected: {other:?}"),
        }
    }

    /// The next message, which must be text that is JSON.
    pub async fn recv_json(&mut self) -> serde_json::Value {
        let text = self.recv_text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The next message, which must be a close frame: its code, 1005 for none, and its reason.
    pub async fn recv_close(&mut self) -> (u16, String) {
        match self.recv().await {
            Message::Close(None) => (1005, String::new()),
            Message::Close(Some(frame)) => (frame.code.into(), frame.reason.as_str().to_owned()),
            other => panic!("a close frame was expected: {other:?}"),
        }
    }

    /// Sends text and returns the text that comes back.
    pub async fn say(&mut self, text: impl Into<String>) -> String {
        self.send_text(text).await;
        self.recv_text().await
    }

    /// After both close frames: the host ends the TCP connection.
    ///
    /// # Panics
    /// It sends something, or ends it another way.
    pub async fn ends(&mut self) {
        match self.next().await {
            None | Some(Err(Error::ConnectionClosed)) => {}
            other => panic!("the connection was to end: {other:?}"),
        }
    }

    /// Closes with 1000 and waits for the end; for when a test is done with the connection and wants `on-close` called.
    pub async fn leave(mut self) {
        self.close(1000, "").await;
        assert_eq!(self.recv_close().await.0, 1000);
        self.ends().await;
    }

    /// Leaves with a reset (RST), without a close frame.
    pub fn reset(self) {
        self.stream.get_ref().set_zero_linger().expect("a TCP socket has the option");
    }

    /// The stream, for what has no helper.
    pub fn stream(&mut self) -> &mut WebSocketStream<TcpStream> {
        &mut self.stream
    }
}
