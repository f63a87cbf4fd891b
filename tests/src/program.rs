//! The program `waterspout` of this profile, as a person calls it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout};

/// How long what is compiled may take, by a compiler that is not optimised itself, with others beside it.
pub const COMPILING: Duration = Duration::from_secs(240);

/// The repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo as a person calls it: what it tells a test is not for it, and would have it compile again what looks at that.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    as_a_person(&mut cargo);
    cargo.current_dir(root());
    cargo
}

/// Takes what cargo tells a test out of a command's environment.
pub fn as_a_person(command: &mut Command) {
    const OF_A_TEST: [&str; 5] =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_TARGET_TMPDIR"];
    for (name, _) in std::env::vars_os() {
        if OF_A_TEST.iter().any(|begin| name.to_string_lossy().starts_with(begin)) {
            command.env_remove(name);
        }
    }
}

/// Runs a command to its end, and returns what it wrote to its standard output.
///
/// # Panics
/// It has failed; the message has what it said.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}{complained}", output.status);
    said
}

/// The program's file. It is built, once in a process.
///
/// # Panics
/// It cannot be built.
#[must_use]
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = cargo();
        cargo.args(["build", "--quiet", "--package", "waterspout", "--bin", "waterspout"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        run(&mut cargo);
        let test = std::env::current_exe().expect("a test is a file");
        let profile = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
        profile.join("waterspout")
    })
}

/// The program as a server. It ends with the value.
#[derive(Debug)]
pub struct Served {
    child: Child,
    /// The line in which it says where it listens.
    pub listening: String,
    output: Lines<BufReader<ChildStdout>>,
    log: Lines<BufReader<ChildStderr>>,
}

impl Served {
    /// Runs it, with these arguments, on a free port, with a cache and a state of its own below `folder`, until it listens.
    ///
    /// # Panics
    /// It ends, or takes longer than [`COMPILING`].
    pub async fn start(command: Command, folder: &Path) -> Self {
        let mut command = tokio::process::Command::from(command);
        command
            .env("XDG_CACHE_HOME", folder.join("target/cache"))
            .env("XDG_STATE_HOME", folder.join("target/state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut output = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
        let listening = tokio::time::timeout(COMPILING, next_with(&mut output, "listening on ")).await;
        match listening.unwrap_or_else(|_| panic!("{command:?} does not listen within {COMPILING:?}")) {
            Ok(listening) => Self { child, listening, output, log },
            // It has said why. No line has an end of a line in it.
            Err(_) => panic!(
                "{command:?} has ended:\n{}",
                next_with(&mut log, "\n").await.unwrap_or_else(|all| all)
            ),
        }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// It has named no address with a port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.authority().parse().expect("an address")
    }

    /// Host and port of its URL.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.listening.split('/').nth(2).expect("a URL")
    }

    /// The next record of its log with this in it.
    ///
    /// # Panics
    /// None comes within [`COMPILING`].
    pub async fn record_with(&mut self, text: &str) -> String {
        line_with(&mut self.log, text).await
    }

    /// The next line of its output with this in it.
    ///
    /// # Panics
    /// None comes within [`COMPILING`].
    pub async fn says(&mut self, text: &str) -> String {
        line_with(&mut self.output, text).await
    }

    /// Ends it.
    ///
    /// # Panics
    /// It cannot be ended.
    pub async fn end(mut self) {
        crate::within("the server to end", self.child.kill()).await.expect("it runs");
    }
}

async fn line_with<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>, text: &str) -> String {
    match tokio::time::timeout(COMPILING, next_with(lines, text)).await {
        Ok(Ok(line)) => line,
        Ok(Err(all)) => panic!("no line with `{text}` in:\n{all}"),
        Err(_) => panic!("no line with `{text}` within {COMPILING:?}"),
    }
}

/// The next line with this in it, or all lines, if they end without one.
async fn next_with<R: AsyncRead + Unpin>(
    lines: &mut Lines<BufReader<R>>,
    text: &str,
) -> Result<String, String> {
    let mut all = String::new();
    while let Some(line) = lines.next_line().await.expect("text") {
        if line.contains(text) {
            return Ok(line);
        }
        all.push_str(&line);
        all.push('\n');
    }
    Err(all)
}
