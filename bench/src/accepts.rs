//! Connections opened per second: TCP, handshake, one echo, and an orderly close, so many at a time.
//!
//! The close is part of it: a server that keeps the instances of ended connections would otherwise look fast. One
//! thread of tasks; each task opens its next connection when the server has closed the one before.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Endpoint, PATIENCE, Upgrade};
use crate::frames::{self, Deck, Kind, Parser, Piece, Wire};

/// Connections being opened, echoed or closed at any time: enough to keep the server from waiting.
const AT_ONCE: usize = 32;
const PAYLOAD_BYTES: usize = 64;

/// Connections that got their echo within `measured`, per second; the first one after it ends the run.
///
/// # Errors
/// Any connection that was refused, got another echo, or was not closed in order.
pub(crate) fn measure(endpoint: &Endpoint, warm_up: Duration, measured: Duration) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let from = Instant::now() + warm_up;
        let counted = Cell::new(0_u32);
        let end = Cell::new(None);
        let deck = Deck::new(Wire::Plain, Kind::Binary, PAYLOAD_BYTES, 1);
        let visitor = || async {
            while end.get().is_none() {
                let visit = tokio::time::timeout(PATIENCE, visit(endpoint, &deck)).await;
                let echoed_at = visit
                    .unwrap_or_else(|_| bail!("it took longer than {PATIENCE:?}"))
                    .context("opening a connection, with one echo and a close")?;
                if echoed_at >= from && end.get().is_none() {
                    counted.set(counted.get() + 1);
                    let now = Instant::now();
                    if now >= from + measured {
                        end.set(Some(now));
                    }
                }
            }
            anyhow::Ok(())
        };
        futures_util::future::try_join_all((0..AT_ONCE).map(|_| visitor())).await?;
        let end = end.get().expect("it ends the visitors");
        Ok(f64::from(counted.get()) / (end - from).as_secs_f64())
    })
}

/// One connection from beginning to end; tells when the echo came.
async fn visit(endpoint: &Endpoint, deck: &Deck) -> Result<Instant> {
    let mut stream = TcpStream::connect(endpoint.address).await?;
    stream.set_nodelay(true)?;
    let upgrade = Upgrade::new(endpoint, Wire::Plain);
    stream.write_all(upgrade.request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        ensure!(
            stream.read_buf(&mut answer).await? > 0,
            "the server closed the connection during the handshake"
        );
        if let Some(head) = upgrade.accepted(&answer)? {
            ensure!(answer.len() == head, "the server spoke first; this one is no echo server");
            break;
        }
    }

    stream.write_all(deck.frame(0)).await?;
    let mut parser = Parser::default();
    let mut echoed_at = None;
    let mut closed = false;
    loop {
        answer.clear();
        if stream.read_buf(&mut answer).await? == 0 {
            ensure!(closed, "the server ended the connection without a close frame");
            return echoed_at.context("the server closed before it echoed");
        }
        let mut input = &answer[..];
        while let Some(piece) = parser.next(&mut input)? {
            match piece {
                Piece::Data(data) => {
                    ensure!(echoed_at.is_none(), "a second echo of one message");
                    deck.check(0, &data)?;
                    if data.last {
                        echoed_at = Some(Instant::now());
                        stream.write_all(&frames::close_frame()).await?;
                    }
                }
                Piece::Close { code: 1000, .. } => closed = true,
                Piece::Close { code, reason } => bail!("the server closed with {code} {reason:?}"),
                Piece::Ping(_) | Piece::Pong => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native;
    use std::io::Read;

    #[test]
    fn the_native_echo_opens_echoes_and_closes_in_order() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = Endpoint::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
        runtime.spawn(native::serve(listener));
        assert!(measure(&endpoint, Duration::ZERO, Duration::from_millis(100)).unwrap() > 0.0);
    }

    #[test]
    fn a_server_that_hangs_up_fails_the_run() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // All of the request is read, or the end would be a reset.
                let _ = stream.unwrap().read(&mut [0; 2048]);
            }
        });
        let error = measure(&endpoint, Duration::ZERO, Duration::from_millis(100)).unwrap_err();
        assert!(format!("{error:#}").contains("during the handshake"), "{error:#}");
    }
}
