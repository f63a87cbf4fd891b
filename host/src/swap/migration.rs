//! One instance goes over to another version, with everything that it serves: a snapshot of the old, and a transaction in the new.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Again, Outcome, Stays, Turn, Unsupported, Version};
use crate::handler::endpoint::{Endpoint, Room};
use crate::instance::party::Party;
use crate::instance::{CallFailure, Instance};
use crate::metrics::{CallKind, ConnectionOutcome};

/// Puts an instance of the turn's version into the place of `instance`, if that is possible: either all of `parties` are served by the
/// new one then, or nothing has happened to any of them. `shared`: whether they have something in common. Returns what is to be tried
/// again later, because there was no room.
///
/// # Errors
/// The old handler failed at `suspend`; it must be dropped, as after any failed call.
///
/// Cancel safety: none; the instance must be dropped then, too.
pub(crate) async fn move_instance(
    endpoint: &Arc<Endpoint>,
    instance: &mut Instance,
    parties: &mut [Party],
    turn: Turn,
    shared: bool,
) -> Result<Option<Again>, CallFailure> {
    let Turn { rollout, place, mut again } = turn;
    let began = Instant::now();
    let moved = match place {
        Ok(room) => attempt(endpoint, instance, parties, &rollout.to, shared, room).await,
        Err(reached) => Ok(Err(Stays::NoRoom(reached))),
    };
    let outcome = match moved {
        Ok(Ok(())) => Outcome::Moved(began.elapsed()),
        Ok(Err(stays)) => Outcome::Stays(stays),
        Err(failure) => {
            endpoint.metrics.swaps.count_connections(ConnectionOutcome::Lost, parties.len());
            rollout.note_lost(parties.len());
            return Err(failure);
        }
    };
    match &outcome {
        Outcome::Moved(pause) => {
            endpoint.metrics.swaps.count_connections(ConnectionOutcome::Moved, parties.len());
            endpoint.metrics.calls.record(CallKind::Handover, pause.as_nanos() as u64);
            if let Some(Again { tries, .. }) = &again {
                tracing::debug!(
                    tenant = endpoint.tenancy.name, route = %endpoint.route.name, connections = parties.len(),
                    to = %rollout.to, tries, "goes over later than others: there is room"
                );
            }
        }
        // Counted already.
        Outcome::Stays(Stays::NoRoom(_)) if again.is_some() => {}
        Outcome::Stays(stays) => {
            endpoint.metrics.swaps.count_connections(stays.into(), parties.len());
            tracing::debug!(
                tenant = endpoint.tenancy.name, route = %endpoint.route.name, connections = parties.len(),
                from = %instance.version(), to = %rollout.to, "stays with the old version: {stays}"
            );
        }
    }
    for party in parties.iter() {
        party.link.set_version(instance.version().number);
    }
    rollout.note(&outcome, parties.len(), again.as_mut());
    let tries = again.map_or(0, |again| again.tries).saturating_add(1);
    let has_no_room = matches!(outcome, Outcome::Stays(Stays::NoRoom(_)));
    Ok(has_no_room.then(|| Again {
        rollout,
        counted: parties.len(),
        tries,
        state_bytes: instance.expected_state_bytes(),
        places: instance.places(),
        is_waiting: true,
    }))
}

/// What of it may fail.
async fn attempt(
    endpoint: &Arc<Endpoint>,
    instance: &mut Instance,
    parties: &mut [Party],
    to: &Arc<Version>,
    shared: bool,
    mut room: Room,
) -> Result<Result<(), Stays>, CallFailure> {
    if shared && to.handler.parts.stateful.is_none() {
        return Ok(Err(Stays::Unsupported(Unsupported::NewSharesNothing)));
    }
    // Nobody is asked in vain.
    let further = match room.take_own() {
        Some(own) => Ok(Some(own)),
        None => endpoint.further_places(&to.handler, instance.places()),
    };
    let taken = further.and_then(|further| Ok((further, endpoint.take_instance_memory(&to.handler)?)));
    let (further, memory) = match taken {
        Ok(taken) => taken,
        Err(reached) => return Ok(Err(Stays::NoRoom(reached))),
    };
    let snapshot = match instance.suspend(parties, shared).await? {
        Ok(snapshot) => snapshot,
        Err(stays) => return Ok(Err(stays)),
    };
    let mut successor = match Instance::stand_in(endpoint, to, memory).await {
        Ok(successor) => successor,
        Err(unfit) => return Ok(Err(unfit.into())),
    };
    let handlers = match successor.resume(parties, snapshot).await {
        Ok(handlers) => handlers,
        Err(unfit) => return Ok(Err(unfit.into())),
    };
    let left = successor.replace(instance, further);
    for (party, handler) in parties.iter_mut().zip(handlers) {
        party.handler = Some(handler);
    }
    *instance = successor;
    drop(left);
    Ok(Ok(()))
}
