//! One route with its tenant and its handler: what every instance of it is made of.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::compression::Budget;
use crate::engine::Slot;
use crate::handler::Handler;
use crate::limits::{Reached, Scope};
use crate::metrics::RouteMetrics;
use crate::pauses::{AddressPauses, StartPause};
use crate::processors::Processors;
use crate::routes::Route;
use crate::tenants::Tenancy;

/// See the module.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) route: Arc<Route>,
    pub(crate) tenancy: Arc<Tenancy>,
    pub(crate) handler: Handler,
    pub(crate) metrics: Arc<RouteMetrics>,
    /// The route's `max-instances`.
    permits: Arc<Semaphore>,
    pub(crate) start_pause: StartPause,
    pub(crate) address_pauses: AddressPauses,
}

impl Endpoint {
    pub(crate) fn new(route: Arc<Route>, tenancy: Arc<Tenancy>, handler: Handler) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(route.limits.max_instances as usize));
        Arc::new(Self {
            route,
            tenancy,
            handler,
            metrics: Arc::default(),
            permits,
            start_pause: StartPause::default(),
            address_pauses: AddressPauses::default(),
        })
    }

    /// For a route that is alone with its handler.
    pub(crate) fn alone(route: Arc<Route>, handler: Handler) -> Arc<Self> {
        let tenancy = Tenancy::new(&route.tenant, handler.memory(), &Arc::<Processors>::default());
        Self::new(route, tenancy, handler)
    }

    /// The right to one more live instance, with the memory that it begins with.
    pub(crate) fn try_slot(&self) -> Result<Slot, Reached> {
        let reached = |scope| Reached { scope, limit: "max-instances" };
        let of_route = self.permits.clone().try_acquire_owned().map_err(|_| reached(Scope::Route))?;
        let of_tenant = self.tenancy.try_instance()?;
        let memory = self.memory().reserve(self.handler.initial_bytes());
        let memory = memory.ok_or_else(|| self.tenancy.out_of_memory())?;
        let of_server = self.handler.try_permit().ok_or_else(|| reached(Scope::Server))?;
        Ok(Slot::new([of_route, of_tenant, of_server], memory))
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
