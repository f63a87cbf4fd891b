//! `waterspout pin` and `waterspout unpin`: whether a route's current version stays, whoever brings another.

use clap::Args;
use http::Method;
use serde::Deserialize;

use super::route_command::RouteCommand;

/// The arguments of `waterspout pin`.
#[derive(Args)]
pub(super) struct Pin {
    /// Only if this is the current version
    version: Option<u32>,
    #[command(flatten)]
    command: RouteCommand,
}

impl Pin {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let question = self.command.question(Method::POST, "pin").with("version", self.version);
        self.command.ask(question, None, told)
    }
}

/// `waterspout unpin`.
pub(super) fn unpin(command: RouteCommand) -> anyhow::Result<()> {
    let question = command.question(Method::DELETE, "pin");
    command.ask(question, None, told)
}

#[derive(Deserialize)]
struct Answer {
    /// The version that stays.
    #[serde(deserialize_with = "Option::deserialize")]
    pinned: Option<u32>,
    /// Why it does not outlive the server.
    note: Option<String>,
}

fn told(route: &str, Answer { pinned, note }: Answer) -> String {
    let done = match pinned {
        Some(version) => format!("version {version} of {route} is pinned: it stays until `waterspout unpin`"),
        None => format!("no version of {route} is pinned"),
    };
    done + &note.map(|note| format!("\nnote: {note}")).unwrap_or_default()
}
