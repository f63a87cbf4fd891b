//! Whether there is another version for an instance, looked at between two of its events.
//!
//! Where there was no room for two instances, it is looked at again later, less and less often, until there is another change.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::{Again, Rollout};
use crate::handler::endpoint::{Endpoint, Room};
use crate::limits::Reached;

/// How long after the first time that there was no room it is looked for again; each time after that twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// At most.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Succession {
    endpoint: Arc<Endpoint>,
    /// The route's changes that it has dealt with.
    changes_seen: u64,
    /// The change by which it goes over, once it is its turn.
    wanted: Option<Wanted>,
    /// The change by which it could not, for want of room. Boxed: it is seldom.
    postponed: Option<Box<Postponed>>,
}

struct Wanted {
    rollout: Arc<Rollout>,
    /// If it has been tried before.
    again: Option<Again>,
    turn: Pin<Box<dyn Future<Output = Result<Room, Reached>> + Send>>,
    /// It was its turn, and it has let others pass: it has something to end first.
    was_called: bool,
}

struct Postponed {
    again: Again,
    until: Pin<Box<Sleep>>,
}

impl Postponed {
    fn new(again: Again) -> Self {
        let until = Box::pin(tokio::time::sleep(wait(again.tries)));
        Self { again, until }
    }

    /// There is still no room.
    fn wait_longer(&mut self) {
        self.again.tries = self.again.tries.saturating_add(1);
        self.until.as_mut().reset(Instant::now() + wait(self.again.tries));
    }
}

/// After so many tries.
fn wait(tries: u32) -> Duration {
    FIRST_WAIT
        .saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX))
        .min(LONGEST_WAIT)
}

/// An instance's turn to go over to another version: so many do so at once as there are places for their successors.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) rollout: Arc<Rollout>,
    /// As long as there are two instances; or whose bound leaves none.
    pub(crate) place: Result<Room, Reached>,
    /// If it has been tried before.
    pub(crate) again: Option<Again>,
}

impl Succession {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, changes_seen: 0, wanted: None, postponed: None }
    }

    /// Whether there have been changes that it has not dealt with, or not for good.
    pub(crate) fn must_look(&self) -> bool {
        self.endpoint.versions.changes() != self.changes_seen
            || self.wanted.is_some()
            || self.postponed.is_some()
    }

    /// Whether whoever is served by version `number` is to go over to another one; if not, the latest change is dealt with.
    pub(crate) fn look(&mut self, number: u32) -> bool {
        let changes = self.endpoint.versions.changes();
        if changes == self.changes_seen {
            return self.wanted.is_some();
        }
        self.postponed = None;
        if self.wanted.as_ref().is_none_or(|wanted| wanted.rollout.change != changes) {
            let rollout = self.endpoint.versions.migration_from(number);
            self.wanted = rollout.map(|rollout| self.want(rollout, None));
        }
        if self.wanted.is_none() {
            self.changes_seen = changes;
        }
        self.wanted.is_some()
    }

    /// Queues for a turn.
    fn want(&self, rollout: Arc<Rollout>, again: Option<Again>) -> Wanted {
        let turn = turn(&self.endpoint, &rollout);
        Wanted { rollout, again, turn, was_called: false }
    }

    /// Ready with its turn, if whoever is served by version `number` is to go over. Pending wakes only who waits for a turn, or for room; that
    /// there is another version must be told otherwise.
    pub(crate) fn poll_turn(&mut self, number: u32, cx: &mut Context<'_>) -> Poll<Turn> {
        let place = ready!(self.poll_place(number, cx));
        match self.wanted.take() {
            Some(Wanted { rollout, again, .. }) => {
                self.changes_seen = rollout.change;
                Poll::Ready(Turn { rollout, place, again })
            }
            None => Poll::Pending,
        }
    }

    /// Ready when it is its turn, or was before: for who has something to end before he goes over. The turn is others' meanwhile, and he queues
    /// again.
    pub(crate) fn poll_call(&mut self, number: u32, cx: &mut Context<'_>) -> Poll<()> {
        if !self.was_called() {
            drop(ready!(self.poll_place(number, cx)));
            if let Some(wanted) = &mut self.wanted {
                wanted.was_called = true;
                wanted.turn = turn(&self.endpoint, &wanted.rollout);
            }
        }
        Poll::Ready(())
    }

    fn poll_place(&mut self, number: u32, cx: &mut Context<'_>) -> Poll<Result<Room, Reached>> {
        // Ready or not: `look` says what is wanted.
        let _ = self.poll_again(cx);
        if !self.look(number) {
            return Poll::Pending;
        }
        match &mut self.wanted {
            Some(wanted) => wanted.turn.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Whether it was its turn, and it has not gone over yet.
    pub(crate) fn was_called(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.was_called)
    }

    /// Ready when there is room for what there was none for: from now on it is wanted again.
    pub(crate) fn poll_again(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(postponed) = &mut self.postponed else { return Poll::Pending };
            if postponed.again.rollout.is_superseded() {
                self.postponed = None;
                return Poll::Pending;
            }
            ready!(postponed.until.as_mut().poll(cx));
            if has_room(&self.endpoint, &postponed.again) {
                break;
            }
            postponed.wait_longer();
        }
        if let Some(Postponed { again, .. }) = self.postponed.take().map(|postponed| *postponed) {
            self.wanted = Some(self.want(again.rollout.clone(), Some(again)));
        }
        Poll::Ready(())
    }

    /// If something is to be tried again, it is tried later.
    pub(crate) fn postpone(&mut self, again: Option<Again>) {
        self.postponed = again.map(|again| Box::new(Postponed::new(again)));
    }

    /// Whether something is tried again later.
    pub(crate) fn is_postponed(&self) -> bool {
        self.postponed.is_some()
    }

    /// The route's changes that it has dealt with.
    pub(crate) fn changes_seen(&self) -> u64 {
        self.changes_seen
    }

    /// It is busy, nobody knows for how long: a turn that comes now is for others.
    pub(crate) fn let_others_pass(&mut self, cx: &mut Context<'_>) {
        if let Some(wanted) = &mut self.wanted
            && wanted.turn.as_mut().poll(cx).is_ready()
            && let Some(Wanted { again: Some(again), .. }) = self.wanted.take()
        {
            self.postpone(Some(again));
        }
    }
}

fn turn(
    endpoint: &Arc<Endpoint>,
    rollout: &Rollout,
) -> Pin<Box<dyn Future<Output = Result<Room, Reached>> + Send>> {
    let (version, endpoint) = (rollout.to.clone(), endpoint.clone());
    Box::pin(async move { endpoint.moving_room(&version.handler).await })
}

/// Whether there are places and memory for two instances now.
fn has_room(endpoint: &Endpoint, again: &Again) -> bool {
    let handler = &again.rollout.to.handler;
    let state = endpoint.tenancy.take_memory(again.state_bytes);
    state.is_ok()
        && endpoint.take_instance_memory(handler).is_ok()
        && endpoint.has_places(handler, again.places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_looked_for_less_and_less_often_and_never_not_at_all() {
        let waits = [1, 2, 3, 7, 8, 40, u32::MAX].map(wait).map(|wait| wait.as_millis());
        assert_eq!(waits, [250, 500, 1000, 16_000, 30_000, 30_000, 30_000]);
    }
}
