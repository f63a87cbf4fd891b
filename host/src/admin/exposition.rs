//! `GET /metrics`: every family of [`metrics`], by tenant and route.

use super::answers::{self, Answer};
use super::{Office, tenants};
use crate::connection::traffic::{FlowTotals, Totals};
use crate::metrics::{self, BUCKETS, CallKind, Exposition, Family, RouteMetrics};
use crate::server::listening::AT_ACCEPT;

/// A route's names and counts.
struct Counted<'a> {
    tenant: &'a str,
    route: &'a str,
    metrics: &'a RouteMetrics,
    loaded: bool,
    live_instances: usize,
    metered: bool,
    has_spares: bool,
}

impl Office {
    pub(super) fn exposition(&self) -> Answer {
        let mut exposition = Exposition::default();
        let routes: Vec<Counted<'_>> = self
            .application
            .endpoints()
            .map(|endpoint| Counted {
                tenant: &endpoint.tenancy.name,
                route: &endpoint.route.name,
                metrics: &endpoint.metrics,
                loaded: endpoint.versions.not_loaded().is_none(),
                live_instances: endpoint.live_instances(),
                metered: endpoint.route.limits.fuel_per_event.is_metered(),
                has_spares: endpoint.route.spare_instances > 0,
            })
            .collect();
        handshakes(&mut exposition, &routes, self.application.unrouted());
        connections(&mut exposition, &routes);
        guests(&mut exposition, &routes);
        let tenants = tenants::of(&self.application);
        let mut samples = exposition.family(&metrics::CPU_SECONDS);
        for (tenancy, _) in &tenants {
            samples.add(&[&tenancy.name], tenancy.account.used().as_secs_f64());
        }
        samples.add(&[""], self.application.strangers().account.used().as_secs_f64());
        let mut samples = exposition.family(&metrics::MEMORY_BYTES);
        for (tenancy, _) in &tenants {
            samples.add(&[&tenancy.name], tenancy.memory.used());
        }
        let mut samples = exposition.family(&metrics::MEMORY_LIMIT_BYTES);
        for (tenancy, endpoints) in &tenants {
            match endpoints[0].route.tenant.total.max_memory_bytes {
                usize::MAX => samples.add(&[&tenancy.name], "+Inf"),
                limit => samples.add(&[&tenancy.name], limit),
            }
        }
        exposition.family(&metrics::BUILD_INFO).add(&[env!("CARGO_PKG_VERSION")], 1);
        self.process.expose(&mut exposition);
        answers::text(Exposition::MEDIA_TYPE, exposition.into_text())
    }
}

fn handshakes(exposition: &mut Exposition, routes: &[Counted<'_>], unrouted: &RouteMetrics) {
    let mut samples = exposition.family(&metrics::CONNECTIONS_OPEN);
    for Counted { tenant, route, metrics, .. } in routes {
        samples.add(&[tenant, route], metrics.connections.count());
    }
    let mut samples = exposition.family(&metrics::HANDSHAKES);
    for Counted { tenant, route, metrics, .. } in routes {
        metrics.handshakes().for_each(|(status, count)| samples.add(&[tenant, route, status], count));
    }
    // Most statuses need a route.
    for (status, count) in unrouted.handshakes().filter(|(_, count)| *count > 0) {
        samples.add(&["", "", status], count);
    }
    let mut samples = exposition.family(&metrics::REFUSALS);
    // What can be met before there is a route is there from the start; the rest needs one.
    for (reached, count) in unrouted.refusals() {
        if count > 0 || AT_ACCEPT.contains(&reached) {
            samples.add(&["", "", reached.scope.label(), reached.limit], count);
        }
    }
    for Counted { tenant, route, metrics, .. } in routes {
        for (reached, count) in metrics.refusals() {
            samples.add(&[tenant, route, reached.scope.label(), reached.limit], count);
        }
    }
}

fn connections(exposition: &mut Exposition, routes: &[Counted<'_>]) {
    let mut samples = exposition.family(&metrics::CLOSES);
    for Counted { tenant, route, metrics, .. } in routes {
        metrics.closes().for_each(|(cause, count)| samples.add(&[tenant, route, cause], count));
    }
    let totals: Vec<_> =
        routes.iter().map(|counted| (counted, counted.metrics.connections.totals())).collect();
    flows(exposition, [&metrics::MESSAGES, &metrics::BYTES], &totals);
    let mut samples = exposition.family(&metrics::CLIENT_CONNECTIONS_OPEN);
    for Counted { tenant, route, metrics, .. } in routes {
        samples.add(&[tenant, route], metrics.clients.count());
    }
    let of_clients: Vec<_> =
        routes.iter().map(|counted| (counted, counted.metrics.clients.totals())).collect();
    flows(exposition, [&metrics::CLIENT_MESSAGES, &metrics::CLIENT_BYTES], &of_clients);
    let mut samples = exposition.family(&metrics::PUBLISHED_DROPS);
    for (Counted { tenant, route, .. }, totals) in &totals {
        samples.add(&[tenant, route], totals.published_drops);
    }
}

/// Messages and bytes, by direction.
fn flows(
    exposition: &mut Exposition,
    [messages, bytes]: [&'static Family; 2],
    totals: &[(&Counted<'_>, Totals)],
) {
    for (family, figure) in
        [(messages, (|flow| flow.messages) as fn(FlowTotals) -> u64), (bytes, |flow| flow.bytes)]
    {
        let mut samples = exposition.family(family);
        for (Counted { tenant, route, .. }, totals) in totals {
            samples.add(&[tenant, route, "received"], figure(totals.received));
            samples.add(&[tenant, route, "sent"], figure(totals.sent));
        }
    }
}

fn guests(exposition: &mut Exposition, routes: &[Counted<'_>]) {
    let mut samples = exposition.family(&metrics::GUEST_CALL_SECONDS);
    for Counted { tenant, route, metrics, .. } in routes {
        for kind in CallKind::ALL {
            let Some(distribution) = metrics.calls.distribution(kind) else { continue };
            let labels = [*tenant, *route, kind.label()];
            for ((_, bound), count) in BUCKETS.iter().zip(distribution.cumulative) {
                samples.add_with("_bucket", &labels, Some(bound), count);
            }
            samples.add_with("_sum", &labels, None, distribution.sum_seconds);
            samples.add_with("_count", &labels, None, distribution.cumulative[BUCKETS.len() - 1]);
        }
    }
    let mut samples = exposition.family(&metrics::TRAPS);
    for Counted { tenant, route, metrics, .. } in routes {
        metrics.traps().for_each(|(cause, count)| samples.add(&[tenant, route, cause], count));
    }
    let mut samples = exposition.family(&metrics::GUEST_FUEL);
    for Counted { tenant, route, metrics, .. } in routes.iter().filter(|counted| counted.metered) {
        samples.add(&[tenant, route], metrics.fuel.total());
    }
    let mut samples = exposition.family(&metrics::ROUTES_NOT_LOADED);
    for Counted { tenant, route, loaded, .. } in routes {
        samples.add(&[tenant, route], u8::from(!loaded));
    }
    let mut samples = exposition.family(&metrics::SWAPS);
    for Counted { tenant, route, metrics, .. } in routes {
        metrics.swaps.swaps().for_each(|(outcome, count)| samples.add(&[tenant, route, outcome], count));
    }
    let mut samples = exposition.family(&metrics::SWAP_CONNECTIONS);
    for Counted { tenant, route, metrics, .. } in routes {
        metrics
            .swaps
            .connections()
            .for_each(|(outcome, count)| samples.add(&[tenant, route, outcome], count));
    }
    let mut samples = exposition.family(&metrics::VERSION_CONNECTIONS);
    for Counted { tenant, route, metrics, .. } in routes {
        for (version, count) in metrics.connections.by_version() {
            samples.add(&[tenant, route, &version.to_string()], count);
        }
    }
    let mut samples = exposition.family(&metrics::INSTANCES_LIVE);
    for Counted { tenant, route, live_instances, .. } in routes {
        samples.add(&[tenant, route], live_instances);
    }
    let with_spares = || routes.iter().filter(|counted| counted.has_spares);
    let mut samples = exposition.family(&metrics::SPARE_INSTANCES);
    for Counted { tenant, route, metrics, .. } in with_spares() {
        samples.add(&[tenant, route], metrics.spares.ready());
    }
    let mut samples = exposition.family(&metrics::SPARE_TAKES);
    for Counted { tenant, route, metrics, .. } in with_spares() {
        metrics
            .spares
            .takes()
            .into_iter()
            .for_each(|(outcome, count)| samples.add(&[tenant, route, outcome], count));
    }
    let mut samples = exposition.family(&metrics::LOG_LINES_DROPPED);
    for Counted { tenant, route, metrics, .. } in routes {
        samples.add(&[tenant, route], metrics.dropped_log_lines());
    }
}
