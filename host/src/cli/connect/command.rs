//! What a line says: a text message, or a command if it begins with a slash.

use waterspout::client::Message;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Send(Message),
    Ping(Vec<u8>),
    Close(Option<u16>, Option<String>),
    Help,
}

/// All commands, for a person.
pub(super) const HELP: &str = "\
a line is sent as text; commands:
  /binary HEX             send bytes, such as /binary 00 ff
  /ping [TEXT]            send a ping
  /close [CODE] [REASON]  close, such as /close 1000 bye; without a code, an empty close frame
  //TEXT                  send text that begins with a slash
  /help                   this
ctrl-d closes with 1000, ctrl-c with 1001; ctrl-c again ends at once";

impl Command {
    /// Reads a line.
    pub(super) fn of(line: String) -> Result<Self, String> {
        let Some(command) = line.strip_prefix('/') else { return Ok(Self::Send(Message::text(line))) };
        if command.starts_with('/') {
            return Ok(Self::Send(Message::text(command)));
        }
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        match name {
            "binary" => Ok(Self::Send(Message::binary(bytes(rest)?))),
            "ping" => Ok(Self::Ping(rest.into())),
            "close" => close(rest),
            "help" => Ok(Self::Help),
            _ => Err(format!(
                "nothing sent: there is no command /{name}; //{command} would be sent as /{command}"
            )),
        }
    }
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let wrong = || "nothing sent: /binary takes pairs of hexadecimal digits, such as 00 ff".to_owned();
    let digits: Vec<u8> = hex
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or_else(wrong))
        .collect::<Result<_, _>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return Err(wrong()) };
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn close(rest: &str) -> Result<Command, String> {
    let rest = rest.trim();
    if rest.is_empty() {
        return Ok(Command::Close(None, None));
    }
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let code = code.parse().map_err(|_| format!("not closed: {code} is no code, such as 1000"))?;
    Ok(Command::Close(Some(code), Some(reason.trim_start().to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Command, String> {
        Command::of(line.into())
    }

    #[test]
    fn a_line_is_text_unless_it_begins_with_one_slash() {
        for (line, text) in
            [("hello", "hello"), ("", ""), (" /ping", " /ping"), ("//ping", "/ping"), ("//", "/")]
        {
            assert_eq!(of(line), Ok(Command::Send(Message::text(text))), "{line}");
        }
    }

    #[test]
    fn commands_are_read_with_their_arguments() {
        let closing = |code, reason: Option<&str>| Ok(Command::Close(code, reason.map(str::to_owned)));
        for (line, command) in [
            ("/binary", Ok(Command::Send(Message::binary(Vec::new())))),
            ("/binary 00 fF10", Ok(Command::Send(Message::binary(vec![0, 255, 16])))),
            ("/ping", Ok(Command::Ping(Vec::new()))),
            ("/ping still there?", Ok(Command::Ping(b"still there?".to_vec()))),
            ("/close", closing(None, None)),
            ("/close 1000", closing(Some(1000), Some(""))),
            ("/close 4000 good bye", closing(Some(4000), Some("good bye"))),
            ("/help", Ok(Command::Help)),
        ] {
            assert_eq!(of(line), command, "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_told_and_not_sent() {
        for line in [
            "/",
            "/unknown x",
            "/Ping",
            "/binary 0",
            "/binary 0g",
            "/binary é0",
            "/close bye",
            "/close 70000",
        ] {
            assert!(of(line).is_err(), "{line}");
        }
    }
}
