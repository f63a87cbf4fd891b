//! [`DeflateStream`]: a socket below tungstenite on which messages are compressed.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::Role;

use crate::budget::Reservation;
use crate::decoder::Decoder;
use crate::encoder::Encoder;
use crate::error::DeflateError;
use crate::negotiation::Agreed;
use crate::settings::Settings;

/// Bytes read from the socket at a time; on the stack, so that an idle connection holds no buffer.
const READ: usize = 16 << 10;
/// With so many bytes waiting for the socket, nothing more is compressed.
const WRITE: usize = 16 << 10;
/// Bytes compressed at a time, between two looks at the socket.
const STEP: usize = 16 << 10;
/// Bytes compressed or inflated before other tasks get their turn: a few milliseconds.
const TURN: usize = 256 << 10;
/// What is kept of a buffer that is empty.
const KEPT: usize = 4 << 10;

/// A socket on which messages are compressed: plain frames above, permessage-deflate below. Give it to
/// `tokio_tungstenite::WebSocketStream::from_raw_socket` in the place of the socket it wraps, with the same role, once
/// [`negotiation`](crate::negotiation) has led to an agreement; without one there is nothing to wrap.
///
/// Its compressor and its decompressor are made for the first message that needs them. Writes wait in it until it is flushed, which
/// tungstenite does when it is; only a close frame, which a server's tungstenite does not flush, is written through, with all that
/// waits before it.
///
/// # Errors
/// A message that cannot be inflated fails the read, with a [`DeflateError`] as the source, after everything before it has been
/// read. What the peer sends afterwards is read and thrown away, so that a closing handshake can follow.
pub struct DeflateStream<S> {
    socket: S,
    decoder: Decoder,
    encoder: Encoder,
    /// From the socket, not yet decoded.
    received: BytesMut,
    /// Decoded, not yet read.
    plain: BytesMut,
    /// Encoded, not yet written to the socket.
    unsent: BytesMut,
    /// Compressed since other tasks last had their turn.
    write_turn: usize,
    /// Handed up since then. Reading what is there already would otherwise never end.
    read_turn: usize,
    reading: Reading,
}

#[derive(Debug)]
enum Reading {
    Open,
    /// To be told when everything before it has been read.
    Failed(DeflateError),
    /// It has been told.
    Discarding,
}

impl<S> DeflateStream<S> {
    /// Wraps a socket whose handshake is done. `role` is ours.
    pub fn new(socket: S, role: Role, agreed: &Agreed, settings: &Settings) -> Self {
        Self {
            socket,
            decoder: Decoder::new(role, agreed, settings),
            encoder: Encoder::new(role, agreed, settings),
            received: BytesMut::new(),
            plain: BytesMut::new(),
            unsent: BytesMut::new(),
            write_turn: 0,
            read_turn: 0,
            reading: Reading::Open,
        }
    }

    /// Bytes that were read past the handshake: they come before everything else.
    #[must_use]
    pub fn with_read_ahead(mut self, bytes: &[u8]) -> Self {
        self.received.extend_from_slice(bytes);
        self
    }

    /// Memory for the decompressor, of [`DECOMPRESSOR_BYTES`](crate::DECOMPRESSOR_BYTES), that was reserved before the handshake
    /// was answered: then [`DeflateError::OutOfMemory`] cannot happen.
    #[must_use]
    pub fn with_decompressor(mut self, reservation: Reservation) -> Self {
        self.decoder.keep(reservation);
        self
    }

    /// The socket.
    pub fn get_ref(&self) -> &S {
        &self.socket
    }

    /// The socket. Reading from it or writing to it directly breaks the connection.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// The socket; what was not read or flushed is lost.
    pub fn into_inner(self) -> S {
        self.socket
    }
}

impl<S> fmt::Debug for DeflateStream<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DeflateStream").field("reading", &self.reading).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for DeflateStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.plain.is_empty() {
                if this.read_turn >= TURN {
                    this.read_turn = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let length = this.plain.len().min(buffer.remaining());
                buffer.put_slice(&this.plain[..length]);
                advance(&mut this.plain, length);
                this.read_turn += length;
                return Poll::Ready(Ok(()));
            }
            if let Reading::Failed(error) = this.reading {
                this.reading = Reading::Discarding;
                return Poll::Ready(Err(error.into()));
            }
            if this.received.is_empty() {
                let mut bytes = [const { MaybeUninit::uninit() }; READ];
                let mut bytes = ReadBuf::uninit(&mut bytes);
                let read = Pin::new(&mut this.socket).poll_read(cx, &mut bytes);
                if read.is_pending() {
                    this.read_turn = 0;
                }
                ready!(read)?;
                if bytes.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let used = this.decode(bytes.filled());
                this.received.extend_from_slice(&bytes.filled()[used..]);
            } else {
                let received = std::mem::take(&mut this.received);
                let used = this.decode(&received);
                this.received = received;
                advance(&mut this.received, used);
            }
        }
    }
}

impl<S> DeflateStream<S> {
    /// Returns how much of `bytes` is done with.
    fn decode(&mut self, bytes: &[u8]) -> usize {
        match self.reading {
            Reading::Open => match self.decoder.decode(bytes, &mut self.plain) {
                Ok(used) => return used,
                Err(error) => self.reading = Reading::Failed(error),
            },
            Reading::Failed(_) | Reading::Discarding => {}
        }
        bytes.len()
    }
}

impl<S: AsyncWrite + Unpin> DeflateStream<S> {
    /// Writes what is encoded until no more than `left` bytes of it wait.
    fn poll_drain(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<()>> {
        while self.unsent.len() > left {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.unsent))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            advance(&mut self.unsent, written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for DeflateStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.encoder.is_closed() {
            ready!(this.poll_drain(cx, 0))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        let mut used = 0;
        while used < bytes.len() {
            let turn_is_over = this.write_turn >= TURN;
            if turn_is_over || this.poll_drain(cx, WRITE)?.is_pending() {
                if used > 0 {
                    return Poll::Ready(Ok(used));
                }
                if turn_is_over {
                    this.write_turn = 0;
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
            let step = &bytes[used..bytes.len().min(used + STEP)];
            this.encoder.encode(step, &mut this.unsent);
            used += step.len();
            this.write_turn += step.len();
        }
        if this.encoder.is_closed() && this.poll_drain(cx, 0)?.is_pending() {
            // A server's tungstenite takes the close frame for sent once it is written. So the last byte stays with it until that
            // is true; encoded it is already.
            used -= 1;
            if used == 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(used))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx, 0))?;
        this.write_turn = 0;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx, 0))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

/// Drops what is done with, and the buffer, too, where it is large and empty.
fn advance(buffer: &mut BytesMut, length: usize) {
    buffer.advance(length);
    if buffer.is_empty() {
        if buffer.capacity() > KEPT {
            *buffer = BytesMut::new();
        } else {
            buffer.clear();
        }
    }
}
