//! [`DeflateStream`]: a socket below tungstenite on which messages are compressed.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::Role;

use crate::budget::DecompressorMemory;
use crate::buffer::Buffer;
use crate::decoder::Decoder;
use crate::encoder::Encoder;
use crate::error::DeflateError;
use crate::negotiation::Agreed;
use crate::settings::Settings;
use crate::turn::Turn;

/// Bytes read from the socket at a time; on the stack, so that an idle connection holds no buffer.
const READ: usize = 16 << 10;
/// With so many bytes waiting for the socket, nothing more is compressed.
const WRITE: usize = 16 << 10;
/// Bytes compressed at a time, between two looks at the socket and at the clock.
const STEP: usize = 2 << 10;
/// What is taken of a large write at once: tungstenite moves all the rest each time.
const CHUNK: usize = 256 << 10;

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
    received: Buffer,
    /// Decoded, not yet read.
    plain: Buffer,
    /// Of a large write, not yet encoded.
    waiting: Buffer,
    /// Encoded, not yet written to the socket.
    unsent: Buffer,
    read_turn: Turn,
    write_turn: Turn,
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
            received: Buffer::default(),
            plain: Buffer::default(),
            waiting: Buffer::default(),
            unsent: Buffer::default(),
            read_turn: Turn::default(),
            write_turn: Turn::default(),
            reading: Reading::Open,
        }
    }

    /// Bytes that were read past the handshake: they come before everything else.
    #[must_use]
    pub fn with_read_ahead(mut self, bytes: &[u8]) -> Self {
        self.received.push(bytes);
        self
    }

    /// Memory for the decompressor that was [reserved](crate::Budget::reserve_decompressor) before the handshake was answered: then
    /// [`DeflateError::OutOfMemory`] cannot happen.
    #[must_use]
    pub fn with_decompressor(mut self, memory: DecompressorMemory) -> Self {
        self.decoder.keep(memory.0);
        self
    }

    /// From now on messages are neither inflated nor handed up, only control frames: for who waits for the peer's close frame and wants
    /// nothing else. Of a message that has begun the end never comes.
    pub fn skip_messages(&mut self) {
        self.decoder.skip_messages();
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
            if this.read_turn.is_over() {
                return this.read_turn.pass(cx);
            }
            if !this.plain.is_empty() {
                let length = this.plain.len().min(buffer.remaining());
                buffer.put_slice(&this.plain.unread()[..length]);
                this.plain.advance(length);
                this.read_turn.count(length);
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
                    this.read_turn.rest();
                }
                ready!(read)?;
                if bytes.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let used = this.decode(bytes.filled());
                this.received.push(&bytes.filled()[used..]);
            } else {
                let received = std::mem::take(&mut this.received);
                let used = this.decode(received.unread());
                this.received = received;
                this.received.advance(used);
            }
        }
    }
}

impl<S> DeflateStream<S> {
    /// Returns how much of `bytes` is done with.
    fn decode(&mut self, bytes: &[u8]) -> usize {
        let Self { decoder, plain, read_turn, .. } = self;
        match self.reading {
            Reading::Open => match read_turn.spend(bytes.len(), || decoder.decode(bytes, plain)) {
                Ok(used) => return used,
                Err(error) => self.reading = Reading::Failed(error),
            },
            Reading::Failed(_) | Reading::Discarding => read_turn.count(bytes.len()),
        }
        bytes.len()
    }
}

impl<S: AsyncWrite + Unpin> DeflateStream<S> {
    /// Writes what is encoded until no more than `left` bytes of it wait.
    fn poll_drain(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<()>> {
        while self.unsent.len() > left {
            let written = Pin::new(&mut self.socket).poll_write(cx, self.unsent.unread());
            if written.is_pending() {
                self.write_turn.rest();
            }
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Makes room for another step, in the socket's time and in that of other tasks.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_turn.is_over() {
            return self.write_turn.pass(cx);
        }
        self.poll_drain(cx, WRITE)
    }

    fn encode(&mut self, step: &[u8]) {
        let Self { encoder, unsent, write_turn, .. } = self;
        write_turn.spend(step.len(), || encoder.encode(step, unsent));
    }

    /// Encodes what waits.
    fn poll_encode(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            ready!(self.poll_ready(cx))?;
            let waiting = std::mem::take(&mut self.waiting);
            let step = &waiting.unread()[..waiting.len().min(STEP)];
            let length = step.len();
            self.encode(step);
            self.waiting = waiting;
            self.waiting.advance(length);
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
        ready!(this.poll_encode(cx))?;
        if bytes.len() > CHUNK {
            this.waiting.push(&bytes[..CHUNK]);
            return Poll::Ready(Ok(CHUNK));
        }
        let mut used = 0;
        while used < bytes.len() {
            if used > 0 && this.write_turn.is_over() {
                // The turn passes with the next write: this one must tell what it has taken.
                return Poll::Ready(Ok(used));
            }
            if this.poll_ready(cx)?.is_pending() {
                return if used > 0 { Poll::Ready(Ok(used)) } else { Poll::Pending };
            }
            let step = &bytes[used..bytes.len().min(used + STEP)];
            this.encode(step);
            used += step.len();
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
        ready!(this.poll_encode(cx))?;
        ready!(this.poll_drain(cx, 0))?;
        this.write_turn.rest();
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_encode(cx))?;
        ready!(this.poll_drain(cx, 0))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
