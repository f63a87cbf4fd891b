//! Echoes of compressed chat lines, Waterspout beside servers that people use for this, and the table.
//!
//! All of them agree to the same and compress alike; how many bytes an echo takes on the wire shows whether they do.

use anyhow::Result;

use crate::deflate;
use crate::figures::{count, micros};
use crate::load::{self, Report, Work};
use crate::rounds::{Caveats, Rounds};
use crate::server::{Peer, Servers};

/// What Waterspout is compared with.
pub(crate) const PEERS: [Peer; 3] = [Peer::Tornado, Peer::Ws, Peer::Native];

/// Measures `peers`, the last of which is Waterspout.
pub(crate) fn echo(servers: &Servers<'_>, peers: &[Peer], works: &[Work], rounds_count: usize) -> Result<()> {
    let mut lines = Vec::new();
    let mut caveats = Caveats::default();
    for work in works {
        let rounds = Rounds::run(servers, peers, rounds_count, work, |server| {
            load::measure(&server.endpoint, &Work { server_pid: Some(server.pid()), ..*work })
        })?;
        // The same as seconds for a million.
        let cpu = |peer| rounds.median(peer, |report| report.server_micros_per_message().unwrap_or(f64::NAN));
        for &peer in peers.iter().rev() {
            let of_peer = match peer {
                Peer::Waterspout => ["".into(), "".into()],
                _ => [
                    rounds.ratio(Peer::Waterspout, peer, Report::messages_per_second).to_string(),
                    format!("{:.2}", cpu(peer) / cpu(Peer::Waterspout)),
                ],
            };
            lines.push(format!(
                "| {work} | {} | {} | {} | {} | {:.2} | {} | {:.0} | {} |",
                peer.name(),
                count(rounds.median(peer, Report::messages_per_second)),
                of_peer[0],
                micros(rounds.median(peer, |report| report.percentile(99.0).as_secs_f64() * 1e6)),
                cpu(peer),
                of_peer[1],
                rounds.median(peer, Report::echo_bytes),
                caveats.busy(&rounds, peer),
            ));
        }
    }

    if let Some(work) = works.first() {
        println!(
            "\n## Compressed echo, {:?} messages, {rounds_count} rounds of {:?}\n",
            work.kind, work.measured
        );
    }
    println!(
        "| connections × size × in flight | server | msg/s | Waterspout's ÷ this (lowest–highest) | p99 \
         | CPU s/million msg | CPU, this ÷ Waterspout's | echo on the wire, B | load busy |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|");
    lines.iter().for_each(|line| println!("{line}"));
    println!(
        "\nChat lines as JSON; {}. Medians of the rounds. Over 1 in either ratio, Waterspout does better. CPU is that of \
         the server's process, all its threads. Latency in a closed loop, coordinated omission not corrected.",
        deflate::PARAMETERS
    );
    caveats.print();
    Ok(())
}
