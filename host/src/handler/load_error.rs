//! Why a handler is not loaded. Its sentences go on from the handler's name: `chat.wasm cannot be read: ...`.

use std::sync::Arc;
use std::time::Duration;

use crate::units::Unit;

/// The interface that every handler exports.
pub(crate) const HANDLER_INTERFACE: &str = "waterspout:websocket/handler@0.1.0";

/// Why a file is not a handler that this host can run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Read(#[source] Arc<std::io::Error>),
    /// Neither WebAssembly nor its text.
    #[error("is not WebAssembly: it is neither a component, a core module nor WebAssembly text{0}")]
    NotWasm(&'static str),
    /// WebAssembly text with a mistake.
    #[error("is WebAssembly text with a mistake: {0}")]
    Text(String),
    /// A core module that neither says which world it implements nor exports what a world of ours has.
    #[error(
        "is a core module that implements no world: it has no `component-type` section, and does not export the functions of `{HANDLER_INTERFACE}` (see `docs/guests.md`)"
    )]
    CoreModule,
    /// A core module that does not fit the world that it says it implements.
    #[error("is a core module that cannot be made a component: {0}")]
    Componentize(String),
    /// It does not export the handler interface.
    #[error("is a component of another world: it exports {exports}, not `{HANDLER_INTERFACE}`")]
    OtherWorld {
        /// What it exports instead.
        exports: String,
    },
    /// It imports what this host does not have.
    #[error("imports what this host does not offer: {0}")]
    MissingImport(String),
    /// It exports the handler interface, but not as the WIT has it.
    #[error("does not export `{HANDLER_INTERFACE}` as this host knows it: {0}")]
    Mismatch(String),
    /// It needs more than its route allows.
    #[error("needs {needed} to begin with, and the route allows {allowed}: raise `{key}`")]
    TooLarge {
        /// What it needs.
        needed: String,
        /// What the route allows.
        allowed: String,
        /// The limit that decides it.
        key: &'static str,
    },
    /// It is not valid WebAssembly, or uses features that this host does not have.
    #[error("does not compile: {0}")]
    Compile(String),
    /// Compiling took too long; the compiler was ended.
    #[error("takes longer than {} to compile: raise `timeout` of `[compile]`", humantime::format_duration(*.limit))]
    CompileTimeout {
        /// How long it may take.
        limit: Duration,
    },
    /// Compiling took too much memory; the compiler was ended.
    #[error("needs more than {} of memory to compile: raise `max-memory-bytes` of `[compile]`", .limit.show())]
    CompileMemory {
        /// Bytes that the compiler may have.
        limit: usize,
    },
    /// The file is too large to be compiled; it was not read to its end.
    #[error("is larger than {}: raise `max-component-bytes` of `[compile]`", .limit.show())]
    ComponentTooLarge {
        /// Bytes that it may have.
        limit: usize,
    },
    /// The compiled code is too large to be kept.
    #[error("is larger than {} when it is compiled: raise `max-artefact-bytes` of `[compile]`", .limit.show())]
    ArtefactTooLarge {
        /// Bytes that it may have.
        limit: usize,
    },
    /// The compiler ended without an answer, or with one that cannot be. The log says more. That is a defect of the compiler, or
    /// somebody's attempt at one: do not trust the file.
    #[error("cannot be compiled: {0}")]
    CompilerFailed(String),
    /// The compiler's process could not be started, or not be confined as was asked. Nothing is wrong with the file.
    #[error("cannot be compiled on this system: {0}")]
    CompilerUnavailable(String),
    /// The start has waited long enough. It is compiled while others are served.
    #[error("is not compiled yet: others took longer than the start waits (`max-start-wait` of `[compile]`)")]
    Postponed,
    /// The route's limits cannot be met.
    #[error("belongs to a route with an impossible limit: {0}")]
    Limits(String),
    /// The runtime was not made for a route with this much memory, or not for one whose fuel is metered.
    #[error("belongs to a route whose `max-memory-bytes` or `fuel-per-event` the runtime was not made for")]
    UnforeseenClass,
}

impl LoadError {
    /// Whether it is about what the handler is: neither another time nor other limits would make it one that can be loaded.
    pub(crate) fn is_of_the_content(&self) -> bool {
        match self {
            Self::NotWasm(_)
            | Self::Text(_)
            | Self::CoreModule
            | Self::Componentize(_)
            | Self::OtherWorld { .. }
            | Self::MissingImport(_)
            | Self::Mismatch(_)
            | Self::Compile(_) => true,
            Self::Read(_)
            | Self::TooLarge { .. }
            | Self::CompileTimeout { .. }
            | Self::CompileMemory { .. }
            | Self::ComponentTooLarge { .. }
            | Self::ArtefactTooLarge { .. }
            | Self::CompilerFailed(_)
            | Self::CompilerUnavailable(_)
            | Self::Postponed
            | Self::Limits(_)
            | Self::UnforeseenClass => false,
        }
    }
}

impl From<std::io::Error> for LoadError {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error.into())
    }
}

/// An error with its causes, in one line.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
