//! WebSocket frames as bytes (RFC 6455, section 5), for a client that must cost less than the server it measures.
//!
//! Client frames are built and masked once, before the clock runs: a [`Deck`]. Server frames are read by
//! [`Parser`], which never copies a payload: it hands out the pieces as they arrive, and the deck compares them with
//! what was sent. This is no general implementation: no extension but permessage-deflate, and whatever an echo server has no
//! reason to send is an error.

use anyhow::{Result, bail, ensure};

use crate::chat::Chat;
use crate::deflate;
use crate::random::Random;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The bit of a frame's first byte that says that a message is compressed (RFC 7692, section 6).
const RSV1: u8 = 0x40;
/// Twice the largest window: a compressor that has seen so many bytes since a message finds nothing of it.
const FORGOTTEN_BYTES: usize = 64 * 1024;

/// A control frame's payload is at most this long (RFC 6455, section 5.5).
const MAX_CONTROL_BYTES: usize = 125;
/// A server's header: two bytes, and eight for the longest form of the length. There is no mask.
const MAX_SERVER_HEADER_BYTES: usize = 10;
/// Payloads up to this length are compared whole; of longer pieces only samples.
const COMPARED_WHOLE_BYTES: usize = 256;
/// The length of one sample.
const SAMPLE_BYTES: usize = 64;

/// What a data message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// UTF-8, which the server has to check.
    Text,
    /// Bytes.
    Binary,
}

impl Kind {
    fn opcode(self) -> u8 {
        match self {
            Kind::Text => TEXT,
            Kind::Binary => BINARY,
        }
    }
}

/// How messages travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wire {
    #[default]
    Plain,
    /// By permessage-deflate, every one of them.
    Compressed,
}

/// Appends one final client frame; `first` is its opcode, with reserved bits if there are any.
fn push_frame(out: &mut Vec<u8>, first: u8, mask: [u8; 4], payload: &[u8]) {
    out.push(0x80 | first);
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        medium @ 126..65_536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Appends the pong that answers a ping.
pub(crate) fn push_pong(out: &mut Vec<u8>, payload: &[u8]) {
    push_frame(out, PONG, [0x5a, 0xa5, 0x3c, 0xc3], payload);
}

/// A client's close frame with code 1000.
pub(crate) fn close_frame() -> Vec<u8> {
    let mut out = Vec::new();
    push_frame(&mut out, CLOSE, [0x5a, 0xa5, 0x3c, 0xc3], &1000_u16.to_be_bytes());
    out
}

/// The messages that every connection sends, round and round: prebuilt frames, their payloads all of one length, no two
/// alike (from four bytes on), each with a mask of its own.
///
/// There is at least one message more than can be in flight, so an echo that is lost, doubled or overtaken does not
/// compare. Compressed, there are so many that a server's window has forgotten a message before it comes again.
pub(crate) struct Deck {
    wire: Wire,
    kind: Kind,
    payload_bytes: usize,
    distinct: usize,
    /// What is said, uncompressed.
    payloads: Vec<u8>,
    /// `distinct` frames, then the first ones again, so that any run of frames in flight is one slice.
    frames: Vec<u8>,
    /// Where each of these frames begins, and where the last one ends.
    bounds: Vec<usize>,
}

impl Deck {
    pub(crate) fn new(wire: Wire, kind: Kind, payload_bytes: usize, in_flight: usize) -> Self {
        let (distinct, content): (_, fn(usize, usize) -> Vec<u8>) = match wire {
            Wire::Plain => (in_flight + 1, noise),
            Wire::Compressed => (in_flight.max(FORGOTTEN_BYTES.div_ceil(payload_bytes.max(1))) + 1, talk),
        };
        let payloads = content(distinct, payload_bytes);
        let mut masks = Random::new();
        let (mut frames, mut bounds) = (Vec::new(), Vec::new());
        for number in 0..distinct {
            bounds.push(frames.len());
            let payload = &payloads[number * payload_bytes..][..payload_bytes];
            let mask = (masks.next() as u32 | 1).to_be_bytes();
            match wire {
                Wire::Plain => push_frame(&mut frames, kind.opcode(), mask, payload),
                Wire::Compressed => {
                    push_frame(&mut frames, RSV1 | kind.opcode(), mask, &deflate::compress(payload));
                }
            }
        }
        // The very same bytes: a frame may be begun here and ended at the front.
        let round_bytes = frames.len();
        bounds.extend_from_within(..=in_flight);
        bounds[distinct..].iter_mut().for_each(|bound| *bound += round_bytes);
        frames.extend_from_within(..bounds[distinct + in_flight] - round_bytes);
        Self { wire, kind, payload_bytes, distinct, payloads, frames, bounds }
    }

    /// The whole frame of the `sequence`-th message.
    pub(crate) fn frame(&self, sequence: u64) -> &[u8] {
        let number = self.number(sequence);
        &self.frames[self.bounds[number]..self.bounds[number + 1]]
    }

    /// The length of the frames of so many messages from the `sequence`-th on; at most those that can be in flight.
    pub(crate) fn run_bytes(&self, sequence: u64, messages: usize) -> usize {
        let number = self.number(sequence);
        self.bounds[number + messages] - self.bounds[number]
    }

    /// The bytes after which the deck begins again: positions are modulo this.
    pub(crate) fn round_bytes(&self) -> usize {
        self.bounds[self.distinct]
    }

    /// What is left at `position` of a frame that has begun before it.
    pub(crate) fn frame_rest(&self, position: usize) -> usize {
        self.bounds[self.bounds.partition_point(|bound| *bound < position)] - position
    }

    /// `length` bytes of frames from `position` on; at most the frames that can be in flight.
    pub(crate) fn frames(&self, position: usize, length: usize) -> &[u8] {
        &self.frames[position..position + length]
    }

    fn number(&self, sequence: u64) -> usize {
        (sequence % self.distinct as u64) as usize
    }

    /// Checks a piece of the `sequence`-th echo: its content, or only its kind if that came compressed.
    pub(crate) fn check(&self, sequence: u64, piece: &Data<'_>) -> Result<()> {
        match self.wire {
            Wire::Plain => self.compare(sequence, piece),
            Wire::Compressed => self.check_kind(sequence, piece),
        }
    }

    fn check_kind(&self, sequence: u64, piece: &Data<'_>) -> Result<()> {
        ensure!(piece.kind == self.kind, "echo {sequence} is {:?}, sent was {:?}", piece.kind, self.kind);
        Ok(())
    }

    /// Compares a piece of the `sequence`-th echo with what was sent: kind and length always, the content whole in
    /// each connection's first round and where it is short, otherwise by three samples in each piece.
    pub(crate) fn compare(&self, sequence: u64, piece: &Data<'_>) -> Result<()> {
        self.check_kind(sequence, piece)?;
        let Data { offset, bytes, last, .. } = *piece;
        let end = offset + bytes.len();
        ensure!(
            if last { end == self.payload_bytes } else { end <= self.payload_bytes },
            "echo {sequence} has {end} bytes{}, sent were {}",
            if last { "" } else { " or more" },
            self.payload_bytes
        );
        let sent = &self.payloads[self.number(sequence) * self.payload_bytes + offset..][..bytes.len()];
        let equal = if bytes.len() <= COMPARED_WHOLE_BYTES || sequence < self.distinct as u64 {
            bytes == sent
        } else {
            let tail = bytes.len() - SAMPLE_BYTES;
            let wandering = sequence as usize * SAMPLE_BYTES % tail;
            [0, wandering, tail]
                .into_iter()
                .all(|at| bytes[at..][..SAMPLE_BYTES] == sent[at..][..SAMPLE_BYTES])
        };
        ensure!(equal, "echo {sequence} differs from what was sent within bytes {offset}..{end}");
        Ok(())
    }
}

/// Printable ASCII, which is valid for both kinds; of each message the first four bytes are its number.
fn noise(messages: usize, bytes: usize) -> Vec<u8> {
    let mut random = Random::new();
    let mut payloads: Vec<u8> = (0..messages * bytes).map(|_| b' ' + random.below(95) as u8).collect();
    if bytes >= 4 {
        for (number, payload) in payloads.chunks_exact_mut(bytes).enumerate() {
            payload[..4].copy_from_slice(format!("{:04x}", number as u16).as_bytes());
        }
    }
    payloads
}

/// Lines of a chat, also valid for both kinds.
fn talk(messages: usize, bytes: usize) -> Vec<u8> {
    let mut chat = Chat::new();
    (0..messages).flat_map(|_| chat.message(bytes).into_bytes()).collect()
}

/// A part of a data message, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data<'a> {
    pub(crate) kind: Kind,
    /// Where in the message, as it travels, these bytes belong.
    pub(crate) offset: usize,
    pub(crate) bytes: &'a [u8],
    /// The message ends here.
    pub(crate) last: bool,
}

/// What the parser found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Data(Data<'a>),
    /// To be answered with a pong that has the same payload.
    Ping(Vec<u8>),
    Pong,
    Close {
        /// 1005 if the frame has none.
        code: u16,
        reason: String,
    },
}

/// Reads server frames from a stream cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    wire: Wire,
    header: [u8; MAX_SERVER_HEADER_BYTES],
    /// The bytes of `header` that are there.
    header_bytes: usize,
    /// The header is complete and its frame is not.
    in_frame: bool,
    /// Payload bytes of the frame that are yet to come.
    remaining: u64,
    /// The message under way, over all its frames: what it is, and the bytes seen so far.
    message: Option<(Kind, usize)>,
    control: Vec<u8>,
}

impl Parser {
    /// Of a stream whose messages are all compressed, or none is.
    pub(crate) fn new(wire: Wire) -> Self {
        Self { wire, ..Self::default() }
    }

    /// The next piece of `input`, which is moved past it; `None` when all is used up.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>> {
        if !self.in_frame && !self.read_header(input)? {
            return Ok(None);
        }
        let available = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
        if available == 0 && self.remaining > 0 {
            return Ok(None);
        }
        let (bytes, rest) = input.split_at(available);
        *input = rest;
        self.remaining -= available as u64;
        let frame_ends = self.remaining == 0;
        if frame_ends {
            self.in_frame = false;
            self.header_bytes = 0;
        }

        let opcode = self.header[0] & 0x0f;
        if opcode < CLOSE {
            let (kind, offset) = self.message.expect("read_header set it for a data frame");
            let last = frame_ends && self.header[0] & 0x80 != 0;
            self.message = if last { None } else { Some((kind, offset + available)) };
            return Ok(Some(Piece::Data(Data { kind, offset, bytes, last })));
        }
        self.control.extend_from_slice(bytes);
        if !frame_ends {
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.control);
        Ok(Some(match opcode {
            PING => Piece::Ping(payload),
            PONG => Piece::Pong,
            _ => match payload.split_first_chunk() {
                Some((code, reason)) => Piece::Close {
                    code: u16::from_be_bytes(*code),
                    reason: String::from_utf8_lossy(reason).into_owned(),
                },
                None => Piece::Close { code: 1005, reason: String::new() },
            },
        }))
    }

    /// Collects a header; false if `input` ends before it does.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<bool> {
        loop {
            let wanted = match self.header_bytes {
                0 | 1 => 2,
                _ => match self.header[1] & 0x7f {
                    126 => 4,
                    127 => 10,
                    _ => 2,
                },
            };
            if self.header_bytes == wanted {
                break;
            }
            let taken = (wanted - self.header_bytes).min(input.len());
            if taken == 0 {
                return Ok(false);
            }
            let (bytes, rest) = input.split_at(taken);
            self.header[self.header_bytes..][..taken].copy_from_slice(bytes);
            self.header_bytes += taken;
            *input = rest;
        }

        let [first, second, extended @ ..] = self.header;
        // Only a message's first frame says that it is compressed.
        let opens_message = matches!(first & 0x0f, TEXT | BINARY);
        let reserved = match self.wire {
            Wire::Compressed if opens_message => {
                ensure!(
                    first & RSV1 != 0,
                    "a message came uncompressed, although permessage-deflate was agreed"
                );
                first & 0x70 & !RSV1
            }
            _ => first & 0x70,
        };
        ensure!(reserved == 0, "a frame has reserved bits set that no agreed extension has a meaning for");
        ensure!(second & 0x80 == 0, "a server's frame is masked");
        self.remaining = match second {
            126 => u64::from(u16::from_be_bytes([extended[0], extended[1]])),
            127 => u64::from_be_bytes(extended),
            short => u64::from(short),
        };
        let is_final = first & 0x80 != 0;
        match (first & 0x0f, self.message) {
            (CONTINUATION, Some(_)) => {}
            (TEXT, None) => self.message = Some((Kind::Text, 0)),
            (BINARY, None) => self.message = Some((Kind::Binary, 0)),
            (CONTINUATION, None) => bail!("a continuation frame continues nothing"),
            (TEXT | BINARY, Some(_)) => bail!("a message begins before the one before has ended"),
            (CLOSE | PING | PONG, _) if is_final && self.remaining <= MAX_CONTROL_BYTES as u64 => {}
            (CLOSE | PING | PONG, _) => bail!("a control frame is fragmented or too long"),
            (opcode, _) => bail!("a frame has the unknown opcode {opcode:#x}"),
        }
        self.in_frame = true;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a parser makes of `bytes` that come `step` at a time, data pieces joined to messages.
    fn parse(bytes: &[u8], step: usize) -> Result<Vec<(Kind, Vec<u8>)>> {
        let mut parser = Parser::default();
        let mut messages = Vec::new();
        let mut message = Vec::new();
        for mut input in bytes.chunks(step) {
            while let Some(piece) = parser.next(&mut input)? {
                match piece {
                    Piece::Data(Data { kind, offset, bytes, last }) => {
                        assert_eq!(offset, message.len());
                        message.extend_from_slice(bytes);
                        if last {
                            messages.push((kind, std::mem::take(&mut message)));
                        }
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
            assert!(input.is_empty());
        }
        assert!(message.is_empty());
        Ok(messages)
    }

    fn parse_one(bytes: &[u8]) -> Result<Piece<'static>> {
        let mut input = bytes;
        match Parser::default().next(&mut input)?.expect("a whole frame") {
            Piece::Data(_) => panic!("a data frame"),
            Piece::Ping(payload) => Ok(Piece::Ping(payload)),
            Piece::Pong => Ok(Piece::Pong),
            Piece::Close { code, reason } => Ok(Piece::Close { code, reason }),
        }
    }

    #[test]
    fn the_masked_hello_of_the_rfc_is_built() {
        let mut out = Vec::new();
        push_frame(&mut out, TEXT, [0x37, 0xfa, 0x21, 0x3d], b"Hello");
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        let header = |length: usize| {
            let mut out = Vec::new();
            push_frame(&mut out, BINARY, [0; 4], &vec![0; length]);
            out.truncate(out.len() - length - 4);
            out
        };
        assert_eq!(header(125), [0x82, 0x80 | 125]);
        assert_eq!(header(126), [0x82, 0x80 | 126, 0, 126]);
        assert_eq!(header(65_535), [0x82, 0x80 | 126, 0xff, 0xff]);
        assert_eq!(header(65_536), [0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn the_unmasked_hello_of_the_rfc_is_read_whole_and_fragmented() {
        let hello = [(Kind::Text, b"Hello".to_vec())];
        let whole = [0x81, 0x05, b'H', b'e', b'l', b'l', b'o'];
        let fragmented = [0x01, 0x03, b'H', b'e', b'l', 0x80, 0x02, b'l', b'o'];
        for step in 1..=9 {
            assert_eq!(parse(&whole, step).unwrap(), hello);
            assert_eq!(parse(&fragmented, step).unwrap(), hello);
        }
    }

    #[test]
    fn frames_of_every_length_form_are_read_however_they_are_cut() {
        let mut bytes = Vec::new();
        let lengths = [0_usize, 1, 125, 126, 65_535, 65_536];
        for length in lengths {
            bytes.push(0x82);
            match length {
                0..126 => bytes.push(length as u8),
                126..65_536 => {
                    bytes.push(126);
                    bytes.extend_from_slice(&(length as u16).to_be_bytes());
                }
                _ => {
                    bytes.push(127);
                    bytes.extend_from_slice(&(length as u64).to_be_bytes());
                }
            }
            bytes.extend((0..length).map(|at| at as u8));
        }
        for step in [1, 2, 3, 7, 127, 4096, usize::MAX] {
            let messages = parse(&bytes, step).unwrap();
            assert_eq!(messages.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>(), lengths);
            assert!(
                messages.iter().all(|(_, payload)| payload.iter().enumerate().all(|(at, b)| at as u8 == *b))
            );
        }
    }

    #[test]
    fn control_frames_are_told_apart() {
        assert_eq!(parse_one(&[0x89, 0x02, b'h', b'i']).unwrap(), Piece::Ping(b"hi".to_vec()));
        assert_eq!(parse_one(&[0x8a, 0x00]).unwrap(), Piece::Pong);
        assert_eq!(parse_one(&[0x88, 0x00]).unwrap(), Piece::Close { code: 1005, reason: String::new() });
        assert_eq!(
            parse_one(&[0x88, 0x04, 0x03, 0xf3, b'n', b'o']).unwrap(),
            Piece::Close { code: 1011, reason: "no".into() }
        );
    }

    #[test]
    fn a_ping_between_two_fragments_leaves_the_message_whole() {
        let mut input: &[u8] = &[0x01, 0x01, b'a', 0x89, 0x00, 0x80, 0x01, b'b'];
        let mut parser = Parser::default();
        let data = |offset, bytes, last| Piece::Data(Data { kind: Kind::Text, offset, bytes, last });
        assert_eq!(parser.next(&mut input).unwrap(), Some(data(0, b"a", false)));
        assert_eq!(parser.next(&mut input).unwrap(), Some(Piece::Ping(Vec::new())));
        assert_eq!(parser.next(&mut input).unwrap(), Some(data(1, b"b", true)));
        assert_eq!(parser.next(&mut input).unwrap(), None);
    }

    #[test]
    fn what_an_echo_server_must_not_send_is_an_error() {
        for (bytes, hint) in [
            (&[0xc1, 0x00][..], "reserved bits"),
            (&[0x81, 0x80], "masked"),
            (&[0x80, 0x00], "continues nothing"),
            (&[0x01, 0x00, 0x81, 0x00], "has ended"),
            (&[0x09, 0x00], "control frame"),
            (&[0x89, 126, 0, 126], "control frame"),
            (&[0x83, 0x00], "unknown opcode"),
        ] {
            let error = parse(bytes, usize::MAX).unwrap_err().to_string();
            assert!(error.contains(hint), "{bytes:02x?}: {error}");
        }
    }

    /// A frame of the deck, counted through its repeated part: the header without the mask, and the payload.
    fn unmasked(deck: &Deck, number: usize) -> (&[u8], Vec<u8>) {
        let position = deck.bounds[number];
        let frame = deck.frames(position, deck.bounds[number + 1] - position);
        assert_eq!(frame, deck.frame(number as u64));
        let header_bytes = match frame[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let (header, rest) = frame.split_at(header_bytes);
        let (mask, masked) = rest.split_at(4);
        assert_ne!(mask, [0; 4]);
        (header, masked.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect())
    }

    #[test]
    fn compressed_frames_inflate_to_the_payloads_which_a_window_forgets_before_they_return() {
        for (payload_bytes, in_flight) in [(128, 1), (1024, 16), (16_384, 16), (100_000, 1)] {
            let deck = Deck::new(Wire::Compressed, Kind::Text, payload_bytes, in_flight);
            assert!(deck.distinct > in_flight);
            assert!((deck.distinct - 1) * payload_bytes >= 64 * 1024);
            let mut frames = Vec::new();
            for number in 0..deck.distinct + in_flight {
                let (header, payload) = unmasked(&deck, number);
                assert_eq!(header[0], 0xc1);
                assert!(payload.len() < payload_bytes);
                // As a server would send it.
                frames.extend_from_slice(&[header[0], header[1] & 0x7f]);
                frames.extend_from_slice(&header[2..]);
                frames.extend(payload);
            }
            let plain = parse(&deflate::inflate(&frames).unwrap(), usize::MAX).unwrap();
            assert_eq!(plain.len(), deck.distinct + in_flight);
            for (sequence, (kind, bytes)) in plain.iter().enumerate() {
                let whole = Data { kind: *kind, offset: 0, bytes, last: true };
                deck.compare(sequence as u64, &whole).unwrap();
                deck.compare(sequence as u64 + 1, &whole).unwrap_err();
            }
        }
    }

    #[test]
    fn a_position_within_the_deck_knows_its_frames_end() {
        for wire in [Wire::Plain, Wire::Compressed] {
            let deck = Deck::new(wire, Kind::Text, 128, 3);
            let length = deck.frame(0).len();
            assert_eq!(
                (deck.frame_rest(0), deck.frame_rest(1), deck.frame_rest(length - 1)),
                (0, length - 1, 1)
            );
            assert_eq!((deck.frame_rest(length), deck.frame_rest(deck.round_bytes())), (0, 0));
            let last = deck.distinct as u64 - 1;
            assert_eq!(deck.run_bytes(last, 2), deck.frame(last).len() + length);
            assert_eq!(deck.run_bytes(0, 0), 0);
        }
    }

    #[test]
    fn where_compression_was_agreed_every_message_says_that_it_is_compressed() {
        let parse = |bytes: &[u8]| {
            let (mut input, mut parser) = (bytes, Parser::new(Wire::Compressed));
            while parser.next(&mut input)?.is_some() {}
            anyhow::Ok(())
        };
        parse(&[0xc1, 0x01, 0, 0x8a, 0x00, 0x42, 0x00, 0x80, 0x00]).unwrap();
        for (bytes, hint) in [
            (&[0x81, 0x00][..], "uncompressed"),
            (&[0xe1, 0x00], "reserved bits"),
            (&[0xc9, 0x00], "reserved bits"),
            (&[0x41, 0x00, 0xc0, 0x00], "reserved bits"),
        ] {
            let error = parse(bytes).unwrap_err().to_string();
            assert!(error.contains(hint), "{bytes:02x?}: {error}");
        }
    }

    #[test]
    fn unmasked_the_deck_is_its_payloads_and_no_two_neighbours_are_alike() {
        for (payload_bytes, in_flight) in [(4, 1), (64, 16), (16_384, 16), (70_000, 2)] {
            let deck = Deck::new(Wire::Plain, Kind::Binary, payload_bytes, in_flight);
            for number in 0..deck.distinct + in_flight {
                let (header, payload) = unmasked(&deck, number);
                assert_eq!((header[0], payload.len()), (0x82, payload_bytes));
                let whole = Data { kind: Kind::Binary, offset: 0, bytes: &payload, last: true };
                deck.check(number as u64, &whole).unwrap();
                deck.check(number as u64 + 1, &whole).unwrap_err();
            }
        }
    }

    #[test]
    fn an_echo_of_another_kind_length_or_content_is_an_error() {
        let deck = Deck::new(Wire::Plain, Kind::Text, 64, 4);
        let good = &deck.payloads[..64];
        let piece = Data { kind: Kind::Text, offset: 0, bytes: good, last: true };
        deck.check(0, &piece).unwrap();
        deck.check(5, &piece).unwrap();
        deck.check(0, &Data { kind: Kind::Binary, ..piece }).unwrap_err();
        deck.check(0, &Data { bytes: &good[..63], ..piece }).unwrap_err();
        deck.check(0, &Data { bytes: &deck.payloads[..65], ..piece }).unwrap_err();
        deck.check(0, &Data { bytes: &deck.payloads[..65], last: false, ..piece }).unwrap_err();
        let mut bad = good.to_vec();
        bad[40] ^= 1;
        deck.check(5, &Data { bytes: &bad, ..piece }).unwrap_err();
    }

    #[test]
    fn a_long_echo_is_sampled_at_both_ends_and_somewhere_between() {
        let deck = Deck::new(Wire::Plain, Kind::Binary, 16_384, 1);
        let good = deck.payloads[..16_384].to_vec();
        let refused = |at: usize| {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let piece = Data { kind: Kind::Binary, offset: 0, bytes: &bad, last: true };
            (0..600).step_by(2).any(|sequence| sequence >= 2 && deck.check(sequence, &piece).is_err())
        };
        assert!([0, 63, 5_000, 8_191, 16_383].into_iter().all(refused));
    }
}
