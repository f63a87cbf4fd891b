//! Where new versions come from while the program runs, and what outlives it.

mod admin;
mod files;
mod hangup;
mod state;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::support::{Ended, Folder, Program, client, handlers, socket};

const TOKEN: &str = "sixteen-characters-and-more";

/// Answers text as text.
fn as_text() -> Vec<u8> {
    handlers::component_of(&handlers::echo_module())
}

/// Answers everything as binary.
fn as_binary() -> Vec<u8> {
    handlers::component_of(&handlers::binary_echo_module())
}

/// Answers as [`as_binary`], and is another file.
fn as_binary_too() -> Vec<u8> {
    let mut bytes = as_binary();
    // A custom section without content, of the name `x`.
    bytes.extend([0, 2, 1, b'x']);
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder with `chat.wasm`, which answers as text, `clock.wasm`, and a configuration with both and an admin listener.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("chat.wasm", as_text());
    folder.write("clock.wasm", as_text());
    let token = folder.write("token", TOKEN);
    fs::set_permissions(token, fs::Permissions::from_mode(0o600)).expect("ours");
    configure(&folder, "");
    folder
}

const CONFIG: &str = "[admin]\nlisten = '127.0.0.1:0'\ntoken-file = 'token'\n\
                      [route.clock]\npath = '/clock'\nhandler = 'clock.wasm'\n\
                      [route.chat]\npath = '/chat'\nhandler = 'chat.wasm'\n";

/// With `before` at the beginning of the file, whose last table is the route `chat`.
fn configure(folder: &Folder, before: &str) -> PathBuf {
    folder.write("waterspout.toml", format!("listen = '127.0.0.1:0'\n{before}\n{CONFIG}"))
}

/// The program, with what is asked of it.
struct Host<'a> {
    folder: &'a Folder,
    program: Program,
    admin: SocketAddr,
}

impl<'a> Host<'a> {
    fn start<const N: usize>(folder: &'a Folder, arguments: [&str; N]) -> Self {
        let mut command = folder.command();
        let program = Program::start(command.args(["serve", "--config", "waterspout.toml"]).args(arguments));
        let line = loop {
            let line = program.next_line();
            if line.starts_with("admin on ") {
                break line;
            }
        };
        let address = line.split_once("http://").and_then(|(_, rest)| rest.split('/').next());
        let admin = address.and_then(|address| address.parse().ok()).expect("an address");
        Self { folder, program, admin }
    }

    /// With a state's folder.
    fn keeping(folder: &'a Folder) -> Self {
        Self::start(folder, ["--state-dir", "kept"])
    }

    /// Whether `/chat` answers as binary, to a newcomer.
    fn answers_binary(&self) -> bool {
        let mut client = client(self.program.address(), "/chat");
        client.send(Message::text("hé")).expect("sent");
        client.read().expect("an echo").is_binary()
    }

    /// Status, and the answer as JSON, or as a text.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let mut socket = socket(self.admin);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(&[head.as_bytes(), body].concat()).expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
    }

    fn deploy(&self, handler: &[u8]) -> (u16, Value) {
        self.ask("PUT", "/routes/chat/handler", handler)
    }

    /// What `GET /routes` has of `chat`.
    fn chat(&self) -> Value {
        let (status, answer) = self.ask("GET", "/routes?route=chat", b"");
        assert_eq!(status, 200, "{answer}");
        answer["routes"][0].clone()
    }

    /// When this returns, files that had changed before have been looked at, and dealt with or not.
    fn look_at_files(&self) -> Vec<String> {
        let clock = self.folder.path("clock.wasm");
        let bytes = fs::read(&clock).expect("readable");
        let other = if bytes == as_text() { as_binary() } else { as_text() };
        fs::write(&clock, other).expect("ours");
        // A file is read after three looks that find it the same: others have been read before it.
        self.program.records_to("open connections have been dealt with tenant=\"default\" route=clock")
    }

    fn kill(self) -> Ended {
        self.program.signal(Signal::KILL);
        self.program.wait()
    }

    fn end(self) -> Ended {
        self.program.signal(Signal::TERM);
        let ended = self.program.wait();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended
    }
}
