//! Handlers that trap, wherever they can.

use waterspout_tests::Frame;

use super::ATTACKER;
use crate::attack::Handler::Made;
use crate::attack::Sign::{Logged, LoggedAtMost, Noted};
use crate::attack::Without::Rule;
use crate::attack::{Attack, SANDBOX};
use crate::field::{Field, clients, poke};
use crate::handlers;

const EXPORTS: [&str; 9] = [
    "constructor",
    "prepare",
    "check-origin",
    "select-subprotocol",
    "get-compression-options",
    "open",
    "on-ping",
    "on-message",
    "on-close",
];

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "trap in every export",
        handler: ATTACKER,
        settings: &[],
        assault: |field| {
            clients(field, 2, |field, _| async move {
                for at in EXPORTS {
                    let query = Field::query(at, "trap");
                    let head = Field::head(&query)
                        + "Origin: http://attacker.test\r\nSec-WebSocket-Protocol: one\r\n\
                        Sec-WebSocket-Extensions: permessage-deflate\r\n";
                    if let Ok((101, _, mut peer)) = field.handshake(&head).await {
                        peer.say(Frame::ping("")).await;
                        peer.say(Frame::text("go")).await;
                        peer.say(Frame::close(1000, "")).await;
                        field.watch(&mut peer).await;
                    }
                }
            })
        },
        seen: &[
            Noted("HTTP 500"),
            Noted("close 1011 handler failed"),
            Logged("constructor"),
            Logged("prepare"),
            Logged("check-origin"),
            Logged("select-subprotocol"),
            Logged("get-compression-options"),
            Logged("on-ping"),
            Logged("on-close"),
        ],
        without: Rule(SANDBOX),
    },
    Attack {
        name: "trap at start",
        handler: Made(handlers::trap_at_start),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("HTTP 50")],
        without: Rule(SANDBOX),
    },
    Attack {
        name: "crash in a loop at start",
        handler: Made(handlers::trap_at_start),
        settings: &[],
        assault: |field| {
            clients(field, 8, |field, _| async move {
                field.open("").await;
            })
        },
        // A try after 1 s, one 2 s later, and so on.
        seen: &[Noted("HTTP 503"), LoggedAtMost(6, "the handler trapped")],
        without: Rule("it is tried ever less often"),
    },
    Attack {
        name: "trap inside cabi_realloc",
        handler: Made(handlers::trap_in_realloc),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("HTTP 500")],
        without: Rule(SANDBOX),
    },
];
