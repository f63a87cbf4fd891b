//! A handler that failed because others have used up what they share with it: nobody's fault, neither its own nor a peer's.
//!
//! A growth that its tenant has no memory for is refused inside the guest, like one past the instance's own bound, and a guest's allocator
//! knows no better answer than a trap. What it was that was refused tells the two apart.

use std::io;

use rustix::io::Errno;
use wasmtime::OutOfMemory;

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

/// The system has no memory, or no mappings left for it, whatever the limits are.
pub(crate) const NO_SYSTEM_MEMORY: Reached = Reached { scope: Scope::Server, limit: "system-memory" };

impl FueledStore<GuestState> {
    /// As [`end_event`](Self::end_event); and an event that failed after it was refused what its tenant shares, or what the system has not, ends
    /// with a [`Shortage`].
    pub(crate) fn end_call<R>(&mut self, ended: wasmtime::Result<R>) -> wasmtime::Result<R> {
        self.end_event(ended).map_err(|error| match self.data().shortage() {
            Some(reached) if !is_stopped(&error) => error.context(Shortage(reached)),
            _ => error,
        })
    }
}

/// The system had no memory for something, whoever it was that asked.
pub(crate) fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    error.is::<OutOfMemory>()
        || error.chain().any(|cause| {
            let of_io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
            of_io == Some(io::ErrorKind::OutOfMemory) || cause.downcast_ref() == Some(&Errno::NOMEM)
        })
}

/// It did not fail, but took too long.
fn is_stopped(error: &wasmtime::Error) -> bool {
    error.is::<CpuExceeded>() || error.is::<WallExceeded>() || error.is::<FuelExceeded>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::CallFailure;

    #[test]
    fn that_the_system_has_no_memory_is_nobodys_fault() {
        let no_memory = || io::Error::from_raw_os_error(Errno::NOMEM.raw_os_error());
        for error in [
            wasmtime::Error::new(no_memory()),
            wasmtime::Error::new(no_memory()).context("failed to make a stack"),
            wasmtime::Error::new(Errno::NOMEM).context("mprotect"),
            wasmtime::Error::new(OutOfMemory::new(64)),
        ] {
            assert_eq!(CallFailure::of(&error), CallFailure::Exhausted(NO_SYSTEM_MEMORY), "{error:?}");
        }
        let other = wasmtime::Error::new(io::Error::from_raw_os_error(Errno::ACCESS.raw_os_error()));
        assert_eq!(CallFailure::of(&other), CallFailure::Trapped);
    }
}
