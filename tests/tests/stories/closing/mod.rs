//! Endings: by the peer, by the handler, by a failure, by the server, and by nobody at all.

mod by_a_failure;
mod by_nobody;
mod by_the_handler;
mod by_the_peer;
mod by_the_server;

use waterspout_tests::{Raw, TestHost};

use crate::probe::probe;
use crate::witness::{Witness, reporting};

/// A probe, a witness, and a connection that it reports of and has seen open.
async fn witnessed(commands: &[(&str, &str)]) -> (TestHost, Witness, Raw) {
    let host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let raw = host.raw(&reporting(commands)).await;
    witness.sees_open().await;
    (host, witness, raw)
}
