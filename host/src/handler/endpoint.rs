//! One route with its tenant and the versions of its handler: what every instance of it is made of.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::compression::{Budget, Reservation};
use crate::handler::Handler;
use crate::handler::engine::{MOVING_SLOTS_OF_TENANT, TRIAL_SLOTS_OF_TENANT};
use crate::handler::loading::RouteHandler;
use crate::limits::idle::Of;
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
    /// Each live instance has one more.
    live: Arc<()>,
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

/// As many places as an instance takes: of the route's, the tenant's and the server's.
#[derive(Debug)]
pub(crate) struct SlotPermits {
    of_route: OwnedSemaphorePermit,
    of_tenant: OwnedSemaphorePermit,
    of_server: OwnedSemaphorePermit,
    _live: Arc<()>,
}

impl SlotPermits {
    pub(crate) fn places(&self) -> u32 {
        // They were taken as so many.
        u32::try_from(self.of_server.num_permits()).unwrap_or(u32::MAX)
    }

    fn merge(&mut self, more: Self) {
        self.of_route.merge(more.of_route);
        self.of_tenant.merge(more.of_tenant);
        self.of_server.merge(more.of_server);
    }

    /// So many of them, or all that there are.
    fn split(&mut self, places: u32) -> Self {
        let places = places.min(self.places()) as usize;
        let some = |permit: &mut OwnedSemaphorePermit| permit.split(places).expect("there are as many");
        Self {
            of_route: some(&mut self.of_route),
            of_tenant: some(&mut self.of_tenant),
            of_server: some(&mut self.of_server),
            _live: self._live.clone(),
        }
    }
}

/// Room for an instance beside those that there may be. Given back by drop.
#[derive(Debug)]
pub(crate) struct Room {
    _of_tenant: OwnedSemaphorePermit,
    /// One of the two.
    _set_aside: Option<OwnedSemaphorePermit>,
    own: Option<SlotPermits>,
}

impl Room {
    /// The places of an instance that is too heavy for those that are set aside: it may stay there.
    pub(crate) fn take_own(&mut self) -> Option<SlotPermits> {
        self.own.take()
    }
}

impl Endpoint {
    /// A handler that could not be loaded is told in the log.
    pub(crate) fn new(route: Arc<Route>, tenancy: Arc<Tenancy>, handler: RouteHandler) -> Arc<Self> {
        if let RouteHandler::NotLoaded(missing) = &handler {
            let (tenant, route) = (&tenancy.name, &route.name);
            let (handler, error) = (printable(missing.handler.as_bytes()), missing.why());
            if missing.is_postponed() {
                tracing::warn!(tenant, %route, handler, error, "the route answers 503 until its handler is compiled");
            } else {
                let remedy = "correct it, ask `waterspout check`, and start again";
                tracing::error!(tenant, %route, handler, error, remedy, "the handler cannot be loaded: its route answers 503");
            }
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
            live: Arc::default(),
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
        let memory = || self.tenancy.try_memory(version.handler.initial_bytes());
        let (permits, memory) = self.try_places(&version.handler, version.handler.weight(), memory)?;
        Ok(Slot { version, permits, memory })
    }

    /// The same for somebody who needs it now: what is idle gives way to him.
    pub(crate) fn take_slot(&self, version: &Arc<Version>) -> Result<Slot, Reached> {
        loop {
            match self.try_slot(version.clone()) {
                Err(reached) if self.make_room(reached, &version.handler) => {}
                taken => return taken,
            }
        }
    }

    /// Has something idle give way to an instance of `handler` that is refused. False if there is nothing.
    fn make_room(&self, reached: Reached, handler: &Handler) -> bool {
        self.tenancy.idle.give_up_one(match (reached.scope, reached.limit) {
            (Scope::Route, _) => Of::Route(&self.route.name),
            (Scope::Server, "max-instances") => Of::Class(handler.code_class()),
            _ => Of::Anything,
        })
    }

    /// So many places for `handler`, each of which counts against the route, the tenant and the server, with what `memory` gives. The server's
    /// are asked for last: what a tenant has no room for keeps nothing from others.
    fn try_places<T>(
        &self,
        handler: &Handler,
        places: u32,
        memory: impl FnOnce() -> Result<T, Reached>,
    ) -> Result<(SlotPermits, T), Reached> {
        let reached = |scope| Reached { scope, limit: "max-instances" };
        let of_route =
            self.permits.clone().try_acquire_many_owned(places).map_err(|_| reached(Scope::Route))?;
        let of_tenant = self.tenancy.try_places(places)?;
        let memory = memory()?;
        let of_server = handler.try_permit(places).ok_or_else(|| reached(Scope::Server))?;
        Ok((SlotPermits { of_route, of_tenant, of_server, _live: self.live.clone() }, memory))
    }

    /// So many places for somebody who needs them now: what is idle gives way to him.
    fn take_places(&self, handler: &Handler, places: u32) -> Result<SlotPermits, Reached> {
        loop {
            match self.try_places(handler, places, || Ok(())) {
                Err(reached) if self.make_room(reached, handler) => {}
                taken => return taken.map(|(permits, ())| permits),
            }
        }
    }

    /// Room for an instance of `handler` that takes another one's place, while both are there; waits for its turn. What weighs more than a
    /// tenant's part of the places that are set aside for this takes places of the route's and the tenant's own.
    ///
    /// # Errors
    /// There are no places of its own. It is not waited for them: others of the tenant go over meanwhile.
    pub(crate) async fn moving_room(&self, handler: &Handler) -> Result<Room, Reached> {
        // First the tenant's, so that who waits for his own tenant keeps nothing from others.
        let of_tenant = self.tenancy.moving_permit(handler.weight()).await;
        let (set_aside, own) = if handler.weight() <= MOVING_SLOTS_OF_TENANT {
            (Some(handler.moving_permit().await), None)
        } else {
            (None, Some(self.take_places(handler, handler.weight())?))
        };
        Ok(Room { _of_tenant: of_tenant, _set_aside: set_aside, own })
    }

    /// Whether an instance of `handler` could take the place of one that has so many places.
    pub(crate) fn has_places(&self, handler: &Handler, had: u32) -> bool {
        let beside = if handler.weight() <= MOVING_SLOTS_OF_TENANT { had } else { 0 };
        self.further_places(handler, beside).is_ok()
    }

    /// The places that an instance of `handler` needs beside those that there are for it; none if it needs no more.
    pub(crate) fn further_places(&self, handler: &Handler, had: u32) -> Result<Option<SlotPermits>, Reached> {
        match handler.weight().saturating_sub(had) {
            0 => Ok(None),
            more => self.take_places(handler, more).map(Some),
        }
    }

    /// Room for an instance of `handler` that is only tried; waits for its turn.
    ///
    /// # Errors
    /// It weighs more than a tenant's part of the places that are set aside, and the route or the tenant has none of its own left.
    pub(crate) async fn trial_room(&self, handler: &Handler) -> Result<Room, Reached> {
        let of_tenant = self.tenancy.trial_permit().await;
        let (set_aside, own) = if handler.weight() <= TRIAL_SLOTS_OF_TENANT {
            (Some(handler.trial_permit().await), None)
        } else {
            (None, Some(self.take_places(handler, handler.weight())?))
        };
        Ok(Room { _of_tenant: of_tenant, _set_aside: set_aside, own })
    }

    /// What another instance of the route has been granted, with `further` ones, becomes what one of `handler` needs. The second are those that it
    /// does not: to be given back once the other instance is gone. Both are of one class.
    pub(crate) fn inherit(
        &self,
        handler: &Handler,
        mut permits: SlotPermits,
        further: Option<SlotPermits>,
    ) -> (SlotPermits, SlotPermits) {
        further.into_iter().for_each(|further| permits.merge(further));
        let left = permits.split(permits.places().saturating_sub(handler.weight()));
        (permits, left)
    }

    /// What an instance of `handler` begins with that takes another one's place: spares give way.
    pub(crate) fn take_instance_memory(&self, handler: &Handler) -> Result<Reservation, Reached> {
        self.tenancy.take_memory(handler.initial_bytes())
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
        Arc::strong_count(&self.live) - 1
    }

    /// Places that there still are for instances of the route.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn free_permits(&self) -> usize {
        self.permits.available_permits()
    }

    /// The tenant's.
    pub(crate) fn memory(&self) -> &Budget {
        &self.tenancy.memory
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::handler::{HandlerSource, LoadError, Runtime, RuntimeOptions};
    use crate::limits::TenantLimits;
    use crate::server::routes::Pattern;

    const ECHO: &str = include_str!("echo.wat");

    fn handlers(route: &Route) -> Result<[Handler; 2], LoadError> {
        handlers_of(route, 3)
    }

    /// One with the echo, and one with an echo that has so many memories more.
    fn handlers_of(route: &Route, memories: usize) -> Result<[Handler; 2], LoadError> {
        let options = RuntimeOptions { max_instances: 20, ..RuntimeOptions::default() };
        let runtime = Runtime::new(&options, [&route.limits]).expect("address space");
        let heavy =
            ECHO.replacen("(func $slot", &format!("{} (func $slot", "(memory 1)".repeat(memories)), 1);
        let load =
            |text: &str| runtime.load(&HandlerSource::Bytes(text.as_bytes().to_vec().into()), &route.limits);
        Ok([load(ECHO)?, load(&heavy)?])
    }

    fn route(of_route: u32, of_tenant: u32) -> Route {
        let mut route = Route::new("test", Pattern::new("/").expect("a pattern"));
        route.limits.max_instances = of_route;
        route.tenant.total = TenantLimits { max_instances: of_tenant, ..TenantLimits::default() };
        route
    }

    #[tokio::test]
    async fn an_instance_takes_as_many_places_of_its_route_and_its_tenant_as_of_the_pool() {
        for (limits, refused_by) in [((9, 20), Scope::Route), ((20, 9), Scope::Tenant)] {
            let route = route(limits.0, limits.1);
            let [_, heavy] = handlers(&route).unwrap_or_else(|error| panic!("{error}"));
            let free = heavy.free_slots();
            let endpoint = Endpoint::alone(Arc::new(route), heavy);
            let version = endpoint.versions.current().expect("it was loaded");
            let slots = [(); 2].map(|()| endpoint.try_slot(version.clone()).expect("room"));
            let refused = endpoint.try_slot(version.clone()).map(drop);
            assert_eq!(refused, Err(Reached { scope: refused_by, limit: "max-instances" }));
            assert_eq!((version.handler.free_slots(), endpoint.live_instances()), (free - 8, 2));
            drop(slots);
            assert_eq!((version.handler.free_slots(), endpoint.live_instances()), (free, 0));
        }
    }

    #[tokio::test]
    async fn who_takes_anothers_place_takes_what_it_needs_more_of_all_three_or_nothing() {
        let route = route(6, 20);
        let [light, heavy] = handlers(&route).unwrap_or_else(|error| panic!("{error}"));
        let endpoint = Endpoint::alone(Arc::new(route), light.clone());
        let version = endpoint.versions.current().expect("it was loaded");
        let slots: Vec<_> = (0..3).map(|_| endpoint.try_slot(version.clone()).expect("room")).collect();
        let [of_tenant, free] = [endpoint.tenancy.free_permits()[1], light.free_slots()];
        let mut permits = slots.into_iter().map(|slot| slot.permits);
        let mut next = || permits.next().expect("three were taken");
        assert!(endpoint.has_places(&heavy, 1));
        let further = endpoint.further_places(&heavy, 1).expect("three more");
        let (grown, left) = endpoint.inherit(&heavy, next(), further);
        assert_eq!((grown.places(), left.places(), endpoint.free_permits()), (4, 0, 0));
        assert!(!endpoint.has_places(&heavy, 1));
        let reached = endpoint.further_places(&heavy, 1).expect_err("the route has none");
        assert_eq!(reached.scope, Scope::Route);
        assert_eq!((endpoint.tenancy.free_permits()[1], light.free_slots()), (of_tenant - 3, free - 3));
        let (shrunk, left) = endpoint.inherit(&light, grown, None);
        assert_eq!((shrunk.places(), left.places(), endpoint.free_permits()), (1, 3, 0));
        drop(left);
        assert_eq!(endpoint.free_permits(), 3);
        assert_eq!(endpoint.tenancy.free_permits()[1], of_tenant);
    }

    #[tokio::test]
    async fn what_has_taken_places_of_its_own_to_go_over_keeps_them_and_the_others_are_given_back() {
        let route = route(20, 20);
        let [_, heaviest] = handlers_of(&route, 9).unwrap_or_else(|error| panic!("{error}"));
        let endpoint = Endpoint::alone(Arc::new(route), heaviest.clone());
        let slot = endpoint.try_slot(endpoint.versions.current().expect("loaded")).expect("room");
        let mut room = endpoint.moving_room(&heaviest).await.expect("twice ten are twenty");
        let (permits, left) = endpoint.inherit(&heaviest, slot.permits, room.take_own());
        assert_eq!((permits.places(), left.places(), endpoint.free_permits()), (10, 10, 0));
        drop((room, left));
        assert_eq!(endpoint.free_permits(), 10);
    }

    #[test]
    fn what_needs_more_places_than_its_route_has_is_refused_when_it_is_loaded() {
        assert!(handlers(&route(4, 20)).is_ok());
        let error = handlers(&route(3, 20)).map(drop).expect_err("it needs four").to_string();
        assert!(error.contains("route's `max-instances`"), "{error}");
    }

    async fn waits<T>(work: impl Future<Output = T>) -> bool {
        tokio::time::timeout(Duration::from_secs(60), work).await.is_err()
    }

    /// Two tenants of one pool.
    fn two_tenants(route: &Route, handler: &Handler) -> [Arc<Endpoint>; 2] {
        [(); 2].map(|()| Endpoint::alone(Arc::new(route.clone()), handler.clone()))
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_a_tenants_instances_weigh_they_leave_others_room_to_go_over() {
        let route = route(20, 20);
        let [light, heavy] = handlers(&route).unwrap_or_else(|error| panic!("{error}"));
        let [one, other] = two_tenants(&route, &heavy);
        let first = [one.moving_room(&heavy).await, one.moving_room(&heavy).await];
        assert!(waits(one.moving_room(&light)).await, "two of four places are all of his part");
        let others = [other.moving_room(&heavy).await, other.moving_room(&heavy).await];
        drop(first);
        assert!(!waits(one.moving_room(&light)).await);
        drop(others);
    }

    #[tokio::test(start_paused = true)]
    async fn what_weighs_more_than_a_tenants_part_goes_over_by_places_of_its_own_or_lets_others_pass() {
        let route = route(20, 20);
        let [light, heaviest] = handlers_of(&route, 9).unwrap_or_else(|error| panic!("{error}"));
        let [one, other] = two_tenants(&route, &heaviest);
        let free = heaviest.free_slots();
        let room = one.moving_room(&heaviest).await.expect("places");
        assert_eq!((one.free_permits(), heaviest.free_slots()), (20 - 10, free - 10));
        assert!(waits(one.moving_room(&heaviest)).await, "one at a time");
        // Of what is set aside nothing is taken: three tenants have their parts.
        let mut of_others = Vec::new();
        for tenant in [
            &other,
            &Endpoint::alone(Arc::new(route.clone()), light.clone()),
            &two_tenants(&route, &light)[0],
        ] {
            for _ in 0..8 {
                let room = tokio::time::timeout(Duration::from_secs(60), tenant.moving_room(&light)).await;
                of_others.push(room.expect("it waits for nobody").expect("set aside"));
            }
        }
        drop((room, of_others));
        let slots = [(); 2].map(|()| one.try_slot(one.versions.current().expect("loaded")).expect("room"));
        let refused = one.moving_room(&heaviest).await.map(drop).map_err(|reached| reached.scope);
        assert_eq!(refused, Err(Scope::Route), "nothing is left");
        assert!(!waits(one.moving_room(&light)).await, "its tenant's others go over");
        assert_eq!(
            one.trial_room(&heaviest).await.map(drop).map_err(|reached| reached.scope),
            Err(Scope::Route)
        );
        drop(slots);
        assert!(one.moving_room(&heaviest).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_one_version_tried_at_a_time_and_keeps_no_other_from_it() {
        let route = route(20, 20);
        let [_, heavy] = handlers(&route).unwrap_or_else(|error| panic!("{error}"));
        let [one, other] = two_tenants(&route, &heavy);
        let trial = one.trial_room(&heavy).await.expect("room");
        assert!(waits(one.trial_room(&heavy)).await);
        assert!(!waits(other.trial_room(&heavy)).await);
        drop(trial);
        assert!(!waits(one.trial_room(&heavy)).await);
    }
}
