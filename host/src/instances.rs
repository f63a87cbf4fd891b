//! The live instances of one route: how many there may be, and those that several connections share. A shared instance is a task
//! with a mailbox, so that there is one call at a time.
//!
//! At any time a key has one live instance. A connection has at most one call in the mailbox, so that its connections are
//! served round robin. The instance stays for `linger` after its last connection, and goes at once if none of them ever
//! opened. A failed call ends it, and with it every connection it has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use wasmtime::component::ResourceAny;

use crate::endpoint::Endpoint;
use crate::handler::Handler;
use crate::instance::{Answer, Call, CallFailure, Instance};
use crate::limits::{Reached, Scope};
use crate::link::{Closing, Link};
use crate::party::Party;
use crate::processors::Turns;
use crate::routes::InstanceKey;

/// The live instances of one route.
#[derive(Debug)]
pub(crate) struct Instances {
    pub(crate) endpoint: Arc<Endpoint>,
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
        Arc::new(Self { endpoint, shared: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceKey, Live>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the instance for `key`, which is started, of `handler`, if there is none.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &InstanceKey,
        handler: Handler,
        party: &Party,
    ) -> Result<SharedPlace, Reached> {
        let link = &party.link;
        let mut shared = self.lock();
        let most = self.endpoint.route.limits.max_connections_per_instance as usize;
        if let Some(live) = shared.get_mut(key) {
            if live.seated.len() >= most {
                return Err(Reached { scope: Scope::Instance, limit: "max-connections-per-instance" });
            }
            live.seated.insert(link.address(), link.clone());
            return Ok(live.place());
        }
        let slot = self.endpoint.try_slot(handler)?;
        // A connection has one call in the mailbox, and one farewell.
        let (mailbox, letters) = mpsc::channel(2 * most);
        let live = Live {
            mailbox,
            seated: HashMap::from([(link.address(), link.clone())]),
            failure: Arc::default(),
            opened: false,
            generation: next_generation(),
        };
        let place = live.place();
        let actor = Actor {
            instances: self.clone(),
            key: key.clone(),
            generation: live.generation,
            failure: live.failure.clone(),
            letters,
            handlers: HashMap::new(),
        };
        shared.insert(key.clone(), live);
        drop(shared);
        let party = party.clone();
        let life = async move {
            let instance = Instance::new(&actor.instances.endpoint, slot, &party).await;
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
    /// The handler of each connection, by the address of its link. Kept here, so that none is lost when who asked for it has gone.
    handlers: HashMap<usize, ResourceAny>,
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
                Err((failure, asker)) => (failure, Some(asker)),
            },
            Err(failure) => (failure, None),
        };
        // First the key is free, then anybody is told: who comes back at once gets a new instance.
        self.end(failure);
        if let Some(asker) = asker {
            let _ = asker.send(Err(failure));
        }
        self.letters.close();
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
    async fn serve(&mut self, mut instance: Instance) -> Result<(), (CallFailure, AnswerSender)> {
        let mut empty_since: Option<Instant> = None;
        loop {
            let letter = match empty_since {
                None => self.letters.recv().await,
                Some(since) => {
                    match tokio::time::timeout_at(
                        since + self.instances.endpoint.route.limits.linger,
                        self.letters.recv(),
                    )
                    .await
                    {
                        Ok(letter) => letter,
                        Err(_) if self.instances.remove_if_empty(&self.key, self.generation) => return Ok(()),
                        Err(_) => {
                            empty_since = None;
                            continue;
                        }
                    }
                }
            };
            let Some(Letter { mut party, call, answer }) = letter else { return Ok(()) };
            let address = party.link.address();
            let (opens, leaves) = (matches!(call, Call::Open), matches!(call, Call::Drop));
            party.handler =
                if leaves { self.handlers.remove(&address) } else { self.handlers.get(&address).copied() };
            match instance.call(&party, call).await {
                Err(failure) => return Err((failure, answer)),
                Ok(result) => {
                    if let Answer::Constructed(handler) = result {
                        self.handlers.insert(address, handler);
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
