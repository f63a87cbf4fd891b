//! A socket that gives and takes in pieces of any size, and what is done with a stream around it, without a runtime.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) struct Pieces<'a> {
    unread: &'a [u8],
    pub(crate) written: Vec<u8>,
    /// Sizes, over and over. 0: not now.
    sizes: Vec<usize>,
    next: usize,
}

impl<'a> Pieces<'a> {
    /// `sizes` may be empty: then everything at once.
    pub(crate) fn new(unread: &'a [u8], sizes: &[u8]) -> Self {
        let mut sizes: Vec<usize> = sizes.iter().map(|size| usize::from(*size)).collect();
        // At the end of each round something happens.
        sizes.push(sizes.iter().copied().max().filter(|size| *size > 0).unwrap_or(usize::MAX));
        Self { unread, written: Vec::new(), sizes, next: 0 }
    }

    fn size(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let size = self.sizes[self.next % self.sizes.len()];
        self.next += 1;
        if size == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(size)
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.size(cx).map(|size| {
            let (piece, rest) = self.unread.split_at(size.min(buffer.remaining()).min(self.unread.len()));
            buffer.put_slice(piece);
            self.unread = rest;
            Ok(())
        })
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.size(cx).map(|size| {
            let piece = &bytes[..size.min(bytes.len())];
            self.written.extend_from_slice(piece);
            Ok(piece.len())
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Everything that can be read, and the error that it ended with, if it was not the end of the socket.
pub(crate) fn read_all(mut stream: impl AsyncRead + Unpin) -> (Vec<u8>, Option<io::Error>) {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut output = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut buffer = ReadBuf::new(&mut buffer);
        match Pin::new(&mut stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return (output, None),
            Poll::Ready(Ok(())) => output.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(error)) => return (output, Some(error)),
            Poll::Pending => {}
        }
    }
}

pub(crate) fn write_all(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) {
    let cx = &mut Context::from_waker(Waker::noop());
    while !bytes.is_empty() {
        if let Poll::Ready(written) = Pin::new(&mut *stream).poll_write(cx, bytes) {
            bytes = &bytes[written.expect("the socket has no errors")..];
        }
    }
}

pub(crate) fn flush(stream: &mut (impl AsyncWrite + Unpin)) {
    let cx = &mut Context::from_waker(Waker::noop());
    while Pin::new(&mut *stream).poll_flush(cx).is_pending() {}
}
