//! What is shown, by a thread of its own: a pipe that nobody reads, or a terminal that somebody types on, may keep it waiting.

use std::io::{self, BufWriter, Write};
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::terminal::Printer;

/// Something to show, each with its newline at the end.
#[derive(Debug)]
pub(super) enum Shown {
    /// Goes to stdout.
    Message(String),
    /// For a person: goes to stderr.
    Note(String),
}

/// What is shown ahead of who reads it.
const AHEAD: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) sender: mpsc::Sender<Shown>,
    /// Ends when everything is shown that can be.
    pub(super) done: oneshot::Receiver<()>,
    /// Why stdout took no more.
    pub(super) failure: Arc<OnceLock<io::Error>>,
}

impl Output {
    /// Messages to stdout, notes to stderr. The sender closes when whoever reads stdout has gone.
    pub(super) fn to_pipe() -> Self {
        Self::run(|mut receiver, failed| {
            let mut stdout = BufWriter::new(io::stdout().lock());
            while let Some(first) = receiver.blocking_recv() {
                let mut next = Some(first);
                while let Some(shown) = next {
                    let written = match shown {
                        Shown::Message(text) => stdout.write_all(text.as_bytes()),
                        Shown::Note(text) => {
                            // Nobody has to read notes.
                            let _ = io::stderr().write_all(text.as_bytes());
                            Ok(())
                        }
                    };
                    if let Err(error) = written {
                        failed(error);
                        // What is in the buffer is for nobody.
                        drop(stdout.into_parts());
                        return;
                    }
                    next = receiver.try_recv().ok();
                }
                if let Err(error) = stdout.flush() {
                    failed(error);
                    drop(stdout.into_parts());
                    return;
                }
            }
        })
    }

    /// Everything to the terminal, above the line that is edited.
    pub(super) fn to_terminal(mut printer: Printer) -> Self {
        Self::run(move |mut receiver, _| {
            while let Some(Shown::Message(text) | Shown::Note(text)) = receiver.blocking_recv() {
                if printer.print(text).is_err() {
                    return;
                }
            }
            printer.finish();
        })
    }

    fn run(show: impl FnOnce(mpsc::Receiver<Shown>, &dyn Fn(io::Error)) + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (tell, done) = oneshot::channel();
        let failure = Arc::<OnceLock<io::Error>>::default();
        let failed = failure.clone();
        std::thread::spawn(move || {
            show(receiver, &|error| drop(failed.set(error)));
            let _ = tell.send(());
        });
        Self { sender, done, failure }
    }
}
