//! A transport that is read a little at a time: after some bytes in a row others are served first, however many there are.
//!
//! For what comes before a connection: requests and frames of HTTP are small, and a peer may send thousands of them in one go.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::socket::Transport;

/// Bytes that are read in a row.
const BYTES_IN_A_ROW: usize = 8 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Paced<T> {
    transport: T,
    /// Read since it was others' turn.
    in_a_row: usize,
    /// What may still come, if that is bounded.
    left: Option<usize>,
}

impl<T> Paced<T> {
    pub(crate) fn new(transport: T) -> Self {
        Self { transport, in_a_row: 0, left: None }
    }

    /// After so many bytes there is an error in the place of more.
    pub(crate) fn up_to(self, bytes: usize) -> Self {
        Self { left: Some(bytes), ..self }
    }

    pub(crate) fn into_inner(self) -> T {
        self.transport
    }
}

/// The other end has sent more than anybody would.
#[derive(Debug, thiserror::Error)]
#[error("it has sent too much before it came to the point")]
pub(crate) struct TooMuch;

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.in_a_row >= BYTES_IN_A_ROW {
            self.in_a_row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == Some(0) {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.transport).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        self.in_a_row = if polled.is_pending() { 0 } else { self.in_a_row + read };
        self.left = self.left.map(|left| left.saturating_sub(read));
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

impl<T: Transport> Transport for Paced<T> {
    fn set_nodelay(&self, value: bool) -> io::Result<()> {
        self.transport.set_nodelay(value)
    }

    fn sent_bytes(&self) -> Option<u64> {
        self.transport.sent_bytes()
    }

    fn is_reset(&self) -> bool {
        self.transport.is_reset()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn after_some_bytes_in_a_row_others_are_served_and_it_goes_on_by_itself() {
        let sent = vec![7; 3 * BYTES_IN_A_ROW];
        let mut paced = Paced::new(&sent[..]);
        let mut received = Vec::new();
        let mut pauses = 0;
        {
            let mut reads = pin!(paced.read_to_end(&mut received));
            while reads.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                pauses += 1;
            }
        }
        assert_eq!(received, sent);
        assert!((2..=3).contains(&pauses), "{pauses}");
        // With a waker of its own it ends, too.
        assert_eq!(Paced::new(&sent[..]).read_to_end(&mut Vec::new()).await.expect("all"), sent.len());
    }

    #[tokio::test]
    async fn in_the_place_of_more_than_may_come_there_is_an_error() {
        let read = async |bytes| Paced::new(&[0; 100][..]).up_to(bytes).read_to_end(&mut Vec::new()).await;
        assert_eq!(read(101).await.expect("all"), 100);
        assert!(read(100).await.expect_err("enough").get_ref().expect("ours").is::<TooMuch>());
    }
}
