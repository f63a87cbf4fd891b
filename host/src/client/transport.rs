//! What a client's bytes travel on: TCP, or TLS on it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::connection::socket::{Counted, Transport};

/// See the module. The TLS session is in a box: it is a kilobyte, which plain connections do not carry about.
#[derive(Debug)]
pub(crate) enum ClientTransport {
    Plain(TcpStream),
    Tls(Box<TlsStream<Counted<TcpStream>>>),
}

impl ClientTransport {
    /// The server's address.
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.peer_addr(),
            Self::Tls(stream) => stream.get_ref().0.transport().peer_addr(),
        }
    }
}

impl Transport for ClientTransport {
    fn set_nodelay(&self, value: bool) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.set_nodelay(value),
            Self::Tls(stream) => stream.get_ref().0.transport().set_nodelay(value),
        }
    }

    /// TLS buffers what it encrypts, so what has left is counted below it.
    fn sent_bytes(&self) -> Option<u64> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.get_ref().0.written_bytes()),
        }
    }

    fn is_reset(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_reset(),
            Self::Tls(stream) => stream.get_ref().0.transport().is_reset(),
        }
    }
}

impl AsyncRead for ClientTransport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientTransport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
