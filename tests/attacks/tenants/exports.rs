//! Handlers that do harm in each of their functions in turn: whatever the host calls may loop, trap, and grow.

use std::sync::Arc;

use waterspout_tests::Frame;
use waterspout_tests::frames::{CLOSE, PONG, TEXT};

use super::ATTACKER;
use crate::attack::Harm::Memory;
use crate::attack::Sign::{self, Logged, NotLogged, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, Running, SANDBOX, SPINS, Setting, TEN_SECONDS_OF_CPU, tenant, unlimited};
use crate::field::{Arrival, Field, clients, pause};

/// So that a queue is full soon, and `on-writable` is called.
const SMALL_QUEUE: Setting = tenant("limits.max-queue-bytes", "\"64KiB\"");
/// So that it may try, and `on-client-event` is called.
const MAY_CONNECT: Setting = tenant("connect", "[\"127.0.0.1:1\"]");

/// A loop in a function that `processor` has not.
macro_rules! loop_in {
    ($at:literal, $sign:expr) => {
        Attack {
            name: concat!("loop in ", $at),
            handler: ATTACKER,
            settings: &[SMALL_QUEUE, MAY_CONNECT],
            assault: |field| in_exports(field, &[$at], "loop"),
            seen: &[$sign, Logged(concat!("call=\"", $at, "\"")), Logged("past its deadline")],
            without: Limit(&[unlimited("limits.cpu-per-event")], SPINS),
        }
    };
}

/// Some signs, and that the log has the name of each of [`EXPORTS`], between two texts.
macro_rules! in_each {
    ($before:literal, $after:literal, $($more:expr),*) => {
        [
            $($more,)*
            Logged(concat!($before, "constructor", $after)),
            Logged(concat!($before, "prepare", $after)),
            Logged(concat!($before, "check-origin", $after)),
            Logged(concat!($before, "select-subprotocol", $after)),
            Logged(concat!($before, "get-compression-options", $after)),
            Logged(concat!($before, "open", $after)),
            Logged(concat!($before, "on-message", $after)),
            Logged(concat!($before, "on-ping", $after)),
            Logged(concat!($before, "on-pong", $after)),
            Logged(concat!($before, "on-writable", $after)),
            Logged(concat!($before, "on-timer", $after)),
            Logged(concat!($before, "on-client-event", $after)),
            Logged(concat!($before, "on-close", $after)),
            Logged(concat!($before, "destructor", $after)),
        ]
    };
}
const TOO_LONG: Sign = Noted("close 1011 handler took too long");

pub(super) const ATTACKS: &[Attack] = &[
    loop_in!("on-ping", Noted("close 1000")),
    loop_in!("on-pong", Noted("close 1000")),
    loop_in!("on-writable", TOO_LONG),
    loop_in!("on-timer", TOO_LONG),
    loop_in!("on-client-event", TOO_LONG),
    loop_in!("destructor", Noted("close 1000")),
    Attack {
        name: "trap in every export",
        handler: ATTACKER,
        settings: &[SMALL_QUEUE, MAY_CONNECT],
        assault: |field| in_exports(field, &EXPORTS, "trap"),
        seen: &in_each!("call=\"", "\"", Noted("HTTP 500"), Noted("close 1011 handler failed")),
        without: Rule(SANDBOX),
    },
    Attack {
        name: "grow memory to the limit in every export",
        handler: ATTACKER,
        settings: &[
            SMALL_QUEUE,
            MAY_CONNECT,
            TEN_SECONDS_OF_CPU,
            tenant("total.max-memory-bytes", "\"256MiB\""),
        ],
        assault: |field| in_exports(field, &EXPORTS, "grow 700"),
        seen: &in_each!("", ": grow ", NotLogged(": ok")),
        without: Limit(
            &[unlimited("limits.max-memory-bytes"), unlimited("total.max-memory-bytes")],
            Memory(400),
        ),
    },
];

const EXPORTS: [&str; 14] = [
    "constructor",
    "prepare",
    "check-origin",
    "select-subprotocol",
    "get-compression-options",
    "open",
    "on-message",
    "on-ping",
    "on-pong",
    "on-writable",
    "on-timer",
    "on-client-event",
    "on-close",
    "destructor",
];

/// Two clients that have the handler do it in each of these in turn.
fn in_exports(field: Arc<Field>, exports: &'static [&'static str], what: &'static str) -> Running {
    clients(field, 2, move |field, _| async move {
        for at in exports {
            provoke(&field, at, what).await;
            pause().await;
        }
    })
}

/// A handshake that asks the handler everything, and of an open connection all that a peer can have happen.
async fn provoke(field: &Field, at: &str, what: &str) {
    let head = Field::head(&Field::query(at, what))
        + "Origin: http://attacker.test\r\nSec-WebSocket-Protocol: one\r\n";
    let Ok((101, _, mut peer)) = field.handshake(&head).await else { return };
    peer.say(Frame::ping("")).await;
    peer.say(Frame::new(PONG, "")).await;
    if ["on-writable", "on-timer", "on-client-event"].contains(&at) {
        // These need a moment to happen.
        let answer = what.split(' ').next().unwrap_or_default();
        loop {
            match peer.next().await {
                Arrival::Frame(TEXT, text) if text.starts_with(answer.as_bytes()) => break,
                Arrival::Frame(CLOSE, payload) => return field.note_close(&payload),
                Arrival::Frame(..) => {}
                Arrival::Gone => return field.note("dropped"),
            }
        }
    }
    peer.say(Frame::text("go")).await;
    peer.say(Frame::close(1000, "")).await;
    field.watch(&mut peer).await;
}
