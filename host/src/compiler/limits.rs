//! What compiling one handler may use, and how many are compiled at once.

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::machine::memory_bytes;
use crate::units::{Limit, Unit};

/// What compiling one handler in a process of its own may use, and how many such processes there may be. At a bound of the first kind the
/// handler is refused, and the bound is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileLimits {
    /// Wall-clock time, from the start of the process to its answer; where n are compiled at once, n times as much, because they share the
    /// processors. Protects the machine's processors, and whoever waits for the
    /// start. Default: 60 s, many times what a component of some megabytes takes.
    pub timeout: Duration,
    /// Memory that the process may write to. Protects the machine's memory. Default: 2 GiB; Cranelift takes some hundred times a
    /// function's size, and one function for each processor at a time.
    pub max_memory_bytes: usize,
    /// Bytes of the file as it is given. Protects this process, which holds them. A larger one is not read to its end. Default: 64
    /// MiB, several times a CPython interpreter.
    pub max_component_bytes: usize,
    /// Bytes of the compiled code. Protects this process and the cache, which keep it. Default: 512 MiB.
    pub max_artefact_bytes: usize,
    /// Handlers that are compiled at once; the others wait, in the order in which they came, and their `timeout` begins after that. Protects
    /// processors and memory: so many times `max_memory_bytes` is what all compilers together may have. At least 1. Default: as many
    /// as there are processors, but no more than have room with their memory in half of the machine's, or of the control group's.
    pub max_at_once: u32,
    /// Wall-clock time for which a start with several routes waits for their handlers. Those that are not compiled by then are compiled while
    /// the others are served, each tenant's in turn, and their routes answer 503 until they are. What the cache has is always served
    /// at once. Protects tenants from those whose handlers take long. Default: 60 s. 0 waits for none.
    pub max_start_wait: Duration,
}

impl Default for CompileLimits {
    fn default() -> Self {
        let max_memory_bytes = 2 << 30;
        Self {
            timeout: Duration::from_secs(60),
            max_memory_bytes,
            max_component_bytes: 64 << 20,
            max_artefact_bytes: 512 << 20,
            max_at_once: Self::at_once_with(max_memory_bytes),
            max_start_wait: Duration::from_secs(60),
        }
    }
}

impl CompileLimits {
    /// How many compilers of this size this machine should have at once.
    fn at_once_with(max_memory_bytes: usize) -> u32 {
        at_once(thread::available_parallelism().map_or(1, NonZero::get), memory_bytes(), max_memory_bytes)
    }

    /// Keys and values as one would write them.
    pub fn shown(&self) -> Vec<(String, String)> {
        [
            ("timeout", self.timeout.show()),
            ("max-memory-bytes", self.max_memory_bytes.show()),
            ("max-component-bytes", self.max_component_bytes.show()),
            ("max-artefact-bytes", self.max_artefact_bytes.show()),
            ("max-at-once", self.max_at_once.show()),
            ("max-start-wait", self.max_start_wait.show()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

fn at_once(processors: usize, machines_memory: usize, max_memory_bytes: usize) -> u32 {
    let with_room = machines_memory / 2 / max_memory_bytes.max(1);
    u32::try_from(processors.min(with_room)).unwrap_or(u32::MAX).max(1)
}

/// Less and the compiler's own threads do not start.
const MIN_MEMORY_BYTES: usize = 64 << 20;
/// Less and a process does not start on a busy machine.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// `[compile]` in a configuration file.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct CompileTable {
    timeout: Option<Limit<Duration>>,
    max_memory_bytes: Option<Limit<usize>>,
    max_component_bytes: Option<Limit<usize>>,
    max_artefact_bytes: Option<Limit<usize>>,
    max_at_once: Option<Limit<u32>>,
    max_start_wait: Option<Limit<Duration>>,
}

impl CompileTable {
    /// What the file does not say is as by default; or what is wrong with what it says.
    pub(crate) fn into_limits(self) -> Result<CompileLimits, &'static str> {
        let default = CompileLimits::default();
        let max_memory_bytes = self.max_memory_bytes.map_or(default.max_memory_bytes, |Limit(bytes)| bytes);
        let limits = CompileLimits {
            timeout: self.timeout.map_or(default.timeout, |Limit(timeout)| timeout),
            max_memory_bytes,
            max_component_bytes: self
                .max_component_bytes
                .map_or(default.max_component_bytes, |Limit(bytes)| bytes),
            max_artefact_bytes: self
                .max_artefact_bytes
                .map_or(default.max_artefact_bytes, |Limit(bytes)| bytes),
            max_at_once: self
                .max_at_once
                .map_or_else(|| CompileLimits::at_once_with(max_memory_bytes), |Limit(count)| count),
            max_start_wait: self.max_start_wait.map_or(default.max_start_wait, |Limit(wait)| wait),
        };
        match () {
            () if limits.timeout < MIN_TIMEOUT => Err("in `[compile]`: `timeout` must be at least 1s"),
            () if limits.max_memory_bytes < MIN_MEMORY_BYTES => {
                Err("in `[compile]`: `max-memory-bytes` must be at least 64MiB")
            }
            () if limits.max_at_once == 0 => Err("in `[compile]`: `max-at-once` must be at least 1"),
            () => Ok(limits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_compile_at_once_as_there_are_processors_and_room_in_half_of_the_memory() {
        const GIB: usize = 1 << 30;
        assert_eq!(at_once(8, 64 * GIB, 2 * GIB), 8);
        assert_eq!(at_once(8, 16 * GIB, 2 * GIB), 4);
        assert_eq!(at_once(8, 16 * GIB, GIB), 8);
        // One there must be.
        assert_eq!(at_once(8, GIB, 2 * GIB), 1);
        assert_eq!(at_once(8, GIB, usize::MAX), 1);
    }
}
