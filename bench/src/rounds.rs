//! Servers measured in turn, A B A B, and what may be concluded from it.
//!
//! Every measurement has a fresh server, alone on its processor, so no server can disturb another and no row inherits
//! what another left behind. A ratio is taken within a round, where the servers ran one right after the other; a table
//! has the median of the rounds and how far they lie apart.

use std::fmt;

use anyhow::{Context, Result};

use crate::figures::median;
use crate::load::Report;
use crate::server::{Peer, Server, Servers};

/// With so much of the load generator's processor taken by others, the figures are noise.
const NOISE: f64 = 0.05;
/// From here on the load generator was as busy as it can be.
const LOAD_IS_FULL: f64 = 0.95;

/// Runs `measure` on a fresh server.
pub(crate) fn on_fresh<T>(
    servers: &Servers<'_>,
    peer: Peer,
    measure: impl FnOnce(&Server) -> Result<T>,
) -> Result<T> {
    let server = servers.start(peer)?;
    match measure(&server) {
        Ok(value) => Ok(value),
        Err(error) => Err(server.explain(error)).with_context(|| format!("measuring {}", peer.name())),
    }
}

/// Each round's results, one for each of the servers.
pub(crate) struct Rounds<T> {
    peers: Vec<Peer>,
    results: Vec<Vec<T>>,
}

impl<T> Rounds<T> {
    /// Measures the servers in the order of `peers`, and so many times.
    pub(crate) fn run(
        servers: &Servers<'_>,
        peers: &[Peer],
        rounds: usize,
        what: impl fmt::Display,
        measure: impl Fn(&Server) -> Result<T>,
    ) -> Result<Self> {
        let one = |round: usize, peer: Peer| {
            eprintln!("{what}: round {} of {rounds}, {}", round + 1, peer.name());
            on_fresh(servers, peer, &measure).with_context(|| what.to_string())
        };
        let round = |number| peers.iter().map(|peer| one(number, *peer)).collect();
        Ok(Self { peers: peers.to_vec(), results: (0..rounds).map(round).collect::<Result<_>>()? })
    }

    /// One figure of one server, round by round.
    fn figures(&self, peer: Peer, figure: impl Fn(&T) -> f64) -> Vec<f64> {
        let column = self.peers.iter().position(|other| *other == peer).expect("it was measured");
        self.results.iter().map(|results| figure(&results[column])).collect()
    }

    pub(crate) fn median(&self, peer: Peer, figure: impl Fn(&T) -> f64) -> f64 {
        median(self.figures(peer, figure))
    }

    /// `dividend`'s figure in terms of `divisor`'s, within each round.
    pub(crate) fn ratio(&self, dividend: Peer, divisor: Peer, figure: impl Fn(&T) -> f64) -> Ratio {
        let pairs = self.figures(dividend, &figure).into_iter().zip(self.figures(divisor, &figure));
        let mut ratios: Vec<f64> = pairs.map(|(dividend, divisor)| dividend / divisor).collect();
        ratios.sort_by(f64::total_cmp);
        Ratio { lowest: ratios[0], highest: ratios[ratios.len() - 1], median: median(ratios) }
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    lowest: f64,
    highest: f64,
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "**{:.2}** ({:.2}–{:.2})", self.median, self.lowest, self.highest)
    }
}

/// What a reader of a table must know about the load generator.
#[derive(Default)]
pub(crate) struct Caveats {
    load_was_full: bool,
    noise: f64,
}

impl Caveats {
    /// How busy the load generator was beside a server, with a mark if it could not do more.
    pub(crate) fn busy(&mut self, rounds: &Rounds<Report>, peer: Peer) -> String {
        let busy = rounds.median(peer, Report::load_busy);
        let is_full = busy >= LOAD_IS_FULL;
        self.load_was_full |= is_full;
        self.noise = self.noise.max(rounds.median(peer, Report::load_kept_waiting));
        format!("{:.0} %{}", busy * 100.0, if is_full { " (!)" } else { "" })
    }

    pub(crate) fn print(&self) {
        if self.load_was_full {
            println!(
                "(!) The load generator had no time left: this server could be faster than the figures."
            );
        }
        if self.noise > NOISE {
            println!(
                "WARNING: noisy: other processes kept the load generator from its processor for up to {:.0} % of the \
                 time.",
                self.noise * 100.0
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // The machine slowed down by half in the second round, for both.
        let results = vec![vec![100.0, 70.0], vec![50.0, 36.0], vec![100.0, 60.0]];
        let rounds = Rounds { peers: vec![Peer::Native, Peer::Waterspout], results };
        let ratio = rounds.ratio(Peer::Waterspout, Peer::Native, |rate| *rate);
        assert_eq!(ratio, Ratio { lowest: 0.6, median: 0.7, highest: 0.72 });
        assert_eq!(rounds.median(Peer::Native, |rate| *rate), 100.0);
        assert_eq!(rounds.median(Peer::Waterspout, |rate| *rate), 60.0);
    }
}
