//! New versions of handlers while the server runs: whoever brings one, here it is loaded, put in its place, and kept.
//!
//! They come from whoever deploys them, and from the routes' files, which are looked at when somebody asks ([`Deployer::reread`]) or all the
//! time ([`Deployer::watch`]). What was deployed, or put back, stands over the file until that is a newer one; a pinned version over
//! everything.

mod following;
mod record;
mod start;
mod watching;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::record::{Failed, Record};
pub use self::start::Starter;
use crate::handler::file::{HandlerFile, Seen, Verdict};
use crate::handler::loading::NotLoaded;
use crate::handler::{Handler, HandlerSource, LoadError, Runtime};
use crate::server::application::Application;
use crate::server::routes::Route;
use crate::state::{InFlight, RouteFolder, StateDir, StateError};
use crate::swap::{
    OnSwap, Origin, SwapError, SwapReport, admit_canary, hindrance, offer, promote, swap, watch_canary,
};

/// See the module. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Deployer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    application: Application,
    runtime: Arc<Runtime>,
    state: Option<StateDir>,
    /// In the order of the application's routes.
    records: Vec<Record>,
    /// Bytes of files, until a manifest names them.
    stored: Mutex<Vec<InFlight>>,
    /// Another process takes over.
    handed_over: AtomicBool,
    /// So many handlers are loaded at once: a hundred new ones take no hundred threads to wait for the compiler on.
    loading: Semaphore,
}

/// Each on a thread. More than are compiled at once, so that those which need no compiler do not wait for those which do.
const LOADED_AT_ONCE: usize = 16;

impl Inner {
    fn new(
        application: Application,
        runtime: Arc<Runtime>,
        state: Option<StateDir>,
        records: Vec<Record>,
    ) -> Self {
        let (handed_over, loading) = (AtomicBool::new(false), Semaphore::new(LOADED_AT_ONCE));
        let stored = Mutex::default();
        Self { application, runtime, state, records, stored, handed_over, loading }
    }
}

/// Which route is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteName {
    /// The route's tenant; where only one tenant has a route of that name, it need not be said.
    pub tenant: Option<String>,
    /// The route.
    pub route: String,
}

impl RouteName {
    /// There is no such route.
    pub(crate) fn unknown(&self) -> SwapError {
        SwapError::NoRoute { route: self.route.clone(), tenant: self.tenant.clone() }
    }
}

/// Why a new version is not served. The old one goes on.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// It cannot be loaded. The sentence goes on from the handler's name.
    #[error("the new version {0}")]
    Load(#[from] LoadError),
    /// It cannot take the old one's place.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// It could not be kept for the next start, and so it is not served.
    #[error("the new version cannot be kept: {0}")]
    Keep(#[from] StateError),
    /// There is nothing to pin.
    #[error("the route has no handler yet")]
    NoVersion,
    /// A version is meant that is not the current one.
    #[error("version {asked} is not served, but version {current}")]
    NotCurrent {
        /// Which is meant.
        asked: u32,
        /// Which is served.
        current: u32,
    },
    /// This process ends, and another one takes its place.
    #[error("another process is taking over: ask that one")]
    HandedOver,
}

/// Whether a change outlives this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is in the state's folder.
    Yes,
    /// There is no such folder.
    NoStateDir,
    /// It could not be written: why. The next change tries it again.
    Failed(String),
}

/// A change that has been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// What has become of the connections that were open.
    pub report: SwapReport,
    /// Whether it outlives this process.
    pub kept: Kept,
}

/// A canary that has been offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The number of its version.
    pub version: u32,
    /// As of [`SwapReport`].
    pub hindrance: Option<&'static str>,
    /// Whether it outlives this process.
    pub kept: Kept,
}

/// A handler that is ready to be put in its place.
struct Prepared {
    handler: Handler,
    /// The route's file as it is now.
    seen: Option<Seen>,
    /// Until a manifest names it.
    _stored: Option<InFlight>,
}

fn origin(source: HandlerSource) -> Origin {
    match source {
        HandlerSource::Echo => Origin::Embedded,
        HandlerSource::File(path) => Origin::File(path),
        HandlerSource::Bytes(_) => Origin::Deployed,
    }
}

impl Deployer {
    /// `runtime` is what the application's handlers were loaded by. The routes have no files, and nothing is kept: for those there is
    /// [`Starter`].
    pub fn new(application: Application, runtime: Arc<Runtime>) -> Self {
        let endpoints = application.endpoints().cloned();
        let records = endpoints.map(|endpoint| Record::new(endpoint, None, None, None, None)).collect();
        Self { inner: Arc::new(Inner::new(application, runtime, None, records)) }
    }

    /// Loads a handler and puts it into the place of the route's current version, as `on_swap` says, or else the route. Returns when open
    /// connections have been dealt with, except those whose handlers are busy for long, and the change has been kept.
    ///
    /// # Errors
    /// See [`DeployError`]: nothing has changed, or all that had has been taken back.
    ///
    /// Cancel safety: the deployment goes on without whoever asked for it.
    pub async fn deploy(
        &self,
        route: &RouteName,
        source: HandlerSource,
        on_swap: Option<OnSwap>,
    ) -> Result<Deployment, DeployError> {
        let index = self.find(route)?;
        let this = self.clone();
        let deployed = tokio::spawn(async move {
            this.admit(index)?;
            let prepared = this.prepare(index, source.clone()).await?;
            this.put_in_place(index, prepared, origin(source), on_swap).await
        });
        // Fails only if the work panics, or when the process ends.
        deployed.await.unwrap_or_else(|error| Err(LoadError::CompilerUnavailable(error.to_string()).into()))
    }

    /// Loads a handler and gives it to `percent` (1 to 99) of the newcomers; where instances are shared, to those with so many of the keys.
    /// It is promoted or withdrawn by itself, as the route's [`SwapPolicy`](crate::SwapPolicy) says.
    ///
    /// # Errors
    /// See [`DeployError`]: nothing has changed.
    ///
    /// Cancel safety: as [`Deployer::deploy`].
    pub async fn deploy_canary(
        &self,
        route: &RouteName,
        source: HandlerSource,
        percent: u8,
    ) -> Result<Offer, DeployError> {
        let index = self.find(route)?;
        let this = self.clone();
        let offered = tokio::spawn(async move {
            this.admit(index)?;
            let endpoint = &this.inner.records[index].endpoint;
            admit_canary(&endpoint.route)?;
            let Prepared { handler, _stored, .. } = this.prepare(index, source.clone()).await?;
            let version = endpoint.versions.candidate_from(handler, origin(source));
            let (number, hindrance) = (version.number, hindrance(endpoint, &version));
            offer(this.inner.application.instances(&this.full_name(index))?, version, percent).await?;
            Ok(Offer { version: number, hindrance, kept: this.keep(index).await })
        });
        offered.await.unwrap_or_else(|error| Err(LoadError::CompilerUnavailable(error.to_string()).into()))
    }

    /// Puts the canary into the place of the current version, before it would be by itself.
    ///
    /// # Errors
    /// There is none.
    pub async fn promote(&self, route: &RouteName) -> Result<Deployment, DeployError> {
        let index = self.find(route)?;
        self.admit(index)?;
        let report = promote(self.inner.application.instances(route)?).await?;
        Ok(Deployment { report, kept: self.keep(index).await })
    }

    /// Withdraws the canary, if there is one; else puts the version back that was served before.
    ///
    /// # Errors
    /// There is neither, the current one is pinned, or it cannot serve any more.
    ///
    /// Cancel safety: as [`Deployer::deploy`].
    pub async fn rollback(&self, route: &RouteName) -> Result<Deployment, DeployError> {
        let index = self.find(route)?;
        // A canary may be withdrawn while the version beside it is pinned.
        if self.inner.records[index].endpoint.versions.canary().is_none() {
            self.admit(index)?;
        }
        let (this, route) = (self.clone(), self.full_name(index));
        let rolled_back = tokio::spawn(async move {
            let report = this.inner.application.roll_back(&route).await?;
            Ok(Deployment { report, kept: this.keep(index).await })
        });
        rolled_back
            .await
            .unwrap_or_else(|error| Err(LoadError::CompilerUnavailable(error.to_string()).into()))
    }

    /// Goes on watching canaries that were kept.
    fn watch_canaries(&self) {
        for index in 0..self.inner.records.len() {
            // Every record's route is there.
            if let Ok(instances) = self.inner.application.instances(&self.full_name(index)) {
                watch_canary(instances);
            }
        }
    }

    /// From now on the current version stays: no file replaces it, and who deploys another is refused. If `version` is given, it must be
    /// that one. Returns its number.
    ///
    /// # Errors
    /// There is none, or another.
    pub async fn pin(&self, route: &RouteName, version: Option<u32>) -> Result<(u32, Kept), DeployError> {
        let index = self.find(route)?;
        let versions = &self.inner.records[index].endpoint.versions;
        let changing = versions.changing().await;
        let number = versions.current().ok_or(DeployError::NoVersion)?.number;
        if let Some(asked) = version.filter(|asked| *asked != number) {
            return Err(DeployError::NotCurrent { asked, current: number });
        }
        versions.set_pinned(true);
        drop(changing);
        let RouteName { tenant, route } = self.full_name(index);
        tracing::info!(tenant, %route, version = number, "pinned");
        Ok((number, self.keep(index).await))
    }

    /// From now on it may be replaced.
    ///
    /// # Errors
    /// There is no such route.
    pub async fn unpin(&self, route: &RouteName) -> Result<Kept, DeployError> {
        let index = self.find(route)?;
        let versions = &self.inner.records[index].endpoint.versions;
        let changing = versions.changing().await;
        versions.set_pinned(false);
        drop(changing);
        let RouteName { tenant, route } = self.full_name(index);
        tracing::info!(tenant, %route, "no version is pinned any more");
        Ok(self.keep(index).await)
    }

    /// Takes from a configuration that was read again what a running server can take: files of handlers, and how handlers are replaced. Files
    /// that have changed are deployed, also where the configuration has not. What is wrong is told in the log, and the old version
    /// goes on. Returns how many handlers have been replaced.
    pub async fn reread(&self, routes: &[(Route, HandlerSource)]) -> usize {
        for (index, record) in self.inner.records.iter().enumerate() {
            record.forget_failure();
            let name = self.full_name(index);
            let same = routes.iter().find(|(route, _)| {
                route.name == name.route && Some(&route.tenant.name) == name.tenant.as_ref()
            });
            let Some((route, source)) = same else { continue };
            if record.endpoint.set_swap_policy(route.swap.clone()) {
                tracing::info!(tenant = name.tenant, route = %route.name, "the route's way of replacing handlers is another");
            }
            if let HandlerSource::File(path) = source
                && record.set_path(path.clone())
            {
                tracing::info!(tenant = name.tenant, route = %route.name, handler = %path.display(), "the route's handler is another file");
            }
        }
        self.follow_files(0..self.inner.records.len()).await
    }

    /// Another process takes over: nothing is deployed or kept from here any more, and the state is free for that one.
    pub fn hand_over(&self) {
        self.inner.handed_over.store(true, Ordering::SeqCst);
        if let Some(state) = &self.inner.state {
            state.release();
        }
    }

    /// The routes (`TENANT/ROUTE`) of which another process would not know what this one does, because there is no state: another version than
    /// their file's is served, or offered to some, or the version is pinned.
    pub fn not_kept(&self) -> Vec<String> {
        let records = self.inner.records.iter().filter(|record| record.folder.is_none());
        let own = records.filter(|record| {
            let standing = record.endpoint.versions.standing();
            let is_deployed =
                standing.current.as_ref().is_some_and(|version| version.origin == Origin::Deployed);
            is_deployed || standing.pinned || standing.canary.is_some() || standing.is_rolled_back()
        });
        own.map(|record| format!("{}/{}", record.endpoint.tenancy.name, record.endpoint.route.name)).collect()
    }

    /// It did not.
    ///
    /// # Errors
    /// Somebody has the state: handlers can be deployed all the same, and are not kept.
    pub async fn take_back(&self) -> Result<(), StateError> {
        let taken = self.inner.state.as_ref().map_or(Ok(()), StateDir::take_back);
        self.inner.handed_over.store(false, Ordering::SeqCst);
        let folders = self.inner.records.iter().filter_map(|record| record.folder.as_ref());
        folders.for_each(RouteFolder::forget_what_is_written);
        self.keep_all().await;
        // What has changed meanwhile was refused.
        self.follow_files(0..self.inner.records.len()).await;
        taken
    }

    /// From now on the state is this process's: canaries are judged, every change is kept, and files that have changed since the state was
    /// written are deployed. Once. Resolves when all that is done; compiling may take long, and whoever serves need not wait for it.
    pub fn settle(&self) -> impl Future<Output = ()> + use<> {
        self.watch_canaries();
        let this = self.clone();
        async move {
            this.keep_unless_handed_over().await;
            this.inner.stored.lock().unwrap_or_else(PoisonError::into_inner).clear();
            this.keep_up();
            this.follow_files(0..this.inner.records.len()).await;
            // What is known of files that hold what is served.
            this.keep_unless_handed_over().await;
        }
    }

    /// At the end of the process: keeps what has just changed.
    pub async fn finish(&self) {
        self.keep_unless_handed_over().await;
    }

    /// Bytes that a handler may have; none if there is no bound.
    pub(crate) fn max_handler_bytes(&self) -> Option<usize> {
        self.inner.runtime.max_handler_bytes()
    }

    fn find(&self, route: &RouteName) -> Result<usize, SwapError> {
        let endpoint = &self.inner.application.instances(route)?.endpoint;
        let same = self.inner.records.iter().position(|record| Arc::ptr_eq(&record.endpoint, endpoint));
        same.ok_or_else(|| route.unknown())
    }

    fn full_name(&self, index: usize) -> RouteName {
        let endpoint = &self.inner.records[index].endpoint;
        RouteName { tenant: Some(endpoint.tenancy.name.clone()), route: endpoint.route.name.clone() }
    }

    /// Whether anything may be deployed at all, before it is compiled.
    fn admit(&self, index: usize) -> Result<(), DeployError> {
        if self.inner.handed_over.load(Ordering::SeqCst) {
            return Err(DeployError::HandedOver);
        }
        match self.inner.records[index].endpoint.versions.pinned() {
            Some(pinned) => Err(SwapError::Pinned(pinned).into()),
            None => Ok(()),
        }
    }

    /// Loads a handler, and keeps its bytes.
    async fn prepare(&self, index: usize, source: HandlerSource) -> Result<Prepared, DeployError> {
        self.prepare_from(index, source, None).await
    }

    /// The same for what was found in a file; without one, the route's file is looked at afterwards.
    async fn prepare_from(
        &self,
        index: usize,
        source: HandlerSource,
        found: Option<Seen>,
    ) -> Result<Prepared, DeployError> {
        // Never closed.
        let _permit = self.inner.loading.acquire().await;
        let this = self.clone();
        let loaded = tokio::task::spawn_blocking(move || {
            let record = &this.inner.records[index];
            let runtime = &this.inner.runtime;
            let limits = &record.endpoint.route.limits;
            let (class, bytes) = runtime.read(&source, limits)?;
            let handler = runtime.link(class, runtime.compile(class, &bytes)?, limits)?;
            let stored =
                record.folder.as_ref().map(|folder| folder.store(handler.digest(), &bytes)).transpose()?;
            // A file that cannot be read has not been seen.
            let look = || Some(HandlerFile::read(&record.path()?, runtime.max_handler_bytes()).ok()?.seen);
            Ok(Prepared { handler, seen: found.or_else(look), _stored: stored })
        });
        let loaded = loaded.await;
        // Fails only if the work panics, or when the process ends.
        let loaded =
            loaded.unwrap_or_else(|error| Err(LoadError::CompilerUnavailable(error.to_string()).into()));
        loaded.inspect_err(|error: &DeployError| {
            self.inner.application.note_refused(&self.full_name(index), &error.to_string());
        })
    }

    async fn put_in_place(
        &self,
        index: usize,
        prepared: Prepared,
        origin: Origin,
        on_swap: Option<OnSwap>,
    ) -> Result<Deployment, DeployError> {
        let record = &self.inner.records[index];
        let instances = self.inner.application.instances(&self.full_name(index))?;
        let Prepared { handler, seen, _stored } = prepared;
        let version = record.endpoint.versions.candidate_from(handler, origin);
        let number = version.number;
        record.expect(number, seen);
        let swapped = swap(instances, version, on_swap).await;
        record.do_not_expect(number);
        let kept = self.keep(index).await;
        Ok(Deployment { report: swapped?, kept })
    }

    fn routes_of(&self, path: &Path) -> Vec<usize> {
        let records = self.inner.records.iter().enumerate();
        records.filter(|(_, record)| record.path().as_deref() == Some(path)).map(|(index, _)| index).collect()
    }

    /// Reads the files of these routes, and deploys what is to be. Returns how many handlers have been replaced.
    async fn follow_files(&self, indices: impl IntoIterator<Item = usize>) -> usize {
        let mut following = JoinSet::new();
        let mut paths: Vec<PathBuf> = Vec::new();
        for path in indices.into_iter().filter_map(|index| self.inner.records[index].path()) {
            if paths.contains(&path) {
                continue;
            }
            paths.push(path.clone());
            let this = self.clone();
            following.spawn(async move {
                let max_bytes = this.max_handler_bytes();
                let from = path.clone();
                let read = tokio::task::spawn_blocking(move || HandlerFile::read(&from, max_bytes)).await;
                let routes = this.routes_of(&path);
                match read {
                    Ok(Ok(file)) => return this.follow(routes, Arc::new(file)).await,
                    Ok(Err(error)) => {
                        for index in routes {
                            this.note_unreadable(index, &path, &error);
                        }
                    }
                    // The runtime ends.
                    Err(_) => {}
                }
                0
            });
        }
        following.join_all().await.into_iter().sum()
    }

    /// Deploys a file to those of these routes that are to serve it. Returns how many do so.
    async fn follow(&self, indices: Vec<usize>, file: Arc<HandlerFile>) -> usize {
        let mut following = JoinSet::new();
        for index in indices {
            following.spawn(self.clone().follow_one(index, file.clone()));
        }
        following.join_all().await.into_iter().filter(|replaced| *replaced).count()
    }

    async fn follow_one(self, index: usize, file: Arc<HandlerFile>) -> bool {
        let record = &self.inner.records[index];
        let RouteName { tenant, route } = self.full_name(index);
        if self.inner.handed_over.load(Ordering::SeqCst) {
            return false;
        }
        // SIGHUP and who watches may have found the same file: the second lets the first deal with it, and looks then.
        let max_bytes = self.max_handler_bytes();
        let Some(file) = record.turn_for(file, max_bytes).await else { return false };
        let handler = file.seen.path.display();
        match record.verdict(&file) {
            Verdict::Deploy => {}
            Verdict::Served => {
                record.note_served(file.seen.clone());
                return false;
            }
            Verdict::Known | Verdict::Failed => return false,
            Verdict::Pinned => {
                tracing::info!(tenant, %route, %handler, "the handler's file is another, and the version is pinned: it stays");
                return false;
            }
            Verdict::NotNewer => {
                tracing::warn!(
                    tenant, %route, %handler, remedy = "`touch` it, or deploy it",
                    "the handler's file is another, but not newer than what was deployed: that goes on"
                );
                return false;
            }
        }
        // What was read is what is loaded, whatever the file is by now.
        let (source, found) = (HandlerSource::Bytes(file.bytes.clone()), file.seen.clone());
        let prepared = self.prepare_from(index, source, Some(found)).await;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            // Told already.
            Err(error) => {
                if let DeployError::Load(error) = error {
                    record.note_failed(Failed::File(file.stamp));
                    let name = file.seen.path.display().to_string();
                    let missing = NotLoaded::new(&self.inner.runtime, name, error.into());
                    record.endpoint.versions.note_not_loaded(missing);
                }
                return false;
            }
        };
        let origin = Origin::File(file.seen.path.clone());
        self.put_in_place(index, prepared, origin, None).await.is_ok()
    }

    fn note_unreadable(&self, index: usize, path: &Path, error: &LoadError) {
        let record = &self.inner.records[index];
        if !record.note_failed(Failed::Unreadable) {
            return;
        }
        let RouteName { tenant, route } = self.full_name(index);
        let meanwhile = match record.endpoint.versions.current() {
            Some(_) => "what is served goes on",
            None => "the route has no handler still, and answers 503",
        };
        tracing::warn!(tenant, %route, handler = %path.display(), "the handler's file {error}; {meanwhile}");
    }

    /// Writes what a route serves now.
    async fn keep(&self, index: usize) -> Kept {
        if self.inner.records[index].folder.is_none() {
            return Kept::NoStateDir;
        }
        let this = self.clone();
        let kept = tokio::task::spawn_blocking(move || this.inner.records[index].keep()).await;
        match kept {
            Ok(Ok(())) => Kept::Yes,
            Ok(Err(error)) => {
                let RouteName { tenant, route } = self.full_name(index);
                tracing::error!(tenant, %route, %error, "what is served is not kept for the next start");
                Kept::Failed(error.to_string())
            }
            // The runtime ends.
            Err(error) => Kept::Failed(error.to_string()),
        }
    }

    async fn keep_unless_handed_over(&self) {
        if !self.inner.handed_over.load(Ordering::SeqCst) {
            self.keep_all().await;
        }
    }

    async fn keep_all(&self) {
        for index in 0..self.inner.records.len() {
            self.keep(index).await;
        }
    }

    /// Keeps also what changes by itself, such as a version that is taken back.
    fn keep_up(&self) {
        for (index, record) in self.inner.records.iter().enumerate() {
            if record.folder.is_none() {
                continue;
            }
            let (this, endpoint) = (self.clone(), record.endpoint.clone());
            tokio::spawn(async move {
                loop {
                    let seen = endpoint.versions.changes();
                    if !this.inner.handed_over.load(Ordering::SeqCst) {
                        this.keep(index).await;
                    }
                    endpoint.versions.changed_since(seen).await;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::handler::RuntimeOptions;
    use crate::limits::Limits;
    use crate::server::routes::Pattern;

    /// A folder that is removed in the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            Self(
                std::env::temp_dir()
                    .join(format!("waterspout-deployer-{:016x}", crate::handler::cache::random_u64())),
            )
        }

        fn kept(&self) -> serde_json::Value {
            let text = std::fs::read(self.0.join("default.chat/manifest.json")).expect("there");
            serde_json::from_slice(&text).expect("JSON")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// One route, `chat`, with the embedded echo.
    async fn deployer(state: &Scratch) -> Deployer {
        deployer_within(state, Limits::default()).await
    }

    /// The same, with other limits.
    async fn deployer_within(state: &Scratch, limits: Limits) -> Deployer {
        let options = RuntimeOptions { max_instances: 2, ..RuntimeOptions::default() };
        let runtime = Arc::new(Runtime::new(&options, [&limits]).expect("room for two instances"));
        let state = StateDir::open(&state.0).expect("new");
        let mut starter = Starter::new(runtime, Some(state));
        let mut route = Route::new("chat", Pattern::new("/chat").expect("a path"));
        route.limits = limits;
        let handler = starter.load(&route, &HandlerSource::Echo).expect("room on the disk");
        let application = Application::new([(route, handler)], None);
        starter.deployer(application).await
    }

    /// The echo with a section more, so that it is another handler.
    fn other() -> HandlerSource {
        HandlerSource::Bytes([crate::handler::echo::component().as_slice(), &[0, 2, 1, b'x']].concat().into())
    }

    fn chat() -> RouteName {
        RouteName { tenant: None, route: "chat".into() }
    }

    #[tokio::test]
    async fn nothing_is_deployed_or_kept_while_another_process_has_taken_over() {
        let scratch = Scratch::new();
        let deployer = deployer(&scratch).await;
        let deployed = deployer.deploy(&chat(), other(), None).await.expect("it fits");
        assert_eq!((deployed.report.version, deployed.kept), (2, Kept::Yes));
        deployer.hand_over();
        let refused = deployer.deploy(&chat(), HandlerSource::Echo, None).await;
        assert!(matches!(refused, Err(DeployError::HandedOver)), "{refused:?}");
        let successor = StateDir::open(&scratch.0).expect("free");
        assert!(matches!(deployer.pin(&chat(), None).await, Ok((2, Kept::Failed(_)))));
        deployer.take_back().await.expect_err("the successor has it");
        drop(successor);
        deployer.take_back().await.expect("free again");
        // What was not kept meanwhile is kept now.
        assert_eq!(scratch.kept()["pinned"], true);
        assert!(matches!(deployer.unpin(&chat()).await, Ok(Kept::Yes)));
        assert!(deployer.rollback(&chat()).await.is_ok());
        assert_eq!(scratch.kept()["current"]["number"], 1);
    }

    #[tokio::test]
    async fn a_previous_version_that_cannot_be_loaded_now_stays_for_another_time() {
        let scratch = Scratch::new();
        let large = include_str!("../handler/echo.wat").replacen("\"memory\") 6", "\"memory\") 100", 1);
        let first = deployer(&scratch).await;
        first.deploy(&chat(), HandlerSource::Bytes(large.into()), None).await.expect("it fits");
        first.deploy(&chat(), other(), None).await.expect("it fits");
        first.hand_over();
        drop(first);
        let little = Limits { max_memory_bytes: 1 << 20, ..Limits::default() };
        let second = deployer_within(&scratch, little).await;
        assert!(second.rollback(&chat()).await.is_err(), "it is larger than it may be");
        assert_eq!(scratch.kept()["previous"]["number"], 2);
        second.hand_over();
        drop(second);
        let third = deployer(&scratch).await;
        let rolled_back = third.rollback(&chat()).await.expect("it can be loaded again");
        assert_eq!(rolled_back.report.version, 2);
    }

    #[tokio::test]
    async fn a_canary_is_offered_also_when_nobody_waits_for_it_any_more() {
        let scratch = Scratch::new();
        let deployer = deployer(&scratch).await;
        let route = chat();
        {
            let mut asked = std::pin::pin!(deployer.deploy_canary(&route, other(), 50));
            tokio::select! {
                biased;
                _ = &mut asked => unreachable!("it is compiled first"),
                () = std::future::ready(()) => {}
            }
        }
        let versions = &deployer.inner.records[0].endpoint.versions;
        let offered = async {
            while versions.canary().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), offered).await.expect("it is offered");
    }

    #[tokio::test]
    async fn a_file_that_two_find_at_once_is_dealt_with_once_and_one_that_is_broken_is_told_once() {
        let scratch = Scratch::new();
        let deployer = deployer(&scratch).await;
        let record = &deployer.inner.records[0];
        let path = scratch.0.join("chat.wasm");
        record.set_path(path.clone());
        let refused = || {
            let swaps: BTreeMap<_, _> = record.endpoint.metrics.swaps.swaps().collect();
            swaps["refused"]
        };
        let HandlerSource::Bytes(other) = other() else { unreachable!("it is bytes") };
        // As SIGHUP and who watches do.
        let both_find = async |content: &[u8]| {
            std::fs::write(&path, content).expect("writable");
            let file = Arc::new(HandlerFile::read(&path, None).expect("there"));
            let follow = || deployer.clone().follow_one(0, file.clone());
            let both = async { tokio::join!(follow(), follow()) };
            let mut both = std::pin::pin!(both);
            let held = record.following.hold().await;
            tokio::select! {
                biased;
                _ = &mut both => unreachable!("nobody has his turn"),
                // Both wait for it.
                () = std::future::ready(()) => {}
            }
            drop(held);
            both.await
        };
        assert_eq!(both_find(&other).await, (true, false));
        assert_eq!(record.endpoint.versions.standing().latest_number, 2);
        assert_eq!(both_find(b"no handler").await, (false, false));
        assert_eq!(refused(), 1);
        // Who asks again is told again.
        deployer.reread(&[]).await;
        assert_eq!(refused(), 2);
        // And who does not is not.
        assert_eq!(deployer.follow_files(0..1).await, 0);
        assert_eq!(refused(), 2);
    }

    #[tokio::test]
    async fn one_that_has_changed_again_meanwhile_is_what_is_served() {
        let scratch = Scratch::new();
        let deployer = deployer(&scratch).await;
        let record = &deployer.inner.records[0];
        let path = scratch.0.join("chat.wasm");
        record.set_path(path.clone());
        let HandlerSource::Bytes(other) = other() else { unreachable!("it is bytes") };
        std::fs::write(&path, &other).expect("writable");
        let found = Arc::new(HandlerFile::read(&path, None).expect("there"));
        let first = record.turn_for(found.clone(), None).await;
        let waits = record.turn_for(found, None);
        let changes = async {
            std::fs::write(&path, [&other[..], &[0, 2, 1, b'y']].concat()).expect("writable");
            drop(first);
        };
        let (second, ()) = tokio::join!(waits, changes);
        assert!(second.expect("another one").bytes.ends_with(b"y"));
    }

    #[tokio::test]
    async fn a_file_that_was_taken_back_is_to_be_tried_again_whenever_that_was_and_whoever_noticed() {
        let scratch = Scratch::new();
        let deployer = deployer(&scratch).await;
        let record = &deployer.inner.records[0];
        let versions = &record.endpoint.versions;
        let path = scratch.0.join("chat.wasm");
        let put = |content: &[u8]| {
            std::fs::write(&path, content).expect("writable");
            HandlerFile::read(&path, None).expect("there")
        };
        // The route follows its file.
        record.note_served(put(&crate::handler::echo::component()).seen);
        let HandlerSource::Bytes(other) = other() else { unreachable!("it is bytes") };
        let found = put(&other);
        let handler = deployer.prepare(0, HandlerSource::Bytes(other)).await.expect("a handler").handler;
        for (is_noticed, is_late) in [(false, false), (true, false), (false, true), (true, true)] {
            assert_eq!(record.verdict(&found), Verdict::Deploy, "{is_noticed} {is_late}");
            let version = versions.candidate_from(handler.clone(), Origin::File(path.clone()));
            let number = version.number;
            record.expect(number, Some(found.seen.clone()));
            let rollout = versions.replace(version, OnSwap::Migrate, (1, 1), true);
            if is_noticed {
                // As `keep_up` does, sooner or later.
                record.keep().expect("room on the disk");
            }
            if is_late {
                // Those who were busy, or had no room, when the swap was reported.
                record.do_not_expect(number);
                assert_eq!(record.verdict(&found), Verdict::Served);
            }
            versions.take_back(&rollout, (1, 1)).expect("nothing has changed since");
            record.do_not_expect(number);
        }
        assert_eq!(record.verdict(&found), Verdict::Deploy);
        // Who puts the version before back wants that, whatever the file holds.
        let version = versions.candidate_from(handler.clone(), Origin::File(path.clone()));
        record.expect(version.number, Some(found.seen.clone()));
        versions.replace(version, OnSwap::Migrate, (1, 1), true);
        versions.replace(versions.previous().expect("the echo"), OnSwap::Migrate, (1, 1), false);
        assert_eq!(record.verdict(&found), Verdict::Known);
    }

    #[tokio::test]
    async fn what_changes_by_itself_is_kept_too() {
        let scratch = Scratch::new();
        let deployer = deployer(&scratch).await;
        deployer.deploy(&chat(), other(), None).await.expect("it fits");
        deployer.pin(&chat(), None).await.expect("it is served");
        let versions = &deployer.inner.records[0].endpoint.versions;
        // As a rollout does that has failed.
        versions.replace(versions.previous().expect("the echo"), OnSwap::Migrate, (0, 0), true);
        let kept = async {
            while scratch.kept()["current"]["number"] != 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), kept).await.expect("it is written soon");
        assert_eq!(
            (&scratch.kept()["previous"]["number"], &scratch.kept()["pinned"]),
            (&2.into(), &false.into())
        );
    }
}
