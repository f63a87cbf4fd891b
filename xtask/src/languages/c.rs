//! C, by the compiler of zig, which brings a C library for WASI: PyPI has it as a package.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use super::{Environment, Project, folder, pip};
use crate::step;

/// Any of 0.17 would do; the same everywhere makes the same components.
const PACKAGES: [&str; 1] = ["ziglang==0.17.1"];

pub(super) fn setup() -> Result<()> {
    // From the system, as Python and Node are.
    step::output(Command::new("make").arg("--version"))
        .context("install make (Debian: `apt-get install make`)")?;
    pip::set_up(&folder("c"), &PACKAGES)
}

/// Makefiles take the compiler from a variable.
pub(super) fn environment() -> Environment {
    if !folder("c").is_dir() {
        return Environment::default();
    }
    Environment { programs: None, variables: vec![("WASI_CC".into(), wasi_compiler())] }
}

/// `make`, with our own compiler.
pub(super) fn build(project: &Project) -> Result<Command> {
    let mut make = make(&project.folder);
    make.arg(format!("WASI_CC={}", wasi_compiler()));
    Ok(make)
}

/// The tests of the SDK, which run on this machine.
pub(super) fn test(sdk: &Path) -> Result<Command> {
    let mut make = make(&sdk.join("tests"));
    make.arg(format!("CC={}", compiler())).arg(format!("BUILD={}", folder("c").join("tests").display()));
    Ok(make)
}

fn make(folder: &Path) -> Command {
    let mut make = Command::new("make");
    // Not in the user's own folder: what is compiled there is ours.
    make.arg("-C").arg(folder).env("ZIG_GLOBAL_CACHE_DIR", super::folder("c").join("cache"));
    make
}

fn compiler() -> String {
    format!("{} -m ziglang cc", folder("c").join("bin/python").display())
}

fn wasi_compiler() -> String {
    format!("{} -target wasm32-wasi", compiler())
}

#[cfg(test)]
mod tests {
    use super::PACKAGES;

    #[test]
    fn the_package_is_the_one_that_users_are_told_to_install() {
        for told in [
            include_str!("../../../guest-sdk/c/README.md"),
            include_str!("../../../guest-sdk/c/waterspout.mk"),
            include_str!("../../../docs/any-language.md"),
        ] {
            let install = format!("python3 -m venv .venv && .venv/bin/pip install {}", PACKAGES[0]);
            assert!(told.contains(&install), "{install}\n{told}");
        }
    }
}
