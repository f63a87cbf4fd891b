//! Programs from PyPI, each in a virtual environment of its own.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{clients::Stamp, step, workspace};

/// What to install where Python lacks something.
const INSTALL: &str = "install Python 3.11 or newer with its venv module (Debian: python3-venv)";

/// An environment in `folder` with exactly these packages, each with its version: `ziglang==0.17.1`. Nothing is done if it is there.
pub(super) fn set_up(folder: &Path, packages: &[&str]) -> Result<()> {
    let stamp = Stamp::new(folder, &packages.join(" "), &[])?;
    if stamp.is_current() {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot delete {}", folder.display()))?;
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let log = workspace::log(&format!("setup-{name}"));
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    step::run(&format!("creating a Python environment for {name}"), &log, &mut venv).context(INSTALL)?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"])
        .args(packages);
    step::run(&format!("installing {}", packages.join(", ")), &log, &mut pip)?;
    stamp.write()
}
