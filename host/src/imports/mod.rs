//! What a guest may call, one file an interface; and the state behind it, [`GuestState`], which lives in the instance's store.
//!
//! Imports touch requests, links and topics, never a socket, and never call back into the guest.

pub(crate) mod client;
mod connection;
mod limiter;
mod output;
mod request;
mod requests;
mod topics;
mod wasi;

use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::component::{HasData, HasSelf, Linker, ResourceTable};

use crate::connection::compression::Reservation;
use crate::connection::link::LinkError;
use crate::handler::Handler;
use crate::handler::bindings;
use crate::handler::endpoint::Endpoint;
use crate::instance::fuel::FuelGauge;
use crate::instance::meter::Meter;
use crate::instance::party::Party;
use crate::instance::shortage::NO_SYSTEM_MEMORY;
use crate::limits::tenants::Tenancy;
use crate::limits::{Reached, WAIT_MARGIN};
use crate::metrics::RouteMetrics;
use crate::server::routes::{InstancePolicy, Route};

#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub use connection::ConnectionHandle;
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub use request::RequestHandle;

use limiter::InstanceLimiter;
pub(crate) use limiter::{INSTANCE_BYTES, TABLE_ELEMENT_BYTES};
use output::Speaker;
use wasi::Wasi;

/// What one instance's imports work on.
pub(crate) struct GuestState {
    pub(crate) table: ResourceTable,
    pub(crate) limiter: InstanceLimiter,
    pub(crate) meter: Arc<Meter>,
    /// Where code is metered.
    pub(crate) fuel: Option<FuelGauge>,
    /// Since fuel was last counted the event has begun again.
    has_begun_again: bool,
    route: Arc<Route>,
    tenancy: Arc<Tenancy>,
    metrics: Arc<RouteMetrics>,
    /// Whose event is running, for what the guest prints.
    speaker: Arc<Speaker>,
    /// Whose event is running, for what belongs to it.
    serving: Option<Party>,
    /// Imports that act or wait are refused: during `suspend` and `resume`, and as long as nobody is served.
    muted: bool,
    /// As many as there were when they were last counted.
    handles: usize,
    /// Calls since then.
    uncounted_calls: usize,
    /// What may have made a handle since then.
    uncounted_makings: usize,
    wasi: Wasi,
}

/// So many handles of an instance may be there that nobody has counted.
const MAKINGS_UNCOUNTED: usize = 256;

/// Handles that a call may cost the counting of.
const HANDLES_PER_CALL: usize = 8;

impl GuestState {
    /// Of an instance of `handler`; `memory` is what it may begin with.
    pub(crate) fn new(
        endpoint: &Endpoint,
        handler: &Handler,
        memory: Reservation,
        meter: Arc<Meter>,
    ) -> Self {
        let (route, tenancy) = (endpoint.route.clone(), endpoint.tenancy.clone());
        let speaker = Arc::new(Speaker::new(endpoint));
        let mut table = ResourceTable::new();
        // WASI keeps up to a few entries behind one handle; handles themselves are counted by wasmtime.
        table.set_max_capacity(4 * route.limits.max_handles as usize);
        Self {
            table,
            limiter: InstanceLimiter::new(&route.limits, handler.own_bytes(), memory),
            meter,
            fuel: FuelGauge::of(handler.is_metered(), route.limits.fuel_per_event, &endpoint.metrics),
            has_begun_again: false,
            tenancy,
            metrics: endpoint.metrics.clone(),
            wasi: Wasi::new(route.clone(), speaker.clone()),
            speaker,
            serving: None,
            muted: false,
            handles: 0,
            uncounted_calls: 0,
            uncounted_makings: 0,
            route,
        }
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// The next event is this connection's.
    pub(crate) fn start_event(&mut self, party: &Party) {
        self.limiter.start_event();
        if !self.serving.as_ref().is_some_and(|serving| Arc::ptr_eq(&serving.link, &party.link)) {
            self.limiter.displace(&self.tenancy);
            self.speaker.speaks_for(&party.link);
            self.serving = Some(party.clone());
        }
    }

    /// A call is over: counts the handles, or leaves it to a later one, so that no call pays for more than a few of those that others made.
    ///
    /// # Errors
    /// As of [`count_handles`](Self::count_handles).
    pub(crate) fn end_call(&mut self) -> Result<(), NoMemoryForHandles> {
        self.uncounted_calls += 1;
        if self.uncounted_calls * HANDLES_PER_CALL < self.handles {
            return Ok(());
        }
        self.count_handles()
    }

    /// Takes memory for the handles that there are: after calls, before waits, and each tick while one runs.
    ///
    /// # Errors
    /// The tenant has none left for them. The call fails, as one does that makes more than `max-handles`.
    pub(crate) fn count_handles(&mut self) -> Result<(), NoMemoryForHandles> {
        let objects = self.table.iter_mut();
        let handles = match self.wasi.uses_http {
            true => objects.map(|object| requests::handles_of(object)).sum(),
            // There may be many, and this is often.
            false => objects.count(),
        };
        (self.handles, self.uncounted_calls, self.uncounted_makings) = (handles, 0, 0);
        if self.limiter.hold_handles(handles) { Ok(()) } else { Err(NoMemoryForHandles(handles)) }
    }

    /// A handle may be made now. So many are counted while the guest runs, too: it may wait in one of WASI's functions next, which count
    /// nothing, and not for a few only.
    pub(super) fn note_making(&mut self) {
        self.uncounted_makings += 1;
        if self.uncounted_makings >= MAKINGS_UNCOUNTED {
            // Without memory for them the guest fails at its next tick, at its next wait or when it returns, whichever comes first.
            let _ = self.count_handles();
        }
    }

    /// The next event is no connection's: imports that act or wait are refused.
    pub(crate) fn start_event_of_nobody(&mut self) {
        self.limiter.start_event();
        self.serving = None;
        self.muted = true;
    }

    /// What this event was refused although it was within the bounds of its own instance: the tenant's memory, or the server's, that others have, or the
    /// system's. None too if the instance wanted most of it for itself.
    pub(crate) fn shortage(&self) -> Option<Reached> {
        if self.limiter.was_refused_by_system() {
            return Some(NO_SYSTEM_MEMORY);
        }
        match self.limiter.refused() {
            Some((bytes, _)) if self.tenancy.is_most_of_memory(bytes) => None,
            Some((_, more)) => Some(self.tenancy.lacks_memory(more)),
            None => {
                let more = self.serving.as_ref()?.link.lacked_memory()?;
                Some(self.tenancy.lacks_memory(more))
            }
        }
    }

    /// Whether imports that act or wait are refused from now on.
    pub(crate) fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    fn serving(&self) -> wasmtime::Result<&Party> {
        self.serving.as_ref().ok_or_else(|| wasmtime::format_err!("no event is running"))
    }

    /// Until when an import may wait: a little less than the event's wall-clock limit, so that the guest can still return; and not
    /// for long where others wait, too.
    fn wait_until(&self) -> Instant {
        let latest = self.meter.wall_deadline() - WAIT_MARGIN;
        if self.is_shared() { latest.min(Instant::now() + self.route.limits.shared_wait) } else { latest }
    }

    /// Whether other connections wait while this one's event does.
    fn is_shared(&self) -> bool {
        self.route.policy != InstancePolicy::Connection
    }
}

/// See [`GuestState::count_handles`].
#[derive(Debug, thiserror::Error)]
#[error("the tenant has no memory left for {0} handles (`max-memory-bytes`)")]
pub(crate) struct NoMemoryForHandles(usize);

impl HasData for GuestState {
    type Data<'a> = &'a mut GuestState;
}

/// Links everything a handler may import: the WIT's interfaces, all of WASI 0.2 and `wasi:config`; for code that is metered or not.
pub(crate) fn add_to_linker(linker: &mut Linker<GuestState>, metered: bool) -> wasmtime::Result<()> {
    bindings::WebsocketApp::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)?;
    if metered {
        client::link_metered(linker)?;
    }
    wasi::add_to_linker(linker)
}

impl bindings::types::Host for GuestState {}

/// The WIT's `error`.
fn wit_error(error: LinkError) -> bindings::types::Error {
    use bindings::types::Error;
    match error {
        LinkError::Closed => Error::Closed,
        LinkError::BufferFull => Error::BufferFull,
        LinkError::Limit(name) => Error::Limit(name),
        LinkError::Invalid(why) => Error::Invalid(why),
    }
}

/// What an import that can fail answers a guest; the outer error traps.
type Answer<T = ()> = wasmtime::Result<Result<T, bindings::types::Error>>;

fn answer<T>(result: Result<T, LinkError>) -> Answer<T> {
    Ok(result.map_err(wit_error))
}
