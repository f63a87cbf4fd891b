//! Native and Waterspout in turn, A B A B, and the tables.
//!
//! Every measurement has a fresh server, alone on its processor, so neither server can disturb the other and no row
//! inherits what another left behind. A ratio is taken within a round, where the two ran one right after the other;
//! the table has the median of the rounds and how far they lie apart. Targets are told as met or not met and never
//! change the exit code.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::frames::Kind;
use crate::load::{self, Work};
use crate::server::{self, Peer, Server, Servers};
use crate::{accepts, machine, memory};

/// The share of native's messages to reach with one message in flight, and with several.
const TARGET_PING_PONG: f64 = 0.65;
const TARGET_IN_FLIGHT: f64 = 0.35;
/// Resident memory for each idle connection, to stay under.
const TARGET_IDLE_BYTES: f64 = 45.0 * 1024.0;
/// The native echo is a fair baseline only if 16 in flight bring it this many times its own ping-pong.
const PLAUSIBLE_GAIN: f64 = 8.0;
/// The row the baseline is judged by: connections, size, in flight.
const PLAUSIBLE_ROW: (usize, usize, usize) = (50, 64, 16);
/// With so much of the load generator's processor taken by others, the figures are noise.
const NOISE: f64 = 0.05;
/// From here on the load generator was as busy as it can be.
const LOAD_IS_FULL: f64 = 0.95;
/// Servers have this long to fill pools and caches.
const WARM_UP: Duration = Duration::from_millis(500);
/// Memory is read when it has had this long to come to rest.
const SETTLE: Duration = Duration::from_secs(1);

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Echo,
    Accepts,
    Memory,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    servers: server::Options,
    /// Only these parts
    #[arg(long, value_delimiter = ',', default_value = "echo,accepts,memory")]
    parts: Vec<Part>,
    /// Rounds, each of which measures both servers
    #[arg(long, default_value = "3")]
    rounds: NonZeroUsize,
    /// Seconds for each measurement
    #[arg(long, default_value = "2")]
    seconds: NonZeroUsize,
    /// Open connections
    #[arg(long, value_delimiter = ',', default_value = "1,50")]
    connections: Vec<NonZeroUsize>,
    /// Bytes in each message
    #[arg(long, value_delimiter = ',', default_value = "64,16384")]
    sizes: Vec<usize>,
    /// Messages in flight on each connection
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    in_flight: Vec<NonZeroUsize>,
    /// What the messages are
    #[arg(long, value_enum, default_value = "binary")]
    kind: Kind,
    /// Idle connections whose memory is measured
    #[arg(long, default_value = "2000")]
    idle: NonZeroUsize,
}

#[derive(clap::Args)]
pub(crate) struct MemoryOptions {
    #[command(flatten)]
    servers: server::Options,
    /// Idle connections
    #[arg(long, default_value = "2000")]
    idle: NonZeroUsize,
}

#[derive(clap::Args)]
pub(crate) struct AcceptsOptions {
    #[command(flatten)]
    servers: server::Options,
    /// Rounds, each of which measures both servers
    #[arg(long, default_value = "3")]
    rounds: NonZeroUsize,
    /// Seconds for each measurement
    #[arg(long, default_value = "2")]
    seconds: NonZeroUsize,
}

/// The `compare` command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let servers = prepare(&options.servers)?;
    let measured = Duration::from_secs(options.seconds.get() as u64);
    if options.parts.contains(&Part::Echo) {
        echo(&servers, options, measured)?;
    }
    if options.parts.contains(&Part::Accepts) {
        accepts(&servers, options.rounds.get(), measured)?;
    }
    if options.parts.contains(&Part::Memory) {
        memory(&servers, options.idle.get())?;
    }
    Ok(())
}

/// The `memory` command.
pub(crate) fn run_memory(options: &MemoryOptions) -> Result<()> {
    memory(&prepare(&options.servers)?, options.idle.get())
}

/// The `accepts` command.
pub(crate) fn run_accepts(options: &AcceptsOptions) -> Result<()> {
    let measured = Duration::from_secs(options.seconds.get() as u64);
    accepts(&prepare(&options.servers)?, options.rounds.get(), measured)
}

fn prepare(options: &server::Options) -> Result<Servers<'_>> {
    // Before this process is pinned, which changes what it is told.
    let machine = machine::describe();
    let servers = Servers::prepare(options)?;
    println!("{machine}; {}", servers.pinning.describe());
    Ok(servers)
}

/// Runs `measure` on a fresh server.
fn on_fresh<T>(servers: &Servers<'_>, peer: Peer, measure: impl FnOnce(&Server) -> Result<T>) -> Result<T> {
    let server = servers.start(peer)?;
    match measure(&server) {
        Ok(value) => Ok(value),
        Err(error) => Err(server.explain(error)).with_context(|| format!("measuring {}", peer.name())),
    }
}

/// Both servers' results, a pair for each round.
struct Rounds<T>(Vec<[T; 2]>);

impl<T> Rounds<T> {
    fn run(
        servers: &Servers<'_>,
        rounds: usize,
        what: &str,
        measure: impl Fn(&Server) -> Result<T>,
    ) -> Result<Self> {
        let one = |round: usize, peer: Peer| {
            eprintln!("{what}: round {} of {rounds}, {}", round + 1, peer.name());
            on_fresh(servers, peer, &measure).with_context(|| what.to_owned())
        };
        let pairs: Result<_> =
            (0..rounds).map(|round| Ok([one(round, Peer::Native)?, one(round, Peer::Waterspout)?])).collect();
        Ok(Self(pairs?))
    }
}

impl<T> Rounds<T> {
    /// The median of one figure of one server.
    fn median(&self, peer: Peer, figure: impl Fn(&T) -> f64) -> f64 {
        median(self.0.iter().map(|pair| figure(&pair[peer as usize])).collect())
    }

    /// Waterspout's share of native, within each round.
    fn ratio(&self, figure: impl Fn(&T) -> f64) -> Ratio {
        let mut ratios: Vec<f64> =
            self.0.iter().map(|[native, waterspout]| figure(waterspout) / figure(native)).collect();
        ratios.sort_by(f64::total_cmp);
        Ratio { lowest: ratios[0], highest: ratios[ratios.len() - 1], median: median(ratios) }
    }
}

struct Ratio {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "**{:.2}** ({:.2}–{:.2})", self.median, self.lowest, self.highest)
    }
}

/// Of an even number, the lower one of the middle two, so that it is a value that was measured.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "not met" }
}

fn echo(servers: &Servers<'_>, options: &Options, measured: Duration) -> Result<()> {
    let mut rows = Vec::new();
    for &connections in &options.connections {
        for &payload_bytes in &options.sizes {
            for &in_flight in &options.in_flight {
                rows.push((connections.get(), payload_bytes, in_flight.get()));
            }
        }
    }
    let mut lines = Vec::new();
    let mut load_was_full = false;
    let mut noise: f64 = 0.0;
    let mut native_rates = Vec::new();
    for &row @ (connections, payload_bytes, in_flight) in &rows {
        let name = format!("{connections} × {} × {in_flight}", size(payload_bytes));
        let rounds = Rounds::run(servers, options.rounds.get(), &name, |server| {
            let work = Work {
                connections,
                payload_bytes,
                in_flight,
                kind: options.kind,
                warm_up: WARM_UP,
                measured,
                server_pid: Some(server.pid()),
            };
            load::measure(&server.endpoint, &work)
        })?;
        let rate = |peer| rounds.median(peer, |report| report.messages_per_second());
        let p99 = |peer| rounds.median(peer, |report| report.percentile(99.0).as_secs_f64() * 1e6);
        let cpu = |peer| rounds.median(peer, |report| report.server_micros_per_message().unwrap_or(f64::NAN));
        let busy = |peer| rounds.median(peer, load::Report::load_busy);
        let kept_waiting = |peer| rounds.median(peer, load::Report::load_kept_waiting);
        let ratio = rounds.ratio(|report| report.messages_per_second());
        let target = if in_flight == 1 { TARGET_PING_PONG } else { TARGET_IN_FLIGHT };
        let is_full = busy(Peer::Native) >= LOAD_IS_FULL;
        load_was_full |= is_full;
        noise = noise.max(kept_waiting(Peer::Native)).max(kept_waiting(Peer::Waterspout));
        native_rates.push((row, rate(Peer::Native)));
        lines.push(format!(
            "| {name} | {} | {} | {ratio} | {target:.2} {} | {} | {} | {:.2} | {:.2} | {:.2} | {:.0} %{} / {:.0} % |",
            count(rate(Peer::Native)),
            count(rate(Peer::Waterspout)),
            verdict(ratio.median >= target),
            micros(p99(Peer::Native)),
            micros(p99(Peer::Waterspout)),
            cpu(Peer::Native),
            cpu(Peer::Waterspout),
            cpu(Peer::Native) / cpu(Peer::Waterspout),
            busy(Peer::Native) * 100.0,
            if is_full { " (!)" } else { "" },
            busy(Peer::Waterspout) * 100.0,
        ));
    }

    println!("\n## Echo, {:?} messages, {} rounds of {measured:?}\n", options.kind, options.rounds);
    println!(
        "| connections × size × in flight | native msg/s | waterspout msg/s | ratio (lowest–highest) | target \
         | native p99 | waterspout p99 | native CPU µs/msg | waterspout CPU µs/msg | CPU ratio \
         | load busy, native / waterspout |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    lines.iter().for_each(|line| println!("{line}"));
    println!(
        "\nMedians of the rounds. Latency in a closed loop, coordinated omission not corrected. The CPU ratio is what \
         a message costs the server's process, native ÷ waterspout; it depends less on what else the machine does."
    );
    if load_was_full {
        println!(
            "(!) The load generator had no time left: native could be faster, so the ratio is an upper bound."
        );
    }
    if noise > NOISE {
        println!(
            "WARNING: noisy: other processes kept the load generator from its processor for up to {:.0} % of the time.",
            noise * 100.0
        );
    }
    println!("{}", plausibility(&native_rates));
    Ok(())
}

/// Tells whether the baseline is one, if the rows it is judged by were measured.
fn plausibility(native_rates: &[((usize, usize, usize), f64)]) -> String {
    let rate = |wanted| native_rates.iter().find(|(row, _)| *row == wanted).map(|(_, rate)| rate);
    let (connections, payload_bytes, in_flight) = PLAUSIBLE_ROW;
    let rates = rate((connections, payload_bytes, 1)).zip(rate(PLAUSIBLE_ROW));
    let Some(gain) = rates.map(|(ping_pong, in_flight)| in_flight / ping_pong) else {
        return "Baseline not judged: the rows for it were not measured.".into();
    };
    let what = format!(
        "{connections} × {payload_bytes} B: native with {in_flight} in flight does {gain:.1} × its ping-pong (at \
         least {PLAUSIBLE_GAIN})."
    );
    if gain >= PLAUSIBLE_GAIN {
        format!("Plausible baseline: {what}")
    } else {
        format!(
            "WARNING: implausible baseline: {what} The machine is busy, or native does not flush once per wake-up, \
             or the load generator is the bottleneck."
        )
    }
}

fn accepts(servers: &Servers<'_>, rounds: usize, measured: Duration) -> Result<()> {
    let rounds = Rounds::run(servers, rounds, "connections opened", |server| {
        accepts::measure(&server.endpoint, WARM_UP, measured)
    })?;
    println!("\n## Connections opened per second, each with one echo and a close\n");
    println!("| native | waterspout | ratio (lowest–highest) |\n|--:|--:|--:|");
    let rate = |peer| count(rounds.median(peer, |rate| *rate));
    println!("| {} | {} | {} |", rate(Peer::Native), rate(Peer::Waterspout), rounds.ratio(|rate| *rate));
    Ok(())
}

fn memory(servers: &Servers<'_>, idle: usize) -> Result<()> {
    let mut lines = Vec::new();
    for peer in Peer::BOTH {
        eprintln!("memory: {}", peer.name());
        let report =
            on_fresh(servers, peer, |server| memory::measure(&server.endpoint, server.pid(), idle, SETTLE))?;
        for (state, growth) in [("opened", report.opened), ("after one echo", report.echoed)] {
            let target = match peer {
                Peer::Native => "",
                Peer::Waterspout => verdict(growth.rss_bytes < TARGET_IDLE_BYTES),
            };
            lines.push(format!(
                "| {} | {state} | {} | {} | {} | {target} |",
                peer.name(),
                kibibytes(growth.rss_bytes),
                kibibytes(growth.pss_bytes),
                kibibytes(report.base.rss_bytes as f64),
            ));
        }
    }
    println!("\n## Resident memory per idle connection: growth of the server over {idle}\n");
    println!(
        "| server | state | RSS KiB | PSS KiB | whole server before, RSS KiB | target under {} |",
        kibibytes(TARGET_IDLE_BYTES)
    );
    println!("|---|---|--:|--:|--:|--:|");
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// `64 B`, `16 KiB`.
fn size(bytes: usize) -> String {
    if bytes > 0 && bytes.is_multiple_of(1024) {
        format!("{} KiB", bytes / 1024)
    } else {
        format!("{bytes} B")
    }
}

/// Three or more digits: `950`, `236k`, `2.60M`.
fn count(value: f64) -> String {
    match value {
        0.0..1e4 => format!("{value:.0}"),
        1e4..1e5 => format!("{:.1}k", value / 1e3),
        1e5..1e6 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.2}M", value / 1e6),
    }
}

fn micros(value: f64) -> String {
    if value < 1e4 { format!("{value:.0} µs") } else { format!("{:.1} ms", value / 1e3) }
}

fn kibibytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // The machine slowed down by half in the second round, for both.
        let rounds = Rounds(vec![[100.0, 70.0], [50.0, 36.0], [100.0, 60.0]]);
        let ratio = rounds.ratio(|rate| *rate);
        assert_eq!((ratio.lowest, ratio.median, ratio.highest), (0.6, 0.7, 0.72));
        assert_eq!(rounds.median(Peer::Native, |rate| *rate), 100.0);
        assert_eq!(rounds.median(Peer::Waterspout, |rate| *rate), 60.0);
    }

    #[test]
    fn the_baseline_is_plausible_from_eight_times_its_ping_pong_on() {
        let told = |gain| plausibility(&[((50, 64, 1), 100.0), ((50, 64, 16), 100.0 * gain)]);
        assert!(told(8.0).starts_with("Plausible"));
        assert!(told(7.9).starts_with("WARNING"));
        assert!(plausibility(&[((50, 64, 1), 100.0), ((1, 64, 16), 100.0)]).contains("not judged"));
    }

    #[test]
    fn a_median_is_a_value_that_was_measured() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median(vec![5.0]), 5.0);
    }

    #[test]
    fn figures_are_printed_with_three_digits_and_a_unit() {
        assert_eq!([950.0, 23_600.0, 236_400.0, 2_600_000.0].map(count), ["950", "23.6k", "236k", "2.60M"]);
        assert_eq!([64, 16_384, 0, 1000].map(size), ["64 B", "16 KiB", "0 B", "1000 B"]);
        assert_eq!([12.4, 15_000.0].map(micros), ["12 µs", "15.0 ms"]);
    }
}
