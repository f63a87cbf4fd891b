//! A client by hyper that offers compression, sends each line of its input, and shows what came back and what went over the wire.
//!
//!     cargo run -p tungstenite-deflate --example client -- 127.0.0.1:9001 /

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use anyhow::{Context as _, anyhow, ensure};
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Bytes;
use tungstenite::Message;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite_deflate::{DeflateStream, Settings, negotiation};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    let path = arguments.next().unwrap_or_else(|| "/".into());
    let mut socket = connect(&address, &path).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        socket.send(Message::text(line)).await?;
        let answer = loop {
            match socket.next().await.context("the server is gone")?? {
                Message::Ping(_) | Message::Pong(_) => {}
                answer => break answer,
            }
        };
        println!("{answer}");
        let wire = socket.get_mut().get_mut();
        println!("  {} bytes; over the wire: {} sent, {} received", answer.len(), wire.sent, wire.received);
        (wire.sent, wire.received) = (0, 0);
    }
    socket.close(None).await?;
    while let Some(message) = socket.next().await {
        message?;
    }
    Ok(())
}

async fn connect(address: &str, path: &str) -> anyhow::Result<WebSocketStream<DeflateStream<Counted>>> {
    let settings = Settings::default();
    let key = generate_key();
    let request = Request::get(path)
        .header(HOST, address)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(SEC_WEBSOCKET_EXTENSIONS, negotiation::offer(&settings))
        .body(Empty::<Bytes>::new())?;
    let socket = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await?;
    ensure!(
        response.status() == StatusCode::SWITCHING_PROTOCOLS,
        "the server answered {}",
        response.status()
    );
    let accepts = response.headers().get(SEC_WEBSOCKET_ACCEPT).context("no Sec-WebSocket-Accept")?;
    ensure!(
        accepts.as_bytes() == derive_accept_key(key.as_bytes()).as_bytes(),
        "a wrong Sec-WebSocket-Accept"
    );
    let agreed = negotiation::confirm(response.headers().get_all(SEC_WEBSOCKET_EXTENSIONS), &settings)?;
    // A real client would go on without the layer.
    let agreed = agreed.context("the server does not compress")?;
    eprintln!("{agreed:?}");

    let upgraded = hyper::upgrade::on(response).await?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| anyhow!("not the socket"))?;
    let socket = Counted { socket: parts.io.into_inner(), sent: 0, received: parts.read_buf.len() };
    let stream =
        DeflateStream::new(socket, Role::Client, &agreed, &settings).with_read_ahead(&parts.read_buf);
    Ok(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
}

/// Knows how many bytes went through.
struct Counted {
    socket: TcpStream,
    sent: usize,
    received: usize,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        self.received += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.sent += written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
