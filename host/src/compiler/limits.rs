//! What compiling one handler may use.

use std::time::Duration;

use serde::Deserialize;

use crate::units::{Limit, Unit};

/// What compiling one handler in a process of its own may use. At a bound the handler is refused, and the bound is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileLimits {
    /// Wall-clock time, from the start of the process to its answer. Protects the machine's processors, and whoever waits for the
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
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            max_memory_bytes: 2 << 30,
            max_component_bytes: 64 << 20,
            max_artefact_bytes: 512 << 20,
        }
    }
}

impl CompileLimits {
    /// Keys and values as one would write them.
    pub fn shown(&self) -> Vec<(String, String)> {
        [
            ("timeout", self.timeout.show()),
            ("max-memory-bytes", self.max_memory_bytes.show()),
            ("max-component-bytes", self.max_component_bytes.show()),
            ("max-artefact-bytes", self.max_artefact_bytes.show()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
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
}

impl CompileTable {
    /// What the file does not say is as by default; or what is wrong with what it says.
    pub(crate) fn into_limits(self) -> Result<CompileLimits, &'static str> {
        let default = CompileLimits::default();
        let limits = CompileLimits {
            timeout: self.timeout.map_or(default.timeout, |Limit(timeout)| timeout),
            max_memory_bytes: self.max_memory_bytes.map_or(default.max_memory_bytes, |Limit(bytes)| bytes),
            max_component_bytes: self
                .max_component_bytes
                .map_or(default.max_component_bytes, |Limit(bytes)| bytes),
            max_artefact_bytes: self
                .max_artefact_bytes
                .map_or(default.max_artefact_bytes, |Limit(bytes)| bytes),
        };
        match () {
            () if limits.timeout < MIN_TIMEOUT => Err("in `[compile]`: `timeout` must be at least 1s"),
            () if limits.max_memory_bytes < MIN_MEMORY_BYTES => {
                Err("in `[compile]`: `max-memory-bytes` must be at least 64MiB")
            }
            () => Ok(limits),
        }
    }
}
