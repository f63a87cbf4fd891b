//! What is compared with what, and the tables of native, or a baseline, and Waterspout.
//!
//! Targets are told as met or not met and never change the exit code. They are about native: a baseline has none.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Result;

use crate::figures::{count, kibibytes, micros};
use crate::frames::{Kind, Wire};
use crate::load::{self, Report, Work};
use crate::rounds::{Caveats, Rounds, on_fresh};
use crate::server::{self, Peer, Servers};
use crate::{accepts, compressed, machine, memory};

/// The share of native's messages to reach with one message in flight, and with several.
const TARGET_PING_PONG: f64 = 0.65;
const TARGET_IN_FLIGHT: f64 = 0.35;
/// Resident memory for each idle connection, to stay under.
const TARGET_IDLE_BYTES: f64 = 45.0 * 1024.0;
/// The native echo is a fair comparison only if 16 in flight bring it this many times its own ping-pong.
const PLAUSIBLE_GAIN: f64 = 8.0;
/// The row that native is judged by: connections, size, in flight.
const PLAUSIBLE_ROW: (usize, usize, usize) = (50, 64, 16);
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
    /// Echoes of compressed chat lines instead, compared with Node's ws and Tornado, too
    #[arg(long, conflicts_with = "parts")]
    compressed: bool,
    /// Rounds, each of which measures every server
    #[arg(long, default_value = "3")]
    rounds: NonZeroUsize,
    /// Seconds for each measurement
    #[arg(long, default_value = "2")]
    seconds: NonZeroUsize,
    /// Open connections
    #[arg(long, value_delimiter = ',', default_value = "1,50")]
    connections: Vec<NonZeroUsize>,
    /// Bytes in each message, before they are compressed [default: 64,16384; with --compressed 128,1024,16384]
    #[arg(
        long,
        value_delimiter = ',',
        hide_default_value = true,
        default_value = "64,16384",
        default_value_if("compressed", "true", "128,1024,16384")
    )]
    sizes: Vec<usize>,
    /// Messages in flight on each connection
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    in_flight: Vec<NonZeroUsize>,
    /// What the messages are [default: binary; with --compressed text]
    #[arg(
        long,
        value_enum,
        hide_default_value = true,
        default_value = "binary",
        default_value_if("compressed", "true", "text")
    )]
    kind: Kind,
    /// Idle connections whose memory is measured
    #[arg(long, default_value = "2000")]
    idle: NonZeroUsize,
}

impl Options {
    /// The rows of a table.
    fn works(&self) -> Vec<Work> {
        let wire = if self.compressed { Wire::Compressed } else { Wire::Plain };
        let mut works = Vec::new();
        for &connections in &self.connections {
            for &payload_bytes in &self.sizes {
                works.extend(self.in_flight.iter().map(|in_flight| Work {
                    wire,
                    connections: connections.get(),
                    payload_bytes,
                    in_flight: in_flight.get(),
                    kind: self.kind,
                    warm_up: WARM_UP,
                    measured: Duration::from_secs(self.seconds.get() as u64),
                    server_pid: None,
                }));
            }
        }
        works
    }
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
    /// Rounds, each of which measures every server
    #[arg(long, default_value = "3")]
    rounds: NonZeroUsize,
    /// Seconds for each measurement
    #[arg(long, default_value = "2")]
    seconds: NonZeroUsize,
}

/// The `compare` command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (works, rounds) = (options.works(), options.rounds.get());
    if options.compressed {
        let (servers, peers) = prepare(&options.servers, &compressed::PEERS)?;
        return compressed::echo(&servers, &peers, &works, rounds);
    }
    let (servers, peers) = prepare_two(&options.servers)?;
    if options.parts.contains(&Part::Echo) {
        echo(&servers, peers, &works, rounds)?;
    }
    if options.parts.contains(&Part::Accepts) {
        accepts(&servers, peers, rounds, Duration::from_secs(options.seconds.get() as u64))?;
    }
    if options.parts.contains(&Part::Memory) {
        memory(&servers, peers, options.idle.get())?;
    }
    Ok(())
}

/// The `memory` command.
pub(crate) fn run_memory(options: &MemoryOptions) -> Result<()> {
    let (servers, peers) = prepare_two(&options.servers)?;
    memory(&servers, peers, options.idle.get())
}

/// The `accepts` command.
pub(crate) fn run_accepts(options: &AcceptsOptions) -> Result<()> {
    let measured = Duration::from_secs(options.seconds.get() as u64);
    let (servers, peers) = prepare_two(&options.servers)?;
    accepts(&servers, peers, options.rounds.get(), measured)
}

/// Servers, and which: the `usual` ones or a baseline, and Waterspout as the last.
fn prepare<'a>(options: &'a server::Options, usual: &[Peer]) -> Result<(Servers<'a>, Vec<Peer>)> {
    // Before this process is pinned, which changes what it is told.
    let machine = machine::describe();
    let mut peers = options.peers(usual);
    peers.push(Peer::Waterspout);
    let servers = Servers::prepare(options, &peers)?;
    println!("{machine}; {}", servers.pinning.describe());
    // Before anything is measured: minutes later would be late for one that does not start.
    for peer in &peers {
        println!("{}: {}", peer.name(), servers.describe(*peer)?);
    }
    Ok((servers, peers))
}

/// Native or the baseline, and Waterspout.
fn prepare_two(options: &server::Options) -> Result<(Servers<'_>, [Peer; 2])> {
    let (servers, peers) = prepare(options, &[Peer::Native])?;
    let peers = peers.try_into().expect("one other is compared with Waterspout");
    Ok((servers, peers))
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "not met" }
}

fn echo(servers: &Servers<'_>, peers: [Peer; 2], works: &[Work], rounds_count: usize) -> Result<()> {
    let [other, ours] = peers;
    let mut lines = Vec::new();
    let mut caveats = Caveats::default();
    let mut native_rates = Vec::new();
    for work in works {
        let rounds = Rounds::run(servers, &peers, rounds_count, work, |server| {
            load::measure(&server.endpoint, &Work { server_pid: Some(server.pid()), ..*work })
        })?;
        let rate = |peer| rounds.median(peer, Report::messages_per_second);
        let p99 = |peer| rounds.median(peer, |report| report.percentile(99.0).as_secs_f64() * 1e6);
        let cpu = |peer| rounds.median(peer, |report| report.server_micros_per_message().unwrap_or(f64::NAN));
        let ratio = rounds.ratio(ours, other, Report::messages_per_second);
        let target = if work.in_flight == 1 { TARGET_PING_PONG } else { TARGET_IN_FLIGHT };
        let verdict = match other {
            Peer::Native => {
                native_rates.push(((work.connections, work.payload_bytes, work.in_flight), rate(other)));
                format!("{target:.2} {}", verdict(ratio.median >= target))
            }
            _ => "none".into(),
        };
        lines.push(format!(
            "| {work} | {} | {} | {ratio} | {verdict} | {} | {} | {:.2} | {:.2} | {:.2} | {} / {} |",
            count(rate(other)),
            count(rate(ours)),
            micros(p99(other)),
            micros(p99(ours)),
            cpu(other),
            cpu(ours),
            cpu(other) / cpu(ours),
            caveats.busy(&rounds, other),
            caveats.busy(&rounds, ours),
        ));
    }

    if let Some(work) = works.first() {
        println!("\n## Echo, {:?} messages, {rounds_count} rounds of {:?}\n", work.kind, work.measured);
    }
    let [other, ours] = peers.map(Peer::name);
    println!(
        "| connections × size × in flight | {other} msg/s | {ours} msg/s | ratio (lowest–highest) | target \
         | {other} p99 | {ours} p99 | {other} CPU µs/msg | {ours} CPU µs/msg | CPU ratio \
         | load busy, {other} / {ours} |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    lines.iter().for_each(|line| println!("{line}"));
    println!(
        "\nMedians of the rounds. Latency in a closed loop, coordinated omission not corrected. The CPU ratio is what \
         a message costs the server's process, {other} ÷ {ours}; it depends less on what else the machine does."
    );
    caveats.print();
    if peers[0] == Peer::Native {
        println!("{}", plausibility(&native_rates));
    }
    Ok(())
}

/// Tells whether native is a fair comparison, if the rows it is judged by were measured.
fn plausibility(native_rates: &[((usize, usize, usize), f64)]) -> String {
    let rate = |wanted| native_rates.iter().find(|(row, _)| *row == wanted).map(|(_, rate)| rate);
    let (connections, payload_bytes, in_flight) = PLAUSIBLE_ROW;
    let rates = rate((connections, payload_bytes, 1)).zip(rate(PLAUSIBLE_ROW));
    let Some(gain) = rates.map(|(ping_pong, in_flight)| in_flight / ping_pong) else {
        return "Native not judged: the rows for it were not measured.".into();
    };
    let what = format!(
        "{connections} × {payload_bytes} B: native with {in_flight} in flight does {gain:.1} × its ping-pong (at \
         least {PLAUSIBLE_GAIN})."
    );
    if gain >= PLAUSIBLE_GAIN {
        format!("Plausible: {what}")
    } else {
        format!(
            "WARNING: implausible: {what} The machine is busy, or native does not flush once per wake-up, \
             or the load generator is the bottleneck."
        )
    }
}

fn accepts(servers: &Servers<'_>, peers: [Peer; 2], rounds: usize, measured: Duration) -> Result<()> {
    let rounds = Rounds::run(servers, &peers, rounds, "connections opened", |server| {
        accepts::measure(&server.endpoint, WARM_UP, measured)
    })?;
    let [other, ours] = peers;
    println!("\n## Connections opened per second, each with one echo and a close\n");
    println!("| {} | {} | ratio (lowest–highest) |\n|--:|--:|--:|", other.name(), ours.name());
    let rate = |peer| count(rounds.median(peer, |rate| *rate));
    println!("| {} | {} | {} |", rate(other), rate(ours), rounds.ratio(ours, other, |rate| *rate));
    Ok(())
}

fn memory(servers: &Servers<'_>, peers: [Peer; 2], idle: usize) -> Result<()> {
    let mut lines = Vec::new();
    for peer in peers {
        eprintln!("memory: {}", peer.name());
        let report =
            on_fresh(servers, peer, |server| memory::measure(&server.endpoint, server.pid(), idle, SETTLE))?;
        for (state, growth) in [("opened", report.opened), ("after one echo", report.echoed)] {
            let target = match peer {
                Peer::Waterspout => verdict(growth.rss_bytes < TARGET_IDLE_BYTES),
                _ => "",
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn compressed_echoes_have_other_sizes_and_are_text() {
        let works = |line: &[&str]| Line::try_parse_from(line).unwrap().options.works();
        let [plain, compressed] = [works(&["compare"]), works(&["compare", "--compressed"])];
        let names = |works: &[Work]| works.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((plain.len(), plain[0].kind, plain[0].wire), (8, Kind::Binary, Wire::Plain));
        assert_eq!(names(&plain)[..3], ["1 × 64 B × 1", "1 × 64 B × 16", "1 × 16 KiB × 1"]);
        assert_eq!(
            (compressed.len(), compressed[0].kind, compressed[0].wire),
            (12, Kind::Text, Wire::Compressed)
        );
        assert_eq!(names(&compressed)[11], "50 × 16 KiB × 16");
        let chosen = works(&["compare", "--compressed", "--sizes", "64", "--kind", "binary"]);
        assert_eq!((chosen.len(), chosen[0].payload_bytes, chosen[0].kind), (4, 64, Kind::Binary));
        assert!(Line::try_parse_from(["compare", "--compressed", "--parts", "memory"]).is_err());
    }

    #[test]
    fn native_is_plausible_from_eight_times_its_ping_pong_on() {
        let told = |gain| plausibility(&[((50, 64, 1), 100.0), ((50, 64, 16), 100.0 * gain)]);
        assert!(told(8.0).starts_with("Plausible"));
        assert!(told(7.9).starts_with("WARNING"));
        assert!(plausibility(&[((50, 64, 1), 100.0), ((1, 64, 16), 100.0)]).contains("not judged"));
    }
}
