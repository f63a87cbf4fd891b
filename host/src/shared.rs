//! Instances that several connections share: one task each, with a mailbox, so that there is one call at a time.
//!
//! At any time a key has one live instance. A connection has at most one call in the mailbox, so that its connections are
//! served round robin. The instance stays for `linger` after its last connection, and goes at once if none of them ever
//! opened. A failed call ends it, and with it every connection it has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::handler::Handler;
use crate::instance::{Answer, Call, CallFailure, Instance, Party};
use crate::link::Link;
use crate::routes::{InstanceKey, Route};
use crate::topics::Topics;

/// The live shared instances of one route.
#[derive(Debug, Default)]
pub(crate) struct SharedInstances {
    live: Mutex<HashMap<InstanceKey, Live>>,
}

#[derive(Debug)]
struct Live {
    mailbox: mpsc::Sender<Letter>,
    connections: u32,
    /// One of its connections has opened.
    opened: bool,
    /// Tells this instance from an earlier one under the same key.
    generation: u64,
}

/// One call, and where its answer goes.
struct Letter {
    party: Party,
    call: Call,
    answer: oneshot::Sender<Result<Answer, CallFailure>>,
}

/// Why a connection cannot join.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JoinError {
    /// `max-instances` of the route, or the pool.
    TooManyInstances,
    /// `max-connections-per-instance`.
    TooManyConnections,
}

impl SharedInstances {
    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceKey, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the instance for `key`, which is started if there is none.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &InstanceKey,
        handler: &Handler,
        route: &Arc<Route>,
        topics: &Arc<Topics>,
        link: &Arc<Link>,
    ) -> Result<SharedPlace, JoinError> {
        let mut live = self.lock();
        let limits = &route.limits;
        if let Some(instance) = live.get_mut(key) {
            if instance.connections >= limits.max_connections_per_instance {
                return Err(JoinError::TooManyConnections);
            }
            instance.connections += 1;
            return Ok(SharedPlace {
                instances: self.clone(),
                key: key.clone(),
                generation: instance.generation,
                mailbox: instance.mailbox.clone(),
            });
        }
        if live.len() >= limits.max_instances as usize {
            return Err(JoinError::TooManyInstances);
        }
        let slot = handler.try_slot().ok_or(JoinError::TooManyInstances)?;
        // A connection has one call in the mailbox, and one farewell.
        let (mailbox, letters) = mpsc::channel(2 * limits.max_connections_per_instance as usize);
        let generation = next_generation();
        let actor = Actor { instances: self.clone(), key: key.clone(), generation, route: route.clone(), letters };
        let (handler, topics, link) = (handler.clone(), topics.clone(), link.clone());
        let instance_route = route.clone();
        tokio::spawn(async move {
            let instance = Instance::new(&handler, &instance_route, &topics, slot, &link).await;
            drop((handler, topics, link, instance_route));
            actor.run(instance).await;
        });
        live.insert(key.clone(), Live { mailbox: mailbox.clone(), connections: 1, opened: false, generation });
        Ok(SharedPlace { instances: self.clone(), key: key.clone(), generation, mailbox })
    }

    /// Runs `change` on the entry of an instance, if it is still that one.
    fn with<R>(&self, key: &InstanceKey, generation: u64, change: impl FnOnce(&mut Live) -> R) -> Option<R> {
        self.lock().get_mut(key).filter(|live| live.generation == generation).map(change)
    }

    fn remove(&self, key: &InstanceKey, generation: u64) {
        let mut live = self.lock();
        if live.get(key).is_some_and(|instance| instance.generation == generation) {
            live.remove(key);
        }
    }

    /// Removes an instance that has no connection; false if one has joined.
    fn remove_if_empty(&self, key: &InstanceKey, generation: u64) -> bool {
        let mut live = self.lock();
        let Some(instance) = live.get(key).filter(|instance| instance.generation == generation) else { return true };
        let empty = instance.connections == 0;
        if empty {
            live.remove(key);
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
    instances: Arc<SharedInstances>,
    key: InstanceKey,
    generation: u64,
    route: Arc<Route>,
    letters: mpsc::Receiver<Letter>,
}

impl Actor {
    async fn run(mut self, instance: Result<Instance, CallFailure>) {
        let failure = match instance {
            Ok(mut instance) => match self.serve(&mut instance).await {
                Ok(()) => return,
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        // Newcomers get a new instance; whoever is still seated learns why this one ended.
        self.instances.remove(&self.key, self.generation);
        self.letters.close();
        while let Some(letter) = self.letters.recv().await {
            let _ = letter.answer.send(Err(failure));
        }
    }

    /// Serves calls until the instance is empty for long enough.
    async fn serve(&mut self, instance: &mut Instance) -> Result<(), CallFailure> {
        let mut empty_since: Option<Instant> = None;
        loop {
            let letter = match empty_since {
                None => self.letters.recv().await,
                Some(since) => {
                    match tokio::time::timeout_at(since + self.route.limits.linger, self.letters.recv()).await {
                        Ok(letter) => letter,
                        Err(_) if self.instances.remove_if_empty(&self.key, self.generation) => return Ok(()),
                        Err(_) => {
                            empty_since = None;
                            continue;
                        }
                    }
                }
            };
            let Some(letter) = letter else { return Ok(()) };
            self.answer(instance, letter).await?;
            let (connections, opened) =
                self.instances.with(&self.key, self.generation, |live| (live.connections, live.opened)).unwrap_or((0, false));
            empty_since = (connections == 0).then(Instant::now);
            if connections == 0 && !opened && self.instances.remove_if_empty(&self.key, self.generation) {
                return Ok(());
            }
        }
    }

    async fn answer(&self, instance: &mut Instance, letter: Letter) -> Result<(), CallFailure> {
        let Letter { mut party, call, answer } = letter;
        let result = instance.call(&party, call).await;
        let failure = result.as_ref().err().copied();
        match (answer.send(result), failure) {
            (_, Some(failure)) => Err(failure),
            // Who asked for a handler has gone meanwhile: nobody else knows of it.
            (Err(Ok(Answer::Constructed(handler))), None) => {
                party.handler = Some(handler);
                instance.call(&party, Call::Drop).await.map(drop)
            }
            _ => Ok(()),
        }
    }
}

/// One connection's place in a shared instance.
#[derive(Debug)]
pub(crate) struct SharedPlace {
    instances: Arc<SharedInstances>,
    key: InstanceKey,
    generation: u64,
    mailbox: mpsc::Sender<Letter>,
}

impl SharedPlace {
    /// Asks the instance; waits for its turn.
    pub(crate) async fn call(&self, party: &Party, call: Call) -> Result<Answer, CallFailure> {
        let opens = matches!(call, Call::Open);
        let (answer, answered) = oneshot::channel();
        let letter = Letter { party: party.clone(), call, answer };
        // The mailbox is closed, or the answer dropped, only when the instance has failed.
        self.mailbox.send(letter).await.map_err(|_| CallFailure::Trapped)?;
        let result = answered.await.unwrap_or(Err(CallFailure::Trapped));
        if opens && result.is_ok() {
            self.instances.with(&self.key, self.generation, |live| live.opened = true);
        }
        result
    }

    /// The connection has ended: gives the handler back, if there is one, and leaves.
    pub(crate) fn leave(&self, party: Party) {
        self.instances.with(&self.key, self.generation, |live| live.connections -= 1);
        let (answer, _) = oneshot::channel();
        // Also wakes the instance, so that it notices when it is empty. Room is kept for it; if the instance has failed,
        // there is nothing to give back.
        let _ = self.mailbox.try_send(Letter { party, call: Call::Drop, answer });
    }
}
