//! `GET /tenants`: every tenant with its limits, what it uses of them, and its routes.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Serialize;

use super::Office;
use super::answers::{self, Answer};
use crate::handler::endpoint::Endpoint;
use crate::limits::tenants::Tenancy;
use crate::server::application::Application;

/// Every tenant with its routes, of which each has at least one.
pub(super) fn of(application: &Application) -> Vec<(&Arc<Tenancy>, Vec<&Arc<Endpoint>>)> {
    let mut tenants: Vec<(&Arc<Tenancy>, Vec<&Arc<Endpoint>>)> = Vec::new();
    for endpoint in application.endpoints() {
        match tenants.iter_mut().find(|(tenancy, _)| Arc::ptr_eq(tenancy, &endpoint.tenancy)) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => tenants.push((&endpoint.tenancy, vec![endpoint])),
        }
    }
    tenants
}

#[derive(Serialize)]
struct Tenants<'a> {
    tenants: Vec<Tenant<'a>>,
}

#[derive(Serialize)]
struct Tenant<'a> {
    name: &'a str,
    used: UsedByTenant,
    limits: Limits,
    routes: Vec<Route<'a>>,
}

#[derive(Serialize)]
struct UsedByTenant {
    connections: usize,
    instances: usize,
    memory_bytes: usize,
    cpu_seconds: f64,
}

#[derive(Serialize)]
struct Route<'a> {
    name: &'a str,
    path: &'a str,
    used: UsedByRoute,
    limits: Limits,
}

#[derive(Serialize)]
struct UsedByRoute {
    connections: usize,
    instances: usize,
    /// Units, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    fuel: Option<u64>,
}

/// As an operator would write them, in the reference's order.
type Limits = IndexMap<String, String>;

impl Office {
    pub(super) fn tenants(&self) -> Answer {
        let tenants = of(&self.application);
        let tenants = tenants.iter().map(|(tenancy, endpoints)| tenant(tenancy, endpoints)).collect();
        answers::json(&Tenants { tenants })
    }
}

fn tenant<'a>(tenancy: &'a Tenancy, endpoints: &[&'a Arc<Endpoint>]) -> Tenant<'a> {
    let routes: Vec<Route<'a>> = endpoints.iter().map(|endpoint| route(endpoint)).collect();
    Tenant {
        name: &tenancy.name,
        used: UsedByTenant {
            connections: routes.iter().map(|route| route.used.connections).sum(),
            instances: routes.iter().map(|route| route.used.instances).sum(),
            memory_bytes: tenancy.memory.used(),
            cpu_seconds: tenancy.account.used().as_secs_f64(),
        },
        limits: endpoints[0].route.tenant.total.shown().into_iter().collect(),
        routes,
    }
}

fn route(endpoint: &Endpoint) -> Route<'_> {
    let Endpoint { route, metrics, .. } = endpoint;
    Route {
        name: &route.name,
        path: route.pattern.as_str(),
        used: UsedByRoute {
            connections: metrics.connections.count(),
            instances: endpoint.live_instances(),
            fuel: route.limits.fuel_per_event.is_metered().then(|| metrics.fuel.total()),
        },
        limits: route.limits.shown().into_iter().collect(),
    }
}
