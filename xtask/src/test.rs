//! `cargo xtask test`: everything that tests need, then the tests.

use std::{
    env,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{
    bindings::Bindings,
    clients,
    guests::Guests,
    languages,
    toolchain::{self, Source},
    workspace::{self, Workspace},
};

/// `arguments` go to `cargo test`, whose verdict this returns.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let toolchain = toolchain::setup(Source::Auto)?;
    Guests::default().run_with(&toolchain)?;
    clients::setup()?;
    languages::setup(&languages::OTHERS_THAN_RUST)?;
    // Somebody may have edited what the generator made; and docs/any-language.md, which is run, needs the generator.
    Bindings { check: true }.run()?;
    for language in languages::OTHERS_THAN_RUST {
        language.build()?;
        language.test()?;
    }

    // Guests export what only a component's host can call: this machine's linker has nothing to make of them.
    let workspace = Workspace::of(&workspace::root().join("Cargo.toml"), &toolchain)?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root()).args(["test", "--workspace"]);
    for guest in workspace.guests() {
        cargo.args(["--exclude", &guest.name]);
    }
    let status = cargo.args(arguments).status().context("cannot run cargo test")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
