//! What a swap's report says to a person.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use waterspout::printable;

/// What the server answers. A key that a server leaves out is 0, or nothing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SwapReport {
    version: u32,
    /// Of a canary it is not told.
    #[serde(default)]
    sha256: String,
    #[serde(default)]
    on_swap: String,
    /// Of a canary: the part of the new connections that it gets.
    #[serde(default)]
    percent: Option<u8>,
    #[serde(default)]
    connections: usize,
    #[serde(default)]
    moved: usize,
    #[serde(default)]
    unsupported: usize,
    #[serde(default)]
    no_room: usize,
    #[serde(default)]
    no_room_because: Option<String>,
    #[serde(default)]
    too_large: usize,
    #[serde(default)]
    failed: usize,
    #[serde(default)]
    lost: usize,
    #[serde(default)]
    busy: usize,
    #[serde(default)]
    first_failure: Option<String>,
    #[serde(default)]
    unsupported_because: Option<String>,
    #[serde(default)]
    longest_pause_ms: f64,
    /// The canary that was withdrawn, if that is what was asked.
    #[serde(default)]
    withdrawn: Option<u32>,
    /// What will stand in the way when this version is to be replaced.
    #[serde(default)]
    hindrance: Option<String>,
    /// Why the change does not outlive the server.
    #[serde(default)]
    note: Option<String>,
}

/// What has become of a route's swap.
#[expect(clippy::needless_pass_by_value, reason = "as what tells of other answers")]
pub(super) fn told(route: &str, report: SwapReport) -> String {
    Told { route, report: &report }.to_string()
}

struct Told<'a> {
    route: &'a str,
    report: &'a SwapReport,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, report } = self;
        let version = match super::short_digest(&report.sha256) {
            "" => format!("version {}", report.version),
            digest => format!("version {} ({digest})", report.version),
        };
        if let Some(percent) = report.percent {
            write!(
                f,
                "{version} of {route} gets {percent}% of the new connections, until it has proved itself; see `waterspout versions`, `promote`, \
                 `rollback`"
            )?;
        } else {
            if let Some(canary) = report.withdrawn {
                write!(f, "the canary, version {canary}, is withdrawn: ")?;
            }
            write!(f, "{version} of {route} is served")?;
        }
        report.tell_connections(f)?;
        if let Some(hindrance) = &report.hindrance {
            write!(f, "\nnote: the handler {}", printable(hindrance.as_bytes()))?;
        }
        match &report.note {
            Some(note) => write!(f, "\nnote: {note}"),
            None => Ok(()),
        }
    }
}

/// What becomes of who keeps the old version.
const STAYS: &str = "stays with the old version until it ends, or `max-drain`";
const STAY: &str = "stay with the old version until they end, or `max-drain`";

impl SwapReport {
    fn tell_connections(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, moved, unsupported, no_room, too_large, failed, lost, busy, .. } = *self;
        match self.on_swap.as_str() {
            _ if self.percent.is_some() => return Ok(()),
            _ if connections == 0 => return f.write_str("\nno connection was open"),
            "drain" => return line(f, connections, STAYS, STAY, ""),
            "close" => return line(f, connections, "is being closed (1012)", "are being closed (1012)", ""),
            _ => {}
        }
        let pause = Duration::try_from_secs_f64(self.longest_pause_ms / 1e3).unwrap_or_default();
        let pause = format!(", without a handler for at most {pause:.1?}");
        line(f, moved, "moved", "moved", &pause)?;
        let because = self.unsupported_because.as_deref().unwrap_or("the handler gives no state");
        line(f, unsupported, STAYS, STAY, &format!(": {}", printable(because.as_bytes())))?;
        let lacked = self.no_room_because.as_deref().map(|what| format!(" ({})", printable(what.as_bytes())));
        let lacked = lacked.unwrap_or_default();
        line(f, no_room, STAYS, STAY, &format!(": no room for both versions{lacked}, which is tried again"))?;
        line(f, too_large, STAYS, STAY, ": the state is over `max-state-bytes`")?;
        let first = self.first_failure.as_deref().map(|why| printable(why.as_bytes())).unwrap_or_default();
        line(f, failed, STAYS, STAY, &format!(": the new one failed to take over: {first}"))?;
        line(f, busy, "is busy, and is dealt with later", "are busy, and are dealt with later", "")?;
        line(f, lost, "ended", "ended", ": the old version failed when it was asked for its state")
    }
}

/// Nothing of none.
fn line(f: &mut fmt::Formatter<'_>, count: usize, one: &str, many: &str, rest: &str) -> fmt::Result {
    match count {
        0 => Ok(()),
        1 => write!(f, "\n1 connection {one}{rest}"),
        _ => write!(f, "\n{count} connections {many}{rest}"),
    }
}

#[cfg(test)]
mod tests {

    fn told(json: &str) -> String {
        super::told("chat", serde_json::from_str(json).expect("a report"))
    }

    #[test]
    fn everybody_who_was_there_is_told_of() {
        let text = told(
            r#"{"version": 3, "sha256": "0123456789abcdef", "on_swap": "migrate", "connections": 18, "moved": 2, "unsupported": 1,
                "no_room": 3, "no_room_because": "max-memory-bytes of the tenant", "too_large": 2, "failed": 4, "lost": 1, "busy": 5, "first_failure": "no field `x`", "longest_pause_ms": 1.25}"#,
        );
        assert_eq!(
            text,
            "version 3 (0123456789ab) of chat is served\n\
             2 connections moved, without a handler for at most 1.2ms\n\
             1 connection stays with the old version until it ends, or `max-drain`: the handler gives no state\n\
             3 connections stay with the old version until they end, or `max-drain`: no room for both versions \
             (max-memory-bytes of the tenant), which is tried again\n\
             2 connections stay with the old version until they end, or `max-drain`: the state is over `max-state-bytes`\n\
             4 connections stay with the old version until they end, or `max-drain`: the new one failed to take over: no field `x`\n\
             5 connections are busy, and are dealt with later\n\
             1 connection ended: the old version failed when it was asked for its state"
        );
    }

    #[test]
    fn who_drains_closes_or_is_not_there_is_told_so() {
        let with = |on_swap: &str, connections: usize| {
            let text = told(&format!(
                r#"{{"version": 2, "sha256": "0123456789abcdef", "on_swap": "{on_swap}", "connections": {connections},
                     "busy": {connections}, "note": "lasts"}}"#
            ));
            text.lines().nth(1).expect("a line").to_owned()
        };
        assert_eq!(
            with("drain", 2),
            "2 connections stay with the old version until they end, or `max-drain`"
        );
        assert_eq!(with("close", 1), "1 connection is being closed (1012)");
        assert_eq!(with("migrate", 0), "no connection was open");
        assert!(told(r#"{"version": 2, "sha256": "", "note": "it lasts"}"#).ends_with("\nnote: it lasts"));
    }

    #[test]
    fn why_nobody_can_go_over_and_what_hinders_the_next_swap_is_what_the_server_says() {
        let text = told(
            r#"{"version": 3, "sha256": "", "on_swap": "migrate", "connections": 2, "unsupported": 2, "unsupported_because": "its `suspend` answers none",
                "hindrance": "does not export `shared-state`"}"#,
        );
        assert_eq!(
            text,
            "version 3 of chat is served\n\
             2 connections stay with the old version until they end, or `max-drain`: its `suspend` answers none\n\
             note: the handler does not export `shared-state`"
        );
    }

    #[test]
    fn a_rollback_that_ends_a_canary_says_so() {
        let text = told(
            r#"{"version": 2, "sha256": "", "on_swap": "migrate", "connections": 2, "moved": 1, "withdrawn": 3}"#,
        );
        assert!(
            text.starts_with(
                "the canary, version 3, is withdrawn: version 2 of chat is served\n1 connection moved"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_canary_says_how_many_it_gets() {
        let text = told(r#"{"version": 2, "percent": 10, "addresses": 0, "failed": 0}"#);
        assert_eq!(
            text,
            "version 2 of chat gets 10% of the new connections, until it has proved itself; see `waterspout versions`, `promote`, `rollback`"
        );
    }
}
