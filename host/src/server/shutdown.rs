//! The connections that are open, so that they can be told to end: a drain closes each with 1001 and waits for the last. Before one, a
//! server may be leaving: newcomers go to another process, and those who are here stay.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::connection::close::CloseCause;
use crate::connection::link::{Closing, Link};

/// All open connections of one server.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections {
    links: Mutex<Links>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Links {
    by_address: HashMap<usize, Arc<Link>>,
    /// Other sockets whose last bytes are waited for: those that hold several connections, and those that this side has opened.
    sockets: usize,
    draining: bool,
    leaving: bool,
}

impl Links {
    fn is_empty(&self) -> bool {
        self.by_address.is_empty() && self.sockets == 0
    }
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

    /// Counts a socket as open that is no connection of its own, until the guard is dropped.
    pub(crate) fn enter_socket(self: &Arc<Self>) -> OpenSocket {
        self.lock().sockets += 1;
        OpenSocket(self.clone())
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Whether who asks for something more should do so elsewhere.
    pub(crate) fn is_leaving(&self) -> bool {
        let links = self.lock();
        links.leaving || links.draining
    }

    /// Resolves when newcomers should go elsewhere: another process accepts them, or a drain has begun.
    pub(crate) async fn leaving(&self) {
        self.changes_until(|links| links.leaving || links.draining).await;
    }

    /// From now on another process accepts; who is here stays. Returns how many connections there are.
    pub(crate) fn leave(&self) -> usize {
        let mut links = self.lock();
        links.leaving = true;
        self.changed.notify_waiters();
        links.by_address.len()
    }

    /// Whether no connection is open.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Starts the closing handshake of every connection, and of those that still open. Returns how many there are.
    pub(crate) fn drain(&self) -> usize {
        let mut links = self.lock();
        links.draining = true;
        for link in links.by_address.values() {
            // Already ended: then there is nothing to close.
            let _ = link.close(Closing::Host(CloseCause::GoingAway));
        }
        self.changed.notify_waiters();
        links.by_address.len()
    }

    /// Resolves when no connection is open.
    pub(crate) async fn emptied(&self) {
        self.changes_until(Links::is_empty).await;
    }

    async fn changes_until(&self, done: impl Fn(&Links) -> bool) {
        loop {
            let changed = self.changed.notified();
            if done(&self.lock()) {
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
        if links.is_empty() {
            self.all.changed.notify_waiters();
        }
    }
}

/// Counts one socket as open.
#[derive(Debug)]
pub(crate) struct OpenSocket(Arc<OpenConnections>);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        let mut links = self.0.lock();
        links.sockets -= 1;
        if links.is_empty() {
            self.0.changed.notify_waiters();
        }
    }
}
