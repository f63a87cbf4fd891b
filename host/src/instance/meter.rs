//! How long an event may run: processor time and wall-clock time, each measured by itself.
//!
//! Processor time is the time that the call's future was polled, not the epochs that passed: an engine's epoch goes on while
//! a fiber waits or has yielded. Every tick (1 ms) a running guest is interrupted by its epoch deadline; over its budget it is
//! stopped, else it yields to other tasks for a moment. Wall-clock time runs from the call to its return, whatever it
//! waits for, but for its turn: where a tenant has used up his part of the processors his events take longer, and none fails for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use tokio::time::Sleep;
use wasmtime::{Engine, EngineWeak, UpdateDeadline};

use crate::clock::{advance_tick, now, tick};
use crate::limits::processors;

/// How often a running guest is interrupted.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Advances an engine's epoch once a tick, on a thread of its own, until the engine is gone.
pub(crate) fn start_ticker(engine: &Engine) -> std::io::Result<()> {
    let engine: EngineWeak = engine.weak();
    thread::Builder::new().name("waterspout-epoch".into()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            advance_tick();
            drop(engine);
            thread::sleep(TICK);
        }
    })?;
    Ok(())
}

/// The processor time of one instance's current event; shared by the call's future and the epoch callback inside it.
#[derive(Debug)]
pub(crate) struct Meter {
    budget_ns: u64,
    wall: Duration,
    made: tokio::time::Instant,
    /// Microseconds from `made` to when the event first waited, or 0: wall-clock time runs from there, since before it only
    /// processor time passed.
    waits_since_us: AtomicU64,
    /// Spent in earlier polls of this event.
    spent_ns: AtomicU64,
    /// The guest waits for something that may take as long as it takes.
    waits_freely: AtomicBool,
    /// The guest was interrupted by its tick: what it waits for is nothing but another turn.
    yielded: AtomicBool,
    /// Microseconds from `made` to when the last poll ended, where the guest yielded.
    yielded_at_us: AtomicU64,
    /// When the current poll was first seen, or 0. An event that returns within its first tick never reads a clock.
    polled_since_ns: AtomicU64,
    /// The coarse clock's tick in which the current poll began, or in which a host call last returned.
    seen_tick: AtomicU64,
}

/// The guest ran longer than `cpu-per-event`.
#[derive(Debug, thiserror::Error)]
#[error("used more than {0:?} of processor time in one event (limit `cpu-per-event`)")]
pub(crate) struct CpuExceeded(Duration);

impl Meter {
    pub(crate) fn new(cpu: Duration, wall: Duration) -> Self {
        Self {
            budget_ns: cpu.as_nanos() as u64,
            wall,
            made: tokio::time::Instant::now(),
            waits_since_us: AtomicU64::new(0),
            spent_ns: AtomicU64::new(0),
            waits_freely: AtomicBool::new(false),
            yielded: AtomicBool::new(false),
            yielded_at_us: AtomicU64::new(0),
            polled_since_ns: AtomicU64::new(0),
            seen_tick: AtomicU64::new(0),
        }
    }

    /// Until the guard is dropped, waiting costs the event none of its wall-clock time.
    pub(crate) fn wait_freely(&self) -> FreeWait<'_> {
        self.waits_freely.store(true, Ordering::Relaxed);
        FreeWait(self)
    }

    /// What the guest does from here on has the times of an event of its own. Only while the guest's call is polled.
    pub(crate) fn begin_again(&self) {
        self.spent_ns.store(0, Ordering::Relaxed);
        self.waits_since_us.store(0, Ordering::Relaxed);
        self.polled_since_ns.store(now(), Ordering::Relaxed);
    }

    /// The guest has waited freely for so long, and what came of it is no event of its own: it has as much more of both times as it could have
    /// used meanwhile, but never more than an event's. Only while the guest's call is polled.
    pub(crate) fn give_back(&self, waited: Duration) {
        let spent = self.spent_ns.load(Ordering::Relaxed);
        self.spent_ns.store(spent.saturating_sub(waited.as_nanos() as u64), Ordering::Relaxed);
        let since = self.waits_since_us.load(Ordering::Relaxed);
        if since != 0 {
            // The wait itself is none of its time, and as much is given back.
            let now = self.made.elapsed().as_micros() as u64;
            let later = since.saturating_add(2 * waited.as_micros() as u64);
            self.waits_since_us.store(later.min(now.max(since)), Ordering::Relaxed);
        }
    }

    /// When the current event, which is about to wait, must have returned.
    pub(crate) fn wall_deadline(&self) -> tokio::time::Instant {
        let mut since = self.waits_since_us.load(Ordering::Relaxed);
        if since == 0 {
            since = self.elapsed_us().max(1);
            self.waits_since_us.store(since, Ordering::Relaxed);
        }
        self.made + Duration::from_micros(since) + self.wall
    }

    fn start_event(&self) {
        self.waits_freely.store(false, Ordering::Relaxed);
        self.yielded.store(false, Ordering::Relaxed);
        self.waits_since_us.store(0, Ordering::Relaxed);
        self.spent_ns.store(0, Ordering::Relaxed);
        self.polled_since_ns.store(0, Ordering::Relaxed);
    }

    /// A tick has passed while the guest ran: what the epoch callback answers.
    pub(crate) fn on_tick(&self) -> wasmtime::Result<UpdateDeadline> {
        let now = now();
        let since = match self.polled_since_ns.load(Ordering::Relaxed) {
            // The event's first poll reads no clock; that it has lasted one tick is what the deadline says.
            0 => now.saturating_sub(TICK.as_nanos() as u64),
            since => since,
        };
        self.polled_since_ns.store(since, Ordering::Relaxed);
        if self.spent_ns.load(Ordering::Relaxed) + now.saturating_sub(since) > self.budget_ns {
            return Err(CpuExceeded(Duration::from_nanos(self.budget_ns)).into());
        }
        self.yielded.store(true, Ordering::Relaxed);
        Ok(UpdateDeadline::Yield(1))
    }

    /// Whether the guest, which its epoch deadline does not interrupt here, has run for a tick since it last yielded. Costs a load and a comparison
    /// within one.
    pub(crate) fn is_tick_over(&self) -> bool {
        let tick = tick();
        if self.seen_tick.load(Ordering::Relaxed) == tick {
            return false;
        }
        self.seen_tick.store(tick, Ordering::Relaxed);
        let now = now();
        match self.polled_since_ns.load(Ordering::Relaxed) {
            // It may have begun just before. So events that are shorter than a tick are interrupted nowhere but where their deadline does it.
            0 => {
                self.polled_since_ns.store(now, Ordering::Relaxed);
                false
            }
            // With several engines the coarse clock's ticks are shorter.
            since => now.saturating_sub(since) >= TICK.as_nanos() as u64,
        }
    }

    fn start_poll(&self, first: bool) {
        let in_line = processors::take_time_in_line();
        if !first {
            self.forgive(if self.yielded.swap(false, Ordering::Relaxed) {
                self.elapsed_us().saturating_sub(self.yielded_at_us.load(Ordering::Relaxed))
            } else {
                in_line.as_micros() as u64
            });
        }
        self.polled_since_ns.store(if first { 0 } else { now() }, Ordering::Relaxed);
        self.seen_tick.store(tick(), Ordering::Relaxed);
    }

    fn end_poll(&self) {
        let since = self.polled_since_ns.swap(0, Ordering::Relaxed);
        let spent = if since == 0 { 0 } else { now().saturating_sub(since) };
        self.spent_ns.fetch_add(spent, Ordering::Relaxed);
        if self.yielded.load(Ordering::Relaxed) {
            self.yielded_at_us.store(self.elapsed_us(), Ordering::Relaxed);
        }
    }

    fn elapsed_us(&self) -> u64 {
        self.made.elapsed().as_micros() as u64
    }

    /// The event has waited for so long for nothing but its tenant's turn: that is no wall-clock time of its own.
    fn forgive(&self, waited_us: u64) {
        if self.waits_since_us.load(Ordering::Relaxed) != 0 {
            self.waits_since_us.fetch_add(waited_us, Ordering::Relaxed);
        }
    }
}

/// See [`Meter::wait_freely`].
pub(crate) struct FreeWait<'a>(&'a Meter);

impl Drop for FreeWait<'_> {
    fn drop(&mut self) {
        self.0.waits_freely.store(false, Ordering::Relaxed);
    }
}

/// The event did not return within `wall-per-event`.
#[derive(Debug, thiserror::Error)]
#[error("did not return within {0:?} (limit `wall-per-event`)")]
pub(crate) struct WallExceeded(Duration);

pin_project_lite::pin_project! {
    /// A guest's call under both limits. After an error the store must be dropped.
    pub(crate) struct Metered<'a, F> {
        #[pin]
        call: F,
        meter: &'a Meter,
        // Made when the call first waits: most never do.
        alarm: Option<Pin<Box<Sleep>>>,
        polled: bool,
    }
}

impl<'a, F> Metered<'a, F> {
    pub(crate) fn new(call: F, meter: &'a Meter) -> Self {
        meter.start_event();
        Self { call, meter, alarm: None, polled: false }
    }
}

impl<R, F: Future<Output = wasmtime::Result<R>>> Future for Metered<'_, F> {
    type Output = wasmtime::Result<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.meter.start_poll(!*this.polled);
        *this.polled = true;
        if let Poll::Ready(result) = this.call.poll(cx) {
            return Poll::Ready(result);
        }
        this.meter.end_poll();
        if this.meter.waits_freely.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let deadline = this.meter.wall_deadline();
        let alarm = this.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if alarm.deadline() < deadline {
            // It has begun again.
            alarm.as_mut().reset(deadline);
        }
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(WallExceeded(this.meter.wall).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::advance;

    #[test]
    fn time_between_polls_is_not_processor_time() {
        let meter = Meter::new(Duration::from_millis(20), Duration::from_secs(5));
        meter.start_event();
        for _ in 0..3 {
            meter.start_poll(false);
            meter.end_poll();
        }
        advance(Duration::from_millis(25));
        meter.start_poll(false);
        assert!(matches!(meter.on_tick(), Ok(UpdateDeadline::Yield(1))));
    }

    #[test]
    fn time_in_polls_adds_up_until_the_budget_is_spent() {
        let meter = Meter::new(Duration::from_millis(2), Duration::from_secs(5));
        meter.start_event();
        for _ in 0..3 {
            meter.start_poll(false);
            advance(TICK);
            meter.end_poll();
        }
        meter.start_poll(false);
        let error = meter.on_tick().err().expect("over the budget");
        assert!(error.is::<CpuExceeded>());
        meter.start_event();
        meter.start_poll(false);
        assert!(meter.on_tick().is_ok(), "the next event has a budget of its own");
    }

    #[test]
    fn whether_a_tick_is_over_is_known_without_a_deadline_and_told_once() {
        let meter = Meter::new(Duration::from_millis(50), Duration::from_secs(5));
        meter.start_event();
        for first in [true, false] {
            meter.start_poll(first);
            assert!(!meter.is_tick_over(), "nothing has run yet");
            advance(TICK);
            assert_eq!(meter.is_tick_over(), !first, "the first poll may have begun a moment ago");
            advance(TICK);
            assert!(meter.is_tick_over());
            assert!(!meter.is_tick_over(), "it has been told");
            meter.end_poll();
        }
        // A poll that begins late in one of the coarse clock's ticks has not run for one when the next begins.
        advance(TICK / 2);
        meter.start_poll(false);
        advance(TICK / 2);
        assert!(!meter.is_tick_over());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_for_ever_ends_at_its_wall_clock_limit() {
        let meter = Meter::new(Duration::from_millis(50), Duration::from_secs(5));
        let call = std::future::pending::<wasmtime::Result<()>>();
        let started = tokio::time::Instant::now();
        let error = Metered::new(call, &meter).await.expect_err("never returns");
        assert!(error.is::<WallExceeded>());
        assert_eq!(started.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_may_take_its_time_is_no_wall_clock_time_and_what_follows_is() {
        let meter = Meter::new(Duration::from_millis(50), Duration::from_secs(5));
        let call = async {
            for _ in 0..3 {
                // A little less than the limit, a silent minute, and a little less than the limit again.
                tokio::time::sleep(Duration::from_secs(4)).await;
                {
                    let _free = meter.wait_freely();
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                meter.begin_again();
            }
            std::future::pending::<wasmtime::Result<()>>().await
        };
        let started = tokio::time::Instant::now();
        let error = Metered::new(call, &meter).await.expect_err("never returns");
        assert!(error.is::<WallExceeded>());
        assert_eq!(started.elapsed().as_secs(), 3 * 64 + 5);
    }

    /// Computes for `ticks`, between which it waits for `apart` until it is polled again.
    async fn computes(meter: &Meter, ticks: u32, apart: Duration) -> wasmtime::Result<()> {
        for _ in 0..ticks {
            advance(TICK);
            assert!(meter.on_tick().is_ok());
            tokio::time::sleep(apart).await;
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_waits_for_nothing_but_its_turn_is_not_stopped_however_long_that_takes() {
        let meter = Meter::new(Duration::from_secs(1), Duration::from_secs(5));
        let starved = computes(&meter, 100, Duration::from_secs(1));
        Metered::new(starved, &meter).await.expect("it would have returned at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_in_an_import_counts_beside_waits_for_turns() {
        let meter = Meter::new(Duration::from_secs(1), Duration::from_secs(5));
        let call = async {
            computes(&meter, 60, Duration::from_secs(1)).await?;
            std::future::pending::<wasmtime::Result<()>>().await
        };
        let started = tokio::time::Instant::now();
        let error = Metered::new(call, &meter).await.expect_err("never returns");
        assert!(error.is::<WallExceeded>());
        assert_eq!(started.elapsed().as_secs(), 60 + 5);
    }

    #[test]
    fn who_waited_in_vain_has_as_much_processor_time_more_as_he_waited() {
        let meter = Meter::new(Duration::from_millis(10), Duration::from_secs(5));
        meter.start_event();
        let spend = |time| {
            meter.start_poll(false);
            advance(time);
            let stopped = meter.on_tick().is_err();
            meter.end_poll();
            stopped
        };
        for _ in 0..100 {
            assert!(!spend(4 * TICK));
            meter.give_back(4 * TICK);
        }
        // Who waits for less than he computes is stopped.
        let turns = (0..100).take_while(|_| {
            let stopped = spend(4 * TICK);
            meter.give_back(TICK);
            !stopped
        });
        assert_eq!(turns.count(), 3, "4 + 3 + 3 ms of 10, and then 4");
        meter.start_event();
        meter.give_back(Duration::from_secs(3600));
        assert!(spend(11 * TICK), "what was waited is not saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_in_vain_gives_back_as_much_wall_clock_time_as_it_took_and_no_more_than_there_was() {
        let meter = Meter::new(Duration::from_millis(50), Duration::from_secs(5));
        let call = async {
            for waited in [60, 3, 1].map(Duration::from_secs) {
                tokio::time::sleep(Duration::from_secs(4)).await;
                {
                    let _free = meter.wait_freely();
                    tokio::time::sleep(waited).await;
                }
                meter.give_back(waited);
            }
            std::future::pending::<wasmtime::Result<()>>().await
        };
        let started = tokio::time::Instant::now();
        let error = Metered::new(call, &meter).await.expect_err("never returns");
        assert!(error.is::<WallExceeded>());
        // Of five seconds nothing is used after the first wait, one after the second, and four after the third.
        assert_eq!(started.elapsed().as_secs(), (4 + 60) + (4 + 3) + (4 + 1) + 1);
    }

    #[test]
    fn who_begins_again_has_a_budget_of_processor_time_of_its_own() {
        let meter = Meter::new(Duration::from_millis(3), Duration::from_secs(5));
        meter.start_event();
        meter.start_poll(false);
        for _ in 0..3 {
            advance(2 * TICK);
            assert!(meter.on_tick().is_ok());
            meter.begin_again();
        }
        advance(4 * TICK);
        assert!(meter.on_tick().is_err(), "4 ms of 3");
    }
}
