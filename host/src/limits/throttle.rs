//! How much may pass in a second, and a second's worth at once after a silence: a bucket of tokens that looks at the clock only when a
//! part of them is used up, so that what passes costs no clock.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// See the module.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// What may pass before the clock is looked at.
    allowance: u64,
    /// None: no bound.
    bucket: Option<Bucket>,
    /// Nothing is left, and nothing has come by the last look.
    paused: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Bucket {
    per_second: u64,
    /// What is in it, in parts of a [`TOKEN`]; less than nothing where more was taken than there was.
    level: i128,
    looked: Instant,
}

/// One of what is counted, in what comes of it in a nanosecond at one a second.
const TOKEN: i128 = 1_000_000_000;
/// Into so many parts a second's worth is divided.
const PARTS: u64 = 64;
/// Who has used up everything waits for at least as much as comes in so many nanoseconds.
const PAUSE: i128 = 10_000_000;
/// Longer than any bucket takes to be full.
const LONG: Duration = Duration::from_secs(3600);

impl Throttle {
    /// `u64::MAX` is no bound.
    pub(crate) fn new(per_second: u64) -> Self {
        let mut throttle = Self { allowance: u64::MAX, bucket: None, paused: false, sleep: None };
        if per_second < u64::MAX {
            let mut bucket = Bucket { per_second: per_second.max(1), level: 0, looked: Instant::now() };
            bucket.level = bucket.full();
            // Like what is left of a part.
            throttle.allowance = bucket.part() - 1;
            throttle.bucket = Some(bucket);
        }
        throttle
    }

    /// Ready when something may pass: how much. Pending, the task is woken when there is more.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<u64> {
        if self.allowance == 0 {
            ready!(self.poll_more(cx));
        }
        Poll::Ready(self.allowance)
    }

    /// So much has passed; who could not wait takes more than there is, and pays later.
    pub(crate) fn take(&mut self, count: u64) {
        match self.allowance.checked_sub(count) {
            Some(left) => self.allowance = left,
            None => {
                let owed = count - self.allowance;
                self.allowance = 0;
                if let Some(bucket) = &mut self.bucket {
                    bucket.level -= TOKEN * i128::from(owed);
                }
            }
        }
    }

    /// Whether somebody was refused and nothing has passed since.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// There is no bound any more.
    pub(crate) fn lift(&mut self) {
        *self = Self::new(u64::MAX);
    }

    #[cold]
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { allowance, bucket, paused, sleep } = self;
        let Some(bucket) = bucket else {
            *allowance = u64::MAX;
            return Poll::Ready(());
        };
        loop {
            bucket.look(Instant::now());
            *allowance = bucket.take_part();
            *paused = *allowance == 0;
            if !*paused {
                return Poll::Ready(());
            }
            let at = bucket.looked + bucket.pause();
            let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            sleep.as_mut().reset(at);
            ready!(sleep.as_mut().poll(cx));
        }
    }
}

impl Bucket {
    /// What is taken out at once.
    fn part(&self) -> u64 {
        (self.per_second / PARTS).max(1)
    }

    /// With what may be left of the part that was taken before, it is a second's worth.
    fn full(&self) -> i128 {
        TOKEN * i128::from(self.per_second - (self.part() - 1))
    }

    fn look(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.looked).min(LONG).as_nanos() as i128;
        self.level = (self.level + passed * i128::from(self.per_second)).min(self.full());
        self.looked = now;
    }

    fn take_part(&mut self) -> u64 {
        let there = u64::try_from(self.level.max(0) / TOKEN).unwrap_or(u64::MAX);
        let taken = there.min(self.part());
        self.level -= TOKEN * i128::from(taken);
        taken
    }

    /// Until it is worth looking again: not for each token, if there are many.
    fn pause(&self) -> Duration {
        let part = TOKEN * i128::from(self.part());
        let awaited = (PAUSE * i128::from(self.per_second)).clamp(TOKEN, part) - self.level;
        let nanos = (awaited.max(0) as u128).div_ceil(u128::from(self.per_second));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(LONG)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// What passes without a wait.
    async fn at_once(throttle: &mut Throttle, each: u64) -> u64 {
        poll_fn(|cx| {
            let mut passed = 0;
            while let Poll::Ready(allowed) = throttle.poll(cx) {
                let count = each.min(allowed);
                throttle.take(count);
                passed += count;
            }
            Poll::Ready(passed)
        })
        .await
    }

    /// What passes in `time` if everything is taken at once.
    async fn in_time(throttle: &mut Throttle, time: Duration) -> u64 {
        let end = Instant::now() + time;
        let mut passed = 0;
        loop {
            let more = tokio::time::timeout_at(end, poll_fn(|cx| throttle.poll(cx))).await;
            // What is allowed at the very end is not counted.
            let Ok(allowed) = more else { return passed };
            if Instant::now() >= end {
                return passed;
            }
            throttle.take(allowed);
            passed += allowed;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_seconds_worth_passes_at_once_and_then_as_much_as_comes() {
        for per_second in [1, 2, 15, 16, 17, 1000, 1_000_000, 1 << 30] {
            let mut throttle = Throttle::new(per_second);
            let full = at_once(&mut throttle, u64::MAX).await;
            assert_eq!(full, per_second, "{per_second}");
            assert!(throttle.is_paused());
            let passed = in_time(&mut throttle, Duration::from_secs(10)).await;
            let expected = 10 * per_second;
            // The clock's ticks are milliseconds, and who waits waits for some.
            let slack = (per_second / 20).max(1);
            assert!(
                (expected - slack..=expected).contains(&passed),
                "{per_second}: {passed} of {expected} in 10 s"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_silence_there_is_a_seconds_worth_and_not_one_more() {
        for per_second in [1, 10, 100, 1000, 1_000_000] {
            let mut throttle = Throttle::new(per_second);
            at_once(&mut throttle, 1).await;
            for silence in [1, 2, 3600] {
                tokio::time::advance(Duration::from_secs(silence)).await;
                let passed = at_once(&mut throttle, 1).await;
                // A part may have been left before, or not.
                let at_least = per_second - per_second / PARTS;
                assert!((at_least..=per_second).contains(&passed), "{passed} of {per_second}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_left_of_a_part_does_not_add_to_a_full_bucket() {
        let mut throttle = Throttle::new(640);
        // As much as can be left of a part of ten.
        assert_eq!(throttle.allowance, 9);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(at_once(&mut throttle, 1).await, 640);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_taken_too_much_waits_for_longer() {
        let mut throttle = Throttle::new(100);
        throttle.take(150);
        assert_eq!(at_once(&mut throttle, 1).await, 0);
        tokio::time::advance(Duration::from_millis(490)).await;
        assert_eq!(at_once(&mut throttle, 1).await, 0);
        tokio::time::advance(Duration::from_millis(110)).await;
        assert_eq!(at_once(&mut throttle, 1).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_keeps_below_its_bound_never_waits() {
        let mut throttle = Throttle::new(100);
        for _ in 0..1000 {
            tokio::time::advance(Duration::from_millis(11)).await;
            poll_fn(|cx| {
                assert!(throttle.poll(cx).is_ready());
                Poll::Ready(())
            })
            .await;
            throttle.take(1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_bound_nothing_waits() {
        let mut throttle = Throttle::new(1);
        throttle.take(1_000_000);
        throttle.lift();
        poll_fn(|cx| {
            assert!(throttle.poll(cx).is_ready());
            Poll::Ready(())
        })
        .await;
        assert!(!throttle.is_paused());
    }
}
