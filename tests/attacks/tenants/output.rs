//! Handlers that send, publish and print without end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use waterspout_tests::Frame;

use super::{ATTACKER, say_to_probe};
use crate::attack::Handler::Guest;
use crate::attack::Harm::{Log, Memory, Unstopped};
use crate::attack::Sign::{Logged, LoggedAtMost, NotLogged, NotNoted, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, LITTLE_LOG, Running, SPINS, TEN_SECONDS_OF_CPU, route, tenant, unlimited};
use crate::field::{ADMIN, Field, clients, pause, poke};

/// Makes the host say the same again and again.
macro_rules! flood {
    ($name:literal, $at:literal, $what:literal, $($record:literal),+) => {
        Attack {
            name: $name,
            handler: ATTACKER,
            settings: &[LITTLE_LOG],
            assault: |field| poke(field, 8, $at, $what),
            // A few in a second, of hundreds.
            seen: &[$(LoggedAtMost(100, $record)),+],
            without: Limit(&[unlimited("total.max-log-bytes-per-second")], Log(100)),
        }
    };
}

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "write faster than the peer reads",
        handler: ATTACKER,
        settings: &[TEN_SECONDS_OF_CPU],
        assault: |field| {
            clients(field, 2, |field, _| async move {
                let peer = field.incite_who_reads(Some(4096), "on-message", "write 6000 65536").await;
                if peer.is_some() {
                    // It does not read.
                    sleep(Duration::from_millis(700)).await;
                }
            })
        },
        seen: &[Logged("BufferFull")],
        without: Limit(&[unlimited("limits.max-queue-bytes")], Memory(200)),
    },
    Attack {
        name: "write to many connections",
        handler: ATTACKER,
        settings: &[
            route("instance", "\"route\""),
            tenant("total.max-memory-bytes", "\"100MiB\""),
            tenant("limits.linger", "\"50ms\""),
            TEN_SECONDS_OF_CPU,
        ],
        assault: |field| {
            Box::pin(async move {
                let query = Field::query("on-message", "write-all 100 65536");
                loop {
                    let mut peers = Vec::new();
                    for _ in 0..100 {
                        peers.extend(field.open_from(None, &query, Some(4096)).await);
                    }
                    if let Some(peer) = peers.last_mut() {
                        peer.say(Frame::text("go")).await;
                    }
                    sleep(Duration::from_millis(700)).await;
                }
            })
        },
        // What its guest is told comes only when all is full, which may take longer than the attack.
        seen: &[],
        without: Limit(&[unlimited("total.max-memory-bytes")], Memory(300)),
    },
    Attack {
        name: "publish in a loop",
        handler: ATTACKER,
        // The allocator keeps small pieces: with full queues of 16 MiB more than the suite forgives.
        settings: &[tenant("limits.max-queue-bytes", "\"4MiB\"")],
        assault: |field| poke(field, 4, "on-message", "publish 4096"),
        seen: &[Noted("close 1011 handler took too long")],
        without: Limit(&[unlimited("limits.cpu-per-event")], SPINS),
    },
    Attack {
        name: "publish in a loop what has to be compressed",
        handler: ATTACKER,
        settings: &[
            ADMIN,
            route("compression", "{ context-takeover = false }"),
            tenant("limits.max-queue-bytes", "\"1MiB\""),
            tenant("limits.cpu-per-event", "\"200ms\""),
        ],
        assault: publish_to_compressing,
        seen: &[
            Noted("compressed"),
            Noted("close 1011 handler took too long"),
            NotNoted("processor time that nobody is charged for"),
        ],
        without: Limit(
            &[unlimited("limits.cpu-per-event"), unlimited("limits.wall-per-event")],
            // Much of it is copying, in which it yields.
            Unstopped { processor_percent: 10 },
        ),
    },
    Attack {
        name: "publish in a loop to many connections",
        handler: ATTACKER,
        settings: &[
            tenant("total.max-memory-bytes", "\"100MiB\""),
            // The allocator keeps small pieces here, too.
            tenant("limits.max-queue-bytes", "\"128KiB\""),
            route("instance", "\"route\""),
            tenant("limits.linger", "\"50ms\""),
        ],
        assault: publish_to_many,
        seen: &[Noted("close 1011 handler took too long")],
        without: Limit(&[unlimited("limits.cpu-per-event")], SPINS),
    },
    Attack {
        name: "print control characters",
        handler: Guest("probe"),
        settings: &[],
        assault: |field| say_to_probe(field, "print \u{1b}[2Jforged"),
        seen: &[Logged("forged"), NotLogged("\u{1b}[2J")],
        without: Rule("they are always escaped"),
    },
    flood!("flood the log with traps", "on-message", "trap", "the handler trapped", "closed"),
    flood!("flood the log with wrong headers", "prepare", "crlf", "prepare answered what it may not"),
    flood!(
        "flood the log with long subprotocols",
        "select-subprotocol",
        "choose 1000000",
        "select-subprotocol answered what was not offered"
    ),
    Attack {
        name: "flood the log with places that are denied",
        handler: ATTACKER,
        settings: &[LITTLE_LOG, unlimited("limits.max-route-connects-per-second")],
        assault: |field| {
            clients(field, 8, |field, _| async move {
                if let Some(mut peer) = field.open(&Field::query("open", "dial ws://127.0.0.1:1/")).await {
                    field.watch_until_answer(&mut peer).await;
                }
                pause().await;
            })
        },
        seen: &[Noted("dial Denied"), LoggedAtMost(100, "not dialled")],
        without: Limit(&[unlimited("total.max-log-bytes-per-second")], Log(100)),
    },
    Attack {
        name: "flood stdout and logs",
        handler: ATTACKER,
        settings: &[],
        assault: |field| poke(field, 4, "on-message", "print 1000"),
        seen: &[Logged("what the handler printed was dropped")],
        without: Limit(
            &[unlimited("limits.max-log-bytes-per-second"), unlimited("total.max-log-bytes-per-second")],
            Log(4 << 10),
        ),
    },
];

/// Three hundred subscribers that do not read, one of which makes the handler publish for ever.
fn publish_to_many(field: Arc<Field>) -> Running {
    Box::pin(async move {
        let subscribe = Field::query("open", "subscribe own");
        loop {
            let mut peers = Vec::new();
            for _ in 0..300 {
                peers.extend(field.open_from(None, &subscribe, Some(4096)).await);
            }
            if let Some(mut peer) = field.incite("on-message", "publish 100").await {
                field.watch(&mut peer).await;
            }
        }
    })
}

/// Three that make the handler publish for ever, and two subscribers that want it compressed and do not read; and somebody who looks at the
/// accounts.
fn publish_to_compressing(field: Arc<Field>) -> Running {
    Box::pin(async move {
        let mut subscribers = Vec::new();
        for _ in 0..2 {
            let head = Field::head(&Field::query("open", "subscribe own"))
                + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
            let Ok(peer) = field.socket(None, Some(4096)).await else { continue };
            if let Ok((101, answer, peer)) = field.ask(peer, &head).await {
                if answer.contains("permessage-deflate") {
                    field.note("compressed");
                }
                subscribers.push(peer);
            }
        }
        let before = field.processor_seconds().await;
        let looking = async {
            loop {
                sleep(Duration::from_millis(800)).await;
                let (Ok(before), Ok(now)) = (&before, field.processor_seconds().await) else { continue };
                let (used, charged) = (now.0 - before.0, now.1 - before.1);
                // What the host does for nobody in particular is a tenth at the most.
                if charged < 0.88 * used {
                    field.note("processor time that nobody is charged for");
                }
            }
        };
        tokio::join!(poke(field.clone(), 3, "on-message", "publish-digits 8000000"), looking);
    })
}
