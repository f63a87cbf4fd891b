//! The connections that a route's handlers have opened themselves: how many are open, and what has passed through them.
//!
//! As with a route's own connections ([`Register`](super::Register)), counts move from the open ones to the ended ones under one lock, so
//! that no sum ever goes back. They are few, and their beginnings and ends rare: one lock is enough.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::RouteMetrics;
use crate::connection::link::Link;
use crate::connection::traffic::Totals;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By the address of the link.
    open: HashMap<usize, Arc<Link>>,
    ended: Totals,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// What they have counted, those that have ended included.
    pub(crate) fn totals(&self) -> Totals {
        let state = self.lock();
        let mut totals = state.ended;
        state.open.values().for_each(|link| totals += link.traffic.totals());
        totals
    }
}

/// Counts an outgoing connection that is open; dropped, it has ended.
#[derive(Debug)]
pub(crate) struct OpenClient {
    metrics: Arc<RouteMetrics>,
    address: usize,
}

impl OpenClient {
    pub(crate) fn new(metrics: Arc<RouteMetrics>, link: Arc<Link>) -> Self {
        let address = link.address();
        metrics.clients.lock().open.insert(address, link);
        Self { metrics, address }
    }
}

impl Drop for OpenClient {
    fn drop(&mut self) {
        let mut state = self.metrics.clients.lock();
        if let Some(link) = state.open.remove(&self.address) {
            state.ended += link.traffic.totals();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::compression::Reservation;
    use crate::limits::{Limits, SlowConsumer};

    #[test]
    fn nothing_that_was_counted_is_lost_when_an_outgoing_connection_ends() {
        let metrics = Arc::<RouteMetrics>::default();
        let open = || {
            let link = Arc::new(Link::new(&Limits::default(), SlowConsumer::Drop, Reservation::default()));
            (link.clone(), OpenClient::new(metrics.clone(), link))
        };
        let ((one, first), (two, _second)) = (open(), open());
        one.traffic.sent.count(5);
        two.traffic.sent.count(7);
        let before = metrics.clients.totals();
        assert_eq!((metrics.clients.count(), before.sent.messages, before.sent.bytes), (2, 2, 12));
        drop((one, first));
        assert_eq!((metrics.clients.count(), metrics.clients.totals()), (1, before));
    }
}
