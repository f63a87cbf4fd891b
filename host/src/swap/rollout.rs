//! One change of version, and what has become of the connections that were open.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::{OnSwap, Unsupported, Version};
use crate::limits::Reached;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rollout {
    /// None where there was no handler.
    pub(crate) from: Option<Arc<Version>>,
    pub(crate) to: Arc<Version>,
    /// What was kept for a rollback when it began.
    pub(super) previous: Option<Arc<Version>>,
    /// Whether too many failures undo it: not what itself undoes something.
    can_be_taken_back: bool,
    mode: OnSwap,
    /// Which of the route's changes it is.
    pub(crate) change: u64,
    /// How many connections were open when it began.
    pub(crate) connections: usize,
    /// How many instances there were: for each connection its own, or those that are shared, also by nobody for a while.
    pub(crate) instances: usize,
    superseded: AtomicBool,
    decided: AtomicBool,
    tally: Mutex<Tally>,
    changed: Notify,
}

/// What has become of connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Served by the new version.
    pub(crate) moved: usize,
    /// With the old version, because they cannot go over.
    pub(crate) unsupported: usize,
    /// Why the first of them cannot.
    pub(crate) first_unsupported: Option<Unsupported>,
    /// With the old version, because the host had no room for both.
    pub(crate) no_room: usize,
    /// What the first of them lacked.
    pub(crate) first_no_room: Option<Reached>,
    /// With the old version, because the state is larger than `max-state-bytes`.
    pub(crate) too_large: usize,
    /// With the old version, because the new one did not take their state.
    pub(crate) failed: usize,
    /// Instances whose state the new one did not take: so that one peer in a full room is one failure.
    pub(crate) failed_instances: usize,
    /// Instances for whose successors there was no room: they are tried again.
    pub(crate) waiting_instances: usize,
    /// Ended with the old version, which failed when it was asked for its state.
    pub(crate) lost: usize,
    /// Why the first of them did not.
    pub(crate) first_failure: Option<String>,
    /// How long those that moved were without a handler: for each instance, with how many connections it had.
    pauses: Vec<(Duration, usize)>,
}

impl Tally {
    /// The time for which so many percent of those that moved were without a handler, or less; 0 if nobody has moved.
    pub(crate) fn pause(&self, percent: usize) -> Duration {
        let mut pauses = self.pauses.clone();
        pauses.sort_unstable();
        let connections: usize = pauses.iter().map(|(_, connections)| connections).sum();
        let mut left = (connections * percent).div_ceil(100);
        let within = pauses.iter().find(|(_, connections)| {
            let is_this = left <= *connections;
            left = left.saturating_sub(*connections);
            is_this
        });
        within.map_or(Duration::ZERO, |(pause, _)| *pause)
    }
}

/// What has become of one instance.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The new version serves it; so long nobody did.
    Moved(Duration),
    Stays(Stays),
}

/// Why the old version goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stays {
    /// It cannot go over.
    Unsupported(Unsupported),
    /// The state is larger than `max-state-bytes`.
    TooLarge,
    /// There was no memory or instance for the successor. It is [tried again](Again).
    NoRoom(Reached),
    /// The new version refused the state, trapped, or took too long.
    Failed(String),
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(why) => why.fmt(f),
            Self::TooLarge => f.write_str("the state is over `max-state-bytes`"),
            Self::NoRoom(reached) => write!(f, "no room ({reached})"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// An instance for whose successor there was no room, and that may go over later.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) rollout: Arc<Rollout>,
    /// Connections that the rollout counts among those without room.
    pub(crate) counted: usize,
    /// How often there was none.
    pub(crate) tries: u32,
    /// Bytes that its state may take, beside a second instance.
    pub(crate) state_bytes: usize,
    /// Places that it has.
    pub(crate) places: u32,
    /// The rollout counts it among those that wait.
    pub(crate) is_waiting: bool,
}

/// It has ended while it waited, or waits for another change: it is nobody's concern any more.
impl Drop for Again {
    fn drop(&mut self) {
        if self.is_waiting {
            self.rollout.note_gone();
        }
    }
}

impl Rollout {
    pub(crate) fn new(
        from: Option<Arc<Version>>,
        to: Arc<Version>,
        mode: OnSwap,
        change: u64,
        (connections, instances): (usize, usize),
    ) -> Self {
        Self {
            from,
            to,
            previous: None,
            can_be_taken_back: true,
            mode,
            change,
            connections,
            instances,
            superseded: AtomicBool::new(false),
            decided: AtomicBool::new(false),
            tally: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// What to go back to, if it can be taken back.
    pub(super) fn undone_by(self, previous: Option<Arc<Version>>, can_be_taken_back: bool) -> Self {
        Self { previous, can_be_taken_back, ..self }
    }

    /// What becomes of those who are there.
    pub(crate) fn mode(&self) -> OnSwap {
        self.mode
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.lock().clone()
    }

    /// Another change has begun: nobody goes over to this version any more.
    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Relaxed)
    }

    /// Everybody has been dealt with: unless some wait for room, or too many have failed, it is not taken back.
    pub(super) fn conclude(&self, max_failures_percent: u8) {
        let tally = self.lock();
        if tally.waiting_instances == 0 && !self.are_too_many(&tally, max_failures_percent) {
            self.decided.store(true, Ordering::Relaxed);
        }
        drop(tally);
        self.changed.notify_waiters();
    }

    /// Whether the version before it may still come back.
    pub(crate) fn may_be_taken_back(&self) -> bool {
        self.can_be_taken_back && !self.decided.load(Ordering::Relaxed) && !self.is_superseded()
    }

    /// Whether who is served by version `number` is to go over.
    pub(crate) fn migrates(&self, number: u32) -> bool {
        self.mode == OnSwap::Migrate && number != self.to.number && !self.is_superseded()
    }

    /// So many connections have been dealt with, for whom there was no room when they were `tried` before.
    pub(crate) fn note(&self, outcome: &Outcome, connections: usize, tried: Option<&mut Again>) {
        let mut tally = self.lock();
        if let Some(again) = tried
            && std::mem::take(&mut again.is_waiting)
        {
            tally.no_room = tally.no_room.saturating_sub(again.counted);
            tally.waiting_instances = tally.waiting_instances.saturating_sub(1);
        }
        match outcome {
            Outcome::Moved(pause) => {
                tally.moved += connections;
                tally.pauses.push((*pause, connections));
            }
            Outcome::Stays(Stays::Unsupported(why)) => {
                tally.unsupported += connections;
                tally.first_unsupported.get_or_insert(*why);
            }
            Outcome::Stays(Stays::TooLarge) => tally.too_large += connections,
            Outcome::Stays(Stays::NoRoom(reached)) => {
                tally.waiting_instances += 1;
                tally.no_room += connections;
                tally.first_no_room.get_or_insert(*reached);
            }
            Outcome::Stays(Stays::Failed(why)) => {
                tally.failed += connections;
                tally.failed_instances += 1;
                tally.first_failure.get_or_insert_with(|| why.clone());
            }
        }
        drop(tally);
        self.changed.notify_waiters();
    }

    /// An instance that waited for room has ended.
    fn note_gone(&self) {
        let mut tally = self.lock();
        tally.waiting_instances = tally.waiting_instances.saturating_sub(1);
        drop(tally);
        self.changed.notify_waiters();
    }

    /// So many connections have ended: the old version failed when it was asked for their state.
    pub(crate) fn note_lost(&self, connections: usize) {
        self.lock().lost += connections;
        self.changed.notify_waiters();
    }

    /// Resolves when something has been noted, or another change begun, since `looked_at` found nothing to do.
    pub(crate) async fn changed_unless<R>(&self, mut looked_at: impl FnMut() -> Option<R>) -> R {
        loop {
            let changed = self.changed.notified();
            if let Some(found) = looked_at() {
                return found;
            }
            changed.await;
        }
    }

    /// Whether so many have failed that the change is to be taken back.
    pub(crate) fn has_failed(&self, max_failures_percent: u8) -> bool {
        self.may_be_taken_back() && self.are_too_many(&self.lock(), max_failures_percent)
    }

    fn are_too_many(&self, tally: &Tally, max_failures_percent: u8) -> bool {
        tally.failed_instances > self.instances * usize::from(max_failures_percent) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::{HandlerSource, Runtime, RuntimeOptions};

    #[test]
    fn pauses_are_told_by_connections_and_not_by_instances() {
        let milliseconds = Duration::from_millis;
        // A room of 98, and two who are alone.
        let pauses = vec![(milliseconds(30), 1), (milliseconds(2), 98), (milliseconds(20), 1)];
        let tally = Tally { pauses, ..Tally::default() };
        let [median, ninety_nine, longest] = [50, 99, 100].map(|percent| tally.pause(percent));
        assert_eq!([median, ninety_nine, longest], [2, 20, 30].map(milliseconds));
        assert_eq!(Tally::default().pause(99), Duration::ZERO);
    }

    fn rollout() -> Arc<Rollout> {
        let limits = crate::limits::Limits::default();
        let options = RuntimeOptions { max_instances: 2, ..RuntimeOptions::default() };
        let runtime = Runtime::new(&options, [&limits]).expect("room for two instances");
        let echo = runtime.load(&HandlerSource::Echo, &limits).expect("the echo");
        let to = Arc::new(Version::new(2, echo, super::super::Origin::Program));
        Arc::new(Rollout::new(None, to, OnSwap::Migrate, 1, (4, 4)).undone_by(None, true))
    }

    #[test]
    fn what_waits_for_room_keeps_a_change_undecided_until_it_has_gone_over_or_ended() {
        let rollout = rollout();
        let reached = Reached { scope: crate::limits::Scope::Tenant, limit: "max-instances" };
        let waits = || {
            rollout.note(&Outcome::Stays(Stays::NoRoom(reached)), 1, None);
            let rollout = rollout.clone();
            Again { rollout, counted: 1, tries: 1, state_bytes: 0, places: 1, is_waiting: true }
        };
        let (mut one, other) = (waits(), waits());
        rollout.conclude(0);
        assert!(rollout.may_be_taken_back());
        rollout.note(&Outcome::Moved(Duration::ZERO), 1, Some(&mut one));
        drop(one);
        rollout.conclude(0);
        assert!(rollout.may_be_taken_back(), "one still waits");
        drop(other);
        rollout.conclude(0);
        assert!(!rollout.may_be_taken_back());
        assert_eq!((rollout.tally().moved, rollout.tally().waiting_instances), (1, 0));
        // Fewer failures being allowed changes nothing about what is decided.
        rollout.note(&Outcome::Stays(Stays::Failed("late".into())), 1, None);
        assert!(!rollout.has_failed(0));
    }

    #[test]
    fn too_many_failures_are_not_concluded_away() {
        let rollout = rollout();
        rollout.note(&Outcome::Stays(Stays::Failed("it refuses".into())), 1, None);
        rollout.conclude(10);
        assert!(rollout.has_failed(10));
        rollout.conclude(25);
        assert!(!rollout.has_failed(10));
    }
}
