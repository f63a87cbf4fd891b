//! `cargo xtask soak`: the program under mixed load and attacks, and what it holds meanwhile and afterwards.

use std::{
    env,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    guests::Guests,
    step,
    toolchain::{self, Source},
    workspace,
};

/// Options of `cargo xtask soak`.
#[derive(Args)]
pub(crate) struct Soak {
    /// How long the load lasts
    #[arg(long, default_value_t = 15)]
    minutes: u32,
    /// Test the program as `cargo build` makes it, with its checks, instead of the release
    #[arg(long)]
    debug: bool,
    /// Passed on to the load: `--max-slope KIB` for how fast memory may grow, in KiB a minute
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Soak {
    /// Returns the verdict of the load.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        Guests::default().run_with(&toolchain::setup(Source::Auto)?)?;
        let (profile, folder): (&[&str], _) =
            if self.debug { (&[], "debug") } else { (&["--release"], "release") };
        let mut build = cargo();
        build.arg("build").args(profile).args([
            "--package",
            "waterspout",
            "--package",
            "waterspout-tests",
            "--bins",
        ]);
        step::run("building the program and its load", &workspace::log("soak-build"), &mut build)?;
        let programs = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace::target(workspace::root()), Into::into)
            .join(folder);
        let target = workspace::target(workspace::root());
        let mut soak = Command::new(programs.join("soak"));
        soak.arg("--program").arg(programs.join("waterspout"));
        soak.arg("--guests").arg(target.join("guests")).arg("--folder").arg(target.join("soak"));
        soak.args(["--minutes", &self.minutes.to_string()]).args(&self.arguments);
        let status =
            soak.status().with_context(|| format!("cannot run {}", programs.join("soak").display()))?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root());
    cargo
}
