//! One route's table.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::compression::CompressionValue;
use super::mistake::Mistake;
use crate::client::Roots;
use crate::client::destinations::Destinations;
use crate::connection::compression::CompressionPolicy;
use crate::limits::tenants::Tenant;
use crate::limits::{Limits, LimitsTable, SlowConsumer};
use crate::regular_file::{self, MAX_TEXT_BYTES};
use crate::server::handshake::{Hosts, Origins};
use crate::server::routes::{InstancePolicy, MAX_SPARE_INSTANCES, Pattern, Route};
use crate::swap::{OnSwap, SwapPolicy};
use crate::units::{Limit, Written};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RouteTable {
    pub(super) path: String,
    pub(super) handler: PathBuf,
    pub(super) instance: Option<String>,
    pub(super) spare_instances: Option<u32>,
    pub(super) hosts: Option<Vec<String>>,
    pub(super) origins: Option<Vec<String>>,
    pub(super) subprotocols: Option<Vec<String>>,
    pub(super) compression: Option<CompressionValue>,
    pub(super) connect: Option<Vec<String>>,
    pub(super) connect_ca: Option<PathBuf>,
    #[serde(default)]
    pub(super) slow_consumer: SlowConsumer,
    pub(super) on_swap: Option<OnSwap>,
    pub(super) max_drain: Option<Limit<Option<Duration>>>,
    pub(super) spread: Option<Written<Duration>>,
    pub(super) max_swap_failures_percent: Option<u8>,
    pub(super) canary_time: Option<Written<Duration>>,
    pub(super) canary_addresses: Option<u32>,
    #[serde(default)]
    pub(super) config: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) html: bool,
    #[serde(default)]
    pub(super) set_cookie: bool,
    #[serde(default)]
    pub(super) limits: LimitsTable,
}

/// What a route has that does not say otherwise.
#[derive(Clone)]
pub(super) struct RouteDefaults {
    pub(super) tenant: Tenant,
    pub(super) hosts: Hosts,
    pub(super) connect: Destinations,
    /// What its own `connect` must stay within: its tenant's, if that has one.
    pub(super) connect_bound: Option<Destinations>,
    pub(super) limits: Limits,
}

impl RouteTable {
    fn swap_policy(&self) -> Result<SwapPolicy, Mistake> {
        let default = SwapPolicy::default();
        let policy = SwapPolicy {
            on_swap: self.on_swap.unwrap_or_default(),
            max_drain: self.max_drain.as_ref().map_or(default.max_drain, |Limit(time)| *time),
            spread: self.spread.as_ref().map_or(default.spread, |Written(time)| *time),
            canary_time: self.canary_time.as_ref().map_or(default.canary_time, |Written(time)| *time),
            canary_addresses: self.canary_addresses.unwrap_or(default.canary_addresses),
            max_failures_percent: self.max_swap_failures_percent.unwrap_or(default.max_failures_percent),
        };
        match policy.contradiction() {
            Some((key, message)) => Err(Mistake { key, message }),
            None => Ok(policy),
        }
    }

    /// `folder` is the file's.
    pub(super) fn into_route(
        self,
        name: &str,
        defaults: &RouteDefaults,
        folder: &Path,
    ) -> Result<Route, Mistake> {
        if name.is_empty() {
            return Err(Mistake { key: "path", message: "a route needs a name: `[route.NAME]`".into() });
        }
        let pattern = Pattern::new(&self.path).map_err(|error| Mistake::new("path", &self.path, error))?;
        let policy = match &self.instance {
            None => InstancePolicy::Connection,
            Some(text) => {
                InstancePolicy::new(text, &pattern).map_err(|error| Mistake::new("instance", text, error))?
            }
        };
        let swap = self.swap_policy()?;
        let of_canaries = self.canary_time.as_ref().map(|_| "canary-time");
        if policy == InstancePolicy::Route
            && let Some(key) = of_canaries.or(self.canary_addresses.map(|_| "canary-addresses"))
        {
            let error = "one instance serves the whole route (`instance = \"route\"`), so there are no canaries: remove it";
            return Err(Mistake::among(key, error));
        }
        let mut limits = defaults.limits.clone();
        self.limits.apply_to(&mut limits);
        if let Some((key, message)) = limits.contradiction() {
            return Err(Mistake { key, message });
        }
        let spare_instances = self.spare_instances.unwrap_or(0);
        if spare_instances > MAX_SPARE_INSTANCES {
            let error = format!("at most {MAX_SPARE_INSTANCES}: each is a live instance");
            return Err(Mistake::new("spare-instances", spare_instances, error));
        }
        if spare_instances > limits.max_instances {
            let error = format!(
                "more than the route's `max-instances` ({}), of which they are a part",
                limits.max_instances
            );
            return Err(Mistake::new("spare-instances", spare_instances, error));
        }
        let origins = match self.origins {
            None => Origins::Same,
            Some(origins) => Origins::listed(&origins).map_err(|error| Mistake::among("origins", error))?,
        };
        let hosts = match self.hosts {
            None => defaults.hosts.clone(),
            Some(hosts) => Hosts::listed(&hosts).map_err(|error| Mistake::among("hosts", error))?,
        };
        let compression = match self.compression {
            None | Some(CompressionValue::OnOff(true)) => Some(CompressionPolicy::default()),
            Some(CompressionValue::OnOff(false)) => None,
            Some(CompressionValue::Table(table)) => Some(table.into_policy()?),
        };
        let connect = match self.connect {
            None => defaults.connect.clone(),
            Some(listed) => {
                let listed =
                    Destinations::listed(&listed).map_err(|error| Mistake::among("connect", error))?;
                if let Some(bound) = &defaults.connect_bound
                    && let Some(outside) = bound.first_outside(&listed)
                {
                    let tenant = &defaults.tenant.name;
                    let allowed = if bound.is_empty() { "nothing".into() } else { bound.to_string() };
                    let error = format!(
                        "`{outside}` is not among what tenant `{tenant}` may connect to ({allowed}): a route may narrow its tenant's \
                         `connect`, not widen it; add it to `connect` of `[tenant.{tenant}]`, or remove it"
                    );
                    return Err(Mistake::among("connect", error));
                }
                listed
            }
        };
        let connect_ca = match &self.connect_ca {
            None => None,
            Some(file) => {
                let mistaken = |error: &dyn fmt::Display| Mistake::new("connect-ca", file, error);
                let bundle = regular_file::read(&folder.join(file), MAX_TEXT_BYTES)
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
        if let Some(subprotocol) = self
            .subprotocols
            .iter()
            .flatten()
            .find(|subprotocol| !crate::server::handshake::is_token(subprotocol))
        {
            let error = format!("`{subprotocol}` is no subprotocol: a token such as `v2.chat`");
            return Err(Mistake::among("subprotocols", error));
        }
        Ok(Route {
            policy,
            spare_instances,
            hosts,
            origins,
            subprotocols: self.subprotocols,
            compression,
            connect,
            connect_ca,
            slow_consumer: self.slow_consumer,
            swap,
            limits,
            tenant: defaults.tenant.clone(),
            config: self.config,
            environment: self.environment,
            html: self.html,
            set_cookie: self.set_cookie,
            ..Route::new(name, pattern)
        })
    }
}
