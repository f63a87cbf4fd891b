//! The configuration file: from text to what a server is made of. It is read in this one place.
//!
//! A mistake names file, line, key and value, and the nearest right key.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use indexmap::IndexMap;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::admission::ServerOptions;
use crate::cache::CacheFolders;
use crate::client::Roots;
use crate::compression::CompressionPolicy;
use crate::destinations::Destinations;
use crate::handler::{HandlerSource, RuntimeOptions};
use crate::handshake::{Hosts, Origins};
use crate::limits::{Limits, LimitsTable, SlowConsumer};
use crate::listener::ListenAddress;
use crate::proxies::{TrustedProxies, TrustedProxyError};
use crate::routes::{InstancePolicy, Pattern, Route};
use crate::tls::CertificateFiles;
use crate::units::Written;

/// Everything that a configuration file says.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen, at least one. Default: 127.0.0.1:8888.
    pub listeners: Vec<ListenerConfig>,
    /// Certificates of the listeners with TLS; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// The page at `/`. Default with a configuration file: none.
    pub page: PageChoice,
    /// Engines and cache.
    pub runtime: RuntimeOptions,
    /// Accepting and ending.
    pub server: ServerOptions,
    /// The routes in the order in which they are tried, with their handlers.
    pub routes: Vec<(Route, HandlerSource)>,
}

/// One place to listen, and what is expected there before HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where.
    pub address: ListenAddress,
    /// TLS, with the configuration's certificates.
    pub tls: bool,
    /// Each connection begins with a PROXY header, version 2.
    pub proxy_protocol: bool,
    /// The mode of a Unix socket's file; without it, what the umask leaves.
    pub mode: Option<u32>,
}

impl ListenerConfig {
    /// Plain HTTP.
    pub fn plain(address: ListenAddress) -> Self {
        Self { address, tls: false, proxy_protocol: false, mode: None }
    }
}

/// Which page is served at `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageChoice {
    /// None.
    Off,
    /// The host's own.
    Own,
    /// A file of the operator's.
    File(PathBuf),
}

/// A configuration that cannot be used. Correct the file and start again.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot be read: {error}", .file.display())]
    Read {
        /// The configuration file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML, or a key or a value is wrong.
    #[error("{}{}: {message}", .file.display(), .line.map(|line| format!(":{line}")).unwrap_or_default())]
    Wrong {
        /// The configuration file.
        file: PathBuf,
        /// The line, if it is known.
        line: Option<usize>,
        /// Key, value and a hint.
        message: String,
    },
}

/// The default address.
pub const DEFAULT_LISTEN: ListenAddress =
    ListenAddress::Tcp(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8888));
/// The default path of a single handler.
pub const DEFAULT_PATH: &str = "/websocket";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileTable {
    listen: Option<Parsed<ListenAddress>>,
    #[serde(default)]
    listener: Vec<ListenerTable>,
    #[serde(default)]
    certificate: Vec<CertificateTable>,
    trusted_proxies: Option<ProxiesValue>,
    page: Option<PageValue>,
    grace: Option<Written<Duration>>,
    handshake_timeout: Option<Written<Duration>>,
    max_connections: Option<u32>,
    max_connections_per_address: Option<u32>,
    max_instances: Option<u32>,
    cache: Option<CacheValue>,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    route: IndexMap<String, RouteTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ListenerTable {
    address: Parsed<ListenAddress>,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    proxy_protocol: bool,
    mode: Option<Parsed<Mode>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CertificateTable {
    certificate: PathBuf,
    key: PathBuf,
}

/// A text that says something else.
#[derive(Deserialize)]
#[serde(try_from = "String", bound(deserialize = "T: FromStr, T::Err: fmt::Display"))]
struct Parsed<T>(T);

impl<T: FromStr> TryFrom<String> for Parsed<T> {
    type Error = T::Err;

    fn try_from(text: String) -> Result<Self, T::Err> {
        text.parse().map(Self)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "Vec<String>")]
struct ProxiesValue(TrustedProxies);

impl TryFrom<Vec<String>> for ProxiesValue {
    type Error = TrustedProxyError;

    fn try_from(proxies: Vec<String>) -> Result<Self, TrustedProxyError> {
        TrustedProxies::new(proxies).map(Self)
    }
}

/// A file's mode, as `chmod` takes it.
struct Mode(u32);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.map(Self).ok_or_else(|| format!("`{text}` is no mode: three octal digits such as \"0660\""))
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`page` is true, false or the path of an HTML file")]
enum PageValue {
    OnOff(bool),
    File(PathBuf),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`cache` is false or the path of a folder")]
enum CacheValue {
    OnOff(bool),
    Folder(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RouteTable {
    path: String,
    handler: PathBuf,
    instance: Option<String>,
    hosts: Option<Vec<String>>,
    origins: Option<Vec<String>>,
    subprotocols: Option<Vec<String>>,
    compression: Option<CompressionValue>,
    connect: Option<Vec<String>>,
    connect_ca: Option<PathBuf>,
    #[serde(default)]
    slow_consumer: SlowConsumer,
    #[serde(default)]
    config: BTreeMap<String, String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    html: bool,
    #[serde(default)]
    set_cookie: bool,
    #[serde(default)]
    limits: LimitsTable,
}

/// `compression = false`, or a table.
enum CompressionValue {
    OnOff(bool),
    Table(CompressionTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CompressionTable {
    context_takeover: Option<bool>,
    // Wider than they may be, so that a mistake is told in our words.
    max_window_bits: Option<i64>,
    max_level: Option<i64>,
    threshold: Option<Written<usize>>,
}

/// By hand rather than untagged, so that a mistake in the table is told as anywhere else.
impl<'de> Deserialize<'de> for CompressionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnOffOrTable;
        impl<'de> Visitor<'de> for OnOffOrTable {
            type Value = CompressionValue;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`compression` to be true, false or a table")
            }

            fn visit_bool<E>(self, on: bool) -> Result<CompressionValue, E> {
                Ok(CompressionValue::OnOff(on))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<CompressionValue, A::Error> {
                CompressionTable::deserialize(MapAccessDeserializer::new(table)).map(CompressionValue::Table)
            }
        }
        deserializer.deserialize_any(OnOffOrTable)
    }
}

/// A number of the file as what it stands for.
fn narrow<T: TryFrom<u8>>(key: &'static str, value: i64, range: &str) -> Result<T, Mistake> {
    let narrow = u8::try_from(value).ok().and_then(|value| T::try_from(value).ok());
    narrow.ok_or_else(|| Mistake::new(key, value, format!("it is {range}")))
}

impl CompressionTable {
    fn into_policy(self) -> Result<CompressionPolicy, Mistake> {
        let default = CompressionPolicy::default();
        let max_window_bits = match self.max_window_bits {
            None => default.max_window_bits,
            Some(bits) => narrow("max-window-bits", bits, "9 to 15")?,
        };
        let max_level = match self.max_level {
            None => default.max_level,
            Some(level) => narrow("max-level", level, "0 to 9")?,
        };
        Ok(CompressionPolicy {
            context_takeover: self.context_takeover.unwrap_or(default.context_takeover),
            max_window_bits,
            max_level,
            threshold: self.threshold.map(|Written(bytes)| bytes),
        })
    }
}

impl Config {
    /// What the program serves without a configuration file: one handler on one path, on loopback.
    pub fn single(route: Route, handler: HandlerSource, listen: ListenAddress) -> Self {
        let hosts = Hosts::default_for(listen.is_local());
        Self {
            listeners: vec![ListenerConfig::plain(listen)],
            certificates: Vec::new(),
            page: PageChoice::Own,
            runtime: RuntimeOptions { cache: CacheFolders::of_user(), ..RuntimeOptions::default() },
            server: ServerOptions::default(),
            routes: vec![(Route { hosts, ..route }, handler)],
        }
    }

    /// Reads a configuration file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
        Self::from_file_on(file, None)
    }

    /// The same, listening on `listen`, without TLS, instead of where the file says.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_file_on(file: &Path, listen: Option<ListenAddress>) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(file).map_err(|error| ConfigError::Read { file: file.into(), error })?;
        Self::from_text(&text, file, listen)
    }

    fn from_text(text: &str, file: &Path, listen: Option<ListenAddress>) -> Result<Self, ConfigError> {
        let wrong = |line, message| ConfigError::Wrong { file: file.into(), line, message };
        let table: FileTable = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            wrong(
                line,
                explain(
                    error.message(),
                    line.and_then(|line| text.lines().nth(line - 1)).unwrap_or_default(),
                ),
            )
        })?;
        for (key, value) in [
            ("max-connections", table.max_connections),
            ("max-connections-per-address", table.max_connections_per_address),
            ("max-instances", table.max_instances),
        ] {
            if value == Some(0) {
                return Err(wrong(None, format!("`{key} = 0` would serve nobody: at least 1")));
            }
        }
        let handshake_timeout = table.handshake_timeout.map(|Written(timeout)| timeout);
        if handshake_timeout
            .is_some_and(|timeout| !(MIN_HANDSHAKE_TIMEOUT..=MAX_HANDSHAKE_TIMEOUT).contains(&timeout))
        {
            return Err(wrong(
                line_of_top_key(text, "handshake-timeout"),
                "`handshake-timeout` must be 100ms to 1h".into(),
            ));
        }
        let folder = file.parent().unwrap_or(Path::new("."));
        let of_file = listen.is_none();
        let listeners = listeners(listen, table.listen, table.listener);
        let certificates: Vec<CertificateFiles> = table
            .certificate
            .into_iter()
            .map(|CertificateTable { certificate, key }| CertificateFiles {
                certificate: folder.join(certificate),
                key: folder.join(key),
            })
            .collect();
        if certificates.is_empty() && listeners.iter().any(|listener| listener.tls) {
            return Err(wrong(
                line_of_top_key(text, "tls"),
                "`tls = true` needs a certificate: add `[[certificate]]` with `certificate` and `key`".into(),
            ));
        }
        if of_file && !certificates.is_empty() && !listeners.iter().any(|listener| listener.tls) {
            return Err(wrong(
                line_of_top_key(text, "certificate"),
                "there are certificates, and no listener with `tls = true`: everything would go unencrypted"
                    .into(),
            ));
        }
        if let Some(listener) = listeners
            .iter()
            .find(|listener| listener.mode.is_some() && !matches!(listener.address, ListenAddress::Unix(_)))
        {
            return Err(wrong(
                line_of_top_key(text, "mode"),
                format!("`mode` is for the file of a `unix:` address, not for `{}`", listener.address),
            ));
        }
        // Which host names a route answers to by default depends on it.
        let hosts = Hosts::default_for(listeners.iter().all(|listener| listener.address.is_local()));
        let mut limits = Limits::default();
        table.limits.apply_to(&mut limits);
        if table.route.is_empty() {
            return Err(wrong(
                None,
                "there is no route: add a table such as `[route.chat]` with `path` and `handler`".into(),
            ));
        }
        let mut routes = Vec::new();
        for (name, route) in table.route {
            let handler = HandlerSource::File(folder.join(&route.handler));
            let route =
                route.into_route(&name, &limits, &hosts, folder).map_err(|Mistake { key, message }| {
                    wrong(line_of_key(text, &name, key), format!("in route `{name}`: {message}"))
                })?;
            routes.push((route, handler));
        }
        let defaults = ServerOptions::default();
        Ok(Self {
            listeners,
            certificates,
            page: match table.page {
                None | Some(PageValue::OnOff(false)) => PageChoice::Off,
                Some(PageValue::OnOff(true)) => PageChoice::Own,
                Some(PageValue::File(path)) => PageChoice::File(folder.join(path)),
            },
            runtime: RuntimeOptions {
                max_instances: table.max_instances.unwrap_or(RuntimeOptions::default().max_instances),
                cache: match table.cache {
                    None | Some(CacheValue::OnOff(true)) => CacheFolders::of_user(),
                    Some(CacheValue::OnOff(false)) => None,
                    Some(CacheValue::Folder(path)) => {
                        let cache = folder.join(path);
                        let state = CacheFolders::of_user()
                            .map_or_else(|| cache.with_extension("state"), |of_user| of_user.state);
                        Some(CacheFolders { cache, state })
                    }
                },
            },
            server: ServerOptions {
                max_connections: table.max_connections.unwrap_or(defaults.max_connections),
                max_connections_per_address: table
                    .max_connections_per_address
                    .unwrap_or(defaults.max_connections_per_address),
                handshake_timeout: handshake_timeout.unwrap_or(defaults.handshake_timeout),
                trusted_proxies: table
                    .trusted_proxies
                    .map(|ProxiesValue(proxies)| proxies)
                    .unwrap_or_default(),
                grace: table.grace.map_or(defaults.grace, |Written(grace)| grace),
            },
            routes,
        })
    }
}

/// Shorter would refuse good peers, longer would not protect.
const MIN_HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(100);
const MAX_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What an argument says, or else the file, or else the default.
fn listeners(
    argument: Option<ListenAddress>,
    listen: Option<Parsed<ListenAddress>>,
    tables: Vec<ListenerTable>,
) -> Vec<ListenerConfig> {
    if let Some(address) = argument {
        return vec![ListenerConfig::plain(address)];
    }
    let listen = match listen {
        Some(Parsed(address)) => Some(address),
        None if tables.is_empty() => Some(DEFAULT_LISTEN),
        None => None,
    };
    let tables = tables.into_iter().map(|table| ListenerConfig {
        address: table.address.0,
        tls: table.tls,
        proxy_protocol: table.proxy_protocol,
        mode: table.mode.map(|Parsed(Mode(mode))| mode),
    });
    listen.map(ListenerConfig::plain).into_iter().chain(tables).collect()
}

/// What is wrong with one key of a route.
struct Mistake {
    key: &'static str,
    message: String,
}

impl Mistake {
    /// A wrong value of one line.
    fn new(key: &'static str, value: impl std::fmt::Debug, error: impl std::fmt::Display) -> Self {
        Self { key, message: format!("`{key} = {value:?}`: {error}") }
    }

    /// A wrong value among several.
    fn among(key: &'static str, error: impl std::fmt::Display) -> Self {
        Self { key, message: format!("`{key}`: {error}") }
    }
}

impl RouteTable {
    fn into_route(
        self,
        name: &str,
        limits: &Limits,
        default_hosts: &Hosts,
        folder: &Path,
    ) -> Result<Route, Mistake> {
        let pattern = Pattern::new(&self.path).map_err(|error| Mistake::new("path", &self.path, error))?;
        let policy = match &self.instance {
            None => InstancePolicy::Connection,
            Some(text) => {
                InstancePolicy::new(text, &pattern).map_err(|error| Mistake::new("instance", text, error))?
            }
        };
        let mut limits = limits.clone();
        self.limits.apply_to(&mut limits);
        if let Some((key, message)) = limits.contradiction() {
            return Err(Mistake { key, message });
        }
        let origins = match self.origins {
            None => Origins::Same,
            Some(origins) => Origins::listed(&origins).map_err(|error| Mistake::among("origins", error))?,
        };
        let hosts = match self.hosts {
            None => default_hosts.clone(),
            Some(hosts) => Hosts::listed(&hosts).map_err(|error| Mistake::among("hosts", error))?,
        };
        let compression = match self.compression {
            None | Some(CompressionValue::OnOff(true)) => Some(CompressionPolicy::default()),
            Some(CompressionValue::OnOff(false)) => None,
            Some(CompressionValue::Table(table)) => Some(table.into_policy()?),
        };
        let connect = Destinations::listed(&self.connect.unwrap_or_default())
            .map_err(|error| Mistake::among("connect", error))?;
        let connect_ca = match &self.connect_ca {
            None => None,
            Some(file) => {
                let mistaken = |error: &dyn fmt::Display| Mistake::new("connect-ca", file, error);
                let bundle = std::fs::read(folder.join(file))
                    .map_err(|error| mistaken(&format_args!("cannot be read: {error}")))?;
                Some(Roots::from_pem(&bundle).map_err(|error| mistaken(&error))?)
            }
        };
        // What an environment cannot hold would reach the handler as something else.
        let odd = |(name, value): &(&String, &String)| {
            name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
        };
        if let Some((name, _)) = self.environment.iter().find(odd) {
            return Err(Mistake::among(
                "environment",
                format!("`{}` cannot be a variable", name.escape_default()),
            ));
        }
        if let Some(subprotocol) =
            self.subprotocols.iter().flatten().find(|subprotocol| !crate::handshake::is_token(subprotocol))
        {
            let error = format!("`{subprotocol}` is no subprotocol: a token such as `v2.chat`");
            return Err(Mistake::among("subprotocols", error));
        }
        Ok(Route {
            policy,
            hosts,
            origins,
            subprotocols: self.subprotocols,
            compression,
            connect,
            connect_ca,
            slow_consumer: self.slow_consumer,
            limits,
            config: self.config,
            environment: self.environment,
            html: self.html,
            set_cookie: self.set_cookie,
            ..Route::new(name, pattern)
        })
    }
}

/// The first line on which a key stands that is no route's.
fn line_of_top_key(text: &str, key: &str) -> Option<usize> {
    let stands = |line: &str| {
        line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().position(stands).map(|at| at + 1)
}

/// The line on which a route's key stands; none if it was set elsewhere.
fn line_of_key(text: &str, route: &str, key: &str) -> Option<usize> {
    let header = format!("[route.{route}");
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

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1
}

/// Adds the nearest right key, or the line with key and value, to what serde says.
fn explain(message: &str, at: &str) -> String {
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
            _ => format!("the certificate has no `{missing}`"),
        };
    }
    let line = at.trim();
    let message = message.lines().next().unwrap_or_default();
    if line.is_empty() { message.to_owned() } else { format!("`{line}`: {message}") }
}

/// `; did you mean ...?` if one of the known names is near.
pub(crate) fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::{Level, WindowBits};

    fn read(text: &str) -> Result<Config, String> {
        Config::from_text(text, Path::new("conf/waterspout.toml"), None).map_err(|error| error.to_string())
    }

    fn mistake(text: &str) -> String {
        read(text).expect_err("a mistake")
    }

    const ROUTE: &str = "[route.chat]\npath = '/chat/{room}'\nhandler = 'chat.wasm'\n";

    #[test]
    fn a_route_needs_only_path_and_handler() {
        let config = read(ROUTE).expect("valid");
        let (route, handler) = &config.routes[0];
        assert_eq!(route.name, "chat");
        assert_eq!(route.policy, InstancePolicy::Connection);
        assert_eq!(route.hosts, Hosts::Loopback);
        assert_eq!(*handler, HandlerSource::File("conf/chat.wasm".into()));
        assert_eq!(config.listeners, [ListenerConfig::plain(DEFAULT_LISTEN)]);
        assert_eq!(config.page, PageChoice::Off);
    }

    #[test]
    fn a_routes_limits_stand_on_the_files() {
        let text = format!(
            "[limits]\nmax-message-bytes = '1KiB'\nmax-timers = 1\n{ROUTE}[route.chat.limits]\nmax-timers = 2"
        );
        let config = read(&text).expect("valid");
        let limits = &config.routes[0].0.limits;
        assert_eq!((limits.max_message_bytes, limits.max_timers), (1024, 2));
    }

    #[test]
    fn routes_keep_the_files_order() {
        let text = "[route.z]\npath='/a'\nhandler='x'\n[route.a]\npath='/a'\nhandler='x'\n[route.m]\npath='/a'\nhandler='x'\n";
        let names: Vec<_> =
            read(text).expect("valid").routes.into_iter().map(|(route, _)| route.name).collect();
        assert_eq!(names, ["z", "a", "m"]);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
        let error = mistake(&format!("{ROUTE}instanse = 'route'\n"));
        assert!(
            error.starts_with("conf/waterspout.toml:4: unknown key `instanse`; did you mean `instance`?"),
            "{error}"
        );
        let error = mistake(&format!("{ROUTE}[route.chat.limits]\nmax-message-byte = 1\n"));
        assert!(
            error.contains(":5: unknown key `max-message-byte`; did you mean `max-message-bytes`?"),
            "{error}"
        );
        let error = mistake(&format!("listne = '127.0.0.1:1'\n{ROUTE}"));
        assert!(error.contains(":1: unknown key `listne`; did you mean `listen`?"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_shown_with_what_would_be_right() {
        let error = mistake(&format!("{ROUTE}[route.chat.limits]\ncpu-per-event = 'soon'\n"));
        assert!(error.contains(":5: `cpu-per-event = 'soon'`") && error.contains("50ms"), "{error}");
        let error = mistake(&format!("listen = 'here'\n{ROUTE}"));
        assert!(error.contains(":1:") && error.contains("here"), "{error}");
        let error = mistake(&format!("page = 3\n{ROUTE}"));
        assert!(error.contains("true, false or the path"), "{error}");
    }

    #[test]
    fn a_wrong_value_within_a_route_names_route_key_and_value() {
        let error = mistake(&format!("{ROUTE}instance = '{{rom}}'\n"));
        assert!(
            error.contains(":4: in route `chat`: `instance = \"{rom}\"`") && error.contains("`room`"),
            "{error}"
        );
        let error = mistake("[route.a]\npath = 'chat'\nhandler = 'x'\n");
        assert!(error.contains("`path = \"chat\"`: a path begins with `/`"), "{error}");
        let error = mistake(&format!("{ROUTE}origins = ['example.com']\n"));
        assert!(error.contains("https://example.com"), "{error}");
        let error = mistake(&format!("{ROUTE}environment = {{ 'a=b' = 'c' }}\n"));
        assert!(error.contains(":4:") && error.contains("`a=b` cannot be a variable"), "{error}");
        let error = mistake(&format!("{ROUTE}hosts = ['example.com:80']\n"));
        assert!(error.contains("without port"), "{error}");
        let error = mistake(&format!("{ROUTE}[route.chat.limits]\nwall-per-event = '10ms'\n"));
        assert!(error.contains(":5:") && error.contains("wall-per-event"), "{error}");
        let error = mistake(&format!("{ROUTE}[route.chat.limits]\nmax-memory-bytes = '5GiB'\n"));
        assert!(error.contains("max-memory-bytes"), "{error}");
        let error = mistake(&format!("max-connections = 0\n{ROUTE}"));
        assert!(error.contains("`max-connections = 0`"), "{error}");
    }

    #[test]
    fn compression_is_on_off_or_a_table() {
        let policy =
            |text: &str| read(&format!("{ROUTE}{text}\n")).expect("valid").routes[0].0.compression.clone();
        assert_eq!(policy(""), Some(CompressionPolicy::default()));
        assert_eq!(policy("compression = true"), Some(CompressionPolicy::default()));
        assert_eq!(policy("compression = false"), None);
        let table = "[route.chat.compression]\ncontext-takeover = false\nmax-window-bits = 9\nmax-level = 3\nthreshold = '1KiB'";
        let expected = CompressionPolicy {
            context_takeover: false,
            max_window_bits: WindowBits::MIN,
            max_level: Level::try_from(3).expect("a level"),
            threshold: Some(1024),
        };
        assert_eq!(policy(table), Some(expected));
    }

    #[test]
    fn a_mistake_in_compression_is_named() {
        let error = mistake(&format!("{ROUTE}[route.chat.compression]\nmax-window-bits = 8\n"));
        assert!(
            error.contains(":5:") && error.contains("`max-window-bits = 8`") && error.contains("9 to 15"),
            "{error}"
        );
        for wrong in ["max-level = -1", "max-level = 10", "max-window-bits = 300"] {
            let error = mistake(&format!("{ROUTE}[route.chat.compression]\n{wrong}\n"));
            assert!(error.contains(&format!("`{wrong}`: it is ")), "{error}");
        }
        let error = mistake(&format!("{ROUTE}[route.chat.limits]\nmax-compression-bytes = 1000\n"));
        assert!(error.contains("compression = false"), "{error}");
        let error = mistake(&format!("{ROUTE}[route.chat.compression]\ntreshold = 8\n"));
        assert!(error.contains("unknown key `treshold`; did you mean `threshold`?"), "{error}");
        let error = mistake(&format!("{ROUTE}compression = 3\n"));
        assert!(error.contains(":4:") && error.contains("true, false or a table"), "{error}");
    }

    #[test]
    fn a_file_without_a_route_or_a_route_without_a_handler_says_so() {
        assert!(mistake("").contains("there is no route"));
        assert!(mistake("[route.a]\npath = '/'\n").contains("the route has no `handler`"));
        assert!(mistake("[route.a\n").starts_with("conf/waterspout.toml:1:"));
    }

    #[test]
    fn the_default_host_names_follow_the_address_that_is_bound() {
        let hosts = |listen: &str| {
            let listen = Some(listen.parse().expect("an address"));
            let text = format!("listen = '0.0.0.0:80'\n{ROUTE}");
            let config = Config::from_text(&text, Path::new("f"), listen).expect("valid");
            config.routes[0].0.hosts.clone()
        };
        assert_eq!(hosts("127.0.0.1:1"), Hosts::Loopback);
        assert_eq!(hosts("0.0.0.0:1"), Hosts::Any);
    }

    #[test]
    fn listeners_stand_beside_listen_and_replace_its_default() {
        let listener = "[[listener]]\naddress = 'unix:/run/w.sock'\nmode = '0660'\nproxy-protocol = true\n";
        let config = read(&format!("{listener}{ROUTE}")).expect("valid");
        let unix = ListenerConfig {
            address: ListenAddress::Unix("/run/w.sock".into()),
            tls: false,
            proxy_protocol: true,
            mode: Some(0o660),
        };
        assert_eq!(config.listeners, std::slice::from_ref(&unix));
        assert_eq!(config.routes[0].0.hosts, Hosts::Loopback);
        let config = read(&format!("listen = '0.0.0.0:80'\n{listener}{ROUTE}")).expect("valid");
        let tcp = ListenerConfig::plain("0.0.0.0:80".parse().expect("an address"));
        assert_eq!(config.listeners, [tcp, unix]);
        assert_eq!(config.routes[0].0.hosts, Hosts::Any, "one listener is not local");
    }

    #[test]
    fn a_mistake_in_a_listener_or_a_certificate_is_named() {
        for (text, line, why) in [
            ("[[listener]]\naddress = 'here'\n", ":2:", "unix:/path/to.sock"),
            ("[[listener]]\ntls = true\n", ":1:", "the listener has no `address`"),
            ("[[listener]]\naddress = 'systemd'\nmode = '999'\n", ":3:", "0660"),
            ("[[listener]]\naddress = 'systemd'\ntls = true\n", ":3:", "[[certificate]]"),
            ("[[certificate]]\ncertificate = 'x.pem'\n", ":1:", "the certificate has no `key`"),
            ("[[listener]]\naddress = 'systemd'\nmod = '0660'\n", ":3:", "did you mean `mode`?"),
            ("trusted-proxies = ['10.0.0.0/33']\n", ":1:", "10.0.0.0/8"),
            ("handshake-timeout = '0s'\n", ":1:", "100ms to 1h"),
            ("max-connections-per-address = 0\n", ":", "at least 1"),
            ("[[certificate]]\ncertificate = 'a'\nkey = 'b'\n", ":", "no listener with `tls = true`"),
            ("[[listener]]\naddress = '127.0.0.1:1'\nmode = '0660'\n", ":3:", "`unix:` address"),
        ] {
            let error = mistake(&format!("{text}{ROUTE}"));
            assert!(error.contains(line) && error.contains(why), "{error}");
        }
    }

    #[test]
    fn certificates_are_files_beside_the_configuration() {
        let text = format!(
            "trusted-proxies = ['10.0.0.0/8', 'unix']\nhandshake-timeout = '3s'\n\
             [[listener]]\naddress = '[::]:443'\ntls = true\n\
             [[certificate]]\ncertificate = 'chain.pem'\nkey = 'key.pem'\n{ROUTE}"
        );
        let config = read(&text).expect("valid");
        let files = CertificateFiles { certificate: "conf/chain.pem".into(), key: "conf/key.pem".into() };
        assert_eq!(config.certificates, [files]);
        assert_eq!(config.server.trusted_proxies.to_string(), "10.0.0.0/8, unix");
        assert_eq!(config.server.handshake_timeout, Duration::from_secs(3));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Config::from_file(Path::new("no-such-file.toml")).expect_err("missing").to_string();
        assert!(error.contains("no-such-file.toml"), "{error}");
    }

    #[test]
    fn the_documentation_has_every_key() {
        let page = include_str!("../../docs/configuration.md");
        let compression = format!("{ROUTE}[route.chat.compression]\nnonsense = 1\n");
        let listener = format!("[[listener]]\naddress = 'systemd'\nnonsense = 1\n{ROUTE}");
        let certificate = format!("[[certificate]]\ncertificate = 'x'\nkey = 'x'\nnonsense = 1\n{ROUTE}");
        let tables = [compression, listener, certificate];
        for text in ["nonsense = 1\n".to_owned(), format!("{ROUTE}nonsense = 1\n")].into_iter().chain(tables)
        {
            let error = mistake(&text);
            let (_, keys) = error.split_once("(there are: ").expect("the known keys");
            for key in keys.trim_end_matches(')').split(", ") {
                assert!(page.contains(&format!("| `{key}` |")), "docs/configuration.md lacks `{key}`");
            }
        }
    }
}
