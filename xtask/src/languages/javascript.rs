//! JavaScript: Node is taken from the system, packages from npm, as package-lock.json in the repository's root has them.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use super::Project;
use crate::{clients::Stamp, step, workspace};

/// What to install where one of them is missing.
const INSTALL: &str = "install Node.js 20 or newer with npm";

/// npm looks for the packages of a folder in the folders above it, too: those of the whole repository are in its root.
pub(super) fn setup() -> Result<()> {
    let root = workspace::root();
    let version = step::output(Command::new("node").arg("--version")).context(INSTALL)?;
    let files = ["package.json", "package-lock.json"].map(|name| root.join(name));
    let stamp = Stamp::new(&root.join("node_modules"), &version, &[&files[0], &files[1]])?;
    if stamp.is_current() {
        return Ok(());
    }
    let mut npm = npm(root);
    // Both of the packages' programs come ready made: nothing is run that a package brings.
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    step::run("installing npm's packages", &workspace::log("setup-javascript"), &mut npm).context(INSTALL)?;
    stamp.write()
}

/// `npm run build`.
pub(super) fn build(project: &Project) -> Command {
    let mut npm = npm(&project.folder);
    npm.args(["run", "--silent", "build"]);
    npm
}

/// `npm test` of the SDK.
pub(super) fn test(sdk: &Path) -> Command {
    let mut npm = npm(sdk);
    npm.args(["test", "--silent"]);
    npm
}

fn npm(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(folder).env("npm_config_update_notifier", "false");
    npm
}
