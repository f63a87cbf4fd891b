//! How what arrives is shown: on a terminal, where a stranger's text must not steer it; in a pipe, as it came; as JSON, exactly.

use std::fmt::Write;

use serde::Serialize;
use waterspout::client::{ClientConnection, Event, Message};
use waterspout::connection::close::CloseFrame;
use waterspout::printable;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Terminal,
    Raw,
    Json,
}

/// Bytes of a binary message that a terminal shows.
const SHOWN_BYTES: usize = 256;
/// Characters of a refused handshake's body that are told.
const SHOWN_BODY: usize = 200;

impl Style {
    /// The opening, where it is shown.
    pub(super) fn open(self, connection: &ClientConnection) -> Option<String> {
        (self == Self::Json).then(|| {
            line(&Object::Open {
                subprotocol: connection.selected_subprotocol(),
                compressed: connection.is_compressed(),
                headers: headers(connection).collect(),
            })
        })
    }

    /// A message; a ping or a pong only as JSON.
    pub(super) fn event(self, event: &Event) -> Option<String> {
        match (self, event) {
            (Self::Json, _) => Some(line(&Object::of(event))),
            (Self::Terminal, Event::Message(message)) => Some(on_terminal(message)),
            (Self::Raw, Event::Message(message)) => Some(raw(message)),
            (_, Event::Ping(_) | Event::Pong(_)) => None,
        }
    }

    /// The end, where it is shown: as browsers do, 1006 stands for none.
    pub(super) fn close(self, frame: Option<&CloseFrame>) -> Option<String> {
        let (code, reason) = frame.map_or((1006, ""), |frame| (frame.code, &frame.reason));
        (self == Self::Json).then(|| line(&Object::Close { code, reason }))
    }
}

/// The answer's headers.
pub(super) fn headers(connection: &ClientConnection) -> impl Iterator<Item = [String; 2]> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    connection.headers().iter().map(move |(name, value)| [name.to_string(), text(value.as_bytes())])
}

/// `1000 bye`, for a person.
pub(super) fn close_frame(frame: &CloseFrame) -> String {
    match (frame.code, frame.reason.as_str()) {
        (1005, _) => "no code".into(),
        (code, "") => code.to_string(),
        (code, reason) => format!("{code} {}", printable(reason.as_bytes())),
    }
}

/// What a body begins with, for a person; of a page of HTML, nothing.
pub(super) fn first_line(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let shown: String = line.chars().take(SHOWN_BODY).collect();
    (!shown.starts_with('<')).then(|| printable(shown.as_bytes()))
}

/// Bytes of a ping, a pong: text, if it is.
pub(super) fn text_or_hex(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => printable(text.as_bytes()),
        Err(_) => hex(bytes, " "),
    }
}

/// What arrives, as JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Object<'a> {
    Open {
        subprotocol: Option<&'a str>,
        compressed: bool,
        headers: Vec<[String; 2]>,
    },
    /// Text, or bytes.
    Message {
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        hex: Option<String>,
    },
    Ping {
        hex: String,
    },
    Pong {
        hex: String,
    },
    Close {
        code: u16,
        reason: &'a str,
    },
}

impl<'a> Object<'a> {
    fn of(event: &'a Event) -> Self {
        match event {
            Event::Message(Message::Text(text)) => Self::Message { text: Some(text), hex: None },
            Event::Message(message) => {
                Self::Message { text: None, hex: Some(hex(&message.clone().into_data(), "")) }
            }
            Event::Ping(data) => Self::Ping { hex: hex(data, "") },
            Event::Pong(data) => Self::Pong { hex: hex(data, "") },
        }
    }
}

/// JSON in one line of printable characters: what a terminal would take for a command is escaped, which JSON may do to any character.
fn line(object: &Object<'_>) -> String {
    let mut escaped = String::new();
    let mut units = [0; 2];
    let json = serde_json::to_string(object).expect("text and numbers are JSON");
    for c in json.chars() {
        if printable(c.encode_utf8(&mut [0; 4]).as_bytes()).chars().eq([c]) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped.push('\n');
    escaped
}

/// A text's further lines are indented; what is binary says so, and no text can, because each of its lines begins otherwise.
fn on_terminal(message: &Message) -> String {
    match message {
        Message::Text(text) => {
            let lines: Vec<String> = text.split('\n').map(|line| printable(line.as_bytes())).collect();
            format!("< {}\n", lines.join("\n  "))
        }
        _ => {
            let bytes = message.clone().into_data();
            let shown = hex(&bytes[..bytes.len().min(SHOWN_BYTES)], " ");
            match bytes.len().checked_sub(SHOWN_BYTES) {
                None | Some(0) => format!("binary< {shown}\n"),
                Some(more) => format!("binary< {shown} ... and {more} bytes more\n"),
            }
        }
    }
}

fn raw(message: &Message) -> String {
    match message {
        Message::Text(text) => format!("{text}\n"),
        _ => hex(&message.clone().into_data(), "") + "\n",
    }
}

fn hex(bytes: &[u8], between: &str) -> String {
    let mut text = String::with_capacity(bytes.len() * (2 + between.len()));
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            text += between;
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shown(style: Style, message: Message) -> String {
        style.event(&Event::Message(message)).expect("a message is shown")
    }

    #[test]
    fn on_a_terminal_text_and_bytes_are_told_apart_whatever_a_stranger_sends() {
        let text = |text: &str| shown(Style::Terminal, Message::text(text));
        assert_eq!(text("hé"), "< hé\n");
        assert_eq!(text("a\x1b[2Jb\r\nbinary< 00"), "< a\\u{1b}[2Jb\\r\n  binary< 00\n");
        let binary = |bytes: Vec<u8>| shown(Style::Terminal, Message::binary(bytes));
        assert_eq!(binary(vec![0, 255]), "binary< 00 ff\n");
        assert_eq!(binary(Vec::new()), "binary< \n");
        assert!(binary(vec![7; 256]).ends_with("07 07\n"));
        assert!(binary(vec![7; 257]).ends_with("07 07 ... and 1 bytes more\n"));
    }

    #[test]
    fn in_a_pipe_text_is_as_it_came() {
        assert_eq!(shown(Style::Raw, Message::text("a\x1b\nb")), "a\x1b\nb\n");
        assert_eq!(shown(Style::Raw, Message::binary(vec![0, 255])), "00ff\n");
        assert_eq!(Style::Raw.event(&Event::Ping("x".into())), None);
    }

    #[test]
    fn json_is_exact_and_harmless() {
        let text = "\u{9b}2J\u{202e}\x1b\n\"é\u{1f600}";
        let line = shown(Style::Json, Message::text(text));
        assert!(!line.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value, json!({ "type": "message", "text": text }));
        assert_eq!(
            shown(Style::Json, Message::binary(vec![0, 255])),
            "{\"type\":\"message\",\"hex\":\"00ff\"}\n"
        );
        assert_eq!(
            Style::Json.event(&Event::Pong("a".into())).expect("shown"),
            "{\"type\":\"pong\",\"hex\":\"61\"}\n"
        );
        assert_eq!(
            Style::Json.close(None).expect("shown"),
            "{\"type\":\"close\",\"code\":1006,\"reason\":\"\"}\n"
        );
    }

    #[test]
    fn of_a_body_a_person_is_told_the_first_line_of_text() {
        assert_eq!(
            first_line(b"\n  Can \"Upgrade\"\x07 only\nmore").as_deref(),
            Some("Can \"Upgrade\"\\u{7} only")
        );
        assert_eq!(first_line(b"<!doctype html>"), None);
        assert_eq!(first_line(b""), None);
        assert_eq!(first_line("é".repeat(300).as_bytes()).map(|line| line.chars().count()), Some(200));
    }
}
