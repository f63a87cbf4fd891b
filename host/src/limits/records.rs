//! The host's own records of what a guest or a peer can do as often as it likes: they must not become the flood that a guest's own output
//! may not be.
//!
//! Of most kinds one in a while is enough ([`Records::tell`]): they say the same each time. Those that differ, as what a handler failed
//! with, are written within the tenant's `max-log-bytes-per-second`, and past it one in a while ([`Records::tell_each`]).

use std::sync::Arc;

use crate::limits::repeats::Repeats;
use crate::limits::tenants::{RECORD_BYTES, Tenancy};

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Overloaded,
    NoRoom,
    Exhausted,
    Failed,
    FailedConnection,
    Prepare,
    Subprotocol,
    CompressionOptions,
    Uncompressed,
    NotDialled,
    PublishedDrops,
    DroppedLines,
}

impl Kind {
    pub(crate) const ALL: [Self; 12] = [
        Self::Overloaded,
        Self::NoRoom,
        Self::Exhausted,
        Self::Failed,
        Self::FailedConnection,
        Self::Prepare,
        Self::Subprotocol,
        Self::CompressionOptions,
        Self::Uncompressed,
        Self::NotDialled,
        Self::PublishedDrops,
        Self::DroppedLines,
    ];

    /// As its records say it.
    fn what(self) -> &'static str {
        match self {
            Self::Overloaded => "closed: overloaded",
            Self::NoRoom => "no room for another instance or connection",
            Self::Exhausted => "the handler could not go on",
            Self::Failed => "a call of the handler failed",
            Self::FailedConnection => "closed: the handler failed",
            Self::Prepare => "prepare answered what it may not",
            Self::Subprotocol => "select-subprotocol answered what it may not",
            Self::CompressionOptions => "get-compression-options answered what it may not",
            Self::Uncompressed => "newcomers go uncompressed",
            Self::NotDialled => "not dialled",
            Self::PublishedDrops => "published messages are dropped",
            Self::DroppedLines => "what the handler printed was dropped",
        }
    }
}

/// To be written; with how many like it nobody has been told of, if there were any.
pub(crate) type Untold = Option<u64>;

/// Those of one route.
#[derive(Debug, Default)]
pub(crate) struct Records {
    names: Arc<Names>,
    kinds: [Repeats; Kind::ALL.len()],
}

#[derive(Debug, Default)]
struct Names {
    tenant: String,
    route: String,
}

impl Records {
    pub(crate) fn of(tenant: &str, route: &str) -> Self {
        Self { names: Arc::new(Names { tenant: tenant.into(), route: route.into() }), ..Self::default() }
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.names.tenant
    }

    pub(crate) fn route(&self) -> &str {
        &self.names.route
    }

    /// Whether to write one more.
    pub(crate) fn tell(&self, kind: Kind) -> Option<Untold> {
        let names = self.names.clone();
        let rest = move |untold| {
            let (tenant, route, what) = (names.tenant.as_str(), names.route.as_str(), kind.what());
            tracing::warn!(
                tenant,
                route,
                what,
                untold,
                "records were left out: there were too many like them"
            );
        };
        self.kinds[kind as usize].tell(rest).map(|untold| Some(untold).filter(|untold| *untold > 0))
    }

    /// The same for one with so many bytes of text that differs from the others'.
    pub(crate) fn tell_each(&self, kind: Kind, bytes: usize, tenancy: &Tenancy) -> Option<Untold> {
        if tenancy.may_log(RECORD_BYTES + bytes) {
            return Some(None);
        }
        self.tell(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_counted_by_itself() {
        let records = Records::of("tenant", "route");
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert_eq!(records.tell(kind), Some(None), "{kind:?}");
            assert_eq!(records.tell(kind), None, "{kind:?}");
        }
    }
}
