//! Work that several want at the same time is done once: who comes while it is under way waits for it, and gets the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// See the module. Each piece of work has a key.
#[derive(Debug)]
pub(crate) struct Flights<K, V> {
    under_way: Mutex<BTreeMap<K, Flight<V>>>,
}

/// Its result, when it is done.
type Flight<V> = Arc<OnceLock<V>>;

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<K: Ord + Clone, V: Clone> Flights<K, V> {
    fn under_way(&self) -> MutexGuard<'_, BTreeMap<K, Flight<V>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of `work`, or of what somebody else does under this key meanwhile. Whoever comes when that is done does it again. If it panics,
    /// one of those who wait does it. Blocks.
    pub(crate) fn join(&self, key: &K, work: impl FnOnce() -> V) -> V {
        let flight = self.under_way().entry(key.clone()).or_default().clone();
        let result = flight.get_or_init(work).clone();
        let mut under_way = self.under_way();
        if under_way.get(key).is_some_and(|current| Arc::ptr_eq(current, &flight)) {
            under_way.remove(key);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    const ALL: usize = 8;

    /// Until all have come: the map's own handle, and theirs.
    fn wait_for_all(flights: &Flights<u8, u32>) {
        while Arc::strong_count(&flights.under_way()[&0]) < 1 + ALL {
            thread::yield_now();
        }
    }

    #[test]
    fn those_who_want_the_same_at_once_get_it_from_one_and_who_comes_later_begins_anew() {
        let (flights, done) = (Flights::<u8, u32>::default(), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..ALL {
                scope.spawn(|| {
                    let work = || {
                        wait_for_all(&flights);
                        done.fetch_add(1, Ordering::SeqCst)
                    };
                    assert_eq!(flights.join(&0, work), 0);
                });
            }
        });
        assert_eq!(flights.join(&0, || done.fetch_add(1, Ordering::SeqCst)), 1);
        assert!(flights.under_way().is_empty());
    }

    #[test]
    fn where_one_panics_another_does_it() {
        let (flights, tried) = (Flights::<u8, u32>::default(), AtomicU32::new(0));
        let panicked = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..ALL {
                scope.spawn(|| {
                    let work = || {
                        if tried.fetch_add(1, Ordering::SeqCst) == 0 {
                            wait_for_all(&flights);
                            resume_unwind(Box::new("as a compiler in this process could"));
                        }
                        7
                    };
                    match catch_unwind(AssertUnwindSafe(|| flights.join(&0, work))) {
                        Ok(result) => assert_eq!(result, 7),
                        Err(_) => _ = panicked.fetch_add(1, Ordering::SeqCst),
                    }
                });
            }
        });
        assert_eq!((tried.into_inner(), panicked.into_inner()), (2, 1));
        assert!(flights.under_way().is_empty());
    }

    #[test]
    fn other_work_does_not_wait() {
        let flights = Flights::<u8, u8>::default();
        assert_eq!(flights.join(&0, || flights.join(&1, || 1) + 1), 2);
    }
}
