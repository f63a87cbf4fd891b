//! What an attack is: data, but for what its clients do.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::field::Field;

/// Somebody who means harm, and what must become of it.
pub(crate) struct Attack {
    /// What he does, in a few words.
    pub(crate) name: &'static str,
    /// What the attacking tenant's route serves.
    pub(crate) handler: Handler,
    /// Of the configuration, in both runs.
    pub(crate) settings: &'static [Setting],
    /// What the attack does, until it is dropped.
    pub(crate) assault: Assault,
    /// What the host must be seen to do; all of it.
    pub(crate) seen: &'static [Sign],
    /// The limit without which it must hurt.
    pub(crate) without: Without,
}

/// A future that ends by itself or is dropped when the time is over.
pub(crate) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Begins an assault.
pub(crate) type Assault = fn(Arc<Field>) -> Running;

/// A handler.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// `target/guests/NAME.wasm`.
    Guest(&'static str),
    /// Made for the occasion.
    Made(fn() -> Vec<u8>),
}

/// A key of the configuration file with its value, as TOML.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) place: Place,
    pub(crate) key: &'static str,
    pub(crate) value: &'static str,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the file's top.
    Server,
    /// `[tenant.attacker]`, dotted: `limits.max-timers`, `total.max-memory-bytes`.
    Tenant,
    /// `[tenant.attacker.route.attack]`.
    Route,
    /// `[tenant.neighbour.route.neighbour]`: a third tenant with the attacker's handler, who is there if he has a key.
    Neighbour,
}

/// A key of the whole server.
pub(crate) const fn server(key: &'static str, value: &'static str) -> Setting {
    Setting { place: Place::Server, key, value }
}

/// A key of the attacking tenant.
pub(crate) const fn tenant(key: &'static str, value: &'static str) -> Setting {
    Setting { place: Place::Tenant, key, value }
}

/// A limit of the attacking tenant, or one of his totals, that is off.
pub(crate) const fn unlimited(key: &'static str) -> Setting {
    tenant(key, "\"unlimited\"")
}

/// For attacks that are not about the processor: their events may take long.
pub(crate) const TEN_SECONDS_OF_CPU: Setting = tenant("limits.cpu-per-event", "\"10s\"");

/// For attacks on the log.
pub(crate) const LITTLE_LOG: Setting = tenant("total.max-log-bytes-per-second", "\"1KiB\"");

/// A key of the attacking tenant's route.
pub(crate) const fn route(key: &'static str, value: &'static str) -> Setting {
    Setting { place: Place::Route, key, value }
}

/// A key of the neighbour's route.
pub(crate) const fn neighbour(key: &'static str, value: &'static str) -> Setting {
    Setting { place: Place::Neighbour, key, value }
}

/// By what it is seen that the host has withstood.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sign {
    /// Clients of the attack have noted something that contains this.
    Noted(&'static str),
    /// They have not.
    NotNoted(&'static str),
    /// The host has logged this.
    Logged(&'static str),
    /// Its log does not contain this.
    NotLogged(&'static str),
    /// It has logged this, at most so often.
    LoggedAtMost(usize, &'static str),
}

/// The second run, and what harm is.
pub(crate) enum Without {
    /// There is nothing to switch off: what stops the attack is a rule of the protocol or of the sandbox, and this is why.
    Rule(&'static str),
    /// These settings in place of those of the same key; then the harm must be seen.
    Limit(&'static [Setting], Harm),
}

/// Of [`Without::Rule`].
pub(crate) const SANDBOX: &str = "the sandbox's rule";
/// Likewise.
pub(crate) const PROTOCOL: &str = "the protocol's rule";

/// Nothing stops it, and it takes a whole processor, unless the machine is busy.
pub(crate) const SPINS: Harm = Harm::Unstopped { processor_percent: 40 };
/// Nothing stops it, and it only waits.
pub(crate) const WAITS: Harm = Harm::Unstopped { processor_percent: 0 };

/// What is visible when nothing stops an attack.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Harm {
    /// Nothing of `seen` is to be seen any more: it goes on, and the host has burnt so much of a processor's time.
    Unstopped { processor_percent: u32 },
    /// So many MiB more than before.
    Memory(u64),
    /// So many KiB of log more than before.
    Log(u64),
    /// The victim loses a message or a newcomer.
    Victim,
    /// The attack gets what it wants: its clients note this.
    Noted(&'static str),
}

/// What the clients of an attack noted, and how often.
pub(crate) type Tally = BTreeMap<String, u64>;

/// A tally as a person reads it: the most frequent ones.
pub(crate) fn summary(tally: &Tally) -> String {
    let mut entries: Vec<_> = tally.iter().collect();
    entries.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown: Vec<_> = entries.iter().take(3).map(|(what, count)| format!("{what} x{count}")).collect();
    if shown.is_empty() { "nothing noted".into() } else { shown.join(", ") }
}
