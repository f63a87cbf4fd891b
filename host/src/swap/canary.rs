//! A new version that a part of the newcomers gets, until it has shown what it is worth.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::health::Score;
use super::{SwapPolicy, Version};
use crate::routes::InstanceKey;
use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub(crate) struct Canary {
    pub(crate) version: Arc<Version>,
    /// Of the newcomers, or, where instances are shared, of their keys: 1 to 99.
    pub(crate) percent: u8,
    pub(crate) since: Instant,
    newcomers: AtomicU64,
}

/// What is to become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is too early to say.
    Wait,
    /// It does no worse than the other.
    Promote,
    /// It does worse.
    Withdraw,
}

/// Addresses from which it must have failed before it is withdrawn: fewer may be one person's doing.
const MIN_FAILED_ADDRESSES: u64 = 3;
/// How much more often than the other version it may fail, in percent of the addresses.
const MARGIN_PERCENT: f64 = 1.0;

impl Canary {
    pub(crate) fn new(version: Arc<Version>, percent: u8) -> Self {
        Self { version, percent, since: Instant::now(), newcomers: AtomicU64::new(0) }
    }

    /// Whether the next newcomer gets it: of connections each so many-th; of keys always the same.
    pub(crate) fn takes(&self, key: Option<&InstanceKey>) -> bool {
        let percent = u64::from(self.percent);
        match key {
            Some(key) => {
                let hashing = BuildHasherDefault::<DefaultHasher>::new();
                hashing.hash_one((key, self.version.handler.digest())) % 100 < percent
            }
            None => {
                let number = self.newcomers.fetch_add(1, Ordering::Relaxed);
                (number + 1) * percent / 100 > number * percent / 100
            }
        }
    }

    /// What is to become of it, beside a version that has done so meanwhile.
    pub(crate) fn verdict(&self, other: Score, policy: &SwapPolicy) -> Verdict {
        let score = self.version.health.score();
        let is_worse = score.failed_percent() > other.failed_percent() + MARGIN_PERCENT;
        if is_worse && score.failed >= MIN_FAILED_ADDRESSES {
            return Verdict::Withdraw;
        }
        let has_been_seen = score.served >= u64::from(policy.canary_addresses);
        if has_been_seen && !is_worse && self.since.elapsed() >= policy.canary_time {
            return Verdict::Promote;
        }
        Verdict::Wait
    }
}
