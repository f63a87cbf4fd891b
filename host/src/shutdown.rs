//! The connections that are open, so that they can be told to end: a drain closes each with 1001 and waits for the last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::close::CloseCause;
use crate::link::{Closing, Link};

/// All open connections of one server.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections {
    links: Mutex<Links>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Links {
    by_address: HashMap<usize, Arc<Link>>,
    draining: bool,
}

impl OpenConnections {
    fn lock(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts `link` as open until the guard is dropped. During a drain it is told to go at once.
    pub(crate) fn enter(self: &Arc<Self>, link: &Arc<Link>) -> OpenConnection {
        let mut links = self.lock();
        links.by_address.insert(link.address(), link.clone());
        let draining = links.draining;
        drop(links);
        if draining {
            let _ = link.close(Closing::Host(CloseCause::GoingAway));
        }
        OpenConnection { all: self.clone(), address: link.address() }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Starts the closing handshake of every connection, and of those that still open. Returns how many there are.
    pub(crate) fn drain(&self) -> usize {
        let mut links = self.lock();
        links.draining = true;
        for link in links.by_address.values() {
            // Already ended: then there is nothing to close.
            let _ = link.close(Closing::Host(CloseCause::GoingAway));
        }
        links.by_address.len()
    }

    /// Resolves when no connection is open.
    pub(crate) async fn emptied(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().by_address.is_empty() {
                return;
            }
            changed.await;
        }
    }
}

/// Counts one connection as open.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    all: Arc<OpenConnections>,
    address: usize,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut links = self.all.lock();
        links.by_address.remove(&self.address);
        if links.by_address.is_empty() {
            self.all.changed.notify_waiters();
        }
    }
}
