//! Python, by componentize-py, which brings a CPython for WASI: PyPI has it as a package.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{Project, folder, pip};
use crate::workspace;

/// The one that the SDK names.
const PACKAGES: [&str; 1] = ["componentize-py==0.25.0"];

pub(super) fn setup() -> Result<()> {
    pip::set_up(&folder("python"), &PACKAGES)
}

/// What a project's README says, with our own tools.
pub(super) fn build(project: &Project) -> Result<Command> {
    let mut python = python();
    python
        .current_dir(&project.folder)
        .args(["-m", "waterspout", "build", "handler", "-o"])
        .arg(project.component());
    Ok(python)
}

/// The tests of the SDK, which run on this machine.
pub(super) fn test(sdk: &Path) -> Result<Command> {
    let mut python = python();
    python.current_dir(sdk).args([
        "-W",
        "error",
        "-m",
        "unittest",
        "discover",
        "--start-directory",
        "tests",
        "--top-level-directory",
        ".",
    ]);
    Ok(python)
}

fn python() -> Command {
    let mut python = Command::new(folder("python").join("bin/python"));
    // The SDK as it stands here, and nothing of ours in its folders.
    python
        .env("PYTHONPATH", workspace::root().join("guest-sdk/python/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

#[cfg(test)]
mod tests {
    use super::PACKAGES;

    #[test]
    fn the_package_is_the_one_that_the_sdk_names() {
        let manifest = include_str!("../../../guest-sdk/python/pyproject.toml");
        assert!(manifest.contains(&format!("{:?}", PACKAGES[0])), "{manifest}");
    }
}
