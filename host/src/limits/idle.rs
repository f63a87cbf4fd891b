//! What a tenant has made ahead and nobody uses: it is given up, one after the other, before somebody is refused for want of the room that it takes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::handler::engine::CodeClass;

/// Which things, by the room that they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of<'a> {
    Anything,
    /// Places in this class's pool.
    Class(CodeClass),
    /// Places of the tenant's route of this name.
    Route(&'a str),
}

/// Things of one kind that wait to be used.
pub(crate) trait Idle: fmt::Debug + Send + Sync {
    /// How many of these there are.
    fn count(&self, of: Of<'_>) -> usize;

    /// Gives one up, and with it its room. False if there is none.
    fn give_up_one(&self) -> bool;
}

/// All that one tenant has made ahead.
#[derive(Debug, Default)]
pub(crate) struct IdleOnes(Mutex<Vec<Weak<dyn Idle>>>);

impl IdleOnes {
    /// From now on this is asked, too, as long as somebody holds it.
    pub(crate) fn add(&self, idle: Weak<dyn Idle>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
    }

    /// Gives one of these up, of the kind of which there are most. False if there is none.
    pub(crate) fn give_up_one(&self, of: Of<'_>) -> bool {
        // What is given up is not taken apart under this lock.
        while let Some(most) = self.most(of) {
            if most.give_up_one() {
                return true;
            }
            // Somebody has used the last of them meanwhile.
        }
        false
    }

    fn most(&self, of: Of<'_>) -> Option<Arc<dyn Idle>> {
        let ones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = ones.iter().filter_map(Weak::upgrade).map(|idle| (idle.count(of), idle));
        counted.filter(|(count, _)| *count > 0).max_by_key(|(count, _)| *count).map(|(_, idle)| idle)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::handler::engine::MemoryClass;

    #[derive(Debug)]
    struct Pile {
        class: CodeClass,
        left: AtomicUsize,
    }

    impl Pile {
        fn new(memory: MemoryClass, left: usize) -> Arc<Self> {
            Arc::new(Self { class: CodeClass { memory, metered: false }, left: left.into() })
        }

        fn left(&self) -> usize {
            self.left.load(Ordering::Relaxed)
        }
    }

    impl Idle for Pile {
        fn count(&self, of: Of<'_>) -> usize {
            if of == Of::Anything || of == Of::Class(self.class) { self.left() } else { 0 }
        }

        fn give_up_one(&self) -> bool {
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        }
    }

    #[test]
    fn who_has_most_gives_first_and_all_give_until_nothing_is_left() {
        let ones = IdleOnes::default();
        let (few, many) = (Pile::new(MemoryClass::Small, 2), Pile::new(MemoryClass::Large, 4));
        for pile in [&few, &many] {
            let pile: Arc<dyn Idle> = pile.clone();
            ones.add(Arc::downgrade(&pile));
        }
        assert!(ones.give_up_one(Of::Anything) && ones.give_up_one(Of::Anything));
        assert_eq!((few.left(), many.left()), (2, 2));
        assert!((0..4).all(|_| ones.give_up_one(Of::Anything)));
        assert!(!ones.give_up_one(Of::Anything));
    }

    #[test]
    fn for_a_place_in_a_pool_only_what_has_one_there_is_given_up_and_who_is_gone_is_not_asked() {
        let ones = IdleOnes::default();
        let (small, large) = (Pile::new(MemoryClass::Small, 1), Pile::new(MemoryClass::Large, 9));
        for pile in [&small, &large] {
            let pile: Arc<dyn Idle> = pile.clone();
            ones.add(Arc::downgrade(&pile));
        }
        assert!(ones.give_up_one(Of::Class(small.class)));
        assert!(!ones.give_up_one(Of::Class(small.class)));
        assert_eq!(large.left(), 9);
        drop(large);
        assert!(!ones.give_up_one(Of::Anything));
    }
}
