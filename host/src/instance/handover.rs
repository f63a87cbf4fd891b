//! How one instance's work goes over to another: `suspend` in the one, `resume` in the other.
//!
//! Until the successor has taken everything it serves nobody, and nothing has happened to the predecessor: while either of them is asked,
//! imports that act or wait are refused.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::ResourceAny;

use super::{CallFailure, Instance, begin_event, cause, report, trap_cause, whereabouts};
use crate::connection::compression::Reservation;
use crate::handler::endpoint::{Endpoint, SlotPermits};
use crate::imports::{ConnectionHandle, RequestHandle};
use crate::instance::meter::Metered;
use crate::instance::party::Party;
use crate::limits::Reached;
use crate::swap::{Stays, Unsupported, Version};
use crate::units::shown;

/// What a successor needs to go on.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What all handlers have in common, if the component exports `shared-state`.
    common: Option<Vec<u8>>,
    /// One for each party, in their order.
    handlers: Vec<Vec<u8>>,
    _memory: StateMemory,
}

/// What a state takes of the tenant's memory.
#[derive(Debug, Default)]
struct StateMemory {
    /// There is so much of it.
    bytes: usize,
    reserved_bytes: usize,
    reserved: Vec<Reservation>,
}

impl StateMemory {
    fn reserve(&mut self, more: usize, endpoint: &Endpoint) -> Result<(), Stays> {
        let reserved = endpoint.tenancy.take_memory(more);
        self.reserved.push(reserved.map_err(Stays::NoRoom)?);
        self.reserved_bytes = self.reserved_bytes.saturating_add(more);
        Ok(())
    }

    /// This is a part of it.
    fn take(&mut self, state: &[u8], endpoint: &Endpoint) -> Result<(), Stays> {
        self.bytes = self.bytes.saturating_add(state.len());
        if self.bytes > endpoint.route.limits.max_state_bytes {
            return Err(Stays::TooLarge);
        }
        match self.bytes.checked_sub(self.reserved_bytes) {
            None | Some(0) => Ok(()),
            Some(more) => self.reserve(more, endpoint),
        }
    }
}

/// Why an instance cannot serve anybody.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// What it shares with others is used up.
    NoRoom(Reached),
    /// In words.
    Failed(String),
}

impl From<Unfit> for Stays {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::NoRoom(reached) => Self::NoRoom(reached),
            Unfit::Failed(why) => Self::Failed(why),
        }
    }
}

impl Instance {
    /// An instance that serves nobody yet.
    pub(crate) async fn stand_in(
        endpoint: &Arc<Endpoint>,
        version: &Arc<Version>,
        memory: Reservation,
    ) -> Result<Self, Unfit> {
        match Self::make(endpoint, version, memory, None).await {
            Ok(instance) => Ok(instance),
            Err(error) => Err(match CallFailure::of(&error).reached() {
                Some(reached) => Unfit::NoRoom(reached),
                None => {
                    version.start_pause.failed();
                    Unfit::Failed(told("it cannot be instantiated", &error))
                }
            }),
        }
    }

    /// At most so much its state is likely to be: as much as it has memory. `max-state-bytes` may be more than anybody has.
    pub(crate) fn expected_state_bytes(&self) -> usize {
        self.store.data().limiter.memory_bytes().min(self.endpoint.route.limits.max_state_bytes)
    }

    /// The state of these parties' handlers, at most `max-state-bytes` of it, and of what they have in common: a shared instance must be able to
    /// give that, and one that is not shared may have it, too.
    /// The instance goes on as it was.
    ///
    /// # Errors
    /// The handler failed: the instance must be dropped.
    pub(crate) async fn suspend(
        &mut self,
        parties: &[Party],
        shared: bool,
    ) -> Result<Result<Snapshot, Stays>, CallFailure> {
        self.store.data_mut().mute(true);
        let snapshot = self.take_snapshot(parties, shared).await;
        self.store.data_mut().mute(false);
        snapshot
    }

    async fn take_snapshot(
        &mut self,
        parties: &[Party],
        shared: bool,
    ) -> Result<Result<Snapshot, Stays>, CallFailure> {
        let mut memory = StateMemory::default();
        // Nobody is asked in vain.
        if let Err(stays) = memory.reserve(self.expected_state_bytes(), &self.endpoint) {
            return Ok(Err(stays));
        }
        let mut patience = Patience::of(self.endpoint.route.limits.wall_per_event);
        let mut handlers = Vec::with_capacity(parties.len());
        for (at, party) in parties.iter().enumerate() {
            let_others_run(at).await;
            if patience.is_over() {
                return Ok(Err(Stays::Unsupported(Unsupported::TooSlow)));
            }
            let Some(handler) = party.handler else {
                return Ok(Err(Stays::Unsupported(Unsupported::NoState)));
            };
            begin_event(&mut self.store, Some(party));
            let exports = self.app.waterspout_websocket_handler().handler();
            let asked = exports.call_suspend(&mut *self.store, handler);
            let answer = patience.spend(Metered::new(asked, &self.meter)).await;
            match self.store.end_call(answer) {
                Err(error) => return Err(self.suspend_failed(&error, Some(party))),
                Ok(None) => return Ok(Err(Stays::Unsupported(Unsupported::NoState))),
                Ok(Some(state)) => match memory.take(&state, &self.endpoint) {
                    Ok(()) => handlers.push(state),
                    Err(stays) => return Ok(Err(stays)),
                },
            }
        }
        let Some(stateful) = &self.stateful else {
            let alone = Ok(Snapshot { common: None, handlers, _memory: memory });
            return Ok(if shared { Err(Stays::Unsupported(Unsupported::OldSharesNothing)) } else { alone });
        };
        begin_event(&mut self.store, None);
        let asked = stateful.waterspout_websocket_shared_state().call_suspend(&mut *self.store);
        let answer = Metered::new(asked, &self.meter).await;
        match self.store.end_call(answer) {
            Err(error) => Err(self.suspend_failed(&error, None)),
            Ok(None) => Ok(Err(Stays::Unsupported(Unsupported::NoSharedState))),
            Ok(Some(state)) => Ok(memory.take(&state, &self.endpoint).map(|()| Snapshot {
                common: Some(state),
                handlers,
                _memory: memory,
            })),
        }
    }

    fn suspend_failed(&self, error: &wasmtime::Error, party: Option<&Party>) -> CallFailure {
        self.endpoint.metrics.count_trap(trap_cause(error));
        let failure = CallFailure::of(error);
        if let Some(reached) = failure.reached() {
            self.endpoint.metrics.count_refusal(reached);
        }
        // What it fails at is not a peer's message: nobody has to wait for it.
        report(error, failure, &self.endpoint, &self.version, party, "suspend", None);
        failure
    }

    /// Takes what another instance has handed over: the handlers of these parties, in the order of the snapshot. After an error the
    /// instance must be dropped.
    pub(crate) async fn resume(
        &mut self,
        parties: &[Party],
        snapshot: Snapshot,
    ) -> Result<Vec<ResourceAny>, Unfit> {
        self.store.data_mut().mute(true);
        if let Some(common) = snapshot.common {
            let Some(stateful) = &self.stateful else {
                return Err(Unfit::Failed("it does not export `shared-state`".into()));
            };
            begin_event(&mut self.store, None);
            let asked = stateful.waterspout_websocket_shared_state().call_resume(&mut *self.store, &common);
            let answer = Metered::new(asked, &self.meter).await;
            match self.store.end_call(answer) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => return Err(refused("shared-state.resume", &why)),
                Err(error) => {
                    let unfit = self.resume_failed("shared-state.resume", &error);
                    if let Unfit::Failed(_) = unfit {
                        self.version.start_pause.failed();
                    }
                    return Err(unfit);
                }
            }
        }
        let mut patience = Patience::of(self.endpoint.route.limits.wall_per_event);
        let mut resumed = Vec::with_capacity(parties.len());
        for (at, (party, state)) in parties.iter().zip(&snapshot.handlers).enumerate() {
            let_others_run(at).await;
            if patience.is_over() {
                return Err(Unfit::Failed(
                    "its handlers together take longer than twice `wall-per-event` to take their state"
                        .into(),
                ));
            }
            begin_event(&mut self.store, Some(party));
            let table = &mut self.store.data_mut().table;
            let handles = table
                .push(RequestHandle(party.request.clone()))
                .and_then(|request| Ok((request, table.push(ConnectionHandle(party.link.clone()))?)));
            let Ok((request, connection)) = handles else {
                return Err(Unfit::Failed("it has no room for its handles (limit `max-handles`)".into()));
            };
            let exports = self.app.waterspout_websocket_handler().handler();
            let asked = exports.call_resume(&mut *self.store, request, connection, state);
            let answer = patience.spend(Metered::new(asked, &self.meter)).await;
            match self.store.end_call(answer) {
                Ok(Ok(handler)) => resumed.push(handler),
                Ok(Err(why)) => return Err(refused("resume", &why)),
                Err(error) => return Err(self.resume_failed("resume", &error)),
            }
        }
        self.store.data_mut().mute(false);
        self.version.start_pause.succeeded();
        Ok(resumed)
    }

    fn resume_failed(&self, call: &str, error: &wasmtime::Error) -> Unfit {
        self.endpoint.metrics.count_trap(trap_cause(error));
        match CallFailure::of(error).reached() {
            Some(reached) => Unfit::NoRoom(reached),
            None => Unfit::Failed(told(&format!("`{call}` failed"), error)),
        }
    }

    /// Of the route's, the tenant's and the server's.
    pub(crate) fn places(&self) -> u32 {
        self.permits.as_ref().map_or(0, SlotPermits::places)
    }

    /// From now on it stands where `predecessor` stood, which is gone, without a word to its handlers: they go on elsewhere. It needs the
    /// places of that one and these. Returns those that it does not need, to be given back when the other is gone.
    pub(crate) fn replace(
        &mut self,
        predecessor: &mut Self,
        further: Option<SlotPermits>,
    ) -> Option<SlotPermits> {
        let permits = predecessor.permits.take()?;
        let (permits, left) = self.endpoint.inherit(&self.version.handler, permits, further);
        self.permits = Some(permits);
        Some(left)
    }
}

/// How long the handlers of one instance may run together to give their state, or to take it: about as long as two events. Others wait for the
/// place that it has meanwhile, and newcomers of its own for it. What it waits for its tenant's turn is no time of its own.
struct Patience {
    left: Duration,
}

impl Patience {
    fn of(wall_per_event: Duration) -> Self {
        Self { left: wall_per_event.saturating_mul(2) }
    }

    fn is_over(&self) -> bool {
        self.left.is_zero()
    }

    /// The time in which the call is polled is used up.
    async fn spend<R>(&mut self, call: impl Future<Output = R>) -> R {
        let mut call = pin!(call);
        poll_fn(|cx| {
            let began = Instant::now();
            let polled = call.as_mut().poll(cx);
            self.left = self.left.saturating_sub(began.elapsed());
            polled
        })
        .await
    }
}

/// Each call is short, and a room has thousands.
async fn let_others_run(call: usize) {
    const BATCH: usize = 64;
    if call % BATCH == BATCH - 1 {
        tokio::task::yield_now().await;
    }
}

fn refused(call: &str, why: &str) -> Unfit {
    Unfit::Failed(format!("`{call}` refused the state: {}", shown(why)))
}

fn told(what: &str, error: &wasmtime::Error) -> String {
    match whereabouts(error) {
        place if place.is_empty() => format!("{what}: {}", cause(error)),
        place => format!("{what}: {} at {place}", cause(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_handlers_of_an_instance_run_for_two_events_and_wait_as_long_as_they_must() {
        let [mut short, mut endless] = [Duration::from_secs(5), Duration::MAX].map(Patience::of);
        let runs = |time| async move { tokio::time::advance(time).await };
        short.spend(tokio::time::sleep(Duration::from_secs(60))).await;
        assert!(!short.is_over(), "it has waited");
        for patience in [&mut short, &mut endless] {
            patience.spend(runs(Duration::from_millis(9_990))).await;
            assert!(!patience.is_over());
            patience.spend(runs(Duration::from_millis(10))).await;
        }
        assert!(short.is_over() && !endless.is_over());
    }
}
