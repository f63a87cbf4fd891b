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

/// How fast resident memory grows, in KiB a minute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trend {
    /// Of the straight line with the least squares.
    pub(crate) slope: f64,
    /// The slope's standard error: what memory's ups and downs alone may make of it. Large where there are few samples.
    pub(crate) error: f64,
}

impl Trend {
    pub(crate) fn of(samples: &[Sample]) -> Self {
        let count = samples.len() as f64;
        let minutes = |sample: &Sample| sample.at.as_secs_f64() / 60.0;
        let resident = |sample: &Sample| sample.usage.resident_kib as f64;
        let mean_minutes = samples.iter().map(minutes).sum::<f64>() / count;
        let mean_resident = samples.iter().map(resident).sum::<f64>() / count;
        let spread: f64 = samples.iter().map(|sample| (minutes(sample) - mean_minutes).powi(2)).sum();
        if samples.len() < 3 || spread == 0.0 {
            return Self { slope: 0.0, error: f64::INFINITY };
        }
        let common = |sample: &Sample| (minutes(sample) - mean_minutes) * (resident(sample) - mean_resident);
        let slope = samples.iter().map(common).sum::<f64>() / spread;
        let beside = |sample: &Sample| {
            (resident(sample) - mean_resident - slope * (minutes(sample) - mean_minutes)).powi(2)
        };
        let error = (samples.iter().map(beside).sum::<f64>() / (count - 2.0) / spread).sqrt();
        Self { slope, error }
    }

    /// Whether memory surely grows faster: by more than ups and downs would explain once in forty times.
    pub(crate) fn exceeds(self, slope: f64) -> bool {
        self.slope - 2.0 * self.error > slope
    }
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
        let trend = Trend::of(&steady);
        assert!((trend.slope - 100.0).abs() < 1e-6 && trend.error < 1e-6, "{trend:?}");
        assert!(trend.exceeds(99.0) && !trend.exceeds(101.0), "{trend:?}");
        let flat: Vec<Sample> = (0..10).map(|n| sample(n * 30, 500)).collect();
        assert!(Trend::of(&flat).slope.abs() < 1e-6);
    }

    #[test]
    fn ups_and_downs_are_no_growth_and_growth_is_seen_through_them() {
        let noisy = |slope: u64| -> Vec<Sample> {
            (0..90).map(|n| sample(n * 5, 200_000 + slope * n / 12 + (n * 7919 % 13) * 800)).collect()
        };
        assert!(!Trend::of(&noisy(0)).exceeds(1024.0));
        assert!(Trend::of(&noisy(4000)).exceeds(1024.0));
        assert!(!Trend::of(&noisy(4000)[..2]).exceeds(1024.0), "two samples tell nothing");
        assert!(!Trend::of(&[]).exceeds(0.0));
    }

    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let usage = Usage::of(std::process::id()).expect("it runs");
        assert!(usage.resident_kib > 0 && usage.threads > 0 && usage.descriptors > 0, "{usage}");
    }
}
