//! The configuration file: from text to what a server is made of. It is read in this one place.
//!
//! A mistake names file, line, key and value, and the nearest right key.

mod admin;
mod changes;
mod compression;
mod file;
mod mistake;
mod route;
mod tenant;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::changes::{Change, ChangeKind, Document};
use self::file::{
    CacheValue, CertificateTable, FileTable, ListenerTable, Mode, PageValue, Parsed, ProxiesValue,
};
use indexmap::IndexMap;

use self::mistake::{Mistake, explain, line_of, line_of_key, line_of_top_key};
use self::route::{RouteDefaults, RouteTable};
use crate::admin::AdminOptions;
use crate::client::destinations::Destinations;
use crate::compiler::{CompileLimits, Compiler};
use crate::handler::cache::CacheFolders;
use crate::handler::{HandlerSource, RuntimeOptions};
use crate::limits::Limits;
use crate::limits::tenants::Tenant;
use crate::regular_file::read_text;
use crate::server::admission::ServerOptions;
use crate::server::handshake::Hosts;
use crate::server::listener::ListenAddress;
use crate::server::routes::Route;
use crate::server::tls::CertificateFiles;
use crate::units::{Limit, Unit};

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
    /// What compiling one handler may use, for a program that has a [`ChildCompiler`](crate::ChildCompiler).
    pub compile: CompileLimits,
    /// Where what is deployed outlives the process. Default: nowhere.
    pub state_dir: Option<PathBuf>,
    /// Accepting and ending.
    pub server: ServerOptions,
    /// Where its operator asks. Default: nowhere.
    pub admin: Option<AdminOptions>,
    /// The routes in the order in which they are tried, with their handlers.
    pub routes: Vec<(Route, HandlerSource)>,
    /// The files that the routes' `connect-ca` named.
    pub authorities: Vec<PathBuf>,
    /// Whether the program confines itself before it serves; see [`crate::sandbox`].
    pub sandbox: bool,
    /// Whom it becomes then, if root starts it.
    pub user: Option<String>,
    /// How long a program may take, from its start on, until it can take this one's place; see [`crate::takeover`]. Default: 10 min.
    pub takeover_timeout: Duration,
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

impl Config {
    /// What the program serves without a configuration file: one handler on one path, on loopback.
    pub fn single(route: Route, handler: HandlerSource, listen: ListenAddress) -> Self {
        let hosts = Hosts::default_for(listen.is_local());
        Self {
            listeners: vec![ListenerConfig::plain(listen)],
            certificates: Vec::new(),
            page: PageChoice::Own,
            runtime: RuntimeOptions { cache: CacheFolders::of_user(), ..RuntimeOptions::default() },
            compile: CompileLimits::default(),
            state_dir: None,
            server: ServerOptions::default(),
            admin: None,
            routes: vec![(Route { hosts, ..route }, handler)],
            authorities: Vec::new(),
            sandbox: false,
            user: None,
            takeover_timeout: TAKEOVER_TIMEOUT,
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
        let text = read_text(file).map_err(|error| ConfigError::Read { file: file.into(), error })?;
        Self::from_text(&text, file, listen)
    }

    /// The server's own limits: keys and values as one would write them.
    pub fn shown_limits(&self) -> Vec<(String, String)> {
        let Self { server, runtime, .. } = self;
        [
            ("grace", server.grace.show()),
            ("handshake-timeout", server.handshake_timeout.show()),
            ("max-cache-bytes", runtime.max_cache_bytes.show()),
            ("max-connections", server.max_connections.show()),
            ("max-connections-per-address", server.max_connections_per_address.show()),
            ("max-handshakes-per-address", server.max_handshakes_per_address.show()),
            ("max-instances", runtime.max_instances.show()),
            ("max-memory-bytes", runtime.max_memory_bytes.show()),
            ("takeover-drain", server.takeover_drain.show()),
            ("takeover-timeout", self.takeover_timeout.show()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// What a file came to when it was read; `listen` is as in [`Config::from_file_on`].
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_document(
        document: &Document,
        file: &Path,
        listen: Option<ListenAddress>,
    ) -> Result<Self, ConfigError> {
        Self::from_text(document.text(), file, listen)
    }

    pub(crate) fn from_text(
        text: &str,
        file: &Path,
        listen: Option<ListenAddress>,
    ) -> Result<Self, ConfigError> {
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
        let count = |limit: &Option<Limit<u32>>| limit.as_ref().map(|Limit(count)| *count);
        let max_instances = table.max_instances.map(|needed| needed.0);
        for (key, value) in [
            ("max-connections", count(&table.max_connections)),
            ("max-connections-per-address", count(&table.max_connections_per_address)),
            ("max-handshakes-per-address", count(&table.max_handshakes_per_address)),
            ("max-instances", max_instances),
        ] {
            if value == Some(0) {
                return Err(wrong(None, format!("`{key} = 0` would serve nobody: at least 1")));
            }
        }
        let handshake_timeout = table.handshake_timeout.map(|needed| needed.0);
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
        let admin = table.admin.map(|admin| admin.into_options(folder)).transpose();
        let admin = admin.map_err(|Mistake { key, message }| {
            wrong(line_of_key(text, "admin", key), format!("in `[admin]`: {message}"))
        })?;
        // Which host names a route answers to by default depends on it.
        let hosts = Hosts::default_for(listeners.iter().all(|listener| listener.address.is_local()));
        let mut limits = Limits::default();
        table.limits.apply_to(&mut limits);
        let defaults = RouteDefaults {
            tenant: Tenant::default(),
            hosts,
            connect: Destinations::default(),
            connect_bound: None,
            limits,
        };
        let mut routes: Vec<(Route, HandlerSource)> = Vec::new();
        let mut authorities = Vec::new();
        let mut add = |tables: IndexMap<String, RouteTable>, below: &str, defaults: &RouteDefaults| {
            for (name, route) in tables {
                let at = format!("{below}route.{name}");
                let in_route = |Mistake { key, message }| {
                    wrong(line_of_key(text, &at, key), format!("in route `{name}`: {message}"))
                };
                if routes.iter().any(|(other, _)| other.name == name) {
                    let message =
                        "another route has this name: the names stand in logs and metrics".to_owned();
                    return Err(in_route(Mistake { key: "path", message }));
                }
                let handler = HandlerSource::File(folder.join(&route.handler));
                authorities.extend(route.connect_ca.as_ref().map(|file| folder.join(file)));
                routes.push((route.into_route(&name, defaults, folder).map_err(in_route)?, handler));
            }
            Ok(())
        };
        add(table.route, "", &defaults)?;
        for (name, mut tenant) in table.tenant {
            let at = format!("tenant.{name}");
            let defaults = tenant.defaults(&name, &defaults).map_err(|Mistake { key, message }| {
                wrong(line_of_key(text, &at, key), format!("in tenant `{name}`: {message}"))
            })?;
            add(tenant.route, &format!("{at}."), &defaults)?;
        }
        if routes.is_empty() {
            return Err(wrong(
                None,
                "there is no route: add a table such as `[route.chat]` with `path` and `handler`".into(),
            ));
        }
        if let Some((route, message)) = tenant::shared_hosts(routes.iter().map(|(route, _)| route)) {
            let line = [
                format!("tenant.{}.route.{}", route.tenant.name, route.name),
                format!("tenant.{}", route.tenant.name),
            ]
            .iter()
            .find_map(|at| line_of_key(text, at, "hosts"));
            return Err(wrong(line, format!("in route `{}`: {message}", route.name)));
        }
        let compile = table.compile.into_limits().map_err(|why| wrong(None, why.into()))?;
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
                max_instances: max_instances.unwrap_or(RuntimeOptions::default().max_instances),
                max_memory_bytes: table
                    .max_memory_bytes
                    .map_or_else(|| RuntimeOptions::default().max_memory_bytes, |Limit(bytes)| bytes),
                max_cache_bytes: table
                    .max_cache_bytes
                    .map_or_else(|| RuntimeOptions::default().max_cache_bytes, |Limit(bytes)| bytes),
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
                compiler: Compiler::default(),
            },
            compile,
            state_dir: table.state_dir.map(|path| folder.join(path)),
            server: ServerOptions {
                max_connections: count(&table.max_connections).unwrap_or(defaults.max_connections),
                max_connections_per_address: count(&table.max_connections_per_address)
                    .unwrap_or(defaults.max_connections_per_address),
                max_handshakes_per_address: count(&table.max_handshakes_per_address)
                    .unwrap_or(defaults.max_handshakes_per_address),
                handshake_timeout: handshake_timeout.unwrap_or(defaults.handshake_timeout),
                trusted_proxies: table
                    .trusted_proxies
                    .map(|ProxiesValue(proxies)| proxies)
                    .unwrap_or_default(),
                grace: table.grace.map_or(defaults.grace, |Limit(grace)| grace),
                takeover_drain: table.takeover_drain.map_or(defaults.takeover_drain, |Limit(time)| time),
            },
            admin,
            routes,
            authorities,
            sandbox: table.sandbox,
            user: table.user,
            takeover_timeout: table.takeover_timeout.map_or(TAKEOVER_TIMEOUT, |Limit(time)| time),
        })
    }
}

/// Long enough to compile large handlers anew, which another version of the program may have to.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(600);

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

#[cfg(test)]
mod tests;
