//! What all clients together have done, and what went wrong for those who behave well.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Errors whose texts are kept.
const KEPT_ERRORS: usize = 10;

/// Counted by all clients.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    open: AtomicI64,
    answers: AtomicU64,
    errors: AtomicU64,
    attacks: Mutex<BTreeMap<&'static str, u64>>,
    first_errors: Mutex<Vec<String>>,
}

/// At one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Connections of clients.
    pub(crate) open: i64,
    /// Messages that came back to those who behave well, each as it had to be.
    pub(crate) answers: u64,
    pub(crate) attacks: u64,
    pub(crate) errors: u64,
}

impl Tally {
    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn attacked(&self, attack: &'static str) {
        *self.attacks.lock().unwrap_or_else(PoisonError::into_inner).entry(attack).or_default() += 1;
    }

    /// What must not happen to `who`.
    pub(crate) fn failed(&self, who: &str, error: &anyhow::Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.first_errors.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_ERRORS {
            kept.push(format!("{who}: {error:#}"));
        }
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub(crate) fn first_errors(&self) -> Vec<String> {
        self.first_errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            open: self.open.load(Ordering::Relaxed),
            answers: self.answers.load(Ordering::Relaxed),
            attacks: self.attacks.lock().unwrap_or_else(PoisonError::into_inner).values().sum(),
            errors: self.errors(),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answers; attacks:", self.counts().answers)?;
        for (attack, count) in &*self.attacks.lock().unwrap_or_else(PoisonError::into_inner) {
            write!(f, " {attack} {count},")?;
        }
        Ok(())
    }
}
