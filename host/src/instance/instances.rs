//! The live instances of one route: how many there may be, and those that several connections share. A shared instance is a task
//! with a mailbox, so that there is one call at a time.
//!
//! At any time a key has one live instance. A connection has at most one call in the mailbox, so that its connections are
//! served round robin. The instance stays for `linger` after its last connection, and goes at once if none of them ever
//! opened, or if its version has been replaced for good. A failed call ends it, and with it every connection it has. When the handler is replaced it goes over to the new version whole,
//! between two calls, or stays with the old one, whoever joins it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use wasmtime::component::ResourceAny;

use crate::connection::close::CloseCause;
use crate::connection::link::{Closing, Link};
use crate::handler::endpoint::Endpoint;
use crate::instance::party::Party;
use crate::instance::seat::SeatError;
use crate::instance::spares::Spares;
use crate::instance::{Answer, Call, CallFailure, Instance};
use crate::limits::processors::Turns;
use crate::limits::{Reached, Scope};
use crate::server::routes::InstanceKey;
use crate::swap::{Rollout, Succession, Turn, Version, move_instance};

/// The live instances of one route.
#[derive(Debug)]
pub(crate) struct Instances {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) spares: Arc<Spares>,
    shared: Mutex<HashMap<InstanceKey, Live>>,
}

#[derive(Debug)]
struct Live {
    mailbox: mpsc::Sender<Letter>,
    /// Those who have a place, by the address of their link.
    seated: HashMap<usize, Arc<Link>>,
    /// Why it ended, if it has failed.
    failure: Arc<OnceLock<CallFailure>>,
    /// One of its connections has opened.
    opened: bool,
    /// The number of its version.
    version: u32,
    /// The route's changes that it has dealt with.
    changes_seen: u64,
    /// Its version has been replaced and its connections are closing: nobody joins it any more.
    retired: bool,
    /// Tells this instance from an earlier one under the same key.
    generation: u64,
}

impl Live {
    fn place(&self) -> SharedPlace {
        SharedPlace { mailbox: self.mailbox.clone(), failure: self.failure.clone() }
    }
}

/// One call, and where its answer goes.
struct Letter {
    party: Party,
    call: Call,
    answer: AnswerSender,
}

type AnswerSender = oneshot::Sender<Result<Answer, CallFailure>>;

impl Instances {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Arc<Self> {
        Arc::new(Self { spares: Spares::new(endpoint.clone()), endpoint, shared: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceKey, Live>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the instance for `key`, which is started, of `version`, if there is none.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &InstanceKey,
        version: Arc<Version>,
        party: &Party,
    ) -> Result<SharedPlace, SeatError> {
        let link = &party.link;
        let mut shared = self.lock();
        let most = self.endpoint.route.limits.max_connections_per_instance as usize;
        if let Some(live) = shared.get_mut(key) {
            if live.retired {
                return Err(SeatError::Replaced);
            }
            if live.seated.len() >= most {
                return Err(Reached { scope: Scope::Instance, limit: "max-connections-per-instance" }.into());
            }
            link.set_version(live.version);
            live.seated.insert(link.address(), link.clone());
            return Ok(live.place());
        }
        let number = version.number;
        let beginning = self.spares.begin(version)?;
        link.set_version(number);
        // A connection has one call in the mailbox, and one farewell.
        let (mailbox, letters) = mpsc::channel(2 * most);
        let live = Live {
            mailbox,
            seated: HashMap::from([(link.address(), link.clone())]),
            failure: Arc::default(),
            opened: false,
            version: number,
            changes_seen: 0,
            retired: false,
            generation: next_generation(),
        };
        let place = live.place();
        let actor = Actor {
            instances: self.clone(),
            key: key.clone(),
            generation: live.generation,
            failure: live.failure.clone(),
            letters,
            members: HashMap::new(),
            opening: 0,
            succession: Succession::new(self.endpoint.clone()),
            changes_noted: 0,
            held: VecDeque::new(),
        };
        shared.insert(key.clone(), live);
        drop(shared);
        let party = party.clone();
        let life = async move {
            let instance = beginning.instance(&actor.instances.endpoint, &party).await;
            drop(party);
            actor.run(instance).await;
        };
        tokio::spawn(Turns::new(self.endpoint.tenancy.clone(), life));
        Ok(place)
    }

    /// Runs `change` on the entry of an instance, if it is still that one.
    fn with<R>(&self, key: &InstanceKey, generation: u64, change: impl FnOnce(&mut Live) -> R) -> Option<R> {
        self.lock().get_mut(key).filter(|live| live.generation == generation).map(change)
    }

    /// Ends the instances whose version `is_over` and closes their connections: nobody joins them any more.
    pub(crate) fn retire(&self, is_over: impl Fn(&InstanceKey, u32) -> bool) {
        let mut links = Vec::new();
        self.lock().retain(|key, live| {
            if !is_over(key, live.version) {
                return true;
            }
            live.retired = true;
            links.extend(live.seated.values().cloned());
            // An empty one has nobody to close; without its mailbox it ends.
            !live.seated.is_empty()
        });
        // Not under the lock: whoever is woken wants it.
        for link in links {
            // What has ended needs no closing.
            let _ = link.close(Closing::Host(CloseCause::Replaced));
        }
    }

    /// The numbers of the versions that they are of.
    pub(crate) fn versions(&self) -> BTreeSet<u32> {
        self.lock().values().map(|live| live.version).collect()
    }

    /// How many are of another version than `number`, and have not dealt with the route's `change`.
    pub(crate) fn still_to_go(&self, number: u32, change: u64) -> usize {
        self.lock().values().filter(|live| live.version != number && live.changes_seen < change).count()
    }

    /// The instances whose version `is_over`.
    pub(crate) fn keys(&self, is_over: impl Fn(u32) -> bool) -> Vec<InstanceKey> {
        self.lock().iter().filter(|(_, live)| is_over(live.version)).map(|(key, _)| key.clone()).collect()
    }

    /// Removes an instance that has failed; newcomers get a new one. Returns who had a place in it.
    fn remove(&self, key: &InstanceKey, generation: u64) -> Vec<Arc<Link>> {
        let mut shared = self.lock();
        if shared.get(key).is_none_or(|live| live.generation != generation) {
            return Vec::new();
        }
        shared.remove(key).map(|live| live.seated.into_values().collect()).unwrap_or_default()
    }

    /// Removes an instance that has no connection; false if one has joined.
    fn remove_if_empty(&self, key: &InstanceKey, generation: u64) -> bool {
        let mut shared = self.lock();
        let Some(live) = shared.get(key).filter(|live| live.generation == generation) else { return true };
        let empty = live.seated.is_empty();
        if empty {
            shared.remove(key);
        }
        empty
    }
}

fn next_generation() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The task of one shared instance.
struct Actor {
    instances: Arc<Instances>,
    key: InstanceKey,
    generation: u64,
    failure: Arc<OnceLock<CallFailure>>,
    letters: mpsc::Receiver<Letter>,
    /// Whose handlers there are, by the address of their link. Kept here, so that none is lost when who asked for it has gone.
    members: HashMap<usize, Member>,
    /// How many of them have not opened.
    opening: usize,
    succession: Succession,
    /// The route's changes that its entry and its connections have been told it has dealt with.
    changes_noted: u64,
    /// Newcomers who wait until it has gone over to another version.
    held: VecDeque<Letter>,
}

struct Member {
    party: Party,
    opened: bool,
}

/// What an instance does next.
enum Next {
    Serve(Letter),
    Succeed(Turn),
    /// It has been empty for long enough.
    Lingered,
    /// Nobody can ask it any more.
    Over,
}

/// Also when its task panics or is dropped with the runtime: a key must not stay with a dead instance.
impl Drop for Actor {
    fn drop(&mut self) {
        self.end(CallFailure::Trapped);
    }
}

impl Actor {
    async fn run(mut self, instance: Result<Instance, CallFailure>) {
        let (failure, asker) = match instance {
            Ok(instance) => match self.serve(instance).await {
                Ok(()) => return,
                Err((failure, asker)) => (failure, asker),
            },
            Err(failure) => (failure, None),
        };
        // First the key is free, then anybody is told: who comes back at once gets a new instance.
        self.end(failure);
        if let Some(asker) = asker {
            let _ = asker.send(Err(failure));
        }
        self.letters.close();
        for letter in self.held.drain(..) {
            let _ = letter.answer.send(Err(failure));
        }
        while let Some(letter) = self.letters.recv().await {
            let _ = letter.answer.send(Err(failure));
        }
    }

    /// Frees the key and closes every connection of the instance; once, for whatever reason comes first.
    fn end(&mut self, failure: CallFailure) {
        self.failure.get_or_init(|| failure);
        for link in self.instances.remove(&self.key, self.generation) {
            // Whose own call failed is told so already; one that has ended needs no closing.
            let _ = link.close(Closing::Host(failure.into()));
        }
    }

    /// Serves calls until the instance is empty for long enough; or fails, and gives back who is still to be told.
    async fn serve(&mut self, mut instance: Instance) -> Result<(), (CallFailure, Option<AnswerSender>)> {
        let mut empty_since: Option<Instant> = None;
        loop {
            let letter = match self.next(instance.version().number, empty_since).await {
                Next::Serve(letter) => letter,
                Next::Succeed(turn) => {
                    self.succeed(&mut instance, turn).await.map_err(|failure| (failure, None))?;
                    continue;
                }
                Next::Lingered if self.instances.remove_if_empty(&self.key, self.generation) => return Ok(()),
                Next::Lingered => {
                    empty_since = None;
                    continue;
                }
                Next::Over => return Ok(()),
            };
            let Letter { mut party, call, answer } = letter;
            let address = party.link.address();
            let (opens, leaves) = (matches!(call, Call::Open), matches!(call, Call::Drop));
            party.handler = if leaves {
                self.remove_member(address)
            } else {
                self.members.get(&address).and_then(|member| member.party.handler)
            };
            match instance.call(&party, call).await {
                Err(failure) => return Err((failure, Some(answer))),
                Ok(result) => {
                    if let Answer::Constructed(handler) = result {
                        party.handler = Some(handler);
                        party.link.set_version(instance.version().number);
                        party.link.set_changes_seen(self.succession.changes_seen());
                        self.members.insert(address, Member { party, opened: false });
                        self.opening += 1;
                    } else if opens && let Some(member) = self.members.get_mut(&address) {
                        member.opened = true;
                        self.opening -= 1;
                    }
                    // Who has gone meanwhile has sent its farewell, too.
                    let _ = answer.send(Ok(result));
                }
            }
            let (empty, opened) = self
                .instances
                .with(&self.key, self.generation, |live| {
                    live.opened |= opens;
                    if leaves {
                        live.seated.remove(&address);
                    }
                    (live.seated.is_empty(), live.opened)
                })
                .unwrap_or((true, false));
            empty_since = empty.then(Instant::now);
            if empty && !opened && self.instances.remove_if_empty(&self.key, self.generation) {
                return Ok(());
            }
        }
    }

    /// The handler of who leaves. A call of his that is held is for nobody any more.
    fn remove_member(&mut self, address: usize) -> Option<ResourceAny> {
        self.held.retain(|letter| letter.party.link.address() != address);
        let member = self.members.remove(&address)?;
        if !member.opened {
            self.opening -= 1;
        }
        member.party.handler
    }

    /// What to do next. Once it is its turn to go over to another version, newcomers wait, and it goes over as soon as nobody is between
    /// constructor and `open`: those have been promised by the old version what only the old one knows. A peer that takes long to open keeps
    /// nobody's turn. Until then it serves newcomers, too: who is before it may take long.
    async fn next(&mut self, number: u32, empty_since: Option<Instant>) -> Next {
        loop {
            let changes = self.instances.endpoint.versions.changes();
            let leaving = self.look(number);
            let was_called = leaving && self.succession.was_called();
            if !was_called && let Some(letter) = self.held.pop_front() {
                return Next::Serve(letter);
            }
            let endpoint = &self.instances.endpoint;
            // Nobody comes back to a version that has been replaced for good.
            let retired = self.is_retired();
            let undecided = empty_since.filter(|_| !retired).and_then(|_| self.undecided(number));
            let may_go_on = undecided.is_some() || self.succession.is_postponed();
            let goes_on = !retired && (may_go_on || endpoint.versions.serves(number));
            let linger = if goes_on { endpoint.route.limits.linger } else { Duration::ZERO };
            let decided = async {
                match &undecided {
                    Some(rollout) => {
                        rollout.changed_unless(|| (!rollout.may_be_taken_back()).then_some(())).await
                    }
                    None => pending().await,
                }
            };
            let lingered = async {
                match empty_since {
                    Some(since) => tokio::time::sleep_until(since + linger).await,
                    None => pending().await,
                }
            };
            let succession = &mut self.succession;
            let somebody_opens = self.opening > 0;
            let turn = poll_fn(|cx| match (leaving, somebody_opens) {
                (true, false) => succession.poll_turn(number, cx).map(Some),
                (true, true) => succession.poll_call(number, cx).map(|()| None),
                (false, _) => succession.poll_again(cx).map(|()| None),
            });
            tokio::select! {
                biased;
                turn = turn, if !(was_called && somebody_opens) => {
                    if let Some(turn) = turn {
                        return Next::Succeed(turn);
                    }
                    // It is to go over, after all, or was called, and newcomers wait.
                }
                letter = self.letters.recv() => match letter {
                    None => return Next::Over,
                    Some(letter) if was_called && matches!(letter.call, Call::Construct) => {
                        self.held.push_back(letter);
                    }
                    Some(letter) => return Next::Serve(letter),
                },
                () = lingered, if !leaving => return Next::Lingered,
                () = decided => {}
                () = endpoint.versions.changed_since(changes) => {}
            }
        }
    }

    fn is_retired(&self) -> bool {
        self.instances.with(&self.key, self.generation, |live| live.retired).unwrap_or(false)
    }

    /// The change by which its version was replaced, as long as that may be taken back.
    fn undecided(&self, number: u32) -> Option<Arc<Rollout>> {
        let rollout = self.instances.endpoint.versions.migration_from(number);
        rollout.filter(|rollout| rollout.may_be_taken_back())
    }

    /// Whether there is another version to go over to; if not, it has dealt with the latest change, and so have its connections.
    fn look(&mut self, number: u32) -> bool {
        if !self.succession.must_look() {
            return false;
        }
        let leaving = self.succession.look(number);
        if !leaving {
            self.note_changes_seen();
        }
        leaving
    }

    /// Of each member, so only where there is something new: who waits for room looks at each of its letters.
    fn note_changes_seen(&mut self) {
        let changes = self.succession.changes_seen();
        if std::mem::replace(&mut self.changes_noted, changes) == changes {
            return;
        }
        self.instances.with(&self.key, self.generation, |live| live.changes_seen = changes);
        for member in self.members.values() {
            member.party.link.set_changes_seen(changes);
        }
    }

    /// Goes over to another version, with everybody who is there, or with nobody.
    async fn succeed(&mut self, instance: &mut Instance, turn: Turn) -> Result<(), CallFailure> {
        let mut parties: Vec<Party> = self.members.values().map(|member| member.party.clone()).collect();
        let endpoint = self.instances.endpoint.clone();
        let again = move_instance(&endpoint, instance, &mut parties, turn, true).await?;
        self.succession.postpone(again);
        for party in parties {
            if let Some(member) = self.members.get_mut(&party.link.address()) {
                member.party = party;
            }
        }
        let number = instance.version().number;
        self.instances.with(&self.key, self.generation, |live| live.version = number);
        self.note_changes_seen();
        Ok(())
    }
}

/// One connection's place in a shared instance.
#[derive(Debug)]
pub(crate) struct SharedPlace {
    mailbox: mpsc::Sender<Letter>,
    failure: Arc<OnceLock<CallFailure>>,
}

impl SharedPlace {
    /// Asks the instance; waits for its turn.
    pub(crate) async fn call(&self, party: &Party, call: Call) -> Result<Answer, CallFailure> {
        let (answer, answered) = oneshot::channel();
        let letter = Letter { party: party.clone(), call, answer };
        // The mailbox is closed, or the answer dropped, only when the instance has failed.
        let failed = || Err(self.failure.get().copied().unwrap_or(CallFailure::Trapped));
        if self.mailbox.send(letter).await.is_err() {
            return failed();
        }
        answered.await.unwrap_or_else(|_| failed())
    }

    /// The connection has ended: gives the handler back, if there is one, and leaves. The place is free once that is served, so that
    /// no connection has more than one call and this farewell in the mailbox.
    pub(crate) fn leave(&self, party: Party) {
        let (answer, _) = oneshot::channel();
        // Fails only if the instance has: then there is nothing to give back.
        let _ = self.mailbox.try_send(Letter { party, call: Call::Drop, answer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::{HandlerSource, Runtime, RuntimeOptions};
    use crate::server::routes::{Pattern, Route};
    use crate::swap::{Again, OnSwap};

    const ECHO: &str = include_str!("../handler/echo.wat");

    /// Of a route that is alone with the echo.
    fn actor() -> Actor {
        let route = Route::new("test", Pattern::new("/").expect("a pattern"));
        let runtime = Runtime::new(&RuntimeOptions::default(), [&route.limits]).expect("address space");
        let handler = runtime.load(&HandlerSource::Bytes(ECHO.as_bytes().to_vec().into()), &route.limits);
        let handler = handler.unwrap_or_else(|error| panic!("{error}"));
        let endpoint = Endpoint::alone(Arc::new(route), handler);
        let instances = Instances::new(endpoint.clone());
        let key = InstanceKey::default();
        let (mailbox, letters) = mpsc::channel(1);
        let live = Live {
            mailbox,
            seated: HashMap::new(),
            failure: Arc::default(),
            opened: true,
            version: 1,
            changes_seen: 0,
            retired: false,
            generation: 0,
        };
        instances.lock().insert(key.clone(), live);
        Actor {
            instances,
            key,
            generation: 0,
            failure: Arc::default(),
            letters,
            members: HashMap::new(),
            opening: 0,
            succession: Succession::new(endpoint),
            changes_noted: 0,
            held: VecDeque::new(),
        }
    }

    impl Actor {
        /// What the entry is told once it is asked for its next letter.
        fn noted(&mut self) -> u64 {
            assert!(!self.look(1), "it stays");
            self.instances
                .with(&self.key, 0, |live| std::mem::take(&mut live.changes_seen))
                .expect("it lives")
        }
    }

    #[tokio::test]
    async fn that_a_change_is_dealt_with_is_noted_once_however_often_an_instance_looks_for_room() {
        let mut actor = actor();
        let versions = &actor.instances.endpoint.versions;
        let handler = versions.current().expect("it was loaded").handler.clone();
        let change = |handler| versions.replace(versions.candidate(handler), OnSwap::Drain, (1, 1), true);
        let rollout = change(handler.clone());
        assert_eq!(actor.noted(), 1);
        actor.succession.postpone(Some(Again {
            rollout,
            counted: 1,
            tries: 1,
            state_bytes: 0,
            places: 1,
            is_waiting: true,
        }));
        assert!(actor.succession.must_look());
        assert_eq!(actor.noted(), 0, "nothing is new");
        let versions = &actor.instances.endpoint.versions;
        versions.replace(versions.candidate(handler), OnSwap::Drain, (1, 1), true);
        assert_eq!(actor.noted(), 2);
    }
}
