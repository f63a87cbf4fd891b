//! The WebSocket clients and servers that are not ours, for the tests: Python's and Node's libraries, Bun, and a Chromium.
//!
//! All of it goes to target/clients; tests/clients/README.md says how they are started from there. Python and Node themselves are
//! taken from the system: what is missing is named together with what to install.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{debian, step, workspace};

/// The first with `asyncio.timeout` and `asyncio.TaskGroup`.
const OLDEST_PYTHON: (u32, u32) = (3, 11);

/// The oldest that playwright-core takes.
const OLDEST_NODE: (u32, u32) = (20, 0);

/// What a Chromium may be called.
const CHROMIUMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Debian's: the browser, and a font, without which it draws no letter.
const CHROMIUM_PACKAGES: [&str; 2] = ["chromium", "fonts-dejavu-core"];

/// fontconfig's configuration for the unpacked Chromium, relative to the file's own folder. The system's, if there is one, names
/// other folders; and with it a screenshot would depend on what is installed.
const FONTS: &str = r#"<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir prefix="relative">root/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
  <alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
  <alias><family>system-ui</family><prefer><family>DejaVu Sans</family></prefer></alias>
  <alias><family>serif</family><prefer><family>DejaVu Serif</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"#;

/// Gets the clients that are not there yet, in the versions that tests/clients pins.
pub(crate) fn setup() -> Result<()> {
    let sources = workspace::root().join("tests/clients");
    let folder = workspace::target(workspace::root()).join("clients");
    set_up_python(&sources.join("python"), &folder.join("python"))?;
    set_up_node(&sources, &folder.join("node"))?;
    set_up_chromium(&folder.join("chromium"))
}

/// A virtual environment in `folder`; beside the pinned Tornado the newest, in `folder`/newest, for PYTHONPATH.
fn set_up_python(sources: &Path, folder: &Path) -> Result<()> {
    const INSTALL: &str = "install Python 3.11 or newer with its venv module (Debian: python3-venv)";
    let version = require_version("python3", OLDEST_PYTHON).context(INSTALL)?;
    let [pinned, newest] = ["requirements.txt", "requirements-newest.txt"].map(|name| sources.join(name));
    let stamp = Stamp::new(folder, &version, &[&pinned, &newest])?;
    if stamp.is_current() {
        return Ok(());
    }
    remove(folder)?;
    let log = workspace::log("clients-python");
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    step::run("creating a Python environment", &log, &mut venv).context(INSTALL)?;
    let pip = || {
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--disable-pip-version-check", "--requirement"]);
        pip
    };
    step::run("installing the Python clients", &log, pip().arg(pinned))?;
    step::run(
        "installing the newest Tornado",
        &log,
        pip().arg(newest).arg("--target").arg(folder.join("newest")),
    )?;
    stamp.write()
}

/// npm's packages in `folder`/node_modules.
fn set_up_node(sources: &Path, folder: &Path) -> Result<()> {
    const INSTALL: &str = "install Node.js 20 or newer with npm";
    require_version("node", OLDEST_NODE).context(INSTALL)?;
    // Whatever its version: it is only asked for a file that every npm can read.
    require_version("npm", (0, 0)).context(INSTALL)?;
    let files = ["package.json", "package-lock.json"].map(|name| sources.join(name));
    let stamp = Stamp::new(folder, "", &[&files[0], &files[1]])?;
    if stamp.is_current() {
        return Ok(());
    }
    remove(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for file in files {
        let name = file.file_name().expect("a file of the list above has a name");
        fs::copy(&file, folder.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(folder);
    step::run("installing the Node clients", &workspace::log("clients-node"), &mut npm)?;
    stamp.write()
}

/// `folder`/run starts a Chromium, whichever it is: the system's, or else Debian's, unpacked.
fn set_up_chromium(folder: &Path) -> Result<()> {
    let script = match CHROMIUMS.into_iter().find_map(program_on_path) {
        Some(program) => format!("exec {} \"$@\"\n", quote(program.as_os_str())?),
        None => unpack_chromium(folder).context("install Chromium or Chrome")?,
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let run = folder.join("run");
    fs::write(&run, format!("#!/bin/sh\n# Written by `cargo xtask setup`.\n{script}"))
        .and_then(|()| fs::set_permissions(&run, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", run.display()))?;
    step::output(Command::new(&run).arg("--version")).context("the Chromium for the tests does not start")?;
    Ok(())
}

/// Unpacks Debian's Chromium to `folder`/root. Returns the shell commands that start it.
fn unpack_chromium(folder: &Path) -> Result<String> {
    let unpacked = debian::unpack(&CHROMIUM_PACKAGES, &folder.join("root"))?;
    let fonts = folder.join("fonts.conf");
    fs::write(&fonts, FONTS).with_context(|| format!("cannot write {}", fonts.display()))?;
    let mut script = String::new();
    // A home of its own, because Chromium leaves crash reports and caches in it whatever its profile's folder is.
    for (name, value) in [
        ("LD_LIBRARY_PATH", unpacked.library_path.as_os_str()),
        ("FONTCONFIG_FILE", fonts.as_os_str()),
        ("HOME", folder.join("home").as_os_str()),
    ] {
        writeln!(script, "export {name}={}", quote(value)?)?;
    }
    // Not usr/bin/chromium, which is a script that looks for the rest under the system's own root.
    let program = unpacked.root.join("usr/lib/chromium/chromium");
    writeln!(script, "exec {} \"$@\"", quote(program.as_os_str())?)?;
    Ok(script)
}

/// A program of that name that can be started: some systems have a placeholder that only says what to install.
fn program_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let file = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())?;
    let starts = Command::new(&file).arg("--version").output().is_ok_and(|output| output.status.success());
    starts.then_some(file)
}

/// What `program --version` prints, if that is at least `oldest`.
fn require_version(program: &str, oldest: (u32, u32)) -> Result<String> {
    let printed = step::output(Command::new(program).arg("--version"))?;
    let printed = printed.trim().to_owned();
    match version(&printed) {
        Some(version) if version >= oldest => Ok(printed),
        _ => bail!("{program} is {printed:?}, {}.{} or newer is needed", oldest.0, oldest.1),
    }
}

/// Major and minor number in `Python 3.11.7`, `v20.20.2`, `11.19.1`.
fn version(printed: &str) -> Option<(u32, u32)> {
    let mut numbers = printed.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

/// A word for the shell.
fn quote(word: &OsStr) -> Result<String> {
    let word = str::from_utf8(word.as_bytes()).context("the path of the workspace is not UTF-8")?;
    Ok(format!("'{}'", word.replace('\'', r"'\''")))
}

/// Says what a folder was made from, once it is complete.
pub(crate) struct Stamp {
    file: PathBuf,
    content: String,
}

impl Stamp {
    /// Of `folder`, which depends on its own path (a virtual environment cannot be moved), on `version` and on the files `inputs`.
    pub(crate) fn new(folder: &Path, version: &str, inputs: &[&Path]) -> Result<Self> {
        let mut content = format!("{}\n{version}\n", folder.display());
        for input in inputs {
            content +=
                &fs::read_to_string(input).with_context(|| format!("cannot read {}", input.display()))?;
        }
        Ok(Self { file: folder.join(".made-from"), content })
    }

    pub(crate) fn is_current(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|content| content == self.content)
    }

    pub(crate) fn write(self) -> Result<()> {
        fs::write(&self.file, self.content).with_context(|| format!("cannot write {}", self.file.display()))
    }
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot delete {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_print() {
        assert_eq!(version("Python 3.11.7"), Some((3, 11)));
        assert_eq!(version("v20.20.2"), Some((20, 20)));
        assert_eq!(version("11.19.1"), Some((11, 19)));
        assert_eq!(version("not found"), None);
    }

    #[test]
    fn a_quoted_word_is_one_word_to_the_shell() {
        let word = r#"it's "one" $word \"#;
        let script = format!("printf %s {}", quote(OsStr::new(word)).expect("UTF-8"));
        let printed = step::output(Command::new("sh").args(["-c", &script])).expect("sh runs");
        assert_eq!(printed, word);
    }
}
