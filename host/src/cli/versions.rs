//! `waterspout versions`: which versions of its handler each route of a running server has, as a table.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Args;
use http::Method;
use serde::Deserialize;
use waterspout::printable;

use super::admin_client::{AdminArguments, Question};

/// The arguments of `waterspout versions`.
#[derive(Args)]
pub(super) struct Versions {
    /// Only routes of this name
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only routes of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Print the server's answer as it is, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

impl Versions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let client = self.admin.client()?;
        let question =
            Question::new(Method::GET, &["routes"]).with("route", self.route).with("tenant", self.tenant);
        let answer = client.ask(question)?;
        let Answer { routes } = serde_json::from_slice(&answer).map_err(|_| client.stranger())?;
        if self.json {
            super::say_raw(&answer);
        } else {
            super::say(table(&routes).trim_end());
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Answer {
    routes: Vec<Route>,
}

/// What a server leaves out, it does not know.
#[derive(Deserialize)]
struct Route {
    tenant: String,
    route: String,
    #[serde(default)]
    pinned: bool,
    current: Option<Version>,
    #[serde(default)]
    canary: Option<Canary>,
    previous: Option<Version>,
    connections: BTreeMap<u32, usize>,
}

#[derive(Default, Deserialize)]
struct Version {
    version: u32,
    sha256: Option<String>,
    since: Option<String>,
    source: Option<String>,
    file: Option<String>,
}

#[derive(Deserialize)]
struct Canary {
    #[serde(flatten)]
    version: Version,
    /// The part of the new connections that it gets.
    percent: u8,
    /// From how many addresses it has been used, and from how many of them it was made to fail.
    addresses: u64,
    failed: u64,
}

const COLUMNS: usize = 8;
const HEAD: [&str; COLUMNS] =
    ["TENANT", "ROUTE", "VERSION", "SHA256", "SINCE", "SOURCE", "CONNECTIONS", "IS"];
const UNKNOWN: &str = "-";

/// A line for each version that is kept or serves somebody.
fn table(routes: &[Route]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(routes.iter().flat_map(rows_of));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn rows_of(route: &Route) -> Vec<[String; COLUMNS]> {
    let Route { pinned, current, canary, previous, connections, .. } = route;
    let named = |cells: [String; COLUMNS - 2]| {
        let [version, digest, since, source, connections, is] = cells;
        [
            printable(route.tenant.as_bytes()),
            printable(route.route.as_bytes()),
            version,
            digest,
            since,
            source,
            connections,
            is,
        ]
    };
    let serves = |version: u32| connections.get(&version).copied().unwrap_or_default().to_string();
    let known = |cell: Option<&str>| cell.map_or(UNKNOWN.into(), |text| printable(text.as_bytes()));
    let row = |Version { version, sha256, since, source, file }: &Version, is: String| {
        let digest = sha256.as_deref().map(super::short_digest);
        let source = file.as_deref().or(source.as_deref());
        named([
            version.to_string(),
            known(digest),
            known(since.as_deref()),
            known(source),
            serves(*version),
            is,
        ])
    };
    let mut rows = vec![match current {
        Some(version) => row(version, if *pinned { "current, pinned" } else { "current" }.into()),
        None => named([UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, "0", "not loaded"].map(str::to_owned)),
    }];
    if let Some(Canary { version, percent, addresses, failed }) = canary {
        let is = format!("canary {percent}%, failed for {failed} of {addresses} addresses");
        rows.push(row(version, is));
    }
    rows.extend(previous.iter().map(|version| row(version, "previous".into())));
    let canary = canary.as_ref().map(|canary| &canary.version);
    let kept: Vec<u32> =
        [current.as_ref(), canary, previous.as_ref()].into_iter().flatten().map(|of| of.version).collect();
    for version in connections.keys().filter(|version| !kept.contains(version)) {
        // Kept by its connections alone.
        let gone = Version { version: *version, ..Version::default() };
        rows.push(row(&gone, "draining".into()));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        let answer: Answer = serde_json::from_str(json).expect("an answer");
        table(&answer.routes)
    }

    #[test]
    fn every_version_that_is_kept_or_serves_somebody_has_a_line() {
        let text = shown(
            r#"{"routes": [
                {"tenant": "acme", "route": "chat", "on_swap": "migrate", "pinned": true, "connections": {"1": 4, "3": 12, "4": 1},
                 "current": {"version": 3, "sha256": "0123456789abcdef", "since": "2026-11-23T17:44:48Z", "source": "deployed"},
                 "canary": {"version": 4, "sha256": "fedcba9876543210", "source": "deployed", "percent": 10, "addresses": 20, "failed": 1},
                 "previous": {"version": 2, "sha256": "0123456789abcdef", "since": "2026-11-23T16:00:00Z", "source": "file", "file": "/srv/chat.wasm"}},
                {"tenant": "b", "route": "x\u001b", "current": null, "previous": null, "connections": {}}
            ]}"#,
        );
        assert_eq!(
            text,
            "TENANT  ROUTE    VERSION  SHA256        SINCE                 SOURCE          CONNECTIONS  IS\n\
             acme    chat     3        0123456789ab  2026-11-23T17:44:48Z  deployed        12           current, pinned\n\
             acme    chat     4        fedcba987654  -                     deployed        1            canary 10%, failed for 1 of 20 addresses\n\
             acme    chat     2        0123456789ab  2026-11-23T16:00:00Z  /srv/chat.wasm  0            previous\n\
             acme    chat     1        -             -                     -               4            draining\n\
             b       x\\u{1b}  -        -             -                     -               0            not loaded\n"
        );
    }
}
