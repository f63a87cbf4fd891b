//! Any text as a configuration file. No file is opened: what would open one is left out.
//!
//! What is accepted must be usable: its limits contradict nothing, mean the same when they are written down as they are shown, and
//! serve an echo.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime as Threads;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use super::idle::Idle;
use crate::config::{Config, ConfigError};
use crate::handler::{Handler, HandlerSource, Runtime, RuntimeOptions};
use crate::limits::{FuelLimit, Limits, TenantLimits};
use crate::server::addresses::Peer;
use crate::server::admission::{Admission, Newcomer};
use crate::server::application::Application;
use crate::server::handshake::Hosts;
use crate::server::routes::{Pattern, Route};

thread_local! {
    static HOST: Host = Host::new();
}

/// What serves whatever has been accepted.
struct Host {
    threads: Threads,
    echo: Handler,
    /// For routes whose fuel is metered.
    metered_echo: Handler,
}

/// Runs the target once.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = &whole(text);
    if opens_a_file(text) {
        return;
    }
    let file = Path::new("conf/waterspout.toml");
    match Config::from_text(text, file, None) {
        Ok(config) => accepted(config),
        Err(ConfigError::Wrong { line, message, .. }) => {
            assert!(!message.is_empty());
            assert!(line.is_none_or(|line| (1..=text.lines().count() + 1).contains(&line)), "line {line:?}");
        }
        Err(error) => panic!("nothing was to be opened: {error}"),
    }
}

/// A whole file, also of a text that is only the end of one: most whole ones would be refused for something that is of no interest.
fn whole(text: &str) -> String {
    const ROUTE: &str = "path = '/a'\nhandler = 'x'\n";
    match text.split_at_checked(1) {
        Some(("\x01", limits)) => format!("[route.a]\n{ROUTE}[route.a.limits]\n{limits}"),
        Some(("\x02", total)) => {
            format!("[tenant.t]\nhosts = ['a.example']\n[tenant.t.route.a]\n{ROUTE}[tenant.t.total]\n{total}")
        }
        Some(("\x03", keys)) => format!("[route.a]\n{ROUTE}{keys}"),
        _ => text.to_owned(),
    }
}

/// `connect-ca` is the one key that is read with the configuration.
fn opens_a_file(text: &str) -> bool {
    fn names(value: &toml::Value) -> bool {
        match value {
            toml::Value::Table(table) => table.iter().any(|(key, value)| key == "connect-ca" || names(value)),
            toml::Value::Array(values) => values.iter().any(names),
            _ => false,
        }
    }
    text.parse::<toml::Table>().is_ok_and(|table| names(&toml::Value::Table(table)))
}

fn accepted(config: Config) {
    assert!(!config.listeners.is_empty() && !config.routes.is_empty());
    assert!(config.server.max_connections > 0 && config.runtime.max_instances > 0);
    assert!(config.listeners.iter().all(|listener| !listener.tls || !config.certificates.is_empty()));
    let routes: Vec<&Route> = config.routes.iter().map(|(route, _)| route).collect();
    for (index, route) in routes.iter().enumerate() {
        assert_eq!(route.limits.contradiction(), None);
        assert_eq!(route.tenant.total.contradiction(), None);
        round_trip(route);
        for other in &routes[..index] {
            assert_ne!(route.name, other.name);
            if route.tenant.name != other.tenant.name {
                assert_eq!(route.hosts.common(&other.hosts), None, "two tenants on one host");
            }
        }
    }
    if let Some(path) = simple_path(routes[0]) {
        HOST.with(|host| host.serve(config, &path));
    }
}

/// As `check --config` shows them.
fn round_trip(route: &Route) {
    let line = |(key, value): (String, String)| match value.parse::<u64>() {
        // Follows from another.
        _ if value == "`ping-interval`" => String::new(),
        Ok(number) => format!("{key} = {number}\n"),
        Err(_) => format!("{key} = '{value}'\n"),
    };
    let lines = |shown: Vec<(String, String)>| shown.into_iter().map(line).collect::<String>();
    let text = format!(
        "[tenant.x]\nhosts = ['a.example']\n[tenant.x.total]\n{}[tenant.x.limits]\n{}[tenant.x.route.y]\npath = '/'\nhandler = 'y'\n",
        lines(route.tenant.total.shown()),
        lines(route.limits.shown()),
    );
    let mut expected = route.limits.clone();
    if expected.shown().iter().any(|(_, value)| value == "`ping-interval`") {
        expected.pong_timeout = Limits::default().pong_timeout;
    }
    let total: TenantLimits = route.tenant.total.clone();
    match Config::from_text(&text, Path::new("shown.toml"), None) {
        Ok(shown) => {
            let shown = &shown.routes[0].0;
            assert_eq!((&shown.limits, &shown.tenant.total), (&expected, &total));
        }
        Err(error) => panic!("what is shown is refused: {error}\n{text}"),
    }
}

/// The path of a route, if it is without captures.
fn simple_path(route: &Route) -> Option<String> {
    let path = route.pattern.as_str();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    (path.starts_with('/') && path.chars().all(plain) && path != "/healthz").then(|| path.to_owned())
}

impl Host {
    fn new() -> Self {
        let threads = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let limits = Limits::default();
        let metered = Limits { fuel_per_event: FuelLimit::AtMost(1), ..Limits::default() };
        let options = RuntimeOptions { max_instances: 16, ..RuntimeOptions::default() };
        let runtime = Runtime::new(&options, [&limits, &metered]).expect("room for a few instances");
        let [echo, metered_echo] = [limits, metered]
            .map(|limits| runtime.load(&HandlerSource::Echo, &limits).expect("the embedded handler"));
        Self { threads: threads.expect("a runtime"), echo, metered_echo }
    }

    /// One connection of the first route, with one message; however it ends, nothing is left.
    fn serve(&self, config: Config, path: &str) {
        let admission = Admission::new(&config.server, None);
        let routes = config.routes.into_iter().map(|(route, _)| {
            let route = Route { hosts: Hosts::Any, ..route };
            let is_metered = route.limits.fuel_per_event.is_metered();
            (route, if is_metered { &self.metered_echo } else { &self.echo }.clone())
        });
        self.threads.block_on(async {
            let application = Application::new(routes, None);
            let idle = Idle::of(&application);
            let (ours, mut theirs) = tokio::io::duplex(1 << 10);
            let newcomer = Newcomer::now(Peer::Unix, admission.into());
            let served = tokio::spawn({
                let application = application.clone();
                async move { application.serve(ours, newcomer).await }
            });
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            );
            // Whatever a limit ends ends it.
            let _ = theirs.write_all(head.as_bytes()).await;
            let mut buffer = [0; 1 << 10];
            let _ = theirs.read(&mut buffer).await;
            let _ = theirs.write_all(&masked_text(b"hello")).await;
            let _ = theirs.read(&mut buffer).await;
            drop(theirs);
            served.await.expect("no panic");
            idle.returns(&application).await;
        });
    }
}

/// A client's frame, with a masking key of zeros.
pub(super) fn masked(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { opcode, mask: Some([0; 4]), ..FrameHeader::default() };
    let mut bytes = Vec::new();
    // Writing to memory does not fail; formatting needs no unmasking, because zeros mask nothing.
    let frame = Frame::from_payload(header, payload.to_vec().into());
    frame.format(&mut bytes).expect("memory");
    bytes
}

fn masked_text(payload: &[u8]) -> Vec<u8> {
    masked(OpCode::Data(Data::Text), payload)
}

/// A pattern for those who need any.
pub(super) fn pattern(path: &str) -> Pattern {
    Pattern::new(path).expect("a pattern")
}
