//! The native peer: a tokio-tungstenite echo that does what Waterspout does around a handler, without the handler.
//!
//! Same buffers (design.md, decision 2), TCP_NODELAY, and one flush per wake-up (decision 3): while complete frames
//! are buffered it goes on reading and writing into tungstenite's buffer, then flushes. The usual `next().await`
//! followed by `send().await` flushes for each message and would be a baseline five times too slow to mean
//! anything with 16 messages in flight; that is why this is a poll loop. Compression is agreed to if it is offered,
//! with Waterspout's settings; a connection without it has no layer for it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Result;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tungstenite_deflate::{DeflateStream, Settings, negotiation};

/// Waterspout's buffers, not tungstenite's 128 KiB.
const BUFFER_BYTES: usize = 4 * 1024;
/// What a wake-up may handle before it flushes and lets other connections run.
const MESSAGES_PER_WAKE_UP: usize = 64;
/// The largest message; nothing measured here is longer.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// The pause after a failed accept, which is most likely EMFILE.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(10);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Serves until the process is ended.
pub(crate) fn run(options: &Options) -> Result<()> {
    // One worker for each processor the process may use, so pinned to one core it has one.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(options.listen).await?;
        println!("tokio-tungstenite echo on ws://{}/websocket", listener.local_addr()?);
        serve(listener).await;
        Ok(())
    })
}

/// Accepts for ever.
pub(crate) async fn serve(listener: TcpListener) {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(2 * MAX_MESSAGE_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    loop {
        match listener.accept().await {
            // What goes wrong with one connection ends that one; the load generator notices.
            Ok((stream, _)) => drop(tokio::spawn(async move {
                let _ = echo(stream, config).await;
            })),
            Err(_) => tokio::time::sleep(ACCEPT_BACK_OFF).await,
        }
    }
}

async fn echo(stream: TcpStream, config: WebSocketConfig) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let settings = Settings { max_message_bytes: MAX_MESSAGE_BYTES, ..Settings::default() };
    let mut agreed = None;
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let answer = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let offers = request.headers().get_all(SEC_WEBSOCKET_EXTENSIONS);
        if let Some(accepted) = negotiation::accept(offers, &settings) {
            let value = HeaderValue::try_from(accepted.response).expect("it is made of tokens");
            response.headers_mut().insert(SEC_WEBSOCKET_EXTENSIONS, value);
            agreed = Some(accepted.agreed);
        }
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, answer, Some(config)).await?;
    match agreed {
        None => run_echo(socket).await,
        Some(agreed) => {
            // Nothing is lost: tungstenite refuses a handshake with bytes behind it.
            let stream = DeflateStream::new(socket.into_inner(), Role::Server, &agreed, &settings);
            run_echo(WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await).await
        }
    }
}

async fn run_echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) -> Result<(), Error> {
    std::future::poll_fn(|context| poll_echo(Pin::new(&mut socket), context)).await
}

/// One wake-up: echo what is there, flush once, wait or yield. Ready when the connection has ended.
fn poll_echo<S: AsyncRead + AsyncWrite + Unpin>(
    mut socket: Pin<&mut WebSocketStream<S>>,
    context: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    for _ in 0..MESSAGES_PER_WAKE_UP {
        // A peer that does not read is not read from: the write buffer stays within one message.
        ready!(socket.as_mut().poll_ready(context))?;
        match socket.as_mut().poll_next(context)? {
            Poll::Ready(Some(message @ (Message::Text(_) | Message::Binary(_)))) => {
                socket.as_mut().start_send(message)?;
            }
            // tungstenite has queued the answers to pings and to a close itself.
            Poll::Ready(Some(_)) => {}
            Poll::Ready(None) => return Poll::Ready(Ok(())),
            Poll::Pending => {
                ready!(socket.as_mut().poll_flush(context))?;
                return Poll::Pending;
            }
        }
    }
    ready!(socket.as_mut().poll_flush(context))?;
    context.waker().wake_by_ref();
    Poll::Pending
}
