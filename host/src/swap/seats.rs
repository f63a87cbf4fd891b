//! Who is served by a route's handlers, from the first question of the handshake on: those must be told that there is another version.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connection::link::Link;
use crate::handler::endpoint::Endpoint;
use crate::server::addresses::Peer;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<HashMap<usize, (Arc<Link>, Peer)>>);

impl Seats {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, (Arc<Link>, Peer)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.lock().values().map(|(link, _)| link.clone()).collect()
    }

    /// Who is at the other end.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.lock().values().map(|(_, peer)| *peer).collect()
    }
}

/// Counts one connection among those who are served, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seated {
    endpoint: Arc<Endpoint>,
    address: usize,
}

impl Seated {
    pub(crate) fn new(endpoint: Arc<Endpoint>, link: &Arc<Link>, peer: Peer) -> Self {
        let address = link.address();
        endpoint.seats.lock().insert(address, (link.clone(), peer));
        Self { endpoint, address }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.endpoint.seats.lock().remove(&self.address);
    }
}
