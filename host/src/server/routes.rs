//! Which handler a request is for: path patterns, what they capture, and which instance serves it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use regex::Regex;

use crate::client::destinations::Destinations;
use crate::client::roots::Roots;
use crate::connection::compression::CompressionPolicy;
use crate::limits::tenants::Tenant;
use crate::limits::{Limits, SlowConsumer};
use crate::server::handshake::{Hosts, Origins};
use crate::swap::SwapPolicy;

/// One route of the server: which requests it takes and what its handler may do. The handler itself is loaded separately.
#[derive(Debug, Clone)]
pub struct Route {
    /// Names the route in logs, metrics and errors.
    pub name: String,
    /// Whose it is.
    pub tenant: Tenant,
    /// The paths it takes.
    pub pattern: Pattern,
    /// What its connections share.
    pub policy: InstancePolicy,
    /// Instances that are made before a connection needs them, at most [`MAX_SPARE_INSTANCES`] and no more than it may have. They count like any
    /// other, and give way before a connection of the same tenant is refused. A [`Server`](crate::Server) begins to make them when it runs; without
    /// one they are made from the first connection on. Default: 0.
    pub spare_instances: u32,
    /// The host names it answers to.
    pub hosts: Hosts,
    /// The origins that its pages may have.
    pub origins: Origins,
    /// If set, the handler is offered only these subprotocols.
    pub subprotocols: Option<Vec<String>>,
    /// How messages may be compressed where handler and peer want it; none forbids it.
    pub compression: Option<CompressionPolicy>,
    /// Where its handlers may connect to.
    pub connect: Destinations,
    /// Whom the servers that they connect to by `wss://` must have their certificates from; none is the system's choice.
    pub connect_ca: Option<Roots>,
    /// What becomes of subscribers that read too slowly.
    pub slow_consumer: SlowConsumer,
    /// How its handler is replaced.
    pub swap: SwapPolicy,
    /// What its connections and instances may use.
    pub limits: Limits,
    /// Key-value configuration that the handler reads by `wasi:config`.
    pub config: BTreeMap<String, String>,
    /// The whole environment that the handler sees.
    pub environment: BTreeMap<String, String>,
    /// Whether rejections may be HTML that a browser runs.
    pub html: bool,
    /// Whether the handler may set cookies on its host name.
    pub set_cookie: bool,
}

/// A route's [`spare_instances`](Route::spare_instances) at most: far more than a second brings of handlers that take long to begin.
pub const MAX_SPARE_INSTANCES: u32 = 1_000;

impl Route {
    /// A route with every setting at its default: one instance for each connection, any host name, same origin.
    pub fn new(name: impl Into<String>, pattern: Pattern) -> Self {
        Self {
            name: name.into(),
            tenant: Tenant::default(),
            pattern,
            policy: InstancePolicy::Connection,
            spare_instances: 0,
            hosts: Hosts::Any,
            origins: Origins::Same,
            subprotocols: None,
            compression: Some(CompressionPolicy::default()),
            connect: Destinations::default(),
            connect_ca: None,
            slow_consumer: SlowConsumer::default(),
            swap: SwapPolicy::default(),
            limits: Limits::default(),
            config: BTreeMap::new(),
            environment: BTreeMap::new(),
            html: false,
            set_cookie: false,
        }
    }

    /// The subprotocols that the handler is asked about: the peer's, less what the operator does not list.
    pub(crate) fn offered(&self, mut asked: Vec<String>) -> Vec<String> {
        if let Some(listed) = &self.subprotocols {
            asked.retain(|subprotocol| listed.contains(subprotocol));
        }
        asked
    }
}

/// A path pattern: a template such as `/chat/{room}`, or, if it begins with `^`, a regular expression for the whole path.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// Why a [`Pattern`] or an [`InstancePolicy`] could not be read. Correct the text and try again.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    /// A path template does not begin with a slash.
    #[error("a path begins with `/` (or with `^`, as a regular expression), this is `{0}`")]
    NoSlash(String),
    /// A brace is not closed, nested, or its name is not an identifier.
    #[error("`{0}` is not a template: braces hold a name, such as `/chat/{{room}}`")]
    Braces(String),
    /// The same name is captured twice.
    #[error("`{0}` is captured twice")]
    Twice(String),
    /// Not a regular expression.
    #[error("not a regular expression: {0}")]
    Regex(String),
    /// An instance template names what the path does not capture.
    #[error("the path captures no `{{{name}}}`{hint}")]
    UnknownCapture {
        /// The name that is not captured.
        name: String,
        /// `; did you mean ...?`, or empty.
        hint: String,
    },
    /// Neither a policy's name nor a template.
    #[error("`{0}` is neither `connection`, `route` nor a template such as `{{room}}`")]
    Policy(String),
}

impl Pattern {
    /// Reads a pattern. A template's capture matches one path segment.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let source = if let Some(expression) = text.strip_prefix('^') {
            format!("^(?:{})$", expression.strip_suffix('$').unwrap_or(expression))
        } else if text.starts_with('/') {
            let mut source = String::from("^");
            for piece in pieces(text)? {
                match piece {
                    Piece::Literal(literal) => source.push_str(&regex::escape(literal)),
                    Piece::Capture(name) => source.push_str(&format!("(?P<{name}>[^/]+)")),
                }
            }
            source + "$"
        } else {
            return Err(PatternError::NoSlash(text.into()));
        };
        let regex = regex::RegexBuilder::new(&source)
            .size_limit(1 << 20)
            .build()
            .map_err(|error| PatternError::Regex(error.to_string()))?;
        Ok(Self { text: text.into(), regex })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the pattern captures of a path, percent-decoded; none if it does not match. Positional captures are named "0",
    /// "1"...; a group that matched nothing is left out.
    pub fn captures(&self, path: &str) -> Option<Captures> {
        let groups = self.regex.captures(path)?;
        let mut position = 0;
        let mut captures = Vec::new();
        for (index, name) in self.regex.capture_names().enumerate().skip(1) {
            let name = name.map_or_else(
                || {
                    position += 1;
                    (position - 1).to_string()
                },
                str::to_owned,
            );
            if let Some(group) = groups.get(index) {
                let value = percent_decode_str(group.as_str()).decode_utf8().ok()?.into_owned();
                captures.push((name, value));
            }
        }
        Some(Captures(captures))
    }

    fn capture_names(&self) -> Vec<&str> {
        self.regex.capture_names().flatten().collect()
    }
}

/// What a [`Pattern`] captured, in order: (name, value).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captures(pub Vec<(String, String)>);

impl Captures {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

enum Piece<'a> {
    Literal(&'a str),
    Capture(&'a str),
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, PatternError> {
    let mut rest = template;
    let mut pieces = Vec::new();
    let mut names = Vec::new();
    while let Some(at) = rest.find(['{', '}']) {
        let (literal, tail) = rest.split_at(at);
        pieces.push(Piece::Literal(literal));
        let (name, tail) = tail
            .strip_prefix('{')
            .and_then(|tail| tail.split_once('}'))
            .filter(|(name, _)| is_identifier(name))
            .ok_or_else(|| PatternError::Braces(template.into()))?;
        if names.contains(&name) {
            return Err(PatternError::Twice(name.into()));
        }
        names.push(name);
        pieces.push(Piece::Capture(name));
        rest = tail;
    }
    pieces.push(Piece::Literal(rest));
    Ok(pieces)
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What the connections of a route share: one instance is one sandbox, with its own memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstancePolicy {
    /// Nothing: one instance for each connection.
    Connection,
    /// One instance for all of the route's connections.
    Route,
    /// One instance for each distinct value of these captures: a room is an object.
    Template(Vec<String>),
}

/// As one writes it: what [`InstancePolicy::new`] reads.
impl fmt::Display for InstancePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("connection"),
            Self::Route => f.write_str("route"),
            Self::Template(names) => {
                f.write_str(&names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join("/"))
            }
        }
    }
}

/// Names one shared instance of a route: the values of the template's captures, in order. Not joined into one string, so
/// that no two keys run into each other.
pub(crate) type InstanceKey = Arc<[String]>;

/// Bytes in an [`InstanceKey`]; longer ones find no instance (404).
const MAX_KEY_BYTES: usize = 128;

impl InstancePolicy {
    /// Reads `connection`, `route` or a template of the pattern's captures such as `{room}` or `{game}/{table}`.
    ///
    /// # Errors
    /// [`PatternError::Policy`], [`PatternError::UnknownCapture`].
    pub fn new(text: &str, pattern: &Pattern) -> Result<Self, PatternError> {
        match text {
            "connection" => return Ok(Self::Connection),
            "route" => return Ok(Self::Route),
            _ => {}
        }
        let names: Vec<String> = pieces(text)?
            .into_iter()
            .filter_map(|piece| match piece {
                Piece::Capture(name) => Some(name.to_owned()),
                Piece::Literal(_) => None,
            })
            .collect();
        if names.is_empty() {
            return Err(PatternError::Policy(text.into()));
        }
        let known = pattern.capture_names();
        if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
            let hint = crate::units::did_you_mean(name, &known);
            return Err(PatternError::UnknownCapture { name: name.clone(), hint });
        }
        Ok(Self::Template(names))
    }

    /// The shared instance that a request is for, or none where each connection has its own.
    ///
    /// # Errors
    /// A key that is longer than a key may be, or a capture that matched nothing.
    pub(crate) fn key(&self, captures: &Captures) -> Result<Option<InstanceKey>, KeyError> {
        let values: Vec<String> = match self {
            Self::Connection => return Ok(None),
            Self::Route => Vec::new(),
            Self::Template(names) => names
                .iter()
                .map(|name| captures.value(name).map(str::to_owned).ok_or(KeyError))
                .collect::<Result<_, _>>()?,
        };
        if values.iter().map(String::len).sum::<usize>() > MAX_KEY_BYTES {
            return Err(KeyError);
        }
        Ok(Some(values.into()))
    }
}

/// A path whose captures name no instance.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyError;

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
        Pattern::new(pattern).expect("a pattern").captures(path).map(|captures| captures.0)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn a_template_captures_one_segment_percent_decoded() {
        assert_eq!(captured("/chat/{room}", "/chat/r%C3%A9union%2F1"), pairs(&[("room", "réunion/1")]));
        assert_eq!(captured("/chat/{room}", "/chat/a/b"), None);
        assert_eq!(captured("/chat/{room}", "/chat/"), None);
        assert_eq!(captured("/a.b", "/a.b"), pairs(&[]));
        assert_eq!(captured("/a.b", "/aXb"), None);
    }

    #[test]
    fn a_capture_that_is_not_utf8_matches_nothing() {
        assert_eq!(captured("/chat/{room}", "/chat/%FF"), None);
    }

    #[test]
    fn a_regular_expression_matches_the_whole_path_and_numbers_its_unnamed_groups() {
        assert_eq!(
            captured("^/g/(\\d+)/(?P<name>[a-z]+)/(x)?", "/g/7/ab/"),
            pairs(&[("0", "7"), ("name", "ab")])
        );
        assert_eq!(captured("^/a|/b", "/a/c"), None);
        assert_eq!(captured("^/a|/b$", "/b"), pairs(&[]));
    }

    #[test]
    fn a_malformed_pattern_says_what_is_wrong() {
        assert_eq!(Pattern::new("chat").expect_err("refused"), PatternError::NoSlash("chat".into()));
        assert!(matches!(Pattern::new("/{a"), Err(PatternError::Braces(_))));
        assert!(matches!(Pattern::new("/{a b}"), Err(PatternError::Braces(_))));
        assert!(matches!(Pattern::new("/{a}/{a}"), Err(PatternError::Twice(_))));
        assert!(matches!(Pattern::new("^("), Err(PatternError::Regex(_))));
    }

    #[test]
    fn an_instance_template_may_name_only_what_the_path_captures() {
        let pattern = Pattern::new("/chat/{room}").expect("a pattern");
        assert_eq!(
            InstancePolicy::new("{room}", &pattern),
            Ok(InstancePolicy::Template(vec!["room".into()]))
        );
        assert_eq!(InstancePolicy::new("route", &pattern), Ok(InstancePolicy::Route));
        let error = InstancePolicy::new("{rom}", &pattern).expect_err("refused").to_string();
        assert!(error.contains("did you mean `room`"), "{error}");
        assert!(matches!(InstancePolicy::new("rooms", &pattern), Err(PatternError::Policy(_))));
    }

    #[test]
    fn keys_of_different_captures_never_run_into_each_other() {
        let pattern = Pattern::new("/{a}/{b}").expect("a pattern");
        let policy = InstancePolicy::new("{a}-{b}", &pattern).expect("a policy");
        let key = |path: &str| policy.key(&pattern.captures(path).expect("a match"));
        assert_ne!(key("/x-y/z"), key("/x/y-z"));
        assert_eq!(key("/x/y"), key("/x/%79"));
    }

    #[test]
    fn a_key_of_128_bytes_is_the_longest() {
        let pattern = Pattern::new("/{a}").expect("a pattern");
        let policy = InstancePolicy::new("{a}", &pattern).expect("a policy");
        let key = |length: usize| {
            policy.key(&pattern.captures(&format!("/{}", "k".repeat(length))).expect("a match"))
        };
        assert!(key(128).is_ok());
        assert_eq!(key(129), Err(KeyError));
    }

    #[test]
    fn the_handler_is_offered_what_peer_and_operator_have_in_common() {
        let mut route = Route::new("r", Pattern::new("/").expect("a pattern"));
        assert_eq!(route.offered(vec!["b".into(), "a".into()]), ["b", "a"]);
        route.subprotocols = Some(vec!["a".into(), "c".into()]);
        assert_eq!(route.offered(vec!["b".into(), "a".into()]), ["a"]);
    }
}
