//! The programs that build a handler, each language's own: found where its people have them, and run as they would.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use anyhow::{Context, anyhow, bail};

use super::{Language, Project};

/// What Rust's handlers are compiled for, unless the project or the environment says otherwise.
const RUST_TARGET: &str = "wasm32-wasip2";

/// What the SDK for JavaScript needs, as its manifest's `engines` says.
const OLDEST_NODE: u32 = 20;

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
        let installed = output(Command::new("rustc").args(["--print", "target-libdir", "--target", &target]));
        if !installed.is_ok_and(|folder| Path::new(folder.trim()).is_dir()) {
            bail!("this Rust cannot compile for {target}: install that with `rustup target add {target}`");
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

/// `npm run build`.
fn javascript(project: &Project) -> anyhow::Result<()> {
    let remedy = format!("install Node.js {OLDEST_NODE} or newer from https://nodejs.org");
    require("node", &["--version"], &format!("Node.js is missing: {remedy}"))?;
    let version = output(Command::new("node").arg("--version")).unwrap_or_default();
    if node_major(&version).is_some_and(|major| major < OLDEST_NODE) {
        bail!("Node.js {} is too old: {remedy}", version.trim());
    }
    require("npm", &["--version"], &format!("npm is missing: {remedy}, which brings it"))?;
    let uninstalled =
        || anyhow!("what the project needs is not installed: `npm install` in {}", project.folder.display());
    // Node looks for packages in the folders above, too.
    let folder = project.folder.canonicalize().unwrap_or_else(|_| project.folder.clone());
    if !folder.ancestors().any(|folder| folder.join("node_modules").is_dir()) {
        return Err(uninstalled());
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

/// Of `v20.20.2` the first number.
fn node_major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// The SDK's own command, by the Python of the project's virtual environment.
fn python(project: &Project) -> anyhow::Result<()> {
    let own = project.folder.join(".venv/bin/python");
    let python = if own.is_file() { own.into_os_string() } else { "python3".into() };
    require(
        &python,
        &["--version"],
        "Python is missing: install Python 3.11 or newer from https://python.org",
    )?;
    let installed = output(Command::new(&python).args(["-m", "waterspout", "--version"]));
    if installed.is_err() {
        bail!(
            "what the project needs is not installed: `python3 -m venv .venv && .venv/bin/pip install -e .` in {}",
            project.folder.display()
        );
    }
    let component = project.component();
    let component = component.file_name().unwrap_or_default();
    run(Command::new(&python)
        .current_dir(&project.folder)
        .args(["-m", "waterspout", "build", "handler", "-o"])
        .arg(component))
}

/// `make`: the Makefile says which compiler.
fn c(project: &Project) -> anyhow::Result<()> {
    require("make", &["--version"], "make is missing: install it (Debian: `apt-get install make`)")?;
    run(Command::new("make").current_dir(&project.folder))
}

/// `go build`, for WASI preview 1: of that the host makes a component.
fn go(project: &Project) -> anyhow::Result<()> {
    require("go", &["version"], "Go is missing: install Go 1.24 or newer from https://go.dev/dl")?;
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
}
