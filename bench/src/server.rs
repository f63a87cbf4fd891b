//! A server as a child process, pinned, that never outlives the benchmark.
//!
//! It is ready when it has printed its address: the first `ws://` URL on its standard output. It is killed by its own
//! process id on drop, and where `setpriv` is installed the kernel kills it should the benchmark itself be killed.
//! A script in the server's place must therefore `exec` what it starts.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
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

/// The peers that are written in other languages.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// tokio-tungstenite: this program itself.
    Native,
    /// Another build of Waterspout.
    Baseline,
    Waterspout,
    /// Node's `ws`.
    Ws,
    /// Python's.
    Tornado,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Native => "native",
            Peer::Baseline => "baseline",
            Peer::Waterspout => "waterspout",
            Peer::Ws => "ws",
            Peer::Tornado => "tornado",
        }
    }
}

/// Where the servers are.
#[derive(clap::Args)]
// Its group would have the name of the one that it is flattened into.
#[group(skip)]
pub(crate) struct Options {
    /// The waterspout program
    #[arg(long, default_value = "target/release/waterspout")]
    waterspout: PathBuf,
    /// Another waterspout program, an older build perhaps, to compare with in the place of the usual peers
    #[arg(long, value_name = "WATERSPOUT")]
    baseline: Option<PathBuf>,
    /// The echo handler that it serves
    #[arg(long, default_value = "target/guests/bench-echo.wasm")]
    handler: PathBuf,
    /// Where `cargo xtask setup` has put Node's and Python's packages
    #[arg(long, value_name = "FOLDER", default_value = "target/clients")]
    clients: PathBuf,
    /// One more argument for `waterspout serve`; may be repeated
    #[arg(long = "waterspout-arg", value_name = "ARG", allow_hyphen_values = true)]
    waterspout_args: Vec<String>,
    /// Leave processes to the scheduler instead of giving server and load generator a processor each
    #[arg(long)]
    no_pin: bool,
}

impl Options {
    /// What Waterspout is compared with: `usual`, unless there is a baseline.
    pub(crate) fn peers(&self, usual: &[Peer]) -> Vec<Peer> {
        if self.baseline.is_some() { vec![Peer::Baseline] } else { usual.to_vec() }
    }

    /// Checks that there is something to start.
    fn check(&self, peer: Peer) -> Result<()> {
        for (path, hint) in self.files(peer) {
            if !path.is_file() {
                bail!("{}: no such file\nhint: {hint}", path.display());
            }
        }
        Ok(())
    }

    /// The files that a server is started from, each with what to do if it is missing.
    fn files(&self, peer: Peer) -> Vec<(PathBuf, &'static str)> {
        const BUILD: &str = "build it: cargo build --release -p waterspout";
        const SET_UP: &str = "get it: cargo xtask setup";
        let handler = (self.handler.clone(), "build it: cargo xtask guests");
        match peer {
            Peer::Native => Vec::new(),
            Peer::Waterspout | Peer::Baseline => vec![(self.program(peer).to_owned(), BUILD), handler],
            Peer::Ws => vec![(self.clients.join("node/node_modules/ws/package.json"), SET_UP)],
            Peer::Tornado => ["python/bin/python", "python/newest/tornado/websocket.py"]
                .map(|file| (self.clients.join(file), SET_UP))
                .into(),
        }
    }

    /// The waterspout program that is this peer.
    fn program(&self, peer: Peer) -> &Path {
        match peer {
            Peer::Baseline => self.baseline.as_ref().expect("it is a peer only if it was given"),
            _ => &self.waterspout,
        }
    }
}

/// Starts servers, one like the other.
pub(crate) struct Servers<'a> {
    options: &'a Options,
    pub(crate) pinning: Pinning,
    dies_with_us: bool,
}

impl<'a> Servers<'a> {
    /// Checks that there is something to start for each of `peers`, and pins this process.
    pub(crate) fn prepare(options: &'a Options, peers: &[Peer]) -> Result<Self> {
        peers.iter().try_for_each(|peer| options.check(*peer))?;
        let pinning = if options.no_pin { Pinning::Off } else { Pinning::apart() };
        let dies_with_us = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        Ok(Self { options, pinning, dies_with_us })
    }

    /// Starts and ends a server to learn what it is: by its own words or, where two would say the same, by its path.
    pub(crate) fn describe(&self, peer: Peer) -> Result<String> {
        let server = self.start(peer)?;
        Ok(match peer {
            Peer::Waterspout | Peer::Baseline => self.options.program(peer).display().to_string(),
            Peer::Native | Peer::Ws | Peer::Tornado => server.banner,
        })
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
        let clients = |path: &str| std::path::absolute(self.options.clients.join(path));
        let script = |name: &str| Path::new(SCRIPTS).join(name).into_os_string();
        let (mut folder, mut python_path) = (None, None);
        match peer {
            Peer::Native => {
                line.push(std::env::current_exe()?.into());
                line.extend(["native", "--listen", "127.0.0.1:0"].map(Into::into));
            }
            Peer::Waterspout | Peer::Baseline => {
                // `taskset` and `setpriv` look a bare name up in PATH.
                line.push(self.options.program(peer).canonicalize()?.into());
                line.push("serve".into());
                line.push((&self.options.handler).into());
                line.extend(["--listen", "127.0.0.1:0", "--no-page"].map(Into::into));
                line.extend(self.options.waterspout_args.iter().map(Into::into));
            }
            Peer::Ws => {
                line.extend(["node".into(), script("ws.mjs")]);
                // The script takes npm's packages from there.
                folder = Some(clients("node")?);
            }
            Peer::Tornado => {
                // Not canonical: a virtual environment is known by the link to its Python.
                line.extend([clients("python/bin/python")?.into(), "-B".into(), script("tornado_echo.py")]);
                python_path = Some(clients("python/newest")?);
            }
        }
        let (program, arguments) = line.split_first().expect("a program was pushed");
        let mut command = Command::new(program);
        command.args(arguments);
        folder.map(|folder| command.current_dir(folder));
        python_path.map(|path| command.env("PYTHONPATH", path));
        Server::spawn(command).with_context(|| format!("starting the {} server", peer.name()))
    }
}

/// A running server; dropping it ends it.
pub(crate) struct Server {
    process: Process,
    pub(crate) endpoint: Endpoint,
    /// What it printed before its address.
    banner: String,
}

impl Server {
    /// Runs it and waits until it has printed its address.
    pub(crate) fn spawn(command: Command) -> Result<Self> {
        let (process, line) = Process::spawn(command)?;
        let endpoint = match line.recv_timeout(START_PATIENCE) {
            Ok((banner, url)) => Endpoint::parse(&url).map(|endpoint| (banner, endpoint)),
            Err(RecvTimeoutError::Timeout) => Err(anyhow!("it printed no address within {START_PATIENCE:?}")),
            Err(RecvTimeoutError::Disconnected) => Err(anyhow!("it ended without printing a ws:// address")),
        };
        match endpoint {
            Ok((banner, endpoint)) => Ok(Self { process, endpoint, banner }),
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
    /// Also gives the first `ws://` URL of the standard output, when it comes, behind what comes before it on its line.
    fn spawn(mut command: Command) -> Result<(Self, Receiver<(String, String)>)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("running {}", command.get_program().to_string_lossy()))?;
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (sender, address) = mpsc::channel();
        std::thread::spawn(move || {
            // Gone after the first URL, so that an output without one ends the wait for it.
            let mut sender = Some(sender);
            for line in output.lines().map_while(Result::ok) {
                if let (Some((banner, url)), Some(waiting)) = (first_url(&line), &sender) {
                    let _ = waiting.send((banner.to_owned(), url.to_owned()));
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
        Ok((Self { child, log: Some(log) }, address))
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

/// A URL without what surrounds it, behind what comes before.
fn first_url(line: &str) -> Option<(&str, &str)> {
    let (before, url) = line.split_at(line.find("ws://")?);
    let url = url.split(|c: char| c.is_whitespace() || c.is_control() || "\"'`<>,".contains(c)).next()?;
    Some((before.strip_suffix(" on ").unwrap_or(before), url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_first_url_of_a_line_is_found_without_what_surrounds_it() {
        let url = |line| first_url(line).map(|(_, url)| url);
        assert_eq!(url("listening on ws://127.0.0.1:9/websocket"), Some("ws://127.0.0.1:9/websocket"));
        assert_eq!(url("open \"ws://[::1]:9/a\", or"), Some("ws://[::1]:9/a"));
        assert_eq!(url("\u{1b}[1mws://127.0.0.1:9/\u{1b}[0m"), Some("ws://127.0.0.1:9/"));
        assert_eq!(url("http://127.0.0.1:9/"), None);
        assert_eq!(first_url("echo 1.0 on ws://[::1]:9/"), Some(("echo 1.0", "ws://[::1]:9/")));
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() {
        let options = |baseline: Option<&str>| Options {
            waterspout: "nowhere/waterspout".into(),
            baseline: baseline.map(Into::into),
            handler: "nowhere/echo.wasm".into(),
            clients: "nowhere".into(),
            waterspout_args: Vec::new(),
            no_pin: true,
        };
        let usual = [Peer::Ws, Peer::Tornado];
        let plain = options(None);
        assert_eq!(plain.peers(&usual), usual);
        plain.check(Peer::Native).unwrap();
        let error = |peer| plain.check(peer).unwrap_err().to_string();
        assert!(error(Peer::Ws).contains("cargo xtask setup") && error(Peer::Ws).contains("nowhere/node/"));
        assert!(error(Peer::Tornado).contains("cargo xtask setup"));
        assert!(error(Peer::Waterspout).contains("cargo build --release -p waterspout"));
        let compared = options(Some("nowhere/older"));
        assert_eq!(compared.peers(&usual), [Peer::Baseline]);
        assert!(compared.check(Peer::Baseline).unwrap_err().to_string().contains("nowhere/older"));
    }

    #[test]
    fn a_server_that_prints_its_address_lives_until_it_is_dropped() {
        let server =
            Server::spawn(shell("echo hello; echo 1.0 on ws://127.0.0.1:9/x; exec sleep 1000")).unwrap();
        let process = format!("/proc/{}", server.pid());
        assert_eq!(server.endpoint, Endpoint::parse("ws://127.0.0.1:9/x").unwrap());
        assert_eq!(server.banner, "1.0");
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
