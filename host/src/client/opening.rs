//! From a request to an open connection: TCP, TLS, and the opening handshake over hyper's HTTP/1.1.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::protocol::Role;
use tungstenite_deflate::DeflateStream;

use super::dial::Caller;
use super::error::ConnectError;
use super::handshake::{self, Answered, Scheme, Target};
use super::options::ConnectOptions;
use super::tls::{self, TlsError};
use super::transport::ClientTransport;
use crate::client::roots::Roots;
use crate::connection::compression::Settings;
use crate::connection::intake::Gate;
use crate::connection::paced::{Paced, TooMuch};
use crate::connection::socket::{BoxedSocket, Counted};
use crate::connection::wire::Wire;

/// Headers of an answer, in number.
const MAX_HEADERS: usize = 100;
/// The head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// All that a server sends before the connection begins, in bytes: interim answers (1xx), the head, and what it has sent ahead.
const MAX_ANSWER_BYTES: usize = 2 * MAX_HEAD_BYTES;

/// The body of an answer that is no 101, in bytes, and how long it is waited for.
const MAX_BODY_BYTES: usize = 8 << 10;
const BODY_PATIENCE: Duration = Duration::from_secs(1);

/// Does something within `connect_timeout`.
pub(crate) async fn in_time<R>(
    options: &ConnectOptions,
    opening: impl Future<Output = Result<R, ConnectError>>,
) -> Result<R, ConnectError> {
    let timeout = options.connect_timeout;
    tokio::time::timeout(timeout, Box::pin(opening)).await.unwrap_or(Err(ConnectError::Timeout(timeout)))
}

/// A socket to where a URL leads, with TLS where that asks for it.
pub(crate) async fn dial(
    url: &Uri,
    options: &ConnectOptions,
    caller: Caller<impl Fn(SocketAddr) -> bool>,
) -> Result<ClientTransport, ConnectError> {
    let target = Target::new(url)?;
    let socket = super::dial::dial(&target, options.resolver.as_deref(), caller).await?;
    Ok(match target.scheme {
        Scheme::Ws => ClientTransport::Plain(socket),
        Scheme::Wss => {
            let roots = match &options.ca {
                Some(roots) => roots.clone(),
                None => Roots::system().await.map_err(TlsError::from)?,
            };
            let socket = Counted::new(socket);
            ClientTransport::Tls(Box::new(tls::handshake(&roots, &target.host, socket).await?))
        }
    })
}

/// A WebSocket that a server has agreed to.
pub(crate) struct Opened {
    pub(crate) wire: Wire<BoxedSocket<ClientTransport>>,
    /// What the server selected.
    pub(crate) subprotocol: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) compressed: bool,
}

/// The opening handshake on a socket.
pub(crate) async fn shake_hands(
    transport: ClientTransport,
    request: Request<()>,
    options: &ConnectOptions,
) -> Result<Opened, ConnectError> {
    let target = Target::new(request.uri())?;
    let limits = options.limits();
    let settings =
        |settings: &Settings| Settings { max_message_bytes: limits.max_message_bytes, ..settings.clone() };
    // A server that is promised compression may use it at any time: without memory for that it is not promised.
    let offered = options.compression.as_ref().map(settings);
    let offered = offered.and_then(|settings| Some((settings.budget.reserve_decompressor()?, settings)));
    let (decompressor, compression) = offered.unzip();
    let (request, asked) = handshake::ask(request, &target, &options.subprotocols, compression.clone())?;
    let (mut sender, conversation) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(Paced::new(transport).up_to(MAX_ANSWER_BYTES)))
        .await
        .map_err(broken)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ConnectError::Http(Box::new(refusal(answer).await)));
        }
        let answered = asked.check(&answer)?;
        Ok((answered, hyper::upgrade::on(answer).await.map_err(broken)?))
    };
    let (Answered { subprotocol, deflate, headers }, upgraded) =
        beside(conversation.with_upgrades(), exchange).await?;
    let Ok(parts) = upgraded.downcast::<TokioIo<Paced<ClientTransport>>>() else {
        unreachable!("hyper gives back the socket that it was given");
    };
    let mut gate = Gate::new(&limits);
    let read_ahead = gate.admit(&parts.read_buf);
    let socket = Counted::new(parts.io.into_inner().into_inner()).with_gate(gate);
    let (socket, read_ahead): (_, &[u8]) = match (deflate, &compression, decompressor) {
        (Some(agreed), Some(settings), Some(memory)) => {
            let stream =
                DeflateStream::new(socket, Role::Client, &agreed, settings).with_decompressor(memory);
            (BoxedSocket::new(stream.with_read_ahead(read_ahead)), &[])
        }
        _ => (BoxedSocket::new(socket), read_ahead),
    };
    let wire = Wire::new(socket, read_ahead, Role::Client, &limits).await;
    Ok(Opened { wire, subprotocol, headers, compressed: deflate.is_some() })
}

/// Does `work`, and drives meanwhile what it needs: in the same task, so that it is charged to whom the work is.
async fn beside<R>(driver: impl Future, work: impl Future<Output = R>) -> R {
    let (mut driver, mut work) = (pin!(driver), pin!(work));
    let mut is_driven = true;
    poll_fn(|cx| {
        is_driven = is_driven && driver.as_mut().poll(cx).is_pending();
        work.as_mut().poll(cx)
    })
    .await
}

/// An answer that is no WebSocket, with the beginning of its body, for a person.
async fn refusal(answer: Response<Incoming>) -> Response<Bytes> {
    let (head, mut incoming) = answer.into_parts();
    let mut body = Vec::new();
    let _ = tokio::time::timeout(BODY_PATIENCE, async {
        while body.len() < MAX_BODY_BYTES
            && let Some(Ok(frame)) = incoming.frame().await
        {
            body.extend(frame.into_data().iter().flatten());
        }
    })
    .await;
    body.truncate(MAX_BODY_BYTES);
    Response::from_parts(head, body.into())
}

/// What ended the HTTP of the handshake.
fn broken(error: hyper::Error) -> ConnectError {
    let too_much = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .and_then(|source| source.downcast_ref::<TooMuch>());
    if let Some(too_much) = too_much {
        ConnectError::Protocol(too_much.to_string())
    } else if error.is_parse() {
        ConnectError::Protocol(error.to_string())
    } else {
        ConnectError::Network(io::Error::other(error))
    }
}
