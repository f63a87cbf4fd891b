//! What has changed in a configuration file since it was read, key by key: which of it a running server takes, and which it does not.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use toml::{Table, Value};

use super::ConfigError;
use super::mistake::line_of;
use crate::regular_file::read_text;

/// A configuration file's text, as keys with values.
#[derive(Debug, Clone)]
pub struct Document {
    text: String,
    values: BTreeMap<String, Value>,
}

/// One key that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// With its table, such as `route.chat.handler`; of a route that was not there, or is not there any more, the table alone.
    pub key: String,
    /// What has become of it.
    pub kind: ChangeKind,
    /// Whether [`Deployer::reread`](crate::Deployer::reread) takes it, or, of the page,
    /// [`Application::replace_page`](crate::Application::replace_page); otherwise the server must be started again.
    pub is_live: bool,
}

/// What has become of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// It has another value.
    Changed,
    /// It is not there any more.
    Removed,
}

/// As a participle.
impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        })
    }
}

/// The key of the page, which a running server takes.
const PAGE: &str = "page";

/// The keys of a route that a running server takes.
const LIVE: [&str; 7] = [
    "handler",
    "on-swap",
    "max-drain",
    "spread",
    "max-swap-failures-percent",
    "canary-time",
    "canary-addresses",
];

impl Document {
    /// Reads a file as it is now.
    ///
    /// # Errors
    /// It cannot be read, or is no TOML.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = read_text(file).map_err(|error| ConfigError::Read { file: file.into(), error })?;
        Self::parse(text).map_err(|(line, message)| ConfigError::Wrong { file: file.into(), line, message })
    }

    /// The file's content.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn parse(text: String) -> Result<Self, (Option<usize>, String)> {
        let table: Table = toml::from_str(&text).map_err(|error| {
            (error.span().map(|span| line_of(&text, span.start)), error.message().to_owned())
        })?;
        let mut values = BTreeMap::new();
        flatten("", table, &mut values);
        Ok(Self { text, values })
    }

    /// What is different in `new`, in the keys' order. Routes that came or went are told as one.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let (old_routes, new_routes) = (self.routes(), new.routes());
        let mut changes: BTreeMap<String, Change> = BTreeMap::new();
        let keys = self.values.keys().chain(new.values.keys());
        for key in keys {
            let kind = match (self.values.get(key), new.values.get(key)) {
                (Some(old), Some(new)) if old == new => continue,
                (Some(_), Some(_)) => ChangeKind::Changed,
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Removed,
            };
            let of_route = route_and_key(key);
            let (key, is_live) = match of_route {
                Some((route, _)) if !old_routes.contains(&route) || !new_routes.contains(&route) => {
                    (route.to_owned(), false)
                }
                Some((_, last)) => (key.clone(), LIVE.contains(&last)),
                None => (key.clone(), key == PAGE),
            };
            changes.entry(key.clone()).or_insert(Change { key, kind, is_live });
        }
        changes.into_values().collect()
    }

    /// The tables of routes.
    fn routes(&self) -> Vec<&str> {
        self.values.keys().filter_map(|key| route_and_key(key)).map(|(route, _)| route).collect()
    }
}

/// `route.chat` and `handler`, of `route.chat.handler`; so also below `tenant.acme.`.
fn route_and_key(key: &str) -> Option<(&str, &str)> {
    let mut parts = parts(key);
    let mut next = parts.next()?;
    if next.0 == "tenant" {
        parts.next()?;
        next = parts.next()?;
    }
    if next.0 != "route" {
        return None;
    }
    let (_, end) = parts.next()?;
    Some((&key[..end], key.get(end + 1..).unwrap_or_default()))
}

/// The parts of a dotted key, each with where it ends; those in quotes may have dots.
fn parts(key: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = key.get(from..).filter(|rest| !rest.is_empty())?;
        let mut quoted = false;
        let mut escaped = false;
        let end = rest.find(|letter: char| {
            match letter {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '.' if !quoted => return true,
                _ => {}
            }
            false
        });
        let length = end.unwrap_or(rest.len());
        let end = from + length;
        from = end + 1;
        Some((&rest[..length], end))
    })
}

/// Tables become dotted keys; a list of tables is one value.
fn flatten(above: &str, table: Table, into: &mut BTreeMap<String, Value>) {
    for (key, value) in table {
        let is_bare = !key.is_empty()
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        let key = if is_bare { key } else { format!("\"{}\"", key.escape_debug()) };
        let key = if above.is_empty() { key } else { format!("{above}.{key}") };
        match value {
            Value::Table(table) => flatten(&key, table, into),
            value => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(text.into()).expect("TOML")
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        let changes = document(old).changes(&document(new));
        let live = |change: &Change| if change.is_live { "live" } else { "restart" };
        changes.iter().map(|change| format!("{} {} {}", change.key, change.kind, live(change))).collect()
    }

    const OLD: &str = "grace = '1s'\n[[listener]]\naddress = 'a'\n[limits]\nmax-timers = 3\n[route.chat]\npath = '/'\nhandler = 'a'\n\
                       [tenant.acme.route.'odd.name']\npath = '/x'\nhandler = 'x'\n";

    #[test]
    fn each_key_that_has_changed_is_told_with_whether_it_is_taken() {
        assert_eq!(told(OLD, OLD), [""; 0]);
        let new = OLD
            .replace("'1s'", "'2s'\npage = true")
            .replace("'a'", "'b'")
            .replace("'x'", "'y'\non-swap = 'close'");
        assert_eq!(
            told(OLD, &new),
            [
                "grace changed restart",
                "listener changed restart",
                "page added live",
                "route.chat.handler changed live",
                "tenant.acme.route.\"odd.name\".handler changed live",
                "tenant.acme.route.\"odd.name\".on-swap added live",
            ]
        );
        let new =
            OLD.replace("max-timers = 3", "").replace("path = '/'", "path = '/y'\n limits.max-timers = 4");
        assert_eq!(
            told(OLD, &new),
            [
                "limits.max-timers removed restart",
                "route.chat.limits.max-timers added restart",
                "route.chat.path changed restart",
            ]
        );
    }

    #[test]
    fn a_route_that_came_or_went_is_told_once() {
        let new = OLD.replace("[route.chat]", "[route.talk]");
        assert_eq!(told(OLD, &new), ["route.chat removed restart", "route.talk added restart"]);
    }

    #[test]
    fn what_is_no_toml_names_its_line() {
        let (line, _) = Document::parse("a = 1\nb = \n".into()).expect_err("no value");
        assert_eq!(line, Some(2));
    }
}
