//! `cargo xtask attacks`: the attack suite at length, against the optimized host.

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

/// `arguments` go to the suite (`tests/attacks`), whose verdict this returns.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    Guests::default().run_with(&toolchain::setup(Source::Auto)?)?;
    let cargo = |words: &[&str]| {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(workspace::root()).args(words);
        cargo
    };
    let built = cargo(&["build", "--release", "--package", "waterspout"])
        .status()
        .context("cannot run cargo build")?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    let folder = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace::target(workspace::root()), |folder| workspace::root().join(folder));
    let status =
        cargo(&["test", "--package", "waterspout-tests", "--test", "attacks", "--", "--long", "--program"])
            .arg(folder.join("release/waterspout"))
            .args(arguments)
            .status()
            .context("cannot run cargo test")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
