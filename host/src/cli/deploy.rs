//! `waterspout deploy`: a new version of a route's handler, put in its place by the admin listener of a running server.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::Method;

use super::route_command::RouteCommand;
use super::swap_report;

/// The arguments of `waterspout deploy`.
#[derive(Args)]
pub(super) struct Deploy {
    /// The new version: a component, a core module with a component-type section, or WebAssembly text; `-` is stdin
    handler: PathBuf,
    /// What becomes of open connections: they go over to the new version, keep the old one until they end, or are closed (1012)
    /// [default: the route's `on-swap`]
    #[arg(long, value_name = "MODE", value_parser = ["migrate", "drain", "close"])]
    on_swap: Option<String>,
    /// A canary: only so many of the new connections get it, such as `10%`, until it has proved itself, or is promoted or rolled back
    #[arg(long, value_name = "PERCENT", conflicts_with = "on_swap")]
    canary: Option<Percent>,
    #[command(flatten)]
    command: RouteCommand,
}

/// A part of the new connections, from 1 to 99.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Percent(u8);

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse();
        number
            .ok()
            .filter(|percent| (1..=99).contains(percent))
            .map(Self)
            .ok_or("a whole number from 1% to 99%")
    }
}

impl Deploy {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // Read to its end before anybody is asked: what is still being written, here or by whoever writes to the pipe, holds up nobody's
        // server.
        let bytes = read(&self.handler)?;
        let question = self
            .command
            .question(Method::PUT, "handler")
            .with("on-swap", self.on_swap.as_deref())
            .with("canary", self.canary.map(|Percent(percent)| percent))
            .with_body(bytes);
        let doing = format!("deploying {} to", self.handler.display());
        self.command.ask(question, Some(&doing), swap_report::told)
    }
}

fn read(file: &Path) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    let named = if file == Path::new("-") { "stdin".into() } else { file.display().to_string() };
    let read = match file == Path::new("-") {
        true => io::stdin().lock().read_to_end(&mut bytes),
        false => File::open(file).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("{named} cannot be read"))?;
    if bytes.is_empty() {
        bail!("{named} is empty: nothing is deployed");
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_from_1_to_99_with_or_without_its_sign() {
        for (text, percent) in [("10%", 10), ("10", 10), ("1%", 1), ("99 %", 99)] {
            assert_eq!(text.parse(), Ok(Percent(percent)), "{text}");
        }
        for text in ["0%", "100%", "0.1%", "-1%", "%", "", "ten"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
