//! A new version that a part of the newcomers gets, until it has shown what it is worth.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::health::Score;
use super::{SwapPolicy, Version};
use crate::server::routes::InstanceKey;

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
        verdict(self.version.health.score(), other, self.since.elapsed(), policy)
    }
}

/// Of a canary that has done so, and served for so long, beside another that has done so meanwhile.
fn verdict(canary: Score, other: Score, served_for: Duration, policy: &SwapPolicy) -> Verdict {
    // Fewer failures say nothing, for or against it.
    let is_worse = canary.failed >= MIN_FAILED_ADDRESSES
        && canary.failed_percent() > other.failed_percent() + MARGIN_PERCENT;
    if is_worse {
        return Verdict::Withdraw;
    }
    let has_been_seen = canary.served >= u64::from(policy.canary_addresses);
    if has_been_seen && served_for >= policy.canary_time { Verdict::Promote } else { Verdict::Wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(600);

    fn judge(canary: (u64, u64), other: (u64, u64), served_for: Duration) -> Verdict {
        let score = |(served, failed)| Score { served, failed };
        verdict(score(canary), score(other), served_for, &SwapPolicy::default())
    }

    #[test]
    fn it_is_promoted_after_its_time_and_addresses_and_not_before() {
        let tick = Duration::from_millis(1);
        assert_eq!(judge((20, 0), (100, 0), TIME), Verdict::Promote);
        assert_eq!(judge((19, 0), (100, 0), TIME), Verdict::Wait);
        assert_eq!(judge((20, 0), (100, 0), TIME - tick), Verdict::Wait);
        assert_eq!(judge((0, 0), (0, 0), 10 * TIME), Verdict::Wait, "nobody has used it");
    }

    #[test]
    fn it_is_withdrawn_as_soon_as_it_fails_more_addresses_than_the_other() {
        assert_eq!(judge((10, 3), (100, 0), Duration::ZERO), Verdict::Withdraw);
        assert_eq!(judge((19, 2), (100, 0), TIME), Verdict::Wait, "two may be one person");
        assert_eq!(judge((20, 2), (100, 0), TIME), Verdict::Promote, "who must not hinder it, either");
        assert_eq!(judge((100, 3), (1000, 20), TIME), Verdict::Promote, "one percent more is chance");
        assert_eq!(judge((100, 4), (1000, 20), TIME), Verdict::Withdraw);
        assert_eq!(judge((100, 50), (100, 50), TIME), Verdict::Promote, "the other fails as often");
    }
}
