//! The Autobahn|Testsuite: a program for Python 2.7, which systems have no more.
//!
//! Its interpreter is PyPy: from the PATH, or Debian 11's, unpacked into target/tools. PyPy runs the suite ten times faster than
//! CPython does without compiled helpers, and needs none; CPython is taken only where there is nothing else. The packages go to
//! target/tools/autobahn, in the versions of tests/autobahn/requirements.txt.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    debian::{self, Unpacked},
    step, workspace,
};

/// What PyPy for Python 2.7 may be called.
const PYPYS: [&str; 3] = ["pypy2.7", "pypy2", "pypy"];

const CPYTHON: [&str; 1] = ["python2.7"];

/// Debian 11, the last release that has PyPy for Python 2.7.
const DEBIAN_RELEASE: &str = "bullseye";

const DEBIAN_PACKAGES: [&str; 1] = ["pypy"];

/// Whether it is a Python 2.7 that can install packages.
const PROBE: &str = "import sys, ssl, zlib; sys.exit(sys.version_info[:2] != (2, 7))";

/// Some packages have compiled parts beside equivalent ones in Python, and are published built for CPython on x86-64, where
/// their sources would need a compiler and headers. An interpreter that cannot load the compiled parts takes the others. So one
/// set of files does for all.
const PLATFORM: [&str; 8] = [
    "--platform",
    "manylinux1_x86_64",
    "--implementation",
    "cp",
    "--abi",
    "cp27mu",
    "--python-version",
    "27",
];

/// In the packages' folder: what it was made from.
const STAMP: &str = ".made-from";

/// The suite, ready to run.
pub(super) struct Suite {
    interpreter: Interpreter,
    packages: PathBuf,
}

enum Interpreter {
    OnPath(&'static str),
    Debian(Unpacked),
}

/// What this repository has for the suite.
pub(super) fn folder() -> PathBuf {
    workspace::root().join("tests/autobahn")
}

impl Suite {
    /// Gets what is not there yet.
    pub(super) fn setup() -> Result<Self> {
        let tools = workspace::target(workspace::root()).join("tools");
        let interpreter = Interpreter::find(&tools.join("pypy"))?;
        let packages = tools.join("autobahn");
        install(&interpreter, &packages).context("cannot install the Autobahn|Testsuite")?;
        Ok(Self { interpreter, packages })
    }

    /// `wstest` in one of its modes, which reads `spec`.
    pub(super) fn wstest(&self, mode: &str, spec: &Path) -> Command {
        let mut command = self.interpreter.command();
        command.env("PYTHONPATH", &self.packages).env("PYTHONUNBUFFERED", "1");
        command.arg(folder().join("wstest.py")).args(["--mode", mode, "--spec"]).arg(spec);
        // Of the page for browsers that a fuzzing server has; 0 is none.
        command.args(["--webport", "0"]);
        command
    }
}

impl Interpreter {
    fn find(unpacked: &Path) -> Result<Self> {
        let on_path = |names: &[&'static str]| names.iter().copied().map(Self::OnPath).find(Self::works);
        if let Some(interpreter) = on_path(&PYPYS) {
            return Ok(interpreter);
        }
        match debian::unpack_from(DEBIAN_RELEASE, &DEBIAN_PACKAGES, unpacked) {
            Ok(unpacked) => Ok(Self::Debian(unpacked)),
            Err(error) => on_path(&CPYTHON).ok_or(error).with_context(|| {
                format!(
                    "the Autobahn|Testsuite needs PyPy for Python 2.7, on the PATH as {} (python2.7 does, too, but is slow), \
                     or else Debian {DEBIAN_RELEASE}'s",
                    PYPYS.join(" or ")
                )
            }),
        }
    }

    fn works(&self) -> bool {
        self.command().args(["-c", PROBE]).output().is_ok_and(|output| output.status.success())
    }

    fn command(&self) -> Command {
        let mut command = match self {
            Self::OnPath(name) => Command::new(name),
            Self::Debian(unpacked) => unpacked.run("usr/bin/pypy"),
        };
        // That this Python is out of date is known.
        command.env("PYTHONWARNINGS", "ignore").env_remove("PYTHONHOME").env_remove("PYTHONPATH");
        command
    }
}

/// Makes the folder `into` of the suite and all that it needs. It appears when it is complete.
fn install(interpreter: &Interpreter, into: &Path) -> Result<()> {
    const PYTHON: &str = "install Python 3.11 or newer with its venv module (Debian: python3-venv)";
    let [pip_requirements, requirements] =
        ["requirements-pip.txt", "requirements.txt"].map(|name| folder().join(name));
    let mut made_from = String::new();
    for file in [&pip_requirements, &requirements] {
        made_from += &fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    if fs::read_to_string(into.join(STAMP)).is_ok_and(|stamp| stamp == made_from) {
        return Ok(());
    }

    let partial = into.with_added_extension("partial");
    let [venv, pip, packages] = ["venv", "pip", "packages"].map(|name| partial.join(name));
    remove(&partial)?;
    fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    let log = workspace::log("autobahn-install");
    step::show("installing the Autobahn|Testsuite", || {
        let mut python = Command::new("python3");
        step::quietly(&log, python.args(["-m", "venv"]).arg(&venv)).context(PYTHON)?;

        // The last pip for Python 2.7 comes by way of Python 3's, which can get files for other versions, but not build them.
        let mut newest_pip = Command::new(venv.join("bin/pip"));
        newest_pip.args(["install", "--disable-pip-version-check", "--no-deps", "--no-compile"]);
        newest_pip.args(["--only-binary", ":all:", "--python-version", "2.7"]);
        newest_pip.arg("--target").arg(&pip).arg("--requirement").arg(&pip_requirements);
        step::quietly(&log, &mut newest_pip)?;

        let mut old_pip = interpreter.command();
        old_pip.env("PYTHONPATH", &pip).args(["-m", "pip", "install", "--disable-pip-version-check"]);
        old_pip.args(["--no-deps", "--no-compile"]).args(PLATFORM);
        old_pip.arg("--target").arg(&packages).arg("--requirement").arg(&requirements);
        step::quietly(&log, &mut old_pip)
    })?;
    // A namespace of several packages, which only Python's own folder for packages knows how to put together.
    let zope = packages.join("zope/__init__.py");
    fs::write(&zope, "").with_context(|| format!("cannot write {}", zope.display()))?;
    fs::write(packages.join(STAMP), made_from)?;

    remove(into)?;
    fs::rename(&packages, into).with_context(|| format!("cannot create {}", into.display()))?;
    remove(&partial)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot delete {}", folder.display()))?;
    }
    Ok(())
}
