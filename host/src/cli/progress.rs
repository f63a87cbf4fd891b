//! What a person at a terminal sees while something takes long, such as compiling a large handler.

use std::io::{IsTerminal, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Work that takes less is not worth a line.
const PATIENCE: Duration = Duration::from_millis(500);

/// Runs `work`, which compiles `what`: see [`with_line`].
pub(super) fn with_progress<T>(what: &str, work: impl FnOnce() -> T) -> T {
    with_line(format!("compiling {what}"), work)
}

/// Runs `work`; while it lasts, a line on the terminal says what is going on and for how long. In a pipe nothing is written.
pub(super) fn with_line<T>(line: String, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let (done, until_done) = mpsc::channel::<()>();
    let shown = thread::spawn(move || {
        let began = Instant::now();
        let mut width = 0;
        let mut wait = PATIENCE;
        while until_done.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
            let text = format!("{line}: {} s", began.elapsed().as_secs());
            width = text.len();
            // A terminal that is gone needs no progress.
            let _ = write!(std::io::stderr(), "\r{text}");
            wait = Duration::from_secs(1);
        }
        let _ = write!(std::io::stderr(), "\r{:width$}\r", "");
    });
    let result = work();
    drop(done);
    let _ = shown.join();
    result
}
