//! What is counted, by route: who came, who was refused, how connections ended, how handlers failed, how long their calls took.
//!
//! A message costs no count that connections share: each keeps its own ([`Traffic`](crate::connection::traffic::Traffic)), and the
//! [`Register`] adds them up when somebody asks. What is shared is counted where something rare happens anyway: a handshake, an end, a
//! failure; and at most once a tick and thread for the time of a call. Labels are ours or the operator's, never a peer's or a handler's.

mod calls;
mod clients;
mod families;
mod fuel;
mod register;
mod spares;
mod swaps;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use http::StatusCode;

use crate::connection::close::{CAUSES, CloseCause};
use crate::limits::records::Records;
use crate::limits::{Reached, Scope};

pub(crate) use calls::{BUCKETS, CallKind, Calls};
pub(crate) use clients::{Clients, OpenClient};
pub(crate) use families::*;
pub(crate) use fuel::FuelCount;
pub(crate) use register::{Open, Register, Registered};
pub(crate) use spares::SpareCounts;
pub(crate) use swaps::{ConnectionOutcome, SwapOutcome, Swaps};
pub(crate) use text::Exposition;

/// The counts of one route.
#[derive(Debug, Default)]
pub(crate) struct RouteMetrics {
    pub(crate) connections: Register,
    /// Those that its handlers have opened.
    pub(crate) clients: Clients,
    pub(crate) calls: Calls,
    pub(crate) swaps: Swaps,
    handshakes: [AtomicU64; STATUSES.len()],
    refusals: Refusals,
    closes: [AtomicU64; CAUSES],
    traps: [AtomicU64; TrapCause::ALL.len()],
    dropped_log_lines: AtomicU64,
    pub(crate) fuel: FuelCount,
    pub(crate) spares: SpareCounts,
    /// What of this is told in the log, too, and not for each.
    pub(crate) records: Records,
}

/// How handshakes are answered. A handler may reject with any status: what the host itself does not answer counts by its first digit.
const STATUSES: [&str; 16] = [
    "101", "400", "403", "404", "405", "414", "421", "426", "429", "500", "501", "503", "2xx", "3xx", "4xx",
    "5xx",
];

/// Why a call of a handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrapCause {
    /// `cpu-per-event`.
    Cpu,
    /// `wall-per-event`.
    Wall,
    /// `fuel-per-event`.
    Fuel,
    /// `unreachable`: a panic, an abort, a failed assertion.
    Unreachable,
    /// The stack is full.
    Stack,
    /// Memory or a table was read or written where there is none.
    Memory,
    /// Any other trap, or a value that may not be answered.
    Other,
    /// What the handler shares with others was used up: its tenant's memory, or the pool.
    Exhausted,
}

impl TrapCause {
    pub(crate) const ALL: [Self; 8] = [
        Self::Cpu,
        Self::Wall,
        Self::Fuel,
        Self::Unreachable,
        Self::Stack,
        Self::Memory,
        Self::Other,
        Self::Exhausted,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Fuel => "fuel",
            Self::Unreachable => "unreachable",
            Self::Stack => "stack",
            Self::Memory => "memory",
            Self::Other => "other",
            Self::Exhausted => "exhausted",
        }
    }
}

impl RouteMetrics {
    /// Those of a route, whose records name it.
    pub(crate) fn of(tenant: &str, route: &str) -> Self {
        Self { records: Records::of(tenant, route), ..Self::default() }
    }

    /// A handshake was accepted.
    pub(crate) fn count_accepted(&self) {
        self.handshakes[0].fetch_add(1, Ordering::Relaxed);
    }

    /// A handshake got another answer.
    pub(crate) fn count_answer(&self, status: StatusCode, reached: Option<Reached>) {
        let of_class = match status.as_u16() {
            ..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        let at = |label: &str| STATUSES.iter().position(|listed| *listed == label);
        if let Some(at) = at(status.as_str()).or_else(|| at(of_class)) {
            self.handshakes[at].fetch_add(1, Ordering::Relaxed);
        }
        if let Some(reached) = reached {
            self.count_refusal(reached);
        }
    }

    /// Somebody met a bound before there was anything to answer.
    pub(crate) fn count_refusal(&self, reached: Reached) {
        self.refusals.count(reached);
    }

    fn count_close(&self, cause: CloseCause) {
        self.closes[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_trap(&self, cause: TrapCause) {
        self.traps[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Lines that handlers printed and nobody will read.
    pub(crate) fn count_dropped_log_lines(&self, lines: u64) {
        self.dropped_log_lines.fetch_add(lines, Ordering::Relaxed);
    }

    /// By the label of the status.
    pub(crate) fn handshakes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        STATUSES.into_iter().zip(&self.handshakes).map(read)
    }

    /// By the label of the cause.
    pub(crate) fn closes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CloseCause::ALL.into_iter().map(CloseCause::label).zip(&self.closes).map(read)
    }

    /// By the label of the cause.
    pub(crate) fn traps(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TrapCause::ALL.into_iter().map(TrapCause::label).zip(&self.traps).map(read)
    }

    pub(crate) fn refusals(&self) -> Vec<(Reached, u64)> {
        self.refusals.lock().clone()
    }

    pub(crate) fn dropped_log_lines(&self) -> u64 {
        self.dropped_log_lines.load(Ordering::Relaxed)
    }
}

fn read((label, count): (&'static str, &AtomicU64)) -> (&'static str, u64) {
    (label, count.load(Ordering::Relaxed))
}

/// Handshakes that were refused at a bound, and calls that failed for one. Those of every deployment are there from the start, so that their first increase is seen as
/// one; others when they are first reached.
#[derive(Debug)]
struct Refusals(Mutex<Vec<(Reached, u64)>>);

impl Default for Refusals {
    fn default() -> Self {
        let listed = [
            (Scope::Address, "max-connections-per-address"),
            (Scope::Instance, "max-connections-per-instance"),
            (Scope::Route, "max-instances"),
            (Scope::Server, "max-connections"),
            (Scope::Server, "max-instances"),
            (Scope::Server, "max-memory-bytes"),
            (Scope::Tenant, "max-connections"),
            (Scope::Tenant, "max-instances"),
            (Scope::Tenant, "max-memory-bytes"),
        ];
        Self(Mutex::new(listed.map(|(scope, limit)| (Reached { scope, limit }, 0)).into()))
    }
}

impl Refusals {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Reached, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, reached: Reached) {
        let mut counts = self.lock();
        match counts.iter_mut().find(|(counted, _)| *counted == reached) {
            Some((_, count)) => *count += 1,
            None => counts.push((reached, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(counts: impl Iterator<Item = (&'static str, u64)>) -> Vec<(&'static str, u64)> {
        counts.filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn a_handlers_odd_statuses_are_counted_by_their_first_digit() {
        let metrics = RouteMetrics::default();
        metrics.count_accepted();
        for status in [200, 204, 302, 404, 418, 451, 503, 599] {
            metrics.count_answer(StatusCode::from_u16(status).expect("a status"), None);
        }
        let expected = [("101", 1), ("404", 1), ("503", 1), ("2xx", 2), ("3xx", 1), ("4xx", 2), ("5xx", 1)];
        assert_eq!(counted(metrics.handshakes()), expected);
    }

    #[test]
    fn a_bound_that_is_new_is_counted_like_those_that_are_listed() {
        let metrics = RouteMetrics::default();
        let reached = Reached { scope: Scope::Route, limit: "another" };
        for _ in 0..2 {
            metrics.count_answer(StatusCode::SERVICE_UNAVAILABLE, Some(reached));
        }
        assert_eq!(metrics.refusals().last(), Some(&(reached, 2)));
    }

    #[test]
    fn every_cause_has_a_place_of_its_own() {
        let metrics = RouteMetrics::default();
        TrapCause::ALL.into_iter().for_each(|cause| metrics.count_trap(cause));
        CloseCause::ALL.into_iter().for_each(|cause| metrics.count_close(cause));
        assert!(metrics.traps().chain(metrics.closes()).all(|(_, count)| count == 1));
    }
}
