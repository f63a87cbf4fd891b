//! `GET /tenants`: every tenant with its limits, what it uses of them, and its routes.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Office;
use super::answers::{self, Answer};
use crate::endpoint::Endpoint;
use crate::server::Application;
use crate::tenants::Tenancy;

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

impl Office {
    pub(super) fn tenants(&self) -> Answer {
        let tenants: Vec<Value> = of(&self.application)
            .into_iter()
            .map(|(tenancy, endpoints)| tenant(tenancy, &endpoints))
            .collect();
        answers::json(&json!({ "tenants": tenants }))
    }
}

fn tenant(tenancy: &Tenancy, endpoints: &[&Arc<Endpoint>]) -> Value {
    let routes: Vec<Value> = endpoints.iter().map(|endpoint| route(endpoint)).collect();
    let connections: usize = endpoints.iter().map(|endpoint| endpoint.metrics.connections.count()).sum();
    let instances: usize = endpoints.iter().map(|endpoint| endpoint.live_instances()).sum();
    json!({
        "name": tenancy.name,
        "limits": limits(endpoints[0].route.tenant.total.shown()),
        "used": {
            "connections": connections,
            "instances": instances,
            "memory_bytes": tenancy.memory.used(),
            "cpu_seconds": tenancy.account.used().as_secs_f64(),
        },
        "routes": routes,
    })
}

fn route(endpoint: &Endpoint) -> Value {
    let Endpoint { route, metrics, .. } = endpoint;
    json!({
        "name": route.name,
        "path": route.pattern.as_str(),
        "limits": limits(route.limits.shown()),
        "used": { "connections": metrics.connections.count(), "instances": endpoint.live_instances() },
    })
}

/// As an operator would write them.
fn limits(shown: Vec<(String, String)>) -> Map<String, Value> {
    shown.into_iter().map(|(key, value)| (key, value.into())).collect()
}
