//! `/routes`: which version of its handler each route serves, and how another one is put in its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use serde::Serialize;

use super::Office;
use super::answers::{self, Answer, Problem};
use super::query::Query;
use crate::deployer::{DeployError, Deployer, Deployment, Kept, Offer, RouteName};
use crate::handler::HandlerSource;
use crate::handler::endpoint::Endpoint;
use crate::swap::{Canary, OnSwap, Origin, Standing, SwapError, Version};

impl Office {
    /// `GET /routes?tenant=&route=`.
    pub(super) fn routes(&self, query: &str) -> Result<Answer, Problem> {
        let query = Query::parse(query, &["tenant", "route"])?;
        let routes = self.selected(&query)?.into_iter().map(Shown::of).collect();
        Ok(answers::json(&Routes { routes }))
    }

    /// `PUT /routes/NAME/handler?tenant=&on-swap=&canary=`, whose body is the handler.
    pub(super) async fn deploy(
        &self,
        route: &str,
        query: &str,
        body: Request<Incoming>,
    ) -> Result<Answer, Problem> {
        let query = Query::parse(query, &["tenant", "on-swap", "canary"])?;
        let canary: Option<u8> = query.number("canary")?;
        let deployer = self.deployer()?;
        let on_swap = query.text("on-swap").map(parse_on_swap).transpose()?;
        if canary.is_some() && on_swap.is_some() {
            let why = "`on-swap` is for who is there, and a canary is for newcomers: leave one of them.";
            return Err(Problem::bad_request(why));
        }
        let name = named(route, &query);
        // Before anything is read.
        self.application.instances(&name).map_err(DeployError::from)?;
        let bytes = read(body, deployer.max_handler_bytes()).await?;
        let source = HandlerSource::Bytes(bytes);
        if let Some(percent) = canary {
            let Offer { version, hindrance, kept } = deployer.deploy_canary(&name, source, percent).await?;
            let (kept, note) = (kept == Kept::Yes, note(&kept));
            return Ok(answers::json(&ShownOffer { version, percent, hindrance, kept, note }));
        }
        let deployment = deployer.deploy(&name, source, on_swap).await?;
        Ok(answers::json(&ShownReport::of(&deployment)))
    }

    /// `POST /routes/NAME/promote?tenant=`.
    pub(super) async fn promote(&self, route: &str, query: &str) -> Result<Answer, Problem> {
        let query = Query::parse(query, &["tenant"])?;
        let deployment = self.deployer()?.promote(&named(route, &query)).await?;
        Ok(answers::json(&ShownReport::of(&deployment)))
    }

    /// `POST /routes/NAME/rollback?tenant=`.
    pub(super) async fn roll_back(&self, route: &str, query: &str) -> Result<Answer, Problem> {
        let query = Query::parse(query, &["tenant"])?;
        let deployment = self.deployer()?.rollback(&named(route, &query)).await?;
        Ok(answers::json(&ShownReport::of(&deployment)))
    }

    /// `POST /routes/NAME/pin?tenant=&version=`.
    pub(super) async fn pin(&self, route: &str, query: &str) -> Result<Answer, Problem> {
        let query = Query::parse(query, &["tenant", "version"])?;
        let version = query.number("version")?;
        let (version, kept) = self.deployer()?.pin(&named(route, &query), version).await?;
        Ok(answers::json(&ShownPin { pinned: Some(version), kept: kept == Kept::Yes, note: note(&kept) }))
    }

    /// `DELETE /routes/NAME/pin?tenant=`.
    pub(super) async fn unpin(&self, route: &str, query: &str) -> Result<Answer, Problem> {
        let query = Query::parse(query, &["tenant"])?;
        let kept = self.deployer()?.unpin(&named(route, &query)).await?;
        Ok(answers::json(&ShownPin { pinned: None, kept: kept == Kept::Yes, note: note(&kept) }))
    }

    fn deployer(&self) -> Result<&Deployer, Problem> {
        self.deployer.as_ref().ok_or_else(|| {
            Problem::new(StatusCode::NOT_IMPLEMENTED, "This server's handlers cannot be replaced from here.")
        })
    }
}

fn named(route: &str, query: &Query) -> RouteName {
    RouteName { tenant: query.text("tenant").map(str::to_owned), route: route.to_owned() }
}

fn parse_on_swap(text: &str) -> Result<OnSwap, Problem> {
    [OnSwap::Migrate, OnSwap::Drain, OnSwap::Close]
        .into_iter()
        .find(|on_swap| on_swap.name() == text)
        .ok_or_else(|| Problem::bad_request(format!("`on-swap={text}`: `migrate`, `drain` or `close`.")))
}

/// A handler that is not whole is none: nothing has happened yet.
async fn read(body: Request<Incoming>, max_bytes: Option<usize>) -> Result<Bytes, Problem> {
    let limit = max_bytes.unwrap_or(usize::MAX);
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The handler has more than {limit} bytes: raise `max-component-bytes` of `[compile]`."),
        )
    };
    // Who says so beforehand need not send it.
    if body.body().size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match Limited::new(body.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => {
            tracing::debug!(%error, "a handler did not arrive whole: nothing is deployed");
            Err(Problem::bad_request(format!("The handler did not arrive whole: {error}.")))
        }
    }
}

impl From<DeployError> for Problem {
    fn from(error: DeployError) -> Self {
        let status = match &error {
            DeployError::Load(_) | DeployError::Swap(SwapError::Unfit(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            DeployError::Swap(SwapError::NoRoute { .. }) => StatusCode::NOT_FOUND,
            DeployError::Swap(SwapError::SeveralRoutes(_) | SwapError::Percent(_)) => StatusCode::BAD_REQUEST,
            DeployError::Swap(SwapError::NoRoom(_)) | DeployError::HandedOver => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            DeployError::Keep(_) => StatusCode::INSUFFICIENT_STORAGE,
            DeployError::NoVersion
            | DeployError::NotCurrent { .. }
            | DeployError::Swap(
                SwapError::NoPrevious
                | SwapError::NoCanary
                | SwapError::OneForAll
                | SwapError::NothingBeside
                | SwapError::Current
                | SwapError::Pinned(_)
                | SwapError::RolledBack { .. },
            ) => StatusCode::CONFLICT,
        };
        let text = error.to_string();
        let mut letters = text.chars();
        let capital = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
        Self::new(status, format!("{capital}{}.", letters.as_str()))
    }
}

#[derive(Serialize)]
struct Routes<'a> {
    routes: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    tenant: &'a str,
    route: &'a str,
    on_swap: &'static str,
    /// Whether the current version stays, whatever the file is.
    pinned: bool,
    /// Whether the current version was put back after the previous one.
    rolled_back: bool,
    /// None while there is no handler.
    current: Option<ShownVersion>,
    canary: Option<ShownCanary>,
    previous: Option<ShownVersion>,
    /// Open connections by the number of the version that serves them.
    connections: BTreeMap<u32, usize>,
}

impl<'a> Shown<'a> {
    fn of(endpoint: &'a Endpoint) -> Self {
        let standing = endpoint.versions.standing();
        let rolled_back = standing.is_rolled_back();
        let Standing { current, previous, pinned, .. } = standing;
        Self {
            tenant: &endpoint.tenancy.name,
            route: &endpoint.route.name,
            on_swap: endpoint.swap_policy().on_swap.name(),
            pinned,
            rolled_back,
            current: current.map(ShownVersion::of),
            canary: endpoint.versions.canary().map(|canary| ShownCanary::of(&canary)),
            previous: previous.map(ShownVersion::of),
            connections: endpoint.metrics.connections.by_version(),
        }
    }
}

#[derive(Serialize)]
struct ShownVersion {
    version: u32,
    sha256: String,
    /// `file`, `deployed`, `embedded` or `program`.
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    since: String,
}

impl ShownVersion {
    #[expect(clippy::needless_pass_by_value, reason = "for `map`")]
    fn of(version: Arc<Version>) -> Self {
        Self {
            version: version.number,
            sha256: version.handler.digest().into(),
            source: version.origin.name(),
            file: match &version.origin {
                Origin::File(file) => Some(file.display().to_string()),
                _ => None,
            },
            since: humantime::format_rfc3339_seconds(version.since.max(std::time::UNIX_EPOCH)).to_string(),
        }
    }
}

#[derive(Serialize)]
struct ShownOffer {
    version: u32,
    percent: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    hindrance: Option<&'static str>,
    kept: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Serialize)]
struct ShownCanary {
    #[serde(flatten)]
    version: ShownVersion,
    percent: u8,
    /// From how many it has been used, and from how many of them it was made to fail.
    addresses: u64,
    failed: u64,
}

impl ShownCanary {
    fn of(canary: &Canary) -> Self {
        let score = canary.version.health.score();
        Self {
            version: ShownVersion::of(canary.version.clone()),
            percent: canary.percent,
            addresses: score.served,
            failed: score.failed,
        }
    }
}

#[derive(Serialize)]
struct ShownReport<'a> {
    version: u32,
    sha256: &'a str,
    on_swap: &'static str,
    connections: usize,
    moved: usize,
    unsupported: usize,
    no_room: usize,
    too_large: usize,
    failed: usize,
    lost: usize,
    busy: usize,
    first_failure: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsupported_because: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_room_because: Option<&'a str>,
    median_pause_ms: f64,
    p99_pause_ms: f64,
    longest_pause_ms: f64,
    /// The canary that was withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawn: Option<u32>,
    /// What will stand in the way when this version is to be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    hindrance: Option<&'static str>,
    /// Whether the change outlives this process.
    kept: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Serialize)]
struct ShownPin {
    /// The version that stays.
    pinned: Option<u32>,
    /// Whether that outlives this process.
    kept: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Why a change does not outlive this process, and what to do.
fn note(kept: &Kept) -> Option<String> {
    match kept {
        Kept::Yes => None,
        Kept::NoStateDir => Some("without `state-dir` this lasts as long as the process".into()),
        Kept::Failed(why) => Some(format!("this lasts as long as the process: {why}")),
    }
}

impl<'a> ShownReport<'a> {
    fn of(Deployment { report, kept }: &'a Deployment) -> Self {
        Self {
            kept: *kept == Kept::Yes,
            note: note(kept),
            version: report.version,
            sha256: &report.digest,
            on_swap: report.on_swap.name(),
            connections: report.connections,
            moved: report.moved,
            unsupported: report.unsupported,
            no_room: report.no_room,
            too_large: report.too_large,
            failed: report.failed,
            lost: report.lost,
            busy: report.busy,
            first_failure: report.first_failure.as_deref(),
            unsupported_because: report.unsupported_because.as_deref(),
            no_room_because: report.no_room_because.as_deref(),
            withdrawn: report.withdrawn,
            hindrance: report.hindrance,
            median_pause_ms: milliseconds(report.median_pause),
            p99_pause_ms: milliseconds(report.p99_pause),
            longest_pause_ms: milliseconds(report.longest_pause),
        }
    }
}
