//! Where new versions come from while the program runs, and what outlives it.

mod admin;
mod files;
mod hangup;
mod state;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Ended, Folder, Program, TOKEN, answer_to, client, exchange, handlers, socket};

/// Answers as [`handlers::binary_echo`], and is another file.
fn as_binary_too() -> Vec<u8> {
    let mut bytes = handlers::binary_echo();
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
    folder.write("chat.wasm", handlers::echo());
    folder.write("clock.wasm", handlers::echo());
    folder.write_token("token", TOKEN);
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
        let admin = program.admin_address();
        Self { folder, program, admin }
    }

    /// With a state's folder.
    fn keeping(folder: &'a Folder) -> Self {
        Self::start(folder, ["--state-dir", "kept"])
    }

    /// Whether `/chat` answers as binary, to a newcomer.
    fn answers_binary(&self) -> bool {
        let mut client = client(self.program.address(), "/chat");
        answer_to(&mut client, "hé").is_binary()
    }

    /// Status, and the answer as JSON, or as a text.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer =
            exchange(socket(self.admin), &[head.as_bytes(), body].concat()).expect("an answer of text");
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
        let other = if bytes == handlers::echo() { handlers::binary_echo() } else { handlers::echo() };
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
