//! A handler that failed because others have used up what they share with it: nobody's fault, neither its own nor a peer's.
//!
//! A growth that its tenant has no memory for is refused inside the guest, like one past the instance's own bound, and a guest's allocator
//! knows no better answer than a trap. What it was that was refused tells the two apart.

use super::fuel::FueledStore;
use super::meter::{CpuExceeded, WallExceeded};
use crate::imports::GuestState;
use crate::instance::fuel::FuelExceeded;
use crate::limits::{Reached, Scope};

/// Why a call failed that was refused a part of what is shared.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{0} is used up")]
pub(crate) struct Shortage(pub(crate) Reached);

/// The pool has no room although its permit was there.
pub(crate) const NO_ROOM_IN_POOL: Reached = Reached { scope: Scope::Server, limit: "max-instances" };

impl FueledStore<GuestState> {
    /// As [`end_event`](Self::end_event); and an event that failed after it was refused what its tenant shares ends with a [`Shortage`].
    pub(crate) fn end_call<R>(&mut self, ended: wasmtime::Result<R>) -> wasmtime::Result<R> {
        self.end_event(ended).map_err(|error| match self.data().shortage() {
            Some(reached) if !is_stopped(&error) => error.context(Shortage(reached)),
            _ => error,
        })
    }
}

/// It did not fail, but took too long.
fn is_stopped(error: &wasmtime::Error) -> bool {
    error.is::<CpuExceeded>() || error.is::<WallExceeded>() || error.is::<FuelExceeded>()
}
