//! Handlers that answer what may not be answered.

use waterspout_tests::Frame;

use super::ATTACKER;
use crate::attack::Handler::Made;
use crate::attack::Harm::Noted as Gets;
use crate::attack::Sign::{Logged, NotNoted, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, PROTOCOL, SANDBOX, route, unlimited};
use crate::field::{Field, clients, poke};
use crate::handlers;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "answer prepare with a page, Set-Cookie, Clear-Site-Data",
        handler: ATTACKER,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, number| async move {
                let what = ["page", "cookie", "clear", "page"][number as usize];
                if let Ok((_, head, _)) = field.handshake(&Field::head(&Field::query("prepare", what))).await
                {
                    let head = head.to_ascii_lowercase();
                    for name in ["set-cookie", "clear-site-data", "content-security-policy"] {
                        if head.contains(name) {
                            field.note(name);
                        }
                    }
                }
            })
        },
        seen: &[NotNoted("set-cookie"), NotNoted("clear-site-data"), Noted("content-security-policy")],
        without: Limit(&[route("set-cookie", "true")], Gets("set-cookie")),
    },
    Attack {
        name: "return an HTTP header with CR LF",
        handler: ATTACKER,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, number| async move {
                let what = ["crlf", "header"][number as usize % 2];
                if let Ok((_, head, _)) = field.handshake(&Field::head(&Field::query("prepare", what))).await
                    && head.contains("set-cookie")
                {
                    field.note("split");
                }
            })
        },
        seen: &[NotNoted("split"), Noted("HTTP 500"), Noted("HTTP 403")],
        without: Rule(PROTOCOL),
    },
    Attack {
        name: "a subprotocol that was not offered",
        handler: ATTACKER,
        settings: &[],
        assault: |field| poke(field, 4, "select-subprotocol", "choose 20"),
        seen: &[Noted("HTTP 500")],
        without: Rule(PROTOCOL),
    },
    Attack {
        name: "answer more than it may",
        handler: ATTACKER,
        settings: &[],
        assault: |field| poke(field, 2, "prepare", "answer 65537"),
        seen: &[
            Noted("HTTP 500"),
            NotNoted("HTTP 200"),
            Logged("its body has 65537 bytes, and `max-response-body-bytes` is 64KiB"),
        ],
        without: Limit(&[unlimited("limits.max-response-body-bytes")], Gets("HTTP 200")),
    },
    Attack {
        name: "close codes 1005, 1006, 1015, 999; a reason of 124 bytes, of one and of two each; a ping of 126",
        handler: ATTACKER,
        settings: &[],
        assault: |field| {
            clients(field, 7, |field, number| async move {
                let what = [
                    "close 1005",
                    "close 1006",
                    "close 1015",
                    "close 999",
                    "reason 124",
                    "accents 62",
                    "ping 126",
                ];
                let Some(mut peer) = field.incite("on-message", what[number as usize]).await else { return };
                peer.say(Frame::close(1000, "")).await;
                field.watch(&mut peer).await;
            })
        },
        seen: &[
            Noted("close Invalid"),
            Noted("reason Invalid"),
            Noted("accents Invalid"),
            Noted("ping Invalid"),
            Noted("close 1000"),
        ],
        without: Rule(PROTOCOL),
    },
    Attack {
        name: "a close reason cut inside a UTF-8 character",
        handler: Made(handlers::cut_reason),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("close 1011 handler failed"), NotNoted("caf")],
        without: Rule(SANDBOX),
    },
];
