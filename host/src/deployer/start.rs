//! What routes begin with: what was kept of them, or else their files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::record::{Failed, Record, Waiting};
use super::{Deployer, Inner};
use crate::handler::file::{HandlerFile, Seen};
use crate::handler::loading::{Ahead, Loader, NotLoaded};
use crate::handler::{Handler, HandlerSource, LoadError, Runtime};
use crate::limits::pauses::StartPause;
use crate::server::application::Application;
use crate::server::routes::Route;
use crate::state::{InFlight, KeptCanary, KeptVersion, Manifest, NoBytes, RouteFolder, StateDir, StateError};
use crate::swap::{Canary, Health, Origin, Standing, Version, admit_canary};

/// Loads what each route begins with: what `state` has of it, or else its file.
pub struct Starter {
    runtime: Arc<Runtime>,
    loader: Loader,
    /// From then on what is not ready is postponed, and nobody waits for what is compiled.
    until: Option<Instant>,
    state: Option<StateDir>,
    /// The state is another process's yet: it is read, and not touched.
    takes_over: bool,
    begun: BTreeMap<(String, String), Begun>,
}

/// What a route begins with, beside its handler.
#[derive(Debug, Default)]
struct Begun {
    path: Option<PathBuf>,
    seen: Option<Seen>,
    failed: Option<Failed>,
    folder: Option<RouteFolder>,
    standing: Option<Standing>,
    /// What was kept, and cannot be loaded now.
    waiting: Waiting,
    /// The file's bytes, until a manifest names them.
    stored: Option<InFlight>,
}

/// What there is of a route in its folder.
enum Kept {
    Nothing,
    Loaded(Handler, Standing, Option<Seen>, Box<Waiting>),
    /// It may be loaded another time, or under other limits.
    NotNow(NotLoaded, Box<Manifest>),
}

/// Why a version that was kept is not served.
enum NoVersion {
    /// It never will be.
    Unusable(String),
    NotNow(NotLoaded),
}

impl NoVersion {
    fn why(&self) -> String {
        match self {
            Self::Unusable(why) => why.clone(),
            Self::NotNow(missing) => missing.to_string(),
        }
    }
}

impl fmt::Debug for Starter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starter").field("begun", &self.begun.len()).finish_non_exhaustive()
    }
}

impl Starter {
    /// Loads into `runtime`. What it compiles is waited for as long as [`CompileLimits::max_start_wait`](crate::CompileLimits) says, from now on.
    pub fn new(runtime: Arc<Runtime>, state: Option<StateDir>) -> Self {
        let until = runtime.max_start_wait().and_then(|wait| Instant::now().checked_add(wait));
        let loader = Loader::new(runtime.clone()).until(until);
        Self { runtime, loader, until, state, takes_over: false, begun: BTreeMap::new() }
    }

    /// For a process that is to take another one's place, which may still fail: what was kept must do as it is, only [`Deployer::settle`]
    /// changes it, and everything is waited for, since the other one serves meanwhile.
    #[must_use]
    pub fn taking_over(self) -> Self {
        Self { takes_over: true, until: None, loader: self.loader.until(None), ..self }
    }

    /// Compiles what these routes are going to begin with, as [`Loader::compile_ahead`] does: who [loads](Starter::load) them afterwards waits
    /// for nothing any more, and is told what is wrong.
    pub fn compile_ahead(&mut self, routes: &[(Route, HandlerSource)]) {
        let mut handlers = Vec::new();
        for (route, source) in each_tenants_in_turn(routes) {
            let limits = &route.limits;
            let folder = self.state.as_ref().map(|state| state.route(&route.tenant.name, &route.name));
            let kept = folder.and_then(|folder| match folder.read() {
                Ok(Some(Ok(manifest))) => Some((folder, manifest)),
                _ => None,
            });
            match kept {
                Some((folder, manifest)) => handlers.extend(manifest.digests().map(|digest| {
                    let (folder, digest) = (folder.clone(), digest.to_owned());
                    let max_bytes = self.runtime.max_handler_bytes();
                    let source = move || {
                        folder.bytes(&digest, max_bytes).ok().map(|bytes| HandlerSource::Bytes(bytes.into()))
                    };
                    Ahead { limits: limits.clone(), source: Box::new(source) }
                })),
                None => {
                    let source = source.clone();
                    handlers.push(Ahead { limits: limits.clone(), source: Box::new(|| Some(source)) });
                }
            }
        }
        self.loader.compile_all(handlers);
    }

    /// Loads a route's handler. Blocks as [`Runtime::load`] does. What was kept and can never be used is put aside and told in the log; what
    /// cannot be loaded now stays where it is, and the route has no handler. One of a file may be [postponed](LoadError::Postponed); what was
    /// kept has been compiled before, and is waited for.
    ///
    /// # Errors
    /// The outer: the state cannot be read or written. The inner is for the [`Application`].
    pub fn load(
        &mut self,
        route: &Route,
        source: &HandlerSource,
    ) -> Result<Result<Handler, NotLoaded>, StateError> {
        let path = match source {
            HandlerSource::File(path) => Some(path.clone()),
            _ => None,
        };
        let folder = self.state.as_ref().map(|state| state.route(&route.tenant.name, &route.name));
        let mut begun = Begun { path, folder, ..Begun::default() };
        let kept = match &begun.folder {
            Some(folder) => self.load_kept(route, folder)?,
            None => Kept::Nothing,
        };
        let handler = match kept {
            Kept::Loaded(handler, standing, seen, waiting) => {
                (begun.standing, begun.seen, begun.waiting) = (Some(standing), seen, *waiting);
                Ok(handler)
            }
            Kept::NotNow(missing, manifest) => {
                let Manifest { current, previous, file, latest_number, pinned, canary, .. } = *manifest;
                begun.standing = Some(Standing {
                    current: None,
                    previous: None,
                    latest_number,
                    pinned,
                    canary: None,
                    taken_back: None,
                });
                begun.waiting = Waiting { current: Some(current), previous, canary, latest_number };
                begun.seen = file;
                Err(missing)
            }
            Kept::Nothing => self.load_file(route, source, &mut begun)?,
        };
        self.begun.insert((route.tenant.name.clone(), route.name.clone()), begun);
        Ok(handler)
    }

    fn load_file(
        &mut self,
        route: &Route,
        source: &HandlerSource,
        begun: &mut Begun,
    ) -> Result<Result<Handler, NotLoaded>, StateError> {
        let mut stamp = None;
        let (origin, bytes) = match source {
            HandlerSource::Echo => (Origin::Embedded, HandlerSource::Echo),
            HandlerSource::Bytes(bytes) => (Origin::Program, HandlerSource::Bytes(bytes.clone())),
            HandlerSource::File(path) => match HandlerFile::read(path, self.runtime.max_handler_bytes()) {
                Ok(file) => {
                    let origin = Origin::File(file.seen.path.clone());
                    begun.seen = Some(file.seen);
                    stamp = Some(file.stamp);
                    (origin, HandlerSource::Bytes(file.bytes))
                }
                // It says so again.
                Err(_) => {
                    begun.failed = Some(Failed::Unreadable);
                    return Ok(self.loader.load(source, &route.limits));
                }
            },
        };
        let handler = match self.loader.load_or_postpone(&bytes, &route.limits) {
            Ok(handler) => handler,
            Err(mut missing) => {
                missing.handler = source.to_string();
                begun.failed = stamp.map(Failed::File).filter(|_| !missing.is_postponed());
                return Ok(Err(missing));
            }
        };
        if let (Some(folder), Ok(bytes)) = (&begun.folder, bytes.read(None)) {
            begun.stored = Some(folder.store(handler.digest(), &bytes)?);
        }
        let current = Some(Arc::new(Version::new(1, handler.clone(), origin)));
        begun.standing = Some(Standing {
            current,
            previous: None,
            latest_number: 1,
            pinned: false,
            canary: None,
            taken_back: None,
        });
        Ok(Ok(handler))
    }

    /// What was kept, if it can be used.
    fn load_kept(&mut self, route: &Route, folder: &RouteFolder) -> Result<Kept, StateError> {
        let loaded = match folder.read()? {
            None => return Ok(Kept::Nothing),
            Some(Err(why)) => Err(why),
            Some(Ok(manifest)) => match self.load_version(route, folder, &manifest.current) {
                Ok(current) => Ok((manifest, current)),
                Err(NoVersion::NotNow(missing)) if !self.takes_over => {
                    return Ok(Kept::NotNow(missing, Box::new(manifest)));
                }
                Err(error) => Err(error.why()),
            },
        };
        let (manifest, current) = match loaded {
            Ok(loaded) => loaded,
            Err(why) if self.takes_over => {
                return Err(StateError::Unusable { path: folder.path().into(), why });
            }
            Err(why) => {
                let aside = folder.put_aside()?;
                tracing::error!(
                    tenant = route.tenant.name, route = %route.name, error = why, aside = %aside.display(),
                    remedy = "deploy the version that is wanted once more",
                    "what was kept of the route cannot be used: it is put aside, and the route's file is served"
                );
                return Ok(Kept::Nothing);
            }
        };
        let Manifest { file, previous, latest_number, pinned, canary, .. } = manifest;
        let mut waiting = Waiting { latest_number, ..Waiting::default() };
        let previous = previous.and_then(|kept| match self.load_version(route, folder, &kept) {
            Ok(version) => Some(version),
            Err(error) => {
                tracing::warn!(
                    tenant = route.tenant.name, route = %route.name, version = kept.number, error = error.why(),
                    aside = self.put_aside(folder, &kept, &error),
                    "the previous version cannot be used: there is none to roll back to"
                );
                waiting.previous = Some(kept).filter(|_| matches!(error, NoVersion::NotNow(_)));
                None
            }
        });
        let canary = canary.filter(|KeptCanary { candidate, .. }| match admit_canary(route) {
            Ok(()) => true,
            Err(why) => {
                tracing::warn!(
                    tenant = route.tenant.name, route = %route.name, version = candidate.number, %why,
                    "the canary is not offered any more: the route's `instance` is another"
                );
                false
            }
        });
        let canary = canary.and_then(|kept| match self.load_version(route, folder, &kept.candidate) {
            Ok(version) => Some(Arc::new(Canary::new(version, kept.percent))),
            Err(error) => {
                tracing::warn!(
                    tenant = route.tenant.name, route = %route.name, version = kept.candidate.number,
                    error = error.why(), aside = self.put_aside(folder, &kept.candidate, &error),
                    "the canary cannot be used: there is none"
                );
                waiting.canary = Some(kept).filter(|_| matches!(error, NoVersion::NotNow(_)));
                None
            }
        });
        let handler = current.handler.clone();
        let standing =
            Standing { current: Some(current), previous, latest_number, pinned, canary, taken_back: None };
        Ok(Kept::Loaded(handler, standing, file, Box::new(waiting)))
    }

    /// The bytes of a version that can never be used, if they are this process's to move. Where they are then.
    fn put_aside(&self, folder: &RouteFolder, kept: &KeptVersion, why: &NoVersion) -> Option<String> {
        if self.takes_over || matches!(why, NoVersion::NotNow(_)) {
            return None;
        }
        Some(folder.put_bytes_aside(&kept.sha256)?.display().to_string())
    }

    fn load_version(
        &mut self,
        route: &Route,
        folder: &RouteFolder,
        kept: &KeptVersion,
    ) -> Result<Arc<Version>, NoVersion> {
        let name = format!("version {}, {} in {},", kept.number, kept.sha256, folder.path().display());
        let bytes = folder.bytes(&kept.sha256, self.runtime.max_handler_bytes());
        let bytes = bytes.map_err(|NoBytes { why, are_lost }| match are_lost {
            true => NoVersion::Unusable(why),
            false => {
                let error = LoadError::from(std::io::Error::other(why));
                NoVersion::NotNow(NotLoaded::new(&self.runtime, name.clone(), error.into()))
            }
        })?;
        let handler = self.loader.load(&HandlerSource::Bytes(bytes.into()), &route.limits);
        let handler = handler.map_err(|mut missing| {
            missing.handler = name;
            match missing.error.is_of_the_content() {
                true => NoVersion::Unusable(missing.to_string()),
                false => NoVersion::NotNow(missing),
            }
        })?;
        let KeptVersion { number, source, since, .. } = kept.clone();
        Ok(Arc::new(Version {
            number,
            handler,
            origin: source.into(),
            since,
            start_pause: StartPause::default(),
            health: Health::default(),
        }))
    }

    /// For the application of these routes, before it serves: its versions become what was kept. Then, except where a process
    /// [takes over](Starter::taking_over), it [settles](Deployer::settle); what that compiles is waited for as everything is here. In a tokio
    /// runtime.
    pub async fn deployer(self, application: Application) -> Deployer {
        let Self { runtime, state, mut begun, takes_over, until, .. } = self;
        let mut stored = Vec::new();
        let mut records = Vec::new();
        for endpoint in application.endpoints() {
            let name = (endpoint.tenancy.name.clone(), endpoint.route.name.clone());
            let begun = begun.remove(&name).unwrap_or_default();
            if let Some(standing) = begun.standing {
                endpoint.versions.begin_with(standing);
            }
            stored.extend(begun.stored);
            let record = Record::new(endpoint.clone(), begun.path, begun.seen, begun.folder, begun.failed);
            records.push(record.waiting(begun.waiting));
        }
        let inner = Inner { stored: Mutex::new(stored), ..Inner::new(application, runtime, state, records) };
        let deployer = Deployer { inner: Arc::new(inner) };
        if !takes_over {
            let settled = tokio::spawn(deployer.settle());
            // It goes on without us; a panic of it has been told.
            let _ = match until {
                Some(until) => tokio::time::timeout_at(until.into(), settled).await.ok(),
                None => Some(settled.await),
            };
        }
        deployer
    }
}

/// Each tenant's first, then their second ones, and so on: who has many that take long is not before everybody else.
fn each_tenants_in_turn(routes: &[(Route, HandlerSource)]) -> Vec<&(Route, HandlerSource)> {
    let mut so_far: BTreeMap<&str, usize> = BTreeMap::new();
    let mut turns: Vec<(usize, &(Route, HandlerSource))> = Vec::new();
    for entry in routes {
        let turn = so_far.entry(&entry.0.tenant.name).or_default();
        turns.push((*turn, entry));
        *turn += 1;
    }
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::tenants::Tenant;
    use crate::server::routes::Pattern;

    #[test]
    fn who_has_many_handlers_is_not_before_everybody_else() {
        let names = [("many", "a"), ("many", "b"), ("many", "c"), ("few", "d"), ("few", "e"), ("one", "f")];
        let routes = names.map(|(tenant, name)| {
            let route = Route::new(name, Pattern::new("/").expect("a path"));
            let tenant = Tenant { name: tenant.into(), ..Tenant::default() };
            (Route { tenant, ..route }, HandlerSource::Echo)
        });
        let turns = each_tenants_in_turn(&routes).into_iter().map(|(route, _)| &*route.name);
        assert_eq!(turns.collect::<String>(), "adfbec");
    }
}
