//! The clock by which processor time is measured. In unit tests it stands still until a test moves it. And a coarse one, which costs a
//! load.

use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(test)]
pub(crate) use source::advance;
pub(crate) use source::now;

static TICKS: AtomicU64 = AtomicU64::new(0);

/// The number of the current tick; a tick is at most 1 ms.
pub(crate) fn tick() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

/// Another tick has begun: called once a millisecond by each engine's ticker.
pub(crate) fn advance_tick() {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(not(test))]
mod source {
    use std::sync::OnceLock;
    use std::time::Instant;

    /// Nanoseconds since the process first asked.
    pub(crate) fn now() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod source {
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(1_000_000_000) };
    }

    /// Nanoseconds since some time.
    pub(crate) fn now() -> u64 {
        NOW.get()
    }

    /// Time passes, for this thread.
    pub(crate) fn advance(time: Duration) {
        NOW.set(NOW.get() + time.as_nanos() as u64);
    }
}
