//! The handlers of several routes: one that cannot be loaded takes nothing from the others. Its route stands, and answers 503.
//!
//! What several routes have in common is compiled once, and fails to compile once: each must not wait for the same time-out again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::connection::compression::Budget;
use crate::handler::engine::CodeClass;
use crate::handler::{Code, Handler, HandlerSource, LoadError, Runtime};
use crate::limits::Limits;
use crate::units::printable;

/// What a route is served by.
#[derive(Debug, Clone)]
pub enum RouteHandler {
    /// A handler.
    Loaded(Handler),
    /// None yet: handshakes are answered 503.
    NotLoaded(NotLoaded),
}

impl RouteHandler {
    /// The server's.
    pub(crate) fn memory(&self) -> &Budget {
        match self {
            Self::Loaded(handler) => handler.memory(),
            Self::NotLoaded(missing) => &missing.memory,
        }
    }
}

impl From<Handler> for RouteHandler {
    fn from(handler: Handler) -> Self {
        Self::Loaded(handler)
    }
}

impl From<Result<Handler, NotLoaded>> for RouteHandler {
    fn from(loaded: Result<Handler, NotLoaded>) -> Self {
        loaded.map_or_else(Self::NotLoaded, Self::Loaded)
    }
}

/// A handler that is missing, and why. Shown, it is a sentence: `chat.wasm cannot be read: ...`.
#[derive(Debug, Clone)]
pub struct NotLoaded {
    /// Which: the file's name.
    pub handler: String,
    /// Why.
    pub error: Arc<LoadError>,
    memory: Budget,
}

impl NotLoaded {
    /// The reason alone. It may have a handler's own words in it, which cannot steer a terminal or forge a record.
    pub fn why(&self) -> String {
        printable(self.error.to_string().as_bytes())
    }
}

impl fmt::Display for NotLoaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", printable(self.handler.as_bytes()), self.why())
    }
}

/// Loads the handlers of several routes, one after the other.
pub struct Loader<'a> {
    runtime: &'a Runtime,
    /// By class and hash of the bytes.
    compiled: BTreeMap<(CodeClass, [u8; 32]), Result<Code, Arc<LoadError>>>,
}

impl fmt::Debug for Loader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("compiled", &self.compiled.len()).finish_non_exhaustive()
    }
}

impl<'a> Loader<'a> {
    /// Loads into `runtime`.
    pub fn new(runtime: &'a Runtime) -> Self {
        Self { runtime, compiled: BTreeMap::new() }
    }

    /// Loads a handler for a route with these limits. Blocks as [`Runtime::load`] does, unless the same bytes have been loaded for a route of
    /// the same size.
    ///
    /// # Errors
    /// What an [`Application`](crate::Application) takes in place of the handler.
    pub fn load(&mut self, source: &HandlerSource, limits: &Limits) -> Result<Handler, NotLoaded> {
        self.try_load(source, limits).map_err(|error| NotLoaded {
            handler: source.to_string(),
            error,
            memory: self.runtime.memory().clone(),
        })
    }

    fn try_load(&mut self, source: &HandlerSource, limits: &Limits) -> Result<Handler, Arc<LoadError>> {
        let (class, bytes) = self.runtime.read(source, limits)?;
        let key = (class.code, *blake3::hash(&bytes).as_bytes());
        let compile = || self.runtime.compile(class, &bytes).map_err(Arc::new);
        let code = self.compiled.entry(key).or_insert_with(compile).clone()?;
        Ok(self.runtime.link(class, code, limits)?)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::handler::RuntimeOptions;
    use crate::server::addresses::Peer;
    use crate::server::admission::{Admission, Newcomer};
    use crate::server::application::Application;
    use crate::server::routes::{Pattern, Route};
    use crate::swap::OnSwap;

    /// How a handshake is answered.
    async fn handshake(application: &Application) -> String {
        let (ours, mut theirs) = tokio::io::duplex(4 << 10);
        let newcomer = Newcomer::now(Peer::Unix, Arc::<Admission>::default());
        let application = application.clone();
        let served = tokio::spawn(async move { application.serve(ours, newcomer).await });
        let head = "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        theirs.write_all(head.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") && theirs.read_buf(&mut answer).await.expect("it answers") > 0 {
            if answer.windows(4).any(|end| end == b"\r\n\r\n") {
                break;
            }
        }
        drop(theirs);
        served.await.expect("no panic");
        String::from_utf8(answer).expect("text")
    }

    #[tokio::test]
    async fn a_route_without_a_handler_can_get_one_later() {
        let limits = Limits::default();
        let options = RuntimeOptions { max_instances: 2, ..RuntimeOptions::default() };
        let runtime = Runtime::new(&options, [&limits]).expect("room for two instances");
        let mut loader = Loader::new(&runtime);
        let missing = loader.load(&HandlerSource::Bytes(b"nonsense".to_vec()), &limits);
        let route = Route::new("chat", Pattern::new("/chat").expect("a path"));
        let application = Application::new([(route, missing)], None);
        let answer = handshake(&application).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nretry-after: 60\r\n"), "{answer}");
        let endpoint = application.endpoints().next().expect("a route");
        assert!(endpoint.versions.not_loaded().is_some());
        let echo = runtime.load(&HandlerSource::Echo, &limits).expect("the echo");
        endpoint.versions.replace(endpoint.versions.candidate(echo), OnSwap::Migrate, (0, 0), true);
        assert!(endpoint.versions.not_loaded().is_none());
        let answer = handshake(&application).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    }

    #[test]
    fn what_routes_have_in_common_is_compiled_once_and_fails_once() {
        let limits = Limits::default();
        let larger = Limits { max_memory_bytes: 200 << 20, ..Limits::default() };
        let options = RuntimeOptions { max_instances: 2, ..RuntimeOptions::default() };
        let runtime = Runtime::new(&options, [&limits, &larger]).expect("room for two instances");
        let mut loader = Loader::new(&runtime);
        let mut why = |bytes: &[u8], limits| {
            let missing = loader.load(&HandlerSource::Bytes(bytes.to_vec()), limits);
            missing.expect_err("nonsense").error
        };
        let (one, same) = (why(b"nonsense", &limits), why(b"nonsense", &limits));
        assert!(Arc::ptr_eq(&one, &same), "the same bytes for the same class are compiled again");
        assert!(!Arc::ptr_eq(&one, &why(b"nonsense", &larger)), "another class has other code");
        assert!(!Arc::ptr_eq(&one, &why(b"other", &limits)));
    }
}
