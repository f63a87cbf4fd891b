//! Engine classes: what reservation, pool sizes and compiled code belong to.
//!
//! A few classes, fixed at start, differ in how large a linear memory may grow, and in whether code counts the fuel that it uses. A route
//! takes the smallest class that fits its `max-memory-bytes`, of those that are metered if it has `fuel-per-event`. Every live instance holds one [`Slot`], which covers its memories, tables, core instances and stack;
//! without a slot no handshake is answered with 101.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::imports::{self, GuestState};
use crate::instance::meter;
use crate::limits::{Limits, MAX_MEMORY_BYTES};

/// How large one linear memory may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MemoryClass {
    /// Up to 16 MiB.
    Small,
    /// Up to 128 MiB.
    Medium,
    /// Up to 4 GiB, all that a 32-bit memory can be.
    Large,
}

impl MemoryClass {
    /// From small to large.
    pub(crate) const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    pub(crate) fn max_memory_bytes(self) -> usize {
        match self {
            Self::Small => 16 << 20,
            Self::Medium => 128 << 20,
            Self::Large => MAX_MEMORY_BYTES,
        }
    }

    /// The smallest class for a route.
    pub(crate) fn for_limits(limits: &Limits) -> Self {
        Self::ALL
            .into_iter()
            .find(|class| limits.max_memory_bytes <= class.max_memory_bytes())
            .unwrap_or(Self::Large)
    }
}

/// What compiled code belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CodeClass {
    pub(crate) memory: MemoryClass,
    /// The code counts the fuel that it uses, for which it takes more time.
    pub(crate) metered: bool,
}

impl CodeClass {
    /// From small to large, first without and then with a meter.
    pub(crate) fn all() -> [Self; 6] {
        let of = |metered| MemoryClass::ALL.map(|memory| Self { memory, metered });
        let ([a, b, c], [d, e, f]) = (of(false), of(true));
        [a, b, c, d, e, f]
    }

    /// The smallest class for a route.
    pub(crate) fn for_limits(limits: &Limits) -> Self {
        Self { memory: MemoryClass::for_limits(limits), metered: limits.fuel_per_event.is_metered() }
    }

    /// Whether code that needs `other` may be of this class instead.
    fn serves(self, other: Self) -> bool {
        self.metered == other.metered && self.memory >= other.memory
    }

    /// All that compiled code depends on, the same wherever it is compiled; without a pool.
    pub(crate) fn code_config(self) -> Config {
        let mut config = Config::new();
        config
            .concurrency_support(false)
            // In metered code, too: fuel does not see time.
            .epoch_interruption(true)
            .consume_fuel(self.metered)
            .cranelift_opt_level(OptLevel::Speed)
            .memory_reservation(self.memory.max_memory_bytes() as u64)
            .max_wasm_stack(MAX_WASM_STACK)
            .async_stack_size(FIBER_STACK)
            // What a guest's recursion has touched is not the process's for ever, nor the next tenant's to look at.
            .async_stack_zeroing(true);
        config
    }

    /// An engine that runs such code, with room for so many instances. Reserves address space.
    pub(crate) fn pooling_engine(self, slots: u32, table_elements: u32) -> wasmtime::Result<Engine> {
        let slots = slots.saturating_add(SPARE_SLOTS);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(slots)
            .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_SLOT))
            .total_memories(slots)
            .total_tables(slots.saturating_mul(TABLES_PER_SLOT))
            .max_memories_per_module(MEMORIES_AND_TABLES_PER_MODULE)
            .max_tables_per_module(MEMORIES_AND_TABLES_PER_MODULE)
            .total_stacks(slots)
            .async_stack_keep_resident(STACK_KEPT)
            .table_elements(table_elements as usize)
            .max_memory_size(self.memory.max_memory_bytes());
        Engine::new(self.code_config().allocation_strategy(InstanceAllocationStrategy::Pooling(pool)))
    }
}

/// Mappings that a live instance takes at most, and that a pooled stack takes from the start (Linux counts them against
/// `vm.max_map_count`).
const MAPPINGS_PER_INSTANCE: u64 = 4;
const MAPPINGS_PER_STACK: u64 = 2;
/// Mappings left for everything else in the process.
const MAPPINGS_RESERVED: u64 = 2_000;
/// Core instances and tables of an ordinary component, for each of its linear memories: the adapter and the shims included.
const CORE_INSTANCES_PER_SLOT: u32 = 8;
const TABLES_PER_SLOT: u32 = 4;
/// All that a module may have of each (wasmparser's `MAX_WASM_MEMORIES` and `MAX_WASM_TABLES`): what it has takes slots, and those are bounded.
const MEMORIES_AND_TABLES_PER_MODULE: u32 = 100;
/// Room for tables in every class (wasmtime's default): a route's own limit is told by name instead.
const MIN_TABLE_ELEMENTS: u32 = 20_000;
/// Address space of one fiber stack, of which the guest may use `MAX_WASM_STACK`; the rest is for the host's imports.
const FIBER_STACK: usize = 1 << 20;
const MAX_WASM_STACK: usize = 512 << 10;
/// What of a stack that is given back is overwritten instead, because the next call touches it anyway. The rest the system takes back.
const STACK_KEPT: usize = 16 << 10;
/// Slots of each class beside those that connections can get: for instances that take another one's place, while both are there, ...
const MOVING_SLOTS: u32 = 24;
/// ... and for those that are only tried, so that no deployment waits for another tenant's.
const TRIAL_SLOTS: u32 = 8;
/// Of these one tenant takes a part, so that who takes long leaves some to others. What weighs more than a part takes its tenant's own places.
pub(crate) const MOVING_SLOTS_OF_TENANT: u32 = MOVING_SLOTS / 3;
pub(crate) const TRIAL_SLOTS_OF_TENANT: u32 = TRIAL_SLOTS / 2;
const SPARE_SLOTS: u32 = MOVING_SLOTS + TRIAL_SLOTS;

/// One engine, with everything a handler may import linked.
pub(crate) struct EngineClass {
    pub(crate) code: CodeClass,
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<GuestState>,
    slots: Arc<Semaphore>,
    moving: Arc<Semaphore>,
    trials: Arc<Semaphore>,
    /// How many slots there are when none is taken.
    pub(crate) all_slots: u32,
}

impl EngineClass {
    fn new(code: CodeClass, slots: u32, table_elements: u32) -> wasmtime::Result<Self> {
        let engine = code.pooling_engine(slots, table_elements)?;
        meter::start_ticker(&engine)?;
        let mut linker = Linker::new(&engine);
        imports::add_to_linker(&mut linker, code.metered)?;
        let of = |slots: u32| Arc::new(Semaphore::new(slots as usize));
        let (moving, trials) = (of(MOVING_SLOTS), of(TRIAL_SLOTS));
        Ok(Self { code, engine, linker, slots: of(slots), moving, trials, all_slots: slots })
    }

    /// For an instance that needs `weight` times what an ordinary one does; none if the pool is exhausted.
    pub(crate) fn try_permit(&self, weight: u32) -> Option<OwnedSemaphorePermit> {
        self.slots.clone().try_acquire_many_owned(weight).ok()
    }

    /// For an instance that takes another one's place, and weighs no more than one tenant's part; waits for it.
    pub(crate) async fn moving_permit(&self, weight: u32) -> OwnedSemaphorePermit {
        let permit = self.moving.clone().acquire_many_owned(weight.min(MOVING_SLOTS_OF_TENANT)).await;
        permit.expect("the semaphore is never closed")
    }

    /// For an instance that is only tried, and weighs no more than one tenant's part; waits for it.
    pub(crate) async fn trial_permit(&self, weight: u32) -> OwnedSemaphorePermit {
        let permit = self.trials.clone().acquire_many_owned(weight.min(TRIAL_SLOTS_OF_TENANT)).await;
        permit.expect("the semaphore is never closed")
    }

    /// Slots that nobody has taken.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn free_slots(&self) -> usize {
        self.slots.available_permits() + self.moving.available_permits() + self.trials.available_permits()
    }

    /// How many slots a component takes.
    pub(crate) fn weight(memories: u32, tables: u32, core_instances: u32) -> u32 {
        memories
            .max(tables.div_ceil(TABLES_PER_SLOT))
            .max(core_instances.div_ceil(CORE_INSTANCES_PER_SLOT))
            .max(1)
    }
}

/// The engine classes of one process.
pub(crate) struct Engines {
    classes: Vec<Arc<EngineClass>>,
}

/// What the operator wanted and this system does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Live instances that were asked for.
    pub wanted: u32,
    /// Live instances that there can be.
    pub granted: u32,
    /// The command that would mend it.
    pub remedy: String,
}

impl Engines {
    /// Makes the classes that routes with these limits need, with `max_instances` live instances altogether if the system
    /// allows so many.
    ///
    /// # Errors
    /// The system has no room even for what it said it allows.
    pub(crate) fn new<'a>(
        limits: impl IntoIterator<Item = &'a Limits>,
        max_instances: u32,
    ) -> wasmtime::Result<(Self, Option<Shortage>)> {
        // Each class with the largest table that one of its routes allows.
        let mut wanted = BTreeMap::new();
        for limits in limits {
            let elements = wanted.entry(CodeClass::for_limits(limits)).or_insert(MIN_TABLE_ELEMENTS);
            *elements = limits.max_table_elements.max(*elements);
        }
        let spare = SPARE_SLOTS.saturating_mul(wanted.len() as u32);
        let (granted, shortage) = fit(max_instances, spare, max_map_count());
        let share = (granted / wanted.len().max(1) as u32).max(1);
        let classes = wanted
            .into_iter()
            .map(|(code, table_elements)| EngineClass::new(code, share, table_elements).map(Arc::new))
            .collect::<wasmtime::Result<_>>()?;
        Ok((Self { classes }, shortage))
    }

    /// The smallest class there is for a route; none if it was not foreseen at start.
    pub(crate) fn class(&self, limits: &Limits) -> Option<&Arc<EngineClass>> {
        let needed = CodeClass::for_limits(limits);
        self.classes.iter().find(|class| class.code.serves(needed))
    }
}

fn max_map_count() -> Option<u64> {
    fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// How many instances fit into the system's limit of mappings, beside so many spare ones.
fn fit(wanted: u32, spare: u32, max_map_count: Option<u64>) -> (u32, Option<Shortage>) {
    let each = MAPPINGS_PER_INSTANCE + MAPPINGS_PER_STACK;
    let reserved = MAPPINGS_RESERVED + u64::from(spare) * each;
    let Some(available) = max_map_count else { return (wanted, None) };
    let room = u32::try_from(available.saturating_sub(reserved) / each).unwrap_or(u32::MAX).max(1);
    if room >= wanted {
        return (wanted, None);
    }
    let needed = u64::from(wanted) * each + reserved;
    let remedy = format!("sysctl -w vm.max_map_count={needed}");
    (room, Some(Shortage { wanted, granted: room, remedy }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FuelLimit;

    #[test]
    fn a_route_takes_the_smallest_class_that_fits() {
        let class =
            |max_memory_bytes| MemoryClass::for_limits(&Limits { max_memory_bytes, ..Limits::default() });
        assert_eq!(class(1), MemoryClass::Small);
        assert_eq!(class(16 << 20), MemoryClass::Small);
        assert_eq!(class((16 << 20) + 1), MemoryClass::Medium);
        assert_eq!(class(1 << 30), MemoryClass::Large);
    }

    #[test]
    fn a_metered_route_takes_metered_code_of_its_size_and_no_other_route_does() {
        let metered = Limits { fuel_per_event: FuelLimit::AtMost(1), ..Limits::default() };
        let (engines, _) = Engines::new([&Limits::default(), &metered], 4).expect("address space");
        let found = |limits: &Limits| engines.class(limits).map(|class| (class.code, class.all_slots));
        let of = |metered| CodeClass { memory: MemoryClass::Medium, metered };
        assert_eq!(found(&Limits::default()), Some((of(false), 2)), "half of the instances");
        assert_eq!(found(&metered), Some((of(true), 2)));
        assert_eq!(found(&Limits { max_memory_bytes: 1, ..metered.clone() }), Some((of(true), 2)));
        assert_eq!(found(&Limits { max_memory_bytes: 1 << 30, ..metered }), None);
        let (engines, _) = Engines::new([&Limits::default()], 4).expect("address space");
        let metered = Limits { fuel_per_event: FuelLimit::AtMost(1), ..Limits::default() };
        assert!(engines.class(&metered).is_none(), "code that does not count cannot be stopped by a count");
    }

    #[tokio::test]
    async fn what_a_guests_recursion_has_touched_of_its_stack_is_given_back_with_its_instance() {
        use wasmtime::{Instance, Module, Store, Trap};
        let class = CodeClass { memory: MemoryClass::Small, metered: false };
        let engine = class.pooling_engine(2, 1).expect("address space");
        let text = "(module (func $f (export \"f\") (result i32) (i32.add (call $f) (i32.const 1))))";
        let module = Module::new(&engine, wat::parse_str(text).expect("text")).expect("a module");
        let mut stores = Vec::new();
        for _ in 0..2 {
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(u64::MAX / 2);
            let instance = Instance::new_async(&mut store, &module, &[]).await.expect("room");
            let recurse = instance.get_typed_func::<(), i32>(&mut store, "f").expect("exported");
            let error = recurse.call_async(&mut store, ()).await.expect_err("it never returns");
            assert_eq!(error.downcast_ref(), Some(&Trap::StackOverflow));
            stores.push(store);
        }
        drop(stores);
        let metrics = engine.pooling_allocator_metrics().expect("a pool");
        assert_eq!(metrics.unused_stack_bytes_resident(), Some(2 * STACK_KEPT));
    }

    #[tokio::test]
    async fn in_every_class_a_module_may_have_several_memories_and_tables_and_tables_as_large_as_its_route_allows()
     {
        use wasmtime::{Instance, Module, Store};
        const ELEMENTS: u32 = 100_000;
        let memories = "(memory 1 2)".repeat(4);
        let text =
            format!("(module {memories} {} (table {ELEMENTS} funcref))", "(table 1 funcref)".repeat(4));
        for class in CodeClass::all() {
            let engine = class.pooling_engine(4, ELEMENTS).expect("address space");
            let module = Module::new(&engine, wat::parse_str(&text).expect("text")).expect("a module");
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(u64::MAX / 2);
            if class.metered {
                store.set_fuel(u64::MAX).expect("it counts");
            }
            Instance::new_async(&mut store, &module, &[])
                .await
                .unwrap_or_else(|error| panic!("{class:?}: {error}"));
        }
    }

    #[test]
    fn what_the_system_does_not_allow_is_told_with_the_command_that_mends_it() {
        assert_eq!(fit(10_000, 32, Some(65_530)), (10_000, None));
        assert_eq!(fit(10_000, 32, None), (10_000, None));
        let (granted, shortage) = fit(20_000, 0, Some(65_530));
        let shortage = shortage.expect("a shortage");
        assert_eq!((granted, shortage.granted), (10_588, 10_588));
        assert_eq!(shortage.remedy, "sysctl -w vm.max_map_count=122000");
        assert_eq!(fit(20_000, 0, Some(122_000)).1, None);
        assert_eq!(fit(20_000, 1, Some(122_000)).0, 19_999);
    }

    #[test]
    fn a_component_with_several_memories_takes_several_slots() {
        assert_eq!(EngineClass::weight(1, 2, 4), 1);
        assert_eq!(EngineClass::weight(4, 5, 8), 4);
        assert_eq!(EngineClass::weight(0, 0, 0), 1);
        assert_eq!(EngineClass::weight(1, 9, 1), 3);
        assert_eq!(EngineClass::weight(1, 1, 17), 3);
    }
}
