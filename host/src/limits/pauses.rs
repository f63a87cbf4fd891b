//! Who fails again and again waits, longer each time: so that a handler that cannot start, and a peer that knows how to trap one, cost little.
//!
//! The two are kept apart. A failure before anything of a peer's has been seen is the handler's own: newcomers of its route wait
//! ([`StartPause`]). Any later one may be a peer's doing: his address waits ([`AddressPauses`]), and nobody else.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::server::addresses::{AddressKey, Peer};

/// The first pause; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause of a handler that cannot start: it may be mended meanwhile.
const LONGEST_START_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause of an address.
const LONGEST_ADDRESS_PAUSE: Duration = Duration::from_secs(300);
/// Failures of an address without a pause: a handler with a mistake should not lose its peers for it at once.
const FREE_FAILURES: u32 = 3;
/// After so long without a failure an address is as good as new.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Addresses that are remembered, of one route. When there are more, those go that failed longest ago.
const MAX_ADDRESSES: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Pause {
    failures: u32,
    failed_at: Instant,
    until: Instant,
}

impl Pause {
    /// What follows `earlier`, of which the first `free` failures have none.
    fn after(earlier: Option<Self>, free: u32, longest: Duration) -> Self {
        let now = Instant::now();
        let failures = earlier.map_or(1, |pause| pause.failures.saturating_add(1));
        let pause = match failures.checked_sub(free + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(longest),
        };
        Self { failures, failed_at: now, until: now + pause }
    }

    fn left(self) -> Option<Duration> {
        Some(self.until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

/// The pause of a handler that cannot start.
#[derive(Debug, Default)]
pub(crate) struct StartPause(Mutex<Option<Pause>>);

impl StartPause {
    fn lock(&self) -> MutexGuard<'_, Option<Pause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long newcomers must wait; none if they may try. After a pause one may, and the others wait for how it goes.
    pub(crate) fn left(&self) -> Option<Duration> {
        let mut state = self.lock();
        let pause = state.as_mut()?;
        let left = pause.left();
        if left.is_none() {
            pause.until = Instant::now() + FIRST_PAUSE;
        }
        left
    }

    /// Whether newcomers may try, without that one does.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().as_ref().is_none_or(|pause| pause.left().is_none())
    }

    /// The handler could not start: the pause that begins.
    pub(crate) fn failed(&self) -> Duration {
        let mut state = self.lock();
        let pause = Pause::after(*state, 0, LONGEST_START_PAUSE);
        *state = Some(pause);
        pause.until - pause.failed_at
    }

    pub(crate) fn succeeded(&self) {
        *self.lock() = None;
    }
}

/// The pauses of the addresses that have made a handler fail.
#[derive(Debug, Default)]
pub(crate) struct AddressPauses(Mutex<HashMap<AddressKey, Pause>>);

impl AddressPauses {
    fn lock(&self) -> MutexGuard<'_, HashMap<AddressKey, Pause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long `peer` must wait; none if he need not, or is on this machine, as a proxy that says no more is.
    pub(crate) fn left(&self, peer: Peer) -> Option<Duration> {
        let key = AddressKey::of(peer)?;
        self.lock().get(&key).and_then(|pause| pause.left())
    }

    /// A handler has failed while it served `peer`: his pause, if one begins.
    pub(crate) fn failed(&self, peer: Peer) -> Option<Duration> {
        let key = AddressKey::of(peer)?;
        let mut pauses = self.lock();
        let earlier = pauses.get(&key).copied().filter(|pause| pause.until.elapsed() < FORGOTTEN_AFTER);
        if earlier.is_none() && pauses.len() >= MAX_ADDRESSES {
            make_room(&mut pauses);
        }
        let pause = Pause::after(earlier, FREE_FAILURES, LONGEST_ADDRESS_PAUSE);
        pauses.insert(key, pause);
        pause.left()
    }
}

/// Forgets the older half: seldom, and not once for each newcomer.
fn make_room(pauses: &mut HashMap<AddressKey, Pause>) {
    let mut times: Vec<Instant> = pauses.values().map(|pause| pause.failed_at).collect();
    let middle = times.len() / 2;
    let (_, middle, _) = times.select_nth_unstable(middle);
    let middle = *middle;
    pauses.retain(|_, pause| pause.failed_at > middle);
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn peer(last: u16) -> Peer {
        let [high, low] = last.to_be_bytes();
        Peer::from(IpAddr::from(Ipv4Addr::new(198, 18, high, low)))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_cannot_start_is_tried_after_1_2_4_seconds_and_at_last_every_minute() {
        let pause = StartPause::default();
        assert_eq!(pause.left(), None);
        let pauses: Vec<u64> = (0..9).map(|_| pause.failed().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause.left(), Some(60 * SECOND));
        tokio::time::advance(60 * SECOND).await;
        assert_eq!(pause.left(), None, "one may try");
        assert_eq!(pause.left(), Some(SECOND), "the others wait for how it goes");
        pause.succeeded();
        assert_eq!(pause.left(), None);
        assert_eq!(pause.failed(), SECOND, "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_three_failures_free_and_then_waits_longer_and_longer() {
        let pauses = AddressPauses::default();
        for _ in 0..3 {
            assert_eq!(pauses.failed(peer(1)), None);
        }
        assert_eq!(pauses.failed(peer(1)), Some(SECOND));
        assert_eq!(pauses.left(peer(1)), Some(SECOND));
        assert_eq!(pauses.left(peer(2)), None, "nobody else waits");
        tokio::time::advance(SECOND).await;
        assert_eq!(pauses.left(peer(1)), None);
        assert_eq!(pauses.failed(peer(1)), Some(2 * SECOND));
        for _ in 0..20 {
            pauses.failed(peer(1));
        }
        assert_eq!(pauses.left(peer(1)), Some(300 * SECOND));
        tokio::time::advance(300 * SECOND + FORGOTTEN_AFTER).await;
        assert_eq!(pauses.failed(peer(1)), None, "it is as good as new");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_on_this_machine_is_never_made_to_wait() {
        let pauses = AddressPauses::default();
        for local in [Peer::Unix, Peer::from(IpAddr::from(Ipv4Addr::LOCALHOST))] {
            for _ in 0..10 {
                assert_eq!(pauses.failed(local), None);
            }
            assert_eq!(pauses.left(local), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_addresses_are_remembered_than_so_many_and_the_latest_stay() {
        let pauses = AddressPauses::default();
        for last in 0..=MAX_ADDRESSES as u16 {
            for _ in 0..4 {
                pauses.failed(peer(last));
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(pauses.lock().len() <= MAX_ADDRESSES);
        assert_eq!(pauses.left(peer(0)), None, "the oldest is forgotten");
        assert!(pauses.left(peer(MAX_ADDRESSES as u16)).is_some());
    }
}
