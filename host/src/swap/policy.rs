//! What becomes of open connections when their handler is replaced.

use std::time::Duration;

use serde::Deserialize;

use crate::units::Unit;

/// What becomes of open connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnSwap {
    /// They go over to the new version with the handler's state; those of a handler that gives none are drained.
    #[default]
    Migrate,
    /// They keep the old version until they end, at most for `max-drain`; then they close (1012).
    Drain,
    /// They close (1012), one after the other within `spread`.
    Close,
}

impl OnSwap {
    /// As one writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::Drain => "drain",
            Self::Close => "close",
        }
    }
}

/// How a route's handler is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapPolicy {
    /// What becomes of open connections. Default: they migrate.
    pub on_swap: OnSwap,
    /// How long connections may stay with a version that has been replaced; then they close (1012). None: until they end. Default: 1 h.
    pub max_drain: Option<Duration>,
    /// Over how long a time [`OnSwap::Close`] spreads the closing, so that clients do not return all at once. Default: 10 s.
    pub spread: Duration,
    /// A swap is taken back when more than this part of the instances that there were, in percent, each of one connection or shared, could not
    /// go over because the new version refused their state, trapped or took too long. Default: 10.
    pub max_failures_percent: u8,
    /// How long a canary must have served before it is promoted. Default: 10 min.
    pub canary_time: Duration,
    /// From how many addresses it must have been used by then. Default: 20.
    pub canary_addresses: u32,
}

impl Default for SwapPolicy {
    fn default() -> Self {
        Self {
            on_swap: OnSwap::default(),
            max_drain: Some(Duration::from_secs(3600)),
            spread: Duration::from_secs(10),
            max_failures_percent: 10,
            canary_time: Duration::from_secs(600),
            canary_addresses: 20,
        }
    }
}

/// Nobody waits longer to be closed.
const MAX_SPREAD: Duration = Duration::from_secs(24 * 3600);

impl SwapPolicy {
    /// Keys and values as one would write them.
    pub fn shown(&self) -> Vec<(String, String)> {
        [
            ("on-swap", self.on_swap.name().into()),
            ("max-drain", self.max_drain.show()),
            ("spread", self.spread.show()),
            ("max-swap-failures-percent", self.max_failures_percent.to_string()),
            ("canary-time", self.canary_time.show()),
            ("canary-addresses", self.canary_addresses.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// What is wrong with it: the key, and why.
    pub(crate) fn contradiction(&self) -> Option<(&'static str, String)> {
        if self.spread > MAX_SPREAD {
            return Some(("spread", "`spread` must be at most 24h".into()));
        }
        if self.max_failures_percent > 100 {
            return Some((
                "max-swap-failures-percent",
                "`max-swap-failures-percent` must be 0 to 100".into(),
            ));
        }
        None
    }
}
