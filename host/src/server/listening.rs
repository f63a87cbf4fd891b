//! A server on its listeners: accepting, what is expected before HTTP (a PROXY header, TLS), and going away, at once or when another
//! process has taken its place.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::connection::close::CloseCause;
use crate::connection::link::Closing;
use crate::connection::paced::Paced;
use crate::connection::socket::{AnyTransport, Counted, Transport};
use crate::limits::processors::Turns;
use crate::limits::repeats::Repeats;
use crate::limits::{Reached, Scope};
use crate::metrics::RouteMetrics;
use crate::server::addresses::Peer;
use crate::server::admission::{Admission, Newcomer, ServerOptions};
use crate::server::application::Application;
use crate::server::http2;
use crate::server::listener::{Expected, InheritedSockets, ListenAddress, Listener, Socket};
use crate::server::proxy_header;
use crate::server::tls::Certificates;

/// An [`Application`] on listening sockets.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    application: Application,
    options: ServerOptions,
}

impl Server {
    /// Binds `address`; port 0 takes a free one. For other sockets and for TLS: [`Server::on`].
    ///
    /// # Errors
    /// The address is in use, or not ours.
    pub async fn bind(
        address: SocketAddr,
        application: Application,
        options: ServerOptions,
    ) -> io::Result<Self> {
        let listener = Listener::bind(&ListenAddress::Tcp(address), None, &mut InheritedSockets::none())?;
        Ok(Self::on(listener, application, options))
    }

    /// Serves what comes to `listener`.
    pub fn on(listener: Listener, application: Application, options: ServerOptions) -> Self {
        Self { listeners: vec![listener], application, options }
    }

    /// Serves what comes to `listener`, too. All share the options.
    pub fn and_on(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// The sockets that are listened on.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The address of the first listener that has one.
    ///
    /// # Errors
    /// There are only Unix sockets.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let no_address =
            || io::Error::new(io::ErrorKind::AddrNotAvailable, "only Unix sockets are listened on");
        self.listeners.iter().find_map(Listener::local_addr).ok_or_else(no_address)
    }

    /// How long connections may take to close.
    pub fn grace(&self) -> Duration {
        self.options.grace
    }

    /// Serves until `shutdown` resolves; then stops accepting, closes every connection with 1001, and waits for them, at most
    /// `grace`. Returns how many were dropped after that. Certificates whose files change are reloaded.
    ///
    /// Cancel safety: dropping the future drops every connection without a close frame.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> usize {
        self.run_until_replaced(shutdown, std::future::pending()).await
    }

    /// The same, but when `replaced` resolves, another process accepts on the same sockets ([`takeover`](crate::takeover)): this one stops,
    /// and loses nothing of what waits there. Connections stay until they end, at most for
    /// [`takeover_drain`](ServerOptions::takeover_drain), or until `shutdown` resolves, too.
    ///
    /// Cancel safety: as [`Server::run`].
    pub async fn run_until_replaced(
        self,
        shutdown: impl Future<Output = ()>,
        replaced: impl Future<Output = ()>,
    ) -> usize {
        let Self { listeners, application, options } = self;
        let _serving = Serving(application.clone());
        application.make_spares();
        let permits = Arc::new(Semaphore::new(options.max_connections as usize));
        let admission = Arc::new(Admission::new(&options, Some(permits.clone())));
        let mut watches = JoinSet::new();
        let mut watched: Vec<Certificates> = Vec::new();
        for certificates in listeners.iter().filter_map(|listener| listener.expected.certificates.clone()) {
            if !watched.iter().any(|other| other.is(&certificates)) {
                watched.push(certificates.clone());
                watches.spawn(certificates.watch());
            }
        }
        let mut tasks = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        let is_replaced = {
            let mut first = 0;
            let troubles = Troubles::default();
            let mut replaced = std::pin::pin!(replaced);
            loop {
                let accepted = tokio::select! {
                    () = &mut shutdown => break false,
                    () = &mut replaced => break true,
                    accepted = accept(&listeners, &mut first, &permits, &troubles, application.unrouted()) => accepted,
                };
                while tasks.try_join_next().is_some() {}
                let Some((socket, expected, permit)) = accepted else { continue };
                let (application, admission) = (application.clone(), admission.clone());
                tasks.spawn(async move {
                    serve(application, socket, expected, admission).await;
                    drop(permit);
                });
            }
        };
        drop(listeners);
        application.end_spares();
        let open = application.open_connections();
        if is_replaced {
            tracing::info!(connections = open.leave(), "another process accepts: who is here stays");
            // Whoever is in the middle of asking is here, too, and is answered.
            let ended = async { while tasks.join_next().await.is_some() {} };
            tokio::select! {
                () = ended => return 0,
                () = retire(&application, options.takeover_drain) => {}
                () = &mut shutdown => {}
            }
        }
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

/// While a server serves. Dropped, also with the future that serves, it leaves nothing behind for which a runtime would not wait.
struct Serving(Application);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.end_spares();
        self.0.processors().retire();
    }
}

/// What a socket can meet before anybody knows its route.
pub(crate) const AT_ACCEPT: [Reached; 2] = [FULL, TOO_MANY_OF_ADDRESS];
const FULL: Reached = Reached { scope: Scope::Server, limit: "max-connections" };
const TOO_MANY_OF_ADDRESS: Reached = Reached { scope: Scope::Address, limit: "max-connections-per-address" };

/// Closes every connection (1012) when they have had `drain`; those of a route one after the other within its `spread`.
async fn retire(application: &Application, drain: Option<Duration>) {
    let Some(drain) = drain else { return std::future::pending().await };
    tokio::time::sleep(drain).await;
    let mut closings = Vec::new();
    for endpoint in application.endpoints() {
        let links = endpoint.seats.links();
        let step = endpoint.swap_policy().spread / u32::try_from(links.len().max(1)).unwrap_or(u32::MAX);
        closings
            .extend(links.into_iter().enumerate().map(|(at, link)| (step.saturating_mul(at as u32), link)));
    }
    closings.sort_by_key(|(at, _)| *at);
    tracing::info!(
        connections = closings.len(),
        "`takeover-drain` is over: the connections that are left are closed"
    );
    let began = tokio::time::Instant::now();
    for (at, link) in closings {
        tokio::time::sleep_until(began + at).await;
        let _ = link.close(Closing::Host(CloseCause::Replaced));
    }
}

/// What peers that come and go can make happen again and again.
#[derive(Default)]
struct Troubles {
    full: Repeats,
    not_accepted: Repeats,
}

/// The next connection, with its permit; none after an error that the loop outlives.
async fn accept(
    listeners: &[Listener],
    first: &mut usize,
    permits: &Arc<Semaphore>,
    troubles: &Troubles,
    unrouted: &RouteMetrics,
) -> Option<(Socket, Expected, OwnedSemaphorePermit)> {
    let mut was_full = false;
    let permit = match permits.clone().try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            let tell = |untold| {
                let untold = Some(untold).filter(|untold| *untold > 0);
                tracing::warn!(untold, "`max-connections` are open: newcomers wait until one ends");
            };
            if let Some(untold) = troubles.full.tell(tell) {
                tell(untold);
            }
            was_full = true;
            permits.clone().acquire_owned().await.expect("never closed")
        }
    };
    // In turn, so that a busy listener does not keep another waiting.
    *first = (*first + 1) % listeners.len();
    let in_turn = || listeners[*first..].iter().chain(&listeners[..*first]);
    let accepted = std::future::poll_fn(|cx| {
        for listener in in_turn() {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                // It was there before the permit was.
                if std::mem::take(&mut was_full) {
                    unrouted.count_refusal(FULL);
                }
                return Poll::Ready((accepted, &listener.expected));
            }
        }
        was_full = false;
        Poll::Pending
    });
    match accepted.await {
        (Ok(socket), expected) => Some((socket, expected.clone(), permit)),
        (Err(error), _) => {
            // Out of descriptors, or a peer that left while it waited: others are served meanwhile.
            let error: Arc<str> = error.to_string().into();
            let tell = move |untold| {
                let untold = Some(untold).filter(|untold| *untold > 0);
                tracing::warn!(%error, untold, "a connection could not be accepted");
            };
            if let Some(untold) = troubles.not_accepted.tell(tell.clone()) {
                tell(untold);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Serves one socket to its end. TCP stays TCP, so that the loop on it is compiled for it; a Unix socket is any transport.
async fn serve(application: Application, socket: Socket, expected: Expected, admission: Arc<Admission>) {
    match socket {
        Socket::Tcp(socket, peer) => {
            // Messages leave as soon as they are flushed; a handler can turn Nagle's algorithm on again.
            let _ = socket.set_nodelay(true);
            let newcomer = Newcomer::now(peer.ip().into(), admission);
            serve_on(application, socket, expected, newcomer).await;
        }
        Socket::Unix(socket) => {
            let socket: AnyTransport = Box::new(socket);
            serve_on(application, socket, expected, Newcomer::now(Peer::Unix, admission)).await;
        }
    }
}

async fn serve_on<T: Transport>(
    application: Application,
    mut transport: T,
    expected: Expected,
    mut newcomer: Newcomer,
) {
    if expected.proxy_header {
        match named_peer(&mut transport, &newcomer).await {
            Some(peer) => newcomer.peer = peer,
            None => return,
        }
    }
    let Ok(_permit) = newcomer.socket_permit() else {
        application.unrouted().count_refusal(TOO_MANY_OF_ADDRESS);
        return tracing::debug!(peer = %newcomer.peer, "closed: the address has twice `max-connections-per-address` sockets");
    };
    let Some(certificates) = expected.certificates else {
        return application.serve(transport, newcomer).await;
    };
    // Boxed: a handshake's state is large, and gone when the conversation begins.
    let handshake = certificates.acceptor().accept(Counted::new(transport));
    let handshake = Box::pin(Turns::new(application.strangers().clone(), handshake));
    let peer = newcomer.peer;
    let tls = match tokio::time::timeout_at(newcomer.deadline, handshake).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "the TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "no TLS within `handshake-timeout`"),
    };
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(http2::serve(application, Box::new(Paced::new(tls)), newcomer)).await;
    } else {
        application.serve(tls, newcomer).await;
    }
}

/// Whom a PROXY header names; none if the connection is to be dropped.
async fn named_peer<T: Transport>(transport: &mut T, newcomer: &Newcomer) -> Option<Peer> {
    let Newcomer { peer: proxy, deadline, admission } = newcomer;
    let proxies = &admission.trusted_proxies;
    if !proxies.is_empty() && !proxies.trust(*proxy) {
        tracing::debug!(peer = %proxy, "only `trusted-proxies` may connect to a listener with `proxy-protocol`");
        return None;
    }
    match tokio::time::timeout_at(*deadline, proxy_header::read(transport)).await {
        Ok(Ok(named)) => Some(named.or(*proxy)),
        Ok(Err(error)) => {
            tracing::debug!(peer = %proxy, %error, "dropped");
            None
        }
        Err(_) => {
            tracing::debug!(peer = %proxy, "no PROXY header within `handshake-timeout`");
            None
        }
    }
}
