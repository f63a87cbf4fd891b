//! Handlers that want all the memory there is, their own and the host's.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use waterspout_tests::Frame;

use super::{ATTACKER, say_to_probe};
use crate::attack::Handler::{Guest, Made};
use crate::attack::Harm::{Memory, Noted as Gets, Victim};
use crate::attack::Sign::{NotLogged, NotNoted, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, Running, SANDBOX, TEN_SECONDS_OF_CPU, server, tenant, unlimited};
use crate::field::{Field, clients, pause, poke};
use crate::handlers;

/// Asks for more and more of something; what the guest is told with the limit, and without it.
macro_rules! hoard {
    ($of:literal, $command:literal, $limit:literal, [$limited:literal, $unlimited:literal]) => {
        Attack {
            name: concat!("allocate host-side through ", $of),
            handler: ATTACKER,
            settings: &[TEN_SECONDS_OF_CPU],
            assault: |field| poke(field, 2, "on-message", $command),
            seen: &[Noted($limited)],
            without: Limit(&[unlimited($limit)], Gets($unlimited)),
        }
    };
}

/// So many clients that come, and stay.
fn hold(field: Arc<Field>, count: u32) -> Running {
    clients(field, count, |field, _| async move {
        if let Some(mut peer) = field.open("").await {
            field.watch(&mut peer).await;
        }
        pause().await;
    })
}

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "grow memory to the limit",
        handler: ATTACKER,
        settings: &[TEN_SECONDS_OF_CPU, tenant("total.max-memory-bytes", "\"256MiB\"")],
        assault: |field| poke(field, 2, "on-message", "grow 700"),
        seen: &[Noted(": refused")],
        without: Limit(
            &[unlimited("limits.max-memory-bytes"), unlimited("total.max-memory-bytes")],
            Memory(400),
        ),
    },
    Attack {
        name: "want more memory than the tenant has, from one address",
        handler: Guest("probe"),
        settings: &[
            TEN_SECONDS_OF_CPU,
            tenant("total.max-memory-bytes", "\"48MiB\""),
            // He comes again faster than that.
            server("max-handshakes-per-address", "\"unlimited\""),
        ],
        assault: |field| {
            clients(field, 8, |field, _| async move {
                let from = Some(Ipv4Addr::new(203, 0, 113, 9));
                if let Some(mut peer) = field.open_from(from, "", None).await {
                    // What it got for this it keeps.
                    peer.say(Frame::text("publish-large news 9MiB")).await;
                    field.watch_until_answer(&mut peer).await;
                    sleep(Duration::from_millis(50)).await;
                }
                pause().await;
            })
        },
        // The address is not at fault: it may come again.
        seen: &[Noted("close 1013 try again later"), NotNoted("HTTP 429"), NotNoted("HTTP 500")],
        without: Limit(&[unlimited("total.max-memory-bytes")], Memory(60)),
    },
    Attack {
        name: "ask for a gigabyte of random bytes",
        handler: Guest("probe"),
        settings: &[TEN_SECONDS_OF_CPU],
        assault: |field| say_to_probe(field, "random 1000000000"),
        seen: &[Noted("close 1011 handler failed")],
        without: Rule("a guest gets 64 KiB of them at once"),
    },
    Attack {
        name: "grow tables to the limit",
        handler: Made(handlers::growing_table),
        settings: &[TEN_SECONDS_OF_CPU],
        assault: |field| poke(field, 2, "", ""),
        seen: &[Noted("close 1011 handler failed")],
        without: Limit(&[tenant("limits.max-table-elements", "10000000")], Memory(30)),
    },
    Attack {
        name: "allocate host-side through handles",
        handler: Guest("probe"),
        settings: &[TEN_SECONDS_OF_CPU],
        assault: |field| say_to_probe(field, "handles 2000000"),
        seen: &[Noted("close 1011 handler failed")],
        without: Limit(&[unlimited("limits.max-handles")], Memory(64)),
    },
    Attack {
        name: "allocate host-side through the text of requests that are never sent",
        handler: Made(handlers::requests_of_much_text),
        settings: &[TEN_SECONDS_OF_CPU],
        assault: |field| say_to_probe(field, "all refused"),
        seen: &[Noted("all refused"), NotNoted("close 1011")],
        without: Rule("a request has 512 bytes of text"),
    },
    hoard!("timers", "timers 20000", "limits.max-timers", ["timers 64: Limit", "timers 20000: ok"]),
    hoard!("topics", "topics 200000", "limits.max-topics", ["topics 64: Limit", "topics 200000: ok"]),
    hoard!("a topic's name", "topic 1000000", "limits.max-topic-bytes", ["topic Invalid", "topic ok"]),
    Attack {
        name: "allocate host-side through client connections",
        handler: ATTACKER,
        settings: &[tenant("connect", "[\"127.0.0.1:1\"]"), TEN_SECONDS_OF_CPU],
        assault: |field| poke(field, 2, "on-message", "clients 2000 ws://127.0.0.1:1/"),
        seen: &[Noted("clients 8: Limit")],
        without: Limit(
            &[
                unlimited("limits.max-client-connections"),
                unlimited("limits.max-connects-per-second"),
                unlimited("limits.max-route-connects-per-second"),
            ],
            Gets("clients 2000: ok"),
        ),
    },
    Attack {
        name: "allocate host-side through strings lent to host calls",
        handler: ATTACKER,
        settings: &[TEN_SECONDS_OF_CPU],
        assault: |field| poke(field, 2, "on-message", "write 1 50000000"),
        seen: &[Noted("close 1011 handler failed")],
        without: Limit(
            &[
                unlimited("limits.max-message-bytes"),
                unlimited("limits.max-queue-bytes"),
                tenant("limits.max-memory-bytes", "\"512MiB\""),
            ],
            Memory(90),
        ),
    },
    Attack {
        name: "allocate host-side through lists lent to host calls",
        handler: ATTACKER,
        settings: &[TEN_SECONDS_OF_CPU],
        // Of an element that takes the guest nothing the host makes two texts. Only then it can count them.
        assault: |field| poke(field, 2, "on-message", "headers 600000 ws://127.0.0.1:1/"),
        seen: &[Noted("close 1011 handler failed"), NotNoted("headers")],
        without: Limit(&[unlimited("limits.max-message-bytes")], Gets("headers Protocol")),
    },
    Attack {
        name: "return a list that is a large part of its memory",
        handler: ATTACKER,
        settings: &[TEN_SECONDS_OF_CPU],
        assault: |field| poke(field, 2, "prepare", "answer 40000000"),
        seen: &[Noted("HTTP 500"), NotNoted("HTTP 200")],
        without: Limit(
            &[unlimited("limits.max-message-bytes"), unlimited("limits.max-response-body-bytes")],
            Gets("HTTP 200"),
        ),
    },
    Attack {
        name: "answer as much as it may to peers that do not read",
        handler: ATTACKER,
        settings: &[
            TEN_SECONDS_OF_CPU,
            tenant("limits.max-response-body-bytes", "\"8MiB\""),
            tenant("total.max-memory-bytes", "\"100MiB\""),
        ],
        assault: |field| {
            clients(field, 300, |field, _| async move {
                let Ok(peer) = field.socket(None, Some(4096)).await else { return };
                let head = Field::head(&Field::query("prepare", "answer 8000000"));
                if let Ok((200, _, _unread)) = field.ask(peer, &head).await {
                    sleep(Duration::from_millis(700)).await;
                }
                pause().await;
            })
        },
        seen: &[Noted("HTTP 200"), Noted("HTTP 503")],
        without: Limit(&[unlimited("total.max-memory-bytes")], Memory(300)),
    },
    Attack {
        name: "have elements that the host keeps for each instance",
        handler: Made(handlers::passive_elements),
        settings: &[TEN_SECONDS_OF_CPU, tenant("total.max-memory-bytes", "\"32MiB\"")],
        assault: |field| hold(field, 60),
        seen: &[Noted("HTTP 503")],
        without: Limit(&[unlimited("total.max-memory-bytes")], Memory(120)),
    },
    Attack {
        name: "take the pool by components within the component",
        handler: Made(handlers::nested_instances),
        settings: &[server("max-instances", "299"), tenant("total.max-instances", "150")],
        assault: |field| hold(field, 160),
        seen: &[Noted("HTTP 503"), NotLogged("core instances reached")],
        without: Limit(&[tenant("total.max-instances", "299")], Victim),
    },
    Attack {
        name: "take the pool by many core instances",
        handler: Made(handlers::many_instances),
        settings: &[server("max-instances", "299"), tenant("total.max-instances", "150")],
        assault: |field| hold(field, 160),
        seen: &[Noted("HTTP 503")],
        without: Limit(&[tenant("total.max-instances", "299")], Victim),
    },
    Attack {
        name: "return a 1 GB list",
        handler: Made(handlers::list_of_a_gigabyte),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("HTTP 500"), NotNoted("HTTP 200")],
        without: Rule(SANDBOX),
    },
];
