//! A record that many connections would write at once: one stands for all, with how many there were.
//!
//! Of a flood the first record is written at once, and then one in a while, which says how many were left out. The rest is told when it
//! is over: by a timer that runs only while something is untold, or at the latest when whoever counts goes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

/// One kind of record, of one route. Who asks writes it, or leaves it to a later one.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    /// Until then nobody is told.
    quiet_until: Option<Instant>,
    /// What nobody has been told of.
    untold: u64,
    /// Tells of it, if nobody else does. There is one while something is untold.
    rest: Option<Rest>,
}

/// Writes of how many nobody has been told.
type Rest = Box<dyn FnOnce(u64) + Send>;

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told").field("untold", &self.untold).finish_non_exhaustive()
    }
}

/// How long one record stands for all.
const QUIET: Duration = Duration::from_secs(10);

impl Repeats {
    /// It has happened. Whether to tell: then of how many before that nobody has been told of. `rest` is for a flood that ends untold.
    pub(crate) fn tell(&self, rest: impl FnOnce(u64) + Send + 'static) -> Option<u64> {
        let now = Instant::now();
        let mut told = lock(&self.0);
        let Some(until) = told.quiet_until.filter(|until| now < *until) else {
            told.quiet_until = Some(now + QUIET);
            told.rest = None;
            return Some(std::mem::take(&mut told.untold));
        };
        told.untold += 1;
        if told.untold == 1 {
            told.rest = Some(Box::new(rest));
            // Without a runtime it is told by the next record, or at the end.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(tell_rest(Arc::downgrade(&self.0), until));
            }
        }
        None
    }
}

/// Once the silence is over: what has been left out meanwhile, unless a record has told it.
async fn tell_rest(told: Weak<Mutex<Told>>, quiet_until: Instant) {
    tokio::time::sleep_until(quiet_until).await;
    let Some(told) = told.upgrade() else { return };
    // Not written under the lock: a log may block.
    let rest = lock(&told).take_rest(quiet_until);
    if let Some((rest, untold)) = rest {
        rest(untold);
    }
}

impl Told {
    /// What is untold, if nothing was told since the silence began that ends at `quiet_until`.
    fn take_rest(&mut self, quiet_until: Instant) -> Option<(Rest, u64)> {
        let rest = self.rest.take_if(|_| self.quiet_until == Some(quiet_until))?;
        // This is a record, too.
        self.quiet_until = Some(Instant::now() + QUIET);
        Some((rest, std::mem::take(&mut self.untold)))
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nobody counts any more.
impl Drop for Repeats {
    fn drop(&mut self) {
        let mut told = lock(&self.0);
        let rest = told.rest.take();
        let untold = told.untold;
        drop(told);
        if let Some(rest) = rest {
            rest(untold);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// What was told of as the rest of a flood.
    fn rest(told: &Arc<AtomicU64>) -> impl FnOnce(u64) + Send + 'static {
        let told = told.clone();
        move |untold| {
            told.fetch_add(untold, Ordering::Relaxed);
        }
    }

    /// Time passes, and timers run.
    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
        tokio::task::yield_now().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_told_once_and_then_how_large_it_was() {
        let (repeats, told) = (Repeats::default(), Arc::default());
        assert_eq!(repeats.tell(rest(&told)), Some(0), "the first at once");
        assert!((0..1000).all(|_| repeats.tell(rest(&told)).is_none()));
        pass(QUIET - Duration::from_millis(1)).await;
        assert_eq!(repeats.tell(rest(&told)), None);
        assert_eq!(told.load(Ordering::Relaxed), 0, "not before its time");
        pass(Duration::from_millis(2)).await;
        assert_eq!(told.load(Ordering::Relaxed), 1001, "although nothing happens any more");
        assert_eq!(repeats.tell(rest(&told)), None, "that was a record");
        pass(QUIET).await;
        assert_eq!(told.load(Ordering::Relaxed), 1002);
        pass(QUIET).await;
        assert_eq!(repeats.tell(rest(&told)), Some(0), "nothing is told twice");
    }

    #[test]
    fn where_no_timer_runs_the_rest_is_told_at_the_end() {
        let (repeats, told) = (Repeats::default(), Arc::default());
        assert_eq!(repeats.tell(rest(&told)), Some(0));
        assert!((0..3).all(|_| repeats.tell(rest(&told)).is_none()));
        assert_eq!(told.load(Ordering::Relaxed), 0);
        drop(repeats);
        assert_eq!(told.load(Ordering::Relaxed), 3);
    }
}
