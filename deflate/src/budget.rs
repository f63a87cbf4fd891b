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
}

impl Budget {
    /// No bound.
    pub const fn unlimited() -> Self {
        Self { pool: None }
    }

    /// At most `limit` bytes.
    pub fn of(limit: usize) -> Self {
        Self { pool: Some(Arc::new(Pool { limit, used: AtomicUsize::new(0) })) }
    }

    /// Takes the memory of a decompressor; none if there is no room for it. A server does so before it agrees to compression, and
    /// gives it to [`DeflateStream::with_decompressor`](crate::DeflateStream::with_decompressor): a peer that was promised
    /// compression may use it at any time.
    pub fn reserve_decompressor(&self) -> Option<DecompressorMemory> {
        self.reserve(DECOMPRESSOR_BYTES).map(DecompressorMemory)
    }

    /// Takes `bytes` until the reservation is dropped; none if there is no room for them.
    pub(crate) fn reserve(&self, bytes: usize) -> Option<Reservation> {
        if let Some(pool) = &self.pool {
            pool.used
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                    used.checked_add(bytes).filter(|sum| *sum <= pool.limit)
                })
                .ok()?;
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

/// A part of a [`Budget`].
#[derive(Debug)]
pub(crate) struct Reservation {
    pool: Option<Arc<Pool>>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.used.fetch_sub(self.bytes, Ordering::Relaxed);
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
}
