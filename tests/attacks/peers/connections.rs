//! Connections that nobody takes care of, or that are too many.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use waterspout_tests::Frame;

use super::ECHO;
use crate::attack::Handler::Guest;
use crate::attack::Harm::{Noted as Gets, Unstopped, Victim};
use crate::attack::Sign::{NotNoted, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, WAITS, route, server, tenant, unlimited};
use crate::field::{Field, clients};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "vanish without a FIN",
        handler: ECHO,
        settings: &[tenant("limits.ping-interval", "\"200ms\""), tenant("limits.close-timeout", "\"100ms\"")],
        assault: |field| {
            // As good as gone: nothing is read, and nothing answered.
            clients(field, 100, |field, _| async move {
                let Some(mut peer) = field.open("").await else { return };
                sleep(Duration::from_millis(600)).await;
                field.note(if peer.say(Frame::text("there?")).await && peer.say(Frame::text("?")).await {
                    "still there"
                } else {
                    "dropped"
                });
            })
        },
        seen: &[Noted("dropped")],
        without: Limit(&[tenant("limits.ping-interval", "\"0s\"")], Gets("still there")),
    },
    Attack {
        name: "stop reading",
        handler: ECHO,
        settings: &[tenant("limits.write-timeout", "\"300ms\"")],
        assault: |field| {
            clients(field, 8, |field, _| async move {
                let Some(mut peer) = field.open_from(None, "", Some(4096)).await else { return };
                let message = Frame::binary(vec![0; 60_000]).masked();
                while peer.send(&message).await {}
                field.note("dropped");
            })
        },
        seen: &[Noted("dropped")],
        without: Limit(&[unlimited("limits.write-timeout")], WAITS),
    },
    Attack {
        name: "open and close connections as fast as it can",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 16, |field, number| async move {
                let from = Some(Ipv4Addr::new(203, 0, 113, 9));
                if let Some(peer) = field.open_from(from, "", None).await {
                    if number % 2 == 0 {
                        let _ = peer.socket.set_zero_linger();
                    }
                    field.note("opened");
                }
            })
        },
        seen: &[Noted("opened"), Noted("HTTP 429")],
        without: Limit(
            &[server("max-handshakes-per-address", "\"unlimited\"")],
            Unstopped { processor_percent: 50 },
        ),
    },
    Attack {
        name: "take all connections from one address",
        handler: ECHO,
        settings: &[server("max-connections", "200"), server("max-connections-per-address", "50")],
        assault: |field| {
            clients(field, 300, |field, _| async move {
                let from = Some(Ipv4Addr::new(203, 0, 113, 9));
                if let Some(mut peer) = field.open_from(from, "", None).await {
                    field.note("opened");
                    field.watch(&mut peer).await;
                }
                sleep(Duration::from_millis(50)).await;
            })
        },
        seen: &[Noted("HTTP 429")],
        without: Limit(
            &[
                server("max-connections-per-address", "1000000"),
                server("max-handshakes-per-address", "1000000"),
            ],
            Victim,
        ),
    },
    Attack {
        name: "send the one message that traps, for ever",
        handler: Guest("probe"),
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let from = Some(Ipv4Addr::new(203, 0, 113, 9));
                let Some(mut peer) = field.open_from(from, "", None).await else { return };
                peer.say(Frame::text("trap")).await;
                field.watch(&mut peer).await;
            })
        },
        seen: &[Noted("close 1011 handler failed"), Noted("HTTP 429"), NotNoted("HTTP 503")],
        without: Rule("his address waits, longer each time"),
    },
    Attack {
        name: "invent a million room names",
        handler: ECHO,
        settings: &[
            server("max-instances", "200"),
            tenant("limits.max-instances", "100"),
            tenant("limits.linger", "\"100ms\""),
            route("path", "\"/{room}\""),
            route("instance", "\"{room}\""),
        ],
        assault: |field| {
            let next = Arc::new(AtomicU64::new(0));
            clients(field, 300, move |field, _| {
                let room = next.fetch_add(1, Ordering::Relaxed);
                async move {
                    let head = Field::head("").replace("/attack", &format!("/room-{room}"));
                    if let Ok((101, _, mut peer)) = field.handshake(&head).await {
                        field.note("opened");
                        field.watch(&mut peer).await;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            })
        },
        seen: &[Noted("HTTP 503")],
        without: Limit(
            &[
                unlimited("limits.max-instances"),
                unlimited("total.max-instances"),
                unlimited("total.max-memory-bytes"),
            ],
            Victim,
        ),
    },
];
