//! Handlers that never come to an end: they loop, recurse, sleep.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use waterspout_tests::Frame;

use super::ATTACKER;
use crate::attack::Handler::Made;
use crate::attack::Harm::Noted as Gets;
use crate::attack::Sign::{Logged, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, Running, SPINS, TEN_SECONDS_OF_CPU, WAITS, tenant, unlimited};
use crate::field::{Field, clients, pause, poke};
use crate::handlers;

/// What each export is called by.
macro_rules! loop_in {
    ($name:literal, $at:literal, $sign:expr) => {
        Attack {
            name: $name,
            handler: ATTACKER,
            settings: &[],
            assault: |field| poke_all(field, $at, "loop"),
            seen: &[$sign, Logged("past its deadline")],
            without: Limit(&[unlimited("limits.cpu-per-event")], SPINS),
        }
    };
}

pub(super) const ATTACKS: &[Attack] = &[
    loop_in!("loop for ever in on-message", "on-message", Noted("close 1011 handler took too long")),
    loop_in!("loop in the constructor", "constructor", Noted("HTTP 503")),
    loop_in!("loop in prepare", "prepare", Noted("HTTP 503")),
    loop_in!("loop in check-origin", "check-origin", Noted("HTTP 503")),
    loop_in!("loop in open", "open", Noted("close 1011 handler took too long")),
    loop_in!("loop in on-close", "on-close", Logged("on-close")),
    Attack {
        name: "loop for ever in a metered route",
        handler: ATTACKER,
        settings: &[tenant("limits.fuel-per-event", "20000000"), unlimited("limits.cpu-per-event")],
        assault: |field| poke_all(field, "on-message", "loop"),
        seen: &[Noted("close 1011 handler out of fuel"), Logged("ran out of fuel")],
        without: Limit(&[unlimited("limits.fuel-per-event")], SPINS),
    },
    Attack {
        name: "loop over instructions that take long (memory.fill)",
        handler: Made(handlers::filling_memory),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("close 1011 handler took too long")],
        without: Limit(&[unlimited("limits.cpu-per-event")], SPINS),
    },
    Attack {
        name: "call the host again and again in on-message, with nothing between the calls",
        handler: Made(handlers::row_of_questions),
        settings: &[tenant("limits.cpu-per-event", "\"5ms\"")],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("close 1011 handler took too long"), Logged("past its deadline")],
        without: Limit(&[unlimited("limits.cpu-per-event")], Gets("go")),
    },
    Attack {
        name: "call the host again and again at start, with nothing between the calls",
        handler: Made(handlers::row_of_host_calls),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("HTTP 503"), Logged("past its deadline")],
        without: Limit(&[unlimited("limits.cpu-per-event")], SPINS),
    },
    Attack {
        name: "recurse",
        handler: ATTACKER,
        settings: &[],
        assault: |field| poke(field, 4, "on-message", "recurse"),
        seen: &[Noted("close 1011 handler failed")],
        without: Rule("a guest's stack has 512 KiB"),
    },
    Attack {
        name: "sleep in a host call",
        handler: ATTACKER,
        settings: &[tenant("limits.wall-per-event", "\"300ms\"")],
        assault: |field| poke(field, 20, "on-message", "sleep"),
        seen: &[Noted("close 1011 handler took too long")],
        without: Limit(&[unlimited("limits.wall-per-event")], WAITS),
    },
    Attack {
        name: "never return from flush",
        handler: ATTACKER,
        settings: &[tenant("limits.wall-per-event", "\"300ms\""), TEN_SECONDS_OF_CPU],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let peer = field.incite_who_reads(Some(4096), "on-message", "pour 65536").await;
                if peer.is_some() {
                    sleep(Duration::from_millis(700)).await;
                }
            })
        },
        seen: &[Logged("past its deadline")],
        without: Limit(&[unlimited("limits.wall-per-event")], WAITS),
    },
];

/// With an origin, so that every function is asked; leaves, if `on-close` is to be asked.
fn poke_all(field: Arc<Field>, at: &'static str, what: &'static str) -> Running {
    clients(field, 4, move |field, _| async move {
        let head = Field::head(&Field::query(at, what)) + "Origin: http://attacker.test\r\n";
        if let Ok((101, _, mut peer)) = field.handshake(&head).await {
            peer.say(Frame::text("go")).await;
            if at == "on-close" {
                peer.say(Frame::close(1000, "")).await;
            }
            field.watch(&mut peer).await;
        }
        pause().await;
    })
}
