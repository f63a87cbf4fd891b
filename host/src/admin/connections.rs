//! `/connections`: the open ones, page by page, and how they are kicked.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::Office;
use super::answers::{self, Answer, Problem};
use super::query::Query;
use crate::connection::close::CloseRequest;
use crate::connection::traffic::FlowTotals;
use crate::handler::endpoint::Endpoint;
use crate::metrics::Open;

/// How many connections a page has, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
/// Policy violation (RFC 6455 section 7.4.1): it fits whatever the reason.
const KICK_CODE: u16 = 1008;

impl Office {
    /// `GET /connections?tenant=&route=&limit=&after=`.
    pub(super) fn connections(&self, query: &str) -> Result<Answer, Problem> {
        let query = Query::parse(query, &["tenant", "route", "limit", "after"])?;
        let most: usize = query.number("limit")?.unwrap_or(PAGE);
        if !(1..=MAX_PAGE).contains(&most) {
            return Err(Problem::bad_request(format!("`limit={most}`: 1 to {MAX_PAGE}.")));
        }
        let after = query.text("after").map(parse_id).transpose()?;
        let mut page: Vec<(u128, Arc<Open>, &Endpoint)> = Vec::new();
        for endpoint in self.selected(&query)? {
            let of_route = endpoint.metrics.connections.page(after, most + 1);
            page.extend(of_route.into_iter().map(|(id, open)| (id, open, endpoint)));
            page.sort_unstable_by_key(|(id, ..)| *id);
            // One more than is shown tells whether there are more.
            page.truncate(most + 1);
        }
        let more = page.len() > most;
        page.truncate(most);
        let next = page.last().filter(|_| more).map(|(_, open, _)| open.link.id());
        let connections = page.iter().map(|(_, open, endpoint)| Shown::of(open, endpoint)).collect();
        Ok(answers::json(&Page { connections, next }))
    }

    /// `DELETE /connections/ID?code=&reason=`.
    pub(super) fn kick(&self, id: &str, query: &str) -> Result<Answer, Problem> {
        let query = Query::parse(query, &["code", "reason"])?;
        let frame = frame(&query)?;
        let number = parse_id(id)?;
        let found =
            self.application.endpoints().find_map(|endpoint| endpoint.metrics.connections.find(number));
        let open = found.ok_or_else(|| Problem::not_found("No open connection has this id."))?;
        open.kick(&frame);
        tracing::info!(connection = id, "kicked");
        Ok(answers::json(&Kicked { kicked: 1 }))
    }

    /// `DELETE /connections?tenant=&route=&code=&reason=`.
    pub(super) fn kick_several(&self, query: &str) -> Result<Answer, Problem> {
        let query = Query::parse(query, &["tenant", "route", "code", "reason"])?;
        if query.text("tenant").or(query.text("route")).is_none() {
            return Err(Problem::bad_request("Whose? Say `tenant=NAME` or `route=NAME`."));
        }
        let frame = frame(&query)?;
        let endpoints = self.selected(&query)?;
        let kicked: usize =
            endpoints.iter().map(|endpoint| endpoint.metrics.connections.kick_all(&frame)).sum();
        tracing::info!(
            connections = kicked,
            tenant = query.text("tenant"),
            route = query.text("route"),
            "kicked"
        );
        Ok(answers::json(&Kicked { kicked }))
    }

    /// The routes that `tenant` and `route` name; all if they name none.
    pub(super) fn selected(&self, query: &Query) -> Result<Vec<&Endpoint>, Problem> {
        let (tenant, route) = (query.text("tenant"), query.text("route"));
        let selects = |endpoint: &&Endpoint| {
            tenant.is_none_or(|tenant| tenant == endpoint.tenancy.name)
                && route.is_none_or(|route| route == endpoint.route.name)
        };
        let selected: Vec<&Endpoint> =
            self.application.endpoints().map(|endpoint| &**endpoint).filter(selects).collect();
        if selected.is_empty() {
            return Err(Problem::not_found("There is no such tenant or route; GET /tenants lists them."));
        }
        Ok(selected)
    }
}

/// What a kick sends.
fn frame(query: &Query) -> Result<CloseRequest, Problem> {
    let code = query.number("code")?.unwrap_or(KICK_CODE);
    let reason = query.text("reason").map(str::to_owned);
    CloseRequest::new(Some(code), reason).map_err(|why| Problem::bad_request(why + "."))
}

fn parse_id(id: &str) -> Result<u128, Problem> {
    let is_id = id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_id.then(|| u128::from_str_radix(id, 16).ok()).flatten().ok_or_else(|| {
        Problem::bad_request(
            "A connection's id has 32 hexadecimal digits; the log and GET /connections have them.",
        )
    })
}

#[derive(Serialize)]
struct Page<'a> {
    connections: Vec<Shown<'a>>,
    /// What the next page is `after`.
    next: Option<&'a str>,
}

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    tenant: &'a str,
    route: &'a str,
    peer: String,
    http: u8,
    since: String,
    /// Of the handler.
    version: u32,
    received: ShownFlow,
    sent: ShownFlow,
    queue_bytes: u32,
}

#[derive(Serialize)]
struct ShownFlow {
    messages: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Kicked {
    kicked: usize,
}

impl From<FlowTotals> for ShownFlow {
    fn from(FlowTotals { messages, bytes }: FlowTotals) -> Self {
        Self { messages, bytes }
    }
}

impl<'a> Shown<'a> {
    fn of(open: &'a Open, endpoint: &'a Endpoint) -> Self {
        let Open { link, peer, http, since } = open;
        let traffic = link.traffic.totals();
        Self {
            id: link.id(),
            tenant: &endpoint.tenancy.name,
            route: &endpoint.route.name,
            peer: peer.to_string(),
            http: *http,
            since: humantime::format_rfc3339_seconds((*since).max(UNIX_EPOCH)).to_string(),
            version: link.version(),
            received: traffic.received.into(),
            sent: traffic.sent.into(),
            queue_bytes: link.buffered_amount(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_must_not_be_sent_are_no_kick() {
        let kick = |query: &str| frame(&Query::parse(query, &["code", "reason"]).expect("known keys"));
        for query in ["code=1005", "code=1006", "code=1015", "code=999", "code=70000", "code=x"] {
            assert!(kick(query).is_err(), "{query}");
        }
        let code = |query: &str| u16::from(kick(query).expect("may be sent").to_wire().expect("a code").code);
        assert_eq!((code(""), code("reason=enough"), code("code=4000")), (1008, 1008, 4000));
        let long = format!("reason={}", "x".repeat(124));
        assert!(kick(&long).is_err() && kick(&long[..long.len() - 1]).is_ok());
    }

    #[test]
    fn an_id_is_32_digits() {
        assert_eq!(parse_id(&"0".repeat(32)), Ok(0));
        assert_eq!(
            parse_id("82e0ea1c4a9ea2e0088e54ed8e737c1d").map(|id| format!("{id:032x}")).as_deref(),
            Ok("82e0ea1c4a9ea2e0088e54ed8e737c1d")
        );
        for id in
            ["", "x", &"0".repeat(31), &"0".repeat(33), &"G".repeat(32), "+2e0ea1c4a9ea2e0088e54ed8e737c1d"]
        {
            assert!(parse_id(id).is_err(), "{id}");
        }
    }
}
