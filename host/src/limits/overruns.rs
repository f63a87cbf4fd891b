//! Polls that nothing interrupts: what a tenant's task does in one go for longer than a few ticks.
//!
//! A guest yields every tick (see `meter`), but not within one instruction (`memory.fill` over all of a large memory), nor while the
//! host copies a large list for it, takes a large memory back, or the kernel fills in its pages. For as long, the runtime's thread is
//! lost to everybody: with so many such polls at once as there are threads, no socket is looked at. So a tenant whose polls have been
//! that long is polled aside, on a thread which the runtime does not count on, where the kernel shares the processors out. What is
//! not foreseen is the first of them: one is remembered for a hundred times as long as it took, so that unforeseen ones are at most
//! a hundredth of the time.
//!
//! Moving aside costs microseconds, so it has to be the tenant's own doing: a poll that was long by the clock may have waited for a
//! processor. It only makes suspect: the next polls are measured by the processor time that they used, and moved aside for a while
//! if it was very long.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::clock::{now, processor_time};

/// A poll that lasts longer is none of a guest that yields every tick.
const LONG_NS: u64 = Duration::from_millis(4).as_nanos() as u64;
/// One for which the next of its kind is not awaited.
const VERY_LONG_NS: u64 = Duration::from_millis(16).as_nanos() as u64;
/// How many times its own length a poll that used a processor so long is remembered.
const REMEMBERED: u64 = 100;
/// The suspicion is remembered for longer, so that one more poll is enough to be expected again.
const SUSPECTED: u64 = 2 * REMEMBERED;
/// How many times its own length one is remembered that may have waited: until the next of its kind is measured.
const REMEMBERED_UNMEASURED: u64 = 10;
/// At most: nothing is held against a tenant for ever.
const MOST_REMEMBERED_NS: u64 = Duration::from_secs(60).as_nanos() as u64;

/// One tenant's long polls.
#[derive(Debug, Default)]
pub(crate) struct Overruns {
    /// Until then polls are measured by processor time.
    suspected_until_ns: AtomicU64,
    /// Until then they are made aside. Not after `suspected_until_ns`.
    expected_until_ns: AtomicU64,
    /// How many are being made aside.
    aside: AtomicUsize,
}

impl Overruns {
    /// How many polls are being made aside, if this one, which begins now, is to be one of them.
    pub(crate) fn aside(&self, now: u64) -> Option<usize> {
        self.are_expected(now).then(|| self.aside.load(Ordering::Relaxed))
    }

    /// Makes one poll, which begins at `began`, and remembers it if it was long; when it ended.
    pub(crate) fn watch<T>(&self, all: &Asides, began: u64, poll: impl FnOnce() -> T) -> (T, u64) {
        if began >= self.suspected_until_ns.load(Ordering::Relaxed) {
            let polled = poll();
            let ended = now();
            let length = ended.saturating_sub(began);
            if length > LONG_NS {
                remember(&self.suspected_until_ns, ended, length, SUSPECTED);
            }
            if length > VERY_LONG_NS {
                remember(&self.expected_until_ns, ended, length, REMEMBERED_UNMEASURED);
            }
            return (polled, ended);
        }
        let used = processor_time();
        let polled = match self.are_expected(began).then(|| all.begin()).flatten() {
            Some(_one_of_all) => {
                let _aside = Aside::new(&self.aside);
                aside(poll)
            }
            None => poll(),
        };
        let used = processor_time().saturating_sub(used);
        let ended = now();
        if used > LONG_NS {
            remember(&self.suspected_until_ns, ended, used, SUSPECTED);
            remember(&self.expected_until_ns, ended, used, REMEMBERED);
        }
        (polled, ended)
    }

    fn are_expected(&self, now: u64) -> bool {
        now < self.expected_until_ns.load(Ordering::Relaxed)
    }

    /// From now on long polls are expected.
    #[cfg(test)]
    pub(crate) fn pretend_expected(&self) {
        self.suspected_until_ns.store(u64::MAX, Ordering::Relaxed);
        self.expected_until_ns.store(u64::MAX, Ordering::Relaxed);
    }

    /// As if one more poll were being made aside.
    #[cfg(test)]
    pub(crate) fn pretend_aside(&self) -> impl Drop + '_ {
        Aside::new(&self.aside)
    }
}

fn remember(until_ns: &AtomicU64, ended: u64, length: u64, times: u64) {
    until_ns.fetch_max(ended + length.saturating_mul(times).min(MOST_REMEMBERED_NS), Ordering::Relaxed);
}

/// All tenants' polls that are being made aside. Such a poll is on no thread for which a runtime waits when it is taken down: it would find
/// the runtime's clock gone, and panic. So there are none any more when a server has ended.
#[derive(Debug, Default)]
pub(crate) struct Asides {
    count: AtomicUsize,
    /// The server has ended, or is about to.
    over: AtomicBool,
}

impl Asides {
    /// How long those that are being made are waited for at the end: a guest yields after a tick, and few instructions take as long.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// None if polls are made where they are.
    fn begin(&self) -> Option<Aside<'_>> {
        let aside = Aside::new(&self.count);
        // After it is counted: either this sees that it is over, or who ends it sees this one.
        (!self.over.load(Ordering::SeqCst)).then_some(aside)
    }

    /// There are none from now on. Blocks until those that are being made have ended, at most for a second.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        let began = std::time::Instant::now();
        while self.count.load(Ordering::SeqCst) > 0 && began.elapsed() < Self::PATIENCE {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// While a poll is made aside.
struct Aside<'a>(&'a AtomicUsize);

impl<'a> Aside<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Another thread takes over what this one does for the runtime, if the runtime has several.
fn aside<T>(poll: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(poll),
        _ => poll(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{advance, preempt};

    const MS: Duration = Duration::from_millis(1);

    fn watch(overruns: &Overruns, poll: impl FnOnce()) {
        overruns.watch(&Asides::default(), now(), poll);
    }

    fn are_expected(overruns: &Overruns) -> bool {
        overruns.aside(now()).is_some()
    }

    #[test]
    fn polls_of_a_tick_are_none_of_these() {
        let overruns = Overruns::default();
        for _ in 0..100 {
            watch(&overruns, || advance(2 * MS));
            assert!(!are_expected(&overruns));
        }
        assert_eq!(overruns.suspected_until_ns.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_second_long_poll_lets_more_be_expected_for_a_hundred_times_its_length() {
        let overruns = Overruns::default();
        watch(&overruns, || advance(5 * MS));
        assert!(!are_expected(&overruns), "it may have waited");
        watch(&overruns, || advance(6 * MS));
        assert!(are_expected(&overruns));
        preempt(599 * MS);
        assert!(are_expected(&overruns));
        preempt(2 * MS);
        assert!(!are_expected(&overruns));
        watch(&overruns, || advance(5 * MS));
        assert!(are_expected(&overruns), "one more is enough");
    }

    #[test]
    fn who_has_no_processor_is_suspected_and_nothing_worse() {
        let overruns = Overruns::default();
        for _ in 0..10 {
            watch(&overruns, || preempt(15 * MS));
            assert!(!are_expected(&overruns));
        }
    }

    #[test]
    fn after_a_very_long_poll_the_next_is_expected_until_polls_are_measured() {
        let overruns = Overruns::default();
        watch(&overruns, || advance(20 * MS));
        assert!(are_expected(&overruns));
        preempt(201 * MS);
        assert!(!are_expected(&overruns));
        watch(&overruns, || preempt(20 * MS));
        assert!(!are_expected(&overruns), "measured, it did nothing");
    }

    #[test]
    fn nothing_is_remembered_for_ever() {
        let overruns = Overruns::default();
        for _ in 0..2 {
            watch(&overruns, || advance(Duration::from_secs(3600)));
        }
        assert!(are_expected(&overruns));
        preempt(Duration::from_secs(61));
        assert!(!are_expected(&overruns));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_is_expected_to_take_long_takes_no_thread_from_others() {
        let overruns = Overruns::default();
        overruns.pretend_expected();
        let task = tokio::spawn(async move {
            let (tell, told) = std::sync::mpsc::channel();
            let poll = || {
                tokio::spawn(async move { tell.send(()) });
                told.recv_timeout(Duration::from_secs(10))
            };
            overruns.watch(&Asides::default(), now(), poll).0
        });
        assert_eq!(task.await.expect("no panic"), Ok(()), "the only thread was taken");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn at_the_end_of_a_server_polls_that_are_made_aside_are_waited_for_and_none_follow() {
        let asides = std::sync::Arc::new(Asides::default());
        let overruns = std::sync::Arc::new(Overruns::default());
        overruns.pretend_expected();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let long = tokio::spawn({
            let (asides, overruns) = (asides.clone(), overruns.clone());
            let poll = move || {
                begun.send(()).expect("the test waits");
                std::thread::sleep(Duration::from_millis(50));
                std::time::Instant::now()
            };
            async move { overruns.watch(&asides, now(), poll).0 }
        });
        let end = tokio::task::spawn_blocking({
            let asides = asides.clone();
            move || {
                has_begun.recv().expect("it begins");
                asides.end();
                std::time::Instant::now()
            }
        });
        let (long, end) = (long.await.expect("no panic"), end.await.expect("no panic"));
        assert!(end >= long, "a poll goes on after the end");
        assert!(asides.begin().is_none());
        assert_eq!(asides.count.load(Ordering::SeqCst), 0);
    }
}
