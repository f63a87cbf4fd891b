//! `waterspout pin` and `waterspout unpin`: whether a route's current version stays, whoever brings another.

use clap::Args;
use http::Method;
use serde::Deserialize;

use super::admin_client::AdminArguments;
use super::deploy::RouteArguments;

/// The arguments of `waterspout pin`.
#[derive(Args)]
pub(super) struct Pin {
    /// Only if this is the current version
    version: Option<u32>,
    #[command(flatten)]
    unpin: Unpin,
}

/// The arguments of `waterspout unpin`.
#[derive(Args)]
pub(super) struct Unpin {
    #[command(flatten)]
    route: RouteArguments,
    /// Print the server's answer as it is, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

impl Pin {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.unpin.ask(Method::POST, self.version)
    }
}

impl Unpin {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.ask(Method::DELETE, None)
    }

    fn ask(self, method: Method, version: Option<u32>) -> anyhow::Result<()> {
        let question = self.route.question(method, "pin").with("version", version);
        let client = self.admin.client()?;
        let raw = client.ask(question)?;
        let answer: Answer = serde_json::from_slice(&raw).map_err(|_| client.stranger())?;
        if self.json {
            super::say_raw(&raw);
        } else {
            super::say(told(&self.route.name, answer));
        }
        Ok(())
    }
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
