//! SIGUSR2: another process takes over the sockets of the one that runs, and who is connected, or connects meanwhile, sees nothing of it.

#[cfg(target_os = "linux")]
mod compiling;
mod keeping;
mod peers;
mod refusals;
pub(crate) mod sockets;
#[cfg(target_os = "linux")]
mod systemd;
mod tls;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{Ended, Folder, PATIENCE, Program};

/// A server and those that have come after it. All of them write to the first one's output.
pub(crate) struct Line {
    pub(crate) first: Program,
    successors: Successors,
}

/// Killed when dropped.
struct Successors(Vec<Pid>);

impl Drop for Successors {
    fn drop(&mut self) {
        for successor in &self.0 {
            // Of a test that has failed: gone, or ours still.
            let _ = kill_process(*successor, Signal::KILL);
        }
    }
}

impl Line {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self { first: Program::start(command), successors: Successors(Vec::new()) }
    }

    /// The one that accepts.
    pub(crate) fn last(&self) -> Pid {
        self.successors.0.last().copied().unwrap_or(self.first.pid())
    }

    /// Asks the last one for a successor, and waits until there is one.
    pub(crate) fn go_on(&mut self) -> Pid {
        self.ask(Signal::USR2);
        self.successor()
    }

    fn ask(&self, signal: Signal) {
        kill_process(self.last(), signal).expect("it runs");
    }

    /// The number of the process that has taken over, as the log says it.
    fn successor(&mut self) -> Pid {
        let record = self.first.record_with("another process has taken over");
        let number = record.split("pid=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let pid = number.and_then(|number| Pid::from_raw(number.parse().ok()?)).expect("a number");
        self.successors.0.push(pid);
        // Until then both do.
        self.first.record_with("another process accepts");
        pid
    }

    /// Ends the last one, and waits until all have.
    pub(crate) fn end(self) -> Ended {
        self.ask(Signal::TERM);
        let Self { first, successors } = self;
        let ended = first.wait();
        drop(successors);
        ended
    }
}

fn is_there(pid: Pid) -> bool {
    // Nobody may be there to reap it in a container.
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_zombie = state.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    test_kill_process(pid).is_ok() && !is_zombie
}

/// A program's file. Another process writes it: a child that another test starts at this moment would keep it open for writing otherwise,
/// and then it could not be executed.
pub(crate) fn install(from: &Path, to: &Path) {
    let done = Command::new("install").args(["-m", "755"]).args([from, to]).status();
    assert!(done.is_ok_and(|status| status.success()), "{} cannot be written", to.display());
}

/// Waits for something that only looking tells.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn serve(folder: &Folder) -> Command {
    let mut command = folder.serve();
    command.args(["--log", "waterspout=info"]);
    command
}
