//! Every bound of a route, in one place: what it is, whom it protects, its default, and what happens at it.
//!
//! Nothing is unlimited unless the operator says so. Hitting a limit means one of: *wait*, *refuse* (with an error the other side sees) or *close* (with
//! a code); each field says which.

pub(crate) mod idle;
pub(crate) mod overruns;
pub(crate) mod pauses;
pub(crate) mod permits;
pub(crate) mod processors;
pub(crate) mod rate;
pub(crate) mod records;
pub(crate) mod repeats;
pub mod tenants;
pub(crate) mod throttle;

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

pub use crate::units::{FuelLimit, PongTimeout};
use crate::units::{Limit, Unit};

/// One line of the reference of limits.
#[derive(Debug, Clone)]
pub struct LimitReference {
    /// The key in `[limits]`.
    pub key: String,
    /// `size`, `count`, `duration`, or such a one with the words that may stand in its place.
    pub form: &'static str,
    /// The default as one would write it.
    pub default: String,
    /// What it is, whom it protects and what happens at it.
    pub meaning: String,
}

macro_rules! limits {
    (
        $(#[doc = $about:literal])+ $limits:ident, in a file $table:ident;
        $($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr;)+
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $limits {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Default for $limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        /// The keys that a file sets; the others keep what they were.
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct $table {
            $($name: Option<Limit<$type>>,)+
        }

        impl $table {
            pub(crate) fn apply_to(self, limits: &mut $limits) {
                $(if let Some(Limit(value)) = self.$name { limits.$name = value; })+
            }
        }

        impl $limits {
            /// The reference of all limits, in the order of the fields.
            pub fn reference() -> Vec<LimitReference> {
                let default = Self::default();
                vec![$(LimitReference {
                    key: stringify!($name).replace('_', "-"),
                    form: <$type as Unit>::FORM,
                    default: default.$name.show(),
                    meaning: [$($doc.trim()),+].join(" "),
                }),+]
            }

            /// Keys and values as one would write them, in the order of the fields.
            pub fn shown(&self) -> Vec<(String, String)> {
                vec![$((stringify!($name).replace('_', "-"), self.$name.show())),+]
            }
        }
    };
}

/// A bound that is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) scope: Scope,
    /// The key.
    pub(crate) limit: &'static str,
}

/// Whose bound it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Connection,
    Instance,
    Route,
    Tenant,
    Address,
    Server,
}

impl Scope {
    /// For logs and metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Instance => "instance",
            Self::Route => "route",
            Self::Tenant => "tenant",
            Self::Address => "address",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the {}", self.limit, self.scope.label())
    }
}

limits! {
    /// What one route's connections and instances may use. Fields say what each bound protects; the defaults are
    /// [`Limits::default`].
    Limits, in a file LimitsTable;

    /// Bytes in one message, in either direction, however it is fragmented. Protects the host's memory. A peer's larger
    /// message closes its connection (1009); a handler's is refused (`limit`). Tornado's default.
    max_message_bytes: usize = 10 << 20;
    /// Frames of one message. Protects the host's processors from endless tiny ones. A peer's message of more closes its connection (1009).
    max_fragments: u32 = 10_000;
    /// Messages, pings and pongs of a peer that are read in a second; as many may come at once after a silence. Protects the handler. Past it the
    /// host stops reading for a moment, and TCP slows the peer down.
    max_messages_per_second: u32 = 1_000_000;
    /// Bytes of a peer that are read in a second, as they are on the wire. Protects the handler. Past it the host stops reading for a moment.
    max_bytes_per_second: usize = 1 << 30;
    /// Bytes waiting to be sent on one connection. Protects the host from peers that do not read. Writes past it are refused
    /// (`buffer-full`); a published message is not delivered to that subscriber, or closes it (1008), as `slow-consumer` says.
    max_queue_bytes: usize = 16 << 20;
    /// Linear memory of one instance, all its memories together. Protects the machine. Growing past it fails inside the guest.
    max_memory_bytes: usize = 64 << 20;
    /// Table elements of one instance, all its tables together. Protects the machine. Growing past it fails inside the guest.
    max_table_elements: u32 = 20_000;
    /// Component handles of one instance. Protects the host's memory. Making more traps (1011).
    max_handles: u32 = 20_000;
    /// Processor time of one event: a message, a timer, one question of the handshake. Protects everybody's latency. Past it
    /// the instance ends: 1011, or 503 before the upgrade.
    cpu_per_event: Duration = Duration::from_millis(50);
    /// Units of wasmtime's fuel that one event may use: one for most instructions, one for each byte or element that an instruction copies or
    /// fills, none for what the host does. Protects who accounts for computing: the same event is stopped at the same instruction on every
    /// machine. Past it the instance ends: 1011, or 503 before the upgrade. `"off"` counts nothing and costs nothing; `"unlimited"` only counts.
    fuel_per_event: FuelLimit = FuelLimit::Off;
    /// Wall-clock time of one event, waiting in imports included, but not waiting for its tenant's turn at the processors. Protects the queue
    /// behind it. Past it the instance ends: 1011, or 503 before the upgrade; imports that wait give up (`timeout`) 100 ms earlier.
    wall_per_event: Duration = Duration::from_secs(5);
    /// How long one import may wait in a shared instance, where all its connections wait with it. Protects them. Then it gives up
    /// (`timeout`); a flush to a peer that has taken no message since one that gave up does so at once.
    shared_wait: Duration = Duration::from_secs(1);
    /// Memory of the route's compressors and decompressors, all connections together. Protects the machine. At it a handshake is
    /// answered without compression, and a connection that has no compressor yet sends its messages as they are.
    max_compression_bytes: usize = 256 << 20;
    /// Connections that one connection's handler has opened itself, those included that have ended and are not read to their end. Protects
    /// the host's memory and descriptors. More are refused (`limit`).
    max_client_connections: u32 = 8;
    /// Connections that all handlers of the route together have opened themselves, until their sockets are closed. Protects the process's
    /// descriptors. More are refused (`limit`).
    max_route_client_connections: u32 = 1_000;
    /// Connections that one connection's handler begins to open in a second, whatever becomes of them; as many may come at once after a silence.
    /// Protects whom it connects to, and the route's other connections. More are refused (`limit`).
    max_connects_per_second: u32 = 10;
    /// Connections that all handlers of the route together begin to open in a second; as many may come at once after a silence. Protects the
    /// process's ports, which stay taken for a minute, and whom the handlers connect to. More are refused (`limit`).
    max_route_connects_per_second: u32 = 100;
    /// Bytes of the state that one instance hands to its successor when the handler is replaced, all its handlers together. Protects the host's
    /// memory. An instance with more stays with the old version.
    max_state_bytes: usize = 4 << 20;
    /// Timers set at once by one connection. Protects the host's memory. More are refused (`limit`).
    max_timers: u32 = 64;
    /// Topics one connection is subscribed to. Protects the host's memory. More are refused (`limit`).
    max_topics: u32 = 64;
    /// Bytes in a topic's name. Protects the host's memory. Longer names are refused (`invalid`).
    max_topic_bytes: usize = 256;
    /// Live instances of the route. Protects the machine from invented keys. A handshake that would need one more is refused (503).
    max_instances: u32 = 10_000;
    /// Connections of one shared instance. Protects its mailbox and its memory. One more is refused (503).
    max_connections_per_instance: u32 = 10_000;
    /// How long a shared instance stays after its last connection has ended. Protects state from reconnecting peers.
    linger: Duration = Duration::from_secs(30);
    /// How often the host pings a peer. Protects the host from peers that vanished without a word, and connections from middle boxes that
    /// forget silent ones. `0s` never does. The handler's `on-pong` sees the answers, as Tornado's does.
    ping_interval: Duration = Duration::from_secs(30);
    /// How long a peer may take to answer such a ping; a longer time than `ping-interval` counts as that, `0s` waits for none. Protects the
    /// host from peers that vanished. Then the connection closes (1000, `ping timed out`). Tornado's semantics.
    pong_timeout: PongTimeout = PongTimeout::Interval;
    /// How long a connection may stay open without a message in either direction; pings and pongs are none. Protects the host from
    /// connections that nobody needs. Then it closes (1001).
    idle_timeout: Option<Duration> = Some(Duration::from_secs(3600));
    /// How long a connection may stay open. Protects the host from connections that never end. Then it closes (1001).
    life_time: Option<Duration> = Some(Duration::from_secs(24 * 3600));
    /// How long a peer may take nothing of what waits for it. Protects the host's memory from peers that do not read. Then the socket is
    /// dropped.
    write_timeout: Duration = Duration::from_secs(30);
    /// How long a peer may take to answer our close frame. Protects the host from peers that vanish. Then the socket is dropped.
    close_timeout: Duration = Duration::from_secs(5);
    /// Bytes of headers that a handler may add to the answer of one handshake. Protects the peer. More are refused (`limit`).
    max_response_header_bytes: usize = 16 << 10;
    /// Bytes in the body of a handler's own answer to a handshake, which `prepare` gives. Protects the host's memory from peers that do not
    /// read. A larger one is not sent: the handshake is refused (500), and the log says why.
    max_response_body_bytes: usize = 64 << 10;
    /// Bytes that one instance prints in a second; as much may come at once after a silence. Protects the log. Lines over it are dropped and
    /// counted in the log.
    max_log_bytes_per_second: usize = 64 << 10;
    /// Bytes in one line of a guest's stdout or stderr. Protects the log. Longer lines are cut, and say so.
    max_log_line_bytes: usize = 8 << 10;
}

limits! {
    /// What all routes of one tenant together may use. Fields say what each bound protects; the defaults are
    /// [`TenantLimits::default`].
    TenantLimits, in a file TenantLimitsTable;

    /// WebSocket connections of the tenant's routes. Protects the other tenants' part of the server's `max-connections`. One more is refused
    /// (503).
    max_connections: u32 = 5_000;
    /// Live instances of the tenant's routes. Protects the other tenants' part of the server's `max-instances`. A handshake that would need one
    /// more is refused (503).
    max_instances: u32 = 5_000;
    /// Memory of the tenant: the linear memories and tables of its instances, whether they have touched them or not, their handles, its compressors,
    /// and for each connection what is queued, read or kept, topics and timers included. Protects the machine and the other tenants' part of the
    /// server's `max-memory-bytes`. A guest's growth past it fails inside the guest, a handshake is refused (503), a write is refused
    /// (`buffer-full`), so are a topic and a timer (`limit`), a peer's message closes its connection (1013). An instance that fails for want of it, or
    /// makes a handle, ends: 1013, or 503 before the upgrade, and no pause; with 1011, as for any trap, if it wanted more than half of it itself.
    max_memory_bytes: usize = 2 << 30;
    /// The tenant's part of the processors: its share divided by the sum of all tenants' shares and 100 of strangers', who are nobody's before a
    /// handshake with a route. Protects the other tenants' latency. Past its part the tenant's events wait for processors that nobody else wants.
    cpu_share: u32 = 100;
    /// Bytes that the tenant's handlers print in a second, all instances together; as much may come at once after a silence. Protects the log. What
    /// is over it is dropped and counted in the log.
    max_log_bytes_per_second: usize = 256 << 10;
}

impl TenantLimits {
    /// What the one tenant has who is alone on a server: no less than the server.
    pub fn whole_server() -> Self {
        Self {
            max_connections: u32::unlimited(),
            max_instances: u32::unlimited(),
            max_memory_bytes: usize::unlimited(),
            ..Self::default()
        }
    }

    /// What is wrong with these limits: the key, and why.
    pub(crate) fn contradiction(&self) -> Option<(&'static str, String)> {
        let counts = [
            ("max-connections", self.max_connections),
            ("max-instances", self.max_instances),
            ("cpu-share", self.cpu_share),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Some((key, format!("`{key}` must be at least 1")));
        }
        if self.cpu_share > MAX_CPU_SHARE {
            return Some((
                "cpu-share",
                format!("`cpu-share` must be at most {MAX_CPU_SHARE}: it is a part beside others' parts"),
            ));
        }
        None
    }
}

/// One tenant may weigh so much more than another.
const MAX_CPU_SHARE: u32 = 10_000;

/// What becomes of a subscriber whose queue has no room for what is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlowConsumer {
    /// It goes on without that message.
    #[default]
    Drop,
    /// Its connection closes (1008).
    Close,
}

impl Limits {
    /// wasmtime's allowance for values that the guest hands over in one call (`hostcall_fuel`): twice the largest message
    /// or state plus slack, so that one over the limit is answered with an error instead of a trap. A state lies in the instance's memory.
    pub(crate) fn hostcall_fuel(&self) -> usize {
        let response = self.max_response_header_bytes.saturating_add(self.max_response_body_bytes);
        let largest =
            self.max_message_bytes.max(response).max(self.max_state_bytes.min(self.max_memory_bytes));
        largest.saturating_mul(2).saturating_add(64 << 10)
    }

    /// What is wrong with these limits: the key, and why.
    pub(crate) fn contradiction(&self) -> Option<(&'static str, String)> {
        let too_small = |key, least: String| Some((key, format!("`{key}` must be at least {least}")));
        if self.wall_per_event < 2 * WAIT_MARGIN {
            return too_small("wall-per-event", (2 * WAIT_MARGIN).show());
        }
        if self.cpu_per_event < Duration::from_millis(1) {
            return too_small("cpu-per-event", "1ms".into());
        }
        if self.fuel_per_event == FuelLimit::AtMost(0) {
            return Some((
                "fuel-per-event",
                "`fuel-per-event` must be at least 1; `\"off\"` meters nothing, `\"unlimited\"` only counts"
                    .into(),
            ));
        }
        if self.max_queue_bytes < MIN_QUEUE_BYTES {
            return too_small("max-queue-bytes", MIN_QUEUE_BYTES.show());
        }
        if self.max_compression_bytes < MIN_COMPRESSION_BYTES {
            return Some((
                "max-compression-bytes",
                format!(
                    "`max-compression-bytes` must be at least {}, what one connection needs; `compression = false` turns it off",
                    MIN_COMPRESSION_BYTES.show()
                ),
            ));
        }
        let clocks = [
            ("ping-interval", Some(self.ping_interval).filter(|interval| !interval.is_zero())),
            ("idle-timeout", self.idle_timeout),
            ("life-time", self.life_time),
            ("write-timeout", Some(self.write_timeout)),
        ];
        if let Some((key, _)) =
            clocks.into_iter().find(|(_, time)| time.is_some_and(|time| time < MIN_TIMEOUT))
        {
            return too_small(key, MIN_TIMEOUT.show());
        }
        if self.max_fragments == 0 {
            return too_small("max-fragments", "1".into());
        }
        if self.max_messages_per_second == 0 {
            return too_small("max-messages-per-second", "1".into());
        }
        if self.max_bytes_per_second < MIN_BYTES_PER_SECOND {
            return too_small("max-bytes-per-second", MIN_BYTES_PER_SECOND.show());
        }
        if self.max_connects_per_second == 0 {
            return too_small("max-connects-per-second", "1".into());
        }
        if self.max_route_connects_per_second == 0 {
            return too_small("max-route-connects-per-second", "1".into());
        }
        if self.max_instances == 0 {
            return too_small("max-instances", "1".into());
        }
        if self.max_connections_per_instance == 0 {
            return too_small("max-connections-per-instance", "1".into());
        }
        let durations = [
            ("cpu-per-event", self.cpu_per_event),
            ("wall-per-event", self.wall_per_event),
            ("linger", self.linger),
            ("close-timeout", self.close_timeout),
            ("write-timeout", self.write_timeout),
            ("shared-wait", self.shared_wait),
            ("ping-interval", self.ping_interval),
            ("idle-timeout", self.idle_timeout.unwrap_or_default()),
            ("life-time", self.life_time.unwrap_or_default()),
        ];
        if let Some((key, _)) = durations.into_iter().find(|(_, duration)| *duration > Duration::unlimited())
        {
            return Some((
                key,
                format!("`{key}` must be at most {}", humantime::format_duration(Duration::unlimited())),
            ));
        }
        let sizes = [
            ("max-message-bytes", self.max_message_bytes),
            ("max-queue-bytes", self.max_queue_bytes),
            ("max-response-header-bytes", self.max_response_header_bytes),
            ("max-response-body-bytes", self.max_response_body_bytes),
            ("max-topic-bytes", self.max_topic_bytes),
            ("max-log-line-bytes", self.max_log_line_bytes),
            ("max-compression-bytes", self.max_compression_bytes),
        ];
        if let Some((key, _)) =
            sizes.into_iter().find(|(_, size)| *size > MAX_SIZE && *size != usize::unlimited())
        {
            return Some((key, format!("`{key}` must be at most {}", MAX_SIZE.show())));
        }
        if self.max_table_elements > MAX_TABLE_ELEMENTS {
            return Some((
                "max-table-elements",
                format!(
                    "`max-table-elements` must be at most {MAX_TABLE_ELEMENTS}: the room is set aside for every instance"
                ),
            ));
        }
        if self.max_memory_bytes > MAX_MEMORY_BYTES && self.max_memory_bytes != usize::unlimited() {
            return Some((
                "max-memory-bytes",
                "`max-memory-bytes` must be at most 4GiB, all that a 32-bit memory can be".into(),
            ));
        }
        None
    }
}

/// What a 32-bit guest could hold at most.
const MAX_SIZE: usize = 2 << 30;
/// Of one instance: 80 MB of address space.
const MAX_TABLE_ELEMENTS: u32 = 10_000_000;
/// A clock that runs out more often would keep the host busy.
pub(crate) const MIN_TIMEOUT: Duration = Duration::from_millis(10);
/// With less nobody would get compression.
const MIN_COMPRESSION_BYTES: usize = tungstenite_deflate::DECOMPRESSOR_BYTES;
/// A peer that is read more slowly cannot even answer a ping in time.
const MIN_BYTES_PER_SECOND: usize = 256;
/// Room for a few control frames: with less a queue is always full.
const MIN_QUEUE_BYTES: usize = 1 << 10;
/// All that a 32-bit memory can be.
pub(crate) const MAX_MEMORY_BYTES: usize = 4 << 30;

/// How much earlier than its event's wall-clock limit an import stops waiting, so that the guest can still return.
pub(crate) const WAIT_MARGIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_changes_only_what_it_names() {
        let table: LimitsTable =
            toml::from_str("max-message-bytes = '1KiB'\ncpu-per-event = '7ms'\nmax-timers = 3")
                .expect("valid");
        let mut limits = Limits::default();
        table.apply_to(&mut limits);
        assert_eq!(limits.max_message_bytes, 1024);
        assert_eq!(limits.cpu_per_event, Duration::from_millis(7));
        assert_eq!(limits.max_timers, 3);
        assert_eq!(limits.wall_per_event, Limits::default().wall_per_event);
    }

    #[test]
    fn a_size_may_be_a_plain_number_of_bytes() {
        let table: LimitsTable = toml::from_str("max-message-bytes = 12").expect("valid");
        let mut limits = Limits::default();
        table.apply_to(&mut limits);
        assert_eq!(limits.max_message_bytes, 12);
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_an_example() {
        let error = toml::from_str::<LimitsTable>("cpu-per-event = '7'").err().expect("refused").to_string();
        assert!(error.contains("50ms"), "{error}");
    }

    #[test]
    fn nothing_at_all_in_a_second_is_no_limit_but_a_mistake() {
        for (limits, key) in [
            (Limits { max_fragments: 0, ..Limits::default() }, "max-fragments"),
            (Limits { max_messages_per_second: 0, ..Limits::default() }, "max-messages-per-second"),
            (Limits { max_bytes_per_second: 255, ..Limits::default() }, "max-bytes-per-second"),
            (Limits { max_connects_per_second: 0, ..Limits::default() }, "max-connects-per-second"),
            (
                Limits { max_route_connects_per_second: 0, ..Limits::default() },
                "max-route-connects-per-second",
            ),
        ] {
            assert_eq!(limits.contradiction().map(|(key, _)| key), Some(key));
        }
        let least = Limits {
            max_fragments: 1,
            max_messages_per_second: 1,
            max_bytes_per_second: 256,
            max_connects_per_second: 1,
            max_route_connects_per_second: 1,
            ..Limits::default()
        };
        assert_eq!(least.contradiction(), None);
    }

    #[test]
    fn every_limit_says_what_happens_at_it() {
        for line in Limits::reference().into_iter().chain(TenantLimits::reference()) {
            assert!(line.meaning.contains("Protects"), "{} does not say whom it protects", line.key);
        }
    }

    #[test]
    fn the_documentation_has_every_limit_as_it_is() {
        let page = include_str!("../../../docs/configuration.md");
        for (heading, reference) in
            [("| limit | form |", Limits::reference()), ("| total | form |", TenantLimits::reference())]
        {
            let table = page.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
            let documented: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
            let shown = |line: &LimitReference| {
                format!("| `{}` | {} | {} | {} |", line.key, line.form, line.default, line.meaning)
            };
            assert_eq!(documented, reference.iter().map(shown).collect::<Vec<_>>());
        }
    }
}
