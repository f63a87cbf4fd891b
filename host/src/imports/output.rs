//! A guest's stdout and stderr become log records: one a line, with the connection whose event is running.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

use crate::connection::link::Link;
use crate::handler::endpoint::Endpoint;
use crate::limits::rate::Rate;
use crate::limits::records::Kind;
use crate::limits::tenants::{RECORD_BYTES, Tenancy};
use crate::metrics::RouteMetrics;
use crate::server::routes::Route;
use crate::units::printable;

/// Who a record of this instance is about.
pub(super) struct Speaker {
    route: Arc<Route>,
    tenancy: Arc<Tenancy>,
    metrics: Arc<RouteMetrics>,
    link: Mutex<Option<Arc<Link>>>,
    /// `max-log-bytes-per-second`.
    rate: Rate,
    /// Lines that were dropped since one was logged.
    dropped: AtomicU64,
}

impl Speaker {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self {
            route: endpoint.route.clone(),
            tenancy: endpoint.tenancy.clone(),
            metrics: endpoint.metrics.clone(),
            link: Mutex::new(None),
            rate: Rate::new(endpoint.route.limits.max_log_bytes_per_second as f64),
            dropped: AtomicU64::new(0),
        }
    }

    /// From now on records are about this connection.
    pub(super) fn speaks_for(&self, link: &Arc<Link>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(link.clone());
    }

    fn log(&self, stream: Stream, line: &[u8], cut: bool) {
        // First, so that a flood costs nothing else.
        let bytes = RECORD_BYTES + line.len();
        if !self.rate.take(bytes as f64) || !self.tenancy.may_log(bytes) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.metrics.count_dropped_log_lines(1);
            return;
        }
        self.tell_dropped();
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let connection = link.as_ref().map_or("", |link| link.id());
        let (tenant, route) = (self.tenancy.name.as_str(), self.route.name.as_str());
        let mut text = printable(line);
        if cut {
            text.push_str(" ... (cut at `max-log-line-bytes`)");
        }
        match stream {
            Stream::Stdout => tracing::info!(target: "guest", tenant, route, connection, "{text}"),
            Stream::Stderr => tracing::warn!(target: "guest", tenant, route, connection, "{text}"),
        }
    }

    fn tell_dropped(&self) {
        let lines = self.dropped.swap(0, Ordering::Relaxed);
        if lines > 0
            && let Some(untold) = self.metrics.records.tell_each(Kind::DroppedLines, 0, &self.tenancy)
        {
            let (tenant, route) = (self.tenancy.name.as_str(), self.route.name.as_str());
            tracing::warn!(
                tenant,
                route,
                lines,
                untold,
                "what the handler printed was dropped: `max-log-bytes-per-second`"
            );
        }
    }
}

/// An instance that floods and ends is told of, too.
impl Drop for Speaker {
    fn drop(&mut self) {
        self.tell_dropped();
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// One of a guest's output streams. All handles to it write to the same line.
#[derive(Clone)]
pub(super) struct GuestOutput {
    line: Arc<Mutex<Line>>,
}

/// The line that is being printed.
struct Line {
    stream: Stream,
    speaker: Arc<Speaker>,
    bytes: Vec<u8>,
    /// The line is over the limit: the rest of it is dropped.
    cut: bool,
}

impl Line {
    fn end(&mut self) {
        // Rust's panics begin with an empty line.
        if !self.bytes.is_empty() {
            self.speaker.log(self.stream, &self.bytes, self.cut);
        }
        self.bytes.clear();
        self.cut = false;
    }
}

/// What was printed without a line's end is logged when the instance ends.
impl Drop for Line {
    fn drop(&mut self) {
        self.end();
    }
}

impl GuestOutput {
    pub(super) fn new(stream: Stream, speaker: Arc<Speaker>) -> Self {
        Self { line: Arc::new(Mutex::new(Line { stream, speaker, bytes: Vec::new(), cut: false })) }
    }

    fn take(&self, bytes: &[u8]) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let max = line.speaker.route.limits.max_log_line_bytes;
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let (content, ended) = match piece.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (piece, false),
            };
            let room = max.saturating_sub(line.bytes.len());
            line.bytes.extend_from_slice(&content[..content.len().min(room)]);
            line.cut |= content.len() > room;
            if ended {
                line.end();
            }
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

/// Bytes taken in one call: logging never waits.
const PERMIT: usize = 64 << 10;

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: bytes::Bytes) -> Result<(), StreamError> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(PERMIT)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
