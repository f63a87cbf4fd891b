//! Our client against servers that are not ours (tests/servers), over ws and wss, with compression and without. What the servers do is in
//! their README.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::http::Request;
use waterspout::client::{self, ClientConnection, ConnectError, ConnectOptions, Event, Message, Roots};
use waterspout::connection::close::CloseCause;
use waterspout::connection::compression::Settings;
use waterspout_tests::certificates::Authority;
use waterspout_tests::within;

use crate::clients::{installed, root};

/// A running server. Dropped, it is gone.
struct Server {
    /// Where it is, without the path.
    url: String,
    roots: Option<Roots>,
    compress: bool,
    _process: Child,
}

impl Server {
    /// Starts `program`: over TLS, with a certificate of its own; with compression, if it is to agree to that.
    async fn start(program: &mut Command, tls: bool, compress: bool) -> Self {
        let authority = tls.then(|| Authority::new("of a server that is not ours"));
        let file = authority.as_ref().map(|authority| {
            let certificate = authority.issue(&["127.0.0.1"]);
            TemporaryFile::with(&(certificate.certificate + &certificate.key))
        });
        if let Some(TemporaryFile(file)) = &file {
            program.arg("--certificate").arg(file).arg("--key").arg(file);
        }
        if compress {
            program.arg("--compress");
        }
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process =
            program.spawn().unwrap_or_else(|error| panic!("{program:?} does not start: {error}"));
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let port = within("a port", lines.next_line()).await.expect("text").expect("a port");
        let scheme = if tls { "wss" } else { "ws" };
        Self {
            url: format!("{scheme}://127.0.0.1:{port}"),
            roots: authority.map(|authority| authority.roots()),
            compress,
            _process: process,
        }
    }

    async fn dial_with(
        &self,
        path: &str,
        change: impl FnOnce(&mut ConnectOptions),
    ) -> Result<ClientConnection, ConnectError> {
        let mut options = ConnectOptions {
            ca: self.roots.clone(),
            compression: self.compress.then(Settings::default),
            ..ConnectOptions::default()
        };
        change(&mut options);
        let request = Request::get(format!("{}{path}", self.url)).header("x-test", "hello").body(());
        within("an answer", client::connect(request.expect("a request"), options)).await
    }

    async fn dial(&self) -> ClientConnection {
        self.dial_with("/echo", |_| {}).await.unwrap_or_else(|error| panic!("{}: {error}", self.url))
    }
}

/// For as long as a server may read it.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn with(content: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("server-{}-{}.pem", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, content).expect("the target folder is writable");
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn say(client: &mut ClientConnection, text: &str) -> Message {
    client.write_message(Message::text(text)).await.expect("open");
    within("an answer", client.read_message()).await.expect("an answer")
}

/// Ends it, which must be orderly.
async fn leave(mut client: ClientConnection) {
    within("the closing handshake", client.close(Some(1000), Some("bye"))).await.expect("valid");
    assert_eq!(client.close_frame().map(|frame| frame.code), Some(1000));
}

// The checks.

async fn messages_come_back_as_they_were(server: &Server) {
    let mut client = server.dial().await;
    assert_eq!(client.is_compressed(), server.compress);
    // Frames change their form at 126 and 65,536 bytes.
    for bytes in [0, 1, 125, 126, 65_535, 65_536, 3 << 20] {
        for message in [Message::text("é".repeat(bytes / 2)), Message::binary(vec![0xfe; bytes])] {
            client.queue_message(message.clone()).expect("room");
            let echo = within("an echo", client.read_message()).await;
            assert!(echo == Some(message), "{bytes} bytes came back otherwise");
        }
    }
    leave(client).await;
}

async fn many_messages_come_back_in_order(server: &Server) {
    let mut client = server.dial().await;
    for number in 0..1000 {
        client.queue_message(Message::text(format!("message {number}"))).expect("room");
    }
    for number in 0..1000 {
        let echo = within("an echo", client.read_message()).await;
        assert_eq!(echo, Some(Message::text(format!("message {number}"))));
    }
    leave(client).await;
}

async fn pings_are_answered_both_ways(server: &Server) {
    let mut client = server.dial().await;
    client.ping(b"ours").await.expect("open");
    assert_eq!(within("a pong", client.next_event()).await, Some(Event::Pong("ours".into())));
    client.write_message(Message::text("/ping theirs")).await.expect("open");
    assert_eq!(within("a ping", client.next_event()).await, Some(Event::Ping("theirs".into())));
    let told = within("what the server was told", client.next_event()).await;
    assert_eq!(told, Some(Event::Message(Message::text("pong theirs"))));
    leave(client).await;
}

async fn the_servers_close_arrives_with_code_and_reason(server: &Server) {
    for (command, code, reason) in [("/close 4001 good bye", 4001, "good bye"), ("/close 1001 ", 1001, "")] {
        let mut client = server.dial().await;
        client.write_message(Message::text(command)).await.expect("open");
        assert_eq!(within("the end", client.read_message()).await, None);
        let frame = client.close_frame().expect("a close frame");
        assert_eq!((frame.code, frame.reason.as_str()), (code, reason));
        assert_eq!(client.close_cause(), Some(CloseCause::PeerClosed));
    }
}

async fn our_close_is_answered(server: &Server) {
    for (code, reason) in [(Some(1000), None), (Some(4321), Some("bye")), (None, None)] {
        let mut client = server.dial().await;
        within("the closing handshake", client.close(code, reason)).await.expect("valid");
        let answered = client.close_frame().map(|frame| frame.code);
        // To a frame without a code, some answer 1000.
        let as_asked = answered == Some(code.unwrap_or(1005));
        assert!(as_asked || (code.is_none() && answered == Some(1000)), "{code:?}: {answered:?}");
    }
}

async fn the_subprotocol_and_the_headers_are_what_was_asked_for(server: &Server) {
    for (asked, chosen) in [(&["v1", "v2"][..], Some("v2")), (&["v1"], Some("v1")), (&[], None)] {
        let subprotocols = asked.iter().map(|name| (*name).to_owned()).collect();
        let client = server.dial_with("/echo", |options| options.subprotocols = subprotocols).await;
        let mut client = client.expect("a handshake");
        assert_eq!(client.selected_subprotocol(), chosen);
        assert_eq!(say(&mut client, "/subprotocol").await, Message::text(chosen.unwrap_or("none")));
        assert_eq!(say(&mut client, "/header x-test").await, Message::text("hello"));
        leave(client).await;
    }
}

async fn what_is_no_websocket_is_told_by_its_status(server: &Server) {
    for (path, status) in [("/page", 200), ("/redirect", 302), ("/nowhere", 404)] {
        let error = server.dial_with(path, |_| {}).await.expect_err(path);
        assert!(matches!(&error, ConnectError::Http(answer) if answer.status() == status), "{path}: {error}");
    }
}

async fn a_message_over_the_limit_closes(server: &Server) {
    let limited = server.dial_with("/echo", |options| options.max_message_bytes = 100_000).await;
    let mut client = limited.expect("a handshake");
    let at_the_limit = say(&mut client, "/large 100000").await;
    assert!(at_the_limit == Message::binary(vec![7; 100_000]));
    client.write_message(Message::text("/large 100001")).await.expect("open");
    assert_eq!(within("the end", client.read_message()).await, None);
    assert_eq!(client.close_cause(), Some(CloseCause::MessageTooBig));
}

/// One module for a server, with a module for each way to speak to it, with a test for each check.
macro_rules! server {
    ($name:ident, $program:expr) => {
        mod $name {
            use super::*;

            server!(@way ws, $program, tls: false, compress: false);
            server!(@way ws_compressed, $program, tls: false, compress: true);
            server!(@way wss, $program, tls: true, compress: false);
            server!(@way wss_compressed, $program, tls: true, compress: true);
        }
    };
    (@way $way:ident, $program:expr, tls: $tls:literal, compress: $compress:literal) => {
        mod $way {
            use super::*;

            async fn start() -> Server {
                Server::start(&mut $program, $tls, $compress).await
            }

            server!(@checks
                messages_come_back_as_they_were
                many_messages_come_back_in_order
                pings_are_answered_both_ways
                the_servers_close_arrives_with_code_and_reason
                our_close_is_answered
                the_subprotocol_and_the_headers_are_what_was_asked_for
                what_is_no_websocket_is_told_by_its_status
                a_message_over_the_limit_closes
            );
        }
    };
    (@checks $($check:ident)*) => {
        $(#[tokio::test]
        async fn $check() {
            super::super::$check(&start().await).await;
        })*
    };
}

fn python(program: &str) -> Command {
    let mut python = Command::new(installed("python/bin/python"));
    // Without this it would write its bytecode among the sources.
    python.arg("-B").arg(root().join("tests/servers").join(program));
    python
}

fn newest_tornado() -> Command {
    let mut python = python("tornado_server.py");
    python.env("PYTHONPATH", installed("python/newest"));
    python
}

fn node() -> Command {
    let mut node = Command::new("node");
    node.arg(root().join("tests/servers/ws_server.mjs")).current_dir(installed("node"));
    node
}

fn bun() -> Command {
    let packages = installed("node/node_modules/@oven");
    let mut found = std::fs::read_dir(&packages).expect("a folder");
    let package = found.next().expect("npm installs the one for this machine").expect("readable");
    let mut bun = Command::new(package.path().join("bin/bun"));
    bun.arg(root().join("tests/servers/bun_server.mjs"));
    bun
}

server!(tornado, python("tornado_server.py"));
server!(the_newest_tornado, newest_tornado());
server!(websockets, python("websockets_server.py"));
server!(nodes_ws, node());
server!(buns_own, bun());
