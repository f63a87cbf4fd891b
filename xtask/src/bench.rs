//! `cargo xtask bench`: the lean echo guest, the optimized host, and the load generator that compares it with other servers.

use std::{
    env,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{
    guests::Guests,
    toolchain::{self, Source},
    workspace,
};

/// `arguments` go to `waterspout-bench compare`, whose verdict this returns.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    Guests::default().run_with(&toolchain::setup(Source::Auto)?)?;
    let cargo = || {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(workspace::root());
        cargo
    };
    let built = cargo()
        .args(["build", "--release", "--package", "waterspout"])
        .status()
        .context("cannot run cargo build")?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    let status = cargo()
        .args(["run", "--release", "--package", "waterspout-bench", "--", "compare"])
        .args(arguments)
        .status()
        .context("cannot run cargo run")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
