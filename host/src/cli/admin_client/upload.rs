//! A request's body that is not sent before the server wants it: a server that refuses without reading it closes the connection, and its
//! answer would be lost with what is on its way.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

/// How long a server may take to say that it wants the body. Ours says so at once; another may never.
const UNTIL_WANTED: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Upload {
    bytes: Bytes,
    until_wanted: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Upload {
    pub(super) fn new(bytes: Bytes, wanted: Arc<Notify>) -> Self {
        let until_wanted = Box::pin(async move {
            // Whoever says nothing may want it all the same (RFC 9110 section 10.1.1).
            let _ = tokio::time::timeout(UNTIL_WANTED, wanted.notified()).await;
        });
        Self { bytes, until_wanted }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        self.until_wanted.as_mut().poll(cx).map(|()| Some(Ok(Frame::data(std::mem::take(&mut self.bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
