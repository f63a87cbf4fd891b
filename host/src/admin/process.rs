//! What the system says of the process, by the names that Prometheus' own clients use. Where the system has no `/proc`, or it may not be
//! read, memory is missing: in a sandbox, `/proc` of a process that has taken over from another is closed to it.

#[cfg(target_os = "linux")]
#[path = "descriptors.rs"]
mod descriptors;
#[cfg(not(target_os = "linux"))]
mod descriptors {
    pub(super) fn count() -> Option<usize> {
        None
    }
}

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::metrics::{self, Exposition};

/// See the module.
#[derive(Debug)]
pub(super) struct Process {
    began: SystemTime,
}

impl Process {
    /// To be called when the process begins, for systems that do not say when that was.
    pub(super) fn begin() -> Self {
        Self { began: SystemTime::now() }
    }

    pub(super) fn expose(&self, exposition: &mut Exposition) {
        let stat = Stat::read();
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let used = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        exposition.family(&metrics::PROCESS_CPU_SECONDS).add(&[], used);
        if let Some(open) = open_descriptors().or_else(descriptors::count) {
            exposition.family(&metrics::PROCESS_OPEN_FDS).add(&[], open);
        }
        use rustix::process::{Resource, getrlimit};
        let mut samples = exposition.family(&metrics::PROCESS_MAX_FDS);
        match getrlimit(Resource::Nofile).current {
            Some(most) => samples.add(&[], most),
            None => samples.add(&[], "+Inf"),
        }
        if let Some(stat) = &stat {
            exposition.family(&metrics::PROCESS_RESIDENT_MEMORY_BYTES).add(&[], stat.resident_bytes);
            exposition.family(&metrics::PROCESS_VIRTUAL_MEMORY_BYTES).add(&[], stat.virtual_bytes);
        }
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let began = stat.and_then(|stat| stat.began_seconds()).unwrap_or(began);
        exposition.family(&metrics::PROCESS_START_TIME_SECONDS).add(&[], began);
    }
}

/// `proc_pid_stat(5)`.
struct Stat {
    /// After the system's start.
    began_after_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Stat {
    /// None where there is no such file.
    fn read() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, whatever it contains.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            began_after_seconds: field(22)? as f64 / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * rustix::param::page_size() as u64,
        })
    }

    /// In seconds since 1970.
    fn began_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let booted: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(booted + self.began_after_seconds)
    }
}

fn open_descriptors() -> Option<usize> {
    // Less the one that the folder is read by.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_with_spaces_and_parentheses_is_no_field() {
        let text =
            "7 (a ) b) S 1 7 7 0 -1 4194304 9 0 0 0 150 50 0 0 20 0 4 0 1000 8192 3 18446744073709551615";
        let stat = Stat::parse(text).expect("it has all fields");
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert!((stat.began_after_seconds - 1000.0 / ticks).abs() < 1e-9);
        assert_eq!(stat.virtual_bytes, 8192);
        assert_eq!(stat.resident_bytes, 3 * rustix::param::page_size() as u64);
        assert!(Stat::parse("nonsense").is_none());
    }
}
