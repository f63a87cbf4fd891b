//! A server as a child process, pinned, that never outlives the benchmark.
//!
//! It is ready when it has printed its address: the first `ws://` URL on its standard output. It is killed by its own
//! process id on drop, and where `setpriv` is installed the kernel kills it should the benchmark itself be killed.
//! A script in the server's place must therefore `exec` what it starts.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::client::Endpoint;
use crate::machine::Pinning;

/// A server may compile its handler before it listens.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long the end of a dead server's log is waited for.
const LOG_PATIENCE: Duration = Duration::from_secs(1);
/// What is kept of a server's log, to be shown if it fails.
const LOG_LINES: usize = 20;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Native,
    Waterspout,
}

impl Peer {
    pub(crate) const BOTH: [Peer; 2] = [Peer::Native, Peer::Waterspout];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Native => "native",
            Peer::Waterspout => "waterspout",
        }
    }
}

/// Where the servers are.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The waterspout program
    #[arg(long, default_value = "target/release/waterspout")]
    waterspout: PathBuf,
    /// The echo handler that it serves
    #[arg(long, default_value = "target/guests/bench-echo.wasm")]
    handler: PathBuf,
    /// One more argument for `waterspout serve`; may be repeated
    #[arg(long = "waterspout-arg", value_name = "ARG", allow_hyphen_values = true)]
    waterspout_args: Vec<String>,
    /// Leave processes to the scheduler instead of giving server and load generator a processor each
    #[arg(long)]
    no_pin: bool,
}

/// Starts servers, one like the other.
pub(crate) struct Servers<'a> {
    options: &'a Options,
    pub(crate) pinning: Pinning,
    dies_with_us: bool,
}

impl<'a> Servers<'a> {
    /// Checks that there is something to start, and pins this process.
    pub(crate) fn prepare(options: &'a Options) -> Result<Self> {
        for (path, hint) in [
            (&options.waterspout, "build it: cargo build --release -p waterspout"),
            (&options.handler, "build it: cargo xtask guests"),
        ] {
            if !path.is_file() {
                bail!("{}: no such file\nhint: {hint}", path.display());
            }
        }
        let pinning = if options.no_pin { Pinning::Off } else { Pinning::apart() };
        let dies_with_us = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        Ok(Self { options, pinning, dies_with_us })
    }

    /// Starts a fresh server and waits until it listens.
    pub(crate) fn start(&self, peer: Peer) -> Result<Server> {
        let mut line: Vec<OsString> = Vec::new();
        if let Pinning::Apart { server, .. } = self.pinning {
            line.extend(["taskset".into(), "-c".into(), server.to_string().into()]);
        }
        if self.dies_with_us {
            line.extend(["setpriv", "--pdeathsig", "KILL"].map(Into::into));
        }
        match peer {
            Peer::Native => {
                line.push(std::env::current_exe()?.into());
                line.extend(["native", "--listen", "127.0.0.1:0"].map(Into::into));
            }
            Peer::Waterspout => {
                // `taskset` and `setpriv` look a bare name up in PATH.
                line.push(self.options.waterspout.canonicalize()?.into());
                line.push("serve".into());
                line.push((&self.options.handler).into());
                line.extend(["--listen", "127.0.0.1:0", "--no-page"].map(Into::into));
                line.extend(self.options.waterspout_args.iter().map(Into::into));
            }
        }
        let (program, arguments) = line.split_first().expect("a program was pushed");
        let mut command = Command::new(program);
        command.args(arguments);
        Server::spawn(command).with_context(|| format!("starting the {} server", peer.name()))
    }
}

/// A running server; dropping it ends it.
pub(crate) struct Server {
    process: Process,
    pub(crate) endpoint: Endpoint,
}

impl Server {
    fn spawn(command: Command) -> Result<Self> {
        let (process, url) = Process::spawn(command)?;
        let endpoint = match url.recv_timeout(START_PATIENCE) {
            Ok(url) => Endpoint::parse(&url),
            Err(RecvTimeoutError::Timeout) => Err(anyhow!("it printed no address within {START_PATIENCE:?}")),
            Err(RecvTimeoutError::Disconnected) => Err(anyhow!("it ended without printing a ws:// address")),
        };
        match endpoint {
            Ok(endpoint) => Ok(Self { process, endpoint }),
            Err(error) => Err(process.explain(error)),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Ends the server and adds the last lines of its log to what went wrong with it.
    pub(crate) fn explain(self, error: anyhow::Error) -> anyhow::Error {
        self.process.explain(error)
    }
}

/// A child whose output is read for as long as it lives, so that it never waits for us.
struct Process {
    child: Child,
    /// Ends with the last lines of standard error when that is closed.
    log: Option<JoinHandle<VecDeque<String>>>,
}

impl Process {
    /// Also gives the first `ws://` URL of the standard output, when it comes.
    fn spawn(mut command: Command) -> Result<(Self, Receiver<String>)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("running {}", command.get_program().to_string_lossy()))?;
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (sender, url) = mpsc::channel();
        std::thread::spawn(move || {
            // Gone after the first URL, so that an output without one ends the wait for it.
            let mut sender = Some(sender);
            for line in output.lines().map_while(Result::ok) {
                if let (Some(found), Some(waiting)) = (first_url(&line), &sender) {
                    let _ = waiting.send(found.to_owned());
                    sender = None;
                }
            }
        });
        let log = std::thread::spawn(move || {
            let mut last = VecDeque::new();
            for line in log.lines().map_while(Result::ok) {
                if last.len() == LOG_LINES {
                    last.pop_front();
                }
                last.push_back(line);
            }
            last
        });
        Ok((Self { child, log: Some(log) }, url))
    }

    fn end(&mut self) {
        // Errors only if it has ended by itself; either way it is waited for, so that its id stays its own till then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn explain(mut self, error: anyhow::Error) -> anyhow::Error {
        self.end();
        // Standard error is closed now; only a grandchild could still hold it, and then there is no log to show.
        let deadline = Instant::now() + LOG_PATIENCE;
        let log = self.log.take().expect("taken only here");
        while !log.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let lines = if log.is_finished() { log.join().unwrap_or_default() } else { VecDeque::new() };
        if lines.is_empty() {
            return error;
        }
        let lines = Vec::from(lines).join("\n  ");
        anyhow!("{error:#}\nthe last of the server's log:\n  {lines}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn first_url(line: &str) -> Option<&str> {
    let url = &line[line.find("ws://")?..];
    url.split(|c: char| c.is_whitespace() || c.is_control() || "\"'`<>,".contains(c)).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_first_url_of_a_line_is_found_without_what_surrounds_it() {
        assert_eq!(first_url("listening on ws://127.0.0.1:9/websocket"), Some("ws://127.0.0.1:9/websocket"));
        assert_eq!(first_url("open \"ws://[::1]:9/a\", or"), Some("ws://[::1]:9/a"));
        assert_eq!(first_url("\u{1b}[1mws://127.0.0.1:9/\u{1b}[0m"), Some("ws://127.0.0.1:9/"));
        assert_eq!(first_url("http://127.0.0.1:9/"), None);
    }

    #[test]
    fn a_server_that_prints_its_address_lives_until_it_is_dropped() {
        let server = Server::spawn(shell("echo hello; echo on ws://127.0.0.1:9/x; exec sleep 1000")).unwrap();
        let process = format!("/proc/{}", server.pid());
        assert_eq!(server.endpoint, Endpoint::parse("ws://127.0.0.1:9/x").unwrap());
        assert!(Path::new(&process).exists());
        drop(server);
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn a_server_that_ends_early_is_an_error_with_its_last_words() {
        let error = Server::spawn(shell("echo no such handler >&2; exit 1")).err().expect("no server");
        let error = format!("{error:#}");
        assert!(error.contains("no such handler") && error.contains("ended without"), "{error}");
    }
}
