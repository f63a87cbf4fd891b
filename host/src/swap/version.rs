//! One version of a route's handler.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use super::Health;
use crate::handler::Handler;
use crate::limits::pauses::StartPause;

/// See the module.
#[derive(Debug)]
pub(crate) struct Version {
    /// Counts the versions of the route, from 1.
    pub(crate) number: u32,
    pub(crate) handler: Handler,
    pub(crate) origin: Origin,
    /// When it was loaded.
    pub(crate) since: SystemTime,
    /// Of its newcomers, when it cannot start.
    pub(crate) start_pause: StartPause,
    /// How it does, beside others.
    pub(crate) health: Health,
}

/// Where a version came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The program that embeds the host.
    Program,
    /// The host's own echo.
    Embedded,
    /// The route's file.
    File(PathBuf),
    /// Whoever deployed it while the server ran.
    Deployed,
}

impl Origin {
    /// In one word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Embedded => "embedded",
            Self::File(_) => "file",
            Self::Deployed => "deployed",
        }
    }
}

/// For logs.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.display()),
            _ => f.write_str(self.name()),
        }
    }
}

impl Version {
    pub(crate) fn new(number: u32, handler: Handler, origin: Origin) -> Self {
        Self {
            number,
            handler,
            origin,
            since: SystemTime::now(),
            start_pause: StartPause::default(),
            health: Health::default(),
        }
    }
}

/// For logs: its number, and what it is.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number, self.handler.short_digest())
    }
}
