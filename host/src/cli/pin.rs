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
        let unpin = self.command.again("unpin");
        self.command.ask(question, None, |route, answer| told(route, answer, &unpin))
    }
}

/// `waterspout unpin`.
pub(super) fn unpin(command: RouteCommand) -> anyhow::Result<()> {
    let question = command.question(Method::DELETE, "pin");
    let unpin = command.again("unpin");
    command.ask(question, None, |route, answer| told(route, answer, &unpin))
}

#[derive(Deserialize)]
struct Answer {
    /// The version that stays.
    #[serde(deserialize_with = "Option::deserialize")]
    pinned: Option<u32>,
    /// Why it does not outlive the server.
    note: Option<String>,
}

/// `unpin` is the command that ends it.
fn told(route: &str, Answer { pinned, note }: Answer, unpin: &str) -> String {
    let done = match pinned {
        Some(version) => format!("version {version} of {route} is pinned: it stays until `{unpin}`"),
        None => format!("no version of {route} is pinned"),
    };
    done + &note.map(|note| format!("\nnote: {note}")).unwrap_or_default()
}
