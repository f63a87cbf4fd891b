//! One tenant's table: its bounds, what its routes have by default, and its routes.

use indexmap::IndexMap;
use serde::Deserialize;

use super::mistake::Mistake;
use super::route::{RouteDefaults, RouteTable};
use crate::client::destinations::Destinations;
use crate::limits::tenants::{DEFAULT_TENANT, Tenant};
use crate::limits::{LimitsTable, TenantLimits, TenantLimitsTable};
use crate::server::handshake::Hosts;
use crate::server::routes::Route;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TenantTable {
    hosts: Option<Vec<String>>,
    connect: Option<Vec<String>>,
    #[serde(default)]
    total: TenantLimitsTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    pub(super) route: IndexMap<String, RouteTable>,
}

impl TenantTable {
    /// What is said of the tenant itself; the routes are left.
    pub(super) fn defaults(&mut self, name: &str, of_file: &RouteDefaults) -> Result<RouteDefaults, Mistake> {
        if name == DEFAULT_TENANT {
            let why = format!("`{DEFAULT_TENANT}` are the routes without a tenant: choose another name");
            return Err(Mistake { key: "tenant", message: why });
        }
        if name.is_empty() {
            return Err(Mistake { key: "tenant", message: "a tenant needs a name".into() });
        }
        let mut defaults = of_file.clone();
        let mut total = TenantLimits::default();
        std::mem::take(&mut self.total).apply_to(&mut total);
        if let Some((key, message)) = total.contradiction() {
            return Err(Mistake { key, message });
        }
        defaults.tenant = Tenant { name: name.into(), total };
        std::mem::take(&mut self.limits).apply_to(&mut defaults.limits);
        if let Some(hosts) = &self.hosts {
            defaults.hosts = Hosts::listed(hosts).map_err(|error| Mistake::among("hosts", error))?;
        }
        if let Some(connect) = &self.connect {
            defaults.connect =
                Destinations::listed(connect).map_err(|error| Mistake::among("connect", error))?;
            defaults.connect_bound = Some(defaults.connect.clone());
        }
        Ok(defaults)
    }
}

/// Two tenants on one host name would be one origin to a browser, and could read each other's cookies and pages: the route and what is
/// wrong with its hosts.
pub(super) fn shared_hosts<'a>(
    routes: impl Iterator<Item = &'a Route> + Clone,
) -> Option<(&'a Route, String)> {
    let mut others = routes.clone();
    while let Some(route) = others.next() {
        let of_others = others.clone().filter(|other| other.tenant.name != route.tenant.name);
        for other in of_others {
            if let Some(name) = route.hosts.common(&other.hosts) {
                let message = format!(
                    "`hosts`: {name} would be answered for tenant `{}` (route `{}`) and for tenant `{}`; give each tenant its own `hosts`",
                    route.tenant.name, route.name, other.tenant.name
                );
                return Some((other, message));
            }
        }
    }
    None
}
