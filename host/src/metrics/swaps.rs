//! What has become of swaps, and of the connections that were open.

use std::sync::atomic::{AtomicU64, Ordering};

use super::read;
use crate::swap::Stays;

/// The counts of one route.
#[derive(Debug, Default)]
pub(crate) struct Swaps {
    by_outcome: [AtomicU64; SwapOutcome::ALL.len()],
    connections: [AtomicU64; ConnectionOutcome::ALL.len()],
}

/// What has become of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SwapOutcome {
    /// Newcomers get the new version.
    Done,
    /// The new version could not be loaded or instantiated: nothing has changed.
    Refused,
    /// Too many connections could not go over: the old version is back.
    RolledBack,
}

impl SwapOutcome {
    const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::RolledBack];

    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// What has become of a connection that was open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionOutcome {
    Moved,
    Unsupported,
    NoRoom,
    TooLarge,
    Failed,
    Lost,
}

impl ConnectionOutcome {
    const ALL: [Self; 6] =
        [Self::Moved, Self::Unsupported, Self::NoRoom, Self::TooLarge, Self::Failed, Self::Lost];

    fn label(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Unsupported => "unsupported",
            Self::NoRoom => "no_room",
            Self::TooLarge => "too_large",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}

impl From<&Stays> for ConnectionOutcome {
    fn from(stays: &Stays) -> Self {
        match stays {
            Stays::Unsupported(_) => Self::Unsupported,
            Stays::NoRoom(_) => Self::NoRoom,
            Stays::TooLarge => Self::TooLarge,
            Stays::Failed(_) => Self::Failed,
        }
    }
}

impl Swaps {
    pub(crate) fn count(&self, outcome: SwapOutcome) {
        self.by_outcome[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_connections(&self, outcome: ConnectionOutcome, connections: usize) {
        self.connections[outcome as usize].fetch_add(connections as u64, Ordering::Relaxed);
    }

    /// By the label of the outcome.
    pub(crate) fn swaps(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SwapOutcome::ALL.into_iter().map(SwapOutcome::label).zip(&self.by_outcome).map(read)
    }

    /// By the label of the outcome.
    pub(crate) fn connections(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ConnectionOutcome::ALL.into_iter().map(ConnectionOutcome::label).zip(&self.connections).map(read)
    }
}
