//! Programs in place of a language's tools.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Folder, handlers, run};

/// A folder with programs of our own in `bin`, and an echo for those that build.
pub(super) struct Tools(Folder);

impl Tools {
    pub(super) fn new() -> Self {
        // npm's packages are looked for in the folders above, and those of the repository are there.
        let folder = Folder::elsewhere();
        folder.write("echo.wasm", handlers::echo());
        fs::create_dir(folder.path("bin")).expect("writable");
        Self(folder)
    }

    /// With a program that is this shell script.
    pub(super) fn with(self, name: &str, script: &str) -> Self {
        let program = self.0.write(&format!("bin/{name}"), format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("ours");
        self
    }

    /// With a project in `tide`, as `waterspout new` writes it.
    pub(super) fn with_project(self, language: &str, template: &str) -> Self {
        let new = run(self.waterspout().args(["new", "tide", "--lang", language, "--template", template]));
        assert_eq!(new.code, 0, "{new:?}");
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        self.0.write(name, text);
    }

    /// Ours, with the system's programs behind those in `bin`.
    pub(super) fn waterspout(&self) -> Command {
        self.waterspout_on(&format!("{}:/usr/bin:/bin", self.path("bin").display()))
    }

    /// Ours, with the programs in `bin` and none of the system's but the shell's own.
    pub(super) fn waterspout_alone(&self) -> Command {
        self.waterspout_on(&self.path("bin").display().to_string())
    }

    fn waterspout_on(&self, path: &str) -> Command {
        let mut command = self.0.command();
        command.env("PATH", path).env("ECHO", self.path("echo.wasm"));
        for variable in ["VIRTUAL_ENV", "CARGO_BUILD_TARGET", "WASI_CC", "WASI_SDK_PATH"] {
            command.env_remove(variable);
        }
        command.current_dir(Path::new(&self.path("")));
        command
    }
}
