//! One command of a chore: a line on the terminal, all of its output in a log file, the log's end and name on failure.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// How much of a log is shown when its command fails.
const TAIL_LINES: usize = 25;

/// Does `work` behind a line that names it and tells how long it took.
pub(crate) fn show<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprint!("{title} ... ");
    io::stderr().flush()?;
    let start = Instant::now();
    let outcome = work();
    match &outcome {
        Ok(_) => eprintln!("{:.1} s", start.elapsed().as_secs_f32()),
        Err(_) => eprintln!("failed"),
    }
    outcome
}

/// Runs `command` to its end. `title` is what the terminal shows, `log` the file that its output replaces.
pub(crate) fn run(title: &str, log: &Path, command: &mut Command) -> Result<()> {
    show(title, || quietly(log, command))
}

/// `run` without a line on the terminal.
pub(crate) fn quietly(log: &Path, command: &mut Command) -> Result<()> {
    let output = create(log)?;
    command.stdout(output.try_clone()?).stderr(output);
    let program = PathBuf::from(command.get_program());
    let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
    if !status.success() {
        let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        bail!("{}\n{} failed ({status}); the whole log: {}", tail(&text), program.display(), log.display());
    }
    Ok(())
}

/// Standard output of a short command.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = PathBuf::from(command.get_program());
    let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!("{}{} failed ({})", String::from_utf8_lossy(&output.stderr), program.display(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn create(log: &Path) -> Result<File> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    File::create(log).with_context(|| format!("cannot write {}", log.display()))
}

fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
