//! What a connection's bytes go through: a socket, and perhaps a layer that compresses on top of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite_deflate::DeflateStream;

use crate::connection::intake::Gate;

/// A transport whose Nagle algorithm can be turned off, if it has one.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn set_nodelay(&self, value: bool) -> io::Result<()>;

    /// Bytes that have left, where that is not what was written to it: a transport that buffers takes more than the peer does.
    fn sent_bytes(&self) -> Option<u64> {
        None
    }

    /// Whether the peer has reset it, as far as that can be known without reading what was sent before.
    fn is_reset(&self) -> bool {
        false
    }
}

impl Transport for tokio::net::TcpStream {
    fn set_nodelay(&self, value: bool) -> io::Result<()> {
        tokio::net::TcpStream::set_nodelay(self, value)
    }

    fn is_reset(&self) -> bool {
        self.take_error().is_ok_and(|error| error.is_some())
    }
}

/// Nagle's algorithm is TCP's.
impl Transport for tokio::net::UnixStream {
    fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
}

/// TLS buffers what it encrypts, so what has left is counted below it.
impl<T: Transport> Transport for tokio_rustls::server::TlsStream<Counted<T>> {
    fn set_nodelay(&self, value: bool) -> io::Result<()> {
        self.get_ref().0.transport().set_nodelay(value)
    }

    fn sent_bytes(&self) -> Option<u64> {
        Some(self.get_ref().0.written_bytes())
    }

    fn is_reset(&self) -> bool {
        self.get_ref().0.transport().is_reset()
    }
}

/// A transport of any kind, for those that are not on the hot path: one copy of the loop for all of them.
pub(crate) type AnyTransport = Box<dyn Transport>;

impl Transport for AnyTransport {
    fn set_nodelay(&self, value: bool) -> io::Result<()> {
        (**self).set_nodelay(value)
    }

    fn sent_bytes(&self) -> Option<u64> {
        (**self).sent_bytes()
    }

    fn is_reset(&self) -> bool {
        (**self).is_reset()
    }
}

#[cfg(any(fuzzing, test))]
impl Transport for tokio::io::DuplexStream {
    fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
}

/// A transport that counts what leaves through it, and bounds what comes in, if it has a gate.
#[derive(Debug)]
pub(crate) struct Counted<T> {
    transport: T,
    written_bytes: u64,
    gate: Option<Gate>,
}

impl<T> Counted<T> {
    pub(crate) fn new(transport: T) -> Self {
        Self { transport, written_bytes: 0, gate: None }
    }

    pub(crate) fn with_gate(self, gate: Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    pub(crate) fn gate(&mut self) -> Option<&mut Gate> {
        self.gate.as_mut()
    }

    /// Whether nothing is read because there has been too much.
    pub(crate) fn is_paused(&self) -> bool {
        self.gate.as_ref().is_some_and(Gate::is_paused)
    }

    pub(crate) fn transport(&self) -> &T {
        &self.transport
    }

    /// Bytes that the transport has taken.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { transport, gate, .. } = &mut *self;
        match gate {
            None => Pin::new(transport).poll_read(cx, buffer),
            Some(gate) => gate.poll_read(transport, cx, buffer),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write(cx, bytes))?;
        self.written_bytes += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

/// What tungstenite reads from and writes to.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    type Transport: Transport;

    fn counted(&self) -> &Counted<Self::Transport>;

    fn counted_mut(&mut self) -> &mut Counted<Self::Transport>;

    /// Nobody wants the messages that still come: they need not be inflated.
    fn skip_messages(&mut self) {}

    /// Bytes that have left.
    fn written_bytes(&self) -> u64 {
        let counted = self.counted();
        counted.transport().sent_bytes().unwrap_or(counted.written_bytes())
    }

    fn set_nodelay(&self, value: bool) -> io::Result<()> {
        self.counted().transport().set_nodelay(value)
    }
}

impl<T: Transport> Socket for Counted<T> {
    type Transport = T;

    fn counted(&self) -> &Counted<T> {
        self
    }

    fn counted_mut(&mut self) -> &mut Counted<T> {
        self
    }
}

impl<T: Transport> Socket for DeflateStream<Counted<T>> {
    type Transport = T;

    fn counted(&self) -> &Counted<T> {
        self.get_ref()
    }

    fn counted_mut(&mut self) -> &mut Counted<T> {
        self.get_mut()
    }

    fn skip_messages(&mut self) {
        DeflateStream::skip_messages(self);
    }
}

/// Where one kind of connection may or may not have a layer: a call through a table for each read and write, none for a message. A type
/// of its own, because of a bare `Box<dyn Socket>` the compiler cannot say that a future which holds it may be spawned.
pub(crate) struct BoxedSocket<T>(Box<dyn Socket<Transport = T>>);

impl<T: Transport> BoxedSocket<T> {
    pub(crate) fn new(socket: impl Socket<Transport = T>) -> Self {
        Self(Box::new(socket))
    }
}

impl<T: Transport> AsyncRead for BoxedSocket<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buffer)
    }
}

impl<T: Transport> AsyncWrite for BoxedSocket<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

impl<T: Transport> Socket for BoxedSocket<T> {
    type Transport = T;

    fn counted(&self) -> &Counted<T> {
        self.0.counted()
    }

    fn counted_mut(&mut self) -> &mut Counted<T> {
        self.0.counted_mut()
    }

    fn skip_messages(&mut self) {
        self.0.skip_messages();
    }
}
