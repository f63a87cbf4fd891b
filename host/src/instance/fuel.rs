//! How much an event computes, in wasmtime's units of fuel: the same number on every machine, whatever else that does.
//!
//! An instance of metered code has a tank that is full when an event begins; what has gone from it when the event ends is counted. The
//! tank holds one unit more than the limit: it is looked at only where functions and loops begin and calls of the host's return, which tells
//! that it is empty, not how much is missing. So an event that returns with an empty tank has used too much, too, and what others have used is known exactly.
//!
//! Fuel refuses to be a measure of time: a call of the host's costs what its instruction does, however long it takes, and some units take longer than others. The limits of processor time and
//! wall-clock time stay.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use wasmtime::{AsContextMut, Store, Trap};

use crate::limits::FuelLimit;
use crate::metrics::RouteMetrics;

/// The event used more than `fuel-per-event`, which is so many units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("used more than {0} units of fuel in one event (limit `fuel-per-event`)")]
pub(crate) struct FuelExceeded(u64);

/// A route has a limit of fuel, and code that does not count: an embedding program's mistake.
#[derive(Debug, thiserror::Error)]
#[error("its code does not count fuel: load it with the limits of its route, which have `fuel-per-event`")]
struct NotMetered;

/// How much fuel an event may use, and where it is counted.
#[derive(Debug, Clone)]
pub(crate) struct FuelGauge {
    limit: u64,
    metrics: Arc<RouteMetrics>,
}

impl FuelGauge {
    /// For code that is metered or a route that wants it to be; else none.
    pub(crate) fn of(metered: bool, limit: FuelLimit, metrics: &Arc<RouteMetrics>) -> Option<Self> {
        let limit = match limit {
            FuelLimit::AtMost(units) => units,
            FuelLimit::Off if metered => u64::MAX,
            FuelLimit::Off => return None,
        };
        Some(Self { limit, metrics: metrics.clone() })
    }

    fn tank(&self) -> u64 {
        self.limit.saturating_add(1)
    }

    /// Before the first event.
    fn fill(&self, mut store: impl AsContextMut) -> wasmtime::Result<()> {
        store.as_context_mut().set_fuel(self.tank()).map_err(|_| NotMetered.into())
    }

    /// Counts what was used since the tank was full, and fills it.
    ///
    /// # Errors
    /// [`FuelExceeded`].
    pub(crate) fn settle(&self, mut store: impl AsContextMut) -> wasmtime::Result<()> {
        let mut store = store.as_context_mut();
        let left = store.get_fuel()?;
        self.metrics.fuel.count(self.tank().saturating_sub(left).min(self.limit));
        store.set_fuel(self.tank())?;
        if left == 0 { Err(FuelExceeded(self.limit).into()) } else { Ok(()) }
    }
}

/// A store whose events have so much fuel each, or run without that anybody counts.
pub(crate) struct FueledStore<T: 'static> {
    store: Store<T>,
    gauge: Option<FuelGauge>,
}

impl<T: 'static> FueledStore<T> {
    pub(crate) fn new(store: Store<T>, gauge: Option<FuelGauge>) -> Self {
        Self { store, gauge }
    }

    /// Before the first event.
    ///
    /// # Errors
    /// There is a gauge, and the code does not count.
    pub(crate) fn fill(&mut self) -> wasmtime::Result<()> {
        self.gauge.as_ref().map_or(Ok(()), |gauge| gauge.fill(&mut self.store))
    }

    /// An event has ended so: counts its fuel. An event that was out of fuel ends with [`FuelExceeded`], wherever it was stopped.
    pub(crate) fn end_event<R>(&mut self, ended: wasmtime::Result<R>) -> wasmtime::Result<R> {
        let Some(gauge) = &self.gauge else { return ended };
        let settled = gauge.settle(&mut self.store);
        match ended {
            Ok(answer) => settled.map(|()| answer),
            // With the trace of where it was.
            Err(error) if is_out_of_fuel(&error) => Err(error.context(FuelExceeded(gauge.limit))),
            Err(error) => Err(error),
        }
    }
}

fn is_out_of_fuel(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref::<Trap>(), Some(Trap::OutOfFuel))
}

/// Counts what an event has used that nobody waited for to the end.
impl<T: 'static> Drop for FueledStore<T> {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            // Nobody is left to be told that it was too much.
            let _ = gauge.settle(&mut self.store);
        }
    }
}

impl<T: 'static> Deref for FueledStore<T> {
    type Target = Store<T>;

    fn deref(&self) -> &Store<T> {
        &self.store
    }
}

impl<T: 'static> DerefMut for FueledStore<T> {
    fn deref_mut(&mut self) -> &mut Store<T> {
        &mut self.store
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Config, Engine, Instance, Module, TypedFunc};

    use super::*;

    /// `run N` has a loop of N turns, then straight code of 100 instructions.
    fn module(engine: &Engine) -> Module {
        let straight = "i32.const 1\ndrop\n".repeat(50);
        let text = format!(
            "(module (func (export \"run\") (param i32)
                (loop
                    (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                    (br_if 0 (i32.gt_s (local.get 0) (i32.const 0))))
                {straight})
              (func (export \"trap\") unreachable))"
        );
        Module::new(engine, wat::parse_str(text).expect("WebAssembly text")).expect("a module")
    }

    struct Guest {
        store: FueledStore<()>,
        run: TypedFunc<i32, ()>,
        trap: TypedFunc<(), ()>,
        metrics: Arc<RouteMetrics>,
    }

    impl Guest {
        fn new(limit: FuelLimit) -> Self {
            let engine = Engine::new(Config::new().consume_fuel(true)).expect("an engine");
            let metrics = Arc::<RouteMetrics>::default();
            let gauge = FuelGauge::of(true, limit, &metrics);
            let mut store = FueledStore::new(Store::new(&engine, ()), gauge);
            store.fill().expect("metered");
            let instance = Instance::new(&mut *store, &module(&engine), &[]).expect("instantiated");
            let run = instance.get_typed_func(&mut *store, "run").expect("exported");
            let trap = instance.get_typed_func(&mut *store, "trap").expect("exported");
            Self { store, run, trap, metrics }
        }

        fn run(&mut self, turns: i32) -> Result<(), FuelExceeded> {
            let ended = self.run.call(&mut *self.store, turns);
            self.store.end_event(ended).map_err(|error| *error.downcast_ref().expect("out of fuel"))
        }

        /// What one event costs.
        fn cost(&mut self, turns: i32) -> u64 {
            let before = self.metrics.fuel.total();
            self.run(turns).expect("within its limit");
            self.metrics.fuel.total() - before
        }
    }

    #[test]
    fn the_same_event_costs_the_same_and_each_turn_of_a_loop_as_much_as_the_last() {
        let mut guest = Guest::new(FuelLimit::AtMost(u64::MAX));
        let costs = [10, 11, 12, 10].map(|turns| guest.cost(turns));
        assert_eq!(costs[0], costs[3]);
        assert!(costs[1] > costs[0]);
        assert_eq!(costs[2] - costs[1], costs[1] - costs[0]);
    }

    #[test]
    fn an_event_may_use_its_limit_and_not_a_unit_more_wherever_it_is_when_that_is_used_up() {
        let cost = Guest::new(FuelLimit::AtMost(u64::MAX)).cost(10);
        let mut exact = Guest::new(FuelLimit::AtMost(cost));
        assert_eq!([exact.cost(10), exact.cost(10)], [cost; 2], "each event has all of it");
        // In the straight code at its end, at its beginning, and in the loop.
        for limit in [cost - 1, cost - 100, cost / 2, 1] {
            let mut short = Guest::new(FuelLimit::AtMost(limit));
            assert_eq!(short.run(10), Err(FuelExceeded(limit)), "{limit} of {cost}");
            assert_eq!(short.metrics.fuel.total(), limit, "what it may is counted, not what it wanted");
        }
    }

    #[test]
    fn an_endless_event_is_out_of_fuel_and_another_trap_is_what_it_was() {
        let mut guest = Guest::new(FuelLimit::AtMost(1_000_000));
        assert_eq!(guest.run(i32::MAX), Err(FuelExceeded(1_000_000)));
        let ended = guest.trap.call(&mut *guest.store, ());
        let error = guest.store.end_event(ended).expect_err("it trapped");
        assert!(!error.is::<FuelExceeded>() && error.is::<Trap>(), "{error:?}");
    }

    #[test]
    fn an_event_that_nobody_waited_for_is_counted() {
        let mut guest = Guest::new(FuelLimit::AtMost(u64::MAX));
        let cost = guest.cost(10);
        guest.run.call(&mut *guest.store, 10).expect("runs");
        let metrics = guest.metrics.clone();
        drop(guest);
        assert_eq!(metrics.fuel.total(), 2 * cost);
    }

    #[test]
    fn code_that_does_not_count_is_not_run_for_a_route_with_a_limit() {
        let metrics = Arc::<RouteMetrics>::default();
        let unmetered = |gauge| FueledStore::new(Store::new(&Engine::default(), ()), gauge);
        let limited = FuelGauge::of(false, FuelLimit::AtMost(1_000), &metrics);
        assert!(unmetered(limited).fill().expect_err("refused").is::<NotMetered>());
        let off = FuelGauge::of(false, FuelLimit::Off, &metrics);
        assert!(off.is_none() && unmetered(off).fill().is_ok());
        assert!(FuelGauge::of(true, FuelLimit::Off, &metrics).is_some(), "it would stop at once without");
    }
}
