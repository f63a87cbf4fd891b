//! The clock by which a guest's time is measured, and that of the processor time which this thread has used. In unit tests they stand
//! still until a test moves them. And a coarse one, which costs a load.

#[cfg(test)]
pub(crate) use source::{advance, preempt};
pub(crate) use source::{advance_tick, now, processor_time, tick};

#[cfg(not(test))]
mod source {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    static TICKS: AtomicU64 = AtomicU64::new(0);

    /// The number of the current tick; a tick is at most 1 ms.
    pub(crate) fn tick() -> u64 {
        TICKS.load(Ordering::Relaxed)
    }

    /// Another tick has begun: called once a millisecond by each engine's ticker.
    pub(crate) fn advance_tick() {
        TICKS.fetch_add(1, Ordering::Relaxed);
    }

    /// Nanoseconds since the process first asked.
    pub(crate) fn now() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }

    /// Nanoseconds that this thread has run. A call of the system, ten times as dear as `now`.
    pub(crate) fn processor_time() -> u64 {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64
    }
}

#[cfg(test)]
mod source {
    use std::cell::Cell;
    use std::time::Duration;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(1_000_000_000) };
        static USED: Cell<u64> = const { Cell::new(0) };
    }

    /// The number of the current tick, which lasts 1 ms.
    pub(crate) fn tick() -> u64 {
        now() / 1_000_000
    }

    /// Ticks are the test's.
    pub(crate) fn advance_tick() {}

    /// Nanoseconds since some time.
    pub(crate) fn now() -> u64 {
        NOW.get()
    }

    /// Nanoseconds that this thread has run.
    pub(crate) fn processor_time() -> u64 {
        USED.get()
    }

    /// This thread computes for so long.
    pub(crate) fn advance(time: Duration) {
        USED.set(USED.get() + time.as_nanos() as u64);
        preempt(time);
    }

    /// This thread has no processor for so long.
    pub(crate) fn preempt(time: Duration) {
        NOW.set(NOW.get() + time.as_nanos() as u64);
    }
}
