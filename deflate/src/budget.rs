//! Memory that several connections share: what is reserved from it comes back by drop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a decompressor takes: zlib-rs always has the largest window, whatever was negotiated. With room to spare for its state.
pub const DECOMPRESSOR_BYTES: usize = (32 << 10) + (16 << 10);

/// How many bytes compressors and decompressors may take together. Clones share the same bytes.
#[derive(Debug, Clone)]
pub struct Budget {
    /// None: unlimited.
    pool: Option<Arc<Pool>>,
}

#[derive(Debug)]
struct Pool {
    limit: usize,
    used: AtomicUsize,
    /// What it is a part of.
    whole: Option<Arc<Pool>>,
}

impl Pool {
    /// Whether there was room, here and in what it is a part of.
    fn take(&self, bytes: usize) -> bool {
        let room = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= self.limit)
        });
        if room.is_err() {
            return false;
        }
        let of_whole = self.whole.as_ref().is_none_or(|whole| whole.take(bytes));
        if !of_whole {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        of_whole
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(bytes);
        }
    }
}

impl Budget {
    /// No bound.
    pub const fn unlimited() -> Self {
        Self { pool: None }
    }

    /// At most `limit` bytes.
    pub fn of(limit: usize) -> Self {
        Self::unlimited().part(limit)
    }

    /// At most `limit` bytes of this budget's: what is reserved from the part counts in the whole, too.
    pub fn part(&self, limit: usize) -> Self {
        Self { pool: Some(Arc::new(Pool { limit, used: AtomicUsize::new(0), whole: self.pool.clone() })) }
    }

    /// Takes the memory of a decompressor; none if there is no room for it. A server does so before it agrees to compression, and
    /// gives it to [`DeflateStream::with_decompressor`](crate::DeflateStream::with_decompressor): a peer that was promised
    /// compression may use it at any time.
    pub fn reserve_decompressor(&self) -> Option<DecompressorMemory> {
        self.reserve(DECOMPRESSOR_BYTES).map(DecompressorMemory)
    }

    /// Takes `bytes` until the reservation is dropped; none if there is no room for them.
    pub fn reserve(&self, bytes: usize) -> Option<Reservation> {
        if self.pool.as_ref().is_some_and(|pool| !pool.take(bytes)) {
            return None;
        }
        Some(Reservation { pool: self.pool.clone(), bytes })
    }

    /// Bytes that are reserved now; 0 if it is unlimited.
    pub fn used(&self) -> usize {
        self.pool.as_ref().map_or(0, |pool| pool.used.load(Ordering::Relaxed))
    }
}

/// The memory of one decompressor, taken from a [`Budget`] and given back by drop.
#[derive(Debug)]
#[must_use = "dropped, it is given back"]
pub struct DecompressorMemory(pub(crate) Reservation);

/// Bytes of a [`Budget`], given back by drop. The default is none of a budget without bound.
#[derive(Debug, Default)]
#[must_use = "dropped, it is given back"]
pub struct Reservation {
    pool: Option<Arc<Pool>>,
    bytes: usize,
}

impl Reservation {
    /// How many bytes it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it `bytes`; false, and nothing has changed, if there is no room for so many more.
    pub fn resize(&mut self, bytes: usize) -> bool {
        if let Some(pool) = &self.pool {
            match bytes.checked_sub(self.bytes) {
                Some(more) if !pool.take(more) => return false,
                Some(_) => {}
                None => pool.give_back(self.bytes - bytes),
            }
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_limit_can_be_reserved_and_comes_back() {
        let budget = Budget::of(10);
        let six = budget.reserve(6).expect("room");
        let four = budget.clone().reserve(4).expect("room");
        assert!(budget.reserve(1).is_none());
        drop(four);
        assert_eq!(budget.used(), 6);
        assert!(budget.reserve(4).is_some());
        drop(six);
        assert_eq!(budget.used(), 0);
        assert!(budget.reserve(usize::MAX).is_none());
    }

    #[test]
    fn what_a_part_takes_counts_in_the_whole() {
        let whole = Budget::of(10);
        let (one, other) = (whole.part(8), whole.part(8));
        let eight = one.reserve(8).expect("room");
        assert!(one.reserve(1).is_none(), "the part is full");
        assert!(other.reserve(3).is_none(), "the whole is full");
        assert_eq!((other.used(), whole.used()), (0, 8));
        let two = other.reserve(2).expect("room");
        drop((eight, two));
        assert_eq!((one.used(), other.used(), whole.used()), (0, 0, 0));
    }

    #[test]
    fn a_reservation_grows_as_far_as_there_is_room_and_shrinks() {
        let budget = Budget::of(10);
        let mut some = budget.reserve(4).expect("room");
        assert!(some.resize(10) && !some.resize(11));
        assert_eq!((some.bytes(), budget.used()), (10, 10));
        assert!(some.resize(1));
        assert_eq!(budget.used(), 1);
    }
}
