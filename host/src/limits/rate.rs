//! So much a second, and as much at once after a silence.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// How much of a rate has been used. The rate itself is kept by who has many of these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    amount: f64,
    at: Instant,
}

impl Used {
    pub(crate) fn nothing(now: Instant) -> Self {
        Self { amount: 0.0, at: now }
    }

    /// Whether all of `per_second` is there again.
    pub(crate) fn is_forgotten(&self, per_second: f64, now: Instant) -> bool {
        self.amount <= (now - self.at).as_secs_f64() * per_second
    }

    /// Uses `amount` if there is any left of `per_second`: what is larger than the rate itself is let through at times, and then waited for.
    pub(crate) fn take(&mut self, amount: f64, per_second: f64, now: Instant) -> bool {
        self.amount = (self.amount - (now - self.at).as_secs_f64() * per_second).max(0.0);
        self.at = now;
        let room = self.amount < per_second && (self.amount + amount <= per_second || self.amount <= 0.0);
        if room {
            self.amount += amount;
        }
        room
    }
}

/// A rate that several use up together.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    used: Mutex<Used>,
}

impl Rate {
    pub(crate) fn new(per_second: f64) -> Self {
        Self { per_second, used: Mutex::new(Used::nothing(Instant::now())) }
    }

    /// Uses `amount` if there is any left; see [`Used::take`].
    pub(crate) fn take(&self, amount: f64) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.take(amount, self.per_second, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_the_rate_passes_and_is_waited_for() {
        let mut used = Used::nothing(Instant::now());
        assert!(used.take(30.0, 10.0, Instant::now()));
        tokio::time::advance(Duration::from_millis(2900)).await;
        assert!(used.take(9.0, 10.0, Instant::now()), "one of the thirty is left");
        assert!(!used.take(1.0, 10.0, Instant::now()));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(used.take(10.0, 10.0, Instant::now()));
        assert!(!used.take(1.0, 10.0, Instant::now()));
    }
}
