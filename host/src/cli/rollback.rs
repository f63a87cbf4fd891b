//! `waterspout rollback` and `waterspout promote`: to a version that the server has already.

use clap::Args;
use http::Method;

use super::admin_client::AdminArguments;
use super::deploy::RouteArguments;
use super::progress::with_line;
use super::swap_report;

/// The arguments of `waterspout rollback` and `waterspout promote`.
#[derive(Args)]
pub(super) struct Change {
    #[command(flatten)]
    route: RouteArguments,
    /// Print the server's answer as it is, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

impl Change {
    pub(super) fn roll_back(self) -> anyhow::Result<()> {
        self.run("rollback", "rolling back")
    }

    pub(super) fn promote(self) -> anyhow::Result<()> {
        self.run("promote", "promoting")
    }

    fn run(self, what: &str, doing: &str) -> anyhow::Result<()> {
        let client = self.admin.client()?;
        let question = self.route.question(Method::POST, what);
        let answer = with_line(format!("{doing} {}", self.route.name), || client.ask(question))?;
        Ok(swap_report::say(&self.route, &answer, self.json).map_err(|_| client.stranger())?)
    }
}
