//! The handlers of several routes: one that cannot be loaded takes nothing from the others. Its route stands, and answers 503.
//!
//! What several routes have in common is compiled once, and fails to compile once: each must not wait for the same time-out again. Several
//! handlers are compiled at once, [ahead](Loader::compile_ahead) of being loaded; loaded, and told of, they are one after the other.
//!
//! A start does not wait for ever: what takes too long is [postponed](LoadError::Postponed).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

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
    /// Of a handler that is called so.
    pub(crate) fn new(runtime: &Runtime, handler: String, error: Arc<LoadError>) -> Self {
        Self { handler, error, memory: runtime.memory().clone() }
    }

    /// Whether it is going to be compiled without anybody's doing.
    pub fn is_postponed(&self) -> bool {
        matches!(*self.error, LoadError::Postponed)
    }

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
pub struct Loader {
    runtime: Arc<Runtime>,
    compiled: Arc<Mutex<CompiledCode>>,
    /// From then on what would have to be compiled is postponed.
    until: Option<Instant>,
}

type CompiledCode = BTreeMap<Key, Result<Code, Arc<LoadError>>>;

/// Class and hash of the bytes.
type Key = (CodeClass, [u8; 32]);

fn key(class: CodeClass, bytes: &[u8]) -> Key {
    (class, *blake3::hash(bytes).as_bytes())
}

/// A handler that is going to be loaded for a route with these limits.
pub(crate) struct Ahead {
    pub(crate) limits: Limits,
    /// Asked no sooner than when it is compiled. None if it cannot be read.
    pub(crate) source: Box<dyn FnOnce() -> Option<HandlerSource> + Send>,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Loader {
    /// Loads into `runtime`.
    pub fn new(runtime: Arc<Runtime>) -> Self {
        Self { runtime, compiled: Arc::default(), until: None }
    }

    /// Nobody waits longer for what is compiled.
    pub(crate) fn until(self, until: Option<Instant>) -> Self {
        Self { until, ..self }
    }

    /// Compiles what is going to be loaded, as many at once as may be ([`CompileLimits::max_at_once`](crate::CompileLimits)): who loads it
    /// afterwards does not wait. What is wrong with one is told when it is loaded. Blocks until all are compiled.
    pub fn compile_ahead<'s>(&mut self, handlers: impl IntoIterator<Item = (&'s HandlerSource, &'s Limits)>) {
        let ahead = handlers.into_iter().map(|(source, limits)| {
            let (limits, source) = (limits.clone(), source.clone());
            Ahead { limits, source: Box::new(|| Some(source)) }
        });
        self.compile_all(ahead.collect());
    }

    pub(crate) fn compile_all(&mut self, handlers: Vec<Ahead>) {
        let until = self.until;
        let threads = usize::try_from(self.runtime.max_at_once()).unwrap_or(usize::MAX).min(handlers.len());
        let begun: BTreeSet<Key> = locked(&self.compiled, |compiled| compiled.keys().copied().collect());
        let (waiting, begun) = (Mutex::new(handlers.into_iter()), Mutex::new(begun));
        let (runtime, compiled) = (self.runtime.clone(), self.compiled.clone());
        let work = Arc::new(move || {
            while until.is_none_or(|until| Instant::now() < until)
                && let Some(Ahead { limits, source }) = locked(&waiting, Iterator::next)
            {
                let Some(source) = source() else { continue };
                let Ok((class, bytes)) = runtime.read(&source, &limits) else { continue };
                let key = key(class.code, &bytes);
                if locked(&begun, |begun| begun.insert(key)) {
                    let code = runtime.compile(class, &bytes).map_err(Arc::new);
                    locked(&compiled, |compiled| compiled.insert(key, code));
                }
            }
        });
        // They may be at it when nobody waits any more.
        let (ended, all_ended) = channel::<()>();
        let spawned = (0..threads).filter(|_| {
            let (work, ended) = (work.clone(), ended.clone());
            let thread = thread::Builder::new().name("compile".into()).spawn(move || {
                work();
                drop(ended);
            });
            thread.is_ok()
        });
        if spawned.count() == 0 {
            work();
        }
        drop(ended);
        // Nobody sends: an error says that all have ended, or that it has taken too long.
        let _ = match until {
            Some(until) => all_ended.recv_timeout(until.saturating_duration_since(Instant::now())).ok(),
            None => all_ended.recv().ok(),
        };
    }

    /// Loads a handler for a route with these limits. Blocks as [`Runtime::load`] does, unless the same bytes have been loaded for a route of
    /// the same size.
    ///
    /// # Errors
    /// What an [`Application`](crate::Application) takes in place of the handler.
    pub fn load(&mut self, source: &HandlerSource, limits: &Limits) -> Result<Handler, NotLoaded> {
        self.try_load(source, limits, None)
            .map_err(|error| NotLoaded::new(&self.runtime, source.to_string(), error))
    }

    /// The same, but when it has taken too long a handler that would have to be compiled is [postponed](LoadError::Postponed).
    pub(crate) fn load_or_postpone(
        &mut self,
        source: &HandlerSource,
        limits: &Limits,
    ) -> Result<Handler, NotLoaded> {
        self.try_load(source, limits, self.until)
            .map_err(|error| NotLoaded::new(&self.runtime, source.to_string(), error))
    }

    fn try_load(
        &self,
        source: &HandlerSource,
        limits: &Limits,
        until: Option<Instant>,
    ) -> Result<Handler, Arc<LoadError>> {
        let (class, bytes) = self.runtime.read(source, limits)?;
        let key = key(class.code, &bytes);
        let known = locked(&self.compiled, |compiled| compiled.get(&key).cloned());
        let code = match known {
            Some(code) => code,
            None if until.is_some_and(|until| until <= Instant::now()) => {
                // What is kept takes no time.
                Ok(self.runtime.kept(class, &bytes).ok_or(LoadError::Postponed)?)
            }
            None => {
                let code = self.runtime.compile(class, &bytes).map_err(Arc::new);
                locked(&self.compiled, |compiled| compiled.insert(key, code.clone()));
                code
            }
        };
        Ok(self.runtime.link(class, code?, limits)?)
    }
}

fn locked<T, R>(mutex: &Mutex<T>, take: impl FnOnce(&mut T) -> R) -> R {
    take(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner))
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
        let runtime = Arc::new(Runtime::new(&options, [&limits]).expect("room for two instances"));
        let mut loader = Loader::new(runtime.clone());
        let missing = loader.load(&HandlerSource::Bytes(b"nonsense".as_slice().into()), &limits);
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
        let mut loader = Loader::new(runtime.into());
        let mut why = |bytes: &[u8], limits| {
            let missing = loader.load(&HandlerSource::Bytes(bytes.to_vec().into()), limits);
            missing.expect_err("nonsense").error
        };
        let (one, same) = (why(b"nonsense", &limits), why(b"nonsense", &limits));
        assert!(Arc::ptr_eq(&one, &same), "the same bytes for the same class are compiled again");
        assert!(!Arc::ptr_eq(&one, &why(b"nonsense", &larger)), "another class has other code");
        assert!(!Arc::ptr_eq(&one, &why(b"other", &limits)));
    }

    #[test]
    fn what_is_compiled_ahead_is_not_compiled_again_and_fails_as_it_does_otherwise() {
        let limits = Limits::default();
        let options = RuntimeOptions { max_instances: 2, ..RuntimeOptions::default() };
        let runtime = Runtime::new(&options, [&limits]).expect("room for two instances");
        let compiled = |loader: &Loader| locked(&loader.compiled, |compiled| compiled.clone());
        let sources = [b"one", b"two", b"one"].map(|bytes| HandlerSource::Bytes(bytes.as_slice().into()));
        let gone = HandlerSource::File("/no/such/handler".into());
        let mut loader = Loader::new(runtime.into());
        loader.compile_ahead(
            sources.iter().chain([&gone, &HandlerSource::Echo]).map(|source| (source, &limits)),
        );
        assert_eq!(compiled(&loader).len(), 3, "the file has no content that could be known");
        let ahead: Vec<_> = compiled(&loader).values().filter_map(|code| code.clone().err()).collect();
        for source in &sources {
            let error = loader.load(source, &limits).expect_err("nonsense").error;
            assert!(ahead.iter().any(|ahead| Arc::ptr_eq(ahead, &error)), "{error}");
        }
        assert!(matches!(*loader.load(&gone, &limits).expect_err("gone").error, LoadError::Read(_)));
        assert!(loader.load(&HandlerSource::Echo, &limits).is_ok());
        assert_eq!(compiled(&loader).len(), 3);
    }
}
