//! What happens where a call of the host's returns to the guest.
//!
//! Compiled code looks at its deadline and its fuel where a function or a loop begins, and at instructions that take long. A row of calls
//! of the host's need have none of these: a component by hand can call what the host lowered without a function between. So what ends
//! or interrupts a guest elsewhere does so here, too, whatever it called: an import of ours, one of WASI's, or what wasmtime does for it.

use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use wasmtime::{CallHook, CallHookHandler, StoreContextMut, Trap, UpdateDeadline};

use crate::imports::GuestState;
use crate::instance::meter::Meter;

/// What of a store's state decides whether its guest may go on.
pub(crate) trait Interruptible: Send + 'static {
    fn meter(&self) -> &Meter;

    /// Whether the guest's code counts fuel.
    fn is_metered(&self) -> bool;

    /// Another tick has passed while the guest ran.
    ///
    /// # Errors
    /// The guest is to be stopped.
    fn on_tick(&mut self) -> wasmtime::Result<UpdateDeadline>;
}

impl Interruptible for GuestState {
    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn is_metered(&self) -> bool {
        self.fuel.is_some()
    }

    fn on_tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        self.count_handles()?;
        self.meter.on_tick()
    }
}

/// Stops a guest that has used up its time or its fuel, and makes one yield that has not for a tick. Else it costs some nanoseconds: no clock is
/// read, and nothing allocated.
pub(crate) struct AfterHostCalls;

impl<T: Interruptible> CallHookHandler<T> for AfterHostCalls {
    fn handle_call_event<'hook, 'store, 'interruption>(
        &'hook self,
        mut store: StoreContextMut<'store, T>,
        transition: CallHook,
    ) -> Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'interruption>>
    where
        'hook: 'interruption,
        'store: 'interruption,
    {
        match transition {
            CallHook::ReturningFromHost => {}
            CallHook::CallingHost | CallHook::CallingWasm | CallHook::ReturningFromWasm => {
                return Box::pin(GoesOn);
            }
        }
        if store.data().is_metered() && store.get_fuel().is_ok_and(|left| left == 0) {
            return Box::pin(ready(Err(Trap::OutOfFuel.into())));
        }
        if !store.data().meter().is_tick_over() {
            return Box::pin(GoesOn);
        }
        Box::pin(async move {
            store.data_mut().on_tick()?;
            tokio::task::yield_now().await;
            // Else the next function would be interrupted for the tick that is over.
            store.set_epoch_deadline(1);
            Ok(())
        })
    }
}

/// Nothing is to be done. It has no size, so that a box of it takes no memory.
struct GoesOn;

impl Future for GoesOn {
    type Output = wasmtime::Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use wasmtime::{Caller, Config, Engine, Linker, Module, Store};

    use super::*;
    use crate::clock::advance;
    use crate::instance::meter::{CpuExceeded, Metered, TICK};

    struct State {
        meter: Arc<Meter>,
        metered: bool,
        calls: usize,
    }

    impl Interruptible for State {
        fn meter(&self) -> &Meter {
            &self.meter
        }

        fn is_metered(&self) -> bool {
            self.metered
        }

        fn on_tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
            self.meter.on_tick()
        }
    }

    const ROW: usize = 100;

    /// Where the row of calls is.
    #[derive(Debug, Clone, Copy)]
    enum At {
        Start,
        Export,
    }

    #[derive(Debug)]
    struct Outcome {
        ended: wasmtime::Result<()>,
        calls: usize,
        polls: usize,
    }

    /// What becomes of a guest that calls the host a hundred times in a row, where each call takes so long.
    async fn row(at: At, each: Duration, budget: Duration, fuel: Option<u64>) -> Outcome {
        let mut config = Config::new();
        config.concurrency_support(false).epoch_interruption(true).consume_fuel(fuel.is_some());
        let engine = Engine::new(&config).expect("an engine");
        let use_of = match at {
            At::Start => "(start $row)",
            At::Export => "(export \"row\" (func $row))",
        };
        let calls = "(call $host)".repeat(ROW);
        let text = format!("(module (import \"h\" \"h\" (func $host)) (func $row {calls}) {use_of})");
        let module = Module::new(&engine, wat::parse_str(text).expect("text")).expect("a module");
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("h", "h", move |mut caller: Caller<'_, State>| {
                caller.data_mut().calls += 1;
                advance(each);
                Ok(())
            })
            .expect("a host function");
        let meter = Arc::new(Meter::new(budget, Duration::from_secs(5)));
        let mut store =
            Store::new(&engine, State { meter: meter.clone(), metered: fuel.is_some(), calls: 0 });
        store.call_hook_async(AfterHostCalls);
        store.set_epoch_deadline(u64::MAX / 2);
        if let Some(units) = fuel {
            store.set_fuel(units).expect("it counts");
        }
        let event = async {
            let instance = linker.instantiate_async(&mut store, &module).await?;
            match at {
                At::Start => Ok(()),
                At::Export => instance.get_typed_func(&mut store, "row")?.call_async(&mut store, ()).await,
            }
        };
        let mut polls = 0;
        let ended = {
            let mut event = std::pin::pin!(Metered::new(event, &meter));
            std::future::poll_fn(|cx| {
                polls += 1;
                event.as_mut().poll(cx)
            })
            .await
        };
        Outcome { ended, calls: store.data().calls, polls }
    }

    const LONG: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn in_a_row_of_host_calls_a_guest_yields_once_a_tick() {
        for at in [At::Start, At::Export] {
            let outcome = row(at, TICK / 4, LONG, None).await;
            assert!(outcome.ended.is_ok(), "{at:?}: {outcome:?}");
            // The clock is read first when a tick has passed.
            assert_eq!((outcome.calls, outcome.polls), (ROW, ROW / 4), "{at:?}");
        }
    }

    #[tokio::test]
    async fn in_a_row_of_host_calls_a_guest_is_stopped_when_its_time_is_up() {
        for at in [At::Start, At::Export] {
            let outcome = row(at, TICK, 5 * TICK, None).await;
            let error = outcome.ended.expect_err("it takes longer than it may");
            assert!(error.is::<CpuExceeded>(), "{at:?}: {error:?}");
            assert_eq!(outcome.calls, 1 + 6, "{at:?}");
        }
    }

    #[tokio::test]
    async fn in_a_row_of_host_calls_a_guest_is_stopped_when_its_fuel_is_used_up() {
        for at in [At::Start, At::Export] {
            let outcome = row(at, Duration::ZERO, LONG, Some(20)).await;
            let error = outcome.ended.expect_err("a call takes a unit");
            assert_eq!(error.downcast_ref(), Some(&Trap::OutOfFuel), "{at:?}");
            assert!((15..=20).contains(&outcome.calls), "{at:?}: {} calls", outcome.calls);
        }
    }

    #[tokio::test]
    async fn a_row_of_host_calls_within_a_tick_is_not_interrupted() {
        for fuel in [None, Some(1000)] {
            let outcome = row(At::Export, Duration::ZERO, TICK, fuel).await;
            assert!(outcome.ended.is_ok(), "{outcome:?}");
            assert_eq!((outcome.calls, outcome.polls), (ROW, 1));
        }
    }
}
