//! "A tenant may": handlers that mean harm.

use std::sync::Arc;

use waterspout_tests::Frame;

use crate::attack::Handler::{Guest, Made};
use crate::attack::Harm::{Log, Memory, Noted as Gets, Unstopped};
use crate::attack::Sign::{Logged, LoggedAtMost, NotLogged, NotNoted, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, Handler, Running, neighbour, route, server, tenant};
use crate::field::{Arrival, Field, clients, poke};
use crate::handlers;
use crate::program::{ATTACKER as ATTACKER_HOST, NEIGHBOUR};

const ATTACKER: Handler = Guest("attacker");
/// A guest that spins takes a whole processor, unless the machine is busy.
const SPINS: crate::attack::Harm = Unstopped { processor_percent: 40 };
const WAITS: crate::attack::Harm = Unstopped { processor_percent: 0 };
const SANDBOX: &str = "the sandbox's rule";
const PROTOCOL: &str = "the protocol's rule";

/// What each export is called by.
macro_rules! loop_in {
    ($name:literal, $at:literal, $sign:expr) => {
        Attack {
            name: $name,
            handler: ATTACKER,
            settings: &[],
            assault: |field| poke_all(field, $at, "loop"),
            seen: &[$sign, Logged("past its deadline")],
            without: Limit(&[tenant("limits.cpu-per-event", "\"unlimited\"")], SPINS),
        }
    };
}

pub(crate) const ATTACKS: &[Attack] = &[
    loop_in!("loop for ever in on-message", "on-message", Noted("close 1011 handler took too long")),
    loop_in!("loop in the constructor", "constructor", Noted("HTTP 503")),
    loop_in!("loop in prepare", "prepare", Noted("HTTP 503")),
    loop_in!("loop in check-origin", "check-origin", Noted("HTTP 503")),
    loop_in!("loop in open", "open", Noted("close 1011 handler took too long")),
    loop_in!("loop in on-close", "on-close", Logged("on-close")),
    Attack {
        name: "loop for ever in a metered route",
        handler: ATTACKER,
        settings: &[
            tenant("limits.fuel-per-event", "20000000"),
            tenant("limits.cpu-per-event", "\"unlimited\""),
        ],
        assault: |field| poke_all(field, "on-message", "loop"),
        seen: &[Noted("close 1011 handler out of fuel"), Logged("ran out of fuel")],
        without: Limit(&[tenant("limits.fuel-per-event", "\"unlimited\"")], SPINS),
    },
    Attack {
        name: "loop over instructions that take long (memory.fill)",
        handler: Made(handlers::filling_memory),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("close 1011 handler took too long")],
        without: Limit(&[tenant("limits.cpu-per-event", "\"unlimited\"")], SPINS),
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
        name: "grow memory to the limit",
        handler: ATTACKER,
        settings: &[
            tenant("limits.cpu-per-event", "\"10s\""),
            tenant("total.max-memory-bytes", "\"256MiB\""),
        ],
        assault: |field| poke(field, 2, "on-message", "grow 700"),
        seen: &[Noted(": refused")],
        without: Limit(
            &[
                tenant("limits.max-memory-bytes", "\"unlimited\""),
                tenant("total.max-memory-bytes", "\"unlimited\""),
            ],
            Memory(400),
        ),
    },
    Attack {
        name: "grow tables to the limit",
        handler: Made(handlers::growing_table),
        settings: &[tenant("limits.cpu-per-event", "\"10s\"")],
        assault: |field| poke(field, 2, "", ""),
        seen: &[Noted("close 1011 handler failed")],
        without: Limit(&[tenant("limits.max-table-elements", "10000000")], Memory(30)),
    },
    Attack {
        name: "allocate host-side through handles",
        handler: Guest("probe"),
        settings: &[tenant("limits.cpu-per-event", "\"10s\"")],
        assault: |field| say_to_probe(field, "handles 2000000"),
        seen: &[Noted("close 1011 handler failed")],
        without: Limit(&[tenant("limits.max-handles", "\"unlimited\"")], Memory(64)),
    },
    Attack {
        name: "allocate host-side through timers",
        handler: ATTACKER,
        settings: &[tenant("limits.cpu-per-event", "\"10s\"")],
        assault: |field| poke(field, 2, "on-message", "timers 20000"),
        seen: &[Noted("timers 64: Limit")],
        without: Limit(&[tenant("limits.max-timers", "\"unlimited\"")], Gets("timers 20000: ok")),
    },
    Attack {
        name: "allocate host-side through topics",
        handler: ATTACKER,
        settings: &[tenant("limits.cpu-per-event", "\"10s\"")],
        assault: |field| poke(field, 2, "on-message", "topics 200000"),
        seen: &[Noted("topics 64: Limit")],
        without: Limit(&[tenant("limits.max-topics", "\"unlimited\"")], Gets("topics 200000: ok")),
    },
    Attack {
        name: "allocate host-side through a topic's name",
        handler: ATTACKER,
        settings: &[tenant("limits.cpu-per-event", "\"10s\"")],
        assault: |field| poke(field, 2, "on-message", "topic 1000000"),
        seen: &[Noted("topic Invalid")],
        without: Limit(&[tenant("limits.max-topic-bytes", "\"unlimited\"")], Gets("topic ok")),
    },
    Attack {
        name: "allocate host-side through client connections",
        handler: ATTACKER,
        settings: &[tenant("connect", "[\"127.0.0.1:1\"]"), tenant("limits.cpu-per-event", "\"10s\"")],
        assault: |field| poke(field, 2, "on-message", "clients 2000 ws://127.0.0.1:1/"),
        seen: &[Noted("clients 8: Limit")],
        without: Limit(&[tenant("limits.max-client-connections", "\"unlimited\"")], Gets("clients 2000: ok")),
    },
    Attack {
        name: "allocate host-side through strings lent to host calls",
        handler: ATTACKER,
        settings: &[tenant("limits.cpu-per-event", "\"10s\"")],
        assault: |field| poke(field, 2, "on-message", "write 1 50000000"),
        seen: &[Noted("close 1011 handler failed")],
        without: Limit(
            &[
                tenant("limits.max-message-bytes", "\"unlimited\""),
                tenant("limits.max-queue-bytes", "\"unlimited\""),
                tenant("limits.max-memory-bytes", "\"512MiB\""),
            ],
            Memory(90),
        ),
    },
    Attack {
        name: "allocate host-side through lists lent to host calls",
        handler: ATTACKER,
        settings: &[tenant("limits.cpu-per-event", "\"10s\"")],
        // Of an element that takes the guest nothing the host makes two texts. Only then it can count them.
        assault: |field| poke(field, 2, "on-message", "headers 600000 ws://127.0.0.1:1/"),
        seen: &[Noted("close 1011 handler failed"), NotNoted("headers")],
        without: Limit(&[tenant("limits.max-message-bytes", "\"unlimited\"")], Gets("headers Protocol")),
    },
    Attack {
        name: "return a list that is a large part of its memory",
        handler: ATTACKER,
        settings: &[tenant("limits.cpu-per-event", "\"10s\"")],
        assault: |field| poke(field, 2, "prepare", "answer 40000000"),
        seen: &[Noted("HTTP 500"), NotNoted("HTTP 200")],
        without: Limit(&[tenant("limits.max-message-bytes", "\"unlimited\"")], Gets("HTTP 200")),
    },
    Attack {
        name: "return a 1 GB list",
        handler: Made(handlers::list_of_a_gigabyte),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("HTTP 500"), NotNoted("HTTP 200")],
        without: Rule(SANDBOX),
    },
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
                    let Ok(peer) = field.socket(None, None).await else { continue };
                    if let Ok((101, _, mut peer)) = field.ask(peer, &head).await {
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
    Attack {
        name: "write faster than the peer reads",
        handler: ATTACKER,
        settings: &[tenant("limits.cpu-per-event", "\"10s\"")],
        assault: |field| {
            clients(field, 2, |field, _| async move {
                let query = Field::query("on-message", "write 6000 65536");
                if let Some(mut peer) = field.open_from(None, &query, Some(4096)).await {
                    peer.say(Frame::text("go")).await;
                    // It does not read.
                    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
                }
            })
        },
        seen: &[Logged("BufferFull")],
        without: Limit(&[tenant("limits.max-queue-bytes", "\"unlimited\"")], Memory(200)),
    },
    Attack {
        name: "write to many connections",
        handler: ATTACKER,
        settings: &[
            route("instance", "\"route\""),
            tenant("total.max-memory-bytes", "\"100MiB\""),
            tenant("limits.linger", "\"50ms\""),
            tenant("limits.cpu-per-event", "\"10s\""),
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
                    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
                }
            })
        },
        // What its guest is told comes only when all is full, which may take longer than the attack.
        seen: &[],
        without: Limit(&[tenant("total.max-memory-bytes", "\"unlimited\"")], Memory(300)),
    },
    Attack {
        name: "publish in a loop",
        handler: ATTACKER,
        // The allocator keeps small pieces: with full queues of 16 MiB more than the suite forgives.
        settings: &[tenant("limits.max-queue-bytes", "\"4MiB\"")],
        assault: |field| poke(field, 4, "on-message", "publish 4096"),
        seen: &[Noted("close 1011 handler took too long")],
        without: Limit(&[tenant("limits.cpu-per-event", "\"unlimited\"")], SPINS),
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
        without: Limit(&[tenant("limits.cpu-per-event", "\"unlimited\"")], SPINS),
    },
    Attack {
        name: "sleep in a host call",
        handler: ATTACKER,
        settings: &[tenant("limits.wall-per-event", "\"300ms\"")],
        assault: |field| poke(field, 20, "on-message", "sleep"),
        seen: &[Noted("close 1011 handler took too long")],
        without: Limit(&[tenant("limits.wall-per-event", "\"unlimited\"")], WAITS),
    },
    Attack {
        name: "never return from flush",
        handler: ATTACKER,
        settings: &[tenant("limits.wall-per-event", "\"300ms\""), tenant("limits.cpu-per-event", "\"10s\"")],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let query = Field::query("on-message", "pour 65536");
                if let Some(mut peer) = field.open_from(None, &query, Some(4096)).await {
                    peer.say(Frame::text("go")).await;
                    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
                }
            })
        },
        seen: &[Logged("past its deadline")],
        without: Limit(&[tenant("limits.wall-per-event", "\"unlimited\"")], WAITS),
    },
    Attack {
        name: "dial out to denied places",
        handler: ATTACKER,
        settings: &[],
        assault: |field| dial(field),
        seen: &[Noted("dial Denied"), NotNoted("dial open"), NotNoted("dial Network")],
        without: Limit(
            &[tenant("connect", "[\"127.0.0.1:1\", \"localhost:1\", \"169.254.169.254:80\", \"[::1]:1\"]")],
            Gets("dial Network"),
        ),
    },
    Attack {
        name: "dial a listed name that leads to this machine (DNS rebinding)",
        handler: ATTACKER,
        settings: &[tenant("connect", "[\"localhost:{hostile}\"]"), tenant("limits.cpu-per-event", "\"1s\"")],
        assault: |field| {
            clients(field, 2, |field, _| async move {
                let url = format!("ws://localhost:{}/open", field.hostile.port());
                if let Some(mut peer) = field.open(&Field::query("on-message", &format!("dial {url}"))).await
                {
                    peer.say(Frame::text("go")).await;
                    field.watch_until_answer(&mut peer).await;
                }
            })
        },
        seen: &[Noted("dial Denied"), NotNoted("dial open"), NotNoted("dial Network")],
        without: Limit(
            &[tenant("connect", "[\"localhost:{hostile}\", \"127.0.0.1:{hostile}\"]")],
            Gets("dial open"),
        ),
    },
    Attack {
        name: "answer prepare with a page, Set-Cookie, Clear-Site-Data",
        handler: ATTACKER,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, number| async move {
                let what = ["page", "cookie", "clear", "page"][number as usize];
                let Ok(peer) = field.socket(None, None).await else { return };
                if let Ok((_, head, _)) = field.ask(peer, &Field::head(&Field::query("prepare", what))).await
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
                let Ok(peer) = field.socket(None, None).await else { return };
                if let Ok((_, head, _)) = field.ask(peer, &Field::head(&Field::query("prepare", what))).await
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
        assault: |field| poke(field, 4, "select-subprotocol", "choose"),
        seen: &[Noted("HTTP 500")],
        without: Rule(PROTOCOL),
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
                let query = Field::query("on-message", what[number as usize]);
                let Some(mut peer) = field.open(&query).await else { return };
                peer.say(Frame::text("go")).await;
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
    Attack {
        name: "guess a connection's id, or know it",
        handler: ATTACKER,
        settings: &[
            tenant("connect", "[\"127.0.0.1:{hostile}\"]"),
            tenant("limits.cpu-per-event", "\"1s\""),
            neighbour("path", "\"/attack\""),
        ],
        assault: |field| clients(field, 1, |field, _| ids(field)),
        seen: &[
            Noted("the handler's own is found"),
            Noted("attacker.test: unknown"),
            Noted("neighbour.test: unknown"),
            NotNoted(": found"),
        ],
        without: Rule("an id finds only what its own handler has opened; it has 128 random bits"),
    },
    Attack {
        name: "claim another tenant's instance key or path",
        handler: ATTACKER,
        settings: &[],
        assault: |field| {
            clients(field, 2, |field, _| async move {
                let Ok(peer) = field.socket(None, None).await else { return };
                let head = Field::head("").replace("/attack", "/echo");
                let _ = field.ask(peer, &head).await;
            })
        },
        seen: &[Noted("HTTP 404")],
        without: Rule("hosts belong to one tenant"),
    },
    Attack {
        name: "claim another tenant's topic",
        handler: ATTACKER,
        settings: &[neighbour("path", "\"/attack\"")],
        assault: topics,
        seen: &[Noted("tell ok"), Noted("attacker.test heard"), NotNoted("neighbour.test heard")],
        without: Rule("a topic is its tenant's; the tenant's own subscribers hear it"),
    },
    Attack {
        name: "import what it may not",
        handler: Made(handlers::foreign_import),
        settings: &[],
        assault: nothing,
        seen: &[Logged("the handler cannot be loaded: its route answers 503"), Logged("evil:box/files")],
        without: Rule(SANDBOX),
    },
    Attack {
        name: "be a truncated file",
        handler: Made(handlers::truncated),
        settings: &[],
        assault: nothing,
        seen: &[Logged("the handler cannot be loaded: its route answers 503"), Logged("handler.wasm")],
        without: Rule(SANDBOX),
    },
    Attack {
        name: "be an AOT artefact that it forged",
        handler: Made(handlers::forged_artefact),
        settings: &[],
        assault: nothing,
        seen: &[Logged("the handler cannot be loaded: its route answers 503"), Logged("handler.wasm")],
        without: Rule("artefacts without our MAC are never loaded"),
    },
    Attack {
        name: "be a 100 MB component",
        handler: Made(handlers::hundred_megabytes),
        settings: &[],
        assault: is_served,
        seen: &[Logged("the handler cannot be loaded: its route answers 503"), Logged("max-component-bytes")],
        without: Limit(&[server("compile.max-component-bytes", "\"200MiB\"")], Gets("is served")),
    },
    Attack {
        name: "be a module with 100,000 functions",
        handler: Made(handlers::hundred_thousand_functions),
        settings: &[server("compile.max-artefact-bytes", "\"1MiB\""), server("cache", "false")],
        assault: is_served,
        seen: &[Logged("the handler cannot be loaded: its route answers 503"), Logged("max-artefact-bytes")],
        without: Limit(&[server("compile.max-artefact-bytes", "\"512MiB\"")], Gets("is served")),
    },
    Attack {
        name: "print control characters",
        handler: Guest("probe"),
        settings: &[],
        assault: |field| say_to_probe(field, "print \u{1b}[2Jforged"),
        seen: &[Logged("forged"), NotLogged("\u{1b}[2J")],
        without: Rule("they are always escaped"),
    },
    Attack {
        name: "flood stdout and logs",
        handler: ATTACKER,
        settings: &[],
        assault: |field| poke(field, 4, "on-message", "print 1000"),
        seen: &[Logged("what the handler printed was dropped")],
        without: Limit(
            &[
                tenant("limits.max-log-bytes-per-second", "\"unlimited\""),
                tenant("total.max-log-bytes-per-second", "\"unlimited\""),
            ],
            Log(4 << 10),
        ),
    },
];

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

/// Three hundred subscribers that do not read, one of which makes the handler publish for ever.
fn publish_to_many(field: Arc<Field>) -> Running {
    Box::pin(async move {
        let subscribe = Field::query("open", "subscribe own");
        loop {
            let mut peers = Vec::new();
            for _ in 0..300 {
                peers.extend(field.open_from(None, &subscribe, Some(4096)).await);
            }
            if let Some(mut peer) = field.open(&Field::query("on-message", "publish 100")).await {
                peer.say(Frame::text("go")).await;
                field.watch(&mut peer).await;
            }
        }
    })
}

/// A handler opens a connection and tells its id; others try that one, and one beside it.
async fn ids(field: Arc<Field>) {
    let query = Field::query("on-message", &format!("id ws://{}/open", field.hostile));
    let Some(mut owner) = field.open(&query).await else { return };
    owner.say(Frame::text("go")).await;
    let Arrival::Frame(_, told) = owner.next().await else { return };
    let told = String::from_utf8_lossy(&told).into_owned();
    let ["id", id, "found"] = told.split(' ').collect::<Vec<_>>()[..] else { return field.note(told) };
    field.note("the handler's own is found");
    let beside = format!("{}{}", &id[..id.len() - 1], if id.ends_with('0') { '1' } else { '0' });
    for host in [ATTACKER_HOST, NEIGHBOUR] {
        for id in [id, &beside] {
            let head =
                Field::head(&Field::query("on-message", &format!("get {id}"))).replace(ATTACKER_HOST, host);
            let Ok(peer) = field.socket(None, None).await else { continue };
            let Ok((101, _, mut peer)) = field.ask(peer, &head).await else { continue };
            peer.say(Frame::text("go")).await;
            if let Arrival::Frame(_, answer) = peer.next().await {
                let answer = String::from_utf8_lossy(&answer).into_owned();
                field.note(format!("{host}: {}", answer.trim_start_matches("get ")));
            }
        }
    }
}

/// A subscriber of the attacker's own, one of the neighbour's, and somebody who publishes.
fn topics(field: Arc<Field>) -> Running {
    Box::pin(async move {
        let mut all = tokio::task::JoinSet::new();
        for host in [ATTACKER_HOST, NEIGHBOUR] {
            let field = field.clone();
            all.spawn(async move {
                let head = Field::head(&Field::query("open", "subscribe news")).replace(ATTACKER_HOST, host);
                let Ok(peer) = field.socket(None, None).await else { return };
                let Ok((101, _, mut peer)) = field.ask(peer, &head).await else { return };
                while let Arrival::Frame(_, payload) = peer.next().await {
                    field.note(format!("{host} {}", String::from_utf8_lossy(&payload)));
                }
            });
        }
        let tell = poke(field, 2, "on-message", "tell news");
        all.spawn(tell);
        all.join_next().await;
    })
}

/// Whether the handler can be connected to.
fn is_served(field: Arc<Field>) -> Running {
    clients(field, 1, |field, _| async move {
        if field.open("").await.is_some() {
            field.note("is served");
        }
    })
}

fn nothing(_: Arc<Field>) -> Running {
    Box::pin(std::future::ready(()))
}

/// With an origin, so that every function is asked; leaves, if `on-close` is to be asked.
fn poke_all(field: Arc<Field>, at: &'static str, what: &'static str) -> Running {
    Box::pin(async move {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let field = field.clone();
            all.spawn(async move {
                loop {
                    let head = Field::head(&Field::query(at, what)) + "Origin: http://attacker.test\r\n";
                    let Ok(peer) = field.socket(None, None).await else { continue };
                    if let Ok((101, _, mut peer)) = field.ask(peer, &head).await {
                        peer.say(Frame::text("go")).await;
                        if at == "on-close" {
                            peer.say(Frame::close(1000, "")).await;
                        }
                        field.watch(&mut peer).await;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            });
        }
        all.join_next().await;
    })
}

/// Two clients that tell the guest `probe` something.
fn say_to_probe(field: Arc<Field>, what: &'static str) -> Running {
    Box::pin(async move {
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let field = field.clone();
            all.spawn(async move {
                loop {
                    if let Some(mut peer) = field.open("").await {
                        peer.say(Frame::text(what)).await;
                        field.watch_until_answer(&mut peer).await;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            });
        }
        all.join_next().await;
    })
}

/// Everything under which this machine and its neighbours can be reached, one after the other.
fn dial(field: Arc<Field>) -> Running {
    Box::pin(async move {
        let places = [
            "127.0.0.1:1".to_owned(),
            field.hostile.to_string(),
            "localhost:1".into(),
            "0.0.0.0:1".into(),
            "2130706433:1".into(),
            "0x7f.1:1".into(),
            "0x7f000001:1".into(),
            "017700000001:1".into(),
            "127.1:1".into(),
            "localhost.:1".into(),
            "[::1]:1".into(),
            "[::]:1".into(),
            "[::ffff:127.0.0.1]:1".into(),
            "[::ffff:7f00:1]:1".into(),
            "[::127.0.0.1]:1".into(),
            "10.0.0.1:80".into(),
            "192.168.0.1:80".into(),
            "[fe80::1]:80".into(),
            "169.254.169.254:80".into(),
        ];
        loop {
            for place in &places {
                let query = Field::query("on-message", &format!("dial ws://{place}/"));
                if let Some(mut peer) = field.open(&query).await {
                    peer.say(Frame::text("go")).await;
                    peer.say(Frame::close(1000, "")).await;
                    field.watch(&mut peer).await;
                }
            }
        }
    })
}
