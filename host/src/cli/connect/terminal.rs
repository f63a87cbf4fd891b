//! A line that is edited at the terminal, with a history, while messages arrive above it.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, ExternalPrinter};
use tokio::sync::mpsc;

use super::input::Input;

const PROMPT: &str = "> ";

type LineEditor = rustyline::Editor<(), MemHistory>;

/// The terminal as it was found, to be left as it was: the thread that edits a line changes it for each.
#[derive(Debug, Clone)]
pub(super) struct Found {
    terminal: Arc<OwnedFd>,
    termios: Termios,
    gate: Arc<Mutex<Gate>>,
}

/// Between the thread that edits lines and the end of the program.
#[derive(Debug, Default)]
struct Gate {
    /// From before the terminal is changed for a line until after it is changed back.
    editing: bool,
    /// No line may be begun.
    ended: bool,
}

/// How long the thread that edits is waited for, at most.
const MOMENT: Duration = Duration::from_millis(1);
const MOMENTS: u32 = 200;

impl Found {
    fn now() -> Option<Self> {
        let terminal = rustix::io::dup(io::stdin()).ok()?;
        let termios = tcgetattr(&terminal).ok()?;
        Some(Self { terminal: Arc::new(terminal), termios, gate: Arc::default() })
    }

    /// Ends the editing, and leaves the terminal as it was found, without a prompt.
    pub(super) fn restore(&self) {
        self.gate().ended = true;
        for _ in 0..MOMENTS {
            if !self.gate().editing {
                break;
            }
            // Whoever edits a line takes it for ctrl-c, and leaves. Nobody else waits for a signal any more.
            let _ = kill_process(getpid(), Signal::INT);
            std::thread::sleep(MOMENT);
        }
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.termios);
        let mut stdout = io::stdout();
        let _ = stdout.write_all(b"\r\x1b[K\x1b[?2004l").and_then(|()| stdout.flush());
    }

    /// Whether a line may be edited, and if so, that one is.
    fn begin(&self) -> bool {
        let mut gate = self.gate();
        gate.editing = !gate.ended;
        gate.editing
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads lines from the terminal.
pub(super) struct Editor {
    editor: LineEditor,
    printer: Printer,
    found: Found,
}

/// Shows text above the line that is edited.
pub(super) struct Printer {
    external: Box<dyn ExternalPrinter + Send>,
}

/// The cursor goes up, and down again.
const NOTHING: &str = "\x1b[A\n";

impl Editor {
    /// None where the terminal cannot do it (`TERM=dumb`): then lines are as the system edits them.
    pub(super) fn new() -> Option<Self> {
        let found = Found::now()?;
        let config = Config::builder().auto_add_history(true).build();
        let mut editor = LineEditor::with_history(config, MemHistory::new()).ok()?;
        let external = Box::new(editor.create_external_printer().ok()?);
        Some(Self { editor, printer: Printer { external }, found })
    }

    pub(super) fn found(&self) -> Found {
        self.found.clone()
    }

    /// Reads lines until the program ends.
    pub(super) fn start(self) -> (mpsc::Receiver<Input>, Printer) {
        let Self { mut editor, printer, found } = self;
        let (sender, receiver) = mpsc::channel(1);
        std::thread::spawn(move || {
            while found.begin() {
                let line = editor.readline(PROMPT);
                let ended = {
                    let mut gate = found.gate();
                    gate.editing = false;
                    gate.ended
                };
                if ended {
                    break;
                }
                let input = match line {
                    Ok(line) => Input::Line(line),
                    Err(ReadlineError::Interrupted) => Input::Interrupt,
                    Err(ReadlineError::Eof) => Input::End,
                    Err(ReadlineError::Signal(_)) => continue,
                    Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        Input::Bad("nothing sent: that was not UTF-8".into())
                    }
                    // The terminal has gone.
                    Err(_) => {
                        let _ = sender.blocking_send(Input::Interrupt);
                        let _ = sender.blocking_send(Input::Interrupt);
                        return;
                    }
                };
                // After its end, the session still has things to show, which takes a line that is edited.
                let _ = sender.blocking_send(input);
            }
        });
        (receiver, printer)
    }
}

impl Printer {
    pub(super) fn print(&mut self, text: String) -> rustyline::Result<()> {
        self.external.print(text)
    }

    /// Waits until all is shown.
    pub(super) fn finish(mut self) {
        // There is room for one text between here and the thread that shows it: when it takes a second one, it has shown what came before
        // the first.
        for _ in 0..2 {
            let _ = self.external.print(NOTHING.into());
        }
        // Who edits a line looks for signals, too, as long as somebody might print.
        std::mem::forget(self);
    }
}
