//! What has passed through one connection, counted where whoever asks can read it while it goes on.
//!
//! One task writes each count, the connection's own, so a message costs an addition in memory that it touches anyway: no locked
//! instruction, and no cache line that connections share. Whoever reads may be a message behind, never ahead.

use std::sync::atomic::{AtomicU64, Ordering};

/// One connection's messages; pings and pongs are none.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received: Flow,
    pub(crate) sent: Flow,
    /// Published messages that were not delivered.
    published_drops: AtomicU64,
}

/// Messages in one direction.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Flow {
    /// Only from the connection's own task.
    pub(crate) fn count(&self, bytes: usize) {
        add(&self.messages, 1);
        add(&self.bytes, bytes as u64);
    }
}

/// An addition that only one task at a time makes.
fn add(count: &AtomicU64, more: u64) {
    count.store(count.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Traffic {
    /// Counts a published message that was not delivered; only under the link's lock. Returns how many there are now.
    pub(crate) fn count_published_drop(&self) -> u64 {
        add(&self.published_drops, 1);
        self.published_drops()
    }

    pub(crate) fn published_drops(&self) -> u64 {
        self.published_drops.load(Ordering::Relaxed)
    }

    /// What has been counted so far.
    pub(crate) fn totals(&self) -> Totals {
        let flow = |flow: &Flow| FlowTotals {
            messages: flow.messages.load(Ordering::Relaxed),
            bytes: flow.bytes.load(Ordering::Relaxed),
        };
        Totals {
            received: flow(&self.received),
            sent: flow(&self.sent),
            published_drops: self.published_drops(),
        }
    }
}

/// Counts of one connection or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) received: FlowTotals,
    pub(crate) sent: FlowTotals,
    pub(crate) published_drops: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FlowTotals {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl std::ops::AddAssign for FlowTotals {
    fn add_assign(&mut self, more: Self) {
        self.messages += more.messages;
        self.bytes += more.bytes;
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        self.received += more.received;
        self.sent += more.sent;
        self.published_drops += more.published_drops;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_direction() {
        let traffic = Traffic::default();
        traffic.received.count(3);
        traffic.received.count(4);
        traffic.sent.count(10);
        assert_eq!(traffic.count_published_drop(), 1);
        let mut totals = traffic.totals();
        totals += traffic.totals();
        assert_eq!(totals.received, FlowTotals { messages: 4, bytes: 14 });
        assert_eq!(totals.sent, FlowTotals { messages: 2, bytes: 20 });
        assert_eq!(totals.published_drops, 2);
    }
}
