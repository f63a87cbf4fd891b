//! One route with its tenant and the versions of its handler: what every instance of it is made of.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::compression::{Budget, Reservation};
use crate::handler::Handler;
use crate::handler::loading::RouteHandler;
use crate::imports::INSTANCE_BYTES;
use crate::limits::pauses::AddressPauses;
use crate::limits::processors::Processors;
use crate::limits::tenants::Tenancy;
use crate::limits::{Reached, Scope};
use crate::metrics::RouteMetrics;
use crate::server::routes::Route;
use crate::swap::{Seats, SwapPolicy, Version, Versions};
use crate::units::printable;

/// See the module.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) route: Arc<Route>,
    pub(crate) tenancy: Arc<Tenancy>,
    pub(crate) versions: Versions,
    pub(crate) seats: Seats,
    pub(crate) metrics: Arc<RouteMetrics>,
    /// The route's, which an operator may change while it is served.
    swap_policy: RwLock<SwapPolicy>,
    /// The route's `max-instances`.
    permits: Arc<Semaphore>,
    pub(crate) address_pauses: AddressPauses,
}

/// The right to one more live instance, and what it is made of. Given back by drop.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) version: Arc<Version>,
    pub(crate) permits: SlotPermits,
    /// What the instance may begin with.
    pub(crate) memory: Reservation,
}

/// The route's, the tenant's and the server's.
pub(crate) type SlotPermits = [OwnedSemaphorePermit; 3];

impl Endpoint {
    /// A handler that could not be loaded is told in the log.
    pub(crate) fn new(route: Arc<Route>, tenancy: Arc<Tenancy>, handler: RouteHandler) -> Arc<Self> {
        if let RouteHandler::NotLoaded(missing) = &handler {
            tracing::error!(
                tenant = tenancy.name,
                route = %route.name,
                handler = printable(missing.handler.as_bytes()),
                error = missing.why(),
                remedy = "correct it, ask `waterspout check`, and start again",
                "the handler cannot be loaded: its route answers 503"
            );
        }
        let permits = Arc::new(Semaphore::new(route.limits.max_instances as usize));
        let metrics = Arc::new(RouteMetrics::of(&tenancy.name, &route.name));
        Arc::new(Self {
            swap_policy: RwLock::new(route.swap.clone()),
            route,
            tenancy,
            versions: Versions::new(handler),
            seats: Seats::default(),
            metrics,
            permits,
            address_pauses: AddressPauses::default(),
        })
    }

    /// For a route that is alone with its handler.
    pub(crate) fn alone(route: Arc<Route>, handler: Handler) -> Arc<Self> {
        let tenancy = Tenancy::new(&route.tenant, handler.memory(), &Arc::<Processors>::default());
        Self::new(route, tenancy, handler.into())
    }

    /// The right to one more live instance of `version`, with the memory that it begins with. Nothing gives way to it.
    pub(crate) fn try_slot(&self, version: Arc<Version>) -> Result<Slot, Reached> {
        let handler = &version.handler;
        let reached = |scope| Reached { scope, limit: "max-instances" };
        let of_route = self.permits.clone().try_acquire_owned().map_err(|_| reached(Scope::Route))?;
        let of_tenant = self.tenancy.try_instance()?;
        let memory = self.tenancy.try_memory(initial_bytes(handler))?;
        let of_server = handler.try_permit().ok_or_else(|| reached(Scope::Server))?;
        Ok(Slot { version, permits: [of_route, of_tenant, of_server], memory })
    }

    /// What an instance of `handler` begins with that takes another one's place: spares give way.
    pub(crate) fn take_instance_memory(&self, handler: &Handler) -> Result<Reservation, Reached> {
        self.tenancy.take_memory(initial_bytes(handler))
    }

    /// How the handler is replaced, as of now.
    pub(crate) fn swap_policy(&self) -> SwapPolicy {
        self.swap_policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on the handler is replaced so. Returns whether that is another way.
    pub(crate) fn set_swap_policy(&self, policy: SwapPolicy) -> bool {
        let mut current = self.swap_policy.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != policy;
        *current = policy;
        changed
    }

    /// Instances that live, or are about to.
    pub(crate) fn live_instances(&self) -> usize {
        (self.route.limits.max_instances as usize).saturating_sub(self.permits.available_permits())
    }

    /// Instances that there may still be of the route.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn free_permits(&self) -> usize {
        self.permits.available_permits()
    }

    /// The tenant's.
    pub(crate) fn memory(&self) -> &Budget {
        &self.tenancy.memory
    }
}

/// What an instance of `handler` begins with.
fn initial_bytes(handler: &Handler) -> usize {
    handler.initial_bytes().saturating_add(INSTANCE_BYTES)
}
