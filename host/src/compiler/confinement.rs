//! What a compiler's process gives up before it reads a byte of what a stranger has written.
//!
//! Everywhere: memory beyond its limit, files of any size, core dumps, more descriptors, its turn before those who serve. On Linux also
//! its life before theirs where the machine runs out of memory, and every system call that is not part of computing: see `system_calls`. And
//! it ends with the process that started it.

use std::fs::OpenOptions;
use std::io::{self, Write};

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

/// How far the process is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Confinement {
    /// It is bounded, but the kernel does not keep it from files and network.
    Bounded = 1,
    /// It can only compute, and talk to its parent.
    Full = 2,
}

impl Confinement {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Bounded, Self::Full].into_iter().find(|confinement| *confinement as u8 == byte)
    }
}

/// What the process may still use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) memory_bytes: u64,
    /// Of all threads together.
    pub(super) cpu_seconds: u64,
}

/// Gives up the rest, for ever. Call it while there is one thread.
///
/// # Errors
/// None that must end the process; why it is not [`Confinement::Full`].
pub(super) fn confine(allowance: Allowance) -> (Confinement, Option<String>) {
    // As the last of those who want a processor; where that is denied it is only less polite.
    let _ = nice(10);
    let _ = go_first_where_memory_is_short();
    let mut denied = None;
    for (resource, most) in [
        (Resource::Data, allowance.memory_bytes),
        (Resource::Cpu, allowance.cpu_seconds),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        // Standard input, output and error are there; no others come.
        (Resource::Nofile, 3),
    ] {
        if let Err(error) = lower(resource, most) {
            denied = Some(format!("{resource:?} cannot be limited: {error}"));
        }
    }
    match denied.map_or_else(give_up_system_calls, Err) {
        Ok(()) => (Confinement::Full, None),
        Err(why) => (Confinement::Bounded, Some(why)),
    }
}

/// Whom the kernel ends when there is no memory left (`proc_pid_oom_score_adj(5)`): this process, and not the host with all its connections.
/// Elsewhere there is no such file.
fn go_first_where_memory_is_short() -> io::Result<()> {
    const BEFORE_ALL_OTHERS: &[u8] = b"1000";
    OpenOptions::new().write(true).open("/proc/self/oom_score_adj")?.write_all(BEFORE_ALL_OTHERS)
}

/// Only down: what the parent was allowed is the most.
fn lower(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

#[cfg(target_os = "linux")]
use super::system_calls::give_up as give_up_system_calls;

#[cfg(not(target_os = "linux"))]
fn give_up_system_calls() -> Result<(), String> {
    Err("this system has no filter for system calls".into())
}
