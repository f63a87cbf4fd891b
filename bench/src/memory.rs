//! Resident memory of a server per idle connection.
//!
//! A fresh server gets one connection first, whose echo brings in what is there once however many connections follow
//! (code, the runtime, the pool's first pages). Then all the others are opened and left idle; the growth of the
//! server's resident memory since, divided by their number, is the figure; then each has sent one message, and it is
//! taken again. Memory of the kernel (socket buffers, page tables) is in no process's resident memory and so not here.
//!
//! RSS counts a page that several processes share (a copy-on-write image nobody wrote to, the program's code) whole
//! in each; PSS divides it. With one server process the two differ only by what other processes map too.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client::Endpoint;
use crate::frames::{Deck, Kind, Parser, Piece, Wire};
use crate::machine::{self, Usage};

const PAYLOAD_BYTES: usize = 64;

/// Growth per connection, in bytes; less than nothing if a server gave memory back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerConnection {
    pub(crate) rss_bytes: f64,
    pub(crate) pss_bytes: f64,
}

impl PerConnection {
    fn between(before: Usage, after: Usage, connections: usize) -> Self {
        let growth = |before: u64, after: u64| (after as f64 - before as f64) / connections as f64;
        Self {
            rss_bytes: growth(before.rss_bytes, after.rss_bytes),
            pss_bytes: growth(before.pss_bytes, after.pss_bytes),
        }
    }
}

/// What one server took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// With one connection, before the others came.
    pub(crate) base: Usage,
    /// Opened and nothing more.
    pub(crate) opened: PerConnection,
    /// After one message each.
    pub(crate) echoed: PerConnection,
}

/// Opens the connections, and measures after `settle` each time.
pub(crate) fn measure(endpoint: &Endpoint, pid: u32, connections: usize, settle: Duration) -> Result<Report> {
    let usage = || {
        std::thread::sleep(settle);
        machine::usage(pid)
    };
    let deck = Deck::new(Wire::Plain, Kind::Binary, PAYLOAD_BYTES, 1);
    let open = || -> Result<TcpStream> {
        let (stream, early) = endpoint.open(Wire::Plain)?;
        ensure!(early.is_empty(), "the server spoke first; this one is no echo server");
        Ok(stream)
    };
    let mut first = open().context("opening the first connection")?;
    echo(&mut first, &deck)?;
    let base = usage()?;

    let mut idle = Vec::with_capacity(connections);
    for number in 1..=connections {
        idle.push(open().with_context(|| format!("opening idle connection {number} of {connections}"))?);
    }
    let opened = PerConnection::between(base, usage()?, connections);
    for (number, stream) in idle.iter_mut().enumerate() {
        echo(stream, &deck).with_context(|| format!("idle connection {} of {connections}", number + 1))?;
    }
    let echoed = PerConnection::between(base, usage()?, connections);
    // That they are all alive is part of the figure.
    for (number, stream) in idle.iter_mut().enumerate() {
        echo(stream, &deck).with_context(|| format!("connection {} has not lived", number + 1))?;
    }
    Ok(Report { base, opened, echoed })
}

/// Sends the deck's first message and waits for it.
fn echo(stream: &mut TcpStream, deck: &Deck) -> Result<()> {
    stream.write_all(deck.frame(0))?;
    let mut parser = Parser::default();
    let mut buffer = [0; 256];
    loop {
        let read = stream.read(&mut buffer).context("waiting for an echo")?;
        ensure!(read > 0, "the server closed the connection");
        let mut input = &buffer[..read];
        while let Some(piece) = parser.next(&mut input)? {
            match piece {
                Piece::Data(data) => {
                    deck.check(0, &data)?;
                    if data.last {
                        return Ok(());
                    }
                }
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

    #[test]
    fn connections_stay_open_and_are_counted_in_a_process() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = Endpoint::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
        runtime.spawn(native::serve(listener));
        let report = measure(&endpoint, std::process::id(), 20, Duration::ZERO).unwrap();
        assert!(report.base.rss_bytes > 0 && report.base.pss_bytes <= report.base.rss_bytes);
    }

    #[test]
    fn growth_is_divided_and_may_be_negative() {
        let usage = |rss_bytes| Usage { rss_bytes, pss_bytes: 0 };
        assert_eq!(PerConnection::between(usage(1000), usage(3000), 20).rss_bytes, 100.0);
        assert_eq!(PerConnection::between(usage(3000), usage(1000), 20).rss_bytes, -100.0);
    }
}
