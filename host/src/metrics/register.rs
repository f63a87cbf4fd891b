//! The open connections of one route, to be listed, kicked and counted; and what those that have ended had counted.
//!
//! A connection's counts move from the open ones to the ended ones under one lock, so that no sum ever goes back: a
//! counter that falls looks like a restart. There are several such locks, by the first digit of the id, so that who adds up thousands
//! keeps newcomers waiting for a part of them only.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::RouteMetrics;
use crate::connection::close::{CloseCause, CloseRequest};
use crate::connection::link::{Closing, Link};
use crate::connection::traffic::Totals;
use crate::server::addresses::Peer;

const SHARDS: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Register([Mutex<Shard>; SHARDS]);

#[derive(Debug, Default)]
struct Shard {
    /// By id: ids are random, and pages of them need an order.
    open: BTreeMap<u128, Arc<Open>>,
    ended: Totals,
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) link: Arc<Link>,
    pub(crate) peer: Peer,
    /// HTTP's version: 1 or 2.
    pub(crate) http: u8,
    pub(crate) since: SystemTime,
}

impl Open {
    pub(crate) fn new(link: Arc<Link>, peer: Peer, http: u8) -> Self {
        Self { link, peer, http, since: SystemTime::now() }
    }

    /// Starts the closing handshake; what has ended already stays as it ended.
    pub(crate) fn kick(&self, frame: &CloseRequest) {
        let _ = self.link.close(Closing::Operator(frame.clone()));
    }
}

impl Register {
    fn shard(&self, id: u128) -> MutexGuard<'_, Shard> {
        lock(&self.0[shard_of(id)])
    }

    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|shard| lock(shard).open.len()).sum()
    }

    /// What the route's connections have counted, those that have ended included.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.0 {
            let shard = lock(shard);
            totals += shard.ended;
            shard.open.values().for_each(|open| totals += open.link.traffic.totals());
        }
        totals
    }

    pub(crate) fn find(&self, id: u128) -> Option<Arc<Open>> {
        self.shard(id).open.get(&id).cloned()
    }

    /// At most `most` connections, in the order of their ids, from the one behind `after`.
    pub(crate) fn page(&self, after: Option<u128>, most: usize) -> Vec<(u128, Arc<Open>)> {
        let mut page = Vec::new();
        for shard in &self.0[after.map_or(0, shard_of)..] {
            let left = most - page.len();
            if left == 0 {
                break;
            }
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let shard = lock(shard);
            page.extend(
                shard.open.range((from, Bound::Unbounded)).take(left).map(|(id, open)| (*id, open.clone())),
            );
        }
        page
    }

    /// How many each version of the handler serves, by its number.
    pub(crate) fn by_version(&self) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for shard in &self.0 {
            for open in lock(shard).open.values() {
                *counts.entry(open.link.version()).or_default() += 1;
            }
        }
        counts
    }

    /// Kicks every connection; how many there were.
    pub(crate) fn kick_all(&self, frame: &CloseRequest) -> usize {
        let kick = |shard| {
            // Not under the lock: whoever is woken wants it.
            let open: Vec<Arc<Open>> = lock(shard).open.values().cloned().collect();
            open.iter().for_each(|open| open.kick(frame));
            open.len()
        };
        self.0.iter().map(kick).sum()
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shard_of(id: u128) -> usize {
    (id >> 124) as usize
}

/// Keeps a connection in its route's register; dropped, it has ended.
#[derive(Debug)]
pub(crate) struct Registered {
    metrics: Arc<RouteMetrics>,
    id: u128,
    cause: CloseCause,
}

impl Registered {
    pub(crate) fn new(metrics: Arc<RouteMetrics>, open: Open) -> Self {
        let id = u128::from_str_radix(open.link.id(), 16).expect("a link's id is 32 hexadecimal digits");
        metrics.connections.shard(id).open.insert(id, Arc::new(open));
        // Who is dropped without a word, is so at the end of the grace period.
        Self { metrics, id, cause: CloseCause::GoingAway }
    }

    /// The connection has ended so.
    pub(crate) fn end(mut self, cause: CloseCause) {
        self.cause = cause;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.metrics.count_close(self.cause);
        let mut shard = self.metrics.connections.shard(self.id);
        if let Some(open) = shard.open.remove(&self.id) {
            shard.ended += open.link.traffic.totals();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::compression::Reservation;
    use crate::limits::{Limits, SlowConsumer};

    fn enter(metrics: &Arc<RouteMetrics>) -> (Arc<Link>, Registered) {
        let link = Arc::new(Link::new(&Limits::default(), SlowConsumer::Drop, Reservation::default()));
        (link.clone(), Registered::new(metrics.clone(), Open::new(link, Peer::Unix, 1)))
    }

    #[test]
    fn nothing_that_was_counted_is_lost_when_a_connection_ends() {
        let metrics = Arc::<RouteMetrics>::default();
        let ((one, first), (two, _second)) = (enter(&metrics), enter(&metrics));
        one.traffic.received.count(5);
        two.traffic.received.count(7);
        let before = metrics.connections.totals();
        first.end(CloseCause::PeerClosed);
        assert_eq!(metrics.connections.totals(), before);
        assert_eq!(before.received.bytes, 12);
        assert_eq!(metrics.connections.count(), 1);
        assert_eq!(metrics.closes().next(), Some(("peer_closed", 1)));
    }

    #[test]
    fn pages_hold_every_connection_once_and_in_order() {
        let metrics = Arc::<RouteMetrics>::default();
        let entered: Vec<_> = (0..100).map(|_| enter(&metrics)).collect();
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = metrics.connections.page(after, 7);
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            seen.extend(page.iter().map(|(id, _)| *id));
        }
        assert!(seen.is_sorted());
        let mut ids: Vec<_> = entered.iter().map(|(_, registered)| registered.id).collect();
        ids.sort_unstable();
        assert_eq!(seen, ids);
    }

    #[test]
    fn a_connection_is_found_by_its_id_until_it_has_ended() {
        let metrics = Arc::<RouteMetrics>::default();
        let (link, registered) = enter(&metrics);
        let id = registered.id;
        assert_eq!(metrics.connections.find(id).expect("open").link.id(), link.id());
        drop(registered);
        assert!(metrics.connections.find(id).is_none());
    }
}
