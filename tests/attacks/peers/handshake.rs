//! Handshakes that do not come to an end, or say two things at once.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use waterspout_tests::Frame;

use super::ECHO;
use crate::attack::Harm::{Unstopped, Victim};
use crate::attack::Sign::{NotNoted, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, PROTOCOL, Running, server};
use crate::field::{Field, clients};

/// More sockets than the server may have.
const CROWD: u32 = 150;

const FEW_SOCKETS: &str = "100";

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "send nothing (slow handshake)",
        handler: ECHO,
        settings: &[server("max-connections", FEW_SOCKETS), server("handshake-timeout", "\"200ms\"")],
        assault: |field| {
            clients(field, CROWD, |field, _| async move {
                let Ok(mut peer) = field.socket(None, None).await else { return };
                peer.next().await;
                field.note("dropped");
            })
        },
        seen: &[Noted("dropped")],
        without: Limit(&[server("handshake-timeout", "\"1h\"")], Victim),
    },
    Attack {
        name: "send one byte a second",
        handler: ECHO,
        settings: &[server("max-connections", FEW_SOCKETS), server("handshake-timeout", "\"200ms\"")],
        assault: |field| {
            clients(field, CROWD, |field, _| async move {
                let Ok(mut peer) = field.socket(None, None).await else { return };
                for byte in Field::head("").bytes() {
                    if !peer.send(&[byte]).await {
                        return field.note("dropped");
                    }
                    // Faster than a second, for this is a short test.
                    sleep(Duration::from_millis(50)).await;
                }
            })
        },
        seen: &[Noted("dropped")],
        without: Limit(&[server("handshake-timeout", "\"1h\"")], Victim),
    },
    Attack {
        name: "send headers without end",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 8, |field, _| async move {
                let Ok(mut peer) = field.socket(None, None).await else { return };
                let line = format!("X-{}: {}\r\n", "n".repeat(50), "v".repeat(1000));
                let mut sent = peer.send(Field::head("").as_bytes()).await;
                // More than the kernel takes for a socket that nobody reads.
                for _ in 0..20_000 {
                    sent = sent && peer.send(line.as_bytes()).await;
                }
                field.note(if sent { "swallowed" } else { "dropped" });
            })
        },
        seen: &[Noted("dropped"), NotNoted("swallowed")],
        without: Rule("a head has at most 16 KiB"),
    },
    Attack {
        name: "pipeline requests and read no answer",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let Ok(mut peer) = field.socket(None, Some(4096)).await else { return };
                // Answers without a body, which nothing but the socket holds back.
                let many = (Field::head("").replace("Version: 13", "Version: 99") + "\r\n").repeat(500);
                for _ in 0..1000 {
                    let sending = peer.send(many.as_bytes());
                    if !matches!(tokio::time::timeout(Duration::from_secs(1), sending).await, Ok(true)) {
                        return field.note("not read any more");
                    }
                }
                field.note("half a million requests are read");
            })
        },
        seen: &[Noted("not read any more"), NotNoted("half a million requests are read")],
        without: Rule("who does not read the answers is not read"),
    },
    Attack {
        name: "ask for what is not there, again and again, on hundreds of sockets",
        handler: ECHO,
        settings: &[],
        assault: |field| flood_of_requests(field, None),
        seen: &[Noted("answered")],
        without: Rule("who is nobody's yet has an account of his own, and is read a little at a time"),
    },
    Attack {
        name: "ask for what is not there, again and again, from one address",
        handler: ECHO,
        settings: &[],
        assault: |field| flood_of_requests(field, Some(Ipv4Addr::new(203, 0, 113, 9))),
        seen: &[Noted("dropped")],
        without: Limit(
            &[server("max-handshakes-per-address", "\"unlimited\"")],
            Unstopped { processor_percent: 40 },
        ),
    },
    Attack {
        name: "extensions twice, unknown, contradictory, window bits 8",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, number| async move {
                let offers = [
                    "permessage-deflate; server_max_window_bits=8; server_max_window_bits=8",
                    "permessage-deflate; client_max_window_bits=7, permessage-deflate; unknown=1, x-webkit",
                    "permessage-deflate; server_max_window_bits=8",
                    "permessage-deflate, permessage-deflate; server_no_context_takeover=yes",
                ];
                let head =
                    format!("{}Sec-WebSocket-Extensions: {}\r\n", Field::head(""), offers[number as usize]);
                if let Ok((101, _, mut peer)) = field.handshake(&head).await {
                    field.note("opened");
                    peer.say(Frame::close(1000, "")).await;
                    field.watch(&mut peer).await;
                }
            })
        },
        seen: &[Noted("opened"), Noted("close 1000")],
        without: Rule(PROTOCOL),
    },
    Attack {
        name: "forge Origin, send it twice or as null; connect across sites (CSWSH)",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            variants(
                field,
                &[
                    "Origin: https://evil.example\r\n",
                    "Origin: null\r\n",
                    "Origin: http://attacker.test\r\nOrigin: https://evil.example\r\n",
                    "Origin: http://attacker.test.evil.example\r\n",
                ],
            )
        },
        seen: &[Noted("HTTP 403"), Noted("HTTP 400"), NotNoted("opened")],
        without: Rule("the same origin only, unless the operator lists others"),
    },
    Attack {
        name: "send Host twice or none",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 2, |field, number| async move {
                let host =
                    Field::head("").lines().nth(1).map(|line| format!("{line}\r\n")).unwrap_or_default();
                let hosts = [String::new(), format!("{host}Host: victim.test\r\n")];
                let head = Field::head("").replace(&host, &hosts[number as usize]);
                if let Ok((status, ..)) = field.handshake(&head).await {
                    field.note(format!("{} Host: {status}", ["no", "a second"][number as usize]));
                }
            })
        },
        seen: &[Noted("no Host: 400"), Noted("a second Host: 400"), NotNoted("Host: 101")],
        without: Rule(PROTOCOL),
    },
    Attack {
        name: "smuggle a second request in a body",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            variants(
                field,
                &[
                    "Content-Length: 5\r\n",
                    "Transfer-Encoding: chunked\r\n",
                    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                ],
            )
        },
        seen: &[Noted("HTTP 400"), NotNoted("opened")],
        without: Rule(PROTOCOL),
    },
    Attack {
        name: "smuggle a second request behind the upgrade",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let Ok(peer) = field.socket(None, None).await else { return };
                let mut peer = peer;
                let both =
                    format!("{0}\r\nGET /healthz HTTP/1.1\r\nHost: victim.test\r\n\r\n", Field::head(""));
                peer.send(both.as_bytes()).await;
                // Whatever comes is the answer to the first, then what a WebSocket makes of "GET /".
                if let Ok((101, _, mut peer)) = field.ask(peer, "").await {
                    field.watch(&mut peer).await;
                }
            })
        },
        seen: &[Noted("close 1002"), NotNoted("HTTP 200")],
        without: Rule(PROTOCOL),
    },
];

/// Good handshakes but for some lines more; what is answered.
fn variants(field: Arc<Field>, lines: &'static [&'static str]) -> Running {
    Box::pin(async move {
        loop {
            for line in lines {
                if let Ok((101, ..)) = field.handshake(&(Field::head("") + line)).await {
                    field.note("opened");
                }
            }
        }
    })
}

/// Sockets with requests in a row, whose answers are read and thrown away.
fn flood_of_requests(field: Arc<Field>, from: Option<Ipv4Addr>) -> Running {
    clients(field, 300, move |field, _| async move {
        let Ok(peer) = field.socket(from, None).await else { return };
        let many = format!("{}\r\n", Field::head("").replace("/attack", "/nothing")).repeat(50);
        let (mut answers, mut requests) = peer.socket.into_split();
        let asks = async { while requests.write_all(many.as_bytes()).await.is_ok() {} };
        let reads = async {
            let mut buffer = vec![0; 16 << 10];
            for number in 0_u64.. {
                if !matches!(answers.read(&mut buffer).await, Ok(1..)) {
                    return;
                }
                if number == 0 {
                    field.note("answered");
                }
            }
        };
        tokio::select! {
            () = asks => {}
            () = reads => {}
        }
        field.note("dropped");
        sleep(Duration::from_millis(50)).await;
    })
}
