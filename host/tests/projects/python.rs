//! Projects in Python: which environment builds them, and what is installed into it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Folder, handlers, run_for};

/// In place of any Python: it makes environments of which it is the Python, has the SDK after pip was called, and builds an echo. An
/// environment of an old one is that for ever.
const PYTHON: &str = r#"#!/bin/sh
echo "$@" >> "$TOLD"
case "$*" in
    "-m venv "*) rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    *version_info*) if [ -e "$0.old" ]; then echo 3 9; else echo 3 10; fi ;;
    "-m waterspout --version") [ -e "$INSTALLED" ] ;;
    "-m pip install"*) touch "$INSTALLED" ;;
    "-m waterspout build"*) cp "$ECHO" "$6" ;;
    *ensurepip*) [ -z "$NO_VENV" ] ;;
esac
"#;

struct Tools(Folder);

impl Tools {
    /// With a project in `tide`.
    fn new() -> Self {
        let folder = Folder::new();
        folder.write("echo.wasm", handlers::echo());
        folder.write("told", "");
        fs::create_dir(folder.path("bin")).expect("writable");
        let python = folder.write("bin/python3", PYTHON);
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).expect("ours");
        fs::copy(&python, folder.path("bin/python")).expect("writable");
        let tools = Self(folder);
        let new = run_for(tools.waterspout().args(["new", "tide", "--lang", "python"]), 100);
        assert_eq!(new.code, 0, "{new:?}");
        tools
    }

    fn waterspout(&self) -> Command {
        let mut command = self.0.command();
        let path = format!("{}:/usr/bin:/bin", self.0.path("bin").display());
        command.env("PATH", path).env_remove("VIRTUAL_ENV").current_dir(self.0.path(""));
        for (name, file) in [("TOLD", "told"), ("INSTALLED", "installed"), ("ECHO", "echo.wasm")] {
            command.env(name, self.0.path(file));
        }
        command
    }

    /// Builds the project; what Python was told meanwhile, but for questions.
    fn build(&self) -> Vec<String> {
        fs::write(self.0.path("told"), "").expect("writable");
        let built = run_for(self.waterspout().args(["build", "tide"]), 100);
        assert_eq!(built.code, 0, "{built:?}");
        assert!(self.0.path("tide/tide.wasm").is_file(), "{built:?}");
        self.told()
    }

    fn told(&self) -> Vec<String> {
        let told = fs::read_to_string(self.0.path("told")).expect("it was called");
        let orders = told.lines().filter(|line| line.starts_with("-m") && !line.ends_with("--version"));
        orders.map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect()
    }
}

#[test]
fn a_project_gets_an_environment_of_its_own_and_keeps_it_until_it_needs_something_else() {
    let tools = Tools::new();
    let environment = tools.0.path("tide/.venv");
    let (makes, installs, builds) = ("-m venv --clear", "-m pip install", "-m waterspout build");
    assert_eq!(tools.build(), [makes, installs, builds]);
    assert!(environment.join("bin/python").is_file());
    assert_eq!(tools.build(), [builds]);
    let requirements = tools.0.path("tide/requirements.txt");
    let wanted = fs::read_to_string(&requirements).expect("a project's");
    assert!(wanted.contains("-e ./sdk[build]"), "{wanted}");
    fs::write(&requirements, wanted + "idna\n").expect("writable");
    assert_eq!(tools.build(), [installs, builds]);
    assert_eq!(tools.build(), [builds]);
}

/// An environment that the README had somebody make by hand, with the SDK.
fn made_by_hand(tools: &Tools) {
    fs::write(tools.0.path("installed"), "").expect("writable");
    fs::create_dir_all(tools.0.path("tide/.venv/bin")).expect("writable");
    fs::copy(tools.0.path("bin/python"), tools.0.path("tide/.venv/bin/python")).expect("writable");
}

#[test]
fn what_the_readme_had_somebody_install_by_hand_is_looked_through_by_pip_once() {
    let tools = Tools::new();
    made_by_hand(&tools);
    assert_eq!(tools.build(), ["-m pip install", "-m waterspout build"]);
    assert_eq!(tools.build(), ["-m waterspout build"]);
}

#[test]
fn an_environment_of_too_old_a_python_is_made_again_or_told() {
    let tools = Tools::new();
    let old = tools.0.path("tide/.venv/bin/python.old");
    let (makes, installs, builds) = ("-m venv --clear", "-m pip install", "-m waterspout build");
    tools.build();
    fs::write(&old, "").expect("writable");
    assert_eq!(tools.build(), [makes, installs, builds]);

    // Not what somebody has made by hand, and may have put more into.
    fs::remove_dir_all(tools.0.path("tide/.venv")).expect("ours");
    made_by_hand(&tools);
    fs::write(&old, "").expect("writable");
    let told = run_for(tools.waterspout().args(["build", "tide"]), 100);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(
        told.stderr.contains(".venv has Python 3.9, and handlers need 3.10 or newer: remove it"),
        "{told:?}"
    );

    // One that is active, too; and where there is no newer one.
    let active = tools.0.path("tide/.venv");
    let told = run_for(tools.waterspout().args(["build", "tide"]).env("VIRTUAL_ENV", active), 100);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stderr.contains("has Python 3.9") && told.stderr.contains("`deactivate`"), "{told:?}");
    fs::remove_dir_all(tools.0.path("tide/.venv")).expect("ours");
    fs::write(tools.0.path("bin/python3.old"), "").expect("writable");
    let told = run_for(tools.waterspout().args(["build", "tide"]), 100);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.stderr.contains("Python 3.9 is too old: install Python 3.10 or newer"), "{told:?}");
}

#[test]
fn an_active_environment_is_used_and_never_changed() {
    let tools = Tools::new();
    let built = |tools: &Tools| {
        run_for(tools.waterspout().args(["build", "tide"]).env("VIRTUAL_ENV", tools.0.path("")), 100)
    };
    let without = built(&tools);
    assert_eq!(without.code, 1, "{without:?}");
    assert!(without.stderr.contains("`python -m pip install -r requirements.txt` in tide"), "{without:?}");
    fs::write(tools.0.path("installed"), "").expect("writable");
    let with = built(&tools);
    assert_eq!(with.code, 0, "{with:?}");
    assert_eq!(tools.told(), ["-m waterspout build"]);
    assert!(!tools.0.path("tide/.venv").exists());
}

#[test]
fn a_missing_python_and_a_missing_module_are_told_with_what_to_install() {
    let tools = Tools::new();
    let without_venv = run_for(tools.waterspout().args(["build", "tide"]).env("NO_VENV", "yes"), 100);
    assert_eq!(without_venv.code, 1, "{without_venv:?}");
    assert!(without_venv.stderr.contains("apt-get install python3-venv"), "{without_venv:?}");
    let empty = tools.0.path("empty");
    let without_python = run_for(tools.waterspout().args(["build", "tide"]).env("PATH", empty), 100);
    assert_eq!(without_python.code, 1, "{without_python:?}");
    assert!(without_python.stderr.contains("Python is missing: install Python 3.10"), "{without_python:?}");
}
