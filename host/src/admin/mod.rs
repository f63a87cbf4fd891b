//! The admin listener: what goes on in a server, for its operator alone.
//!
//! Off unless it is asked for. It listens on loopback or a Unix socket and nowhere else, wants a bearer token, and answers only to
//! loopback's names, so that no page of a browser's reaches it under a name of its own (DNS rebinding). One request a connection, few
//! connections, and each has so long: who asks slowly keeps nobody from being answered. What takes long is done on a thread that
//! serves no connections.

mod answers;
mod connections;
mod exposition;
mod health;
mod process;
mod query;
mod routes;
mod tenants;
mod token;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::answers::{Answer, Problem};
use self::process::Process;
pub use self::token::TokenError;
use self::token::TokenFile;
use crate::deployer::Deployer;
use crate::server::application::Application;
use crate::server::handshake::{self, Hosts};
use crate::server::listener::{InheritedSockets, ListenAddress, Listener, ListenerHandle, Socket};

/// Where a server's operator asks, and by which token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminOptions {
    /// A loopback address or a Unix socket.
    pub address: ListenAddress,
    /// The mode of a Unix socket's file. Default: 0600, its owner alone.
    pub mode: Option<u32>,
    /// The file with the bearer token: 16 to 4,096 visible characters; nobody but its owner may write it, and others may not read it. It is read
    /// again when it changes. Only a Unix socket can do without.
    pub token_file: Option<PathBuf>,
}

/// Why there is no admin listener. Correct the configuration.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Others could reach it.
    #[error(
        "the admin listener must not be reachable from elsewhere, and `{0}` may be: use a loopback address such as `127.0.0.1:9090`, or \
         `unix:/path/to.sock`"
    )]
    NotLocal(ListenAddress),
    /// Every user of this machine can reach a TCP port.
    #[error(
        "every user of this machine can reach `{0}`: add `token-file`, a file with a token of at least 16 characters, or listen on \
         `unix:/path/to.sock`"
    )]
    NoToken(ListenAddress),
    /// The token's file cannot be used.
    #[error("`token-file`: {0}")]
    Token(#[from] TokenError),
    /// The address is in use, or not ours.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: ListenAddress,
        /// Why.
        error: io::Error,
    },
}

impl AdminOptions {
    /// Whether only this machine can ask, and only who may.
    ///
    /// # Errors
    /// [`AdminError::NotLocal`], [`AdminError::NoToken`].
    pub fn check(&self) -> Result<(), AdminError> {
        match &self.address {
            address if !address.is_local() => Err(AdminError::NotLocal(address.clone())),
            address @ ListenAddress::Tcp(_) if self.token_file.is_none() => {
                Err(AdminError::NoToken(address.clone()))
            }
            _ => Ok(()),
        }
    }

    /// Whether the token can be read.
    ///
    /// # Errors
    /// [`AdminError::Token`].
    pub fn check_token(&self) -> Result<(), AdminError> {
        self.open_token().map(drop)
    }

    fn open_token(&self) -> Result<Option<TokenFile>, AdminError> {
        Ok(self.token_file.clone().map(TokenFile::open).transpose()?)
    }
}

/// Connections at once; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 64;
/// From accepting a connection to knowing that it may ask: who may not, and says nothing, has a place for so long.
const ADMISSION_TIME: Duration = Duration::from_secs(2);
/// From then to the last byte of its answer.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// From a new handler's first byte to the report of its swap: uploading, compiling and going over take their time.
const DEPLOY_TIME: Duration = Duration::from_secs(600);
/// How long answers may take that are under way when the server ends.
const GRACE: Duration = Duration::from_secs(1);
/// Headers of a request, in number and in bytes.
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Who may read and write a Unix socket's file, unless the operator says otherwise.
const SOCKET_MODE: u32 = 0o600;

/// The admin listener of one application.
#[derive(Debug)]
pub struct Admin {
    listener: Listener,
    office: Arc<Office>,
}

/// What answers are made of.
#[derive(Debug)]
struct Office {
    application: Application,
    token: Option<TokenFile>,
    process: Process,
    deployer: Option<Deployer>,
}

impl Admin {
    /// Listens; port 0 takes a free one. Nothing is answered before [`Admin::run`].
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn bind(options: &AdminOptions, application: Application) -> Result<Self, AdminError> {
        Self::bind_inherited(options, application, &mut InheritedSockets::none())
    }

    /// The same, where another process may have handed the socket over.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn bind_inherited(
        options: &AdminOptions,
        application: Application,
        inherited: &mut InheritedSockets,
    ) -> Result<Self, AdminError> {
        options.check()?;
        let token = options.open_token()?;
        let AdminOptions { address, mode, .. } = options;
        let mode = matches!(address, ListenAddress::Unix(_)).then_some(mode.unwrap_or(SOCKET_MODE));
        let listener = Listener::bind(address, mode, inherited)
            .map_err(|error| AdminError::Listen { address: address.clone(), error })?;
        let office = Arc::new(Office { application, token, process: Process::begin(), deployer: None });
        Ok(Self { listener, office })
    }

    /// Lets the operator replace handlers.
    #[must_use]
    pub fn with_deployer(mut self, deployer: Deployer) -> Self {
        // Nobody else has it before `run`.
        if let Some(office) = Arc::get_mut(&mut self.office) {
            office.deployer = Some(deployer);
        }
        self
    }

    /// The address that was bound; none for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// For who hands the socket to another process.
    pub fn handle(&self) -> ListenerHandle {
        self.listener.handle()
    }

    /// The file of a Unix socket.
    pub fn path(&self) -> Option<PathBuf> {
        self.listener.path()
    }

    /// Answers until `shutdown` resolves, and then what has been asked, for at most a second. Let it go on while the server drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, office } = self;
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut tasks = JoinSet::new();
        {
            let mut shutdown = std::pin::pin!(shutdown);
            loop {
                let accept = async {
                    let permit = permits.clone().acquire_owned().await.expect("never closed");
                    (poll_fn(|cx| listener.poll_accept(cx)).await, permit)
                };
                let (accepted, permit) = tokio::select! {
                    () = &mut shutdown => break,
                    accepted = accept => accepted,
                };
                while tasks.try_join_next().is_some() {}
                let office = office.clone();
                match accepted {
                    Ok(socket) => {
                        tasks.spawn(async move {
                            serve(office, socket).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "an admin connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
        drop(listener);
        let answered = async { while tasks.join_next().await.is_some() {} };
        // What is dropped after that is a question nobody waits for.
        let _ = tokio::time::timeout(GRACE, answered).await;
    }
}

async fn serve(office: Arc<Office>, socket: Socket) {
    let deadline = Arc::new(Deadline::after(ADMISSION_TIME));
    let served = async {
        match socket {
            Socket::Tcp(socket, _) => converse(office, socket, &deadline).await,
            Socket::Unix(socket) => converse(office, socket, &deadline).await,
        }
    };
    tokio::select! {
        served = served => match served {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "an admin connection ended"),
        },
        () = deadline.passed() => tracing::debug!("an admin connection took too long"),
    }
}

/// One request.
async fn converse(
    office: Arc<Office>,
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    deadline: &Arc<Deadline>,
) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let (office, deadline) = (office.clone(), deadline.clone());
        async move { Ok::<_, Infallible>(office.answer(request, &deadline).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(socket), service)
        .await
}

impl Office {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, deadline: &Deadline) -> Answer {
        answers::finish(match self.clone().admit(&request).await {
            Ok(()) => {
                deadline.extend(REQUEST_TIME);
                self.route(request, deadline).await
            }
            Err(problem) => Err(problem),
        })
    }

    /// Only who knows the token, and not by a name that a stranger's page could have.
    async fn admit(self: Arc<Self>, request: &Request<Incoming>) -> Result<(), Problem> {
        let host =
            handshake::host_name(request).map_err(|refusal| Problem::new(refusal.status, refusal.body))?;
        if !Hosts::Loopback.allow(&host.name) {
            return Err(Problem::misdirected());
        }
        let given = request.headers().get(header::AUTHORIZATION).cloned();
        on_a_thread_of_its_own(move || match &self.token {
            None => Ok(()),
            Some(token) => token.check(given.as_ref()),
        })
        .await
    }

    /// Each endpoint is one line. What replaces a handler may take longer than [`REQUEST_TIME`].
    async fn route(
        self: Arc<Self>,
        request: Request<Incoming>,
        deadline: &Deadline,
    ) -> Result<Answer, Problem> {
        let segments = query::segments(request.uri().path())?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let asked = request.uri().query().unwrap_or_default().to_owned();
        // hyper leaves the body of an answer to HEAD away.
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let deletes = *request.method() == Method::DELETE;
        let puts = *request.method() == Method::PUT;
        let posts = *request.method() == Method::POST;
        match *segments.as_slice() {
            ["metrics"] if reads => on_a_thread_of_its_own(move || Ok(self.exposition())).await,
            ["healthz"] if reads => Ok(self.health()),
            ["tenants"] if reads => on_a_thread_of_its_own(move || Ok(self.tenants())).await,
            ["connections"] if reads => on_a_thread_of_its_own(move || self.connections(&asked)).await,
            ["connections"] if deletes => on_a_thread_of_its_own(move || self.kick_several(&asked)).await,
            ["connections", id] if deletes => {
                let id = id.to_owned();
                on_a_thread_of_its_own(move || self.kick(&id, &asked)).await
            }
            ["routes"] if reads => on_a_thread_of_its_own(move || self.routes(&asked)).await,
            ["routes", route, "handler"] if puts => {
                deadline.extend(DEPLOY_TIME);
                self.deploy(route, &asked, request).await
            }
            ["routes", route, "rollback"] if posts => {
                deadline.extend(DEPLOY_TIME);
                self.roll_back(route, &asked).await
            }
            ["routes", route, "promote"] if posts => {
                deadline.extend(DEPLOY_TIME);
                self.promote(route, &asked).await
            }
            ["routes", route, "pin"] if posts => self.pin(route, &asked).await,
            ["routes", route, "pin"] if deletes => self.unpin(route, &asked).await,
            ["routes", _, "pin"] => Err(Problem::method("POST, DELETE")),
            ["routes", _, "handler"] => Err(Problem::method("PUT")),
            ["routes", _, "rollback" | "promote"] => Err(Problem::method("POST")),
            ["routes"] => Err(Problem::method("GET, HEAD")),
            ["metrics" | "healthz" | "tenants"] => Err(Problem::method("GET, HEAD")),
            ["connections"] => Err(Problem::method("GET, HEAD, DELETE")),
            ["connections", _] => Err(Problem::method("DELETE")),
            _ => Err(Problem::not_found(
                "There are GET /metrics, GET /healthz, GET /tenants, GET /connections, DELETE /connections, DELETE /connections/ID, GET /routes, \
                 PUT /routes/NAME/handler, POST /routes/NAME/rollback, POST /routes/NAME/promote, POST /routes/NAME/pin and DELETE \
                 /routes/NAME/pin.",
            )),
        }
    }
}

/// Until when a request must have been answered.
#[derive(Debug)]
struct Deadline(Mutex<Instant>);

impl Deadline {
    fn after(time: Duration) -> Self {
        Self(Mutex::new(Instant::now() + time))
    }

    fn lock(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self, time: Duration) {
        *self.lock() = Instant::now() + time;
    }

    async fn passed(&self) {
        loop {
            let at = *self.lock();
            if at <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(at).await;
        }
    }
}

async fn on_a_thread_of_its_own<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    // Fails only if the work panics, or when the process ends.
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Problem::ours()))
}
