//! Whether there is another version for an instance, looked at between two of its events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::OwnedSemaphorePermit;

use super::Rollout;
use crate::handler::endpoint::Endpoint;

/// See the module.
pub(crate) struct Succession {
    endpoint: Arc<Endpoint>,
    /// The route's changes that it has dealt with.
    changes_seen: u64,
    /// The change by which it goes over, once it is its turn.
    wanted: Option<Wanted>,
}

struct Wanted {
    rollout: Arc<Rollout>,
    turn: Pin<Box<dyn Future<Output = [OwnedSemaphorePermit; 2]> + Send>>,
}

/// An instance's turn to go over to another version: so many do so at once as there are places for their successors.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) rollout: Arc<Rollout>,
    /// One of the tenant's places in the pool, as long as there are two instances.
    pub(crate) place: [OwnedSemaphorePermit; 2],
}

impl Succession {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, changes_seen: 0, wanted: None }
    }

    /// Whether there have been changes that it has not dealt with.
    pub(crate) fn must_look(&self) -> bool {
        self.endpoint.versions.changes() != self.changes_seen
    }

    /// Whether whoever is served by version `number` is to go over to another one; if not, the latest change is dealt with.
    pub(crate) fn look(&mut self, number: u32) -> bool {
        let changes = self.endpoint.versions.changes();
        if changes == self.changes_seen {
            return false;
        }
        if self.wanted.as_ref().is_none_or(|wanted| wanted.rollout.change != changes) {
            let rollout = self.endpoint.versions.migration_from(number);
            self.wanted = rollout.map(|rollout| {
                let (version, tenancy) = (rollout.to.clone(), self.endpoint.tenancy.clone());
                let turn = Box::pin(async move {
                    // In this order, so that who waits for his own tenant keeps nothing from others.
                    let of_tenant = tenancy.moving_permit().await;
                    [of_tenant, version.handler.moving_permit().await]
                });
                Wanted { rollout, turn }
            });
        }
        if self.wanted.is_none() {
            self.changes_seen = changes;
        }
        self.wanted.is_some()
    }

    /// Ready with its turn, if whoever is served by version `number` is to go over. Pending wakes only who waits for a turn; that
    /// there is another version must be told otherwise.
    pub(crate) fn poll_turn(&mut self, number: u32, cx: &mut Context<'_>) -> Poll<Turn> {
        if !self.look(number) {
            return Poll::Pending;
        }
        let Some(wanted) = &mut self.wanted else { return Poll::Pending };
        let Poll::Ready(place) = wanted.turn.as_mut().poll(cx) else { return Poll::Pending };
        let rollout = wanted.rollout.clone();
        self.changes_seen = rollout.change;
        self.wanted = None;
        Poll::Ready(Turn { rollout, place })
    }

    /// The route's changes that it has dealt with.
    pub(crate) fn changes_seen(&self) -> u64 {
        self.changes_seen
    }

    /// It is busy, nobody knows for how long: a turn that comes now is for others.
    pub(crate) fn let_others_pass(&mut self, cx: &mut Context<'_>) {
        if let Some(wanted) = &mut self.wanted
            && wanted.turn.as_mut().poll(cx).is_ready()
        {
            self.wanted = None;
        }
    }
}
