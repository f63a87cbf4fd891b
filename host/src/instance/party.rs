//! One connection's handler object, and the connection it belongs to.

use std::sync::Arc;

use wasmtime::component::ResourceAny;

use crate::connection::link::Link;
use crate::connection::outgoing::Outgoings;
use crate::server::addresses::Peer;
use crate::server::request::Request;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Party {
    pub(crate) link: Arc<Link>,
    pub(crate) outgoings: Arc<Outgoings>,
    /// What it came with.
    pub(crate) request: Arc<Request>,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// None before the constructor.
    pub(crate) handler: Option<ResourceAny>,
}
