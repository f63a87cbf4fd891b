//! Frames that are none, are too much, or hold more than they seem to.

use waterspout_tests::Frame;

use super::ECHO;
use crate::attack::Handler::Guest;
use crate::attack::Harm::{Memory, Noted as Gets};
use crate::attack::Sign::{Logged, NotLogged, NotNoted, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, PROTOCOL, WAITS, tenant, unlimited};
use crate::field::{Field, clients};

pub(super) const ATTACKS: &[Attack] = &[
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
        without: Limit(&[unlimited("limits.max-message-bytes")], Memory(200)),
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
        without: Limit(&[unlimited("limits.max-fragments")], Gets("all of it")),
    },
    Attack {
        name: "a deflate bomb",
        handler: ECHO,
        settings: &[],
        assault: |field| {
            clients(field, 4, |field, _| async move {
                let head = Field::head("") + "Sec-WebSocket-Extensions: permessage-deflate\r\n";
                if let Ok((101, head, mut peer)) = field.handshake(&head).await {
                    if !head.contains("permessage-deflate") {
                        return field.note("no compression");
                    }
                    peer.send(&Frame::binary(bomb(400 << 20)).with_rsv(4).masked()).await;
                    field.watch(&mut peer).await;
                }
            })
        },
        seen: &[Noted("close 1009 message too big")],
        without: Limit(&[unlimited("limits.max-message-bytes")], Memory(200)),
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
        seen: &[
            Logged("forged"),
            NotLogged("\u{1b}]0"),
            NotLogged("\u{7}"),
            NotLogged("\u{9b}"),
            NotLogged("\u{2028}"),
        ],
        without: Rule("control characters are always escaped"),
    },
];

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
