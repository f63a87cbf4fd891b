//! The server: an [`Application`]'s routes and their handlers, the HTTP that surrounds a handshake, and the accept loop.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode, header};
use hyper::Request as HttpRequest;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::answers::{
    HttpAnswer, failed, foreign_origin, healthz, internal_error, misdirected, refusal_answer,
    rejection_answer, switching_protocols, unavailable,
};
use crate::client::Resolver;
use crate::close::CloseCause;
use crate::compression::{CompressionMemory, Deflate};
use crate::connection::Connection;
use crate::handler::Handler;
use crate::handshake::{self, Host, Refusal, Upgrade};
use crate::instance::Party;
use crate::instances::Instances;
use crate::link::Link;
use crate::outgoing::{Dialler, Outgoings};
use crate::page::Page;
use crate::request::Request;
use crate::routes::{Captures, Route};
use crate::seat::{Seat, SeatError, Verdict};
use crate::shutdown::{OpenConnection, OpenConnections};
use crate::socket::{Counted, Socket, Transport};
use crate::topics::Topics;
use crate::units::printable;
use crate::wire::Wire;

/// What a server serves: routes in the order in which they are tried, each with its handler, and perhaps a page. Cheap to
/// clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Application {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoints: Vec<Endpoint>,
    page: Option<Page>,
    topics: Arc<Topics>,
    open: Arc<OpenConnections>,
}

/// One route with its handler and its live instances.
#[derive(Debug)]
struct Endpoint {
    route: Arc<Route>,
    handler: Handler,
    instances: Arc<Instances>,
    compression_memory: CompressionMemory,
    dialler: Arc<Dialler>,
}

/// A handshake that was accepted: what the connection's loop is made of, once the socket is free.
struct Accepted {
    upgrade: OnUpgrade,
    seat: Seat,
    held: Held,
    route: Arc<Route>,
    deflate: Option<Deflate>,
}

/// What the host holds for one peer from its handshake on. However that ends, dropping this ends it for guests, too, whatever
/// handles they keep.
struct Held {
    link: Arc<Link>,
    outgoings: Arc<Outgoings>,
    request: Arc<Request>,
    topics: Arc<Topics>,
    _open: OpenConnection,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.link.end(&self.topics);
        self.outgoings.end();
        self.request.end();
    }
}

/// How long a request's head may take (RFC 9112 names no time; slow handshakes are an old attack).
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers of a request, in number and in bytes; browsers stay far below.
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Bytes of a refused request's path that are logged.
const LOGGED_PATH_BYTES: usize = 200;

impl Application {
    /// An application with these routes, tried in order.
    pub fn new(routes: impl IntoIterator<Item = (Route, Handler)>, page: Option<Page>) -> Self {
        Self::with_resolver(routes, page, None)
    }

    /// The same, whose handlers find the addresses of the hosts that they connect to by `resolver`; none asks the system.
    pub fn with_resolver(
        routes: impl IntoIterator<Item = (Route, Handler)>,
        page: Option<Page>,
        resolver: Option<Arc<dyn Resolver>>,
    ) -> Self {
        let endpoints = routes.into_iter().map(|(route, handler)| {
            let route = Arc::new(route);
            let compression_memory = CompressionMemory::new(&route.limits);
            Endpoint {
                instances: Arc::new(Instances::new(&route.limits)),
                dialler: Arc::new(Dialler::new(
                    route.clone(),
                    compression_memory.budget.clone(),
                    resolver.clone(),
                )),
                compression_memory,
                route,
                handler,
            }
        });
        Self {
            inner: Arc::new(Inner {
                endpoints: endpoints.collect(),
                page,
                topics: Arc::default(),
                open: Arc::default(),
            }),
        }
    }

    /// Serves one accepted connection, from its first request to its end. For an accept loop of your own; [`Server`] has one.
    ///
    /// # Errors
    /// None: what a peer does wrong is answered, and logged at `debug`.
    pub async fn serve_connection(&self, socket: tokio::net::TcpStream, peer: SocketAddr) {
        // Messages leave as soon as they are flushed; a handler can turn Nagle's algorithm on again.
        let _ = socket.set_nodelay(true);
        self.serve(socket, peer.ip()).await;
    }

    async fn serve<T: Transport>(&self, transport: T, peer: IpAddr) {
        // Both boxed, so that a connection's task holds first the one and then the other, and neither beside the other.
        if let Some(connection) = Box::pin(self.open(transport, peer)).await {
            connection.await;
        }
    }

    /// From the first request to an open WebSocket; none if there is none.
    async fn open<T: Transport>(
        &self,
        transport: T,
        peer: IpAddr,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let Accepted { upgrade, seat, held, route, deflate } = self.converse(transport, peer).await?;
        let upgraded = upgrade.await.ok()?;
        let Ok(parts) = upgraded.downcast::<TokioIo<T>>() else {
            unreachable!("hyper gives back the transport that it was given");
        };
        tracing::debug!(
            connection = %held.link.id(), route = %route.name, %peer, compressed = deflate.is_some(), "open"
        );
        let socket = Counted::new(parts.io.into_inner());
        let opened = Opened { peer, seat, held, route };
        Some(match deflate {
            None => opened.on(socket, &parts.read_buf).await,
            Some(deflate) => opened.on(deflate.wrap(socket, &parts.read_buf), &[]).await,
        })
    }

    /// HTTP until the peer leaves or a handshake is accepted.
    async fn converse<T: Transport>(&self, transport: T, peer: IpAddr) -> Option<Accepted> {
        let accepted = Arc::new(Mutex::new(None));
        let service = service_fn(|request| {
            let accepted = accepted.clone();
            async move {
                let (answer, taken) = self.answer(request, peer).await;
                if taken.is_some() {
                    *accepted.lock().unwrap_or_else(PoisonError::into_inner) = taken;
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES);
        // Boxed: hyper's state is larger than the loop's, and gone when the loop begins.
        let conversation = Box::pin(http.serve_connection(TokioIo::new(transport), service).with_upgrades());
        if let Err(error) = conversation.await {
            tracing::debug!(%peer, %error, "the peer's HTTP ended");
        }
        accepted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn answer(&self, http: HttpRequest<Incoming>, peer: IpAddr) -> (HttpAnswer, Option<Accepted>) {
        let path = tracing::enabled!(tracing::Level::DEBUG).then(|| http.uri().path().to_owned());
        match self.respond(http, peer).await {
            Ok(Reply::Answer(answer)) => (answer, None),
            Ok(Reply::Upgrade(answer, accepted)) => (answer, Some(*accepted)),
            Err(refusal) => {
                let path = path.map(|path| printable(&path.as_bytes()[..path.len().min(LOGGED_PATH_BYTES)]));
                tracing::debug!(%peer, path, status = refusal.status.as_u16(), "refused");
                (refusal_answer(refusal), None)
            }
        }
    }

    async fn respond(&self, http: HttpRequest<Incoming>, peer: IpAddr) -> Result<Reply, Refusal> {
        let path = http.uri().path();
        if path == "/healthz" {
            return Ok(Reply::Answer(healthz(http.method())));
        }
        let host = handshake::host_name(&http)?;
        if let Some(page) = self.page_for(&http, &host)? {
            return Ok(Reply::Answer(page));
        }
        let (endpoint, captures) = self.find(&host, path)?;
        let upgrade = Upgrade::parse(&http)?;
        let route = &endpoint.route;
        if upgrade.origin.as_deref().is_some_and(|origin| route.origins.forbid(origin, &host)) {
            return Err(foreign_origin());
        }
        if self.inner.open.is_draining() {
            return Err(unavailable("The server is going away."));
        }
        self.shake_hands(http, peer, endpoint, captures, host, upgrade).await
    }

    /// The first route that takes the path on this host.
    fn find(&self, host: &Host, path: &str) -> Result<(&Endpoint, Captures), Refusal> {
        let mut on_host =
            self.inner.endpoints.iter().filter(|endpoint| endpoint.route.hosts.allow(&host.name)).peekable();
        if on_host.peek().is_none() {
            return Err(misdirected(&host.name));
        }
        on_host
            .find_map(|endpoint| Some((endpoint, endpoint.route.pattern.captures(path)?)))
            .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "Not Found"))
    }

    fn page_for(&self, http: &HttpRequest<Incoming>, host: &Host) -> Result<Option<HttpAnswer>, Refusal> {
        let Some(page) = &self.inner.page else { return Ok(None) };
        if http.uri().path() != "/" || http.headers().contains_key(header::UPGRADE) {
            return Ok(None);
        }
        if !self.inner.endpoints.iter().any(|endpoint| endpoint.route.hosts.allow(&host.name)) {
            return Err(misdirected(&host.name));
        }
        if !matches!(*http.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Only GET.")
                .with_header(header::ALLOW, "GET, HEAD"));
        }
        Ok(Some(page.answer()))
    }

    /// Asks the handler whether there is to be a connection.
    async fn shake_hands(
        &self,
        mut http: HttpRequest<Incoming>,
        peer: IpAddr,
        endpoint: &Endpoint,
        captures: Captures,
        host: Host,
        upgrade: Upgrade,
    ) -> Result<Reply, Refusal> {
        let Endpoint { route, handler, instances, compression_memory, dialler } = endpoint;
        let key =
            route.policy.key(&captures).map_err(|_| Refusal::new(StatusCode::NOT_FOUND, "Not Found"))?;
        let on_upgrade = hyper::upgrade::on(&mut http);
        let (head, _) = http.into_parts();
        let link = Arc::new(Link::new(&route.limits, route.slow_consumer));
        let request = Arc::new(Request::new(&head, captures, peer, host, route.clone()));
        let outgoings = Outgoings::new(dialler.clone());
        let held = Held {
            _open: self.inner.open.enter(&link),
            link: link.clone(),
            outgoings: outgoings.clone(),
            request: request.clone(),
            topics: self.inner.topics.clone(),
        };
        let party = Party { link: link.clone(), outgoings, handler: None };
        let mut seat = Seat::take(handler, route, &self.inner.topics, instances, key.as_ref(), party)
            .await
            .map_err(|error| match error {
            SeatError::Full => {
                tracing::warn!(route = %route.name, "no room for another instance or connection");
                unavailable("The server is full.")
            }
            SeatError::Failed(failure) => failed(failure),
        })?;
        let offered = route.offered(upgrade.subprotocols);
        let verdict =
            seat.handshake(request.clone(), upgrade.origin, offered.clone()).await.map_err(failed)?;
        let (subprotocol, compression) = match verdict {
            Verdict::Accepted { subprotocol, compression } => (subprotocol, compression),
            Verdict::ForeignOrigin => return Err(foreign_origin()),
            Verdict::Rejected(rejection) => {
                return rejection_answer(rejection, route, &link).map(Reply::Answer);
            }
        };
        if let Some(chosen) = &subprotocol {
            if !offered.contains(chosen) {
                tracing::warn!(
                    route = %route.name, connection = %link.id(), subprotocol = ?chosen,
                    "select-subprotocol answered what was not offered"
                );
                return Err(internal_error());
            }
            link.select_subprotocol(chosen.clone());
        }
        let deflate = match (&route.compression, compression) {
            (Some(policy), Some(asked)) => {
                let asked = (asked.level, asked.mem_level);
                let settings =
                    policy.settings(asked, &route.limits, &compression_memory.budget).map_err(|error| {
                        tracing::warn!(
                            route = %route.name, connection = %link.id(), %error,
                            "get-compression-options answered what it may not"
                        );
                        internal_error()
                    })?;
                Deflate::accept(&upgrade.extensions, settings, compression_memory, &route.name)
            }
            _ => None,
        };
        if let Some(ready_made) = deflate.as_ref().and_then(Deflate::ready_made) {
            link.take_ready_made(ready_made);
        }
        let answer = switching_protocols(
            &upgrade.accept_key,
            subprotocol.as_deref(),
            deflate.as_ref().map(|deflate| deflate.response.as_str()),
            request.take_response_headers(),
        );
        let accepted = Accepted { upgrade: on_upgrade, seat, held, route: route.clone(), deflate };
        Ok(Reply::Upgrade(answer, Box::new(accepted)))
    }
}

/// A connection that is open, and waits only for its socket.
struct Opened {
    peer: IpAddr,
    seat: Seat,
    held: Held,
    route: Arc<Route>,
}

impl Opened {
    /// The connection's task. `read_ahead` are bytes that were read past the handshake.
    async fn on<S: Socket>(self, socket: S, read_ahead: &[u8]) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let Self { peer, seat, held, route } = self;
        let wire = Wire::new(socket, read_ahead, Role::Server, &route.limits).await;
        let connection = Connection::new(wire, held.link.clone(), held.outgoings.clone(), route.clone());
        Box::pin(async move {
            let cause = connection.run(seat).await;
            log_end(&held.link, &route, peer, cause);
            drop(held);
        })
    }
}

enum Reply {
    Answer(HttpAnswer),
    Upgrade(HttpAnswer, Box<Accepted>),
}

fn log_end(link: &Link, route: &Route, peer: IpAddr, cause: CloseCause) {
    macro_rules! log {
        ($level:expr) => {
            tracing::event!(
                $level, connection = %link.id(), route = %route.name, %peer, cause = cause.label(),
                published_drops = Some(link.published_drops()).filter(|drops| *drops > 0), "closed"
            )
        };
    }
    match cause.level() {
        tracing::Level::WARN => log!(tracing::Level::WARN),
        tracing::Level::INFO => log!(tracing::Level::INFO),
        _ => log!(tracing::Level::DEBUG),
    }
}

/// An [`Application`] on a listening socket.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    application: Application,
    options: ServerOptions,
}

/// How a [`Server`] accepts and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Connections open at once, handshakes included. Protects the process's descriptors. More wait in the kernel's backlog.
    /// Default: 10,000.
    pub max_connections: u32,
    /// How long connections may take to close when the server goes away; then they are dropped. Default: 10 s.
    pub grace: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { max_connections: 10_000, grace: Duration::from_secs(10) }
    }
}

impl Server {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is in use, or not ours.
    pub async fn bind(
        address: SocketAddr,
        application: Application,
        options: ServerOptions,
    ) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, application, options })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// How long connections may take to close.
    pub fn grace(&self) -> Duration {
        self.options.grace
    }

    /// Serves until `shutdown` resolves; then stops accepting, closes every connection with 1001, and waits for them, at most
    /// `grace`. Returns how many were dropped after that.
    ///
    /// Cancel safety: dropping the future drops every connection without a close frame.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> usize {
        let Self { listener, application, options } = self;
        let permits = Arc::new(Semaphore::new(options.max_connections as usize));
        let mut tasks = JoinSet::new();
        {
            let mut shutdown = std::pin::pin!(shutdown);
            loop {
                let accepted = tokio::select! {
                    () = &mut shutdown => break,
                    accepted = accept(&listener, &permits) => accepted,
                };
                while tasks.try_join_next().is_some() {}
                let Some((socket, peer, permit)) = accepted else { continue };
                let application = application.clone();
                tasks.spawn(async move {
                    application.serve_connection(socket, peer).await;
                    drop(permit);
                });
            }
        }
        drop(listener);
        let open = &application.inner.open;
        let closing = open.drain();
        tracing::info!(connections = closing, "draining");
        if tokio::time::timeout(options.grace, open.emptied()).await.is_ok() {
            return 0;
        }
        let dropped = open.drain();
        tasks.shutdown().await;
        dropped
    }
}

/// The next connection, with its permit; none after an error that the loop outlives.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = match permits.clone().try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            tracing::warn!("`max-connections` are open: newcomers wait until one ends");
            permits.clone().acquire_owned().await.expect("never closed")
        }
    };
    match listener.accept().await {
        Ok((socket, peer)) => Some((socket, peer, permit)),
        Err(error) => {
            // Out of descriptors, or a peer that left while it waited: others are served meanwhile.
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
