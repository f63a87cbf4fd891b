//! One route with its tenant and its handler: what every instance of it is made of.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::compression::{Budget, Reservation};
use crate::handler::Handler;
use crate::imports::INSTANCE_BYTES;
use crate::limits::{Reached, Scope};
use crate::loading::{NotLoaded, RouteHandler};
use crate::metrics::RouteMetrics;
use crate::pauses::{AddressPauses, StartPause};
use crate::processors::Processors;
use crate::routes::Route;
use crate::tenants::Tenancy;
use crate::units::printable;

/// See the module.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) route: Arc<Route>,
    pub(crate) tenancy: Arc<Tenancy>,
    /// What new instances are made of. Those that live keep what they were made of.
    handler: RwLock<RouteHandler>,
    pub(crate) metrics: Arc<RouteMetrics>,
    /// The route's `max-instances`.
    permits: Arc<Semaphore>,
    pub(crate) start_pause: StartPause,
    pub(crate) address_pauses: AddressPauses,
}

/// The right to one more live instance, and what it is made of. Given back by drop.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) handler: Handler,
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
        Arc::new(Self {
            route,
            tenancy,
            handler: RwLock::new(handler),
            metrics: Arc::default(),
            permits,
            start_pause: StartPause::default(),
            address_pauses: AddressPauses::default(),
        })
    }

    /// For a route that is alone with its handler.
    pub(crate) fn alone(route: Arc<Route>, handler: Handler) -> Arc<Self> {
        let tenancy = Tenancy::new(&route.tenant, handler.memory(), &Arc::<Processors>::default());
        Self::new(route, tenancy, handler.into())
    }

    /// What a newcomer's instance is made of; none while there is none.
    pub(crate) fn handler(&self) -> Option<Handler> {
        match &*self.handler.read().unwrap_or_else(PoisonError::into_inner) {
            RouteHandler::Loaded(handler) => Some(handler.clone()),
            RouteHandler::NotLoaded(_) => None,
        }
    }

    /// Why there is no handler.
    pub(crate) fn not_loaded(&self) -> Option<NotLoaded> {
        match &*self.handler.read().unwrap_or_else(PoisonError::into_inner) {
            RouteHandler::Loaded(_) => None,
            RouteHandler::NotLoaded(missing) => Some(missing.clone()),
        }
    }

    /// What newcomers get from now on.
    #[cfg_attr(not(test), expect(dead_code, reason = "a handler has one way to be loaded: at the start"))]
    pub(crate) fn set_handler(&self, handler: Handler) {
        *self.handler.write().unwrap_or_else(PoisonError::into_inner) = handler.into();
    }

    /// The right to one more live instance of this handler, with the memory that it begins with.
    pub(crate) fn try_slot(&self, handler: Handler) -> Result<Slot, Reached> {
        let reached = |scope| Reached { scope, limit: "max-instances" };
        let of_route = self.permits.clone().try_acquire_owned().map_err(|_| reached(Scope::Route))?;
        let of_tenant = self.tenancy.try_instance()?;
        let memory = self.tenancy.try_memory(handler.initial_bytes().saturating_add(INSTANCE_BYTES))?;
        let of_server = handler.try_permit().ok_or_else(|| reached(Scope::Server))?;
        Ok(Slot { handler, permits: [of_route, of_tenant, of_server], memory })
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
