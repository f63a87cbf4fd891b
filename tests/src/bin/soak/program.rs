//! The program as a child: a tenant who behaves well, and one who does not.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::Instant;

use crate::usage::Usage;

/// The host names of the two.
pub(crate) const GOOD: &str = "good.example";
pub(crate) const STRANGER: &str = "stranger.example";

/// How long ending may take: `grace`, and a little.
const END_PATIENCE: Duration = Duration::from_secs(20);

const CONFIGURATION: &str = r#"
cache = false
grace = "5s"
handshake-timeout = "3s"

[limits]
ping-interval = "10s"
write-timeout = "5s"
close-timeout = "2s"
linger = "2s"

[tenant.good]
hosts = ["good.example"]

# A busy machine must not end a connection.
[tenant.good.limits]
cpu-per-event = "2s"
wall-per-event = "20s"

[tenant.good.route.echo]
path = "/echo"
handler = "GUESTS/bench-echo.wasm"

[tenant.good.route.chat]
path = "/chat/{room}"
handler = "GUESTS/chat.wasm"
instance = "{room}"

[tenant.good.route.ticker]
path = "/ticker"
handler = "GUESTS/ticker.wasm"

[tenant.stranger]
hosts = ["stranger.example"]

[tenant.stranger.total]
max-connections = 200
max-instances = 100
max-memory-bytes = "512MiB"

[tenant.stranger.limits]
cpu-per-event = "20ms"
wall-per-event = "2s"

[tenant.stranger.route.own]
path = "/own"
handler = "GUESTS/probe.wasm"

[tenant.stranger.route.shared]
path = "/shared/{room}"
handler = "GUESTS/probe.wasm"
instance = "{room}"
"#;

/// Dropped, it is killed.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl Program {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(program: &Path, guests: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (file, log) = (folder.join("waterspout.toml"), folder.join("waterspout.log"));
        let guests = guests.canonicalize().with_context(|| format!("{}: no handlers", guests.display()))?;
        let text = CONFIGURATION.replace("GUESTS", &guests.to_string_lossy());
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, address) = tokio::sync::oneshot::channel();
        // Reads to the end, so that the program never waits for this one.
        std::thread::spawn(move || {
            let mut sender = Some(sender);
            for line in stdout.lines().map_while(Result::ok) {
                let address =
                    line.split_once("ws://").and_then(|(_, url)| url.split('/').next()?.parse().ok());
                if let (Some(address), Some(sender)) = (address, sender.take_if(|_| address.is_some())) {
                    let _ = sender.send(address);
                }
            }
        });
        match address.await {
            Ok(address) => Ok(Self { child, address, log }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("the program did not start; its log: {}", log.display())
            }
        }
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id())
    }

    /// Fails if it has ended.
    pub(crate) fn lives(&mut self) -> Result<()> {
        match self.child.try_wait().context("cannot watch the program")? {
            None => Ok(()),
            Some(status) => bail!("the program has ended ({status}); its log: {}", self.log.display()),
        }
    }

    /// Panics in its log, of which tokio swallows most.
    pub(crate) fn panics(&self) -> Result<usize> {
        let log = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        let log = String::from_utf8_lossy(&log);
        // Guests panic, too: their lines are records of the log.
        Ok(log.lines().filter(|line| line.starts_with("thread '")).count())
    }

    /// Tells it to go away, which must be a success.
    pub(crate) async fn end(mut self) -> Result<()> {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        asked.context("cannot run kill")?;
        let deadline = Instant::now() + END_PATIENCE;
        loop {
            match self.child.try_wait().context("cannot watch the program")? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the program ended with {status}; its log: {}", self.log.display()),
                None if Instant::now() >= deadline => {
                    bail!("the program did not end within {END_PATIENCE:?}")
                }
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Errors only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
