//! New versions of handlers while the server runs: whoever brings one, here it is loaded and put in its place.

use std::sync::Arc;

use crate::handler::{Handler, HandlerSource, LoadError, Runtime};
use crate::server::Application;
use crate::swap::{OnSwap, SwapError, SwapReport};

/// See the module. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Deployer {
    application: Application,
    runtime: Arc<Runtime>,
}

/// Which route is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteName {
    /// The route's tenant; where only one tenant has a route of that name, it need not be said.
    pub tenant: Option<String>,
    /// The route.
    pub route: String,
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
}

impl Deployer {
    /// `runtime` is what the application's handlers were loaded by.
    pub fn new(application: Application, runtime: Arc<Runtime>) -> Self {
        Self { application, runtime }
    }

    /// Loads a handler and puts it into the place of the route's current version, as `on_swap` says, or else the route. Returns when open
    /// connections have been dealt with, except those whose handlers are busy for long.
    ///
    /// # Errors
    /// See [`DeployError`]: nothing has changed, or all that had has been taken back.
    ///
    /// Cancel safety: once the new version has been tried, the swap goes on without whoever asked for it.
    pub async fn deploy(
        &self,
        route: &RouteName,
        source: HandlerSource,
        on_swap: Option<OnSwap>,
    ) -> Result<SwapReport, DeployError> {
        let handler = self.load(route, source).await?;
        Ok(self.application.replace_handler(route, handler, on_swap).await?)
    }

    /// Loads a handler and gives it to `percent` (1 to 99) of the newcomers; where instances are shared, to those with so many of the keys.
    /// It is promoted or withdrawn by itself, as the route's [`SwapPolicy`](crate::SwapPolicy) says. Returns the version's number.
    ///
    /// # Errors
    /// See [`DeployError`]: nothing has changed.
    pub async fn deploy_canary(
        &self,
        route: &RouteName,
        source: HandlerSource,
        percent: u8,
    ) -> Result<u32, DeployError> {
        if !(1..=99).contains(&percent) {
            return Err(SwapError::Percent(percent).into());
        }
        let handler = self.load(route, source).await?;
        Ok(self.application.offer(route, handler, percent).await?)
    }

    /// Puts the canary into the place of the current version, before it would be by itself.
    ///
    /// # Errors
    /// There is none.
    pub async fn promote(&self, route: &RouteName) -> Result<SwapReport, SwapError> {
        self.application.promote(route).await
    }

    async fn load(&self, route: &RouteName, source: HandlerSource) -> Result<Handler, DeployError> {
        let limits = self.application.instances(route)?.endpoint.route.limits.clone();
        let runtime = self.runtime.clone();
        let loaded = tokio::task::spawn_blocking(move || runtime.load(&source, &limits)).await;
        // Fails only if the work panics, or when the process ends.
        let loaded = loaded.unwrap_or_else(|error| Err(LoadError::CompilerUnavailable(error.to_string())));
        Ok(loaded.inspect_err(|error| self.application.note_refused(route, error))?)
    }

    /// Withdraws the canary, if there is one; else puts the version back that was served before.
    ///
    /// # Errors
    /// There is neither, or it cannot serve any more.
    pub async fn rollback(&self, route: &RouteName) -> Result<SwapReport, SwapError> {
        self.application.roll_back(route).await
    }

    /// Bytes that a handler may have; none if there is no bound.
    pub(crate) fn max_handler_bytes(&self) -> Option<usize> {
        self.runtime.max_handler_bytes()
    }
}
