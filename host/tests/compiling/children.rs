//! Linux: what the system says of a compiler's process while it works, and that none stays.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::wasm;
use crate::support::{Folder, PATIENCE};

/// A host that is compiling what takes a minute. Killed when dropped.
struct Host(Child);

impl Host {
    fn start(folder: &Folder) -> Self {
        let handler = folder.write("handler.wasm", wasm::slow());
        let mut command: Command = folder.command();
        let child = command
            .arg("serve")
            .arg(handler)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        Self(child)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// The compiler, once it has confined itself.
    fn compiler(&self) -> Pid {
        until(|| {
            let compiler = children_of(self.pid()).into_iter().next()?;
            (status(compiler, "Seccomp").as_deref() == Some("2")).then_some(compiler)
        })
    }

    /// Exit code and what it has said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.0.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        (self.0.wait().expect("our child").code(), said)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks until there is an answer.
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "nothing after {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Of `/proc/PID/status`.
pub(crate) fn status(pid: Pid, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

/// How much it gives way to others.
fn nice_of(pid: Pid) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).expect("readable");
    // The seventeenth field after the name.
    let nice = stat.rsplit(") ").next().and_then(|fields| fields.split(' ').nth(16));
    nice.and_then(|nice| nice.parse().ok()).unwrap_or_else(|| panic!("{stat}"))
}

pub(crate) fn children_of(parent: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("Linux has it").flatten();
    let pids = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| status(*pid, "PPid") == Some(parent.as_raw_nonzero().to_string())).collect()
}

/// Waits until a process has gone that is not our child.
fn gone(pid: Pid, after: impl FnOnce()) {
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("it is there");
    after();
    let patience = Timespec::try_from(PATIENCE).expect("seconds");
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)).expect("a descriptor");
    assert_eq!(ended, 1, "it is still there after {PATIENCE:?}");
}

#[test]
fn the_compiler_is_confined_while_it_works_and_gives_way_to_others() {
    let folder = Folder::new();
    let host = Host::start(&folder);
    let compiler = host.compiler();
    assert_eq!(status(compiler, "NoNewPrivs").as_deref(), Some("1"));
    let number = compiler.as_raw_nonzero();
    let limits = fs::read_to_string(format!("/proc/{number}/limits")).expect("readable");
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max data size"), ["2147483648", "2147483648"]);
    assert_eq!(limit("Max file size"), ["0", "0"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max open files"), ["3", "3"]);
    let own = nice_of(Pid::from_raw(std::process::id().cast_signed()).expect("it runs"));
    assert_eq!(nice_of(compiler), (own + 10).min(19));
    let score = fs::read_to_string(format!("/proc/{number}/oom_score_adj")).expect("readable");
    assert_eq!(score, "1000\n", "the system ends it first when memory is short");
}

/// A user whom nobody has: the kernel counts all tasks of one together.
const NOBODY_ELSE: u32 = 54_321;

#[test]
fn a_compiler_without_room_for_its_threads_says_so_and_nothing_of_memory() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: the limit is of all tasks of a user, and only root can be one who has no others");
        return;
    }
    let folder = Folder::new();
    let handler = folder.write("handler.wasm", super::echo());
    // So many tasks are enough for this program, and for the compiler's first thread.
    let said = (2..8).find_map(|tasks| {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nproc={tasks}")).arg("--").arg(folder.command().get_program());
        command.arg("check").arg(&handler).current_dir("/").uid(NOBODY_ELSE).stdin(Stdio::null());
        let ended = command.output().expect("util-linux is there");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!said.contains("max-memory-bytes"), "{tasks} tasks: {said}");
        said.contains("the compiler cannot start").then_some(said)
    });
    let said = said.expect("between no compiler and a whole one there is one without threads");
    for wanted in ["handler.wasm cannot be compiled on this system", "`ulimit -u`, `TasksMax=` or `pids.max`"]
    {
        assert!(said.contains(wanted), "{said}");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn however_the_host_ends_its_compiler_ends_with_it() {
    for signal in [Signal::KILL, Signal::INT, Signal::TERM] {
        let folder = Folder::new();
        let host = Host::start(&folder);
        gone(host.compiler(), || kill_process(host.pid(), signal).expect("it runs"));
    }
}

#[test]
fn what_asks_servers_to_read_their_files_or_to_be_replaced_does_not_end_a_compiler() {
    let folder = Folder::new();
    let host = Host::start(&folder);
    let compiler = host.compiler();
    for signal in [Signal::HUP, Signal::USR2] {
        kill_process(compiler, signal).expect("it runs");
    }
    // Bits 0 and 11 of what waits for ever (`proc_pid_status(5)`).
    assert_eq!(status(compiler, "ShdPnd").as_deref(), Some("0000000000000801"));
    // Nor does it end a server that has not begun to serve: see that it goes on to compile.
    kill_process(host.pid(), Signal::HUP).expect("it runs");
    kill_process(compiler, Signal::KILL).expect("it runs");
    let (code, said) = host.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("(signal: 9"), "{said}");
}

#[test]
fn a_compiler_that_is_killed_is_told_in_one_sentence_and_none_stays() {
    let folder = Folder::new();
    let host = Host::start(&folder);
    let compiler = host.compiler();
    gone(compiler, || kill_process(compiler, Signal::KILL).expect("it runs"));
    let (code, said) = host.end();
    assert_eq!(code, Some(1), "{said}");
    let sentence = said.lines().last().expect("a sentence");
    assert!(
        sentence
            .contains("handler.wasm cannot be compiled: the compiler failed: it gave no answer (signal: 9"),
        "{said}"
    );
}
