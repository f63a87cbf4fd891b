//! Instances that a route has made before anybody needs them (`spare-instances`), so that a connection does not wait until one is made.
//!
//! A spare is an instance of the route's current version that serves nobody yet: instantiated, its start functions run, its slot taken; in
//! every limit and count it is an instance like any other. Whoever needs a new one takes it, for good: no two connections ever see the same,
//! unless they share instances anyway. Others are made in its place by a task of the tenant's, one after the other, at the
//! tenant's own cost. Canaries have none.
//!
//! A spare is the first to go. Before somebody of its tenant is refused for want of room it is given up, and for a moment none is made.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::party::Party;
use super::{CallFailure, Instance};
use crate::handler::endpoint::{Endpoint, Slot};
use crate::limits::Reached;
use crate::limits::idle::{Idle, Of};
use crate::limits::processors::Turns;
use crate::server::routes::MAX_SPARE_INSTANCES;
use crate::swap::Version;

/// How long after one is taken the next is made: whoever took it opens meanwhile, and has the processor and the process's map of memory to
/// himself.
const HEAD_START: Duration = Duration::from_millis(10);
/// How long after there was no room for a spare, or one was given up, the next one is made; each time after that twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// At most.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The spares of one route.
pub(crate) struct Spares {
    endpoint: Arc<Endpoint>,
    /// How many there are to be.
    wanted: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// All of the version that was the current one when they were made.
    ready: Vec<Instance>,
    /// Of other versions, or from before the end: they are taken apart one after the other, by the same task.
    outdated: Vec<Instance>,
    /// Makes more, as long as some are wanting.
    maker: Option<AbortHandle>,
    /// Room is short: until then none is made.
    rests_until: Option<Instant>,
    /// There will be none any more.
    ended: bool,
}

impl fmt::Debug for Spares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, .. } = self;
        f.debug_struct("Spares").field("wanted", wanted).field("ready", &self.lock().ready.len()).finish()
    }
}

/// What a connection's instance begins as.
pub(crate) enum Beginning {
    /// It has been made. Boxed: most have not.
    Spare(Box<Instance>),
    Slot(Slot),
}

impl Beginning {
    /// The instance, which serves `party` from now on.
    pub(crate) async fn instance(
        self,
        endpoint: &Arc<Endpoint>,
        party: &Party,
    ) -> Result<Instance, CallFailure> {
        match self {
            Self::Spare(mut instance) => {
                instance.begin_to_serve();
                Ok(*instance)
            }
            Self::Slot(slot) => Instance::new(endpoint, slot, Some(party)).await,
        }
    }
}

/// What the task does next that makes spares.
enum Next {
    Discard(Box<Instance>),
    Make(Arc<Version>),
    Wait(Duration),
    /// Nothing is wanting.
    End,
}

impl Spares {
    /// None as yet: [`refill`](Self::refill) begins.
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Arc<Self> {
        let route = &endpoint.route;
        let wanted = route.spare_instances.min(route.limits.max_instances).min(MAX_SPARE_INSTANCES) as usize;
        let spares = Arc::new(Self { endpoint, wanted, state: Mutex::default() });
        if wanted > 0 {
            let idle: Arc<dyn Idle> = spares.clone();
            spares.endpoint.tenancy.idle.add(Arc::downgrade(&idle));
        }
        spares
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a newcomer would find one of this version.
    pub(crate) fn has(&self, version: &Arc<Version>) -> bool {
        self.wanted > 0 && self.lock().ready.iter().any(|spare| Arc::ptr_eq(spare.version(), version))
    }

    /// For somebody who needs an instance of `version`: a spare, or else a slot, before which spares give way.
    ///
    /// # Errors
    /// There is no room, nor anything that could give way.
    pub(crate) fn begin(self: &Arc<Self>, version: Arc<Version>) -> Result<Beginning, Reached> {
        if let Some(spare) = self.take(&version) {
            return Ok(Beginning::Spare(Box::new(spare)));
        }
        self.endpoint.take_slot(&version).map(Beginning::Slot)
    }

    fn take(self: &Arc<Self>, version: &Arc<Version>) -> Option<Instance> {
        if self.wanted == 0 {
            return None;
        }
        let mut state = self.lock();
        // The latest: what it has touched is the warmest.
        let at = state.ready.iter().rposition(|spare| Arc::ptr_eq(spare.version(), version));
        let spare = at.map(|at| state.ready.remove(at));
        self.note_ready(&state);
        drop(state);
        // Of a canary there never is one.
        if spare.is_some() || self.is_current(version) {
            self.endpoint.metrics.spares.count_take(spare.is_some());
        }
        self.refill();
        spare
    }

    fn is_current(&self, version: &Arc<Version>) -> bool {
        self.endpoint.versions.current().is_some_and(|current| Arc::ptr_eq(&current, version))
    }

    /// Another version may be the current one: those of others go, and are replaced.
    pub(crate) fn renew(self: &Arc<Self>) {
        if self.wanted == 0 {
            return;
        }
        let mut state = self.lock();
        // The lock is held until they are out, so that none is put in meanwhile that was current before.
        let State { ready, outdated, .. } = &mut *state;
        outdated.extend(ready.extract_if(.., |spare| !self.is_current(spare.version())));
        self.note_ready(&state);
        self.begin_maker(state);
    }

    /// Has as many made as are wanting, beside whoever calls this.
    pub(crate) fn refill(self: &Arc<Self>) {
        let state = self.lock();
        self.begin_maker(state);
    }

    /// If there is anything to do, and nobody does it.
    fn begin_maker(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let has_maker = state.maker.as_ref().is_some_and(|maker| !maker.is_finished());
        let has_all = state.ended || state.ready.len() >= self.wanted;
        if has_maker || has_all && state.outdated.is_empty() {
            return;
        }
        let work = Turns::new(self.endpoint.tenancy.clone(), make_all(Arc::downgrade(self)));
        match Handle::try_current() {
            Ok(threads) => state.maker = Some(threads.spawn(work).abort_handle()),
            // The runtime has ended, and with it whoever could use one.
            Err(_) => drop(std::mem::take(&mut state.outdated)),
        }
    }

    /// There are none from now on.
    pub(crate) fn end(self: &Arc<Self>) {
        let mut state = self.lock();
        state.ended = true;
        let State { ready, outdated, .. } = &mut *state;
        outdated.append(ready);
        self.note_ready(&state);
        // It may wait for longer than they should be there.
        if let Some(maker) = state.maker.take() {
            maker.abort();
        }
        self.begin_maker(state);
    }

    fn note_ready(&self, state: &State) {
        self.endpoint.metrics.spares.set_ready(state.ready.len());
    }

    fn next(&self) -> Next {
        let current = self.endpoint.versions.current();
        let mut state = self.lock();
        if let Some(outdated) = state.outdated.pop() {
            return Next::Discard(Box::new(outdated));
        }
        let version = current.filter(|_| !state.ended && state.ready.len() < self.wanted);
        let Some(version) = version else {
            // Under the lock: whoever takes one next begins another task.
            state.maker = None;
            return Next::End;
        };
        let rest = state.rests_until.map(|until| until.saturating_duration_since(Instant::now()));
        rest.filter(|rest| !rest.is_zero()).map_or(Next::Make(version), Next::Wait)
    }

    /// Makes one of `version`.
    async fn make_one(&self, version: Arc<Version>) -> Result<(), Wanting> {
        // Nothing gives way to it.
        let slot = self.endpoint.try_slot(version.clone()).map_err(|_| Wanting::Room)?;
        if let Some(left) = version.start_pause.left() {
            return Err(Wanting::Start(left));
        }
        match Instance::new(&self.endpoint, slot, None).await {
            Ok(instance) => {
                self.put(instance);
                Ok(())
            }
            Err(failure) if failure.reached().is_some() => Err(Wanting::Room),
            // The pause that has begun is waited for next.
            Err(_) => Ok(()),
        }
    }

    fn put(&self, instance: Instance) {
        let mut state = self.lock();
        let is_wanted =
            !state.ended && state.ready.len() < self.wanted && self.is_current(instance.version());
        if is_wanted {
            state.ready.push(instance);
            self.note_ready(&state);
        }
    }
}

/// Why there is no spare.
enum Wanting {
    Room,
    /// Its version cannot start: for so long it is not tried again.
    Start(Duration),
}

impl Idle for Spares {
    fn count(&self, of: Of<'_>) -> usize {
        let counts = |spare: &&Instance| match of {
            Of::Anything => true,
            Of::Class(class) => spare.version().handler.code_class() == class,
            Of::Route(name) => self.endpoint.route.name == name,
        };
        let state = self.lock();
        state.ready.iter().chain(&state.outdated).filter(counts).count()
    }

    fn give_up_one(&self) -> bool {
        let mut state = self.lock();
        let given_up = state.outdated.pop().or_else(|| state.ready.pop());
        state.rests_until = Some(Instant::now() + FIRST_WAIT);
        self.note_ready(&state);
        drop(state);
        given_up.is_some()
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        if let Some(maker) = self.lock().maker.take() {
            maker.abort();
        }
    }
}

/// Makes spares until as many are there as are wanted. While it waits it keeps nothing but the endpoint.
async fn make_all(spares: Weak<Spares>) {
    tokio::time::sleep(HEAD_START).await;
    let mut short = 0;
    loop {
        let (wait, endpoint, changes) = {
            let Some(spares) = spares.upgrade() else { return };
            let endpoint = spares.endpoint.clone();
            let changes = endpoint.versions.changes();
            let wait = match spares.next() {
                Next::End => return,
                Next::Discard(instance) => {
                    drop(instance);
                    None
                }
                Next::Wait(time) => Some(time),
                Next::Make(version) => match spares.make_one(version).await {
                    Ok(()) => {
                        short = 0;
                        None
                    }
                    Err(Wanting::Start(left)) => Some(left),
                    Err(Wanting::Room) => {
                        short += 1;
                        Some(wait(short))
                    }
                },
            };
            (wait, endpoint, changes)
        };
        match wait {
            // Another version may be able to start.
            Some(time) => {
                let _ = tokio::time::timeout(time, endpoint.versions.changed_since(changes)).await;
            }
            // Each is as much work as a connection's own.
            None => tokio::task::yield_now().await,
        }
    }
}

/// After so many times that there was no room.
fn wait(times: u32) -> Duration {
    FIRST_WAIT
        .saturating_mul(1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX))
        .min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::{HandlerSource, Runtime, RuntimeOptions};
    use crate::limits::TenantLimits;
    use crate::server::routes::{Pattern, Route};

    const ECHO: &str = include_str!("../handler/echo.wat");

    /// The spares of a route that is alone with the echo, of which this text is a changed one.
    fn spares(echo: &str, change: impl FnOnce(&mut Route)) -> Arc<Spares> {
        let mut route = Route::new("test", Pattern::new("/").expect("a pattern"));
        route.limits.cpu_per_event = Duration::from_secs(20);
        change(&mut route);
        let options = RuntimeOptions { max_instances: 8, ..RuntimeOptions::default() };
        let runtime = Runtime::new(&options, [&route.limits]).expect("address space");
        let handler = runtime.load(&HandlerSource::Bytes(echo.to_owned().into()), &route.limits);
        let handler = handler.unwrap_or_else(|error| panic!("{error}"));
        Spares::new(Endpoint::alone(Arc::new(route), handler))
    }

    fn ready(spares: &Spares) -> usize {
        spares.endpoint.metrics.spares.ready()
    }

    async fn are_ready(spares: &Spares, count: usize) {
        while ready(spares) != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn current(spares: &Spares) -> Arc<Version> {
        spares.endpoint.versions.current().expect("it was loaded")
    }

    fn takes(spares: &Spares) -> [u64; 2] {
        spares.endpoint.metrics.spares.takes().map(|(_, count)| count)
    }

    fn traps(spares: &Spares) -> u64 {
        spares.endpoint.metrics.traps().map(|(_, count)| count).sum()
    }

    fn is_spare(begun: &Result<Beginning, Reached>) -> bool {
        matches!(begun, Ok(Beginning::Spare(_)))
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_are_made_as_there_are_to_be_and_another_for_each_that_is_taken() {
        let spares = spares(ECHO, |route| route.spare_instances = 2);
        let first = spares.begin(current(&spares));
        assert!(matches!(&first, Ok(Beginning::Slot(_))), "nobody has made any");
        for found in 1..=4 {
            are_ready(&spares, 2).await;
            assert_eq!(spares.endpoint.live_instances(), 3);
            assert!(is_spare(&spares.begin(current(&spares))));
            assert_eq!((ready(&spares), takes(&spares)), (1, [found, 1]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_of_another_version_are_nobodys_and_go_when_it_is_the_current_one() {
        let spares = spares(ECHO, |route| route.spare_instances = 2);
        spares.refill();
        are_ready(&spares, 2).await;
        let versions = &spares.endpoint.versions;
        let other = versions.candidate(current(&spares).handler.clone());
        assert!(!spares.has(&other) && spares.has(&current(&spares)));
        assert!(!is_spare(&spares.begin(other.clone())));
        assert_eq!(takes(&spares), [0, 0], "a canary is not counted");
        let old = current(&spares);
        let slot = spares.endpoint.try_slot(old.clone()).expect("room");
        let late = Instance::new(&spares.endpoint, slot, None).await.expect("it starts");
        versions.replace(other.clone(), crate::swap::OnSwap::Migrate, (0, 0), true);
        spares.renew();
        assert_eq!(ready(&spares), 0);
        spares.put(late);
        assert!(!spares.has(&old), "it was made too late");
        are_ready(&spares, 2).await;
        assert!(spares.has(&other));
        assert_eq!(spares.endpoint.live_instances(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn they_give_way_to_who_finds_no_room_and_are_not_made_again_at_once() {
        for of_route in [true, false] {
            let spares = spares(ECHO, |route| {
                route.spare_instances = 3;
                let total = TenantLimits { max_instances: 3, ..TenantLimits::default() };
                if of_route { route.limits.max_instances = 3 } else { route.tenant.total = total }
            });
            spares.refill();
            are_ready(&spares, 3).await;
            // A canary's, which takes none.
            let other = spares.endpoint.versions.candidate(current(&spares).handler.clone());
            let begun: Vec<_> = (0..2).map(|_| spares.begin(other.clone())).collect();
            assert!(begun.iter().all(|begun| matches!(begun, Ok(Beginning::Slot(_)))));
            assert_eq!(ready(&spares), 1);
            drop(begun);
            tokio::time::sleep(FIRST_WAIT / 2).await;
            assert_eq!(ready(&spares), 1);
            spares.refill();
            tokio::time::sleep(FIRST_WAIT).await;
            are_ready(&spares, 3).await;
            let all: Vec<_> = (0..3).map(|_| spares.begin(other.clone())).collect();
            assert!(all.iter().all(Result::is_ok) && spares.begin(other).is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn memory_that_they_have_is_there_for_who_is_refused_more() {
        let spares = spares(ECHO, |route| {
            route.spare_instances = 5;
            route.tenant.total.max_memory_bytes = 2 << 20;
        });
        spares.refill();
        are_ready(&spares, 4).await;
        let tenancy = &spares.endpoint.tenancy;
        assert!(tenancy.try_memory(1 << 20).is_err(), "four of 6 pages and what each takes beside");
        assert!(tenancy.take_memory(1 << 20).is_ok());
        assert!((1..4).contains(&ready(&spares)), "no more of them than it takes");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_start_is_tried_when_its_pause_is_over_and_a_version_that_can_is_not_kept_waiting() {
        let broken = ECHO.replacen("(func $slot", "(start $trap)\n(func $trap unreachable)\n(func $slot", 1);
        let spares = spares(&broken, |route| route.spare_instances = 2);
        spares.refill();
        // After 0, 1, 3, 7, and 15 seconds.
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!((traps(&spares), ready(&spares)), (5, 0));
        assert!(current(&spares).start_pause.left().is_some(), "newcomers wait, too");
        let good = self::spares(ECHO, |_| {});
        let versions = &spares.endpoint.versions;
        let good = versions.candidate(current(&good).handler.clone());
        let now = Instant::now();
        versions.replace(good, crate::swap::OnSwap::Migrate, (0, 0), true);
        spares.renew();
        are_ready(&spares, 2).await;
        assert!(now.elapsed() < FIRST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_they_go_with_what_they_had_and_none_is_made_any_more() {
        let spares = spares(ECHO, |route| route.spare_instances = 2);
        let slots = current(&spares).handler.free_slots();
        spares.refill();
        are_ready(&spares, 2).await;
        spares.end();
        spares.refill();
        spares.renew();
        tokio::time::sleep(LONGEST_WAIT).await;
        assert_eq!((ready(&spares), spares.endpoint.live_instances()), (0, 0));
        assert_eq!(current(&spares).handler.free_slots(), slots);
        assert!(!is_spare(&spares.begin(current(&spares))));
    }

    #[test]
    fn where_there_is_no_room_it_is_looked_for_less_and_less_often() {
        assert_eq!([1, 2, 5, 6, 40, u32::MAX].map(|times| wait(times).as_secs()), [1, 2, 16, 30, 30, 30]);
    }
}
