//! Who may compile now: so many at once, the others wait in the order in which they came.
//!
//! Those who are at it share the processors, and so their time: of n each is charged an n-th of what passes. A handler that is compiled beside
//! slow ones does not run out of time because of them, and all together take no longer than one after the other.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    at_once: u32,
    turns: Mutex<Turns>,
    one_has_ended: Condvar,
}

/// Whoever has number n goes when fewer than `at_once` of those before him have not ended.
#[derive(Debug)]
struct Turns {
    given: u64,
    ended: u64,
    /// What somebody would have been charged who had been at it all the time, until `known`.
    charged: Duration,
    known: Instant,
}

impl Turns {
    /// To be called before the numbers change.
    fn pass(&mut self, now: Instant, at_once: u32) {
        let at_it = (self.given - self.ended).min(u64::from(at_once)).max(1);
        let at_it = u32::try_from(at_it).unwrap_or(u32::MAX);
        self.charged += now.saturating_duration_since(self.known) / at_it;
        self.known = self.known.max(now);
    }
}

/// The right to compile, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    queue: &'a Queue,
    /// What had been charged when it began.
    before: Duration,
}

impl Turn<'_> {
    /// How much of the time since it began counts.
    pub(crate) fn elapsed(&self) -> Duration {
        self.queue.charged().saturating_sub(self.before)
    }
}

impl Queue {
    pub(crate) fn new(at_once: u32) -> Self {
        let turns = Turns { given: 0, ended: 0, charged: Duration::ZERO, known: Instant::now() };
        Self { at_once: at_once.max(1), turns: Mutex::new(turns), one_has_ended: Condvar::new() }
    }

    /// How many may be at it.
    pub(crate) fn at_once(&self) -> u32 {
        self.at_once
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn charged(&self) -> Duration {
        let mut turns = self.turns();
        turns.pass(Instant::now(), self.at_once);
        turns.charged
    }

    /// Blocks until it is the caller's turn: at most as long as all before him may take.
    pub(crate) fn wait(&self) -> Turn<'_> {
        let mut turns = self.turns();
        turns.pass(Instant::now(), self.at_once);
        let number = turns.given;
        turns.given += 1;
        let must_wait = |turns: &mut Turns| number >= turns.ended + u64::from(self.at_once);
        drop(self.one_has_ended.wait_while(turns, must_wait).unwrap_or_else(PoisonError::into_inner));
        Turn { queue: self, before: self.charged() }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.queue.turns();
        turns.pass(Instant::now(), self.queue.at_once);
        turns.ended += 1;
        drop(turns);
        self.queue.one_has_ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn as_many_go_at_once_as_may_and_no_more() {
        let queue = Queue::new(3);
        let (at_it, most) = (AtomicU32::new(0), AtomicU32::new(0));
        // All three must be there together: with fewer this would wait for ever.
        let together = std::sync::Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..30 {
                scope.spawn(|| {
                    let turn = queue.wait();
                    most.fetch_max(at_it.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    together.wait();
                    at_it.fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                });
            }
        });
        assert_eq!(most.into_inner(), 3);
    }

    #[test]
    fn of_several_who_are_at_it_each_is_charged_his_part_of_what_passes() {
        let began = Instant::now();
        let mut turns = Turns { given: 0, ended: 0, charged: Duration::ZERO, known: began };
        let mut charged_at = |seconds, given, ended| {
            turns.pass(began + Duration::from_secs(seconds), 2);
            (turns.given, turns.ended) = (given, ended);
            turns.charged.as_secs()
        };
        assert_eq!(charged_at(10, 1, 0), 10, "nobody");
        assert_eq!(charged_at(20, 2, 0), 20, "one, alone");
        assert_eq!(charged_at(30, 3, 0), 25, "two");
        assert_eq!(charged_at(40, 3, 1), 30, "two, and one who waits");
        assert_eq!(charged_at(50, 3, 2), 35, "two again");
        assert_eq!(charged_at(60, 3, 3), 45, "the last one, alone");
        // A clock that two threads have read in another order than they come here.
        assert_eq!(charged_at(55, 3, 3), 45);
        assert_eq!(charged_at(70, 3, 3), 55);
    }

    #[test]
    fn who_came_first_goes_first_also_after_one_that_panicked() {
        let queue = Queue::new(1);
        let panicked = std::panic::catch_unwind(|| {
            let _turn = queue.wait();
            std::panic::resume_unwind(Box::new("as a compiler in this process could"));
        });
        assert!(panicked.is_err());
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let first = queue.wait();
            for number in 0..5 {
                let (tell, queue) = (tell.clone(), &queue);
                let given = queue.turns().given;
                scope.spawn(move || {
                    let _turn = queue.wait();
                    tell.send(number).expect("somebody listens");
                });
                // In this order.
                while queue.turns().given == given {
                    thread::yield_now();
                }
            }
            drop(first);
        });
        drop(tell);
        assert_eq!(told.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}
