//! Handlers that reach for what is not theirs: forbidden destinations, others' connections, instances and topics.

use std::sync::Arc;

use waterspout_tests::Frame;

use super::ATTACKER;
use crate::attack::Harm::Noted as Gets;
use crate::attack::Sign::{NotNoted, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, Running, neighbour, tenant};
use crate::field::{Arrival, Field, clients, poke};
use crate::program::{ATTACKER as ATTACKER_HOST, NEIGHBOUR};

pub(super) const ATTACKS: &[Attack] = &[
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
                if let Some(mut peer) = field.incite("on-message", &format!("dial {url}")).await {
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
];

/// A handler opens a connection and tells its id; others try that one, and one beside it.
async fn ids(field: Arc<Field>) {
    let own = format!("id ws://{}/open", field.hostile);
    let Some(mut owner) = field.incite("on-message", &own).await else { return };
    let Arrival::Frame(_, told) = owner.next().await else { return };
    let told = String::from_utf8_lossy(&told).into_owned();
    let ["id", id, "found"] = told.split(' ').collect::<Vec<_>>()[..] else { return field.note(told) };
    field.note("the handler's own is found");
    let beside = format!("{}{}", &id[..id.len() - 1], if id.ends_with('0') { '1' } else { '0' });
    for host in [ATTACKER_HOST, NEIGHBOUR] {
        for id in [id, &beside] {
            let head =
                Field::head(&Field::query("on-message", &format!("get {id}"))).replace(ATTACKER_HOST, host);
            let Ok((101, _, mut peer)) = field.handshake(&head).await else { continue };
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
                let Ok((101, _, mut peer)) = field.handshake(&head).await else { return };
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
                if let Some(mut peer) = field.incite("on-message", &format!("dial ws://{place}/")).await {
                    peer.say(Frame::close(1000, "")).await;
                    field.watch(&mut peer).await;
                }
            }
        }
    })
}
