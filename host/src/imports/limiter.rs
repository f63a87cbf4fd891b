//! How much memory one instance may take, whatever it is made of.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::connection::compression::Reservation;
use crate::instance::shortage::is_out_of_memory;
use crate::limits::Limits;
use crate::limits::idle::Of;
use crate::limits::tenants::Tenancy;

/// What an element of a table takes in the host.
pub(crate) const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// What an instance takes beside what it grows to: its store, its parts in the pool, and the stack that calls of usual depth touch.
pub(crate) const INSTANCE_BYTES: usize = 64 << 10;
/// What a handle's object takes in the host, at the worst: an entry of the store's table, and what WASI keeps behind it, such as a request
/// with headers, or a body with a piece that waits.
pub(crate) const HANDLE_BYTES: usize = 2 << 10;
/// Handles are charged so many at a time.
const HANDLE_STEP: usize = 16;

/// Sums the linear memories, tables and handles of an instance, and takes them from its tenant's memory. A refused growth fails inside the guest.
#[derive(Debug)]
pub(crate) struct InstanceLimiter {
    memory: Allowance,
    table: Allowance,
    /// The most there were, by steps: what a table has grown to it keeps.
    handles: usize,
    /// Takes the instance as such into account.
    own_bytes: usize,
    /// Of the tenant's memory; at first what the component may begin with.
    reserved: Reservation,
    /// Whose idle things give way when there is nothing left to reserve; none before it serves anybody.
    displaces: Option<Arc<Tenancy>>,
    /// What it would have had with what the tenant had no memory for, in this event.
    refused_bytes: Option<usize>,
    /// Memories and tables before what was granted last, until that is known to have come about.
    granted_beside: Option<(Allowance, Allowance)>,
    /// A memory or a table could not grow in this event although it might: the system had nothing to give.
    system_refused: bool,
}

#[derive(Debug, Clone, Copy)]
struct Allowance {
    used: usize,
    limit: usize,
}

impl Allowance {
    /// `maximum` is the component's own: growth past it fails in any case, and is not charged.
    fn grown(self, current: usize, desired: usize, maximum: Option<usize>) -> Option<Self> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let allowed = used <= self.limit && maximum.is_none_or(|maximum| desired <= maximum);
        allowed.then_some(Self { used, ..self })
    }
}

impl InstanceLimiter {
    /// `own_bytes` of what is reserved are the instance's as long as it lives.
    pub(super) fn new(limits: &Limits, own_bytes: usize, reserved: Reservation) -> Self {
        Self {
            handles: 0,
            own_bytes,
            memory: Allowance { used: 0, limit: limits.max_memory_bytes },
            table: Allowance { used: 0, limit: limits.max_table_elements as usize },
            reserved,
            displaces: None,
            refused_bytes: None,
            granted_beside: None,
            system_refused: false,
        }
    }

    /// It serves somebody: from now on what this tenant has made ahead gives way to it.
    pub(super) fn displace(&mut self, tenancy: &Arc<Tenancy>) {
        if self.displaces.is_none() {
            self.displaces = Some(tenancy.clone());
        }
    }

    /// Another event begins.
    pub(super) fn start_event(&mut self) {
        (self.refused_bytes, self.system_refused) = (None, false);
    }

    /// What the tenant had no memory for in this event: what it would have come to, and how much more that was.
    pub(super) fn refused(&self) -> Option<(usize, usize)> {
        self.refused_bytes.map(|bytes| (bytes, bytes.saturating_sub(self.reserved.bytes())))
    }

    /// Whether the system had no memory for what it was granted in this event.
    pub(super) fn was_refused_by_system(&self) -> bool {
        self.system_refused
    }

    /// The instance has begun: what it did not need is given back.
    pub(crate) fn settle(&mut self) {
        // Less is always there.
        let _ = self.reserved.resize(self.bytes(self.memory, self.table));
    }

    fn reserve(&mut self, memory: Allowance, table: Allowance) -> bool {
        let bytes = self.bytes(memory, table);
        let reserved = bytes <= self.reserved.bytes() || self.resize(bytes);
        if reserved {
            (self.memory, self.table) = (memory, table);
        } else {
            self.refused_bytes = Some(bytes);
        }
        reserved
    }

    /// What a memory or a table may grow by, or not.
    fn grant(&mut self, grown: Option<(Allowance, Allowance)>) -> bool {
        let before = (self.memory, self.table);
        let granted = grown.is_some_and(|(memory, table)| self.reserve(memory, table));
        self.granted_beside = granted.then_some(before);
        granted
    }

    /// What was granted has not come about: a guest that tries again and again takes nothing from others.
    fn take_back(&mut self, error: &wasmtime::Error) {
        self.system_refused |= is_out_of_memory(error);
        if let Some((memory, table)) = self.granted_beside.take() {
            (self.memory, self.table) = (memory, table);
            self.settle();
        }
    }

    fn resize(&mut self, bytes: usize) -> bool {
        loop {
            if self.reserved.resize(bytes) {
                return true;
            }
            if !self.displaces.as_ref().is_some_and(|tenancy| tenancy.idle.give_up_one(Of::Anything)) {
                return false;
            }
        }
    }

    /// Of its linear memories.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.used
    }

    /// There are so many handles now; false if the tenant has no memory for them.
    pub(super) fn hold_handles(&mut self, handles: usize) -> bool {
        if handles <= self.handles {
            return true;
        }
        let before = std::mem::replace(&mut self.handles, handles.next_multiple_of(HANDLE_STEP));
        let reserved = self.reserve(self.memory, self.table);
        if !reserved {
            self.handles = before;
        }
        reserved
    }

    fn bytes(&self, memory: Allowance, table: Allowance) -> usize {
        let tables = table.used.saturating_mul(TABLE_ELEMENT_BYTES);
        let handles = self.handles.saturating_mul(HANDLE_BYTES);
        memory.used.saturating_add(tables).saturating_add(handles).saturating_add(self.own_bytes)
    }
}

impl ResourceLimiter for InstanceLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.memory.grown(current, desired, maximum);
        Ok(self.grant(grown.map(|memory| (memory, self.table))))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back(&error);
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.table.grown(current, desired, maximum);
        Ok(self.grant(grown.map(|table| (self.memory, table))))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back(&error);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::compression::Budget;

    fn limiter(max_memory_bytes: usize, budget: &Budget) -> InstanceLimiter {
        let limits = Limits { max_memory_bytes, ..Limits::default() };
        InstanceLimiter::new(&limits, 0, budget.reserve(0).expect("nothing always fits"))
    }

    #[test]
    fn several_memories_share_one_allowance() {
        let mut limiter = limiter(100, &Budget::unlimited());
        let mut grow = |current, desired| limiter.memory_growing(current, desired, None).expect("no trap");
        assert!(grow(0, 60));
        assert!(!grow(0, 41));
        assert!(grow(0, 40));
        assert!(!grow(60, 61));
    }

    #[test]
    fn what_failed_is_not_charged() {
        let mut limiter = limiter(100, &Budget::unlimited());
        assert!(!limiter.memory_growing(0, 60, Some(50)).expect("no trap"));
        assert!(limiter.memory_growing(0, 100, None).expect("no trap"));
    }

    #[test]
    fn a_growth_that_the_system_has_no_memory_for_is_known_until_the_next_event() {
        let mut limiter = limiter(100, &Budget::unlimited());
        limiter.memory_grow_failed(wasmtime::Error::msg("more than its maximum")).expect("no trap");
        assert!(!limiter.was_refused_by_system());
        limiter.memory_grow_failed(std::io::Error::from_raw_os_error(12).into()).expect("no trap");
        assert!(limiter.was_refused_by_system());
        limiter.start_event();
        assert!(!limiter.was_refused_by_system());
    }

    #[test]
    fn what_was_granted_and_could_not_be_had_is_given_back() {
        let budget = Budget::of(1000);
        let mut limiter = limiter(1 << 20, &budget);
        assert!(limiter.memory_growing(0, 60, None).expect("no trap"));
        let enomem = || std::io::Error::from_raw_os_error(12).into();
        for _ in 0..100 {
            assert!(limiter.memory_growing(60, 600, None).expect("no trap"));
            limiter.memory_grow_failed(enomem()).expect("no trap");
            assert!(limiter.table_growing(0, 10, None).expect("no trap"));
            limiter.table_grow_failed(enomem()).expect("no trap");
        }
        assert_eq!((budget.used(), limiter.memory_bytes()), (60, 60));
        // Of a refusal nothing is to be given back.
        assert!(!limiter.memory_growing(60, 2000, None).expect("no trap"));
        limiter.memory_grow_failed(enomem()).expect("no trap");
        assert_eq!(budget.used(), 60);
    }

    #[test]
    fn memories_and_tables_are_taken_from_the_tenants_memory_and_given_back() {
        let budget = Budget::of(100);
        let mut limiter = limiter(1 << 20, &budget);
        assert!(limiter.memory_growing(0, 60, None).expect("no trap"));
        assert!(!limiter.table_growing(0, 6, None).expect("no trap"), "six elements of 8 bytes are 48");
        assert!(limiter.table_growing(0, 5, None).expect("no trap"));
        assert!(!limiter.memory_growing(60, 61, None).expect("no trap"));
        assert_eq!(budget.used(), 100);
        drop(limiter);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_an_instance_may_begin_with_is_reserved_before_and_settled_after() {
        let budget = Budget::of(100);
        let mut limiter = InstanceLimiter::new(&Limits::default(), 7, budget.reserve(100).expect("room"));
        assert!(limiter.memory_growing(0, 60, None).expect("no trap"));
        limiter.settle();
        assert_eq!(budget.used(), 67, "with what the instance takes itself");
    }

    #[test]
    fn handles_are_taken_from_the_tenants_memory_in_steps_and_stay_taken() {
        let step = HANDLE_STEP * HANDLE_BYTES;
        let budget = Budget::of(2 * step);
        let mut limiter = limiter(1 << 20, &budget);
        for (handles, steps) in [(1, 1), (HANDLE_STEP, 1), (HANDLE_STEP + 1, 2), (3, 2)] {
            assert!(limiter.hold_handles(handles), "{handles}");
            assert_eq!(budget.used(), steps * step, "{handles}");
        }
        assert!(!limiter.hold_handles(2 * HANDLE_STEP + 1));
        assert!(limiter.hold_handles(2 * HANDLE_STEP), "what there was stays");
        assert!(!limiter.memory_growing(0, 1, None).expect("no trap"));
        drop(limiter);
        assert_eq!(budget.used(), 0);
    }
}
