//! `waterspout rollback` and `waterspout promote`: to a version that the server has already.

use http::Method;

use super::route_command::RouteCommand;
use super::swap_report;

pub(super) fn roll_back(command: RouteCommand) -> anyhow::Result<()> {
    change(command, "rollback", "rolling back")
}

pub(super) fn promote(command: RouteCommand) -> anyhow::Result<()> {
    change(command, "promote", "promoting")
}

fn change(command: RouteCommand, what: &str, doing: &str) -> anyhow::Result<()> {
    let question = command.question(Method::POST, what);
    command.ask(question, Some(doing), swap_report::told)
}
