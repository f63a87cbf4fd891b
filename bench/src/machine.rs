//! What Linux tells about this machine and its processes, and which processor runs what.
//!
//! Processors are chosen with the `taskset` command, because the system call would need `unsafe`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

/// The unit of the times in `/proc/PID/stat`; 100 on every Linux that Rust's standard library runs on.
const TICKS_PER_SECOND: u64 = 100;

/// What a process uses now, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Resident, shared pages counted whole.
    pub(crate) rss_bytes: u64,
    /// Resident, each shared page divided by the processes that map it.
    pub(crate) pss_bytes: u64,
}

/// Reads `VmRSS` of `/proc/PID/status` and `Pss` of `/proc/PID/smaps_rollup`.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let kibibytes = |file: &str, key: &str| -> Result<u64> {
        let path = format!("/proc/{pid}/{file}");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        field_kibibytes(&text, key).with_context(|| format!("{path} has no {key}"))
    };
    Ok(Usage {
        rss_bytes: kibibytes("status", "VmRSS")? * 1024,
        pss_bytes: kibibytes("smaps_rollup", "Pss")? * 1024,
    })
}

fn field_kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time of all threads of a process, ended ones too; exact to 10 ms.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ticks = stat_ticks(&text).with_context(|| format!("{path} has no times"))?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn stat_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name, which may contain anything; the third one follows its last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// How long the main thread of a process was ready to run while something else had its processor.
pub(crate) fn waited(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let nanos = text.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    nanos.map(Duration::from_nanos).with_context(|| format!("{path} has no waiting time"))
}

/// One line about the machine, with how busy it was before the benchmark made it busy.
pub(crate) fn describe() -> String {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = file("/proc/cpuinfo");
    let model = cpu_info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    let kernel = file("/proc/sys/kernel/osrelease");
    let congestion = file("/proc/sys/net/ipv4/tcp_congestion_control");
    let load = file("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("unknown");
    format!(
        "{model}, {processors} processors, Linux {}, TCP {}, load average at start {load}",
        kernel.trim(),
        congestion.trim()
    )
}

/// Who runs where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pinning {
    /// The server has one processor for itself, the load generator another.
    Apart { server: u32, load: u32 },
    /// Left to the scheduler.
    Off,
}

impl Pinning {
    /// Pins this process to the second processor it may use and leaves the first one to servers, if there are two
    /// and `taskset` works. To be called before other threads are started.
    pub(crate) fn apart() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let [server, load] = match allowed.map(|list| processors(list.trim())).as_deref() {
            Some(&[server, load, ..]) => [server, load],
            _ => return Pinning::Off,
        };
        let pinned = Command::new("taskset")
            .args(["-a", "-c", "-p", &load.to_string(), &std::process::id().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if pinned.is_ok_and(|status| status.success()) {
            Pinning::Apart { server, load }
        } else {
            Pinning::Off
        }
    }

    pub(crate) fn describe(self) -> String {
        match self {
            Pinning::Apart { server, load } => {
                format!("servers pinned to processor {server}, load generator to processor {load}")
            }
            Pinning::Off => "not pinned: the scheduler moves server and load generator about".into(),
        }
    }
}

/// The numbers of a list such as `0-3,8`.
fn processors(list: &str) -> Vec<u32> {
    list.split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse().ok()?..=last.parse::<u32>().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_list_has_ranges_and_single_numbers() {
        assert_eq!(processors("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(processors("5"), [5]);
        assert!(processors("").is_empty());
    }

    #[test]
    fn times_are_found_behind_a_name_with_brackets_and_spaces() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 111 222 13 14";
        assert_eq!(stat_ticks(stat), Some(333));
    }

    #[test]
    fn this_process_has_memory_and_a_field_is_matched_whole() {
        assert!(usage(std::process::id()).unwrap().rss_bytes > 0);
        assert_eq!(field_kibibytes("VmRSSX: 1 kB\nVmRSS:\t  20 kB\n", "VmRSS"), Some(20));
    }
}
