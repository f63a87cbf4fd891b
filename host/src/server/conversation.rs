//! HTTP/1.1 on one socket, until the peer leaves or a handshake is accepted; then the connection that begins there.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderValue, StatusCode, Version, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::connection::close::CloseCause;
use crate::connection::event_loop::Connection;
use crate::connection::intake::Gate;
use crate::connection::link::Link;
use crate::connection::paced::Paced;
use crate::connection::socket::{Counted, Socket, Transport};
use crate::connection::wire::Wire;
use crate::limits::processors::Turns;
use crate::limits::records::{Kind, Records, Untold};
use crate::limits::tenants::Tenancy;
use crate::metrics::{Open, Registered};
use crate::server::addresses::Peer;
use crate::server::admission::Newcomer;
use crate::server::application::{Accepted, Application, Opening};
use crate::server::routes::Route;

/// Headers of a request, in number and in bytes; browsers stay far below.
pub(crate) const MAX_HEADERS: usize = 64;
pub(crate) const MAX_HEAD_BYTES: usize = 16 << 10;

/// The task of an open connection.
pub(crate) type ConnectionTask = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Application {
    /// Serves one accepted connection, from its first request to its end, with the defaults of
    /// [`ServerOptions`](crate::ServerOptions). For an accept loop of your own; [`Server`](crate::Server) has one.
    ///
    /// # Errors
    /// None: what a peer does wrong is answered, and logged at `debug`.
    pub async fn serve_connection(&self, socket: tokio::net::TcpStream, peer: SocketAddr) {
        // Messages leave as soon as they are flushed; a handler can turn Nagle's algorithm on again.
        let _ = socket.set_nodelay(true);
        self.serve(socket, Newcomer::now(peer.ip().into(), self.default_admission().clone())).await;
    }

    pub(crate) async fn serve<T: Transport>(&self, transport: T, newcomer: Newcomer) {
        // Both boxed, so that a connection's task holds first the one and then the other, and neither beside the other.
        let opened = Turns::new(self.strangers().clone(), Box::pin(self.open(transport, newcomer)));
        if let Some(connection) = opened.await {
            connection.await;
        }
    }

    /// From the first request to an open WebSocket; none if there is none.
    async fn open<T: Transport>(&self, transport: T, newcomer: Newcomer) -> Option<ConnectionTask> {
        let Accepted { upgrade, opening } = self.converse(transport, &newcomer).await?;
        let upgraded = upgrade.await.ok()?;
        let Ok(parts) = upgraded.downcast::<TokioIo<Paced<T>>>() else {
            unreachable!("hyper gives back the transport that it was given");
        };
        Some(opening.on(parts.io.into_inner().into_inner(), &parts.read_buf).await)
    }

    /// HTTP until the peer leaves or a handshake is accepted.
    async fn converse<T: Transport>(&self, transport: T, newcomer: &Newcomer) -> Option<Accepted> {
        let peer = newcomer.peer;
        let accepted = Arc::new(Mutex::new(None));
        let patience = Patience::new(newcomer.deadline, newcomer.admission.handshake_timeout);
        let service = service_fn(|request| {
            let (accepted, patience) = (accepted.clone(), &patience);
            async move {
                let _answering = patience.suspend();
                let (mut answer, taken) = self.answer(request, newcomer).await;
                let is_flood = answer.status() == StatusCode::TOO_MANY_REQUESTS;
                if taken.is_none() && (is_flood || self.open_connections().is_leaving()) {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                if taken.is_some() {
                    *accepted.lock().unwrap_or_else(PoisonError::into_inner) = taken;
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(newcomer.admission.handshake_timeout)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES);
        // Boxed: hyper's state is larger than the loop's, and gone when the loop begins.
        let conversation =
            Box::pin(http.serve_connection(TokioIo::new(Paced::new(transport)), service).with_upgrades());
        // hyper's own time-out is for a head that has begun: not for what came before, nor for who does not take an answer.
        let too_late = pin!(patience.exhausted());
        tokio::select! {
            biased;
            ended = conversation => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "the peer's HTTP ended");
                }
            }
            () = too_late => {
                tracing::debug!(%peer, "no request, or an answer that nobody took, within `handshake-timeout`");
            }
        }
        accepted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How long a peer may neither have a request answered nor make another one.
struct Patience {
    timeout: Duration,
    /// None while a request is being answered.
    until: Mutex<Option<Instant>>,
}

impl Patience {
    fn new(until: Instant, timeout: Duration) -> Self {
        Self { timeout, until: Mutex::new(Some(until)) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until the guard is dropped there is no hurry.
    fn suspend(&self) -> Answering<'_> {
        *self.lock() = None;
        Answering(self)
    }

    async fn exhausted(&self) {
        loop {
            let until = *self.lock();
            match until {
                Some(until) if until <= Instant::now() => return,
                until => {
                    tokio::time::sleep_until(until.unwrap_or_else(|| Instant::now() + self.timeout)).await;
                }
            }
        }
    }
}

struct Answering<'a>(&'a Patience);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        *self.0.lock() = Some(Instant::now() + self.0.timeout);
    }
}

impl Opening {
    /// Begins the connection. `read_ahead` are bytes that were read past the handshake.
    pub(crate) async fn on<T: Transport>(mut self, transport: T, read_ahead: &[u8]) -> ConnectionTask {
        tracing::debug!(
            connection = %self.held.link.id(), route = %self.route.name, peer = %self.peer,
            http = if self.http == Version::HTTP_2 { 2 } else { 1 }, compressed = self.deflate.is_some(), "open"
        );
        let mut gate = Gate::new(&self.route.limits);
        let read_ahead = gate.admit(read_ahead);
        let socket = Counted::new(transport).with_gate(gate);
        match self.deflate.take() {
            None => self.task(socket, read_ahead).await,
            Some(deflate) => self.task(deflate.wrap(socket, read_ahead), &[]).await,
        }
    }

    async fn task<S: Socket>(self, socket: S, read_ahead: &[u8]) -> ConnectionTask {
        let Self { peer, http, seat, mut held, route, metrics, .. } = self;
        let wire = Wire::new(socket, read_ahead, Role::Server, &route.limits).await;
        let wire = wire.with_memory(held.tenancy.memory.reserve(0).unwrap_or_default());
        let permits = held.take_permits();
        let connection =
            Connection::new(wire, held.link.clone(), held.outgoings.clone(), route.clone(), permits);
        let tenancy = held.tenancy.clone();
        let http = if http == Version::HTTP_2 { 2 } else { 1 };
        let registered = Registered::new(metrics.clone(), Open::new(held.link.clone(), peer, http));
        let life = async move {
            // What was counted is free when the end is told.
            let ended = connection.run(seat).await;
            registered.end(ended.cause);
            let told = told(ended.cause, &metrics.records, &held.tenancy);
            log_end(&held.link, &route, peer, ended.cause, told);
            drop(held);
        };
        Box::pin(Turns::new(tenancy, life))
    }
}

/// Whether an end is to be told at its cause's level: of those that a guest or a peer can bring about, not each is.
fn told(cause: CloseCause, records: &Records, tenancy: &Tenancy) -> Option<Untold> {
    match cause {
        CloseCause::Overloaded => records.tell(Kind::Overloaded),
        // With what it failed is a record of its own, before this one.
        _ if cause.level() == tracing::Level::WARN => records.tell_each(Kind::FailedConnection, 0, tenancy),
        _ => Some(None),
    }
}

fn log_end(link: &Link, route: &Route, peer: Peer, cause: CloseCause, told: Option<Untold>) {
    let untold = told.flatten();
    macro_rules! log {
        ($level:expr) => {
            tracing::event!(
                $level, connection = %link.id(), route = %route.name, %peer, cause = cause.label(),
                published_drops = Some(link.traffic.published_drops()).filter(|drops| *drops > 0), untold, "closed"
            )
        };
    }
    match cause.level() {
        _ if told.is_none() => log!(tracing::Level::DEBUG),
        tracing::Level::WARN => log!(tracing::Level::WARN),
        tracing::Level::INFO => log!(tracing::Level::INFO),
        _ => log!(tracing::Level::DEBUG),
    }
}
