//! The body of an HTTP answer: there as a whole, and sent in pieces.
//!
//! What a handler answers is its tenant's memory for as long as any byte of it waits for its peer, wherever it waits: hyper takes pieces
//! out of a body before the peer does. So the memory is given back by the bytes themselves.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderValue;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::connection::compression::Reservation;
use crate::limits::Reached;
use crate::limits::tenants::Tenancy;

/// What is sent at once: so little that what HTTP/2 keeps of a stream that is given up is little, too.
const PIECE_BYTES: usize = 16 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct AnswerBody {
    /// None is empty.
    pieces: VecDeque<Bytes>,
    /// Where the end waits for them: it resolves when they are gone.
    taken: Option<oneshot::Receiver<Infallible>>,
}

impl<T: Into<Bytes>> From<T> for AnswerBody {
    fn from(bytes: T) -> Self {
        let mut bytes = bytes.into();
        let mut pieces = VecDeque::new();
        while !bytes.is_empty() {
            pieces.push_back(bytes.split_to(bytes.len().min(PIECE_BYTES)));
        }
        Self { pieces, taken: None }
    }
}

/// Bytes, and what goes when nobody needs them any more.
struct With<T, K> {
    bytes: T,
    _kept: K,
}

impl<T: AsRef<[u8]>, K> AsRef<[u8]> for With<T, K> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Bytes that are counted until they are written or thrown away.
fn counted(bytes: &[u8], memory: Reservation) -> Bytes {
    Bytes::from_owner(With { bytes: Box::<[u8]>::from(bytes), _kept: memory })
}

/// The same for a header's value; the memory is that of the whole header.
pub(crate) fn counted_value(value: &HeaderValue, memory: Reservation) -> HeaderValue {
    HeaderValue::from_maybe_shared(counted(value.as_bytes(), memory)).expect("it is a header's value already")
}

impl AnswerBody {
    /// A body that takes its tenant's memory.
    pub(crate) fn counted(bytes: &[u8], tenancy: &Tenancy) -> Result<Self, Reached> {
        let piece = |bytes: &[u8]| Ok(counted(bytes, tenancy.try_memory(bytes.len())?));
        Ok(Self { pieces: bytes.chunks(PIECE_BYTES).map(piece).collect::<Result<_, _>>()?, taken: None })
    }

    /// The same body, which ends only when every byte has been written, or thrown away: as long as it has not, whoever sends it can be
    /// stopped.
    pub(crate) fn until_taken(self) -> Self {
        if self.pieces.is_empty() {
            return self;
        }
        let (sender, taken) = oneshot::channel();
        let sender = Arc::new(sender);
        let watched = |bytes| Bytes::from_owner(With { bytes, _kept: sender.clone() });
        Self { pieces: self.pieces.into_iter().map(watched).collect(), taken: Some(taken) }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(taken) = &mut self.taken {
            // An error is all that it can bring.
            let _ = ready!(Pin::new(taken).poll(cx));
            self.taken = None;
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.taken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;
    use crate::connection::compression::Budget;
    use crate::limits::TenantLimits;
    use crate::limits::tenants::Tenant;

    fn tenancy(max_memory_bytes: usize) -> Arc<Tenancy> {
        let total = TenantLimits { max_memory_bytes, ..TenantLimits::default() };
        Tenancy::new(&Tenant { name: "t".into(), total }, &Budget::unlimited(), &Arc::default())
    }

    #[tokio::test]
    async fn memory_is_given_back_piece_by_piece_and_the_end_waits_for_the_last() {
        let tenancy = tenancy(40_000);
        let mut body = AnswerBody::counted(&[b'x'; 40_000], &tenancy).expect("room").until_taken();
        assert_eq!((body.size_hint().exact(), tenancy.memory.used()), (Some(40_000), 40_000));
        let mut pieces = Vec::new();
        while let Some(Some(Ok(frame))) = body.frame().now_or_never() {
            pieces.push(frame.into_data().expect("data"));
        }
        let last = 40_000 - 2 * PIECE_BYTES;
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE_BYTES, PIECE_BYTES, last]);
        assert_eq!(tenancy.memory.used(), 40_000, "they wait to be written");
        pieces.drain(..2);
        assert_eq!(tenancy.memory.used(), last);
        assert!(!body.is_end_stream() && body.frame().now_or_never().is_none(), "one is still there");
        drop(pieces);
        assert_eq!(tenancy.memory.used(), 0);
        assert!(body.frame().await.is_none() && body.is_end_stream());
    }

    #[test]
    fn a_header_is_counted_as_long_as_its_value_is_there() {
        let tenancy = tenancy(100);
        let value = counted_value(&HeaderValue::from_static("abc"), tenancy.try_memory(100).expect("room"));
        assert_eq!((value.as_bytes(), tenancy.memory.used()), (&b"abc"[..], 100));
        drop(value);
        assert_eq!(tenancy.memory.used(), 0);
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let tenancy = tenancy(2 * PIECE_BYTES);
        assert!(AnswerBody::counted(&[b'x'; 2 * PIECE_BYTES + 1], &tenancy).is_err());
        assert_eq!(tenancy.memory.used(), 0);
    }

    #[test]
    fn an_empty_body_has_nothing_to_wait_for() {
        assert!(AnswerBody::default().until_taken().is_end_stream());
    }
}
