//! A handler on the client's side: the same component, with a connection that this side has opened.
//!
//! It is asked what a handler is asked, as far as that has a meaning here: the constructor gets the request that is sent, `prepare`
//! may decline, `get-compression-options` decides whether compression is offered, and `select-subprotocol` is told what the server has
//! selected, in a list of one, or of none. `check-origin` is not called, and headers of an answer cannot be set. Then come `open` and
//! the events.

use std::pin::pin;
use std::sync::Arc;

use http::Request as HttpRequest;

use crate::client::{self, Caller, ClientTransport, ConnectError, ConnectOptions, Opened};
use crate::connection::close::{CloseCause, CloseFrame};
use crate::connection::compression::CompressionMemory;
use crate::connection::event_loop::Connection;
use crate::connection::link::{CONNECTION_BYTES, Closing, Link};
use crate::connection::outgoing::{Dialler, Outgoings};
use crate::connection::socket::BoxedSocket;
use crate::connection::topics::Topics;
use crate::connection::wire::Ended;
use crate::handler::Handler;
use crate::handler::endpoint::Endpoint;
use crate::instance::instances::Instances;
use crate::instance::party::Party;
use crate::instance::seat::{Seat, SeatError};
use crate::instance::{Answer, Call, CallFailure, Declined};
use crate::server::addresses::Peer;
use crate::server::handshake;
use crate::server::request::Request;
use crate::server::routes::{Captures, InstancePolicy, Route};
use crate::units::shown;

/// How a handler's connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandledEnd {
    /// Why.
    pub cause: CloseCause,
    /// What the server closed with; none where it sent no close frame.
    pub frame: Option<CloseFrame>,
}

/// Why a handler has no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandledError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// `prepare` declined, with this status.
    #[error("the handler declined with status {0}")]
    Declined(u16),
    /// The handler failed, or answered what it may not; the log says what.
    #[error("the handler failed before the connection was open")]
    Failed,
    /// `shutdown` came before the connection was open.
    #[error("interrupted before the connection was open")]
    Interrupted,
    /// There is no room for another instance.
    #[error("there is no room for another instance")]
    Full,
}

impl From<CallFailure> for HandledError {
    fn from(_: CallFailure) -> Self {
        Self::Failed
    }
}

impl From<SeatError> for HandledError {
    fn from(error: SeatError) -> Self {
        match error {
            SeatError::Full(_) | SeatError::Replaced => Self::Full,
            SeatError::Failed(_) => Self::Failed,
        }
    }
}

/// Opens a connection and has a handler handle it, until it ends; from `shutdown` on, which closes it with 1001. The route says what
/// the handler may do and use, the connection's limits included; its path, hosts, origins and instance policy have no meaning here. Of
/// the options count subprotocols, `connect_timeout`, `ca` and `resolver`.
///
/// # Errors
/// See [`HandledError`].
pub async fn connect_handler(
    request: HttpRequest<()>,
    options: ConnectOptions,
    route: Route,
    handler: &Handler,
    shutdown: impl Future<Output = ()>,
) -> Result<HandledEnd, HandledError> {
    let route = Arc::new(Route { policy: InstancePolicy::Connection, ..route });
    let options = options.with_limits(&route.limits);
    let mut shutdown = pin!(shutdown);
    let (connection, seat, held) = tokio::select! {
        opened = Box::pin(open(request, options, &route, handler)) => opened?,
        () = &mut shutdown => return Err(HandledError::Interrupted),
    };
    let link = held.link.clone();
    let mut running = pin!(connection.run(seat));
    let Ended { cause, frame } = tokio::select! {
        ended = &mut running => ended,
        () = shutdown => {
            // An error only says that it is closed already.
            let _ = link.close(Closing::Host(CloseCause::GoingAway));
            running.await
        }
    };
    tracing::debug!(connection = %link.id(), route = %route.name, cause = cause.label(), "closed");
    drop(held);
    Ok(HandledEnd { cause, frame })
}

type ClientSide = Box<Connection<BoxedSocket<ClientTransport>>>;

async fn open(
    request: HttpRequest<()>,
    mut options: ConnectOptions,
    route: &Arc<Route>,
    handler: &Handler,
) -> Result<(ClientSide, Seat, Held), HandledError> {
    let transport = client::in_time(&options, client::dial(request.uri(), &options, Caller::owner())).await?;
    let endpoint = Endpoint::alone(route.clone(), handler.clone());
    let memory = CompressionMemory::new(endpoint.memory(), &route.limits);
    let seen = seen(&request, &transport, route)?;
    let dialler =
        Dialler::new(endpoint.clone(), memory.budget.clone(), options.resolver.clone(), Arc::default());
    let own = endpoint.memory().reserve(CONNECTION_BYTES).ok_or(HandledError::Full)?;
    let held = Held {
        link: Arc::new(Link::new(&route.limits, route.slow_consumer, own)),
        outgoings: Outgoings::new(Arc::new(dialler)),
        topics: endpoint.tenancy.topics.clone(),
        request: seen.clone(),
    };
    let link = &held.link;
    let party = Party {
        link: link.clone(),
        outgoings: held.outgoings.clone(),
        request: seen,
        peer: Peer::Unix,
        handler: None,
    };
    let version = endpoint.versions.current().ok_or(HandledError::Failed)?;
    let mut seat = Seat::take(&Instances::new(endpoint), None, version, party).await?;
    seat.call(Call::Construct).await?;
    if let Answer::Prepared(Err(declined)) = seat.call(Call::Prepare).await? {
        seat.give_back().await;
        return Err(match declined {
            Declined::With(rejection) => HandledError::Declined(rejection.status),
            Declined::TooLarge(why) => {
                tracing::warn!(route = %route.name, why, "prepare answered what it may not");
                HandledError::Failed
            }
        });
    }
    if let (Answer::Compression(Some(asked)), Some(policy)) =
        (seat.call(Call::GetCompressionOptions).await?, &route.compression)
    {
        let settings = policy.settings((asked.level, asked.mem_level), &route.limits, &memory.budget);
        options.compression = Some(settings.map_err(|error| {
            // Once: there is one connection.
            tracing::warn!(route = %route.name, %error, "get-compression-options answered what it may not");
            HandledError::Failed
        })?);
    }
    let opened = client::in_time(&options, client::shake_hands(transport, request, &options)).await?;
    let Opened { wire, subprotocol: selected, compressed, .. } = opened;
    if let Err(error) = ask_about(selected, &mut seat, link, route).await {
        wire.finish(CloseCause::Trapped, link, route.limits.close_timeout).await;
        return Err(error);
    }
    tracing::debug!(connection = %link.id(), route = %route.name, compressed, "open");
    let connection = Connection::new(wire, link.clone(), held.outgoings.clone(), route.clone(), None);
    Ok((connection, seat, held))
}

/// Tells the handler what the server has selected.
async fn ask_about(
    selected: Option<String>,
    seat: &mut Seat,
    link: &Link,
    route: &Route,
) -> Result<(), HandledError> {
    let offered: Vec<String> = selected.iter().cloned().collect();
    if let Answer::Subprotocol(Some(answer)) = seat.call(Call::SelectSubprotocol(offered)).await?
        && selected.as_ref() != Some(&answer)
    {
        tracing::warn!(
            route = %route.name, subprotocol = shown(&answer), "select-subprotocol answered what the server has not selected"
        );
        return Err(HandledError::Failed);
    }
    if let Some(subprotocol) = selected {
        link.select_subprotocol(subprotocol);
    }
    Ok(())
}

/// The request as the handler sees it: with the server's address.
fn seen(
    request: &HttpRequest<()>,
    transport: &ClientTransport,
    route: &Arc<Route>,
) -> Result<Arc<Request>, ConnectError> {
    let address = transport.peer_addr().map_err(ConnectError::Network)?.ip();
    let authority = request.uri().authority().map_or("", |authority| authority.as_str());
    let host = handshake::host_of(authority)
        .ok_or_else(|| ConnectError::InvalidUrl(format!("`{authority}` is no host")))?;
    let (head, ()) = request.clone().into_parts();
    let seen = Request::new(&head, Captures::default(), address, host, route.clone());
    // There is no answer whose headers it could set.
    drop(seen.take_response_headers());
    Ok(Arc::new(seen))
}

/// What is held for the connection. However that ends, dropping this ends it for guests, too.
struct Held {
    link: Arc<Link>,
    outgoings: Arc<Outgoings>,
    topics: Arc<Topics>,
    request: Arc<Request>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.link.end(&self.topics);
        self.outgoings.end();
        self.request.end();
    }
}
