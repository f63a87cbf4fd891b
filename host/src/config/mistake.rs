//! What is wrong with a file, told with its line, key and value, and the nearest right key.

use crate::units::did_you_mean;

/// What is wrong with one key of a route.
pub(super) struct Mistake {
    pub(super) key: &'static str,
    pub(super) message: String,
}

impl Mistake {
    /// A wrong value of one line.
    pub(super) fn new(key: &'static str, value: impl std::fmt::Debug, error: impl std::fmt::Display) -> Self {
        Self { key, message: format!("`{key} = {value:?}`: {error}") }
    }

    /// A wrong value among several.
    pub(super) fn among(key: &'static str, error: impl std::fmt::Display) -> Self {
        Self { key, message: format!("`{key}`: {error}") }
    }
}

/// The first line on which a key stands that is no route's.
pub(super) fn line_of_top_key(text: &str, key: &str) -> Option<usize> {
    let stands = |line: &str| {
        line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().position(stands).map(|at| at + 1)
}

/// The line on which a key stands within a table such as `route.chat`, or below it; none if it was set elsewhere.
pub(super) fn line_of_key(text: &str, table: &str, key: &str) -> Option<usize> {
    let header = format!("[{table}");
    let mut within = false;
    text.lines().enumerate().find_map(|(at, line)| {
        let line = line.trim_start();
        if line.starts_with('[') {
            within = line.strip_prefix(&header).is_some_and(|rest| rest.starts_with([']', '.']));
        }
        let stands = within && line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        stands.then_some(at + 1)
    })
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1
}

/// Adds the nearest right key, or the line with key and value, to what serde says.
pub(super) fn explain(message: &str, at: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field")
        && let [unknown, known @ ..] = quoted.as_slice()
    {
        let mut text = format!("unknown key `{unknown}`{}", did_you_mean(unknown, known));
        if !known.is_empty() {
            text += &format!(" (there are: {})", known.join(", "));
        }
        return text;
    }
    if let [missing, ..] = quoted.as_slice()
        && message.starts_with("missing field")
    {
        return match *missing {
            "path" | "handler" => format!("the route has no `{missing}`"),
            "address" => "the listener has no `address`".to_owned(),
            "listen" => "`[admin]` has no `listen`".to_owned(),
            _ => format!("the certificate has no `{missing}`"),
        };
    }
    let line = at.trim();
    let message = message.lines().next().unwrap_or_default();
    if line.is_empty() { message.to_owned() } else { format!("`{line}`: {message}") }
}
