//! "A peer may": clients that mean harm, at a handler that does not.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use waterspout_tests::Frame;
use waterspout_tests::http2::{END_HEADERS, Http2Frame, RawHttp2, handshake_headers, kind};

use crate::attack::Handler::{Guest, Made};
use crate::attack::Harm::{Memory, Noted as Gets, Unstopped, Victim};
use crate::attack::Sign::{Logged, NotLogged, NotNoted, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, Handler, Running, route, server, tenant};
use crate::field::{Field, clients};
use crate::handlers;

const ECHO: Handler = Made(handlers::echo);
const WAITS: crate::attack::Harm = Unstopped { processor_percent: 0 };
const PROTOCOL: &str = "the protocol's rule";

/// More sockets than the server may have.
const CROWD: u32 = 150;
const FEW_SOCKETS: &str = "100";

pub(crate) const ATTACKS: &[Attack] = &[
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
        name: "send half a frame",
        handler: ECHO,
        settings: &[tenant("limits.ping-interval", "\"200ms\"")],
        assault: |field| {
            clients(field, 50, |field, _| async move {
                let Some(mut peer) = field.open("").await else { return };
                peer.send(&Frame::text("half of this never comes").masked()[..12]).await;
                field.watch(&mut peer).await;
            })
        },
        seen: &[Noted("close 1000 ping timed out")],
        without: Limit(&[tenant("limits.ping-interval", "\"0s\"")], WAITS),
    },
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
        name: "break the framing: no mask, RSV bits, reserved opcodes, fragmented and long control frames, a length of 2^63",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 8, |field, number| async move {
                let wrong: [Vec<u8>; 8] = [
                    Frame::text("no mask").unmasked(),
                    Frame::text("rsv").with_rsv(3).masked(),
                    Frame::new(3, "reserved").masked(),
                    Frame::new(11, "reserved").masked(),
                    Frame::ping("fragment").unfinished().masked(),
                    Frame::ping([b'x'; 126]).masked(),
                    Frame::continuation("of nothing").masked(),
                    [&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0][..], &[1, 2, 3, 4]].concat(),
                ];
                let Some(mut peer) = field.open("").await else { return };
                peer.send(&wrong[number as usize]).await;
                field.watch(&mut peer).await;
            })
        },
        seen: &[Noted("close 1002 protocol error")],
        without: Rule(PROTOCOL),
    },
    Attack {
        name: "bad UTF-8 split across frames",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let Some(mut peer) = field.open("").await else { return };
                peer.say(Frame::text([0xf0, 0x9f]).unfinished()).await;
                peer.say(Frame::continuation([0x41, 0x42])).await;
                field.watch(&mut peer).await;
            })
        },
        seen: &[Noted("close 1007")],
        without: Rule(PROTOCOL),
    },
    Attack {
        name: "one huge frame",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let Some(mut peer) = field.open("").await else { return };
                // 400 MiB, of which the host need not see more than the head to refuse it.
                let head = [&[0x82, 0xff][..], &(400_u64 << 20).to_be_bytes(), &[0; 4]].concat();
                let mut sent = peer.send(&head).await;
                let part = vec![b'x'; 1 << 18];
                for _ in 0..1600 {
                    sent = sent && peer.send(&part).await;
                }
                field.watch(&mut peer).await;
            })
        },
        seen: &[Noted("close 1009 message too big")],
        without: Limit(&[tenant("limits.max-message-bytes", "\"unlimited\"")], Memory(200)),
    },
    Attack {
        name: "endless tiny fragments",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let Some(mut peer) = field.open("").await else { return };
                let many: Vec<u8> = Frame::continuation("").unfinished().masked().repeat(1000);
                let mut sent = peer.say(Frame::text("").unfinished()).await;
                // Twice as many as are allowed.
                for _ in 0..20 {
                    sent = sent && peer.send(&many).await;
                }
                peer.say(Frame::continuation("all of it")).await;
                field.watch_until_answer(&mut peer).await;
            })
        },
        seen: &[Noted("close 1009"), NotNoted("all of it")],
        without: Limit(&[tenant("limits.max-fragments", "\"unlimited\"")], Gets("all of it")),
    },
    Attack {
        name: "a deflate bomb",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let Ok(peer) = field.socket(None, None).await else { return };
                let head = Field::head("") + "Sec-WebSocket-Extensions: permessage-deflate\r\n";
                if let Ok((101, head, mut peer)) = field.ask(peer, &head).await {
                    if !head.contains("permessage-deflate") {
                        return field.note("no compression");
                    }
                    peer.send(&Frame::binary(bomb(400 << 20)).with_rsv(4).masked()).await;
                    field.watch(&mut peer).await;
                }
            })
        },
        seen: &[Noted("close 1009 message too big")],
        without: Limit(&[tenant("limits.max-message-bytes", "\"unlimited\"")], Memory(200)),
    },
    Attack {
        name: "pings as fast as it can",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let Some(peer) = field.open("").await else { return };
                let (mut reader, mut writer) = peer.socket.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
                let many = Frame::ping("as fast as it can").masked().repeat(500);
                while tokio::io::AsyncWriteExt::write_all(&mut writer, &many).await.is_ok() {
                    field.note("500 pings");
                }
            })
        },
        seen: &[Noted("500 pings")],
        without: Rule("pings are answered, and who does not read the answers is not read"),
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
        without: Limit(&[tenant("limits.write-timeout", "\"unlimited\"")], WAITS),
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
                let Ok(peer) = field.socket(None, None).await else { return };
                let head =
                    format!("{}Sec-WebSocket-Extensions: {}\r\n", Field::head(""), offers[number as usize]);
                if let Ok((101, _, mut peer)) = field.ask(peer, &head).await {
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
                let Ok(peer) = field.socket(None, None).await else { return };
                if let Ok((status, ..)) = field.ask(peer, &head).await {
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
    Attack {
        name: "send text that is meant for a log or a terminal",
        handler: Guest("probe"),
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let Some(mut peer) = field.open("").await else { return };
                peer.say(Frame::text("panic \u{1b}]0;owned\u{7}\r\u{9b}2J forged\u{2028}line")).await;
                field.watch(&mut peer).await;
            })
        },
        seen: &[Logged("forged"), NotLogged("\u{1b}]0"), NotLogged("\u{7}"), NotLogged("\u{9b}")],
        without: Rule("control characters are always escaped"),
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
            let next = Arc::new(std::sync::atomic::AtomicU64::new(0));
            Box::pin(async move {
                let mut all = JoinSet::new();
                for _ in 0..300 {
                    let (field, next) = (field.clone(), next.clone());
                    all.spawn(async move {
                        loop {
                            let room = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            let head = Field::head("").replace("/attack", &format!("/room-{room}"));
                            if let Ok(peer) = field.socket(None, None).await
                                && let Ok((101, _, mut peer)) = field.ask(peer, &head).await
                            {
                                field.note("opened");
                                field.watch(&mut peer).await;
                            }
                            sleep(Duration::from_millis(50)).await;
                        }
                    });
                }
                all.join_next().await;
            })
        },
        seen: &[Noted("HTTP 503")],
        without: Limit(
            &[
                tenant("limits.max-instances", "\"unlimited\""),
                tenant("total.max-instances", "\"unlimited\""),
                tenant("total.max-memory-bytes", "\"unlimited\""),
            ],
            Victim,
        ),
    },
    Attack {
        name: "HTTP/2: rapid reset",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            http2(field, |mut peer, _| async move {
                let headers = handshake_headers("/attack");
                for stream in (1..2001).step_by(2) {
                    let open = Http2Frame::new(kind::HEADERS, END_HEADERS, stream, headers.clone()).bytes();
                    let reset = Http2Frame::new(kind::RST_STREAM, 0, stream, 8_u32.to_be_bytes()).bytes();
                    if peer.send_bytes(&[open, reset].concat()).await.is_err() {
                        break;
                    }
                }
                peer
            })
        },
        seen: &[Noted("ended")],
        without: Rule("more than 100 requests that are taken back end the socket"),
    },
    Attack {
        name: "HTTP/2: a CONTINUATION flood",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            http2(field, |mut peer, _| async move {
                let headers = handshake_headers("/attack");
                let mut sent = peer.send(Http2Frame::new(kind::HEADERS, 0, 1, headers)).await;
                let part = waterspout_tests::http2::literals(&[("x-flood", &"x".repeat(100))]).repeat(20);
                for _ in 0..10_000 {
                    if sent.is_err() {
                        break;
                    }
                    sent = peer.send(Http2Frame::new(kind::CONTINUATION, 0, 1, part.clone())).await;
                }
                peer
            })
        },
        seen: &[Noted("ended")],
        without: Rule("a head has at most 16 KiB"),
    },
    Attack {
        name: "HTTP/2: a SETTINGS flood",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            http2(field, |mut peer, field| async move {
                let many = Http2Frame::new(kind::SETTINGS, 0, 0, Vec::new()).bytes().repeat(500);
                while let Ok(Ok(())) =
                    tokio::time::timeout(Duration::from_millis(500), peer.send_bytes(&many)).await
                {
                    field.note("500 SETTINGS");
                }
                field.note("not read any more");
                peer
            })
        },
        seen: &[Noted("not read any more")],
        without: Rule("who does not read the answers is not read"),
    },
    Attack {
        name: "HTTP/2: thousands of streams on one socket, with zero windows",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            http2(field, |mut peer, field| async move {
                let headers = handshake_headers("/attack");
                for stream in (1..6001).step_by(2) {
                    let open = Http2Frame::new(kind::HEADERS, END_HEADERS, stream, headers.clone());
                    if peer.send(open).await.is_err() {
                        break;
                    }
                }
                if peer.find(|frame| frame.kind == kind::RST_STREAM).await.is_some() {
                    field.note("a stream is refused");
                }
                peer
            })
        },
        seen: &[Noted("a stream is refused")],
        without: Rule("a socket has at most 100 streams"),
    },
];

/// Good handshakes but for some lines more; what is answered.
fn variants(field: Arc<Field>, lines: &'static [&'static str]) -> Running {
    Box::pin(async move {
        loop {
            for line in lines {
                let Ok(peer) = field.socket(None, None).await else { continue };
                if let Ok((101, ..)) = field.ask(peer, &(Field::head("") + line)).await {
                    field.note("opened");
                }
            }
        }
    })
}

/// Two sockets over TLS whose peers flood, then read to the end; their windows are closed.
fn http2<F>(field: Arc<Field>, act: fn(RawHttp2, Arc<Field>) -> F) -> Running
where
    F: Future<Output = RawHttp2> + Send + 'static,
{
    Box::pin(async move {
        let mut all = JoinSet::new();
        for _ in 0..2 {
            let field = field.clone();
            all.spawn(async move {
                loop {
                    /// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 section 6.5.2).
                    const INITIAL_WINDOW_SIZE: u16 = 4;
                    let settings = [(INITIAL_WINDOW_SIZE, 0)];
                    let peer = RawHttp2::connect(&field.identity, field.tls, &settings).await;
                    let mut peer = act(peer, field.clone()).await;
                    if let Ok(code) = tokio::time::timeout(Duration::from_secs(2), peer.ends()).await {
                        field.note(format!("ended: GOAWAY {code:?}"));
                    }
                }
            });
        }
        all.join_next().await;
    })
}

/// A DEFLATE stream (RFC 1951) of so many zeros, made by hand: one literal, then matches of 258 bytes at distance 1, in fixed
/// Huffman codes, which are 13 bits each; at its end the empty stored block whose bytes RFC 7692 takes away.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // Not the last block; fixed codes.
    bits.push(0b010, 3);
    bits.push_code(0b0011_0000, 8);
    for _ in 0..bytes / 258 {
        // 285 is length 258; distance code 0.
        bits.push_code(0b1100_0101, 8);
        bits.push_code(0, 5);
    }
    // The block's end; then an empty stored block's three bits.
    bits.push_code(0, 7);
    bits.push(0, 3);
    bits.finish()
}

/// Bits in DEFLATE's order.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    pending: u32,
    count: u32,
}

impl Bits {
    /// A number: the least significant bit first.
    fn push(&mut self, value: u32, count: u32) {
        self.pending |= value << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    /// A Huffman code: the most significant bit first.
    fn push_code(&mut self, code: u32, count: u32) {
        self.push(code.reverse_bits() >> (32 - count), count);
    }

    fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.bytes.push(self.pending as u8);
        }
        self.bytes
    }
}
