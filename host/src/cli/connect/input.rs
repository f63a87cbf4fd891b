//! Lines from a pipe or a file, read by a thread of their own.

use std::io::{self, BufRead, Read};

use tokio::sync::mpsc;

/// What comes from whoever uses the program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Line(String),
    /// What is no line to send, and why.
    Bad(String),
    /// No more lines.
    End,
    /// ctrl-c, where the terminal makes no signal of it.
    Interrupt,
}

/// Lines read ahead of the connection.
const READ_AHEAD: usize = 16;
/// Of a line, beyond what a message may have: `/binary` takes three characters for a byte, and there are commands.
const LINE_SLACK: usize = 1 << 10;

/// The lines of stdin. Longer ones than a message could make are not kept.
pub(super) fn of_pipe(max_message_bytes: usize) -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let max = max_message_bytes.saturating_mul(3).saturating_add(LINE_SLACK);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let input = next(&mut stdin, max);
            let last = input == Input::End;
            if sender.blocking_send(input).is_err() || last {
                break;
            }
        }
    });
    receiver
}

fn next(reader: &mut impl BufRead, max: usize) -> Input {
    let mut line = Vec::new();
    // What cannot be read has ended.
    let _ = reader.by_ref().take(max as u64 + 1).read_until(b'\n', &mut line);
    if line.is_empty() {
        return Input::End;
    }
    if line.len() > max && line.last() != Some(&b'\n') {
        let _ = reader.skip_until(b'\n');
        return Input::Bad("nothing sent: a line is longer than --max-message-bytes allows".into());
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    match String::from_utf8(line) {
        Ok(line) => Input::Line(line),
        Err(_) => Input::Bad(
            "nothing sent: a line is not UTF-8, which text must be; /binary HEX sends bytes".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_or_without_a_newline_and_may_not_be_longer_than_a_message() {
        let mut reader: &[u8] = b"one\n\ntwo\r\ntoo long\n12345\n\xff\nlast";
        let line = |text: &str| Input::Line(text.into());
        assert_eq!(next(&mut reader, 5), line("one"));
        assert_eq!(next(&mut reader, 5), line(""));
        assert_eq!(next(&mut reader, 5), line("two"));
        assert!(matches!(next(&mut reader, 5), Input::Bad(why) if why.contains("--max-message-bytes")));
        assert_eq!(next(&mut reader, 5), line("12345"));
        assert!(matches!(next(&mut reader, 5), Input::Bad(why) if why.contains("UTF-8")));
        assert_eq!(next(&mut reader, 5), line("last"));
        assert_eq!(next(&mut reader, 5), Input::End);
    }
}
