//! Whom a server lets in: how many connections, how fast they must ask, and whose word about an address is taken.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::limits::{Reached, Scope};
use crate::server::addresses::{
    AddressPermit, AddressPermits, AddressRates, Peer, TooFast, TooManyConnections,
};
use crate::server::proxies::{Contradiction, TrustedProxies};

/// How a [`Server`](crate::Server) accepts and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Connections open at once, handshakes included. Protects the process's descriptors. More wait in the kernel's backlog; a
    /// WebSocket over HTTP/2 is one more connection, and is refused (503). Default: 10,000.
    pub max_connections: u32,
    /// WebSocket connections of one address: of one IPv4 address, or of an IPv6 network of 64 bits. Protects everybody else's share
    /// of `max_connections`. One more is refused (429). Twice as many sockets may be open, whatever is asked on them; one more is closed at once. Loopback and Unix sockets are not counted. Default: 1,000.
    pub max_connections_per_address: u32,
    /// Requests of one address in a second, WebSocket handshakes or others; as many may come at once after a silence. Protects the processors
    /// from those who ask, or open and close, as fast as they can. One more is refused (429), and over HTTP/1.1 the socket closes. Loopback and
    /// Unix sockets are not counted. Default: 100.
    pub max_handshakes_per_address: u32,
    /// From accepting a connection to the end of its first request's head, a PROXY header and TLS included; and as long for each
    /// later request. Protects `max_connections` from peers that say nothing. Then the connection is dropped. Default: 10 s.
    pub handshake_timeout: Duration,
    /// Proxies that are believed when they name the peer. Default: none.
    pub trusted_proxies: TrustedProxies,
    /// How long connections may take to close when the server goes away; then they are dropped. Default: 10 s.
    pub grace: Duration,
    /// How long connections stay with this process when another one has taken over its sockets; then they close (1012), spread over their
    /// routes' [`spread`](crate::SwapPolicy::spread). None: until they end. Default: 1 h.
    pub takeover_drain: Option<Duration>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            max_handshakes_per_address: 100,
            handshake_timeout: Duration::from_secs(10),
            trusted_proxies: TrustedProxies::default(),
            grace: Duration::from_secs(10),
            takeover_drain: Some(Duration::from_secs(3600)),
        }
    }
}

/// What all connections of a server share from their first byte on.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) handshake_timeout: Duration,
    pub(crate) trusted_proxies: TrustedProxies,
    /// WebSockets.
    addresses: Arc<AddressPermits>,
    /// What they come on, and who asks for something else.
    sockets: Arc<AddressPermits>,
    requests: AddressRates,
    /// None where somebody else accepts, and counts.
    connections: Option<Arc<Semaphore>>,
}

/// Sockets of an address for each WebSocket that it may have: some are only asking, and are to be told why they get none.
const SOCKETS_PER_CONNECTION: u32 = 2;
/// Far longer than anybody waits, and far from where clocks overflow.
const MAX_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

impl Admission {
    pub(crate) fn new(options: &ServerOptions, connections: Option<Arc<Semaphore>>) -> Self {
        Self {
            handshake_timeout: options.handshake_timeout.min(MAX_HANDSHAKE_TIMEOUT),
            trusted_proxies: options.trusted_proxies.clone(),
            addresses: AddressPermits::new(options.max_connections_per_address),
            sockets: AddressPermits::new(
                options.max_connections_per_address.saturating_mul(SOCKETS_PER_CONNECTION),
            ),
            requests: AddressRates::new(options.max_handshakes_per_address),
            connections,
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(&ServerOptions::default(), None)
    }
}

/// A socket that has arrived: nobody has asked anything on it yet.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    /// Who is at its other end: perhaps a proxy.
    pub(crate) peer: Peer,
    /// When the first request's head must have been read.
    pub(crate) deadline: Instant,
    pub(crate) admission: Arc<Admission>,
}

impl Newcomer {
    pub(crate) fn now(peer: Peer, admission: Arc<Admission>) -> Self {
        Self { peer, deadline: Instant::now() + admission.handshake_timeout, admission }
    }

    /// Who sent a request with these headers.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Result<Peer, Contradiction> {
        self.admission.trusted_proxies.client(self.peer, headers)
    }

    /// One more connection of `client`'s address.
    pub(crate) fn address_permit(&self, client: Peer) -> Result<AddressPermit, TooManyConnections> {
        self.admission.addresses.take(client)
    }

    /// One more socket of `self.peer`'s, unless it is a proxy's, which has everybody's.
    pub(crate) fn socket_permit(&self) -> Result<Option<AddressPermit>, TooManyConnections> {
        if self.admission.trusted_proxies.trust(self.peer) {
            return Ok(None);
        }
        self.admission.sockets.take(self.peer).map(Some)
    }

    /// One more request of `client`'s, whatever it asks for.
    pub(crate) fn note_request(&self, client: Peer) -> Result<(), TooFast> {
        self.admission.requests.note(client)
    }

    /// One more connection on a socket that is counted already.
    pub(crate) fn stream_permit(&self) -> Result<Option<OwnedSemaphorePermit>, Reached> {
        let reached = Reached { scope: Scope::Server, limit: "max-connections" };
        let permits = self.admission.connections.as_ref();
        permits.map(|permits| permits.clone().try_acquire_owned().map_err(|_| reached)).transpose()
    }
}
