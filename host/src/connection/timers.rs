//! The timers of one connection: by token, and in the order in which they come due.
//!
//! The loop asks for the next one whenever it looks at its link, and a route may allow thousands: nothing here looks at all of them.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

/// See the module. Without a timer it takes no room beside itself.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_token: BTreeMap<u32, Instant>,
    /// Two that are due at once come by their tokens.
    by_time: BTreeSet<(Instant, u32)>,
}

impl Timers {
    pub(crate) fn len(&self) -> usize {
        self.by_token.len()
    }

    pub(crate) fn contains(&self, token: u32) -> bool {
        self.by_token.contains_key(&token)
    }

    /// An earlier timer with the token is replaced.
    pub(crate) fn set(&mut self, token: u32, at: Instant) {
        if let Some(earlier) = self.by_token.insert(token, at) {
            self.by_time.remove(&(earlier, token));
        }
        self.by_time.insert((at, token));
    }

    pub(crate) fn clear(&mut self, token: u32) {
        if let Some(at) = self.by_token.remove(&token) {
            self.by_time.remove(&(at, token));
        }
    }

    pub(crate) fn clear_all(&mut self) {
        *self = Self::default();
    }

    /// When the next one comes due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the first of those that are due. The clock is read only if there is a timer.
    pub(crate) fn take_due(&mut self, now: impl FnOnce() -> Instant) -> Option<u32> {
        let (at, token) = *self.by_time.first()?;
        if at > now() {
            return None;
        }
        self.clear(token);
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_come_due_in_the_order_of_their_times_and_each_once() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut timers = Timers::default();
        for (token, millis) in [(1, 30), (2, 10), (3, 20), (4, 10), (5, 5), (2, 40)] {
            timers.set(token, after(millis));
        }
        timers.clear(5);
        timers.clear(6);
        assert_eq!((timers.len(), timers.next()), (4, Some(after(10))));
        assert_eq!(timers.take_due(|| after(9)), None);
        let due: Vec<u32> = std::iter::from_fn(|| timers.take_due(|| after(35))).collect();
        assert_eq!(due, [4, 3, 1]);
        assert_eq!((timers.len(), timers.contains(2), timers.next()), (1, true, Some(after(40))));
        timers.clear_all();
        assert_eq!((timers.next(), timers.take_due(|| after(50))), (None, None));
    }

    #[test]
    fn without_a_timer_nobody_looks_at_the_clock() {
        assert_eq!(Timers::default().take_due(|| panic!("the clock was read")), None);
    }

    /// What a search through all of them makes of it is a hundred times as much.
    #[test]
    fn ten_thousand_timers_cost_no_more_each_than_a_hundred() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let fill_and_drain = |timers: &mut Timers, count: u32| {
            let began = std::time::Instant::now();
            // In no order.
            (0..count).for_each(|token| timers.set(token.wrapping_mul(2_654_435_761), start));
            while timers.take_due(|| start).is_some() {}
            began.elapsed() / count
        };
        // Of several: somebody else may have had the processor.
        let best = |timers: &mut Timers, count| {
            (0..5).map(|_| fill_and_drain(timers, count)).min().expect("several")
        };
        let (few, many) = (best(&mut timers, 100), best(&mut timers, 10_000));
        assert!(many < 20 * few, "{many:?} each of many, {few:?} each of few");
    }
}
