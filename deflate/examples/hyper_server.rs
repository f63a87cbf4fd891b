//! A hyper server that sends every message back, compressed if the client offers it.
//!
//!     cargo run -p tungstenite-deflate --example hyper_server -- 127.0.0.1:9001
//!
//! `examples/client.rs` is a client for it; so is every browser.

use std::time::Duration;

use anyhow::anyhow;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tungstenite::Bytes;
use tungstenite::handshake::server::create_response_with_body;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Error, Message};
use tungstenite_deflate::{Agreed, DeflateError, DeflateStream, Settings, negotiation};

/// How long a peer may take to close after it was told to.
const GRACE: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            let served = http.serve_connection(TokioIo::new(socket), service_fn(answer)).with_upgrades();
            if let Err(error) = served.await {
                eprintln!("{error}");
            }
        });
    }
}

/// The handshake.
async fn answer(request: Request<Incoming>) -> anyhow::Result<Response<Empty<Bytes>>> {
    let Ok(mut response) = create_response_with_body(&request, Empty::new) else {
        return Ok(Response::builder().status(StatusCode::BAD_REQUEST).body(Empty::new())?);
    };
    let settings = Settings { max_message_bytes: 16 << 20, ..Settings::default() };
    let offers = request.headers().get_all(SEC_WEBSOCKET_EXTENSIONS);
    let accepted = negotiation::accept(offers, &settings);
    if let Some(accepted) = &accepted {
        let value = HeaderValue::try_from(&accepted.response)?;
        response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, value);
    }
    tokio::spawn(async move {
        if let Err(error) = converse(request, accepted.map(|accepted| accepted.agreed), &settings).await {
            eprintln!("{error}");
        }
    });
    Ok(response)
}

/// After the handshake: the layer is around the socket only if compression was agreed on.
async fn converse(
    request: Request<Incoming>,
    agreed: Option<Agreed>,
    settings: &Settings,
) -> anyhow::Result<()> {
    let upgraded = hyper::upgrade::on(request).await?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| anyhow!("not the socket"))?;
    let (socket, read_ahead) = (parts.io.into_inner(), parts.read_buf);
    if let Some(agreed) = agreed {
        let stream = DeflateStream::new(socket, Role::Server, &agreed, settings).with_read_ahead(&read_ahead);
        echo(WebSocketStream::from_raw_socket(stream, Role::Server, None).await).await
    } else {
        let stream = WebSocketStream::from_partially_read(socket, read_ahead.into(), Role::Server, None);
        echo(stream.await).await
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) -> anyhow::Result<()> {
    while let Some(message) = socket.next().await {
        match message {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).await?,
            Ok(_) => {}
            Err(Error::Io(error)) => {
                let Some(cause) = DeflateError::in_io_error(&error) else { return Err(error.into()) };
                let close = CloseFrame { code: cause.close_code().into(), reason: cause.to_string().into() };
                socket.close(Some(close)).await?;
                // Until the peer has closed, too: a socket that is dropped with bytes unread is reset.
                let _ = tokio::time::timeout(GRACE, socket.get_mut().read(&mut [0])).await;
                return Err(cause.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
