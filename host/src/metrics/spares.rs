//! The instances that a route has made ahead: how many wait, and how many connections found one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SpareCounts {
    ready: AtomicUsize,
    found: AtomicU64,
    none: AtomicU64,
}

impl SpareCounts {
    /// So many wait from now on.
    pub(crate) fn set_ready(&self, ready: usize) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// How many wait.
    pub(crate) fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    /// Somebody needed an instance, and found one, or not.
    pub(crate) fn count_take(&self, found: bool) {
        let count = if found { &self.found } else { &self.none };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// By the label of the outcome.
    pub(crate) fn takes(&self) -> [(&'static str, u64); 2] {
        [("found", &self.found), ("none", &self.none)]
            .map(|(label, count)| (label, count.load(Ordering::Relaxed)))
    }
}
