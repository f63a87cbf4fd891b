//! How much one connection may do before other tasks have their turn.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What has been done since others last had their turn. What is read from memory never waits, so that a task which only did that
/// would keep its thread for itself; and compressing takes a hundred times longer with one text and level than with another, so
/// that counting bytes is not enough.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    bytes: usize,
    spent: Duration,
}

impl Turn {
    const BYTES: usize = 256 << 10;
    const TIME: Duration = Duration::from_micros(500);

    /// Does something with so many bytes.
    pub(crate) fn spend<T>(&mut self, bytes: usize, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        self.bytes += bytes;
        self.spent += began.elapsed();
        result
    }

    /// Without work worth measuring.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bytes >= Self::BYTES || self.spent >= Self::TIME
    }

    /// Lets others have their turn.
    pub(crate) fn pass<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.rest();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The task is going to wait for something anyway, or is done.
    pub(crate) fn rest(&mut self) {
        *self = Self::default();
    }
}
