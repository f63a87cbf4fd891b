//! Connections that a handler opens itself. Each is a task that drives its socket; imports and the handler's own loop see what it has
//! brought, bounded, so that TCP slows a server down whose messages nobody reads.
//!
//! They belong to the connection whose handler opened them, not to its instance: they end with that connection (1001), and stay when
//! another instance goes on with it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::client::{self, Caller, ConnectError, ConnectOptions, Resolver};
use crate::connection::close::{CloseCause, CloseFrame};
use crate::connection::compression::{Budget, Reservation};
use crate::connection::inbox::{Arrival, Inbox};
use crate::connection::link::{CONNECTION_BYTES, Closing, Link};
use crate::handler::endpoint::Endpoint;
use crate::limits::processors::Turns;
use crate::limits::rate::Rate;
use crate::limits::records::Kind;
use crate::limits::{Reached, Scope, SlowConsumer};
use crate::metrics::OpenClient;
use crate::server::shutdown::{OpenConnections, OpenSocket};
use crate::units::shown;

/// What a handler asks for.
#[derive(Debug, Default)]
pub(crate) struct Dial {
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) subprotocols: Vec<String>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) max_message_bytes: Option<usize>,
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) pong_timeout: Option<Duration>,
    /// Level and memory level.
    pub(crate) compression: Option<(Option<u8>, Option<u8>)>,
}

/// Who brings a handler what its connection has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// The handler asks: `read-message`.
    Coroutine,
    /// It is told: `on-client-event`.
    Callback,
}

/// Why there is no connection; the WIT's `connect-error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialError {
    Denied,
    Closed,
    Limit(&'static str),
    InvalidUrl(String),
    Network(String),
    Timeout,
    Http(u16),
    Protocol(String),
}

impl From<ConnectError> for DialError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::InvalidUrl(why) => Self::InvalidUrl(why),
            ConnectError::InvalidRequest(why) | ConnectError::Protocol(why) => Self::Protocol(why),
            ConnectError::Denied(_) => Self::Denied,
            ConnectError::Timeout(_) => Self::Timeout,
            ConnectError::Http(answer) => Self::Http(answer.status().as_u16()),
            error @ (ConnectError::Refused(_) | ConnectError::Network(_) | ConnectError::Tls(_)) => {
                Self::Network(error.to_string())
            }
        }
    }
}

/// What happens on a connection of [`Style::Callback`], in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientEvent {
    Opened,
    Failed(DialError),
    /// No ping: it has been answered, and the interface has no event for it.
    Arrived(Arrival),
    Closed(Option<CloseFrame>),
}

/// Opens connections for the handlers of one route.
#[derive(Debug)]
pub(crate) struct Dialler {
    endpoint: Arc<Endpoint>,
    compression_memory: Budget,
    resolver: Option<Arc<dyn Resolver>>,
    open: Arc<OpenConnections>,
    /// `max-route-client-connections`.
    permits: Arc<Semaphore>,
    /// `max-route-connects-per-second`.
    rate: Rate,
}

/// What a handler may put into a request: headers and subprotocols in number, and all their bytes.
const MAX_REQUEST_FIELDS: usize = 64;
const MAX_REQUEST_BYTES: usize = 16 << 10;
const MAX_URL_BYTES: usize = 8 << 10;
/// Longer than anybody waits for a server: a guest that asks for more waits so long.
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

impl Dialler {
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        compression_memory: Budget,
        resolver: Option<Arc<dyn Resolver>>,
        open: Arc<OpenConnections>,
    ) -> Self {
        let limits = &endpoint.route.limits;
        let permits = Arc::new(Semaphore::new(limits.max_route_client_connections as usize));
        let rate = Rate::new(limits.max_route_connects_per_second.into());
        Self { endpoint, compression_memory, resolver, open, permits, rate }
    }

    /// A guest may ask for it again and again, and names the host.
    fn tell_not_dialled(&self, client: Option<&Link>, host: &str, port: Option<u16>, why: &str) {
        let Endpoint { route, tenancy, metrics, .. } = &*self.endpoint;
        let host = shown(host);
        if let Some(untold) = metrics.records.tell_each(Kind::NotDialled, host.len() + why.len(), tenancy) {
            tracing::info!(
                tenant = tenancy.name, route = %route.name, client = client.map(Link::id), host, port, untold, "{why}"
            );
        }
    }

    /// What to ask whom for, if the route allows it.
    fn prepare(&self, dial: Dial) -> Result<(Request<()>, ConnectOptions), DialError> {
        let route = &self.endpoint.route;
        let limits = &route.limits;
        if dial.url.len() > MAX_URL_BYTES {
            return Err(DialError::InvalidUrl(format!("a URL has at most {MAX_URL_BYTES} bytes")));
        }
        let fields = dial.headers.iter().map(|(name, value)| name.len() + value.len());
        let fields: Vec<usize> = fields.chain(dial.subprotocols.iter().map(String::len)).collect();
        if fields.len() > MAX_REQUEST_FIELDS || fields.iter().sum::<usize>() > MAX_REQUEST_BYTES {
            return Err(DialError::Protocol(format!(
                "at most {MAX_REQUEST_FIELDS} headers and subprotocols, of {MAX_REQUEST_BYTES} bytes together"
            )));
        }
        let mut request = Request::get(&dial.url);
        for (name, value) in &dial.headers {
            request = request.header(name, value);
        }
        let request = match request.body(()) {
            Ok(request) => request,
            Err(_) if dial.url.parse::<http::Uri>().is_err() => {
                return Err(DialError::InvalidUrl("not a URL such as `wss://example.com/chat`".into()));
            }
            Err(error) => return Err(DialError::Protocol(format!("a header cannot be sent: {error}"))),
        };
        let (host, port) = client::target(request.uri())?;
        if !route.connect.allow(&host, port) {
            self.tell_not_dialled(None, &host, Some(port), "not dialled: not on the route's list `connect`");
            return Err(DialError::Denied);
        }
        let default = ConnectOptions::default();
        let most = limits.max_message_bytes;
        let compression = match (dial.compression, &route.compression) {
            (Some(asked), Some(policy)) => Some(
                policy
                    .settings(asked, limits, &self.compression_memory)
                    .map_err(|error| DialError::Protocol(error.to_string()))?,
            ),
            _ => None,
        };
        let options = ConnectOptions {
            subprotocols: dial.subprotocols,
            connect_timeout: dial.connect_timeout.unwrap_or(default.connect_timeout).min(MAX_CONNECT_TIMEOUT),
            max_message_bytes: dial.max_message_bytes.map_or(most, |bytes| bytes.min(most)),
            max_fragments: limits.max_fragments,
            max_queue_bytes: limits.max_queue_bytes,
            close_timeout: limits.close_timeout,
            write_timeout: limits.write_timeout,
            ping_interval: dial.ping_interval,
            pong_timeout: dial.pong_timeout,
            compression,
            ca: route.connect_ca.clone(),
            resolver: self.resolver.clone(),
        };
        Ok((request, options))
    }
}

/// The outgoing connections of one connection's handler.
#[derive(Debug)]
pub(crate) struct Outgoings {
    dialler: Arc<Dialler>,
    permits: Arc<Semaphore>,
    /// `max-connects-per-second`.
    rate: Rate,
    /// There has been one: spares the loop the lock.
    used: AtomicBool,
    set: Mutex<Set>,
}

#[derive(Debug, Default)]
struct Set {
    life: Life,
    connections: Vec<Arc<Outgoing>>,
    /// Those that have an event for their handler, each once.
    ready: VecDeque<Arc<Outgoing>>,
    /// The handler's loop, while it sleeps.
    sleeper: Option<Waker>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Life {
    #[default]
    BeforeOpen,
    Open,
    Ended,
}

impl Outgoings {
    pub(crate) fn new(dialler: Arc<Dialler>) -> Arc<Self> {
        let limits = &dialler.endpoint.route.limits;
        let permits = Arc::new(Semaphore::new(limits.max_client_connections as usize));
        let rate = Rate::new(limits.max_connects_per_second.into());
        Arc::new(Self { dialler, permits, rate, used: AtomicBool::new(false), set: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handler's own connection is open: from now on it may have others.
    pub(crate) fn open(&self) {
        let mut set = self.lock();
        if set.life == Life::BeforeOpen {
            set.life = Life::Open;
        }
    }

    /// Begins to connect.
    pub(crate) fn dial(self: &Arc<Self>, dial: Dial, style: Style) -> Result<Arc<Outgoing>, DialError> {
        match self.lock().life {
            Life::BeforeOpen => return Err(DialError::Denied),
            Life::Ended => return Err(DialError::Closed),
            Life::Open => {}
        }
        let (request, options) = self.dialler.prepare(dial)?;
        let Room { permit, of_route, memory } = self.room().map_err(|reached| {
            self.dialler.endpoint.metrics.count_refusal(reached);
            DialError::Limit(reached.limit)
        })?;
        let permit = Arc::new(permit);
        let link = Arc::new(Link::new(&options.limits(), SlowConsumer::Drop, memory));
        let outgoing = Arc::new(Outgoing {
            link,
            style,
            owner: Arc::downgrade(self),
            state: Mutex::new(State {
                phase: Phase::Connecting(None),
                inbox: Inbox::default(),
                opened_owed: false,
                end_owed: style == Style::Callback,
                queued: false,
                abandoned: false,
                waiter: None,
                driver: None,
                permit: Some(permit.clone()),
            }),
        });
        let driving = Driving {
            outgoing: outgoing.clone(),
            dialler: self.dialler.clone(),
            _socket: self.dialler.open.enter_socket(),
            _permits: (permit, of_route),
        };
        let tenancy = self.dialler.endpoint.tenancy.clone();
        let driving = tokio::spawn(Turns::new(tenancy, driving.run(request, options)));
        if let Phase::Connecting(abort) = &mut outgoing.lock().phase {
            *abort = Some(driving.abort_handle());
        }
        let mut set = self.lock();
        if set.life == Life::Ended {
            drop(set);
            outgoing.abandon();
            return Err(DialError::Closed);
        }
        set.connections.retain(|other| !other.is_done());
        set.connections.push(outgoing.clone());
        self.used.store(true, Ordering::Release);
        Ok(outgoing)
    }

    /// What one more takes, or the bound that is full. Rates come last, so that only what may be dialled uses them up; and the connection's
    /// own before the route's, so that a handler that is refused takes nothing from others.
    fn room(&self) -> Result<Room, Reached> {
        let full = |scope, limit| Reached { scope, limit };
        let permit = self.permits.clone().try_acquire_owned();
        let permit = permit.map_err(|_| full(Scope::Connection, "max-client-connections"))?;
        let of_route = self.dialler.permits.clone().try_acquire_owned();
        let of_route = of_route.map_err(|_| full(Scope::Route, "max-route-client-connections"))?;
        let memory = self.dialler.endpoint.tenancy.try_memory(CONNECTION_BYTES)?;
        if !self.rate.take(1.0) {
            return Err(full(Scope::Connection, "max-connects-per-second"));
        }
        if !self.dialler.rate.take(1.0) {
            return Err(full(Scope::Route, "max-route-connects-per-second"));
        }
        Ok(Room { permit, of_route, memory })
    }

    /// One of these by its id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Outgoing>> {
        self.lock().connections.iter().find(|outgoing| outgoing.link.id() == id).cloned()
    }

    /// The next event of any of them, in turn; the id says whose.
    pub(crate) fn poll_event(&self, cx: &Context<'_>) -> Poll<(String, ClientEvent)> {
        if !self.used.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        loop {
            let mut set = self.lock();
            let Some(outgoing) = set.ready.pop_front() else {
                if !set.sleeper.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    set.sleeper = Some(cx.waker().clone());
                }
                return Poll::Pending;
            };
            drop(set);
            if let Some(event) = outgoing.pop_event() {
                return Poll::Ready((outgoing.link.id().to_owned(), event));
            }
        }
    }

    fn make_ready(&self, outgoing: Arc<Outgoing>) {
        let mut set = self.lock();
        set.ready.push_back(outgoing);
        let sleeper = set.sleeper.take();
        drop(set);
        if let Some(waker) = sleeper {
            waker.wake();
        }
    }

    /// The handler's own connection is ending: it may have no others.
    pub(crate) fn refuse(&self) {
        self.lock().life = Life::Ended;
    }

    /// The handler's own connection has ended, and so these do (1001). Nobody is told any more.
    pub(crate) fn end(&self) {
        let mut set = self.lock();
        set.life = Life::Ended;
        set.ready.clear();
        let connections = std::mem::take(&mut set.connections);
        drop(set);
        for outgoing in connections {
            outgoing.abandon();
        }
    }
}

/// What one more connection takes.
struct Room {
    permit: OwnedSemaphorePermit,
    of_route: OwnedSemaphorePermit,
    memory: Reservation,
}

/// One outgoing connection, as its handler sees it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) link: Arc<Link>,
    style: Style,
    owner: Weak<Outgoings>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// What has come and has not been read.
    inbox: Inbox,
    /// [`Style::Callback`]: these events have not been told.
    opened_owed: bool,
    end_owed: bool,
    /// It stands among those that are ready.
    queued: bool,
    /// Nobody reads any more.
    abandoned: bool,
    /// The guest, which waits for the 101 or for a message.
    waiter: Option<Waker>,
    /// The task that drives the socket, which waits for room.
    driver: Option<Waker>,
    /// Kept until it has ended and is read to its end, whatever handles a guest still holds; and by its task, until the socket is closed.
    permit: Option<Arc<OwnedSemaphorePermit>>,
}

#[derive(Debug)]
enum Phase {
    /// None before the task has begun.
    Connecting(Option<AbortHandle>),
    Open,
    Failed(DialError),
    Closed(Option<CloseFrame>),
}

impl State {
    fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Failed(_) | Phase::Closed(_))
    }

    fn pop(&mut self) -> Option<Arrival> {
        let arrival = self.inbox.pop()?;
        if self.inbox.has_room()
            && let Some(driver) = self.driver.take()
        {
            driver.wake();
        }
        Some(arrival)
    }

    /// Once there is nothing left that anybody could want.
    fn let_go(&mut self) {
        if self.has_ended() && self.inbox.is_empty() && !self.opened_owed && !self.end_owed {
            self.permit = None;
        }
    }
}

impl Outgoing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn style(&self) -> Style {
        self.style
    }

    /// Has been opened and has not ended.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.lock().phase, Phase::Open)
    }

    fn is_done(&self) -> bool {
        self.lock().permit.is_none()
    }

    /// What the server closed with, once it has.
    pub(crate) fn close_frame(&self) -> Option<CloseFrame> {
        match &self.lock().phase {
            Phase::Closed(frame) => frame.clone(),
            _ => None,
        }
    }

    /// Closes a connection that is not open yet; true if it was one.
    pub(crate) fn cancel(self: &Arc<Self>) -> bool {
        let mut cancelled = false;
        self.change(|state| {
            if let Phase::Connecting(abort) = &mut state.phase {
                if let Some(abort) = abort.take() {
                    abort.abort();
                }
                state.phase = Phase::Failed(DialError::Closed);
                cancelled = true;
            }
        });
        cancelled
    }

    /// Ready once it is open, or will never be.
    pub(crate) fn poll_opened(&self, cx: &Context<'_>) -> Poll<Result<(), DialError>> {
        let mut state = self.lock();
        match &state.phase {
            Phase::Connecting(_) => {
                state.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
            Phase::Failed(error) => Poll::Ready(Err(error.clone())),
            Phase::Open | Phase::Closed(_) => Poll::Ready(Ok(())),
        }
    }

    /// The next message; none once the connection has ended. Pings have been answered, and pongs have no function here.
    pub(crate) fn poll_message(&self, cx: &Context<'_>) -> Poll<Option<Arrival>> {
        let mut state = self.lock();
        while let Some(arrival) = state.pop() {
            state.let_go();
            if let Arrival::Text(_) | Arrival::Binary(_) = arrival {
                return Poll::Ready(Some(arrival));
            }
        }
        if state.has_ended() {
            state.let_go();
            return Poll::Ready(None);
        }
        state.waiter = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next event for the handler; leaves it among those that are ready if there may be more.
    fn pop_event(self: &Arc<Self>) -> Option<ClientEvent> {
        let mut state = self.lock();
        state.queued = false;
        let event = if std::mem::take(&mut state.opened_owed) {
            Some(ClientEvent::Opened)
        } else if let Some(arrival) = state.pop() {
            Some(ClientEvent::Arrived(arrival))
        } else if state.has_ended() && std::mem::take(&mut state.end_owed) {
            Some(match &state.phase {
                Phase::Failed(error) => ClientEvent::Failed(error.clone()),
                Phase::Closed(frame) => ClientEvent::Closed(frame.clone()),
                Phase::Connecting(_) | Phase::Open => unreachable!("it has ended"),
            })
        } else {
            None
        };
        state.let_go();
        drop(state);
        if event.is_some() {
            self.change(|_| {});
        }
        event
    }

    /// Changes the state and tells whom it concerns.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.let_go();
        let waiter = state.waiter.take();
        let tells = self.style == Style::Callback
            && !state.abandoned
            && !state.queued
            && (state.opened_owed || !state.inbox.is_empty() || (state.has_ended() && state.end_owed));
        state.queued |= tells;
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        if tells && let Some(owner) = self.owner.upgrade() {
            owner.make_ready(self.clone());
        }
    }

    /// Nobody reads any more: what arrives is thrown away until the end, which begins.
    pub(crate) fn abandon(self: &Arc<Self>) {
        if !self.cancel() {
            // An error only says that it is closed already.
            let _ = self.link.close(Closing::Host(CloseCause::GoingAway));
        }
        let mut state = self.lock();
        state.abandoned = true;
        (state.opened_owed, state.end_owed) = (false, false);
        state.inbox = Inbox::default();
        state.let_go();
        let driver = state.driver.take();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    // What the task does.

    /// What is wanted of the server; where there is no room for what it sends, the task is woken when there is.
    fn appetite(&self, cx: &Context<'_>) -> Appetite {
        let mut state = self.lock();
        let has_room = state.inbox.has_room();
        if !has_room {
            state.driver = Some(cx.waker().clone());
        }
        Appetite { has_room, held_bytes: state.inbox.bytes(), abandoned: state.abandoned }
    }

    fn take_in(self: &Arc<Self>, arrival: Arrival) {
        let wanted = match arrival {
            // The interface has no event for it.
            Arrival::Ping(_) => false,
            Arrival::Pong(_) => self.style == Style::Callback,
            Arrival::Text(_) | Arrival::Binary(_) => true,
        };
        if wanted {
            self.change(|state| {
                if !state.abandoned {
                    state.inbox.push(arrival);
                }
            });
        }
    }

    /// It is open; false if it was given up meanwhile.
    fn note_opened(self: &Arc<Self>) -> bool {
        let mut opened = false;
        self.change(|state| {
            if let Phase::Connecting(_) = state.phase {
                state.phase = Phase::Open;
                state.opened_owed = self.style == Style::Callback && !state.abandoned;
                opened = true;
            }
        });
        opened
    }

    /// It has ended, if it had not before.
    fn note_ended(self: &Arc<Self>, end: Phase) {
        self.change(|state| {
            if !state.has_ended() {
                state.phase = end;
            }
        });
    }
}

/// What a handler wants of its server now.
struct Appetite {
    has_room: bool,
    /// What has come and has not been read.
    held_bytes: usize,
    /// Nothing any more.
    abandoned: bool,
}

/// The task of one connection, from its dialling to the end of its socket.
struct Driving {
    outgoing: Arc<Outgoing>,
    dialler: Arc<Dialler>,
    _socket: OpenSocket,
    _permits: (Arc<OwnedSemaphorePermit>, OwnedSemaphorePermit),
}

/// Also when the task is aborted or panics: whoever waits is told.
impl Drop for Driving {
    fn drop(&mut self) {
        self.outgoing.note_ended(Phase::Closed(None));
    }
}

impl Driving {
    async fn run(self, request: Request<()>, options: ConnectOptions) {
        let Self { outgoing, dialler, .. } = &self;
        let (route, link) = (&dialler.endpoint.route, &outgoing.link);
        let caller = {
            let route = route.clone();
            let look_ups = dialler.endpoint.tenancy.look_ups.clone();
            Caller { permit: move |address| route.connect.allow_address(address), look_ups }
        };
        let mut connection = match client::connect_for(request, options, link.clone(), caller).await {
            Ok(connection) => connection,
            Err(error) => {
                if let ConnectError::Denied(host) = &error {
                    let why = "not dialled: the name leads to no public address; list the address with its port in `connect`, too";
                    dialler.tell_not_dialled(Some(link), host, None, why);
                } else {
                    let error = shown(&error.to_string());
                    tracing::debug!(route = %route.name, client = %link.id(), error, "no outgoing connection");
                }
                return outgoing.note_ended(Phase::Failed(error.into()));
            }
        };
        if !outgoing.note_opened() {
            return;
        }
        tracing::debug!(route = %route.name, client = %link.id(), "outgoing connection open");
        let _open = OpenClient::new(dialler.endpoint.metrics.clone(), link.clone());
        connection.take_memory(dialler.endpoint.memory().reserve(0).unwrap_or_default());
        std::future::poll_fn(|cx| {
            loop {
                let appetite = outgoing.appetite(cx);
                connection.hold(appetite.held_bytes);
                if appetite.abandoned {
                    connection.discard_arrivals();
                }
                match connection.poll_arrival(cx, appetite.has_room) {
                    Poll::Ready(Some(arrival)) => outgoing.take_in(arrival),
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        outgoing.note_ended(Phase::Closed(connection.note_end().cloned()));
        connection.finish().await;
    }
}
