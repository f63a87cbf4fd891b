//! What Linux tells about a process, and how fast its memory grows.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::tally::Counts;

/// What a process uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: usize,
    /// Those of the descriptors that are sockets, its listener included.
    pub(crate) sockets: usize,
    pub(crate) threads: u64,
}

impl Usage {
    /// Of a process that runs.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("{path}: the soak needs Linux"))?;
        let field = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.with_context(|| format!("{path} has no {key}"))
        };
        let folder = format!("/proc/{pid}/fd");
        // One that is closed meanwhile cannot be read any more.
        let open: Vec<_> = fs::read_dir(&folder)
            .with_context(|| format!("cannot read {folder}"))?
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .collect();
        let sockets = open.iter().filter(|to| to.to_string_lossy().starts_with("socket:")).count();
        Ok(Self {
            resident_kib: field("VmRSS")?,
            descriptors: open.len(),
            sockets,
            threads: field("Threads")?,
        })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident_kib, descriptors, sockets, threads } = self;
        write!(
            f,
            "{:.1} MiB resident, {descriptors} descriptors ({sockets} sockets), {threads} threads",
            *resident_kib as f64 / 1024.0
        )
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Since the load began.
    pub(crate) at: Duration,
    pub(crate) usage: Usage,
    pub(crate) counts: Counts,
}

impl Sample {
    pub(crate) const HEADING: &str =
        "    s   RSS MiB  descr.  sockets  threads  clients      answers    attacks  errors";
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, usage, counts } = self;
        write!(
            f,
            "{:>5}  {:>8.1}  {:>6}  {:>7}  {:>7}  {:>7}  {:>11}  {:>9}  {:>6}",
            at.as_secs(),
            usage.resident_kib as f64 / 1024.0,
            usage.descriptors,
            usage.sockets,
            usage.threads,
            counts.open,
            counts.answers,
            counts.attacks,
            counts.errors
        )
    }
}

/// How fast resident memory grows, in KiB a minute: the straight line with the least squares.
pub(crate) fn slope_per_minute(samples: &[Sample]) -> f64 {
    let count = samples.len() as f64;
    let minutes = |sample: &Sample| sample.at.as_secs_f64() / 60.0;
    let resident = |sample: &Sample| sample.usage.resident_kib as f64;
    let mean_minutes = samples.iter().map(minutes).sum::<f64>() / count;
    let mean_resident = samples.iter().map(resident).sum::<f64>() / count;
    let spread: f64 = samples.iter().map(|sample| (minutes(sample) - mean_minutes).powi(2)).sum();
    let common = |sample: &Sample| (minutes(sample) - mean_minutes) * (resident(sample) - mean_resident);
    if spread == 0.0 { 0.0 } else { samples.iter().map(common).sum::<f64>() / spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, resident_kib: u64) -> Sample {
        let usage = Usage { resident_kib, descriptors: 0, sockets: 0, threads: 0 };
        Sample { at: Duration::from_secs(seconds), usage, counts: Counts::default() }
    }

    #[test]
    fn the_slope_is_what_memory_grows_by_in_a_minute() {
        let steady: Vec<Sample> = (0..10).map(|n| sample(n * 30, 1000 + n * 50)).collect();
        assert!((slope_per_minute(&steady) - 100.0).abs() < 1e-6);
        let flat = [sample(0, 500), sample(60, 500)];
        assert!(slope_per_minute(&flat).abs() < 1e-6);
        assert_eq!(slope_per_minute(&[sample(5, 7)]), 0.0, "one sample has no slope");
    }

    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let usage = Usage::of(std::process::id()).expect("it runs");
        assert!(usage.resident_kib > 0 && usage.threads > 0 && usage.descriptors > 0, "{usage}");
    }
}
