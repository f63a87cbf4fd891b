//! One version of a route's handler.

use std::fmt;
use std::time::SystemTime;

use super::Health;
use crate::handler::Handler;
use crate::pauses::StartPause;

/// See the module.
#[derive(Debug)]
pub(crate) struct Version {
    /// Counts the versions of the route, from 1.
    pub(crate) number: u32,
    pub(crate) handler: Handler,
    /// When it was loaded.
    pub(crate) since: SystemTime,
    /// Of its newcomers, when it cannot start.
    pub(crate) start_pause: StartPause,
    /// How it does, beside others.
    pub(crate) health: Health,
}

impl Version {
    pub(crate) fn new(number: u32, handler: Handler) -> Self {
        Self {
            number,
            handler,
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
