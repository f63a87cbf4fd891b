//! When a connection's task is to look again, although nothing has arrived.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::socket::Socket;
use crate::wire::Wire;

/// See the module.
#[derive(Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the peer must have answered our close frame, and how much had left when that was set.
    close_deadline: Option<(u64, Instant)>,
}

impl Alarm {
    /// Ready when `at` has come.
    pub(crate) fn poll_at(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx)
    }
    /// When the connection is given up: `timeout` after our close, or after the peer last took something of what was queued before
    /// it. None while no close is awaited.
    pub(crate) fn close_deadline<S: Socket>(&mut self, wire: &Wire<S>, timeout: Duration) -> Option<Instant> {
        if !wire.awaits_close() {
            return None;
        }
        let written = wire.written_bytes();
        match self.close_deadline {
            Some((then, deadline)) if then == written => Some(deadline),
            _ => {
                let deadline = Instant::now() + timeout;
                self.close_deadline = Some((written, deadline));
                Some(deadline)
            }
        }
    }
}
