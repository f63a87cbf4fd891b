//! The client: WebSocket connections that this side opens, with Tornado's names (`websocket_connect`).
//!
//! A connection is driven by whoever holds it: it reads and writes while one of its functions is awaited. Messages that are not
//! read stop the reading, and TCP slows the server down.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use waterspout::client::{ConnectOptions, Message, connect};
//!
//! let request = http::Request::get("ws://127.0.0.1:8888/websocket").body(())?;
//! let mut connection = connect(request, ConnectOptions::default()).await?;
//! connection.write_message(Message::text("hello")).await?;
//! println!("{:?}", connection.read_message().await);
//! connection.close(Some(1000), Some("bye")).await?;
//! # Ok(())
//! # }
//! ```

mod connection;
pub mod destinations;
mod dial;
mod error;
pub mod handler;
mod handshake;
mod opening;
mod options;
pub mod roots;
mod tls;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Uri};
pub use tokio_tungstenite::tungstenite::Message;

pub use self::connection::{ClientConnection, Event, Step};
pub(crate) use self::dial::Caller;
pub use self::dial::{Resolver, Resolving};
pub use self::error::{ConnectError, WriteError};
use self::handshake::Target;
pub(crate) use self::opening::{Opened, dial, in_time, shake_hands};
pub use self::options::ConnectOptions;
pub use self::tls::TlsError;
pub(crate) use self::transport::ClientTransport;
pub use crate::client::roots::{Roots, RootsError};
use crate::connection::compression::Reservation;
use crate::connection::link::Link;
use crate::limits::SlowConsumer;

/// Opens a connection: a GET request for a `ws://` or `wss://` URL, with headers of the caller's.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    request: Request<()>,
    options: ConnectOptions,
) -> Result<ClientConnection, ConnectError> {
    let link = Link::new(&options.limits(), SlowConsumer::default(), Reservation::default());
    connect_for(request, options, Arc::new(link), Caller::owner()).await
}

/// Host (of an IPv6 address without its brackets) and port that a URL leads to.
pub(crate) fn target(url: &Uri) -> Result<(String, u16), ConnectError> {
    Target::new(url).map(|target| (target.host, target.port))
}

/// [`connect`] for a connection whose link there is already, and only to an address that the caller may dial. If there is none:
/// [`ConnectError::Denied`].
pub(crate) async fn connect_for(
    request: Request<()>,
    options: ConnectOptions,
    link: Arc<Link>,
    caller: Caller<impl Fn(SocketAddr) -> bool>,
) -> Result<ClientConnection, ConnectError> {
    let opened = in_time(&options, async {
        let transport = dial(request.uri(), &options, caller).await?;
        shake_hands(transport, request, &options).await
    });
    Ok(ClientConnection::new(opened.await?, link, &options))
}
