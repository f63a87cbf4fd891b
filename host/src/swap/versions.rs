//! The versions of a route's handler: the one that newcomers get, the one before it, and the change between them that is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Canary, OnSwap, Origin, Rollout, Version};
use crate::handler::Handler;
use crate::handler::loading::{NotLoaded, RouteHandler};
use crate::server::addresses::Peer;
use crate::server::routes::InstanceKey;

/// See the module.
#[derive(Debug)]
pub(crate) struct Versions {
    state: Mutex<State>,
    /// Counts the changes. Whoever has seen this many need not look again: spares an event the lock.
    changes: AtomicU64,
    changed: Notify,
    /// Held by who changes them.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// Or why there is none.
    current: Result<Arc<Version>, NotLoaded>,
    /// What a part of the newcomers gets instead.
    canary: Option<Arc<Canary>>,
    /// Kept compiled, for who wants it back.
    previous: Option<Arc<Version>>,
    /// The latest change; it may be over.
    rollout: Option<Arc<Rollout>>,
    latest_number: u32,
    /// The current version stays until somebody says otherwise.
    pinned: bool,
    /// The number of the version that was taken back last.
    taken_back: Option<u32>,
    /// When each version that may still serve somebody was replaced, by number.
    replaced_at: BTreeMap<u32, Instant>,
}

/// Which versions there are at one moment: what is kept of a route from one start to the next.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) current: Option<Arc<Version>>,
    pub(crate) previous: Option<Arc<Version>>,
    pub(crate) latest_number: u32,
    pub(crate) pinned: bool,
    pub(crate) canary: Option<Arc<Canary>>,
    /// The number of the version that was taken back last, by this process.
    pub(crate) taken_back: Option<u32>,
}

impl Standing {
    /// Whether the current version has been put back after a later one.
    pub(crate) fn is_rolled_back(&self) -> bool {
        match (&self.current, &self.previous) {
            (Some(current), Some(previous)) => current.number < previous.number,
            _ => false,
        }
    }
}

impl Versions {
    pub(crate) fn new(handler: RouteHandler) -> Self {
        let current = match handler {
            RouteHandler::Loaded(handler) => Ok(Arc::new(Version::new(1, handler, Origin::Program))),
            RouteHandler::NotLoaded(missing) => Err(missing),
        };
        let state = State {
            current,
            canary: None,
            previous: None,
            rollout: None,
            latest_number: 1,
            pinned: false,
            taken_back: None,
            replaced_at: BTreeMap::new(),
        };
        Self {
            state: Mutex::new(state),
            changes: AtomicU64::new(0),
            changed: Notify::new(),
            changing: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a newcomer gets, for this key; none while there is none. A canary that cannot start is for nobody.
    pub(crate) fn for_newcomer(&self, key: Option<&InstanceKey>) -> Option<Arc<Version>> {
        let state = self.lock();
        match &state.canary {
            Some(canary) if canary.takes(key) && canary.version.start_pause.is_over() => {
                Some(canary.version.clone())
            }
            _ => state.current.as_ref().ok().cloned(),
        }
    }

    pub(crate) fn canary(&self) -> Option<Arc<Canary>> {
        self.lock().canary.clone()
    }

    /// From now on a part of the newcomers gets it. `peers` are those who are served by the current version.
    pub(crate) fn set_canary(&self, canary: Arc<Canary>, peers: Vec<Peer>) {
        let mut state = self.lock();
        if let Ok(current) = &state.current {
            current.health.reset();
            peers.into_iter().for_each(|peer| current.health.note_served(peer));
        }
        state.canary = Some(canary);
    }

    /// Whether newcomers get version `number`, all or some.
    pub(crate) fn serves(&self, number: u32) -> bool {
        let state = self.lock();
        let canary = state.canary.as_ref().map(|canary| canary.version.number);
        state.current.as_ref().is_ok_and(|current| current.number == number) || canary == Some(number)
    }

    /// Whether newcomers got version `number`, and get it no more. 0 is none: of a newcomer who has no place yet.
    pub(crate) fn has_replaced(&self, number: u32) -> bool {
        number != 0 && !self.serves(number)
    }

    /// What newcomers get who get no canary; none while there is none.
    pub(crate) fn current(&self) -> Option<Arc<Version>> {
        self.lock().current.as_ref().ok().cloned()
    }

    /// Why there is none.
    pub(crate) fn not_loaded(&self) -> Option<NotLoaded> {
        self.lock().current.as_ref().err().cloned()
    }

    /// Why there is none still. Of no importance where there is one.
    pub(crate) fn note_not_loaded(&self, missing: NotLoaded) {
        let mut state = self.lock();
        if state.current.is_err() {
            state.current = Err(missing);
        }
    }

    /// What was served before, if there was another.
    pub(crate) fn previous(&self) -> Option<Arc<Version>> {
        self.lock().previous.clone()
    }

    pub(crate) fn standing(&self) -> Standing {
        let state = self.lock();
        Standing {
            current: state.current.as_ref().ok().cloned(),
            previous: state.previous.clone(),
            latest_number: state.latest_number,
            pinned: state.pinned,
            canary: state.canary.clone(),
            taken_back: state.taken_back,
        }
    }

    /// Before anybody is served: these are the versions, and no change has led here. Without a current one there is none still.
    pub(crate) fn begin_with(&self, standing: Standing) {
        let mut state = self.lock();
        let Standing { current, previous, latest_number, pinned, canary, taken_back: _ } = standing;
        if let Some(current) = current {
            state.current = Ok(current);
        }
        (state.previous, state.latest_number, state.pinned) = (previous, latest_number, pinned);
        state.canary = canary;
    }

    /// The number of the version that must stay, if one must.
    pub(crate) fn pinned(&self) -> Option<u32> {
        let state = self.lock();
        state.current.as_ref().ok().filter(|_| state.pinned).map(|current| current.number)
    }

    /// From now on the current version stays, or may go. For who holds [`Versions::changing`].
    pub(crate) fn set_pinned(&self, pinned: bool) {
        self.lock().pinned = pinned;
    }

    /// How many changes there have been.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Resolves when there have been other changes than the first `seen`.
    pub(crate) async fn changed_since(&self, seen: u64) {
        loop {
            let changed = self.changed.notified();
            if self.changes() != seen {
                return;
            }
            changed.await;
        }
    }

    /// For who changes them: nobody else does until the guard is dropped.
    pub(crate) async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// A version that nobody is served by yet, from the program that embeds the host.
    pub(crate) fn candidate(&self, handler: Handler) -> Arc<Version> {
        self.candidate_from(handler, Origin::Program)
    }

    /// The same, from elsewhere.
    pub(crate) fn candidate_from(&self, handler: Handler, origin: Origin) -> Arc<Version> {
        let mut state = self.lock();
        state.latest_number += 1;
        Arc::new(Version::new(state.latest_number, handler, origin))
    }

    /// Somebody is served by version `number`. Counts only as long as there is a canary to compare.
    pub(crate) fn note_served(&self, number: u32, peer: Peer) {
        if let Some(version) = self.compared(number) {
            version.health.note_served(peer);
        }
    }

    /// It has failed while it served him.
    pub(crate) fn note_failed(&self, number: u32, peer: Peer) {
        if let Some(version) = self.compared(number) {
            version.health.note_failed(peer);
        }
    }

    fn compared(&self, number: u32) -> Option<Arc<Version>> {
        let state = self.lock();
        let canary = &state.canary.as_ref()?.version;
        let current = state.current.as_ref().ok();
        current.into_iter().chain([canary]).find(|version| version.number == number).cloned()
    }

    /// From now on newcomers get `to`, and those who are there, so many connections and instances, are treated as `mode` says. A change that was
    /// under way is over, and so is a canary: its connections go where all go.
    pub(crate) fn replace(
        &self,
        to: Arc<Version>,
        mode: OnSwap,
        served: (usize, usize),
        can_be_taken_back: bool,
    ) -> Arc<Rollout> {
        let mut state = self.lock();
        let from = state.current.as_ref().ok().cloned();
        let rollout = self.begin(&mut state, from.clone(), to, mode, served, can_be_taken_back);
        // The same once more is nothing to go back to.
        if from.as_ref().is_none_or(|from| from.handler.digest() != rollout.to.handler.digest()) {
            state.previous = from;
        }
        // It was the other one that was to stay.
        state.pinned = false;
        self.tell(state);
        rollout
    }

    /// Too many could not go over: all is as it was before `failed`. None if another change has begun since, or there was nothing before.
    pub(crate) fn take_back(&self, failed: &Rollout, served: (usize, usize)) -> Option<Arc<Rollout>> {
        let mut state = self.lock();
        let before = failed.from.clone().filter(|_| !failed.is_superseded())?;
        let from = Some(failed.to.clone());
        let rollout = self.begin(&mut state, from, before, OnSwap::Migrate, served, false);
        state.previous = failed.previous.clone();
        state.pinned = false;
        state.taken_back = Some(failed.to.number);
        self.tell(state);
        Some(rollout)
    }

    /// The canary's newcomers get the current version again, and those who are there go where `mode` says. None without a canary.
    pub(crate) fn withdraw(&self, mode: OnSwap, served: (usize, usize)) -> Option<Arc<Rollout>> {
        let mut state = self.lock();
        let from = Some(state.canary.as_ref()?.version.clone());
        let current = state.current.as_ref().ok().cloned()?;
        let rollout = self.begin(&mut state, from, current, mode, served, false);
        self.tell(state);
        Some(rollout)
    }

    fn begin(
        &self,
        state: &mut State,
        from: Option<Arc<Version>>,
        to: Arc<Version>,
        mode: OnSwap,
        served: (usize, usize),
        can_be_taken_back: bool,
    ) -> Arc<Rollout> {
        if let Some(earlier) = &state.rollout {
            earlier.supersede();
        }
        let canary = state.canary.take();
        for version in from.iter().chain(canary.as_ref().map(|canary| &canary.version)) {
            state.replaced_at.insert(version.number, Instant::now());
        }
        state.replaced_at.remove(&to.number);
        state.current = Ok(to.clone());
        let rollout = Rollout::new(from, to, mode, self.changes() + 1, served);
        let rollout = Arc::new(rollout.undone_by(state.previous.clone(), can_be_taken_back));
        state.rollout = Some(rollout.clone());
        rollout
    }

    /// What has begun is seen by all.
    fn tell(&self, state: MutexGuard<'_, State>) {
        self.changes.fetch_add(1, Ordering::Release);
        drop(state);
        self.changed.notify_waiters();
    }

    /// The versions that were replaced so long ago, by number; what is not `served` any more is forgotten.
    pub(crate) fn replaced_for(&self, time: Duration, served: &BTreeSet<u32>) -> BTreeSet<u32> {
        let mut state = self.lock();
        state.replaced_at.retain(|number, _| served.contains(number));
        state.replaced_at.iter().filter(|(_, at)| at.elapsed() >= time).map(|(number, _)| *number).collect()
    }

    /// The change by which who is served by version `number` goes over to the current one; none where it stays.
    pub(crate) fn migration_from(&self, number: u32) -> Option<Arc<Rollout>> {
        let state = self.lock();
        if state.canary.as_ref().is_some_and(|canary| canary.version.number == number) {
            return None;
        }
        state.rollout.as_ref().filter(|rollout| rollout.migrates(number)).cloned()
    }
}
