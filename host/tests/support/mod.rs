//! A program that runs beside the test, in folders of its own, and clients for it. Every wait is bounded.

pub(crate) mod handlers;
pub(crate) mod tls;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio_tungstenite::tungstenite::{WebSocket, client as connect};

/// How long anything may take. Far longer than it does on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A folder for one test, with the user's cache and state in it. Gone with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("program-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("the target folder is writable");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("the target folder is writable");
        path
    }

    /// The program, in this folder.
    pub(crate) fn command(&self) -> Command {
        self.prepared(Command::new(env!("CARGO_BIN_EXE_waterspout")))
    }

    /// An example of this package, which `cargo test` has built.
    pub(crate) fn example(&self, name: &str) -> Command {
        let test = std::env::current_exe().expect("a test is a file");
        let examples =
            test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps").join("examples");
        let program = examples.join(name);
        assert!(
            program.exists(),
            "{} is missing: `cargo build --example {name}` in this profile",
            program.display()
        );
        self.prepared(Command::new(program))
    }

    fn prepared(&self, mut command: Command) -> Command {
        command
            .current_dir(&self.0)
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    /// The compiled handlers that the program keeps.
    pub(crate) fn compiled(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("cache/waterspout")).expect("the cache's folder");
        entries.map(|entry| entry.expect("readable").path()).collect()
    }

    /// An artefact with the signature that makes it this file's content.
    pub(crate) fn sign(&self, file: &Path, artefact: &[u8]) -> Vec<u8> {
        let key = fs::read(self.path("state/waterspout/cache.key")).expect("the cache's key");
        let mut mac = blake3::Hasher::new_keyed(&key.try_into().expect("32 bytes"));
        mac.update(file.file_name().expect("a file").as_encoded_bytes());
        mac.update(artefact);
        [mac.finalize().as_bytes().as_slice(), artefact].concat()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program that has said where it listens. Killed when dropped.
pub(crate) struct Program {
    pid: Pid,
    first: String,
    lines: Receiver<String>,
    records: Receiver<String>,
    ended: Receiver<Ended>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// -1 if a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// What it said on stderr, which is one line.
    pub(crate) fn sentence(&self) -> &str {
        let mut lines = self.stderr.lines();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line,
            _ => panic!("one sentence was to be said: {self:?}"),
        }
    }
}

/// A process whose output is read while it runs: lines of stdout as they come, and everything at its end. After `max_lines`
/// its stdout is closed.
fn spawn(command: &mut Command, max_lines: usize) -> Program {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let pid = Pid::from_child(&child);
    let (line, lines) = channel();
    let (record, records) = channel();
    let (end, ended) = channel();
    thread::spawn(move || {
        let result =
            watch(&mut child, max_lines, |text| drop(line.send(text)), move |text| drop(record.send(text)));
        // A test that does not wait for the end has gone.
        let _ = end.send(result);
    });
    Program { pid, first: String::new(), lines, records, ended }
}

fn watch(
    child: &mut Child,
    max_lines: usize,
    mut on_line: impl FnMut(String),
    mut on_record: impl FnMut(String) + Send + 'static,
) -> Ended {
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let errors = thread::spawn(move || {
        let mut text = String::new();
        let mut from = 0;
        while stderr.read_line(&mut text).expect("stderr is UTF-8") > 0 {
            on_record(text[from..].to_owned());
            from = text.len();
        }
        text
    });
    let mut all = String::new();
    for line in stdout.lines().take(max_lines) {
        let line = line.expect("stdout is UTF-8");
        all += &line;
        all.push('\n');
        on_line(line);
    }
    let status = child.wait().expect("our own child");
    Ended { code: status.code().unwrap_or(-1), stdout: all, stderr: errors.join().expect("no panic") }
}

/// Runs a program that ends by itself.
pub(crate) fn run(command: &mut Command) -> Ended {
    run_for(command, usize::MAX)
}

/// The same, but nobody reads more than so many lines of its stdout, as `head` does.
pub(crate) fn run_for(command: &mut Command, max_lines: usize) -> Ended {
    let program = spawn(command, max_lines);
    program.ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let _ = kill_process(program.pid, Signal::KILL);
        panic!("{command:?} has not ended after {PATIENCE:?}")
    })
}

impl Program {
    /// Starts it and waits until it has said where it listens.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_for(command, usize::MAX)
    }

    /// The same, but nobody reads more than so many lines of its stdout.
    pub(crate) fn start_for(command: &mut Command, max_lines: usize) -> Self {
        let mut program = spawn(command, max_lines);
        match program.lines.recv_timeout(PATIENCE) {
            Ok(line) => program.first = line,
            Err(RecvTimeoutError::Timeout) => panic!("{command:?} has said nothing after {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("{command:?} ended: {:?}", program.ended.recv_timeout(PATIENCE))
            }
        }
        program
    }

    /// The first line that it printed.
    pub(crate) fn first_line(&self) -> &str {
        &self.first
    }

    /// The next line that it prints.
    pub(crate) fn next_line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("another line")
    }

    /// The next line with this in it that it says on stderr.
    pub(crate) fn record_with(&self, text: &str) -> String {
        loop {
            match self.records.recv_timeout(PATIENCE) {
                Ok(record) if record.contains(text) => return record,
                Ok(_) => {}
                Err(error) => panic!("it does not say `{text}`: {error}"),
            }
        }
    }

    /// What it says on stderr to the next line with this in it, with that.
    pub(crate) fn records_to(&self, text: &str) -> Vec<String> {
        let mut records = Vec::new();
        loop {
            match self.records.recv_timeout(PATIENCE) {
                Ok(record) => records.push(record),
                Err(error) => panic!("it does not say `{text}`: {error}: {records:#?}"),
            }
            if records.last().is_some_and(|record| record.contains(text)) {
                return records;
            }
        }
    }

    /// Of `... ws://ADDRESS/...` or `wss://` in its first line.
    pub(crate) fn address(&self) -> SocketAddr {
        let line = &self.first;
        let address = line.split_once("://").and_then(|(_, rest)| rest.split('/').next());
        address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no address: {line}"))
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("it runs");
    }

    /// Waits until it has ended.
    pub(crate) fn wait(self) -> Ended {
        self.ended.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it has not ended after {PATIENCE:?}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Until its end has been received it is our child, and the number is its.
        if matches!(self.ended.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

pub(crate) fn socket(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, PATIENCE).expect("the program listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket has the option");
    socket.set_write_timeout(Some(PATIENCE)).expect("a TCP socket has the option");
    socket
}

/// A WebSocket connection.
pub(crate) fn client(address: SocketAddr, path: &str) -> WebSocket<TcpStream> {
    match connect(format!("ws://{address}{path}"), socket(address)) {
        Ok((client, _)) => client,
        Err(error) => panic!("{path} was refused: {error}"),
    }
}

/// Status and body of a GET.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    request(address, path, &format!("Host: {address}\r\nConnection: close\r\n"))
}

/// Status and body of a GET with these headers; the body only if the server closes after it.
pub(crate) fn request(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut socket = socket(address);
    socket.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).expect("the program reads");
    let mut reader = BufReader::new(socket);
    let mut status = String::new();
    reader.read_line(&mut status).expect("an answer");
    let code =
        status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{status:?}"));
    let mut rest = String::new();
    if headers.contains("Connection: close") {
        reader.read_to_string(&mut rest).expect("a body of text");
    }
    (code, rest.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
