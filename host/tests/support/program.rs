//! A program that runs beside the test: started, listened to, ended.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

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

    /// Where its admin listener is, as `--admin` takes it. It prints that after its other listeners.
    pub(crate) fn admin(&self) -> String {
        loop {
            if let Some(url) = self.next_line().strip_prefix("admin on ") {
                return url.trim_end_matches("/metrics").to_owned();
            }
        }
    }

    /// The same, as an address.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        let url = self.admin();
        let address = url.strip_prefix("http://").and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("no address: {url}"))
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
