//! The file's tables and values as they are written.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;

use super::admin::AdminTable;
use super::route::RouteTable;
use super::tenant::TenantTable;
use crate::compiler::CompileTable;
use crate::limits::LimitsTable;
use crate::server::listener::ListenAddress;
use crate::server::proxies::{TrustedProxies, TrustedProxyError};
use crate::units::{Limit, Needed, Reason};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileTable {
    pub(super) listen: Option<Parsed<ListenAddress>>,
    #[serde(default)]
    pub(super) listener: Vec<ListenerTable>,
    #[serde(default)]
    pub(super) certificate: Vec<CertificateTable>,
    pub(super) trusted_proxies: Option<ProxiesValue>,
    pub(super) page: Option<PageValue>,
    pub(super) grace: Option<Limit<Duration>>,
    pub(super) takeover_drain: Option<Limit<Option<Duration>>>,
    pub(super) takeover_timeout: Option<Limit<Duration>>,
    pub(super) handshake_timeout: Option<Needed<Duration, KeepsAPlace>>,
    pub(super) max_connections: Option<Limit<u32>>,
    pub(super) max_connections_per_address: Option<Limit<u32>>,
    pub(super) max_handshakes_per_address: Option<Limit<u32>>,
    pub(super) max_instances: Option<Needed<u32, SetAside>>,
    pub(super) max_memory_bytes: Option<Limit<usize>>,
    pub(super) cache: Option<CacheValue>,
    pub(super) max_cache_bytes: Option<Limit<usize>>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) admin: Option<AdminTable>,
    #[serde(default)]
    pub(super) compile: CompileTable,
    #[serde(default)]
    pub(super) sandbox: bool,
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) limits: LimitsTable,
    #[serde(default)]
    pub(super) route: IndexMap<String, RouteTable>,
    #[serde(default)]
    pub(super) tenant: IndexMap<String, TenantTable>,
}

/// Of `handshake-timeout`.
pub(super) struct KeepsAPlace;

impl Reason for KeepsAPlace {
    const WHY: &'static str =
        "a peer that says nothing would keep its place among `max-connections` for ever; 100ms to 1h";
}

/// Of `max-instances`.
pub(super) struct SetAside;

impl Reason for SetAside {
    const WHY: &'static str =
        "address space is set aside for every instance at the start; systems usually allow some 10000";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ListenerTable {
    pub(super) address: Parsed<ListenAddress>,
    #[serde(default)]
    pub(super) tls: bool,
    #[serde(default)]
    pub(super) proxy_protocol: bool,
    pub(super) mode: Option<Parsed<Mode>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct CertificateTable {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// A text that says something else.
#[derive(Deserialize)]
#[serde(try_from = "String", bound(deserialize = "T: FromStr, T::Err: fmt::Display"))]
pub(super) struct Parsed<T>(pub(super) T);

impl<T: FromStr> TryFrom<String> for Parsed<T> {
    type Error = T::Err;

    fn try_from(text: String) -> Result<Self, T::Err> {
        text.parse().map(Self)
    }
}

#[derive(Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(super) struct ProxiesValue(pub(super) TrustedProxies);

impl TryFrom<Vec<String>> for ProxiesValue {
    type Error = TrustedProxyError;

    fn try_from(proxies: Vec<String>) -> Result<Self, TrustedProxyError> {
        TrustedProxies::new(proxies).map(Self)
    }
}

/// A file's mode, as `chmod` takes it.
pub(super) struct Mode(pub(super) u32);

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.map(Self).ok_or_else(|| format!("`{text}` is no mode: three octal digits such as \"0660\""))
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`page` is true, false or the path of an HTML file")]
pub(super) enum PageValue {
    OnOff(bool),
    File(PathBuf),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`cache` is false or the path of a folder")]
pub(super) enum CacheValue {
    OnOff(bool),
    Folder(PathBuf),
}
