//! The fuel that a route's calls have used: exact to the unit, whoever asks and whenever.
//!
//! A call ends on one of the host's threads, and adds to the count of that thread: so threads that serve connections of one route do not
//! take a line of cache from each other with each message.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that count apart; where there are more, some share.
const LANES: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct FuelCount([Lane; LANES]);

/// As far from the next as processors fetch memory at once.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(AtomicU64);

thread_local! {
    static LANE: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % LANES
    };
}

impl FuelCount {
    pub(crate) fn count(&self, units: u64) {
        self.0[LANE.with(|lane| *lane)].0.fetch_add(units, Ordering::Relaxed);
    }

    /// What has been counted so far.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|lane| lane.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_count_adds_up() {
        let count = FuelCount::default();
        std::thread::scope(|threads| {
            for units in 1..=2 * LANES as u64 {
                let count = &count;
                threads.spawn(move || (0..1000).for_each(|_| count.count(units)));
            }
        });
        assert_eq!(count.total(), 1000 * (1..=2 * LANES as u64).sum::<u64>());
    }
}
