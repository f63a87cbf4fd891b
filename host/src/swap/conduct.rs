//! One swap from its beginning to its end: a trial of the new version, the change, and what becomes of those who stay behind.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::rollout::Tally;
use super::{Canary, OnSwap, Rollout, Verdict, Version};
use crate::close::CloseCause;
use crate::endpoint::Endpoint;
use crate::instance::{Instance, Unfit};
use crate::instances::Instances;
use crate::link::{Closing, Link};
use crate::metrics::SwapOutcome;

/// How long a swap's report waits for connections whose handlers are busy.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);
/// How often those are counted that are still to go over.
const COUNT_INTERVAL: Duration = Duration::from_millis(20);
/// How often those are counted that stay behind.
const DRAIN_INTERVAL: Duration = Duration::from_secs(1);
/// How often a canary is judged.
const CANARY_INTERVAL: Duration = Duration::from_secs(1);

/// What has become of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapReport {
    /// The number of the version that newcomers get now.
    pub version: u32,
    /// What it is: the SHA-256 of its bytes, in hexadecimal digits.
    pub digest: String,
    /// What became of the connections that were open.
    pub on_swap: OnSwap,
    /// How many those were.
    pub connections: usize,
    /// Served by the new version.
    pub moved: usize,
    /// With the old version, whose handler gives no state: drained.
    pub unsupported: usize,
    /// With the old version, because the host had no room for both, or the state was over `max-state-bytes`: drained.
    pub no_room: usize,
    /// With the old version, because the new one did not take their state: drained.
    pub failed: usize,
    /// Ended, because the old version failed when it was asked for their state.
    pub lost: usize,
    /// Not dealt with when this was written: their handlers are busy.
    pub busy: usize,
    /// Why the first of those that failed did.
    pub first_failure: Option<String>,
    /// The longest time for which a connection had no handler.
    pub longest_pause: Duration,
}

/// Why the old version goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwapError {
    /// The application has no such route.
    #[error("there is no route `{0}`")]
    NoRoute(String),
    /// Several tenants have such a route.
    #[error("several tenants have a route `{0}`: say whose")]
    SeveralRoutes(String),
    /// No other version has been served.
    #[error("there is no version to go back to")]
    NoPrevious,
    /// That is no part of the newcomers.
    #[error("a canary gets 1 to 99 percent of the newcomers, not {0}")]
    Percent(u8),
    /// No canary is offered.
    #[error("there is no canary")]
    NoCanary,
    /// A canary is compared with what is served, which is nothing.
    #[error("there is no version beside which a canary could be: deploy it to all")]
    NothingBeside,
    /// It is what is served.
    #[error("this version is served already")]
    Current,
    /// The operator has said that the current one stays.
    #[error("version {0} is pinned: unpin it first")]
    Pinned(u32),
    /// The new version cannot serve anybody.
    #[error("the new version is not taken: {0}")]
    Unfit(String),
    /// There is no memory, or no place in the pool, to try it.
    #[error("there is no room to try the new version (limit `{0}`); try again later")]
    NoRoom(&'static str),
    /// Too many connections could not go over. Those that had, went back.
    #[error("taken back: {failed} of {connections} connections could not go over: {why}")]
    RolledBack {
        /// How many could not.
        failed: usize,
        /// How many were open.
        connections: usize,
        /// Why the first of them could not.
        why: String,
    },
}

/// Puts `version` into the place of the route's current version, as `mode` says. Returns when all connections that were open have been
/// dealt with, except those whose handlers are busy for long. The swap goes on if nobody waits for its end.
///
/// # Errors
/// See [`SwapError`]: the old version goes on.
pub(crate) async fn swap(
    instances: &Arc<Instances>,
    version: Arc<Version>,
    on_swap: Option<OnSwap>,
) -> Result<SwapReport, SwapError> {
    let endpoint = &instances.endpoint;
    // One after the other, so that the later one is what stays.
    let changing = endpoint.versions.changing().await;
    let mode = on_swap.unwrap_or(endpoint.swap_policy().on_swap);
    if let Some(pinned) = endpoint.versions.pinned() {
        return Err(SwapError::Pinned(pinned));
    }
    if endpoint.versions.current().is_some_and(|current| Arc::ptr_eq(&current, &version)) {
        return Err(SwapError::Current);
    }
    if let Err(error) = try_out(instances, &version).await {
        endpoint.metrics.swaps.count(SwapOutcome::Refused);
        tracing::warn!(
            tenant = endpoint.tenancy.name, route = %endpoint.route.name, %version, "{error}; the old one goes on"
        );
        return Err(error);
    }
    let links = endpoint.seats.links();
    let rollout = endpoint.versions.replace(version, mode, links.len());
    announce(endpoint, &rollout, &links);
    drop(changing);
    endpoint.metrics.swaps.count(SwapOutcome::Done);
    follow(instances, rollout).await
}

/// What becomes of a change. It goes on if nobody waits.
async fn follow(instances: &Arc<Instances>, rollout: Arc<Rollout>) -> Result<SwapReport, SwapError> {
    let (told, report) = oneshot::channel();
    tokio::spawn(conduct(instances.clone(), rollout, told));
    // The runtime ends.
    report.await.unwrap_or_else(|_| Err(SwapError::Unfit("the server ends".into())))
}

/// Gives `version` to `percent` of the newcomers, and watches it: it takes the current one's place, or is withdrawn, by itself.
///
/// # Errors
/// See [`SwapError`]: nothing has changed.
pub(crate) async fn offer(
    instances: &Arc<Instances>,
    version: Arc<Version>,
    percent: u8,
) -> Result<(), SwapError> {
    let endpoint = &instances.endpoint;
    if !(1..=99).contains(&percent) {
        return Err(SwapError::Percent(percent));
    }
    let changing = endpoint.versions.changing().await;
    if endpoint.versions.current().is_none() {
        return Err(SwapError::NothingBeside);
    }
    if let Err(error) = try_out(instances, &version).await {
        endpoint.metrics.swaps.count(SwapOutcome::Refused);
        return Err(error);
    }
    if endpoint.versions.canary().is_some() {
        withdraw(instances, "another one begins");
    }
    tracing::info!(
        tenant = endpoint.tenancy.name, route = %endpoint.route.name, %version, percent, "a canary begins"
    );
    let canary = Arc::new(Canary::new(version, percent));
    endpoint.versions.set_canary(canary);
    drop(changing);
    watch_canary(instances);
    Ok(())
}

/// If there is a canary, from now on it is judged. Not twice for one.
pub(crate) fn watch_canary(instances: &Arc<Instances>) {
    if let Some(canary) = instances.endpoint.versions.canary() {
        tokio::spawn(watch(instances.clone(), canary));
    }
}

/// Puts the canary into the place of the current version.
///
/// # Errors
/// There is none.
pub(crate) async fn promote(instances: &Arc<Instances>) -> Result<SwapReport, SwapError> {
    let canary = instances.endpoint.versions.canary().ok_or(SwapError::NoCanary)?;
    swap(instances, canary.version.clone(), None).await
}

/// Withdraws the canary, if there is one; else puts the version back that was served before.
///
/// # Errors
/// There is neither.
pub(crate) async fn roll_back(instances: &Arc<Instances>) -> Result<SwapReport, SwapError> {
    let versions = &instances.endpoint.versions;
    let changing = versions.changing().await;
    if let Some(rollout) = withdraw(instances, "the operator wants it") {
        drop(changing);
        return follow(instances, rollout).await;
    }
    drop(changing);
    let previous = versions.previous().ok_or(SwapError::NoPrevious)?;
    swap(instances, previous, None).await
}

/// Its newcomers get the current version again, and those who are there go over to that as the route says.
fn withdraw(instances: &Instances, why: &str) -> Option<Arc<Rollout>> {
    let endpoint = &instances.endpoint;
    let canary = endpoint.versions.canary()?;
    let score = canary.version.health.score();
    tracing::warn!(
        tenant = endpoint.tenancy.name, route = %endpoint.route.name, version = %canary.version, why,
        addresses = score.served, failed = score.failed, "the canary is withdrawn"
    );
    endpoint.metrics.swaps.count(SwapOutcome::RolledBack);
    let mode = endpoint.swap_policy().on_swap;
    let links = endpoint.seats.links();
    let rollout = endpoint.versions.withdraw(mode, links.len())?;
    announce(endpoint, &rollout, &links);
    Some(rollout)
}

/// Until the canary is promoted or withdrawn, by whomever.
async fn watch(instances: Arc<Instances>, canary: Arc<Canary>) {
    let endpoint = &instances.endpoint;
    let is_offered = || endpoint.versions.canary().is_some_and(|offered| Arc::ptr_eq(&offered, &canary));
    loop {
        tokio::time::sleep(CANARY_INTERVAL.min(endpoint.swap_policy().canary_time.max(COUNT_INTERVAL))).await;
        let changing = endpoint.versions.changing().await;
        let Some(current) = endpoint.versions.current().filter(|_| is_offered()) else { return };
        match canary.verdict(current.health.score(), &endpoint.swap_policy()) {
            Verdict::Wait => {}
            Verdict::Withdraw => {
                if let Some(rollout) = withdraw(&instances, "it fails more often than the version beside it")
                {
                    drop(changing);
                    // What becomes of it is logged.
                    let _ = follow(&instances, rollout).await;
                }
                return;
            }
            Verdict::Promote => {
                drop(changing);
                // What becomes of it is logged.
                let _ = swap(&instances, canary.version.clone(), None).await;
                return;
            }
        }
    }
}

/// Instantiates it; what it may do is nothing.
async fn try_out(instances: &Arc<Instances>, version: &Arc<Version>) -> Result<(), SwapError> {
    let endpoint = &instances.endpoint;
    let _place = version.handler.spare_permit().await;
    let memory = endpoint.try_instance_memory(&version.handler);
    let memory = memory.map_err(|reached| SwapError::NoRoom(reached.limit))?;
    match Instance::stand_in(endpoint, version, memory).await {
        Ok(_) => Ok(()),
        Err(Unfit::NoRoom) => Err(SwapError::NoRoom("max-instances")),
        Err(Unfit::Failed(why)) => Err(SwapError::Unfit(why)),
    }
}

/// Newcomers get another version: those who are there are told to look.
fn announce(endpoint: &Endpoint, rollout: &Rollout, links: &[Arc<Link>]) {
    tracing::info!(
        tenant = endpoint.tenancy.name, route = %endpoint.route.name, from = rollout.from.as_ref().map(tracing::field::display), to = %rollout.to,
        on_swap = rollout.mode().name(), connections = links.len(), "the handler is replaced"
    );
    links.iter().for_each(|link| link.nudge());
}

/// What a look at a rollout has found.
enum Found {
    /// Another one has begun.
    Superseded,
    TooManyFailures,
    AllDealtWith,
}

async fn conduct(
    instances: Arc<Instances>,
    rollout: Arc<Rollout>,
    told: oneshot::Sender<Result<SwapReport, SwapError>>,
) {
    let endpoint = &instances.endpoint;
    if rollout.mode() == OnSwap::Close {
        let _ = told.send(Ok(report(&rollout, 0)));
        close_all(&instances, &rollout).await;
    } else {
        let patience = Instant::now() + REPORT_PATIENCE;
        let mut told = Some(told);
        let found = loop {
            match look(&instances, &rollout, told.is_some().then_some(patience)).await {
                Some(found) => break found,
                // Those who are busy may take as long as they take.
                None => {
                    if let Some(told) = told.take() {
                        let busy = still_to_go(&instances, &rollout);
                        let _ = told.send(Ok(report(&rollout, busy)));
                    }
                }
            }
        };
        let tally = rollout.tally();
        match found {
            Found::TooManyFailures => {
                endpoint.metrics.swaps.count(SwapOutcome::RolledBack);
                let why = tally.first_failure.unwrap_or_default();
                tracing::error!(
                    tenant = endpoint.tenancy.name, route = %endpoint.route.name, version = %rollout.to,
                    failed = tally.failed, connections = rollout.connections, why,
                    "the handler is taken back: too many connections could not go over"
                );
                let changing = endpoint.versions.changing().await;
                let links = endpoint.seats.links();
                let back = endpoint.versions.take_back(&rollout, links.len());
                drop(changing);
                if let Some(told) = told {
                    let (failed, connections) = (tally.failed, rollout.connections);
                    let _ = told.send(Err(SwapError::RolledBack { failed, connections, why }));
                }
                // Else there is another change meanwhile, which sees to everybody.
                let Some(back) = back else { return };
                announce(endpoint, &back, &links);
                drain(&instances, &back).await;
                return;
            }
            Found::Superseded | Found::AllDealtWith => {
                tracing::info!(
                    tenant = endpoint.tenancy.name, route = %endpoint.route.name, version = %rollout.to,
                    moved = tally.moved, unsupported = tally.unsupported, no_room = tally.no_room, failed = tally.failed,
                    lost = tally.lost, longest_pause = ?tally.longest_pause, "open connections have been dealt with"
                );
                if let Some(told) = told {
                    let _ = told.send(Ok(report(&rollout, 0)));
                }
            }
        }
    }
    drain(&instances, &rollout).await;
}

/// None at `patience`'s end.
async fn look(instances: &Instances, rollout: &Rollout, patience: Option<Instant>) -> Option<Found> {
    let max_failures_percent = instances.endpoint.swap_policy().max_failures_percent;
    let verdict = || {
        if rollout.is_superseded() {
            return Some(Found::Superseded);
        }
        rollout.has_failed(max_failures_percent).then_some(Found::TooManyFailures)
    };
    let mut count_at = Instant::now();
    loop {
        if let Ok(found) = tokio::time::timeout_at(count_at, rollout.changed_unless(verdict)).await {
            return Some(found);
        }
        if still_to_go(instances, rollout) == 0 {
            // The last of them may have decided it.
            return Some(verdict().unwrap_or(Found::AllDealtWith));
        }
        if patience.is_some_and(|patience| patience <= Instant::now()) {
            return None;
        }
        count_at = Instant::now() + COUNT_INTERVAL;
    }
}

/// Connections that have not dealt with the change.
fn still_to_go(instances: &Instances, rollout: &Rollout) -> usize {
    let to_go =
        |link: &&Arc<Link>| link.version() != rollout.to.number && link.changes_seen() < rollout.change;
    instances.endpoint.seats.links().iter().filter(to_go).count()
}

fn report(rollout: &Rollout, busy: usize) -> SwapReport {
    let Tally { moved, unsupported, no_room, failed, lost, first_failure, longest_pause } = rollout.tally();
    SwapReport {
        version: rollout.to.number,
        digest: rollout.to.handler.digest().into(),
        on_swap: rollout.mode(),
        connections: rollout.connections,
        moved,
        unsupported,
        no_room,
        failed,
        lost,
        busy,
        first_failure,
        longest_pause,
    }
}

/// Closes those who are served by another version than the rollout's, one after the other within `spread`; of a shared instance all at
/// once, so that who comes back finds the new version.
async fn close_all(instances: &Arc<Instances>, rollout: &Rollout) {
    let endpoint = &instances.endpoint;
    let behind = |number: u32| number != rollout.to.number;
    let keys = instances.keys(behind);
    let links = if keys.is_empty() { endpoint.seats.links() } else { Vec::new() };
    let (began, spread) = (Instant::now(), endpoint.swap_policy().spread);
    let steps = keys.len().max(links.len()).max(1) as u32;
    for step in 0..steps {
        let at = began + spread.mul_f64(f64::from(step) / f64::from(steps));
        tokio::time::sleep_until(at).await;
        if rollout.is_superseded() {
            return;
        }
        if let Some(link) = links.get(step as usize).filter(|link| behind(link.version())) {
            let _ = link.close(Closing::Host(CloseCause::Replaced));
        }
        if let Some(key) = keys.get(step as usize) {
            instances.retire(|of, number| of == key && behind(number));
        }
    }
    close_behind(instances, behind);
}

fn close_behind(instances: &Instances, behind: impl Fn(u32) -> bool) {
    instances.retire(|_, number| behind(number));
    for link in instances.endpoint.seats.links() {
        if behind(link.version()) {
            let _ = link.close(Closing::Host(CloseCause::Replaced));
        }
    }
}

/// Ends the connections of versions that were replaced longer than `max-drain` ago, until there are none.
async fn drain(instances: &Arc<Instances>, rollout: &Rollout) {
    let endpoint = &instances.endpoint;
    loop {
        if rollout.is_superseded() {
            return;
        }
        let served: BTreeSet<u32> = endpoint.seats.links().iter().map(|link| link.version()).collect();
        if served.iter().all(|number| *number == rollout.to.number) {
            return;
        }
        let Some(max_drain) = endpoint.swap_policy().max_drain else { return };
        let over = endpoint.versions.replaced_for(max_drain, &served);
        if !over.is_empty() {
            tracing::info!(
                tenant = endpoint.tenancy.name, route = %endpoint.route.name, versions = ?over,
                "`max-drain` is over: the connections that are left are closed"
            );
            close_behind(instances, |number| over.contains(&number));
        }
        tokio::time::sleep(DRAIN_INTERVAL.min(max_drain.max(COUNT_INTERVAL))).await;
    }
}
