//! Where an attack takes place: the host's addresses, clients that do whatever they like, and what they note.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinSet;
use waterspout_tests::frames::{CLOSE, TEXT};
use waterspout_tests::{Frame, Identity};

use crate::attack::{Running, Setting, Tally, server};
use crate::program::{ATTACKER, Program, Workshop};

/// The admin listener, for attacks that need one.
pub(crate) const ADMIN: Setting = server("admin.listen", "\"unix:{folder}/admin\"");

/// See the module.
pub(crate) struct Field {
    /// The host's listeners: plain, behind the PROXY protocol, with TLS.
    pub(crate) plain: SocketAddr,
    pub(crate) proxied: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// A server that harms whoever connects to it.
    pub(crate) hostile: SocketAddr,
    pub(crate) identity: Arc<Identity>,
    /// Where the host's files are, the admin listener's socket among them if there is one.
    folder: PathBuf,
    /// The guest `attacker`.
    handler: PathBuf,
    tally: Mutex<Tally>,
}

/// A client's socket.
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    buffer: Vec<u8>,
}

/// What comes on a socket.
pub(crate) enum Arrival {
    /// Opcode and payload.
    Frame(u8, Vec<u8>),
    /// The socket ended.
    Gone,
}

impl Field {
    pub(crate) fn new(program: &Program, workshop: &Workshop) -> Self {
        let [plain, proxied, tls] = program.addresses;
        let (hostile, identity) = (workshop.hostile, workshop.identity.clone());
        let handler = workshop.guests.join("attacker.wasm");
        let tally = Mutex::new(BTreeMap::new());
        Self { plain, proxied, tls, hostile, identity, folder: program.folder.clone(), handler, tally }
    }

    /// Deploys the attacker's handler anew, as its operator does for him: `variant` makes it another file. Needs [`ADMIN`].
    pub(crate) async fn deploy(&self, variant: u8) -> io::Result<()> {
        let mut handler = std::fs::read(&self.handler)?;
        // A custom section of one byte, behind its name's length.
        handler.extend([0, 2, 0, variant]);
        let answer = self.ask_admin("PUT /routes/attack/handler", &handler).await?;
        self.note(format!("deployed: {}", answer.split(' ').nth(1).unwrap_or("no answer")));
        Ok(())
    }

    /// Processor seconds of the host's process, and those that tenants were charged. Needs [`ADMIN`].
    pub(crate) async fn processor_seconds(&self) -> io::Result<(f64, f64)> {
        let answer = self.ask_admin("GET /metrics", b"").await?;
        let sum = |name: &str| -> f64 {
            let samples = answer.lines().filter(|line| line.starts_with(name));
            samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Ok((sum("process_cpu_seconds_total"), sum("waterspout_cpu_seconds_total")))
    }

    async fn ask_admin(&self, what: &str, body: &[u8]) -> io::Result<String> {
        let head = format!(
            "{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut socket = UnixStream::connect(self.folder.join("admin")).await?;
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(body).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Counts something that a client has seen.
    pub(crate) fn note(&self, what: impl Into<String>) {
        let mut what: String = what.into();
        // Filling is not worth a line of the table.
        if what.len() > 90 && what.bytes().all(|byte| byte == what.as_bytes()[0]) {
            what = format!("{} bytes", what.len());
        }
        what.truncate(what.char_indices().nth(90).map_or(what.len(), |(at, _)| at));
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }

    /// All that was noted, as yet.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A good handshake at the attacker's route, with this query, without the empty line at its end.
    pub(crate) fn head(query: &str) -> String {
        format!(
            "GET /attack{query} HTTP/1.1\r\nHost: {ATTACKER}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n",
            waterspout_tests::http::KEY
        )
    }

    /// What tells the guest `attacker` to do something in a function.
    pub(crate) fn query(at: &str, what: &str) -> String {
        format!("?at={at}&do={}", what.replace(' ', "+"))
    }

    /// Connects; behind the PROXY protocol if there is an address to pretend.
    pub(crate) async fn socket(
        &self,
        from: Option<Ipv4Addr>,
        receive_buffer: Option<u32>,
    ) -> io::Result<Peer> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let mut socket = socket.connect(if from.is_some() { self.proxied } else { self.plain }).await?;
        socket.set_nodelay(true)?;
        if let Some(from) = from {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
            header.extend(from.octets());
            header.extend(Ipv4Addr::LOCALHOST.octets());
            header.extend([0x10, 0, 0x20, 0]);
            socket.write_all(&header).await?;
        }
        Ok(Peer { socket, buffer: Vec::new() })
    }

    /// Sends a head (without its empty line), reads the answer and notes its status if it is not 101.
    pub(crate) async fn ask(&self, mut peer: Peer, head: &str) -> io::Result<(u16, String, Peer)> {
        peer.socket.write_all(head.as_bytes()).await?;
        peer.socket.write_all(b"\r\n").await?;
        let answer = peer.answer_head().await?;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        if status != 101 {
            self.note(format!("HTTP {status}"));
        }
        Ok((status, answer, peer))
    }

    /// The same, on a socket of its own.
    pub(crate) async fn handshake(&self, head: &str) -> io::Result<(u16, String, Peer)> {
        self.ask(self.socket(None, None).await?, head).await
    }

    /// A connection whose handler, the guest `attacker`, does this in that function, and which has said something.
    pub(crate) async fn incite(&self, at: &str, what: &str) -> Option<Peer> {
        self.incite_who_reads(None, at, what).await
    }

    /// The same, with a small receive buffer: by a client that reads little, or not at all.
    pub(crate) async fn incite_who_reads(
        &self,
        receive_buffer: Option<u32>,
        at: &str,
        what: &str,
    ) -> Option<Peer> {
        let mut peer = self.open_from(None, &Self::query(at, what), receive_buffer).await?;
        peer.say(Frame::text("go")).await;
        Some(peer)
    }

    /// Opens a WebSocket at the attacker's route; none if it is refused, which is noted.
    pub(crate) async fn open(&self, query: &str) -> Option<Peer> {
        self.open_from(None, query, None).await
    }

    /// The same, from some address, with a small receive buffer.
    pub(crate) async fn open_from(
        &self,
        from: Option<Ipv4Addr>,
        query: &str,
        receive_buffer: Option<u32>,
    ) -> Option<Peer> {
        let asked = async { self.ask(self.socket(from, receive_buffer).await?, &Self::head(query)).await };
        match asked.await {
            Ok((101, _, peer)) => Some(peer),
            Ok(_) => None,
            Err(_) => {
                self.note("dropped in the handshake");
                None
            }
        }
    }

    /// Reads to the end; notes texts and how it ended.
    pub(crate) async fn watch(&self, peer: &mut Peer) {
        self.watch_until(peer, false).await;
    }

    /// The same, but leaves after the first text.
    pub(crate) async fn watch_until_answer(&self, peer: &mut Peer) {
        self.watch_until(peer, true).await;
    }

    /// How it ended, by the payload of its close frame.
    pub(crate) fn note_close(&self, payload: &[u8]) {
        let code = payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code));
        let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
        self.note(format!("close {code} {reason}"));
    }

    async fn watch_until(&self, peer: &mut Peer, leaves_at_text: bool) {
        loop {
            match peer.next().await {
                Arrival::Frame(TEXT, text) => {
                    self.note(String::from_utf8_lossy(&text));
                    if leaves_at_text {
                        return;
                    }
                }
                Arrival::Frame(CLOSE, payload) => return self.note_close(&payload),
                Arrival::Frame(..) => {}
                Arrival::Gone => return self.note("dropped"),
            }
        }
    }
}

impl Peer {
    /// Sends bytes; whether that was possible.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).await.is_ok()
    }

    /// Sends a frame as a client does.
    pub(crate) async fn say(&mut self, frame: Frame) -> bool {
        self.send(&frame.masked()).await
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Arrival {
        loop {
            if let Some((opcode, payload, length)) = decode(&self.buffer) {
                self.buffer.drain(..length);
                return Arrival::Frame(opcode, payload);
            }
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(read) if read > 0 => {}
                _ => return Arrival::Gone,
            }
        }
    }

    async fn answer_head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.buffer.drain(..at + 4).collect::<Vec<_>>();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Opcode, payload and length of the first frame, if it is all there.
fn decode(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match second & 0x7f {
        126 => {
            rest.split_first_chunk().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?
        }
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        length => (u64::from(length), rest),
    };
    let payload = rest.get(..usize::try_from(length).ok()?)?;
    Some((first & 0xf, payload.to_vec(), bytes.len() - rest.len() + payload.len()))
}

/// So many clients that do `act` again and again.
pub(crate) fn clients<F>(
    field: Arc<Field>,
    count: u32,
    act: impl Fn(Arc<Field>, u32) -> F + Clone + Send + 'static,
) -> Running
where
    F: Future<Output = ()> + Send + 'static,
{
    Box::pin(async move {
        let mut all = JoinSet::new();
        for number in 0..count {
            let (field, act) = (field.clone(), act.clone());
            all.spawn(async move {
                loop {
                    act(field.clone(), number).await;
                    tokio::task::yield_now().await;
                }
            });
        }
        all.join_next().await;
    })
}

/// A moment, as an attacker waits who is not after the handshake.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Clients that open a connection, say something, and see what becomes of it. Whoever is refused waits for a moment.
pub(crate) fn poke(field: Arc<Field>, count: u32, at: &'static str, what: &'static str) -> Running {
    clients(field, count, move |field, _| async move {
        if let Some(mut peer) = field.incite(at, what).await {
            field.watch(&mut peer).await;
        }
        pause().await;
    })
}
