//! What is served: an [`Application`]'s routes and their handlers, and what each request is answered.

use std::sync::{Arc, PoisonError, RwLock};

use crate::client::Resolver;
use crate::connection::compression::{CompressionMemory, Deflate};
use crate::connection::link::{CONNECTION_BYTES, Link};
use crate::connection::outgoing::{Dialler, Outgoings};
use crate::deployer::RouteName;
use crate::handler::Handler;
use crate::handler::endpoint::Endpoint;
use crate::handler::loading::RouteHandler;
use crate::instance::instances::Instances;
use crate::instance::party::Party;
use crate::instance::seat::{Seat, SeatError, Verdict};
use crate::limits::permits::Permits;
use crate::limits::processors::{Processors, Turns};
use crate::limits::records::Kind;
use crate::limits::tenants::Tenancy;
use crate::metrics::{RouteMetrics, SwapOutcome};
use crate::server::addresses::Peer;
use crate::server::admission::{Admission, Newcomer};
use crate::server::answers::{
    HttpAnswer, failed, foreign_origin, full, healthz, internal_error, misdirected, not_loaded,
    paused_address, paused_start, refusal_answer, rejection_answer, switching_protocols,
    too_many_connections, too_many_requests, two_peers, unavailable,
};
use crate::server::handshake::{self, Host, Refusal, Upgrade};
use crate::server::page::Page;
use crate::server::request::Request;
use crate::server::routes::{Captures, Route};
use crate::server::shutdown::{OpenConnection, OpenConnections};
use crate::swap::{OnSwap, SwapError, SwapReport, offer, promote, roll_back, swap};
use crate::units::{printable, shown};
use http::{Method, StatusCode, Version, header};
use hyper::Request as HttpRequest;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::task::JoinSet;

/// What a server serves: routes in the order in which they are tried, each with its handler, and perhaps a page. Cheap to
/// clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Application {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: Vec<Service>,
    page: RwLock<Option<Page>>,
    open: Arc<OpenConnections>,
    processors: Arc<Processors>,
    /// Whose work everything is that comes before a handshake with a route.
    strangers: Arc<Tenancy>,
    /// Of handshakes that no route takes.
    unrouted: RouteMetrics,
    /// For those who accept by themselves.
    admission: Arc<Admission>,
}

/// One route with what its connections share.
#[derive(Debug)]
struct Service {
    endpoint: Arc<Endpoint>,
    instances: Arc<Instances>,
    compression_memory: CompressionMemory,
    dialler: Arc<Dialler>,
}

impl Service {
    fn new(endpoint: Arc<Endpoint>, resolver: Option<Arc<dyn Resolver>>, open: Arc<OpenConnections>) -> Self {
        let route = &endpoint.route;
        let compression_memory = CompressionMemory::new(endpoint.memory(), &route.limits);
        let dialler = Dialler::new(endpoint.clone(), compression_memory.budget.clone(), resolver, open);
        Self {
            instances: Instances::new(endpoint.clone()),
            dialler: Arc::new(dialler),
            compression_memory,
            endpoint,
        }
    }
}

/// A handshake that was accepted.
pub(crate) struct Accepted {
    /// When the answer has been sent: the transport.
    pub(crate) upgrade: OnUpgrade,
    pub(crate) opening: Opening,
}

/// What a connection's loop is made of, once its transport is free.
pub(crate) struct Opening {
    /// Who opens it; not a proxy that is trusted.
    pub(crate) peer: Peer,
    /// HTTP's version.
    pub(crate) http: Version,
    pub(crate) seat: Seat,
    pub(crate) held: Held,
    pub(crate) route: Arc<Route>,
    pub(crate) metrics: Arc<RouteMetrics>,
    pub(crate) deflate: Option<Deflate>,
}

/// What the host holds for one peer from its handshake on. However that ends, dropping this ends it for guests, too, whatever
/// handles they keep.
pub(crate) struct Held {
    pub(crate) link: Arc<Link>,
    pub(crate) outgoings: Arc<Outgoings>,
    request: Arc<Request>,
    pub(crate) tenancy: Arc<Tenancy>,
    _open: OpenConnection,
    permits: Option<Permits>,
}

impl Held {
    /// For who knows when another connection may take its place.
    pub(crate) fn take_permits(&mut self) -> Option<Permits> {
        self.permits.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.link.end(&self.tenancy.topics);
        self.outgoings.end();
        self.request.end();
    }
}

/// Bytes of a refused request's path that are logged.
const LOGGED_PATH_BYTES: usize = 200;

impl Application {
    /// An application with these routes, tried in order. Handshakes with a route whose handler could not be loaded are answered 503.
    pub fn new<H: Into<RouteHandler>>(
        routes: impl IntoIterator<Item = (Route, H)>,
        page: Option<Page>,
    ) -> Self {
        Self::with_resolver(routes, page, None)
    }

    /// The same, whose handlers find the addresses of the hosts that they connect to by `resolver`; none asks the system.
    pub fn with_resolver<H: Into<RouteHandler>>(
        routes: impl IntoIterator<Item = (Route, H)>,
        page: Option<Page>,
        resolver: Option<Arc<dyn Resolver>>,
    ) -> Self {
        let open = Arc::<OpenConnections>::default();
        let processors = Arc::<Processors>::default();
        let mut tenancies: Vec<Arc<Tenancy>> = Vec::new();
        let services = routes.into_iter().map(|(route, handler)| {
            let handler = handler.into();
            let known = tenancies.iter().find(|tenancy| tenancy.name == route.tenant.name).cloned();
            let tenancy = known.unwrap_or_else(|| {
                let tenancy = Tenancy::new(&route.tenant, handler.memory(), &processors);
                tenancies.push(tenancy.clone());
                tenancy
            });
            Service::new(Endpoint::new(Arc::new(route), tenancy, handler), resolver.clone(), open.clone())
        });
        Self {
            inner: Arc::new(Inner {
                services: services.collect(),
                page: RwLock::new(page),
                open,
                strangers: Tenancy::of_strangers(&processors),
                processors,
                unrouted: RouteMetrics::default(),
                admission: Arc::default(),
            }),
        }
    }

    /// Serves another page from now on, or none; whether it is another.
    pub fn replace_page(&self, page: Option<Page>) -> bool {
        let mut served = self.inner.page.write().unwrap_or_else(PoisonError::into_inner);
        let is_another = *served != page;
        *served = page;
        is_another
    }

    /// Replaces a route's handler; `handler` was loaded for the route's limits. Newcomers get it from now on; what becomes of open
    /// connections says `on_swap`, or else the route's [`SwapPolicy`](crate::SwapPolicy). Returns when they have been dealt with, except
    /// those whose handlers are busy for long.
    ///
    /// # Errors
    /// See [`SwapError`]: the old version goes on.
    ///
    /// Cancel safety: once the new version has been tried, the swap goes on.
    pub async fn replace_handler(
        &self,
        route: &RouteName,
        handler: Handler,
        on_swap: Option<OnSwap>,
    ) -> Result<SwapReport, SwapError> {
        let instances = self.instances(route)?;
        let version = instances.endpoint.versions.candidate(handler);
        swap(instances, version, on_swap).await
    }

    /// Gives a new version to `percent` (1 to 99) of the newcomers; where instances are shared, to those with so many of the keys. It is
    /// promoted or withdrawn by itself, as the route's [`SwapPolicy`](crate::SwapPolicy) says. Returns the version's number.
    ///
    /// # Errors
    /// See [`SwapError`]: nothing has changed.
    pub async fn offer_handler(
        &self,
        route: &RouteName,
        handler: Handler,
        percent: u8,
    ) -> Result<u32, SwapError> {
        let instances = self.instances(route)?;
        let version = instances.endpoint.versions.candidate(handler);
        let number = version.number;
        offer(instances, version, percent).await?;
        Ok(number)
    }

    /// Puts the canary into the place of the current version, before it would be by itself.
    ///
    /// # Errors
    /// There is none.
    pub async fn promote_handler(&self, route: &RouteName) -> Result<SwapReport, SwapError> {
        promote(self.instances(route)?).await
    }

    /// Withdraws the canary, or else puts the version back that was served before.
    ///
    /// # Errors
    /// There is neither; or see [`SwapError`].
    pub async fn roll_back(&self, route: &RouteName) -> Result<SwapReport, SwapError> {
        roll_back(self.instances(route)?).await
    }

    /// A new version could not even be loaded.
    pub(crate) fn note_refused(&self, route: &RouteName, error: &str) {
        let Ok(instances) = self.instances(route) else { return };
        let endpoint = &instances.endpoint;
        endpoint.metrics.swaps.count(SwapOutcome::Refused);
        let meanwhile = match endpoint.versions.current() {
            Some(_) => "the old one goes on",
            None => "there is no other, and the route answers 503",
        };
        tracing::warn!(
            tenant = endpoint.tenancy.name, route = %endpoint.route.name,
            "{}; {meanwhile}", printable(error.as_bytes())
        );
    }

    /// The instances of the route that is meant.
    pub(crate) fn instances(&self, name: &RouteName) -> Result<&Arc<Instances>, SwapError> {
        let is_meant = |service: &&Service| {
            let Endpoint { route, tenancy, .. } = &*service.endpoint;
            route.name == name.route && name.tenant.as_ref().is_none_or(|tenant| *tenant == tenancy.name)
        };
        let mut meant = self.inner.services.iter().filter(is_meant);
        let service = meant.next().ok_or_else(|| name.unknown())?;
        if meant.next().is_some() {
            return Err(SwapError::SeveralRoutes(name.route.clone()));
        }
        Ok(&service.instances)
    }

    /// The routes whose handlers can be served, by tenant and name.
    pub(crate) fn served(&self) -> Vec<RouteName> {
        let served = self.endpoints().filter(|endpoint| endpoint.versions.current().is_some());
        let name = |endpoint: &Arc<Endpoint>| RouteName {
            tenant: Some(endpoint.tenancy.name.clone()),
            route: endpoint.route.name.clone(),
        };
        served.map(name).collect()
    }

    /// In the order in which they are tried.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.inner.services.iter().map(|service| &service.endpoint)
    }

    /// Routes have their spare instances made, beside what is served meanwhile.
    pub(crate) fn make_spares(&self) {
        self.inner.services.iter().for_each(|service| service.instances.spares.refill());
    }

    /// Nobody comes any more: no route has spare instances from now on.
    pub(crate) fn end_spares(&self) {
        self.inner.services.iter().for_each(|service| service.instances.spares.end());
    }

    /// The counts of handshakes that no route takes.
    pub(crate) fn unrouted(&self) -> &RouteMetrics {
        &self.inner.unrouted
    }

    pub(crate) fn open_connections(&self) -> &Arc<OpenConnections> {
        &self.inner.open
    }

    pub(crate) fn processors(&self) -> &Arc<Processors> {
        &self.inner.processors
    }

    /// Whose work everything is that comes before a handshake with a route.
    pub(crate) fn strangers(&self) -> &Arc<Tenancy> {
        &self.inner.strangers
    }

    pub(crate) fn default_admission(&self) -> &Arc<Admission> {
        &self.inner.admission
    }

    /// Answers one request; with an answer that accepts a handshake comes what the connection is made of.
    pub(crate) async fn answer(
        &self,
        http: HttpRequest<Incoming>,
        newcomer: &Newcomer,
    ) -> (HttpAnswer, Option<Accepted>) {
        let path = tracing::enabled!(tracing::Level::DEBUG).then(|| http.uri().path().to_owned());
        let client = newcomer.client(http.headers());
        let peer = *client.as_ref().unwrap_or(&newcomer.peer);
        let mut metrics = &self.inner.unrouted;
        let reply = match client {
            Ok(client) => self.respond(http, client, newcomer, &mut metrics).await,
            Err(_) => Err(two_peers()),
        };
        match reply {
            Ok(Reply::Page(answer)) => (answer, None),
            Ok(Reply::Rejection(answer)) => {
                metrics.count_answer(answer.status(), None);
                (answer, None)
            }
            Ok(Reply::Upgrade(answer, accepted)) => {
                metrics.count_accepted();
                (answer, Some(*accepted))
            }
            Err(refusal) => {
                let path = path.map(|path| printable(&path.as_bytes()[..path.len().min(LOGGED_PATH_BYTES)]));
                metrics.count_answer(refusal.status, refusal.reached);
                let limit = refusal.reached.map(tracing::field::display);
                tracing::debug!(%peer, path, status = refusal.status.as_u16(), limit, "refused");
                (refusal_answer(refusal), None)
            }
        }
    }

    /// `metrics` are those of the route, once it is known.
    async fn respond<'a>(
        &'a self,
        http: HttpRequest<Incoming>,
        client: Peer,
        newcomer: &Newcomer,
        metrics: &mut &'a RouteMetrics,
    ) -> Result<Reply, Refusal> {
        newcomer.note_request(client).map_err(|_| too_many_requests())?;
        if handshake::is_tunnel(&http) {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "This server is no proxy.")
                .with_header(header::ALLOW, "GET, HEAD"));
        }
        let path = http.uri().path();
        if path == "/healthz" {
            return Ok(Reply::Page(healthz(http.method())));
        }
        let host = handshake::host_name(&http)?;
        if let Some(page) = self.page_for(&http, &host)? {
            return Ok(Reply::Page(page));
        }
        let (index, captures) = self.find(&host, path)?;
        let service = &self.inner.services[index];
        *metrics = &service.endpoint.metrics;
        let upgrade = Upgrade::parse(&http)?;
        let Endpoint { route, tenancy, .. } = &*service.endpoint;
        if upgrade.origin.as_deref().is_some_and(|origin| route.origins.forbid(origin, &host)) {
            return Err(foreign_origin());
        }
        if self.inner.open.is_draining() {
            return Err(unavailable("The server is going away."));
        }
        if let Some(left) = service.endpoint.address_pauses.left(client) {
            return Err(paused_address(left));
        }
        let permits = Permits {
            _stream: match http.version() {
                Version::HTTP_2 => newcomer.stream_permit().map_err(full)?,
                // The socket has its own.
                _ => None,
            },
            _address: newcomer.address_permit(client).map_err(|_| too_many_connections())?,
            _tenant: tenancy.try_connection().map_err(full)?,
        };
        let asked = Asked { client, captures, host, upgrade, permits };
        let application = self.clone();
        let shaken = Turns::new(tenancy.clone(), async move {
            application.shake_hands(http, asked, &application.inner.services[index]).await
        });
        // A task of its own: the tenant's work must not be done in a turn of strangers'. Dropped, it ends.
        let mut tasks = JoinSet::new();
        tasks.spawn(shaken);
        // Fails only if it panics, or when the process ends.
        tasks.join_next().await.and_then(Result::ok).unwrap_or_else(|| Err(internal_error()))
    }

    /// The number of the first route that takes the path on this host.
    fn find(&self, host: &Host, path: &str) -> Result<(usize, Captures), Refusal> {
        let answers = |(_, service): &(usize, &Service)| service.endpoint.route.hosts.allow(&host.name);
        let mut on_host = self.inner.services.iter().enumerate().filter(answers).peekable();
        if on_host.peek().is_none() {
            return Err(misdirected(&host.name));
        }
        on_host
            .find_map(|(index, service)| Some((index, service.endpoint.route.pattern.captures(path)?)))
            .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "Not Found"))
    }

    fn page_for(&self, http: &HttpRequest<Incoming>, host: &Host) -> Result<Option<HttpAnswer>, Refusal> {
        let page = self.inner.page.read().unwrap_or_else(PoisonError::into_inner);
        let Some(page) = &*page else { return Ok(None) };
        let is_handshake =
            http.headers().contains_key(header::UPGRADE) || handshake::connect_protocol(http).is_some();
        if http.uri().path() != "/" || is_handshake {
            return Ok(None);
        }
        if !self.inner.services.iter().any(|service| service.endpoint.route.hosts.allow(&host.name)) {
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
        asked: Asked,
        service: &Service,
    ) -> Result<Reply, Refusal> {
        let Asked { client, captures, host, upgrade, permits } = asked;
        let Service { endpoint, instances, compression_memory, dialler } = service;
        let Endpoint { route, tenancy, metrics, .. } = &**endpoint;
        let key =
            route.policy.key(&captures).map_err(|_| Refusal::new(StatusCode::NOT_FOUND, "Not Found"))?;
        let version = endpoint.versions.for_newcomer(key.as_ref()).ok_or_else(not_loaded)?;
        // Whoever finds a spare need not wait until another one can be made.
        if !instances.spares.has(&version)
            && let Some(left) = version.start_pause.left()
        {
            return Err(paused_start(left));
        }
        let on_upgrade = hyper::upgrade::on(&mut http);
        let (mut head, _) = http.into_parts();
        handshake::as_over_http1(&mut head);
        let memory = tenancy.take_memory(CONNECTION_BYTES).map_err(full)?;
        let link = Arc::new(Link::new(&route.limits, route.slow_consumer, memory));
        let request = Arc::new(Request::new(&head, captures, client.address(), host, route.clone()));
        let outgoings = Outgoings::new(dialler.clone());
        let held = Held {
            _open: self.inner.open.enter(&link),
            link: link.clone(),
            outgoings: outgoings.clone(),
            request: request.clone(),
            tenancy: tenancy.clone(),
            permits: Some(permits),
        };
        let party =
            Party { link: link.clone(), outgoings, request: request.clone(), peer: client, handler: None };
        let seat = Seat::take(instances, key.as_ref(), version, party).await;
        let mut seat = seat.map_err(|error| match error {
            SeatError::Full(reached) => {
                if let Some(untold) = metrics.records.tell(Kind::NoRoom) {
                    tracing::warn!(
                        tenant = tenancy.name, route = %route.name, limit = %reached, untold,
                        "no room for another instance or connection"
                    );
                }
                full(reached)
            }
            SeatError::Replaced => unavailable("The handler is being replaced."),
            SeatError::Failed(failure) => failed(failure),
        })?;
        let offered = route.offered(upgrade.subprotocols);
        let verdict = seat.handshake(upgrade.origin, offered.clone()).await.map_err(failed)?;
        let (subprotocol, compression) = match verdict {
            Verdict::Accepted { subprotocol, compression } => (subprotocol, compression),
            Verdict::ForeignOrigin => return Err(foreign_origin()),
            Verdict::Rejected(declined) => {
                return rejection_answer(declined, endpoint, &link, head.version).map(Reply::Rejection);
            }
        };
        if let Some(chosen) = &subprotocol {
            if !offered.contains(chosen) {
                let subprotocol = shown(chosen);
                if let Some(untold) = metrics.records.tell_each(Kind::Subprotocol, subprotocol.len(), tenancy)
                {
                    tracing::warn!(
                        tenant = tenancy.name, route = %route.name, connection = %link.id(), subprotocol, untold,
                        "select-subprotocol answered what was not offered"
                    );
                }
                return Err(internal_error());
            }
            link.select_subprotocol(chosen.clone());
        }
        let deflate = match (&route.compression, compression) {
            (Some(policy), Some(asked)) => {
                let asked = (asked.level, asked.mem_level);
                let settings =
                    policy.settings(asked, &route.limits, &compression_memory.budget).map_err(|error| {
                        if let Some(untold) = metrics.records.tell_each(Kind::CompressionOptions, 0, tenancy) {
                            tracing::warn!(
                                tenant = tenancy.name, route = %route.name, connection = %link.id(), %error, untold,
                                "get-compression-options answered what it may not"
                            );
                        }
                        internal_error()
                    })?;
                Deflate::accept(&upgrade.extensions, settings, compression_memory, &metrics.records)
            }
            _ => None,
        };
        if let Some(ready_made) = deflate.as_ref().and_then(Deflate::ready_made) {
            link.take_ready_made(ready_made);
        }
        let answer = switching_protocols(
            upgrade.accept_key.as_deref(),
            subprotocol.as_deref(),
            deflate.as_ref().map(|deflate| deflate.response.as_str()),
            request.take_response_headers(),
        );
        let (route, metrics) = (route.clone(), metrics.clone());
        let opening = Opening { peer: client, http: head.version, seat, held, route, metrics, deflate };
        let accepted = Accepted { upgrade: on_upgrade, opening };
        Ok(Reply::Upgrade(answer, Box::new(accepted)))
    }
}

/// A handshake that is well-formed, and for which there is room.
struct Asked {
    client: Peer,
    captures: Captures,
    host: Host,
    upgrade: Upgrade,
    permits: Permits,
}

enum Reply {
    /// To who wants no connection.
    Page(HttpAnswer),
    /// The handler's.
    Rejection(HttpAnswer),
    Upgrade(HttpAnswer, Box<Accepted>),
}
