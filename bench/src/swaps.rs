//! How long connections are without a handler when it is replaced: the host's own figures, with all connections talking meanwhile.
//!
//! Each connection sends a message and waits for whatever comes back, one connection after the other and all the time; so a handler must
//! answer each text. The pauses are what `waterspout deploy --json` reports; the slowest answer is what a peer has noticed of them, with
//! its turn among the others.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::figures::{median, micros};
use crate::folder::Folder;
use crate::machine;
use crate::server::Server;
use crate::talk::Talk;

/// The arguments of `waterspout-bench swaps`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The waterspout program
    #[arg(long, default_value = "target/release/waterspout")]
    waterspout: PathBuf,
    /// The handler that is served first; it must answer each text message
    #[arg(long, default_value = "target/guests/counter-1.wasm")]
    handler: PathBuf,
    /// The version that takes turns with it [default: the same handler]
    #[arg(long)]
    next: Option<PathBuf>,
    /// Connections, each with an instance of its own
    #[arg(long, default_value = "1000")]
    connections: NonZero<u32>,
    /// Swaps, one after the other
    #[arg(long, default_value = "10")]
    swaps: NonZero<u32>,
    /// A line of the route's limits in the configuration, such as `max-memory-bytes = "64MiB"`; may be repeated
    #[arg(long = "limit", value_name = "LINE")]
    limits: Vec<String>,
}

/// What the program reports of a swap.
#[derive(Debug, Deserialize)]
struct Report {
    connections: usize,
    moved: usize,
    unsupported: usize,
    no_room: usize,
    too_large: usize,
    failed: usize,
    first_failure: Option<String>,
    median_pause_ms: f64,
    p99_pause_ms: f64,
    longest_pause_ms: f64,
}

/// The `swaps` command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let next = options.next.as_ref().unwrap_or(&options.handler);
    for (file, hint) in [
        (&options.waterspout, "build it: cargo build --release -p waterspout"),
        (&options.handler, "build it: cargo xtask guests"),
        (next, "build it: cargo xtask guests"),
    ] {
        if !file.is_file() {
            bail!("{}: no such file\nhint: {hint}", file.display());
        }
    }
    println!("{}", machine::describe());
    let folder = Folder::new()?;
    let config = configure(folder.path(), options)?;
    let mut command = Command::new(std::path::absolute(&options.waterspout)?);
    command.args(["--log", "warn", "serve", "--no-page", "--config"]).arg(&config);
    let server = Server::spawn(command).context("starting waterspout")?;
    measure(&server, &config, options, next).map_err(|error| server.explain(error))
}

fn configure(folder: &Path, options: &Options) -> Result<PathBuf> {
    let handler = std::path::absolute(&options.handler)?;
    let config = folder.join("waterspout.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\n[admin]\nlisten = \"unix:{}\"\n[route.bench]\npath = \"/\"\nhandler = {:?}\n[route.bench.limits]\n{}\n",
        folder.join("admin").display(),
        handler.display().to_string(),
        options.limits.join("\n"),
    );
    std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
    Ok(config)
}

fn measure(server: &Server, config: &Path, options: &Options, next: &Path) -> Result<()> {
    let mut connections = Vec::new();
    for number in 1..=options.connections.get() {
        let connection =
            Talk::open(&server.endpoint).with_context(|| format!("opening connection {number}"))?;
        connections.push(connection);
    }
    talk(&mut connections)?;
    println!("| swap | moved | pause, median | 99 % | longest | reported after | slowest answer meanwhile |");
    println!("|---|---|---|---|---|---|---|");
    let mut ninety_nines = Vec::new();
    let mut longest = 0.0_f64;
    for number in 1..=options.swaps.get() {
        let version = if number % 2 == 0 { &options.handler } else { next };
        let done = AtomicBool::new(false);
        let (report, took, slowest) = std::thread::scope(|scope| {
            let talking = scope.spawn(|| {
                let mut slowest = Duration::ZERO;
                while !done.load(Ordering::Relaxed) {
                    slowest = slowest.max(talk(&mut connections)?);
                }
                anyhow::Ok(slowest)
            });
            let began = Instant::now();
            let report = deploy(&options.waterspout, version, config);
            let took = began.elapsed();
            done.store(true, Ordering::Relaxed);
            let slowest = talking.join().expect("it does not panic").context("talking during a swap");
            anyhow::Ok((report?, took, slowest?))
        })?;
        if report.moved != report.connections {
            let Report { unsupported, no_room, too_large, failed, first_failure, .. } = &report;
            eprintln!(
                "swap {number}: not all went over: {unsupported} give no state, {no_room} found no room, {too_large} have too large a state, {failed} failed: {first_failure:?}"
            );
        }
        println!(
            "| {number} | {} of {} | {} | {} | {} | {:.0?} | {:.1?} |",
            report.moved,
            report.connections,
            micros(report.median_pause_ms * 1e3),
            micros(report.p99_pause_ms * 1e3),
            micros(report.longest_pause_ms * 1e3),
            took,
            slowest,
        );
        ninety_nines.push(report.p99_pause_ms);
        longest = longest.max(report.longest_pause_ms);
    }
    talk(&mut connections).context("not all have lived")?;
    println!(
        "\npause of {} connections in {} swaps: 99 % at most {} (median of the swaps), longest {}; target for handlers in Rust: 99 % below 10 ms",
        options.connections,
        options.swaps,
        micros(median(ninety_nines) * 1e3),
        micros(longest * 1e3),
    );
    Ok(())
}

fn deploy(waterspout: &Path, handler: &Path, config: &Path) -> Result<Report> {
    let output = Command::new(std::path::absolute(waterspout)?)
        .arg("deploy")
        .arg(handler)
        .args(["--route", "bench", "--json", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .output()
        .context("running waterspout deploy")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
    serde_json::from_slice(&output.stdout).context("waterspout deploy reports something else")
}

/// Each sends a message and waits for an answer. Returns the longest time that one took.
fn talk(connections: &mut [Talk]) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for (number, connection) in connections.iter_mut().enumerate() {
        let began = Instant::now();
        connection.say(1).with_context(|| format!("connection {}", number + 1))?;
        slowest = slowest.max(began.elapsed());
    }
    Ok(slowest)
}
