//! Who is at the other end of a connection, and how many connections each address has open.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::rate::Used;

/// The other end: an address, or a process of this machine that came through a Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Never an IPv4 address that is mapped into IPv6.
    Address(IpAddr),
    Unix,
}

impl Peer {
    /// What a handler reads: an address always, so that what parses it goes on working. Tornado's for Unix sockets: 0.0.0.0.
    pub(crate) fn address(self) -> IpAddr {
        match self {
            Self::Address(address) => address,
            Self::Unix => Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Whose connections are counted together: one IPv4 address, or an IPv6 network of 64 bits, which is what one customer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(IpAddr);

impl AddressKey {
    /// None for who is on this machine (loopback, Unix sockets): that is a proxy that says no more, or somebody who has other ways.
    pub(crate) fn of(peer: Peer) -> Option<Self> {
        match peer {
            Peer::Unix => None,
            Peer::Address(address) if address.is_loopback() => None,
            Peer::Address(IpAddr::V6(address)) => {
                let network = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
                Some(Self(network.into()))
            }
            Peer::Address(address) => Some(Self(address)),
        }
    }
}

/// How many connections each address has open, and how many it may have.
#[derive(Debug)]
pub(crate) struct AddressPermits {
    most: u32,
    open: Mutex<HashMap<AddressKey, u32>>,
}

/// One connection of an address, until it is dropped.
#[derive(Debug)]
pub(crate) struct AddressPermit {
    permits: Arc<AddressPermits>,
    key: Option<AddressKey>,
}

/// The address has `max-connections-per-address` open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyConnections;

impl AddressPermits {
    pub(crate) fn new(most: u32) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AddressKey, u32>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection of `peer`.
    pub(crate) fn take(self: &Arc<Self>, peer: Peer) -> Result<AddressPermit, TooManyConnections> {
        let key = AddressKey::of(peer);
        if let Some(key) = key {
            let mut open = self.lock();
            let count = open.get(&key).copied().unwrap_or(0);
            if count >= self.most {
                return Err(TooManyConnections);
            }
            open.insert(key, count + 1);
        }
        Ok(AddressPermit { permits: self.clone(), key })
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut open = self.permits.lock();
        match open.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            // Whoever has nothing open is not remembered.
            _ => drop(open.remove(&key)),
        }
    }
}

/// How often each address does something: so many times a second, and as many at once after a silence.
#[derive(Debug)]
pub(crate) struct AddressRates {
    per_second: f64,
    used: Mutex<UsedByAddress>,
}

#[derive(Debug)]
struct UsedByAddress {
    by_address: HashMap<AddressKey, Used>,
    /// When those were last forgotten who have been silent.
    swept: Instant,
}

/// The address has used up what it has for now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooFast;

/// How often the silent are forgotten.
const SWEEP: Duration = Duration::from_secs(1);

impl AddressRates {
    pub(crate) fn new(per_second: u32) -> Self {
        let used = UsedByAddress { by_address: HashMap::new(), swept: Instant::now() };
        Self { per_second: per_second.into(), used: Mutex::new(used) }
    }

    pub(crate) fn note(&self, peer: Peer) -> Result<(), TooFast> {
        let Some(key) = AddressKey::of(peer) else { return Ok(()) };
        let now = Instant::now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if now - used.swept >= SWEEP {
            used.swept = now;
            used.by_address.retain(|_, used| !used.is_forgotten(self.per_second, now));
        }
        let of_address = used.by_address.entry(key).or_insert_with(|| Used::nothing(now));
        if of_address.take(1.0, self.per_second, now) { Ok(()) } else { Err(TooFast) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_has_so_many_a_second_and_no_more_after_a_long_silence() {
        let rates = AddressRates::new(2);
        let one = || rates.note(peer("192.0.2.1"));
        assert_eq!((one(), one(), one()), (Ok(()), Ok(()), Err(TooFast)));
        assert_eq!(rates.note(peer("192.0.2.2")), Ok(()), "another address has its own");
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!((one(), one()), (Ok(()), Err(TooFast)));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((one(), one(), one()), (Ok(()), Ok(()), Err(TooFast)));
        assert_eq!(rates.used.lock().expect("no panic").by_address.len(), 1, "the silent are forgotten");
        assert_eq!(rates.note(Peer::Unix), Ok(()));
    }

    fn peer(address: &str) -> Peer {
        Peer::from(address.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn an_address_has_so_many_connections_and_gets_one_back_for_each_that_ends() {
        let permits = AddressPermits::new(2);
        let one = permits.take(peer("192.0.2.1")).expect("the first");
        let _two = permits.take(peer("192.0.2.1")).expect("the second");
        assert_eq!(permits.take(peer("192.0.2.1")).err(), Some(TooManyConnections));
        assert!(permits.take(peer("192.0.2.2")).is_ok(), "another address has its own");
        drop(one);
        assert!(permits.take(peer("192.0.2.1")).is_ok());
    }

    #[test]
    fn ipv6_counts_by_its_network() {
        let permits = AddressPermits::new(1);
        let _one = permits.take(peer("2001:db8:1:2::1")).expect("the first");
        assert!(permits.take(peer("2001:db8:1:2:ffff::2")).is_err());
        assert!(permits.take(peer("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn a_mapped_address_is_the_address_that_it_maps() {
        let permits = AddressPermits::new(1);
        let _one = permits.take(peer("::ffff:192.0.2.1")).expect("the first");
        assert!(permits.take(peer("192.0.2.1")).is_err());
        assert_eq!(peer("::ffff:192.0.2.1").to_string(), "192.0.2.1");
    }

    #[test]
    fn who_is_on_this_machine_counts_nowhere() {
        let permits = AddressPermits::new(0);
        for local in [Peer::Unix, peer("127.0.0.1"), peer("::1"), peer("::ffff:127.0.0.1")] {
            assert!(permits.take(local).is_ok(), "{local}");
        }
        assert!(permits.take(peer("192.0.2.1")).is_err());
        assert_eq!(Peer::Unix.address().to_string(), "0.0.0.0");
    }

    #[test]
    fn nothing_is_kept_of_addresses_that_have_left() {
        let permits = AddressPermits::new(3);
        drop((permits.take(peer("192.0.2.1")), permits.take(peer("192.0.2.1"))));
        assert!(permits.lock().is_empty());
    }
}
