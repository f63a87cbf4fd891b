//! `GET /healthz`: whether every route has its handler. 503 if one has not, so that who only looks at the status sees it, too; the routes
//! that have one are served all the same.

use http::StatusCode;
use serde::Serialize;

use super::Office;
use super::answers::{self, Answer};
use crate::handler::endpoint::Endpoint;

#[derive(Serialize)]
struct Health<'a> {
    routes: usize,
    not_loaded: Vec<Missing<'a>>,
}

#[derive(Serialize)]
struct Missing<'a> {
    tenant: &'a str,
    route: &'a str,
    handler: String,
    error: String,
}

impl Office {
    pub(super) fn health(&self) -> Answer {
        let not_loaded: Vec<Missing<'_>> =
            self.application.endpoints().filter_map(|endpoint| missing(endpoint)).collect();
        let whole = not_loaded.is_empty();
        let mut answer = answers::json(&Health { routes: self.application.endpoints().count(), not_loaded });
        if !whole {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    }
}

fn missing(endpoint: &Endpoint) -> Option<Missing<'_>> {
    let missing = endpoint.versions.not_loaded()?;
    let (tenant, route) = (&endpoint.tenancy.name, &endpoint.route.name);
    Some(Missing { tenant, route, error: missing.why(), handler: missing.handler })
}
