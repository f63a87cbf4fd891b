//! A program that runs beside this one: its output in a file, its end watched, and never left behind.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How often a program is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// How much of the output is shown when a program fails.
const TAIL_LINES: usize = 15;

/// Dropped, it is killed.
pub(super) struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command`; its output replaces the file `log`.
    pub(super) fn start(name: &'static str, log: &Path, command: &mut Command) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Waits until `find` finds something in what it prints. That it ends is a failure.
    pub(super) fn printed<T>(&mut self, deadline: Instant, find: impl Fn(&str) -> Option<T>) -> Result<T> {
        loop {
            let ended = self.ended()?;
            if let Some(found) = find(&self.output()) {
                return Ok(found);
            }
            if let Some(status) = ended {
                bail!("{} has ended ({status}){}", self.name, self.last_words());
            }
            self.wait(deadline)?;
        }
    }

    /// Waits for its end, which must be a success.
    pub(super) fn finish(mut self, deadline: Instant) -> Result<()> {
        loop {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{} has failed ({status}){}", self.name, self.last_words()),
                None => self.wait(deadline)?,
            }
        }
    }

    /// Kills it, which must still be running.
    pub(super) fn stop(mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended by itself ({status}){}", self.name, self.last_words()),
        }
    }

    fn wait(&self, deadline: Instant) -> Result<()> {
        if Instant::now() >= deadline {
            bail!("{} has not ended in the time there is{}", self.name, self.last_words());
        }
        thread::sleep(INTERVAL);
        Ok(())
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot watch {}", self.name))
    }

    fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of its output, and where the rest is.
    fn last_words(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        format!("; the whole log: {}\n{tail}", self.log.display())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for what has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    fn shell(name: &str, script: &str) -> Running {
        let log = workspace::log(&format!("test-running-{name}"));
        fs::create_dir_all(log.parent().expect("a log lies in a folder")).expect("a folder for logs");
        Running::start("the script", &log, Command::new("sh").args(["-c", script])).expect("sh starts")
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn what_a_program_prints_is_found() {
        let mut script = shell("prints", "echo one; echo two 2>&1; exec sleep 60");
        let found = script.printed(soon(), |output| output.contains("two\n").then(|| output.to_owned()));
        assert_eq!(found.expect("both lines"), "one\ntwo\n");
        script.stop().expect("it runs until it is stopped");
    }

    #[test]
    fn the_end_of_a_program_that_was_to_go_on_is_an_error_with_its_output() {
        let error =
            shell("ends", "echo the reason; exit 3").printed(soon(), |_| None::<()>).expect_err("ended");
        assert!(error.to_string().contains("the reason"), "{error}");
    }

    #[test]
    fn a_failure_is_told_from_success() {
        shell("succeeds", "true").finish(soon()).expect("success");
        shell("fails", "false").finish(soon()).expect_err("failure");
    }

    #[test]
    fn a_program_is_killed_when_its_time_is_over() {
        let script = shell("hangs", "exec sleep 60");
        let process = PathBuf::from(format!("/proc/{}", script.child.id()));
        script.finish(Instant::now()).expect_err("no time is left");
        assert!(!process.exists());
    }
}
