//! The well-behaved tenant's clients: 20 connections on which 1,000 messages a second are echoed, and a newcomer five times a
//! second. They run on threads of their own, without a runtime, so that they measure the host and not themselves.
//!
//! Messages are due by a fixed schedule; a latency counts from when a message was due, not from when it was sent, so that a
//! host that stalls is charged for all the messages that waited (no coordinated omission).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use waterspout_tests::Frame;

/// Connections of the victim's clients.
const CONNECTIONS: u64 = 20;
/// Messages a second, of all of them together.
const RATE: u64 = 1000;
/// How often a newcomer comes.
const NEWCOMER_EVERY: Duration = Duration::from_millis(200);
/// How long the last echoes, and a newcomer, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The Host of the victim's route.
pub(crate) const HOST: &str = "victim.test";

/// The load while it runs.
pub(crate) struct Victim {
    began: Instant,
    stop: Arc<AtomicBool>,
    /// How many were due.
    writer: JoinHandle<u64>,
    readers: Vec<JoinHandle<Vec<Echo>>>,
    newcomers: JoinHandle<()>,
    visits: Arc<Mutex<Vec<Visit>>>,
}

/// A message that came back.
struct Echo {
    number: u64,
    latency: Duration,
}

/// What a newcomer met with.
struct Visit {
    due: Duration,
    took: Result<Duration, String>,
}

/// What the victim's clients saw in some time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
    /// The slowest of those who came.
    pub(crate) newcomer: Duration,
    /// Why newcomers did not get in.
    pub(crate) turned_away: Vec<String>,
}

/// The whole run.
pub(crate) struct Report {
    began: Instant,
    /// By number, with what each message waited; none if it was lost.
    latencies: Vec<Option<Duration>>,
    visits: Vec<Visit>,
}

impl Victim {
    /// Connects, and begins.
    pub(crate) fn start(address: SocketAddr) -> io::Result<Self> {
        let connections: Vec<_> =
            (0..CONNECTIONS).map(|_| connect(address)).collect::<io::Result<Vec<_>>>()?;
        let began = Instant::now() + Duration::from_millis(20);
        let stop = Arc::new(AtomicBool::new(false));
        let mut writing = Vec::new();
        let mut readers = Vec::new();
        for connection in connections {
            writing.push(connection.try_clone()?);
            readers.push(thread::spawn(move || read(connection, began)));
        }
        let visits = Arc::new(Mutex::new(Vec::new()));
        let writer = thread::spawn({
            let stop = stop.clone();
            move || write(writing, began, &stop)
        });
        let newcomers = thread::spawn({
            let (stop, visits) = (stop.clone(), visits.clone());
            move || come(address, began, &stop, &visits)
        });
        Ok(Self { began, stop, writer, readers, newcomers, visits })
    }

    /// Stops sending, waits for what is on its way, and tells.
    pub(crate) fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        // What could not be sent is no less lost than what was not answered.
        let sent = self.writer.join().expect("the writer does not panic");
        let mut echoes: Vec<Echo> = Vec::new();
        for reader in self.readers {
            echoes.extend(reader.join().expect("a reader does not panic"));
        }
        self.newcomers.join().expect("the newcomers do not panic");
        let mut latencies = vec![None; sent as usize];
        for echo in echoes {
            if let Some(slot) = latencies.get_mut(echo.number as usize) {
                *slot = Some(echo.latency);
            }
        }
        let visits = std::mem::take(&mut *self.visits.lock().expect("nobody panics with it"));
        Report { began: self.began, latencies, visits }
    }
}

impl Report {
    /// How many messages did not come back.
    pub(crate) fn lost(&self) -> usize {
        self.latencies.iter().filter(|latency| latency.is_none()).count()
    }

    /// What fell due between two moments.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Figures {
        let (from, to) =
            (from.saturating_duration_since(self.began), to.saturating_duration_since(self.began));
        let due = |number: usize| due(number as u64);
        let mut latencies: Vec<Duration> = self
            .latencies
            .iter()
            .enumerate()
            .filter(|(number, _)| (from..to).contains(&due(*number)))
            .filter_map(|(_, latency)| *latency)
            .collect();
        latencies.sort_unstable();
        let at = |share: f64| {
            let index = (latencies.len() as f64 * share) as usize;
            latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        let visits = || self.visits.iter().filter(|visit| (from..to).contains(&visit.due));
        Figures {
            p99: at(0.99),
            max: at(1.0),
            newcomer: visits()
                .filter_map(|visit| visit.took.as_ref().ok().copied())
                .max()
                .unwrap_or_default(),
            turned_away: visits().filter_map(|visit| visit.took.as_ref().err().cloned()).collect(),
        }
    }
}

fn due(number: u64) -> Duration {
    Duration::from_micros(number * 1_000_000 / RATE)
}

fn write(mut connections: Vec<TcpStream>, began: Instant, stop: &AtomicBool) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        if let Some(wait) = (began + due(number)).checked_duration_since(Instant::now()) {
            thread::sleep(wait);
        }
        let connection = &mut connections[(number % CONNECTIONS) as usize];
        // A connection that is broken shows in what is lost.
        let _ = connection.write_all(&Frame::binary(number.to_be_bytes()).masked());
        number += 1;
    }
    // The end: each echo before the close frame has come when the close frame is answered.
    for connection in &mut connections {
        let _ = connection.write_all(&Frame::close(1000, "").masked());
    }
    number
}

fn read(mut connection: TcpStream, began: Instant) -> Vec<Echo> {
    let mut echoes = Vec::new();
    while let Ok((opcode, payload)) = read_frame(&mut connection) {
        match (opcode, <[u8; 8]>::try_from(payload)) {
            (waterspout_tests::frames::BINARY, Ok(number)) => {
                let number = u64::from_be_bytes(number);
                let latency = Instant::now().saturating_duration_since(began + due(number));
                echoes.push(Echo { number, latency });
            }
            (waterspout_tests::frames::CLOSE, _) => break,
            _ => {}
        }
    }
    echoes
}

/// Opcode and payload of a short frame.
fn read_frame(connection: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    connection.read_exact(&mut head)?;
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    connection.read_exact(&mut payload)?;
    Ok((head[0] & 0xf, payload))
}

fn come(address: SocketAddr, began: Instant, stop: &AtomicBool, visits: &Mutex<Vec<Visit>>) {
    let mut next = began;
    while !stop.load(Ordering::Relaxed) {
        if let Some(wait) = next.checked_duration_since(Instant::now()) {
            thread::sleep(wait);
        }
        let took = visit(address).map(|()| next.elapsed()).map_err(|error| error.to_string());
        let due = next.saturating_duration_since(began);
        visits.lock().expect("nobody panics with it").push(Visit { due, took });
        next = (next + NEWCOMER_EVERY).max(Instant::now());
    }
}

/// Connects, says one thing, and leaves.
fn visit(address: SocketAddr) -> io::Result<()> {
    let mut connection = connect(address)?;
    connection.write_all(&Frame::binary([0; 8]).masked())?;
    read_frame(&mut connection)?;
    connection.write_all(&Frame::close(1000, "").masked())?;
    read_frame(&mut connection)?;
    Ok(())
}

/// A WebSocket, with time-outs.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let key = waterspout_tests::http::KEY;
    let request = format!(
        "GET /echo HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    connection.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        return Ok(connection);
    }
    Err(io::Error::other(String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned()))
}
