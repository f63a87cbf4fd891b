//! Whose routes they are. Tenants do not trust each other: what one uses up is its own, and what one does another does not notice.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::compression::{Budget, Reservation};
use crate::connection::topics::Topics;
use crate::handler::engine::MOVING_SLOTS_OF_TENANT;
use crate::limits::idle::{IdleOnes, Of};
use crate::limits::processors::{Account, Processors};
use crate::limits::rate::Rate;
use crate::limits::{Reached, Scope, TenantLimits};

/// A tenant, as an operator writes him down. Routes with the same name are the same tenant's; the first one's limits count.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Names the tenant in logs and metrics.
    pub name: String,
    /// What all its routes together may use.
    pub total: TenantLimits,
}

/// The tenant of routes that name none.
pub const DEFAULT_TENANT: &str = "default";

impl Tenant {
    /// Whether it has the routes that are nobody's.
    pub fn is_default(&self) -> bool {
        self.name == DEFAULT_TENANT
    }
}

impl Default for Tenant {
    /// [`DEFAULT_TENANT`], bounded by nothing but the server.
    fn default() -> Self {
        Self { name: DEFAULT_TENANT.into(), total: TenantLimits::whole_server() }
    }
}

/// Names that are looked up at once for one tenant: whoever has names that nobody answers for leaves threads to others.
pub(crate) const LOOK_UPS_AT_ONCE: usize = 8;

/// What a record takes beside its text: its time, names and ids. So that empty lines are not free.
pub(crate) const RECORD_BYTES: usize = 100;

/// What a tenant uses of a running server. Each bound's permit lives inside what it counts.
#[derive(Debug)]
pub(crate) struct Tenancy {
    pub(crate) name: String,
    connections: Arc<Semaphore>,
    instances: Arc<Semaphore>,
    /// Places for instances that go over to another version at once.
    moving: Arc<Semaphore>,
    /// A new version that is tried: one at a time.
    trying: Arc<Semaphore>,
    /// Of what it publishes, what is compressed beside its tasks: one message at a time.
    compressing: Arc<Semaphore>,
    /// Names that are looked up at once for what his handlers connect to.
    pub(crate) look_ups: Arc<Semaphore>,
    pub(crate) memory: Budget,
    max_memory_bytes: usize,
    pub(crate) account: Account,
    /// `max-log-bytes-per-second`.
    log: Rate,
    /// What gives way before one of his is refused.
    pub(crate) idle: IdleOnes,
    /// Its topics are nobody else's.
    pub(crate) topics: Arc<Topics>,
}

impl Tenancy {
    /// `memory` is the server's.
    pub(crate) fn new(tenant: &Tenant, memory: &Budget, processors: &Arc<Processors>) -> Arc<Self> {
        Self::with_account(tenant, memory, processors.open_account(tenant.total.cpu_share))
    }

    /// Of those who are nobody's yet: only their account is used.
    pub(crate) fn of_strangers(processors: &Arc<Processors>) -> Arc<Self> {
        let nobody = Tenant { name: String::new(), total: TenantLimits::default() };
        let account = processors.open_strangers_account(nobody.total.cpu_share);
        Self::with_account(&nobody, &Budget::unlimited(), account)
    }

    fn with_account(tenant: &Tenant, memory: &Budget, account: Account) -> Arc<Self> {
        let Tenant { name, total } = tenant;
        Arc::new(Self {
            name: name.clone(),
            connections: Arc::new(Semaphore::new(total.max_connections as usize)),
            instances: Arc::new(Semaphore::new(total.max_instances as usize)),
            moving: Arc::new(Semaphore::new(MOVING_SLOTS_OF_TENANT as usize)),
            trying: Arc::new(Semaphore::new(1)),
            compressing: Arc::new(Semaphore::new(1)),
            look_ups: Arc::new(Semaphore::new(LOOK_UPS_AT_ONCE)),
            memory: memory.part(total.max_memory_bytes),
            max_memory_bytes: total.max_memory_bytes,
            account,
            log: Rate::new(total.max_log_bytes_per_second as f64),
            idle: IdleOnes::default(),
            topics: Arc::default(),
        })
    }

    /// The right to one more connection.
    pub(crate) fn try_connection(&self) -> Result<OwnedSemaphorePermit, Reached> {
        let reached = Reached { scope: Scope::Tenant, limit: "max-connections" };
        self.connections.clone().try_acquire_owned().map_err(|_| reached)
    }

    /// The right to so many places for live instances more.
    pub(crate) fn try_places(&self, places: u32) -> Result<OwnedSemaphorePermit, Reached> {
        let reached = Reached { scope: Scope::Tenant, limit: "max-instances" };
        self.instances.clone().try_acquire_many_owned(places).map_err(|_| reached)
    }

    /// The right to so many places for an instance that goes over to another version, or to all there are; waits for it.
    pub(crate) async fn moving_permit(&self, places: u32) -> OwnedSemaphorePermit {
        let permit = self.moving.clone().acquire_many_owned(places.min(MOVING_SLOTS_OF_TENANT)).await;
        permit.expect("the semaphore is never closed")
    }

    /// The right to have a new version tried; waits for it.
    pub(crate) async fn trial_permit(&self) -> OwnedSemaphorePermit {
        self.trying.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// The right to have a published message compressed beside the tenant's tasks, if none is.
    pub(crate) fn try_compressing(&self) -> Option<OwnedSemaphorePermit> {
        self.compressing.clone().try_acquire_owned().ok()
    }

    /// Whether so many bytes more of what guests print or cause to be told may be logged.
    pub(crate) fn may_log(&self, bytes: usize) -> bool {
        self.log.take(bytes as f64)
    }

    /// Connections and instances that there may still be.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn free_permits(&self) -> [usize; 2] {
        [self.connections.available_permits(), self.instances.available_permits()]
    }

    /// So much of the tenant's memory, and of the server's; or which of them has none.
    pub(crate) fn try_memory(&self, bytes: usize) -> Result<Reservation, Reached> {
        self.memory.reserve(bytes).ok_or_else(|| self.lacks_memory(bytes))
    }

    /// The same for somebody who is there: what is idle gives way to him.
    pub(crate) fn take_memory(&self, bytes: usize) -> Result<Reservation, Reached> {
        loop {
            match self.try_memory(bytes) {
                Err(_) if self.idle.give_up_one(Of::Anything) => {}
                taken => return taken,
            }
        }
    }

    /// Whose bound it is that so much more memory was refused.
    pub(crate) fn lacks_memory(&self, more: usize) -> Reached {
        let has_some = self.memory.used().saturating_add(more) <= self.max_memory_bytes;
        Reached { scope: if has_some { Scope::Server } else { Scope::Tenant }, limit: "max-memory-bytes" }
    }

    /// Whether so much is more than half of the tenant's memory: who has it is himself what others lack.
    pub(crate) fn is_most_of_memory(&self, bytes: usize) -> bool {
        bytes > self.max_memory_bytes / 2
    }
}
