//! What guests and their peers do, in any order: the guest of `tests/guests/interpreter` makes the host calls that the bytes describe,
//! while peers send, wait and leave as they describe. The host is whole, in this process, with limits that are soon reached; sockets
//! are in memory but for those that guests open; time passes only when there is nothing else to do.
//!
//! However it goes, nothing panics, and when the peers have left nothing is held any more.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Sink, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime as Threads;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::configuration::{masked, pattern};
use super::idle::Idle;
use super::input::Input;
use crate::client::destinations::Destinations;
use crate::client::{Resolver, Resolving};
use crate::handler::{Handler, HandlerSource, Runtime, RuntimeOptions};
use crate::limits::tenants::Tenant;
use crate::limits::{Limits, SlowConsumer, TenantLimits};
use crate::server::addresses::Peer;
use crate::server::admission::{Admission, Newcomer};
use crate::server::application::Application;
use crate::server::routes::{InstancePolicy, Route};

thread_local! {
    static HOST: Host = Host::new();
}

/// Runs the target once.
pub fn run(data: &[u8]) {
    HOST.with(|host| host.run(Input::new(data)));
}

/// What a peer waits for the host to take what it sends.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a peer waits for the host to send: seconds, so that limits of time are reached.
const MAX_READ_MS: u16 = 8_000;
/// What peers do in one run.
const MAX_ACTIONS: usize = 24;
/// Peers of one run. The tenant's limits allow fewer.
const MAX_PEERS: usize = 4;

struct Host {
    threads: Threads,
    application: Application,
    idle: Idle,
}

/// Small, so that a program of a few bytes reaches them.
fn limits() -> Limits {
    Limits {
        max_message_bytes: 4 << 10,
        max_queue_bytes: 8 << 10,
        max_memory_bytes: 3 << 20,
        max_handles: 64,
        // Real time, and this machine may be busy.
        cpu_per_event: Duration::from_secs(20),
        max_client_connections: 2,
        max_route_client_connections: 3,
        max_timers: 3,
        max_topics: 2,
        max_topic_bytes: 16,
        max_connections_per_instance: 2,
        linger: Duration::from_secs(1),
        max_response_header_bytes: 64,
        max_log_bytes_per_second: 256,
        max_log_line_bytes: 32,
        ping_interval: Duration::from_secs(20),
        idle_timeout: Some(Duration::from_secs(60)),
        ..Limits::default()
    }
}

fn tenant() -> Tenant {
    let total = TenantLimits {
        max_connections: 3,
        max_instances: 2,
        max_memory_bytes: 5 << 20,
        ..TenantLimits::default()
    };
    Tenant { name: "stranger".into(), total }
}

/// Where the interpreting guest is: `cargo xtask guests` builds it.
fn guest() -> PathBuf {
    std::env::var_os("WATERSPOUT_INTERPRETER").map_or_else(
        || concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guests/interpreter.wasm").into(),
        PathBuf::from,
    )
}

impl Host {
    fn new() -> Self {
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let threads = threads.expect("a runtime");
        let options =
            RuntimeOptions { max_instances: 8, max_memory_bytes: 64 << 20, ..RuntimeOptions::default() };
        let runtime = Runtime::new(&options, [&limits()]).expect("room for a few instances");
        let handler = runtime.load(&HandlerSource::File(guest()), &limits());
        let handler = handler
            .unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask guests` builds it", guest().display()));
        let application = threads.block_on(async { application(&handler, upstream().await) });
        let idle = Idle::of(&application);
        Self { threads, application, idle }
    }

    fn run(&self, mut input: Input<'_>) {
        self.threads.block_on(async {
            let mut peers = vec![self.peer(&mut input).await];
            for _ in 0..MAX_ACTIONS {
                if input.is_empty() {
                    break;
                }
                let action = input.byte();
                let chosen = usize::from(action >> 4) % peers.len();
                if action % 8 == 7 {
                    if peers.len() < MAX_PEERS {
                        peers.push(self.peer(&mut input).await);
                    } else {
                        // It vanishes.
                        let gone = peers.remove(chosen);
                        drop(gone.socket);
                        gone.served.await.expect("no panic");
                    }
                    continue;
                }
                peers[chosen].act(action % 8, &mut input).await;
            }
            for peer in peers {
                drop(peer.socket);
                peer.served.await.expect("no panic");
            }
            self.idle.returns(&self.application).await;
        });
    }

    /// One more peer, that has sent its handshake.
    async fn peer(&self, input: &mut Input<'_>) -> Client {
        let choices = input.byte();
        let room = if choices & 16 == 0 { 64 << 10 } else { 512 };
        let (ours, theirs) = tokio::io::duplex(room);
        let admission = Arc::new(Admission::default());
        let application = self.application.clone();
        let served =
            tokio::spawn(async move { application.serve(ours, Newcomer::now(Peer::Unix, admission)).await });
        let hex: String = input.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let line = |wanted: bool, line: &'static str| if wanted { line } else { "" };
        let head = format!(
            "GET /{}?{hex} HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}{}{}\r\n",
            if choices & 1 == 0 { "own" } else { "shared" },
            line(
                choices & 2 != 0,
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"
            ),
            line(choices & 4 != 0, "Sec-WebSocket-Protocol: a, b\r\n"),
            line(choices & 8 != 0, "Origin: http://a.example\r\n"),
        );
        let mut client = Client { socket: theirs, served };
        client.send(head.as_bytes()).await;
        client.read(PATIENCE).await;
        client
    }
}

/// One peer, and the task that serves it.
struct Client {
    socket: DuplexStream,
    served: JoinHandle<()>,
}

impl Client {
    async fn act(&mut self, action: u8, input: &mut Input<'_>) {
        match action {
            0..=2 => self.send(&masked(OpCode::Data(Data::Binary), input.bytes())).await,
            3 => self.send(&masked(OpCode::Control(Control::Ping), input.bytes())).await,
            4 => self.send(&masked(OpCode::Control(Control::Close), input.bytes())).await,
            5 => self.send(input.bytes()).await,
            _ => {
                let time = Duration::from_millis(u64::from(input.number() % MAX_READ_MS));
                self.read(time).await;
            }
        }
    }

    /// As much as the host takes.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = tokio::time::timeout(PATIENCE, self.socket.write_all(bytes)).await;
    }

    /// What comes within `time`, of which a byte is enough.
    async fn read(&mut self, time: Duration) {
        let mut buffer = [0; 4 << 10];
        let _ = tokio::time::timeout(time, self.socket.read(&mut buffer)).await;
    }
}

fn application(handler: &Handler, port: u16) -> Application {
    let route = |name: &str, policy, slow_consumer| {
        let mut route = Route::new(name, pattern(&format!("/{name}")));
        route.policy = policy;
        route.slow_consumer = slow_consumer;
        route.limits = limits();
        route.tenant = tenant();
        let entries =
            [format!("127.0.0.1:{port}"), format!("upstream.example:{port}"), "private.example:9".into()];
        route.connect = Destinations::listed(&entries).expect("hosts with ports");
        route.environment = [("UPSTREAM".into(), port.to_string())].into();
        (route, handler.clone())
    };
    let routes = [
        route("own", InstancePolicy::Connection, SlowConsumer::Drop),
        route("shared", InstancePolicy::Route, SlowConsumer::Close),
    ];
    Application::with_resolver(routes, None, Some(Arc::new(Names)))
}

/// What names lead to.
#[derive(Debug)]
struct Names;

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        let address = match host {
            "upstream.example" => Ipv4Addr::LOCALHOST,
            _ => Ipv4Addr::new(10, 0, 0, 1),
        };
        Box::pin(async move { Ok(vec![(address, port).into()]) })
    }
}

/// The server that guests may connect to. Returns its port.
async fn upstream() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(answer(socket));
        }
    });
    port
}

/// Echoes, closes at once, or answers what is no WebSocket, as the path says.
async fn answer(mut socket: TcpStream) {
    // Else ports that wait for stragglers run out within a minute.
    let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    let mut beginning = [0; 12];
    let Ok(seen) = socket.peek(&mut beginning).await else { return };
    if beginning[..seen].starts_with(b"GET /garbage") {
        let _ = socket.write_all(b"HTTP/1.1 101 \r\n\r\n\xff\xff\xff\xff").await;
        return;
    }
    let closes = beginning[..seen].starts_with(b"GET /close");
    let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { return };
    if closes {
        let _ = socket.close(None).await;
    }
    while let Some(Ok(message)) = next(&mut socket).await {
        if (message.is_text() || message.is_binary()) && send(&mut socket, message).await.is_err() {
            break;
        }
    }
}

type WebSocket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn next(socket: &mut WebSocket) -> Option<Result<Message, Error>> {
    std::future::poll_fn(|cx| Pin::new(&mut *socket).poll_next(cx)).await
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Error> {
    std::future::poll_fn(|cx| Pin::new(&mut *socket).poll_ready(cx)).await?;
    Pin::new(&mut *socket).start_send(message)?;
    std::future::poll_fn(|cx| Pin::new(&mut *socket).poll_flush(cx)).await
}
