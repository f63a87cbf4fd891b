//! A terminal for a program, whose keys are a test's, and whose screen it reads.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, LocalModes, OutputModes, tcgetattr};

use crate::support::PATIENCE;

/// See the module.
pub(super) struct Pty {
    keys: File,
    screen: Receiver<Vec<u8>>,
    /// All that was written.
    written: String,
    /// How much of it has been looked for.
    seen: usize,
    program_side: OwnedFd,
}

impl Pty {
    pub(super) fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("ours");
        unlockpt(&master).expect("ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let program_side =
            rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("it can be opened");
        let keys = File::from(master);
        let mut reader = keys.try_clone().expect("descriptors");
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // An error: the other side has gone.
            while let Ok(bytes @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..bytes].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { keys, screen, written: String::new(), seen: 0, program_side }
    }

    /// Starts a program on it.
    pub(super) fn run(&self, command: &mut Command) -> Running {
        let side = || Stdio::from(self.program_side.try_clone().expect("descriptors"));
        Running(command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("it starts"))
    }

    pub(super) fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    /// Waits until it shows this, after what was waited for before.
    pub(super) fn shows(&mut self, text: &str) {
        self.seen =
            self.until(text, |written, seen| written[seen..].find(text).map(|at| seen + at + text.len()));
    }

    /// Waits until a line has been taken for editing for the so many-th time. Keys that are typed between lines are the terminal's: it
    /// would take ctrl-c and ctrl-d itself.
    pub(super) fn takes_line(&mut self, nth: usize) {
        /// Pastes are to be bracketed from now on.
        const BEGINNING: &str = "\u{1b}[?2004h";
        self.until("a line", |written, _| (written.matches(BEGINNING).count() >= nth).then_some(0));
    }

    fn until(&mut self, what: &str, found: impl Fn(&str, usize) -> Option<usize>) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = found(&self.written, self.seen) {
                return at;
            }
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.written += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("`{what}` was never shown, but {:?}", self.written),
            }
        }
    }

    /// What programs change to edit a line, and must change back.
    pub(super) fn modes(&self) -> (InputModes, OutputModes, LocalModes) {
        let termios = tcgetattr(&self.program_side).expect("a terminal");
        (termios.input_modes, termios.output_modes, termios.local_modes)
    }
}

/// Killed when dropped.
pub(super) struct Running(Child);

impl Running {
    /// Its exit code, -1 for a signal.
    pub(super) fn wait(mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.0.try_wait().expect("our own child") {
                Some(status) => return status.code().unwrap_or(-1),
                None if Instant::now() > deadline => panic!("it has not ended after {PATIENCE:?}"),
                None => thread::yield_now(),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
