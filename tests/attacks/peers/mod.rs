//! "A peer may": clients that mean harm, at a handler that does not.

mod connections;
mod frames;
mod handshake;
mod http2;

use crate::attack::Handler::Made;
use crate::attack::{Attack, Handler};
use crate::handlers;

/// By what they are after.
pub(crate) const ATTACKS: &[&[Attack]] =
    &[handshake::ATTACKS, frames::ATTACKS, connections::ATTACKS, http2::ATTACKS];

const ECHO: Handler = Made(handlers::echo);
