//! What one asks a running server about one route: the arguments of such commands, and how their answers are told.

use clap::Args;
use http::Method;
use serde::de::DeserializeOwned;
use waterspout::printable;

use super::admin_client::{AdminArguments, Question};
use super::progress::with_line;

/// Which route is meant.
#[derive(Args)]
pub(super) struct RouteArguments {
    /// The route, by its name in the configuration
    #[arg(long = "route", value_name = "NAME")]
    pub(super) name: String,
    /// Its tenant; needed where several tenants have a route of that name
    #[arg(long, value_name = "NAME")]
    pub(super) tenant: Option<String>,
}

/// The arguments of a command about one route.
#[derive(Args)]
pub(super) struct RouteCommand {
    #[command(flatten)]
    route: RouteArguments,
    /// Print the server's answer as it is, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

impl RouteCommand {
    /// About what there is of the route.
    pub(super) fn question(&self, method: Method, what: &str) -> Question {
        let RouteArguments { name, tenant } = &self.route;
        Question::new(method, &["routes", name, what]).with("tenant", tenant.as_deref())
    }

    /// What one types to have `command` do something to the same route.
    pub(super) fn again(&self, command: &str) -> String {
        let RouteArguments { name, tenant } = &self.route;
        let tenant = tenant.as_deref().map(|tenant| format!(" --tenant {}", word(tenant)));
        format!("waterspout {command} --route {}{}", word(name), tenant.unwrap_or_default())
    }

    /// Asks, and prints what `told` makes of the route's name and the answer; with `--json` the answer as the server has said it. `doing` is
    /// what a person sees while it takes long, before the route's name.
    ///
    /// # Errors
    /// The server's, or it is none of ours.
    pub(super) fn ask<A: DeserializeOwned>(
        self,
        question: Question,
        doing: Option<&str>,
        told: impl FnOnce(&str, A) -> String,
    ) -> anyhow::Result<()> {
        let client = self.admin.client()?;
        let raw = match doing {
            Some(doing) => with_line(format!("{doing} {}", self.route.name), || client.ask(question)),
            None => client.ask(question),
        }?;
        let answer = serde_json::from_slice(&raw).map_err(|_| client.stranger())?;
        if self.json {
            super::say_raw(&raw);
        } else {
            super::say(told(&self.route.name, answer));
        }
        Ok(())
    }
}

/// One word of a shell's, whatever is in it.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@".contains(c);
    if text.chars().all(is_plain) && !text.is_empty() {
        text.to_owned()
    } else {
        format!("'{}'", printable(text.as_bytes()).replace('\'', r"'\''"))
    }
}
