//! One swap from its beginning to its end: a trial of the new version, the change, and what becomes of those who stay behind.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::rollout::Tally;
use super::{Canary, OnSwap, Rollout, Verdict, Version, migration_hindrance};
use crate::connection::close::CloseCause;
use crate::connection::link::{Closing, Link};
use crate::handler::endpoint::Endpoint;
use crate::instance::instances::Instances;
use crate::instance::{Instance, Unfit};
use crate::limits::processors::Charged;
use crate::metrics::SwapOutcome;
use crate::server::routes::{InstancePolicy, Route};

/// How long a swap's report waits for connections whose handlers are busy.
const REPORT_PATIENCE: Duration = Duration::from_secs(5);
/// How often those are counted that are still to go over.
const COUNT_INTERVAL: Duration = Duration::from_millis(20);
/// How often those are counted that stay behind.
const DRAIN_INTERVAL: Duration = Duration::from_secs(1);
/// How often a canary is judged.
const CANARY_INTERVAL: Duration = Duration::from_secs(1);
/// The longest until one is tried again whose promotion something hinders.
const LONGEST_HINDRANCE: Duration = Duration::from_secs(10);

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
    /// With the old version, because they cannot go over, as where the handler gives no state: drained.
    pub unsupported: usize,
    /// Why the first of them cannot.
    pub unsupported_because: Option<String>,
    /// With the old version, because the host had no room for both: drained, and tried again.
    pub no_room: usize,
    /// What the first of them lacked: the limit, and whose.
    pub no_room_because: Option<String>,
    /// With the old version, because the state is over `max-state-bytes`: drained.
    pub too_large: usize,
    /// With the old version, because the new one did not take their state: drained.
    pub failed: usize,
    /// Ended, because the old version failed when it was asked for their state.
    pub lost: usize,
    /// Not dealt with when this was written: their handlers are busy.
    pub busy: usize,
    /// Why the first of those that failed did.
    pub first_failure: Option<String>,
    /// For how long those that moved had no handler: half of them for this time or less,
    pub median_pause: Duration,
    /// 99 of 100 for this time or less,
    pub p99_pause: Duration,
    /// and none for longer.
    pub longest_pause: Duration,
    /// The number of the canary that was withdrawn, if that is what it was about.
    pub withdrawn: Option<u32>,
    /// What will stand in the way when this version is to be replaced: see [`migration_hindrance`].
    pub hindrance: Option<&'static str>,
}

/// Why the old version goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwapError {
    /// The application has no such route, or that tenant has none.
    #[error("there is no route `{route}`{}", .tenant.as_deref().map(of_tenant).unwrap_or_default())]
    NoRoute {
        /// Which is meant.
        route: String,
        /// Whose, if that was said.
        tenant: Option<String>,
    },
    /// Several tenants have such a route.
    #[error("several tenants have a route `{0}`: say whose")]
    SeveralRoutes(String),
    /// No other version has been served.
    #[error("there is no version to go back to")]
    NoPrevious,
    /// That is no part of the newcomers.
    #[error("a canary gets 1 to 99 percent of the newcomers, not {0}")]
    Percent(u8),
    /// One instance serves all of the route: a canary would get everybody, or nobody.
    #[error(
        "one instance serves the whole route (`instance = \"route\"`), so no part of the newcomers can have another version: deploy it to all"
    )]
    OneForAll,
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
    /// There is no memory, or no place in the pool, to try it: the limit, and whose.
    #[error("there is no room to try the new version ({0}); try again later")]
    NoRoom(String),
    /// Too many instances, of one connection or shared, could not go over. Those that had, went back.
    #[error(
        "taken back: {failed_instances} of {instances} instances, with {failed} of {connections} connections, could not go over: {why}"
    )]
    RolledBack {
        /// How many could not.
        failed_instances: usize,
        /// How many there were.
        instances: usize,
        /// How many connections those serve that could not.
        failed: usize,
        /// How many were open.
        connections: usize,
        /// Why the first of them could not.
        why: String,
    },
}

/// After the name of a route.
fn of_tenant(name: &str) -> String {
    format!(" of tenant `{name}`")
}

/// Puts `version` into the place of the route's current version, as `on_swap` says, or else the route. Returns when all connections that were
/// open have been dealt with, except those whose handlers are busy for long. The swap goes on if nobody waits for its end.
///
/// # Errors
/// See [`SwapError`]: the old version goes on.
pub(crate) async fn swap(
    instances: &Arc<Instances>,
    version: Arc<Version>,
    on_swap: Option<OnSwap>,
) -> Result<SwapReport, SwapError> {
    // One after the other, so that the later one is what stays.
    let changing = instances.endpoint.versions.changing().await;
    let rollout = replace(instances, version, on_swap, Undo::WhenTooManyFail).await?;
    drop(changing);
    follow(instances, rollout).await
}

/// Whether a change of version is taken back when too many cannot go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undo {
    WhenTooManyFail,
    /// Somebody wants to be rid of what there is.
    Never,
}

/// For who holds [`Versions::changing`](super::Versions::changing).
async fn replace(
    instances: &Arc<Instances>,
    version: Arc<Version>,
    on_swap: Option<OnSwap>,
    undo: Undo,
) -> Result<Arc<Rollout>, SwapError> {
    let endpoint = &instances.endpoint;
    let mode = on_swap.unwrap_or(endpoint.swap_policy().on_swap);
    if let Some(pinned) = endpoint.versions.pinned() {
        return Err(SwapError::Pinned(pinned));
    }
    if endpoint.versions.current().is_some_and(|current| Arc::ptr_eq(&current, &version)) {
        return Err(SwapError::Current);
    }
    try_out(instances, &version).await?;
    let rollout = endpoint.versions.replace(version, mode, served(instances), undo == Undo::WhenTooManyFail);
    announce(instances, &rollout);
    endpoint.metrics.swaps.count(SwapOutcome::Done);
    Ok(rollout)
}

/// What becomes of a change. It goes on if nobody waits.
async fn follow(instances: &Arc<Instances>, rollout: Arc<Rollout>) -> Result<SwapReport, SwapError> {
    let (told, report) = oneshot::channel();
    begin(instances, rollout, told);
    // The runtime ends.
    report.await.unwrap_or_else(|_| Err(SwapError::Unfit("the server ends".into())))
}

fn begin(instances: &Arc<Instances>, rollout: Arc<Rollout>, told: Told) {
    let conducted: Pin<Box<dyn Future<Output = ()> + Send>> =
        Box::pin(conduct(instances.clone(), rollout, told));
    tokio::spawn(conducted);
}

/// Who waits for what becomes of a change, if somebody does.
type Told = oneshot::Sender<Result<SwapReport, SwapError>>;

/// Whether a part of a route's newcomers can have another version than the rest.
///
/// # Errors
/// They share one instance.
pub(crate) fn admit_canary(route: &Route) -> Result<(), SwapError> {
    if route.policy == InstancePolicy::Route { Err(SwapError::OneForAll) } else { Ok(()) }
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
    admit_canary(&endpoint.route)?;
    let changing = endpoint.versions.changing().await;
    if endpoint.versions.current().is_none() {
        return Err(SwapError::NothingBeside);
    }
    if let Some(pinned) = endpoint.versions.pinned() {
        return Err(SwapError::Pinned(pinned));
    }
    try_out(instances, &version).await?;
    if let Some(rollout) = withdraw(instances, "another one begins") {
        begin(instances, rollout, oneshot::channel().0);
    }
    tracing::info!(
        tenant = endpoint.tenancy.name, route = %endpoint.route.name, %version, percent, "a canary begins"
    );
    endpoint.versions.set_canary(Arc::new(Canary::new(version, percent)), endpoint.seats.peers());
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
    let changing = instances.endpoint.versions.changing().await;
    let canary = instances.endpoint.versions.canary().ok_or(SwapError::NoCanary)?;
    let rollout = replace(instances, canary.version.clone(), None, Undo::WhenTooManyFail).await?;
    drop(changing);
    follow(instances, rollout).await
}

/// Withdraws the canary, if there is one; else puts the version back that was served before, whoever cannot go over to it.
///
/// # Errors
/// There is neither, or the current version is pinned.
pub(crate) async fn roll_back(instances: &Arc<Instances>) -> Result<SwapReport, SwapError> {
    let versions = &instances.endpoint.versions;
    let changing = versions.changing().await;
    let (rollout, withdrawn) = match withdraw(instances, "the operator wants it") {
        Some(rollout) => {
            let canary = rollout.from.as_ref().map(|canary| canary.number);
            (rollout, canary)
        }
        None => {
            let previous = versions.previous().ok_or(SwapError::NoPrevious)?;
            (replace(instances, previous, None, Undo::Never).await?, None)
        }
    };
    drop(changing);
    let report = follow(instances, rollout).await?;
    Ok(SwapReport { withdrawn, ..report })
}

/// The canary's newcomers get the current version again, and those who are there go over to that as the route says. For who holds
/// [`Versions::changing`](super::Versions::changing).
fn withdraw(instances: &Instances, why: &str) -> Option<Arc<Rollout>> {
    let endpoint = &instances.endpoint;
    let canary = endpoint.versions.canary()?;
    let score = canary.version.health.score();
    tracing::warn!(
        tenant = endpoint.tenancy.name, route = %endpoint.route.name, version = %canary.version, why,
        addresses = score.served, failed = score.failed, "the canary is withdrawn"
    );
    endpoint.metrics.swaps.count(SwapOutcome::RolledBack);
    let rollout = endpoint.versions.withdraw(endpoint.swap_policy().on_swap, served(instances))?;
    announce(instances, &rollout);
    Some(rollout)
}

/// Until the canary is promoted or withdrawn, by whomever.
async fn watch(instances: Arc<Instances>, canary: Arc<Canary>) {
    let endpoint = &instances.endpoint;
    let is_offered = || endpoint.versions.canary().is_some_and(|offered| Arc::ptr_eq(&offered, &canary));
    let mut hindered = Duration::ZERO;
    loop {
        let interval = CANARY_INTERVAL.min(endpoint.swap_policy().canary_time.max(COUNT_INTERVAL));
        tokio::time::sleep(interval.max(hindered)).await;
        let _changing = endpoint.versions.changing().await;
        let Some(current) = endpoint.versions.current().filter(|_| is_offered()) else { return };
        let rollout = match canary.verdict(current.health.score(), &endpoint.swap_policy()) {
            Verdict::Wait => None,
            Verdict::Withdraw => withdraw(&instances, "it fails more often than the version beside it"),
            // Nothing takes a pinned version's place; what hinders it otherwise is logged, and may pass.
            Verdict::Promote if endpoint.versions.pinned().is_some() => None,
            Verdict::Promote => {
                let promoted =
                    replace(&instances, canary.version.clone(), None, Undo::WhenTooManyFail).await.ok();
                // Each try is told.
                hindered = (hindered * 2).clamp(CANARY_INTERVAL, LONGEST_HINDRANCE);
                promoted
            }
        };
        if let Some(rollout) = rollout {
            begin(&instances, rollout, oneshot::channel().0);
            return;
        }
    }
}

/// Instantiates it; what it may do is nothing, and what its start computes is the tenant's. What is wrong is counted and logged.
async fn try_out(instances: &Arc<Instances>, version: &Arc<Version>) -> Result<(), SwapError> {
    let endpoint = &instances.endpoint;
    let room = endpoint.trial_room(&version.handler).await;
    let room = room.and_then(|room| Ok((room, endpoint.take_instance_memory(&version.handler)?)));
    let tried = match room {
        Err(reached) => Err(SwapError::NoRoom(reached.to_string())),
        Ok((_room, memory)) => {
            let trial = Instance::stand_in(endpoint, version, memory);
            // Other tenants may wait for the room: it is not held while this one waits for his turn.
            match Charged::new(endpoint.tenancy.clone(), trial).await {
                Ok(_) => Ok(()),
                Err(Unfit::NoRoom(reached)) => Err(SwapError::NoRoom(reached.to_string())),
                Err(Unfit::Failed(why)) => Err(SwapError::Unfit(why)),
            }
        }
    };
    tried.inspect_err(|error| {
        endpoint.metrics.swaps.count(SwapOutcome::Refused);
        tracing::warn!(
            tenant = endpoint.tenancy.name, route = %endpoint.route.name, %version, "{error}; the old one goes on"
        );
    })
}

/// How many connections there are, and instances that serve them.
fn served(instances: &Instances) -> (usize, usize) {
    let connections = instances.endpoint.seats.links().len();
    let own = instances.endpoint.route.policy == InstancePolicy::Connection;
    (connections, if own { connections } else { instances.keys(|_| true).len() })
}

/// Newcomers get another version: those who are there are told to look.
fn announce(instances: &Instances, rollout: &Rollout) {
    let endpoint = &instances.endpoint;
    tracing::info!(
        tenant = endpoint.tenancy.name, route = %endpoint.route.name, from = rollout.from.as_ref().map(tracing::field::display), to = %rollout.to,
        on_swap = rollout.mode().name(), connections = rollout.connections, "the handler is replaced"
    );
    if let Some(hindrance) = hindrance(endpoint, &rollout.to) {
        tracing::warn!(
            tenant = endpoint.tenancy.name, route = %endpoint.route.name, version = %rollout.to,
            "the handler {hindrance}"
        );
    }
    // Only now: who is seated later finds the new version by himself.
    endpoint.seats.links().iter().for_each(|link| link.nudge());
    instances.spares.renew();
}

/// What will stand in the way when this version is to be replaced.
pub(crate) fn hindrance(endpoint: &Endpoint, version: &Version) -> Option<&'static str> {
    migration_hindrance(&endpoint.route.policy, endpoint.swap_policy().on_swap, &version.handler)
}

/// What a look at a rollout has found.
enum Found {
    /// Another one has begun.
    Superseded,
    TooManyFailures,
    AllDealtWith,
}

async fn conduct(instances: Arc<Instances>, rollout: Arc<Rollout>, told: Told) {
    let endpoint = &instances.endpoint;
    if rollout.mode() == OnSwap::Close {
        let _ = told.send(Ok(report(endpoint, &rollout, 0)));
        close_all(&instances, &rollout).await;
        drain(&instances, &rollout).await;
        return;
    }
    let patience = Instant::now() + REPORT_PATIENCE;
    let mut told = Some(told);
    let found = loop {
        // Those who are busy may take as long as they take; nobody waits for them.
        let interval = if told.is_some() { COUNT_INTERVAL } else { DRAIN_INTERVAL };
        if let Some(found) = look(&instances, &rollout, interval).await {
            break found;
        }
        match told.take_if(|_| patience <= Instant::now()) {
            Some(told) => {
                let _ = told.send(Ok(report(endpoint, &rollout, still_to_go(&instances, &rollout))));
            }
            None if told.is_none() => {
                close_overdue(&instances);
            }
            None => {}
        }
    };
    match found {
        Found::TooManyFailures => take_back(&instances, &rollout, told).await,
        Found::Superseded | Found::AllDealtWith => {
            let tally = rollout.tally();
            tracing::info!(
                tenant = endpoint.tenancy.name, route = %endpoint.route.name, version = %rollout.to,
                moved = tally.moved, unsupported = tally.unsupported, no_room = tally.no_room, too_large = tally.too_large, failed = tally.failed,
                lost = tally.lost, p99_pause = ?tally.pause(99), longest_pause = ?tally.pause(100), "open connections have been dealt with"
            );
            // Those who go over later may fail, too.
            rollout.conclude(endpoint.swap_policy().max_failures_percent);
            if let Some(told) = told {
                let _ = told.send(Ok(report(endpoint, &rollout, 0)));
            }
            if let Found::TooManyFailures = drain(&instances, &rollout).await {
                take_back(&instances, &rollout, None).await;
            }
        }
    }
}

/// Too many could not go over: newcomers get the old version again, and those who had gone over go back.
async fn take_back(instances: &Arc<Instances>, rollout: &Rollout, told: Option<Told>) {
    let endpoint = &instances.endpoint;
    let changing = endpoint.versions.changing().await;
    let Some(back) = endpoint.versions.take_back(rollout, served(instances)) else {
        // There is another change meanwhile, which sees to everybody.
        if let Some(told) = told {
            let _ = told.send(Ok(report(endpoint, rollout, 0)));
        }
        return;
    };
    let Tally { failed, failed_instances, first_failure, .. } = rollout.tally();
    let Rollout { connections, instances: there_were, .. } = *rollout;
    let why = first_failure.unwrap_or_default();
    endpoint.metrics.swaps.count(SwapOutcome::RolledBack);
    tracing::error!(
        tenant = endpoint.tenancy.name, route = %endpoint.route.name, version = %rollout.to, failed_instances, instances = there_were,
        failed, connections, why, "the handler is taken back: too many instances could not go over"
    );
    announce(instances, &back);
    begin(instances, back, oneshot::channel().0);
    drop(changing);
    if let Some(told) = told {
        let error =
            SwapError::RolledBack { failed_instances, instances: there_were, failed, connections, why };
        let _ = told.send(Err(error));
    }
}

/// None if nothing has been decided after `interval`.
async fn look(instances: &Instances, rollout: &Rollout, interval: Duration) -> Option<Found> {
    if let Some(found) = verdict_within(instances, rollout, interval).await {
        return Some(found);
    }
    // The last of them may have decided it.
    let instances_to_go = instances.still_to_go(rollout.to.number, rollout.change);
    (instances_to_go + still_to_go(instances, rollout) == 0)
        .then(|| verdict(instances, rollout).unwrap_or(Found::AllDealtWith))
}

/// None if nothing has been decided by then.
async fn verdict_within(instances: &Instances, rollout: &Rollout, interval: Duration) -> Option<Found> {
    let decided = rollout.changed_unless(|| verdict(instances, rollout));
    tokio::time::timeout(interval, decided).await.ok()
}

fn verdict(instances: &Instances, rollout: &Rollout) -> Option<Found> {
    if rollout.is_superseded() {
        return Some(Found::Superseded);
    }
    let max_failures_percent = instances.endpoint.swap_policy().max_failures_percent;
    rollout.has_failed(max_failures_percent).then_some(Found::TooManyFailures)
}

/// Connections that have not dealt with the change.
fn still_to_go(instances: &Instances, rollout: &Rollout) -> usize {
    let to_go =
        |link: &&Arc<Link>| link.version() != rollout.to.number && link.changes_seen() < rollout.change;
    instances.endpoint.seats.links().iter().filter(to_go).count()
}

fn report(endpoint: &Endpoint, rollout: &Rollout, busy: usize) -> SwapReport {
    let tally = rollout.tally();
    let [median_pause, p99_pause, longest_pause] = [50, 99, 100].map(|percent| tally.pause(percent));
    let Tally { moved, unsupported, first_unsupported, no_room, first_no_room, too_large, failed, .. } =
        tally;
    let Tally { lost, first_failure, .. } = tally;
    SwapReport {
        version: rollout.to.number,
        digest: rollout.to.handler.digest().into(),
        on_swap: rollout.mode(),
        connections: rollout.connections,
        moved,
        unsupported,
        unsupported_because: first_unsupported.map(|why| why.to_string()),
        no_room,
        // Those who lacked something may have gone over meanwhile.
        no_room_because: first_no_room.filter(|_| no_room > 0).map(|reached| reached.to_string()),
        too_large,
        failed,
        lost,
        busy,
        first_failure,
        median_pause,
        p99_pause,
        longest_pause,
        withdrawn: None,
        hindrance: hindrance(endpoint, &rollout.to),
    }
}

/// Closes those who are served by a version that has been replaced, one after the other within `spread`; of a shared instance all at once, so
/// that who comes back finds the new version.
async fn close_all(instances: &Arc<Instances>, rollout: &Rollout) {
    let endpoint = &instances.endpoint;
    let behind = |number: u32| endpoint.versions.has_replaced(number);
    let keys = instances.keys(behind);
    let links = if keys.is_empty() { endpoint.seats.links() } else { Vec::new() };
    let began = Instant::now();
    let spread = endpoint.swap_policy().spread;
    let steps = keys.len().max(links.len()).max(1) as u32;
    for step in 0..steps {
        tokio::time::sleep_until(began + spread.mul_f64(f64::from(step) / f64::from(steps))).await;
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
    // Who is being seated may have been given the old version.
    while somebody_is_being_seated(instances) && !rollout.is_superseded() {
        tokio::time::sleep(COUNT_INTERVAL).await;
        close_behind(instances, behind);
    }
}

/// Whether there is a newcomer who has no version yet.
fn somebody_is_being_seated(instances: &Instances) -> bool {
    instances.endpoint.seats.links().iter().any(|link| link.version() == 0)
}

fn close_behind(instances: &Instances, behind: impl Fn(u32) -> bool) {
    instances.retire(|_, number| behind(number));
    for link in instances.endpoint.seats.links() {
        if behind(link.version()) {
            let _ = link.close(Closing::Host(CloseCause::Replaced));
        }
    }
}

/// Ends the connections and instances of versions that were replaced longer than `max-drain` ago. Returns whether there are others of such
/// versions.
fn close_overdue(instances: &Instances) -> bool {
    let endpoint = &instances.endpoint;
    let mut served: BTreeSet<u32> = endpoint.seats.links().iter().map(|link| link.version()).collect();
    // Who comes back to one that lingers is served by its version.
    served.extend(instances.versions());
    if served.iter().all(|number| endpoint.versions.serves(*number)) {
        return false;
    }
    let Some(max_drain) = endpoint.swap_policy().max_drain else { return true };
    let over = endpoint.versions.replaced_for(max_drain, &served);
    if !over.is_empty() {
        tracing::info!(
            tenant = endpoint.tenancy.name, route = %endpoint.route.name, versions = ?over,
            "`max-drain` is over: the connections that are left are closed"
        );
        close_behind(instances, |number| over.contains(&number));
    }
    true
}

/// Until nobody is served by a version that has been replaced, or another change sees to them; or until too many have failed of those for
/// whom there was no room at first.
async fn drain(instances: &Instances, rollout: &Rollout) -> Found {
    while close_overdue(instances) {
        let max_drain = instances.endpoint.swap_policy().max_drain.unwrap_or(DRAIN_INTERVAL);
        let interval = DRAIN_INTERVAL.min(max_drain.max(COUNT_INTERVAL));
        if let Some(found) = verdict_within(instances, rollout, interval).await {
            return found;
        }
        rollout.conclude(instances.endpoint.swap_policy().max_failures_percent);
    }
    Found::AllDealtWith
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::connection::link::CONNECTION_BYTES;
    use crate::handler::{HandlerSource, Runtime, RuntimeOptions};
    use crate::limits::SlowConsumer;
    use crate::server::addresses::Peer;
    use crate::server::routes::Pattern;
    use crate::swap::Seated;

    const ECHO: &str = include_str!("../handler/echo.wat");

    /// A route that is alone with the echo.
    fn instances(change: impl FnOnce(&mut Route)) -> Arc<Instances> {
        let mut route = Route::new("test", Pattern::new("/").expect("a pattern"));
        change(&mut route);
        let runtime = Runtime::new(&RuntimeOptions::default(), [&route.limits]).expect("address space");
        let handler = runtime.load(&HandlerSource::Bytes(ECHO.as_bytes().to_vec().into()), &route.limits);
        let handler = handler.unwrap_or_else(|error| panic!("{error}"));
        Instances::new(Endpoint::alone(Arc::new(route), handler))
    }

    /// Who is served by version `number`; by none yet if it is 0.
    fn connection(endpoint: &Arc<Endpoint>, number: u32) -> (Arc<Link>, Seated) {
        let memory = endpoint.tenancy.take_memory(CONNECTION_BYTES).expect("memory");
        let link = Arc::new(Link::new(&endpoint.route.limits, SlowConsumer::default(), memory));
        link.set_version(number);
        let seated = Seated::new(endpoint.clone(), &link, Peer::Unix);
        (link, seated)
    }

    fn is_closed(link: &Link) -> bool {
        link.take(&mut VecDeque::new()).closing.is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_being_seated_is_closed_only_if_it_is_with_the_old_version() {
        let instances = instances(|route| route.swap.spread = Duration::ZERO);
        let endpoint = &instances.endpoint;
        let versions = &endpoint.versions;
        let [(old, _old), (late, _late), (new, _new)] = [1, 0, 0].map(|number| connection(endpoint, number));
        let handler = versions.current().expect("it was loaded").handler.clone();
        let rollout = versions.replace(versions.candidate(handler), OnSwap::Close, (3, 3), true);
        let mut closing = Box::pin(close_all(&instances, &rollout));
        let waits = tokio::time::timeout(Duration::from_secs(1), &mut closing).await;
        assert!(waits.is_err(), "two are being seated");
        assert_eq!([&old, &late, &new].map(|link| is_closed(link)), [true, false, false]);
        late.set_version(1);
        new.set_version(2);
        closing.await;
        assert_eq!([&late, &new].map(|link| is_closed(link)), [true, false]);
    }

    fn refused(endpoint: &Endpoint) -> u64 {
        let swaps = endpoint.metrics.swaps.swaps();
        swaps.filter(|(outcome, _)| *outcome == "refused").map(|(_, count)| count).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_canary_for_whose_promotion_there_is_no_room_stays_one_until_there_is_some() {
        let instances = instances(|route| {
            route.tenant.total.max_memory_bytes = 32 << 20;
            route.swap.canary_time = Duration::from_secs(60);
            route.swap.canary_addresses = 1;
        });
        let endpoint = &instances.endpoint;
        let versions = &endpoint.versions;
        let handler = versions.current().expect("it was loaded").handler.clone();
        offer(&instances, versions.candidate(handler), 50).await.expect("a canary");
        versions.note_served(2, Peer::Unix);
        let all: Vec<_> =
            std::iter::from_fn(|| endpoint.tenancy.take_memory(CONNECTION_BYTES).ok()).collect();
        tokio::time::sleep(Duration::from_secs(660)).await;
        let tried = refused(endpoint);
        assert!((60..66).contains(&tried), "{tried} times: at last every ten seconds");
        assert!(versions.canary().is_some() && versions.serves(1));
        drop(all);
        tokio::time::sleep(LONGEST_HINDRANCE + CANARY_INTERVAL).await;
        assert!(versions.canary().is_none() && !versions.serves(1) && versions.serves(2));
        assert_eq!(refused(endpoint), tried);
    }
}
