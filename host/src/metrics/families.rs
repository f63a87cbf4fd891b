//! Every metric there is, in one table: name, type, labels, meaning. The documentation's table and the dashboard are tested against it.

/// One metric with all its labels' values.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    /// What it is, and in which unit.
    pub(crate) help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

macro_rules! families {
    ($($family:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)+) => {
        $(pub(crate) static $family: Family =
            Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)+

        /// All of them, in the order in which they are exposed.
        #[cfg_attr(not(test), expect(dead_code, reason = "for tests of what else names them"))]
        pub(crate) fn all() -> Vec<&'static Family> {
            vec![$(&$family),+]
        }
    };
}

families! {
    CONNECTIONS_OPEN = "waterspout_connections_open", Gauge, ["tenant", "route"],
        "WebSocket connections that are open.";
    HANDSHAKES = "waterspout_handshakes_total", Counter, ["tenant", "route", "status"],
        "Handshakes by the status that they were answered; 101 also over HTTP/2. Without a tenant: those that no route takes.";
    REFUSALS = "waterspout_refusals_total", Counter, ["tenant", "route", "scope", "limit"],
        "Handshakes, and connections of handlers' own, that were refused, and calls that failed, because a limit was reached, and whose limit it was. Without a tenant: sockets, which have no route yet, that were closed at once (address) or had to wait (server).";
    CLOSES = "waterspout_closes_total", Counter, ["tenant", "route", "cause"],
        "Connections that have ended, by cause.";
    MESSAGES = "waterspout_messages_total", Counter, ["tenant", "route", "direction"],
        "Messages that were received from peers and sent to them.";
    BYTES = "waterspout_bytes_total", Counter, ["tenant", "route", "direction"],
        "Bytes of those messages, without frames and before compression; what was compressed once for many counts as it is sent.";
    CLIENT_CONNECTIONS_OPEN = "waterspout_client_connections_open", Gauge, ["tenant", "route"],
        "Connections that handlers have opened themselves and that are open.";
    CLIENT_MESSAGES = "waterspout_client_messages_total", Counter, ["tenant", "route", "direction"],
        "Messages on connections that handlers have opened themselves, received from their servers and sent to them.";
    CLIENT_BYTES = "waterspout_client_bytes_total", Counter, ["tenant", "route", "direction"],
        "Bytes of those messages, without frames and before compression.";
    PUBLISHED_DROPS = "waterspout_published_drops_total", Counter, ["tenant", "route"],
        "Published messages that a subscriber was not sent, because its queue was full.";
    GUEST_CALL_SECONDS = "waterspout_guest_call_seconds", Histogram, ["tenant", "route", "call"],
        "How long guest calls take, waiting in imports included, in seconds. Of each kind at most one a millisecond, thread and route is timed: a sample, not the number of calls.";
    TRAPS = "waterspout_traps_total", Counter, ["tenant", "route", "cause"],
        "Guest calls that failed, and with them their instance, by cause.";
    GUEST_FUEL = "waterspout_guest_fuel_total", Counter, ["tenant", "route"],
        "Fuel that guest calls have used, in wasmtime's units. Only of routes with fuel-per-event.";
    ROUTES_NOT_LOADED = "waterspout_routes_not_loaded", Gauge, ["tenant", "route"],
        "1 while the route has no handler, because it could not be loaded, and answers 503; else 0.";
    SWAPS = "waterspout_swaps_total", Counter, ["tenant", "route", "outcome"],
        "Replacements of the route's handler, by outcome: done, refused (nothing has changed), or rolled_back. One that is taken back was done before, and counts as both.";
    SWAP_CONNECTIONS = "waterspout_swap_connections_total", Counter, ["tenant", "route", "outcome"],
        "Connections that were to go over to another version of their handler, by outcome: moved; unsupported, no_room, too_large (a state over max-state-bytes) and failed stay with the old one, of which no_room may go over later and are moved, too; lost have ended.";
    VERSION_CONNECTIONS = "waterspout_version_connections", Gauge, ["tenant", "route", "version"],
        "Open connections, by the number of the handler's version that serves them.";
    INSTANCES_LIVE = "waterspout_instances_live", Gauge, ["tenant", "route"],
        "Live instances, those included that wait for a connection.";
    SPARE_INSTANCES = "waterspout_spare_instances", Gauge, ["tenant", "route"],
        "Instances that wait for a connection. Only of routes with spare-instances.";
    SPARE_TAKES = "waterspout_spare_takes_total", Counter, ["tenant", "route", "outcome"],
        "Instances that were needed, by outcome: found (one waited) or none (it had to be made). Only of routes with spare-instances.";
    LOG_LINES_DROPPED = "waterspout_log_lines_dropped_total", Counter, ["tenant", "route"],
        "Lines that handlers printed and that were dropped at a limit.";
    CPU_SECONDS = "waterspout_cpu_seconds_total", Counter, ["tenant"],
        "Processor time of the tenant's handlers, and of the host for them, in seconds; without a tenant, of what comes before a handshake with a route.";
    MEMORY_BYTES = "waterspout_memory_bytes", Gauge, ["tenant"],
        "What is counted against the tenant's max-memory-bytes, in bytes.";
    MEMORY_LIMIT_BYTES = "waterspout_memory_limit_bytes", Gauge, ["tenant"],
        "The tenant's max-memory-bytes; +Inf if only the server's counts.";
    BUILD_INFO = "waterspout_build_info", Gauge, ["version"],
        "Always 1.";
    PROCESS_CPU_SECONDS = "process_cpu_seconds_total", Counter, [],
        "Processor time of the process, in seconds.";
    PROCESS_OPEN_FDS = "process_open_fds", Gauge, [],
        "File descriptors that are open.";
    PROCESS_MAX_FDS = "process_max_fds", Gauge, [],
        "File descriptors that may be open.";
    PROCESS_RESIDENT_MEMORY_BYTES = "process_resident_memory_bytes", Gauge, [],
        "Memory of the process that is in RAM, in bytes.";
    PROCESS_VIRTUAL_MEMORY_BYTES = "process_virtual_memory_bytes", Gauge, [],
        "Address space of the process, most of it reserved and never used, in bytes.";
    PROCESS_START_TIME_SECONDS = "process_start_time_seconds", Gauge, [],
        "When the process began, in seconds since 1970.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_prometheus_advises() {
        for family in all() {
            let Family { name, kind, help, .. } = family;
            assert!(name.starts_with("waterspout_") || name.starts_with("process_"), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn the_documentation_has_every_metric_as_it_is() {
        let page = include_str!("../../../docs/admin.md");
        let table = page.lines().skip_while(|line| !line.starts_with("| metric | type |")).skip(2);
        let documented: Vec<&str> = table.take_while(|line| line.starts_with('|')).collect();
        let shown = |family: &&Family| {
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let Family { name, kind, help, .. } = family;
            format!("| `{name}` | {} | {} | {help} |", kind.label(), labels.join(", "))
        };
        let expected: Vec<String> = all().iter().map(shown).collect();
        assert_eq!(documented, expected, "expected:\n{}", expected.join("\n"));
    }

    #[test]
    fn the_dashboard_names_only_what_is_exposed() {
        let text = include_str!("../../../dist/grafana/waterspout.json");
        let dashboard: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let mut names = std::collections::BTreeSet::new();
        for expression in expressions(&dashboard) {
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            names.extend(
                words
                    .filter(|word| word.starts_with("waterspout_") || word.starts_with("process_"))
                    .map(str::to_owned),
            );
        }
        assert!(names.len() >= 12, "{names:?}");
        for name in names {
            let exposed = all().iter().any(|family| match family.kind {
                Kind::Histogram => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| name == format!("{}{suffix}", family.name)),
                _ => name == family.name,
            });
            assert!(exposed, "the dashboard asks for {name}, which is not exposed");
        }
    }

    /// Every query of a dashboard.
    fn expressions(value: &serde_json::Value) -> Vec<&str> {
        use serde_json::Value;
        match value {
            Value::Object(fields) => fields
                .iter()
                .flat_map(|(key, value)| match value {
                    Value::String(text) if matches!(key.as_str(), "expr" | "definition" | "query") => {
                        vec![text.as_str()]
                    }
                    other => expressions(other),
                })
                .collect(),
            Value::Array(values) => values.iter().flat_map(expressions).collect(),
            _ => Vec::new(),
        }
    }
}
