//! How a version does: from how many addresses it was used, and from how many of them it was made to fail. Addresses and not failures,
//! so that one peer who knows how to trap it says as much as one peer.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::server::addresses::{AddressKey, Peer};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    hashing: RandomState,
    served: Distinct,
    failed: Distinct,
}

/// From how many addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Score {
    pub(crate) served: u64,
    pub(crate) failed: u64,
}

impl Score {
    /// Of a hundred.
    pub(crate) fn failed_percent(self) -> f64 {
        if self.served == 0 { 0.0 } else { self.failed as f64 * 100.0 / self.served as f64 }
    }
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It serves somebody at this address. All on this machine are one.
    pub(crate) fn note_served(&self, peer: Peer) {
        let mut counts = self.lock();
        let hash = counts.hashing.hash_one(AddressKey::of(peer));
        counts.served.insert(hash);
    }

    /// It has failed while it served somebody at this address.
    pub(crate) fn note_failed(&self, peer: Peer) {
        let mut counts = self.lock();
        let hash = counts.hashing.hash_one(AddressKey::of(peer));
        // Also where it never came to serve him.
        counts.served.insert(hash);
        counts.failed.insert(hash);
    }

    pub(crate) fn score(&self) -> Score {
        let counts = self.lock();
        Score { served: counts.served.estimate(), failed: counts.failed.estimate() }
    }

    /// From now on it is counted anew.
    pub(crate) fn reset(&self) {
        *self.lock() = Counts::default();
    }
}

/// Hashes that are kept of a [`Distinct`].
const MAX_HASHES: usize = 2048;

/// Counts different hashes: exactly up to [`MAX_HASHES`]; of more it keeps those that end with so many zeros that they fit, and
/// estimates (Wegman's adaptive sampling; Flajolet, "On adaptive sampling", 1990: off by some 3 %).
#[derive(Debug, Default)]
struct Distinct {
    kept: HashSet<u64>,
    zeros: u32,
}

impl Distinct {
    fn insert(&mut self, hash: u64) {
        if hash.trailing_zeros() < self.zeros {
            return;
        }
        self.kept.insert(hash);
        while self.kept.len() > MAX_HASHES {
            self.zeros += 1;
            let zeros = self.zeros;
            self.kept.retain(|hash| hash.trailing_zeros() >= zeros);
        }
    }

    fn estimate(&self) -> u64 {
        (self.kept.len() as u64) << self.zeros
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn peer(number: u32) -> Peer {
        Peer::from(IpAddr::from(Ipv4Addr::from_bits(0xC612_0000 + number)))
    }

    #[test]
    fn one_address_counts_once_however_often_it_comes() {
        let health = Health::default();
        for _ in 0..10_000 {
            health.note_served(peer(1));
            health.note_failed(peer(1));
        }
        health.note_served(peer(2));
        assert_eq!(health.score(), Score { served: 2, failed: 1 });
        assert!((health.score().failed_percent() - 50.0).abs() < 1e-9);
        health.reset();
        assert_eq!(health.score(), Score::default());
        assert!(health.score().failed_percent() < 1e-9);
    }

    #[test]
    fn many_addresses_are_estimated_in_little_memory() {
        let health = Health::default();
        for number in 0..100_000 {
            health.note_served(peer(number));
        }
        let served = health.score().served;
        assert!((80_000..120_000).contains(&served), "{served}");
        assert!(health.lock().served.kept.len() <= MAX_HASHES);
    }
}
