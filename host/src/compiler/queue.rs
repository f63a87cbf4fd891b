//! Who may compile now: so many at once, the others wait in the order in which they came.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue {
    at_once: u32,
    turns: Mutex<Turns>,
    one_has_ended: Condvar,
}

/// Whoever has number n goes when fewer than `at_once` of those before him have not ended.
#[derive(Debug, Default)]
struct Turns {
    given: u64,
    ended: u64,
}

/// The right to compile, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Queue);

impl Queue {
    pub(crate) fn new(at_once: u32) -> Self {
        Self { at_once: at_once.max(1), turns: Mutex::default(), one_has_ended: Condvar::new() }
    }

    /// How many may be at it.
    pub(crate) fn at_once(&self) -> u32 {
        self.at_once
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until it is the caller's turn: at most as long as all before him may take.
    pub(crate) fn wait(&self) -> Turn<'_> {
        let mut turns = self.turns();
        let number = turns.given;
        turns.given += 1;
        let must_wait = |turns: &mut Turns| number >= turns.ended + u64::from(self.at_once);
        drop(self.one_has_ended.wait_while(turns, must_wait).unwrap_or_else(PoisonError::into_inner));
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turns().ended += 1;
        self.0.one_has_ended.notify_all();
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
