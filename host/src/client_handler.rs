//! A handler on the client's side: the same component, with a connection that this side has opened.
//!
//! It is asked what a handler is asked, as far as that has a meaning here: the constructor gets the request that is sent, `prepare`
//! may decline, `get-compression-options` decides whether compression is offered, and `select-subprotocol` is told what the server has
//! selected, in a list of one, or of none. `check-origin` is not called, and headers of an answer cannot be set. Then come `open` and
//! the events.

use std::sync::Arc;

use http::Request as HttpRequest;

use crate::client::{self, ConnectError, ConnectOptions};
use crate::close::{CloseCause, CloseFrame};
use crate::compression::CompressionMemory;
use crate::connection::Connection;
use crate::handler::Handler;
use crate::handshake;
use crate::instance::{Answer, Call, CallFailure, Party};
use crate::instances::Instances;
use crate::link::{Closing, Link};
use crate::outgoing::{Dialler, Outgoings};
use crate::request::Request;
use crate::routes::{Captures, Route};
use crate::seat::{Seat, SeatError};
use crate::topics::Topics;
use crate::wire::Ended;

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
            SeatError::Full => Self::Full,
            SeatError::Failed(_) => Self::Failed,
        }
    }
}

/// Opens a connection and has a handler handle it, until it ends; from `shutdown` on, which closes it with 1001. The route says what
/// the handler may do and use; its path, hosts and origins have no meaning here.
///
/// # Errors
/// See [`HandledError`].
pub async fn connect_handler(
    request: HttpRequest<()>,
    mut options: ConnectOptions,
    route: Route,
    handler: &Handler,
    shutdown: impl Future<Output = ()>,
) -> Result<HandledEnd, HandledError> {
    let transport = client::in_time(&options, client::dial(request.uri(), &options, |_| true)).await?;
    let route = Arc::new(route);
    let memory = CompressionMemory::new(&route.limits);
    let link = Arc::new(Link::new(&route.limits, route.slow_consumer));
    let outgoings = Outgoings::new(Arc::new(Dialler::new(route.clone(), memory.budget.clone(), None)));
    let topics = Arc::new(Topics::default());
    let held = Held { link: link.clone(), outgoings: outgoings.clone(), topics: topics.clone() };
    let seen = seen(&request, &transport, &route)?;
    let party = Party { link: link.clone(), outgoings: outgoings.clone(), handler: None };
    let instances = Arc::new(Instances::new(&route.limits));
    let mut seat = Seat::take(handler, &route, &topics, &instances, None, party).await?;
    seat.call(Call::Construct(seen)).await?;
    if let Answer::Prepared(Err(rejection)) = seat.call(Call::Prepare).await? {
        seat.give_back().await;
        return Err(HandledError::Declined(rejection.status));
    }
    if let (Answer::Compression(Some(asked)), Some(policy)) =
        (seat.call(Call::GetCompressionOptions).await?, &route.compression)
    {
        let settings = policy.settings((asked.level, asked.mem_level), &route.limits, &memory.budget);
        options.compression = Some(settings.map_err(|error| {
            tracing::warn!(route = %route.name, %error, "get-compression-options answered what it may not");
            HandledError::Failed
        })?);
    }
    let opened = client::in_time(&options, client::shake_hands(transport, request, &options)).await?;
    let selected: Vec<String> = opened.subprotocol.into_iter().collect();
    if let Answer::Subprotocol(Some(answer)) = seat.call(Call::SelectSubprotocol(selected.clone())).await?
        && !selected.contains(&answer)
    {
        tracing::warn!(
            route = %route.name, subprotocol = ?answer, "select-subprotocol answered what the server has not selected"
        );
        return Err(HandledError::Failed);
    }
    if let Some(subprotocol) = selected.into_iter().next() {
        link.select_subprotocol(subprotocol);
    }
    tracing::debug!(connection = %link.id(), route = %route.name, compressed = opened.compressed, "open");
    let connection = Connection::new(opened.wire, link.clone(), outgoings, route.clone());
    let running = connection.run(seat);
    tokio::pin!(running);
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

/// The request as the handler sees it: with the server's address.
fn seen(
    request: &HttpRequest<()>,
    transport: &client::ClientTransport,
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
}

impl Drop for Held {
    fn drop(&mut self) {
        self.link.end(&self.topics);
        self.outgoings.end();
    }
}
