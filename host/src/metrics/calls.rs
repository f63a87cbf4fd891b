//! How long guest calls take, as histograms; measured where that costs next to nothing.
//!
//! A clock is read for a route's first call of a kind in a tick (1 ms) of each thread, and for no other: on a quiet server every call is timed,
//! on a busy one a thousand a second and thread. Which call comes first in a tick has nothing to do with how long it will take, so the
//! quantiles are those of all calls. The number of calls is not here: messages are counted elsewhere.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::clock::{now, tick};

/// Which calls are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    Instantiate,
    /// The constructor and the handshake's questions.
    Handshake,
    Open,
    Message,
    /// Pings, pongs, timers, `on-writable`, what outgoing connections bring.
    Other,
    /// `on-close` and the destructor.
    Close,
    /// From `suspend` to the end of `resume`: as long as an instance serves nobody while its handler is replaced.
    Handover,
}

const KINDS: usize = CallKind::ALL.len();
/// Routes that are timed independently of each other; where there are more, some share their ticks.
const LANES: usize = 16;

impl CallKind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Instantiate,
        Self::Handshake,
        Self::Open,
        Self::Message,
        Self::Other,
        Self::Close,
        Self::Handover,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Instantiate => "instantiate",
            Self::Handshake => "handshake",
            Self::Open => "open",
            Self::Message => "message",
            Self::Other => "other",
            Self::Close => "close",
            Self::Handover => "handover",
        }
    }
}

/// Upper bounds, in nanoseconds and as they are exposed, in seconds.
pub(crate) const BUCKETS: [(u64, &str); 11] = [
    (5_000, "5e-06"),
    (20_000, "2e-05"),
    (100_000, "0.0001"),
    (500_000, "0.0005"),
    (2_000_000, "0.002"),
    (10_000_000, "0.01"),
    (50_000_000, "0.05"),
    (200_000_000, "0.2"),
    (1_000_000_000, "1"),
    (5_000_000_000, "5"),
    (u64::MAX, "+Inf"),
];

/// The histograms of one route.
#[derive(Debug)]
pub(crate) struct Calls {
    histograms: [Histogram; KINDS],
    lane: usize,
}

impl Default for Calls {
    fn default() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self { histograms: Default::default(), lane: NEXT.fetch_add(1, Ordering::Relaxed) % LANES }
    }
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    sum_ns: AtomicU64,
}

/// What a histogram holds: per bucket how many were no longer than its bound, and the sum in seconds.
#[derive(Debug, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) cumulative: [u64; BUCKETS.len()],
    pub(crate) sum_seconds: f64,
}

/// A call that is being timed.
#[derive(Debug)]
pub(crate) struct Timed {
    kind: CallKind,
    since_ns: u64,
}

thread_local! {
    /// The tick in which this thread last timed a call of each kind.
    static TIMED_IN: [[Cell<u64>; KINDS]; LANES] = const { [const { [const { Cell::new(u64::MAX) }; KINDS] }; LANES] };
}

impl Calls {
    /// Whether this thread has timed no call of the kind in this tick.
    fn is_first(&self, kind: CallKind, tick: u64) -> bool {
        TIMED_IN.with(|timed_in| timed_in[self.lane][kind as usize].replace(tick) != tick)
    }

    /// A call begins; none if it is not timed.
    pub(crate) fn begin(&self, kind: CallKind) -> Option<Timed> {
        self.is_first(kind, tick()).then(|| Timed { kind, since_ns: now() })
    }

    /// It has returned, or failed.
    pub(crate) fn end(&self, timed: Timed) {
        self.record(timed.kind, now().saturating_sub(timed.since_ns));
    }

    /// One took so long, in nanoseconds.
    pub(crate) fn record(&self, kind: CallKind, ns: u64) {
        let histogram = &self.histograms[kind as usize];
        let bucket = BUCKETS.partition_point(|(bound, _)| *bound < ns);
        histogram.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        histogram.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// None where nothing was timed.
    pub(crate) fn distribution(&self, kind: CallKind) -> Option<Distribution> {
        let histogram = &self.histograms[kind as usize];
        let mut sum = 0;
        let cumulative = histogram.buckets.each_ref().map(|bucket| {
            sum += bucket.load(Ordering::Relaxed);
            sum
        });
        let sum_seconds = histogram.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        (sum > 0).then_some(Distribution { cumulative, sum_seconds })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::advance;

    #[test]
    fn a_call_counts_in_the_bucket_that_it_fits_and_in_those_above() {
        let calls = Calls::default();
        for microseconds in [5, 6, 30_000_000] {
            let timed = Timed { kind: CallKind::Message, since_ns: now() };
            advance(Duration::from_micros(microseconds));
            calls.end(timed);
        }
        let distribution = calls.distribution(CallKind::Message).expect("three");
        assert_eq!(distribution.cumulative, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3]);
        assert!((distribution.sum_seconds - 30.000_011).abs() < 1e-9);
        assert_eq!(calls.distribution(CallKind::Open), None);
    }

    #[test]
    fn one_call_of_a_kind_is_timed_in_a_tick() {
        let [calls, of_another] = [0, 1].map(|lane| Calls { lane, ..Calls::default() });
        assert!(calls.is_first(CallKind::Message, 0), "the first tick, too");
        assert!(of_another.is_first(CallKind::Message, 0), "another route");
        assert!(!calls.is_first(CallKind::Message, 0));
        assert!(calls.is_first(CallKind::Close, 0), "another kind");
        assert!(calls.is_first(CallKind::Message, 1));
        assert!(!calls.is_first(CallKind::Message, 1));
    }

    #[test]
    fn the_bounds_are_what_is_exposed() {
        for (bound, shown) in &BUCKETS[..BUCKETS.len() - 1] {
            let seconds: f64 = shown.parse().expect("a number");
            assert!((seconds * 1e9 - *bound as f64).abs() < 1e-3, "{shown}");
        }
        assert!(BUCKETS.is_sorted());
    }
}
