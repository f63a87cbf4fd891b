//! The programs that build a handler, each language's own: found where its people have them, and run as they would.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fmt, fs, io};

use anyhow::{Context, anyhow, bail};

use super::{Language, Project};

/// What Rust's handlers are compiled for, unless the project or the environment says otherwise.
const RUST_TARGET: &str = "wasm32-wasip2";

/// What the SDK for JavaScript needs, as its manifest's `engines` says.
const OLDEST_NODE: u32 = 20;

/// What the SDK for Go needs, as its go.mod says.
const OLDEST_GO: &str = "1.25";

/// How a shell ends if there is no such program (POSIX, Shell Command Language, 2.8.2).
const COMMAND_NOT_FOUND: i32 = 127;

/// Builds a project's component.
///
/// # Errors
/// A program is missing, with what to install, or has failed; it has said why.
pub(super) fn build(project: &Project) -> anyhow::Result<()> {
    match project.language {
        Language::Rust => rust(project),
        Language::JavaScript => javascript(project),
        Language::Python => python(project),
        Language::C => c(project),
        Language::Go => go(project),
    }
}

/// `cargo build --release`. What it makes lies deep in its target folder: it goes where every language's component goes.
fn rust(project: &Project) -> anyhow::Result<()> {
    let rust = "Rust is missing: install it from https://rustup.rs";
    require("cargo", &["--version"], rust)?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&project.folder).args([
        "build",
        "--release",
        "--message-format",
        "json-render-diagnostics",
    ]);
    // Who sets the variable has a toolchain of his own for it.
    if env::var_os("CARGO_BUILD_TARGET").is_none() {
        let target = configured_target(&project.folder).unwrap_or_else(|| RUST_TARGET.into());
        // There, since a rust-toolchain.toml may name another Rust.
        let mut rustc = Command::new("rustc");
        rustc.current_dir(&project.folder).args(["--print", "target-libdir", "--target", &target]);
        if !output(&mut rustc).is_ok_and(|folder| Path::new(folder.trim()).is_dir()) {
            bail!(
                "this Rust cannot compile for {target}: `rustup target add {target}` in {} installs that; a Rust that is not rustup's has to be replaced by one that is, from https://rustup.rs",
                project.folder.display()
            );
        }
        cargo.args(["--target", &target]);
    }
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cargo does not start")?;
    let messages = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    let mut component = None;
    for message in messages {
        component = made_by_cargo(&message.context("cargo cannot be read")?).or(component);
    }
    let status = child.wait().context("cargo cannot be waited for")?;
    if !status.success() {
        bail!("cargo has failed: it says why above");
    }
    let made = component.with_context(|| {
        format!("{} makes no component: its `[lib]` needs `crate-type = [\"cdylib\"]`", project.name)
    })?;
    replace(&made, &project.component())
}

/// The target that a project's own `.cargo/config.toml` names.
fn configured_target(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join(".cargo/config.toml")).ok()?;
    let table: toml::Table = text.parse().ok()?;
    Some(table.get("build")?.get("target")?.as_str()?.to_owned())
}

/// The WebAssembly that one of cargo's messages tells of (The Cargo Book, External tools).
fn made_by_cargo(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_library = message.get("target")?.get("kind")?.as_array()?.iter().any(|kind| kind == "cdylib");
    let files = message.get("filenames")?.as_array()?;
    let wasm = files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm"))?;
    is_library.then(|| wasm.into())
}

/// Puts a copy of one file into the place of another, whole, and only if it is another: somebody may be serving it.
fn replace(made: &Path, into: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(made).with_context(|| format!("cannot read {}", made.display()))?;
    if fs::read(into).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let partial = into.with_added_extension("partial");
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, into))
        .with_context(|| format!("cannot write {}", into.display()))
}

/// `npm run build`, after `npm install` where nothing is installed yet.
fn javascript(project: &Project) -> anyhow::Result<()> {
    let remedy = format!("install Node.js {OLDEST_NODE} or newer from https://nodejs.org");
    require("node", &["--version"], &format!("Node.js is missing: {remedy}"))?;
    let version = output(Command::new("node").arg("--version")).unwrap_or_default();
    if node_major(&version).is_some_and(|major| major < OLDEST_NODE) {
        bail!("Node.js {} is too old: {remedy}", version.trim());
    }
    require("npm", &["--version"], &format!("npm is missing: {remedy}, which brings it"))?;
    // With `--silent`, without which npm says more than the build, it says nothing of this.
    let manifest = fs::read_to_string(project.folder.join(project.language.manifest())).unwrap_or_default();
    if !has_build_script(&manifest) {
        bail!(
            "{} has no script `build`: in a handler's project that is \"waterspout-componentize src/handler.js -o {}.wasm\"",
            project.folder.join(project.language.manifest()).display(),
            project.name
        );
    }
    let uninstalled =
        || anyhow!("what the project needs is not installed: `npm install` in {}", project.folder.display());
    // Node looks for packages in the folders above, too.
    let folder = project.folder.canonicalize().unwrap_or_else(|_| project.folder.clone());
    if !folder.ancestors().any(|folder| folder.join("node_modules").is_dir()) {
        install_from_npm(project)?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(&project.folder).args(["run", "--silent", "build"]).stdin(Stdio::null());
    match npm.status().context("npm does not start")? {
        status if status.success() => Ok(()),
        // The shell has not found what `build` in the manifest names.
        status if status.code() == Some(COMMAND_NOT_FOUND) => Err(uninstalled()),
        status => bail!("npm has failed ({status}): it says why above"),
    }
}

/// What the project's manifest names, into its `node_modules`.
fn install_from_npm(project: &Project) -> anyhow::Result<()> {
    crate::cli::say(format_args!("npm install in {}", project.folder.display()));
    let install = ["install", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").current_dir(&project.folder).args(install))
}

/// Whether `npm run build` is something, by package.json.
fn has_build_script(manifest: &str) -> bool {
    let manifest: Option<serde_json::Value> = serde_json::from_str(manifest).ok();
    manifest.is_some_and(|manifest| manifest["scripts"]["build"].is_string())
}

/// Of `v20.20.2` the first number.
fn node_major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// The SDK's own command, by the Python of the virtual environment that is active, or else of the project's own.
fn python(project: &Project) -> anyhow::Result<()> {
    let python = match env::var_os("VIRTUAL_ENV").filter(|active| !active.is_empty()) {
        Some(active) => active_environment(project, Path::new(&active))?,
        None => own_environment(project)?,
    };
    let component = project.component();
    let component = component.file_name().unwrap_or_default();
    run(Command::new(&python)
        .current_dir(&project.folder)
        .args(["-m", "waterspout", "build", "handler", "-o"])
        .arg(component))
}

/// What the SDK for Python needs, as its manifest's `requires-python` says.
const OLDEST_PYTHON: PythonVersion = PythonVersion(3, 10);

/// The file of a project in Python that names what it needs.
const REQUIREMENTS: &str = "requirements.txt";

/// A Python's major and minor version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PythonVersion(u32, u32);

impl PythonVersion {
    /// As a Python tells it itself; none if it does not run.
    fn of(python: impl AsRef<OsStr>) -> Option<Self> {
        let told = output(Command::new(python).args(["-c", "import sys; print(*sys.version_info[:2])"]));
        Self::read(&told.ok()?)
    }

    fn read(told: &str) -> Option<Self> {
        let (major, minor) = told.trim().split_once(' ')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }

    /// What no package that the project needs can be installed for.
    fn is_too_old(self) -> bool {
        self < OLDEST_PYTHON
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The Python of an environment that is the user's: nothing is installed into it unasked.
fn active_environment(project: &Project, environment: &Path) -> anyhow::Result<PathBuf> {
    let python = environment.join("bin/python");
    if let Some(version) = PythonVersion::of(&python).filter(|version| version.is_too_old()) {
        bail!(
            "the virtual environment {} has Python {version}, and handlers need {OLDEST_PYTHON} or newer: make it again with a newer one; or `deactivate`, and the project gets one of its own",
            environment.display()
        );
    }
    if !has_sdk(&project.folder, &python) {
        bail!(
            "the virtual environment {} does not have what the project needs: `python -m pip install -r {REQUIREMENTS}` in {}; or `deactivate`, and the project gets one of its own",
            environment.display(),
            project.folder.display()
        );
    }
    Ok(python)
}

/// The Python of the project's `.venv`, which is made where it is missing, and has what the project's requirements name.
fn own_environment(project: &Project) -> anyhow::Result<PathBuf> {
    let folder = std::path::absolute(&project.folder)
        .with_context(|| format!("{} has no absolute path", project.folder.display()))?;
    let environment = folder.join(".venv");
    let python = environment.join("bin/python");
    // What was installed there by this program; missing where somebody has followed the README by hand.
    let stamp = environment.join(REQUIREMENTS);
    let version = PythonVersion::of(&python);
    if !python.is_file() || version.is_some_and(PythonVersion::is_too_old) {
        let remedy = format!(
            "install Python {OLDEST_PYTHON} or newer from https://python.org (Debian: `apt-get install python3 python3-venv`)"
        );
        require("python3", &["--version"], &format!("Python is missing: {remedy}"))?;
        if let Some(version) = PythonVersion::of("python3").filter(|version| version.is_too_old()) {
            bail!("Python {version} is too old: {remedy}");
        }
        if let Some(version) = version
            && !stamp.is_file()
        {
            bail!(
                "{} has Python {version}, and handlers need {OLDEST_PYTHON} or newer: remove it, and it is made again",
                environment.display()
            );
        }
        if output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_err() {
            bail!("Python's module venv is missing: install it (Debian: `apt-get install python3-venv`)");
        }
        // What is there of it goes, its stamp, too.
        crate::cli::say(format_args!("python3 -m venv --clear {}", environment.display()));
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    }
    let requirements = folder.join(REQUIREMENTS);
    let wanted =
        fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    // Without a stamp it may have some of it only: the file may have grown since somebody installed it by hand.
    let is_installed = fs::read(&stamp).is_ok_and(|installed| installed == wanted);
    if !is_installed || !has_sdk(&folder, &python) {
        crate::cli::say(format_args!("{} -m pip install -r {REQUIREMENTS}", python.display()));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS];
        run(Command::new(&python).current_dir(&folder).args(pip))?;
        fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(python)
}

/// Whether a Python has the SDK.
fn has_sdk(folder: &Path, python: &Path) -> bool {
    output(Command::new(python).current_dir(folder).args(["-m", "waterspout", "--version"])).is_ok()
}

/// `make`: the Makefile says which compiler.
fn c(project: &Project) -> anyhow::Result<()> {
    require("make", &["--version"], "make is missing: install it (Debian: `apt-get install make`)")?;
    run(Command::new("make").current_dir(&project.folder))
}

/// `go build`, for WASI preview 1: of that the host makes a component.
fn go(project: &Project) -> anyhow::Result<()> {
    let remedy = format!("Go is missing: install Go {OLDEST_GO} or newer from https://go.dev/dl");
    require("go", &["version"], &remedy)?;
    let component = project.component();
    run(Command::new("go")
        .current_dir(&project.folder)
        .envs([("GOOS", "wasip1"), ("GOARCH", "wasm")])
        .args(["build", "-buildmode=c-shared", "-ldflags=-s -w", "-o"])
        .arg(component.file_name().unwrap_or_default())
        .arg("."))
}

/// Whether a program is there at all; else `remedy` is the error.
fn require(program: impl AsRef<OsStr>, arguments: &[&str], remedy: &str) -> anyhow::Result<()> {
    match output(Command::new(program.as_ref()).args(arguments)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("{remedy}"),
        Err(error) => bail!("{} does not work: {error}", program.as_ref().display()),
    }
}

/// What a program writes to its standard output; an error, too, if it fails.
fn output(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(output.status.to_string()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program whose output is for the user, as it is.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_owned();
    let program = program.display();
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("{program} does not start"))?;
    if !status.success() {
        bail!("{program} has failed ({status}): it says why above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_cargos_messages_the_librarys_wasm_is_taken() {
        let message =
            r#"{"reason":"compiler-artifact","target":{"kind":["cdylib"]},"filenames":["/t/tide.wasm"]}"#;
        assert_eq!(made_by_cargo(message).as_deref(), Some(Path::new("/t/tide.wasm")));
        for other in [
            r#"{"reason":"build-finished","success":true}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["proc-macro"]},"filenames":["/t/x.so"]}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"]},"filenames":["/t/x.wasm"]}"#,
            "warning: not JSON",
        ] {
            assert_eq!(made_by_cargo(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_told_to_install_is_what_the_sdks_need() {
        let go = include_str!("../../../../guest-sdk/go/go.mod");
        assert!(go.lines().any(|line| line == format!("go {OLDEST_GO}")), "{go}");
        let javascript = include_str!("../../../../guest-sdk/javascript/package.json");
        assert!(javascript.contains(&format!("\"node\": \">={OLDEST_NODE}\"")), "{javascript}");
    }

    #[test]
    fn a_build_that_npm_cannot_run_is_seen() {
        assert!(has_build_script(r#"{"scripts": {"build": "make"}}"#));
        for none in ["", "{}", r#"{"scripts": {"test": "make"}}"#, r#"{"scripts": ["build"]}"#, "[]"] {
            assert!(!has_build_script(none), "{none}");
        }
    }

    #[test]
    fn nodes_version_is_read() {
        assert_eq!(node_major("v20.20.2\n"), Some(20));
        assert_eq!(node_major("v9.0.0"), Some(9));
        assert_eq!(node_major("node"), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_told_with_what_to_install() {
        let error =
            require("waterspout-no-such-program", &[], "it is missing: install it").expect_err("missing");
        assert_eq!(error.to_string(), "it is missing: install it");
        let error = require("false", &[], "it is missing").expect_err("it fails");
        assert!(error.to_string().contains("false does not work"), "{error}");
    }

    #[test]
    fn pythons_version_is_read_and_compared_by_its_numbers() {
        let too_old = |told| PythonVersion::read(told).map(PythonVersion::is_too_old);
        for (told, expected) in [
            ("3 9\n", Some(true)),
            ("2 7", Some(true)),
            ("3 10\n", Some(false)),
            ("3 14", Some(false)),
            ("4 0", Some(false)),
            ("3", None),
            ("", None),
        ] {
            assert_eq!(too_old(told), expected, "{told}");
        }
        let manifest = include_str!("../../../../guest-sdk/python/pyproject.toml");
        assert!(manifest.contains(&format!("requires-python = \">={OLDEST_PYTHON}\"")), "{manifest}");
    }
}
