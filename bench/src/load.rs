//! The load generator: connections × size × messages in flight, for a time, every echo checked.
//!
//! One thread and one poll loop over all connections; frames are masked beforehand and all that is due on a
//! connection goes out in one write, so that it costs less than the server beside it. How busy it was is part of
//! the report: near 100 % it measured itself. Compressed echoes are told by their frames; only a connection's first ones
//! are inflated, before the clock runs.
//!
//! **What the latencies are.** A closed loop: each connection has so many messages in flight and sends the next when
//! an echo has come. A latency is the time from just before a frame is handed to the kernel to just after its echo
//! was read; the wait in this thread's own queue is part of it. A closed loop does *not* correct coordinated
//! omission: a server that stalls is sent less while it stalls, so a stall counts once for each message in flight
//! and not for those that an open arrival process would have sent meanwhile. The percentiles compare servers under
//! the same loop; they do not tell what users see at a given rate.

use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::Endpoint;
use crate::frames::{self, Deck, Kind, Parser, Piece, Wire};
use crate::{deflate, figures, machine};

/// One read takes what a connection has, up to this; a message in flight of any measured size fits.
const READ_BUFFER_BYTES: usize = 128 * 1024;
/// Compressed echoes of each connection that are inflated; several, so that later ones may refer to earlier ones.
const INFLATED: u64 = 3;
/// When no echo at all has come for so long, the server is taken for dead.
const STALL: Duration = Duration::from_secs(5);
/// Longer latencies are counted as this long; [`STALL`] ends a run before.
const LONGEST_LATENCY: Duration = Duration::from_secs(60);
/// How long the loop sleeps at most before it looks at the clock.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The server, ws://HOST:PORT/PATH
    #[arg(long)]
    url: String,
    /// Open connections
    #[arg(long, default_value = "50")]
    connections: NonZeroUsize,
    /// Bytes in each message
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Messages in flight on each connection; 1 is ping-pong
    #[arg(long, default_value = "1")]
    in_flight: NonZeroUsize,
    /// Seconds that are measured
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds before that
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// What the messages are
    #[arg(long, value_enum, default_value = "binary")]
    kind: Kind,
    /// Agree on permessage-deflate and send compressed chat lines
    #[arg(long)]
    compressed: bool,
    /// Also report this process's CPU time, the server's
    #[arg(long)]
    server_pid: Option<u32>,
}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) wire: Wire,
    pub(crate) connections: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) in_flight: usize,
    pub(crate) kind: Kind,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    /// The server's process, for its CPU time.
    pub(crate) server_pid: Option<u32>,
}

/// `50 × 64 B × 16`: connections, size, in flight.
impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Work { connections, payload_bytes, in_flight, .. } = *self;
        write!(f, "{connections} × {} × {in_flight}", figures::size(payload_bytes))
    }
}

/// What was seen in the measured time.
pub(crate) struct Report {
    pub(crate) messages: u64,
    pub(crate) elapsed: Duration,
    /// Of the echoes that are counted, headers of frames included.
    pub(crate) bytes: u64,
    /// Nanoseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) cpu: Cpu,
}

impl Report {
    pub(crate) fn messages_per_second(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    /// The average length of an echo on the wire.
    pub(crate) fn echo_bytes(&self) -> f64 {
        self.bytes as f64 / self.messages.max(1) as f64
    }

    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_percentile(percent))
    }

    /// The share of the time in which the load generator was running, 1.0 for one processor.
    pub(crate) fn load_busy(&self) -> f64 {
        self.cpu.load.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    /// The share of the time in which something else had the load generator's processor: noise.
    pub(crate) fn load_kept_waiting(&self) -> f64 {
        self.cpu.load_waited.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    /// The share of the time in which the server was running.
    pub(crate) fn server_busy(&self) -> Option<f64> {
        Some(self.cpu.server?.as_secs_f64() / self.elapsed.as_secs_f64())
    }

    /// The server's CPU microseconds for each message.
    pub(crate) fn server_micros_per_message(&self) -> Option<f64> {
        Some(self.cpu.server?.as_secs_f64() * 1e6 / self.messages.max(1) as f64)
    }
}

/// The `load` command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let seconds = |value: f64, name: &str| {
        Duration::try_from_secs_f64(value).ok().with_context(|| format!("--{name} {value}: not a time"))
    };
    let work = Work {
        wire: if options.compressed { Wire::Compressed } else { Wire::Plain },
        connections: options.connections.get(),
        payload_bytes: options.size,
        in_flight: options.in_flight.get(),
        kind: options.kind,
        warm_up: seconds(options.warm_up, "warm-up")?,
        measured: seconds(options.seconds, "seconds")?,
        server_pid: options.server_pid,
    };
    let report = measure(&Endpoint::parse(&options.url)?, &work)?;
    println!(
        "{} connections × {} B × {} in flight: {:.0} messages/s ({} in {:.2} s; an echo took {:.0} B)",
        work.connections,
        work.payload_bytes,
        work.in_flight,
        report.messages_per_second(),
        report.messages,
        report.elapsed.as_secs_f64(),
        report.echo_bytes()
    );
    println!(
        "latency (closed loop): p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        report.percentile(50.0),
        report.percentile(99.0),
        report.percentile(99.9),
        Duration::from_nanos(report.latency.max())
    );
    println!(
        "load generator busy {:.0} %, kept waiting by other processes {:.0} %",
        report.load_busy() * 100.0,
        report.load_kept_waiting() * 100.0
    );
    if let (Some(busy), Some(micros)) = (report.server_busy(), report.server_micros_per_message()) {
        println!("server busy {:.0} %, {micros:.2} µs of CPU for each message", busy * 100.0);
    }
    Ok(())
}

/// Opens the connections, runs the loop, checks every echo to the last.
///
/// # Errors
/// A connection that cannot be opened or ends early, an echo that is not what was sent or does not travel as agreed, a
/// server that stalls.
pub(crate) fn measure(endpoint: &Endpoint, work: &Work) -> Result<Report> {
    let deck = Deck::new(work.wire, work.kind, work.payload_bytes, work.in_flight);
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(work.connections);
    for number in 0..work.connections {
        let (mut stream, early) = endpoint
            .open(work.wire)
            .with_context(|| format!("opening connection {} of {}", number + 1, work.connections))?;
        ensure!(early.is_empty(), "the server spoke first; this one is no echo server");
        if work.wire == Wire::Compressed {
            inflate_first(&mut stream, &deck).context("the first compressed echoes of a connection")?;
        }
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        // mio is edge-triggered: a writable event comes only after a write found the socket full.
        poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        connections.push(Connection::new(stream, work));
    }

    let mut run = Run::new(deck)?;
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    for connection in &mut connections {
        connection.queue(&run.deck, work.in_flight);
        connection.sent_at.fill(run.nanos());
        connection.write(&run.deck)?;
    }

    let mut events = Events::with_capacity(1024);
    let mut last_event = run.clock;
    let mut start: Option<(Instant, Cpu)> = None;
    let mut done: Option<(Duration, Cpu)> = None;
    loop {
        poll.poll(&mut events, Some(POLL_INTERVAL)).or_else(interrupted_is_fine)?;
        let now = Instant::now();
        if !events.is_empty() {
            last_event = now;
        }
        ensure!(now - last_event < STALL, "no echo has come for {STALL:?}");
        match &start {
            None if now - run.clock >= work.warm_up => {
                start = Some((now, Cpu::now(work.server_pid)?));
                run.phase = Phase::Measured;
            }
            // However slow the server, there is something to report.
            Some((from, cpu))
                if done.is_none() && now - *from >= work.measured && !run.latency.is_empty() =>
            {
                done = Some((now - *from, Cpu::now(work.server_pid)?.since(cpu)));
                run.phase = Phase::Drain;
            }
            _ => {}
        }
        for event in &events {
            let Token(number) = event.token();
            let connection = &mut connections[number];
            connection
                .turn(&mut run, &mut buffer)
                .with_context(|| format!("connection {} of {}", number + 1, work.connections))?;
        }
        // What was in flight at the end is still checked, uncounted.
        if done.is_some() && connections.iter().all(Connection::is_idle) {
            break;
        }
    }
    for connection in &mut connections {
        // The server is to see an orderly end; whether it does changes no result.
        let _ = connection.stream.write(&frames::close_frame());
    }
    let (elapsed, cpu) = done.expect("the loop ends only when it is set");
    Ok(Report { messages: run.latency.len(), elapsed, bytes: run.bytes, latency: run.latency, cpu })
}

/// Sends a few compressed messages, one after the other, and compares what the echoes inflate to.
fn inflate_first(stream: &mut std::net::TcpStream, deck: &Deck) -> Result<()> {
    let mut echoes = Vec::new();
    let mut parser = Parser::new(Wire::Compressed);
    let mut buffer = [0; 4096];
    for sequence in 0..INFLATED {
        stream.write_all(deck.frame(sequence))?;
        let mut has_come = false;
        while !has_come {
            let read = stream.read(&mut buffer).context("waiting for an echo")?;
            ensure!(read > 0, "the server closed the connection");
            echoes.extend_from_slice(&buffer[..read]);
            let mut input = &buffer[..read];
            while let Some(piece) = parser.next(&mut input)? {
                match piece {
                    Piece::Data(data) => has_come |= data.last,
                    Piece::Close { code, reason } => bail!("the server closed with {code} {reason:?}"),
                    Piece::Ping(_) | Piece::Pong => {}
                }
            }
        }
    }

    let plain = deflate::inflate(&echoes)?;
    let (mut input, mut parser) = (&plain[..], Parser::default());
    let mut sequence = 0;
    while let Some(piece) = parser.next(&mut input)? {
        if let Piece::Data(data) = piece {
            deck.compare(sequence, &data)?;
            sequence += u64::from(data.last);
        }
    }
    ensure!(sequence == INFLATED, "{INFLATED} messages were sent and {sequence} inflated");
    Ok(())
}

fn interrupted_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// Who used the processors.
pub(crate) struct Cpu {
    /// CPU time of this process.
    load: Duration,
    /// How long this process was ready and something else had its processor.
    load_waited: Duration,
    /// CPU time of the server's process, if that is known.
    server: Option<Duration>,
}

impl Cpu {
    fn now(server_pid: Option<u32>) -> Result<Self> {
        let own = std::process::id();
        Ok(Self {
            load: machine::cpu_time(own)?,
            load_waited: machine::waited(own)?,
            server: server_pid.map(machine::cpu_time).transpose()?,
        })
    }

    fn since(&self, start: &Self) -> Self {
        Self {
            load: self.load - start.load,
            load_waited: self.load_waited - start.load_waited,
            server: self.server.zip(start.server).map(|(end, start)| end - start),
        }
    }
}

/// What one run's connections share.
struct Run {
    deck: Deck,
    clock: Instant,
    phase: Phase,
    /// Of the echoes that are counted.
    bytes: u64,
    latency: Histogram<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Sending, nothing is counted yet.
    WarmUp,
    /// Sending and counting.
    Measured,
    /// Neither: what is in flight comes home and is checked.
    Drain,
}

impl Run {
    fn new(deck: Deck) -> Result<Self> {
        let latency = Histogram::new_with_bounds(1, LONGEST_LATENCY.as_nanos() as u64, 3)?;
        Ok(Self { deck, clock: Instant::now(), phase: Phase::WarmUp, bytes: 0, latency })
    }

    fn nanos(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }
}

struct Connection {
    stream: TcpStream,
    parser: Parser,
    /// When each message in flight was sent: the one numbered `n` at `n % in_flight`.
    sent_at: Box<[u64]>,
    queued: u64,
    echoed: u64,
    /// What has come since the last whole echo.
    arrived: u64,
    /// The first unwritten byte in the deck, and the unwritten bytes.
    unwritten_at: usize,
    unwritten: usize,
    /// Pongs, which go between two frames.
    pongs: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream, work: &Work) -> Self {
        Self {
            stream,
            parser: Parser::new(work.wire),
            sent_at: vec![0; work.in_flight].into(),
            queued: 0,
            echoed: 0,
            arrived: 0,
            unwritten_at: 0,
            unwritten: 0,
            pongs: Vec::new(),
        }
    }

    fn is_idle(&self) -> bool {
        self.queued == self.echoed
    }

    fn queue(&mut self, deck: &Deck, messages: usize) {
        self.unwritten += deck.run_bytes(self.queued, messages);
        self.queued += messages as u64;
    }

    /// One event: read what is there, and send one message for each echo.
    fn turn(&mut self, run: &mut Run, buffer: &mut [u8]) -> Result<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading"),
            };
            let before = self.echoed;
            self.take(run, &buffer[..read])?;
            if run.phase != Phase::Drain {
                self.queue(&run.deck, (self.echoed - before) as usize);
            }
            // A short read has emptied the socket: what comes later is another event.
            if read < buffer.len() {
                break;
            }
        }
        self.write(&run.deck)
    }

    fn take(&mut self, run: &mut Run, mut input: &[u8]) -> Result<()> {
        let now = run.nanos();
        let in_flight = self.sent_at.len() as u64;
        loop {
            let left = input.len();
            let piece = self.parser.next(&mut input)?;
            self.arrived += (left - input.len()) as u64;
            let Some(piece) = piece else { return Ok(()) };
            match piece {
                Piece::Data(data) => {
                    ensure!(self.echoed < self.queued, "an echo came that nothing was sent for");
                    run.deck.check(self.echoed, &data)?;
                    if data.last {
                        let sent_at = &mut self.sent_at[(self.echoed % in_flight) as usize];
                        let bytes = std::mem::take(&mut self.arrived);
                        if run.phase == Phase::Measured {
                            run.latency.saturating_record(now - *sent_at);
                            // All of them: on a slow machine few echoes are counted, and the first was half read before.
                            run.bytes += bytes;
                        }
                        // The message that this echo makes room for is written at the end of this turn.
                        *sent_at = now;
                        self.echoed += 1;
                    }
                }
                Piece::Ping(payload) => frames::push_pong(&mut self.pongs, &payload),
                Piece::Pong => {}
                Piece::Close { code, reason } => bail!("the server closed with {code} {reason:?}"),
            }
        }
    }

    /// Writes what is queued until the socket is full.
    fn write(&mut self, deck: &Deck) -> Result<()> {
        while self.unwritten > 0 || !self.pongs.is_empty() {
            let frame_rest = if self.pongs.is_empty() { 0 } else { deck.frame_rest(self.unwritten_at) };
            let sends_pongs = !self.pongs.is_empty() && frame_rest == 0;
            let bytes = if sends_pongs {
                &self.pongs[..]
            } else if self.pongs.is_empty() {
                deck.frames(self.unwritten_at, self.unwritten)
            } else {
                deck.frames(self.unwritten_at, frame_rest)
            };
            let written = match self.stream.write(bytes) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("writing"),
            };
            if sends_pongs {
                self.pongs.drain(..written);
            } else {
                self.unwritten -= written;
                self.unwritten_at = (self.unwritten_at + written) % deck.round_bytes();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native;
    use std::net::{SocketAddr, TcpListener};
    use tokio_tungstenite::tungstenite::{self, Message};

    fn work(connections: usize, payload_bytes: usize, in_flight: usize, kind: Kind) -> Work {
        let (warm_up, measured) = (Duration::from_millis(20), Duration::from_millis(100));
        let wire = Wire::Plain;
        Work { wire, connections, payload_bytes, in_flight, kind, warm_up, measured, server_pid: None }
    }

    fn endpoint(address: SocketAddr) -> Endpoint {
        Endpoint::parse(&format!("ws://{address}/")).unwrap()
    }

    /// A server that sends back what `change` makes of each message; none ends the connection.
    fn changed(change: impl Fn(usize, Message) -> Vec<Message> + Send + 'static) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
            for number in 0.. {
                let Ok(message) = socket.read() else { return };
                for message in change(number, message) {
                    if socket.send(message).is_err() {
                        return;
                    }
                }
            }
        });
        endpoint(address)
    }

    #[test]
    fn the_native_echo_passes_with_every_shape_of_work() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = endpoint(listener.local_addr().unwrap());
        runtime.spawn(native::serve(listener));
        for work in [
            work(1, 64, 1, Kind::Binary),
            work(3, 0, 2, Kind::Text),
            work(5, 16_384, 16, Kind::Text),
            // More than a wake-up's 64 messages, and more than the sockets hold.
            work(2, 64, 100, Kind::Binary),
            work(1, 1_000_000, 16, Kind::Binary),
            Work { wire: Wire::Compressed, ..work(3, 128, 1, Kind::Text) },
            Work { wire: Wire::Compressed, ..work(2, 1024, 100, Kind::Binary) },
            Work { wire: Wire::Compressed, ..work(1, 16_384, 16, Kind::Text) },
        ] {
            let report = measure(&endpoint, &work).unwrap_or_else(|error| panic!("{work:?}: {error:#}"));
            assert_eq!(report.messages, report.latency.len());
            assert!(report.percentile(50.0) <= report.percentile(99.9));
            let is_shorter = report.echo_bytes() < work.payload_bytes as f64;
            assert_eq!(is_shorter, work.wire == Wire::Compressed, "{work:?}: {}", report.echo_bytes());
        }
    }

    #[test]
    fn an_echo_that_is_half_read_when_the_measuring_begins_counts_with_all_its_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let work = work(1, 64, 2, Kind::Binary);
        let mut run = Run::new(Deck::new(Wire::Compressed, work.kind, work.payload_bytes, 2)).unwrap();
        let mut connection = Connection::new(stream, &Work { wire: Wire::Compressed, ..work });
        connection.queue(&run.deck, 2);
        let echo = [&[0xc2, 20][..], &[0; 20]].concat();
        connection.take(&mut run, &echo[..1]).unwrap();
        connection.take(&mut run, &echo[1..12]).unwrap();
        run.phase = Phase::Measured;
        connection.take(&mut run, &echo[12..]).unwrap();
        assert_eq!((run.latency.len(), run.bytes), (1, 22));
        connection.take(&mut run, &echo).unwrap();
        assert_eq!((run.latency.len(), run.bytes), (2, 44));
    }

    #[test]
    fn a_wrong_echo_fails_the_run() {
        let fails = |endpoint: Endpoint, hint: &str| {
            let work = work(1, 64, 2, Kind::Binary);
            let error = measure(&endpoint, &work).err().expect("the run must fail");
            assert!(format!("{error:#}").contains(hint), "{error:#}");
        };
        fails(changed(|_, message| vec![Message::text(message.into_text().unwrap())]), "is Text");
        fails(changed(|_, message| vec![Message::binary(message.into_data().slice(1..))]), "has 63 bytes");
        fails(changed(|n, m| if n == 9 { vec![Message::binary(vec![0; 64])] } else { vec![m] }), "differs");
        fails(changed(|n, m| if n == 9 { Vec::new() } else { vec![m] }), "differs");
        fails(changed(|_, m| vec![m.clone(), m.clone(), m]), "echo");
        fails(changed(|n, m| if n == 9 { vec![Message::Close(None)] } else { vec![m] }), "closed with 1005");
    }

    #[test]
    fn pings_are_answered_without_breaking_a_frame() {
        let pongs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = pongs.clone();
        let endpoint = changed(move |_, message| match message {
            Message::Pong(payload) => {
                assert_eq!(payload, "still there?");
                seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Vec::new()
            }
            data => vec![Message::Ping("still there?".into()), data],
        });
        measure(&endpoint, &work(1, 300_000, 4, Kind::Binary)).unwrap();
        assert!(pongs.load(std::sync::atomic::Ordering::Relaxed) > 0);
    }

    /// A server that agrees to compression and answers each of the first messages with these bytes.
    fn agreeing(answer: Vec<u8>) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).unwrap();
            let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
            let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
            let head = format!(
                "HTTP/1.1 101 S\r\nSec-WebSocket-Accept: {accept}\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            while stream.read(&mut buffer).is_ok_and(|read| read > 0) && stream.write_all(&answer).is_ok() {}
        });
        endpoint(address)
    }

    #[test]
    fn what_is_not_a_compressed_echo_fails_the_run() {
        let fails = |endpoint: Endpoint, hint: &str| {
            let work = Work { wire: Wire::Compressed, ..work(1, 64, 2, Kind::Text) };
            let error = measure(&endpoint, &work).err().expect("the run must fail");
            assert!(format!("{error:#}").contains(hint), "{error:#}");
        };
        let frame = |payload: &[u8]| [&[0xc1, payload.len() as u8], payload].concat();
        fails(changed(|_, message| vec![message]), "declined permessage-deflate");
        fails(agreeing(vec![0x81, 0x02, b'h', b'i']), "came uncompressed");
        fails(agreeing(frame(&deflate::compress(&[b'x'; 64]))), "differs");
        fails(agreeing(frame(&deflate::compress(&[b'x'; 65]))), "has 65 bytes");
        fails(agreeing(frame(&[0xff; 8])), "cannot be inflated");
    }
}
