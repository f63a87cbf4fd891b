//! A record that many connections would write at once: one stands for all, with how many there were.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One kind of record, of one route. Who asks writes it, or leaves it to a later one.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Until then nobody is told.
    quiet_until: Option<Instant>,
    /// What nobody has been told of.
    untold: u64,
}

/// How long one record stands for all.
const QUIET: Duration = Duration::from_secs(10);

impl Repeats {
    /// It has happened. Whether to tell: then of how many before that nobody has been told of.
    pub(crate) fn tell(&self) -> Option<u64> {
        let now = Instant::now();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.quiet_until.is_some_and(|until| now < until) {
            told.untold += 1;
            return None;
        }
        told.quiet_until = Some(now + QUIET);
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_told_once_and_the_next_record_says_how_large_it_was() {
        let repeats = Repeats::default();
        assert_eq!(repeats.tell(), Some(0), "the first at once");
        assert!((0..1000).all(|_| repeats.tell().is_none()));
        tokio::time::advance(QUIET - Duration::from_millis(1)).await;
        assert_eq!(repeats.tell(), None);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(repeats.tell(), Some(1001));
        tokio::time::advance(QUIET).await;
        assert_eq!(repeats.tell(), Some(0));
    }
}
