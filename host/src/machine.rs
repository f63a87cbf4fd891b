//! What the machine has, as far as it says.

use std::fs;
use std::sync::OnceLock;

/// Where nothing is said.
const UNKNOWN_MEMORY_BYTES: usize = 2 << 30;

/// What the process has said whose place this one takes: in a sandbox, a new process may not ask about itself.
static TOLD: OnceLock<usize> = OnceLock::new();

/// What [`memory_bytes`] is from now on; nothing if that has been said already.
pub(crate) fn remember_memory(bytes: usize) {
    let _ = TOLD.set(bytes);
}

/// Memory that this process may have: the machine's, or less where its control group (version 2) is bounded.
pub(crate) fn memory_bytes() -> usize {
    TOLD.get().copied().unwrap_or_else(asked)
}

fn asked() -> usize {
    let of_machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_meminfo(&text));
    let of_group = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| Some(text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned()))
        .and_then(|group| fs::read_to_string(format!("/sys/fs/cgroup{group}/memory.max")).ok())
        .and_then(|text| text.trim().parse().ok());
    [of_machine, of_group].into_iter().flatten().min().unwrap_or(UNKNOWN_MEMORY_BYTES)
}

fn of_meminfo(text: &str) -> Option<usize> {
    let kibibytes =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
    kibibytes.parse::<usize>().ok()?.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read_from_what_the_kernel_says() {
        assert_eq!(of_meminfo("MemTotal:       24612345 kB\nMemFree: 1 kB\n"), Some(24_612_345 << 10));
        assert_eq!(of_meminfo("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn there_is_some_memory() {
        assert!(memory_bytes() >= 64 << 20);
    }
}
