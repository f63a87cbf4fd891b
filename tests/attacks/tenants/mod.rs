//! "A tenant may": handlers that mean harm.

mod answers;
mod boundaries;
mod deploys;
mod exports;
mod loading;
mod memory;
mod output;
mod processor;
mod traps;

use std::sync::Arc;

use waterspout_tests::Frame;

use crate::attack::Handler::Guest;
use crate::attack::{Attack, Handler, Running};
use crate::field::{Field, clients, pause};

/// By what they are after.
pub(crate) const ATTACKS: &[&[Attack]] = &[
    processor::ATTACKS,
    memory::ATTACKS,
    traps::ATTACKS,
    exports::ATTACKS,
    deploys::ATTACKS,
    output::ATTACKS,
    boundaries::ATTACKS,
    answers::ATTACKS,
    loading::ATTACKS,
];

const ATTACKER: Handler = Guest("attacker");

/// Two clients that tell the guest `probe` something.
fn say_to_probe(field: Arc<Field>, what: &'static str) -> Running {
    clients(field, 2, move |field, _| async move {
        if let Some(mut peer) = field.open("").await {
            peer.say(Frame::text(what)).await;
            field.watch_until_answer(&mut peer).await;
        }
        pause().await;
    })
}
