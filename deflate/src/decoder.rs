//! From what the peer sent to plain frames: compressed messages are inflated, everything else passes as it came.
//!
//! What tungstenite refuses by itself (a missing mask, reserved bits, a fragment out of place) is left to it: from such a frame on
//! every byte passes unread.

use tungstenite::protocol::Role;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::budget::{Budget, DECOMPRESSOR_BYTES, Reservation};
use crate::buffer::Buffer;
use crate::context::{Decompressor, Inflated, Output};
use crate::error::DeflateError;
use crate::frame::{Header, HeaderReader, PIECE, Payload, unmasked};
use crate::negotiation::Agreed;
use crate::settings::Settings;

/// An inflated message is handed up in fragments of at most this: one frame for most messages, and no second copy of a large one.
/// The largest length of the short form.
const FRAGMENT: usize = 65535;

/// With so many bytes ready nothing more is inflated.
const ENOUGH: usize = 16 << 10;

/// See the module.
pub(crate) struct Decoder {
    /// Ours; the peer has the other.
    role: Role,
    max_message_bytes: usize,
    /// Each of the peer's messages is compressed by itself.
    no_context_takeover: bool,
    budget: Budget,
    reservation: Option<Reservation>,
    decompressor: Option<Decompressor>,
    header: HeaderReader,
    frame: Frame,
    message: Message,
    /// Inflated, and not yet handed up.
    fragment: Output,
    /// Messages are neither inflated nor handed up any more.
    skips: bool,
}

/// Where in a frame we are.
#[derive(Debug)]
enum Frame {
    Header,
    /// A payload that passes as it is.
    Verbatim {
        remaining: u64,
    },
    Compressed(Payload),
    /// A payload that nobody wants.
    Skipped {
        remaining: u64,
    },
    /// Nothing is understood any more.
    Lost,
}

/// Which message the next continuation belongs to.
#[derive(Debug)]
enum Message {
    None,
    Plain,
    Compressed(Progress),
}

/// How far a compressed message has come.
#[derive(Debug)]
struct Progress {
    /// The opcode of the next fragment that is handed up.
    opcode: Data,
    wire_bytes: u64,
    /// Handed up already.
    inflated_bytes: usize,
}

impl Decoder {
    pub(crate) fn new(role: Role, agreed: &Agreed, settings: &Settings) -> Self {
        let peer = match role {
            Role::Server => Role::Client,
            Role::Client => Role::Server,
        };
        Self {
            role,
            max_message_bytes: settings.max_message_bytes,
            no_context_takeover: agreed.no_context_takeover(peer),
            budget: settings.budget.clone(),
            reservation: None,
            decompressor: None,
            header: HeaderReader::default(),
            frame: Frame::Header,
            message: Message::None,
            fragment: Output::default(),
            skips: false,
        }
    }

    /// From now on messages are neither inflated nor handed up, only control frames; but for what is left of a plain frame that has begun.
    pub(crate) fn skip_messages(&mut self) {
        self.skips = true;
        if let Frame::Compressed(payload) = &self.frame {
            let remaining = payload.length - payload.read;
            if payload.header.is_final {
                self.message = Message::None;
            }
            self.frame = Frame::Skipped { remaining };
        }
    }

    /// Keeps memory for a decompressor, so that there always is one.
    pub(crate) fn keep(&mut self, reservation: Reservation) {
        self.reservation = Some(reservation);
    }

    /// Takes from `input` until it is used up or `output` has enough. Returns how much it took.
    pub(crate) fn decode(&mut self, input: &[u8], output: &mut Buffer) -> Result<usize, DeflateError> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match &mut self.frame {
                // Whatever is ready: nothing more may come for a long time.
                Frame::Compressed(payload) if payload.is_read() => self.end_frame(output)?,
                _ if output.len() >= ENOUGH => break,
                Frame::Header => {
                    let (taken, header) = self.header.read(rest);
                    used += taken;
                    let Some(header) = header else { break };
                    self.on_header(header, output)?;
                }
                Frame::Verbatim { remaining: 0 } | Frame::Skipped { remaining: 0 } => {
                    self.frame = Frame::Header
                }
                _ if rest.is_empty() => break,
                Frame::Verbatim { remaining } => {
                    let taken = rest.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                    output.push(&rest[..taken]);
                    *remaining -= taken as u64;
                    used += taken;
                }
                Frame::Skipped { remaining } => {
                    let taken = rest.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                    *remaining -= taken as u64;
                    used += taken;
                }
                Frame::Compressed(payload) => {
                    let mut piece = [0; PIECE];
                    let piece = unmasked(payload.of(rest), payload.header.mask, payload.read, &mut piece);
                    payload.read += piece.len() as u64;
                    used += piece.len();
                    self.inflate(piece, output)?;
                }
                Frame::Lost => {
                    output.push(rest);
                    used = input.len();
                }
            }
        }
        Ok(used)
    }

    fn on_header(&mut self, header: Header, output: &mut Buffer) -> Result<(), DeflateError> {
        let (header, length) = match header {
            Header::Valid(header, length) if self.is_legal(&header) => (header, length),
            _ => {
                // So that tungstenite knows, too, that a message has begun.
                self.hand_up(false, output);
                self.pass_header(output);
                self.frame = Frame::Lost;
                return Ok(());
            }
        };
        if self.skips && matches!(header.opcode, OpCode::Data(_)) {
            // Continuations are still to be told from what is out of place.
            self.message = if header.is_final { Message::None } else { Message::Plain };
            self.header.clear();
            self.frame = Frame::Skipped { remaining: length };
            return Ok(());
        }
        match header.opcode {
            OpCode::Data(Data::Continue) => {}
            OpCode::Data(opcode) if header.rsv1 => {
                self.message = Message::Compressed(Progress { opcode, wire_bytes: 0, inflated_bytes: 0 });
            }
            OpCode::Data(_) => self.message = if header.is_final { Message::None } else { Message::Plain },
            OpCode::Control(_) => {}
        }
        match &mut self.message {
            Message::Compressed(progress) if matches!(header.opcode, OpCode::Data(_)) => {
                progress.wire_bytes = progress.wire_bytes.saturating_add(length);
                if progress.wire_bytes > most_on_the_wire(self.max_message_bytes) {
                    return Err(DeflateError::MessageTooBig { limit: self.max_message_bytes });
                }
                self.header.clear();
                self.frame = Frame::Compressed(Payload::new(header, length));
            }
            _ => {
                if header.opcode == OpCode::Data(Data::Continue) && header.is_final {
                    self.message = Message::None;
                }
                self.pass_header(output);
                self.frame = Frame::Verbatim { remaining: length };
            }
        }
        Ok(())
    }

    /// Whether the frame is one that tungstenite would take, if it knew of compression.
    fn is_legal(&self, header: &FrameHeader) -> bool {
        let masked = header.mask.is_some() == (self.role == Role::Server);
        let in_place = match (header.opcode, &self.message) {
            (OpCode::Control(_), _) => !header.rsv1,
            (OpCode::Data(Data::Continue), Message::Plain | Message::Compressed(_)) => !header.rsv1,
            (OpCode::Data(Data::Text | Data::Binary), Message::None) => true,
            _ => false,
        };
        masked && in_place && !header.rsv2 && !header.rsv3
    }

    fn pass_header(&mut self, output: &mut Buffer) {
        output.push(self.header.bytes());
        self.header.clear();
    }

    fn inflate(&mut self, mut input: &[u8], output: &mut Buffer) -> Result<(), DeflateError> {
        if self.decompressor.is_none() {
            let reservation = self.reservation.take().or_else(|| self.budget.reserve(DECOMPRESSOR_BYTES));
            self.decompressor = Some(Decompressor::new(reservation.ok_or(DeflateError::OutOfMemory)?));
        }
        loop {
            let Message::Compressed(progress) = &self.message else { return Ok(()) };
            let decompressor = self.decompressor.as_mut().expect("just made");
            // One byte past the limit tells.
            let left = (self.max_message_bytes - progress.inflated_bytes).saturating_add(1);
            let inflated = decompressor.inflate(input, &mut self.fragment, left.min(FRAGMENT))?;
            if self.fragment.filled().len() == left {
                return Err(DeflateError::MessageTooBig { limit: self.max_message_bytes });
            }
            match inflated {
                Inflated::All => return Ok(()),
                Inflated::Full(used) => {
                    input = &input[used..];
                    self.hand_up(false, output);
                }
            }
        }
    }

    /// The inflated fragment goes up as a plain frame.
    fn hand_up(&mut self, is_final: bool, output: &mut Buffer) {
        let Message::Compressed(progress) = &mut self.message else { return };
        let payload = self.fragment.filled();
        let header = FrameHeader {
            is_final,
            opcode: OpCode::Data(progress.opcode),
            // tungstenite insists on a mask from a client; this one changes nothing.
            mask: (self.role == Role::Server).then_some([0; 4]),
            ..FrameHeader::default()
        };
        header.format(payload.len() as u64, output).expect("memory takes everything");
        output.push(payload);
        progress.inflated_bytes += payload.len();
        progress.opcode = Data::Continue;
        self.fragment.clear();
    }

    fn end_frame(&mut self, output: &mut Buffer) -> Result<(), DeflateError> {
        let Frame::Compressed(payload) = std::mem::replace(&mut self.frame, Frame::Header) else {
            return Ok(());
        };
        if payload.header.is_final {
            // Where the message had no octets at all there is nothing to complete either.
            let began = matches!(&self.message, Message::Compressed(progress) if progress.wire_bytes > 0);
            if let Some(decompressor) = self.decompressor.as_ref().filter(|_| began) {
                self.inflate(decompressor.tail(), output)?;
            }
            self.hand_up(true, output);
            self.message = Message::None;
            if self.no_context_takeover
                && let Some(decompressor) = self.decompressor.take()
            {
                self.reservation = Some(decompressor.into_reservation());
            }
        }
        Ok(())
    }
}

/// What can become a message of `max_message_bytes`: what cannot be compressed becomes larger, by an eighth in the worst of
/// zlib's formats. More is only there to keep us busy.
fn most_on_the_wire(max_message_bytes: usize) -> u64 {
    let most = max_message_bytes as u64;
    most.saturating_add(most / 8 + 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7692 section 7.2.3, unmasked as a server sends them.
    const HELLO: &[u8] = &[0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    const HELLO_IN_FRAGMENTS: &[u8] = &[0x41, 0x03, 0xf2, 0x48, 0xcd, 0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00];
    const HELLO_AGAIN: &[u8] = &[0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00];
    const HELLO_STORED: &[u8] =
        &[0xc1, 0x0b, 0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    const HELLO_FINAL: &[u8] = &[0xc1, 0x08, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    const HELLO_IN_BLOCKS: &[u8] =
        &[0xc1, 0x0d, 0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    const PLAIN_HELLO: &[u8] = b"\x81\x05Hello";

    const AGREED: Agreed = Agreed {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: crate::WindowBits::MAX,
        client_max_window_bits: crate::WindowBits::MAX,
    };

    fn client(settings: &Settings) -> Decoder {
        Decoder::new(Role::Client, &AGREED, settings)
    }

    /// Everything that comes out when `input` goes in byte by byte.
    fn decoded(decoder: &mut Decoder, input: &[u8]) -> Result<Vec<u8>, DeflateError> {
        let mut output = Buffer::default();
        for byte in input {
            while decoder.decode(&[*byte], &mut output)? == 0 {}
        }
        Ok(output.unread().to_vec())
    }

    #[test]
    fn what_is_skipped_is_not_inflated_and_control_frames_pass() {
        let ping = b"\x89\x01x";
        let plain = b"\x82\x02ab";
        for cut in 0..=HELLO_IN_FRAGMENTS.len() {
            let mut decoder = client(&Settings::default());
            let (before, behind) = HELLO_IN_FRAGMENTS.split_at(cut);
            assert!(decoded(&mut decoder, before).is_ok(), "cut at {cut}");
            decoder.skip_messages();
            let mut output = decoded(&mut decoder, behind).expect("nothing is inflated");
            // Nothing of what is not deflate matters.
            for bytes in
                [&[0xc1, 0x02, 0xff, 0xff][..], ping, plain, &[0x41, 0x01, 0xff], ping, &[0x80, 0x01, 0xff]]
            {
                output.extend(decoded(&mut decoder, bytes).expect("nothing is inflated"));
            }
            let passed = b"\x89\x01x\x89\x01x";
            assert!(output.ends_with(passed) && !output.contains(&b'a'), "cut at {cut}: {output:x?}");
        }
    }

    #[test]
    fn the_rfcs_examples_inflate() {
        for example in [HELLO, HELLO_STORED, HELLO_FINAL, HELLO_IN_BLOCKS] {
            assert_eq!(
                decoded(&mut client(&Settings::default()), example).as_deref(),
                Ok(PLAIN_HELLO),
                "{example:x?}"
            );
        }
    }

    #[test]
    fn a_window_is_kept_from_message_to_message_and_after_a_final_block_begun_anew() {
        let mut decoder = client(&Settings::default());
        for message in [HELLO, HELLO_AGAIN, HELLO_FINAL, HELLO] {
            assert_eq!(decoded(&mut decoder, message).as_deref(), Ok(PLAIN_HELLO));
        }
    }

    #[test]
    fn without_takeover_nothing_is_kept() {
        let agreed = Agreed { server_no_context_takeover: true, ..AGREED };
        let budget = Budget::of(DECOMPRESSOR_BYTES);
        let settings = Settings { budget: budget.clone(), ..Settings::default() };
        let mut decoder = Decoder::new(Role::Client, &agreed, &settings);
        assert_eq!(decoded(&mut decoder, HELLO).as_deref(), Ok(PLAIN_HELLO));
        assert_eq!(decoded(&mut decoder, HELLO_AGAIN), Err(DeflateError::Corrupt));
        drop(decoder);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn fragments_are_one_message_and_control_frames_pass_between_them() {
        let mut decoder = client(&Settings::default());
        let (first, second) = HELLO_IN_FRAGMENTS.split_at(5);
        let ping = b"\x89\x01x";
        assert_eq!(decoded(&mut decoder, &[first, ping, second].concat()), Ok([ping, PLAIN_HELLO].concat()));
    }

    #[test]
    fn an_empty_message_may_have_one_octet_or_none() {
        for empty in [&[0xc1, 0x01, 0x00][..], &[0xc1, 0x00]] {
            let mut decoder = client(&Settings::default());
            assert_eq!(decoded(&mut decoder, empty).as_deref(), Ok(&[0x81, 0x00][..]));
            assert_eq!(decoded(&mut decoder, HELLO).as_deref(), Ok(PLAIN_HELLO));
        }
    }

    #[test]
    fn an_empty_message_without_an_octet_leaves_the_context_as_it_was() {
        let mut decoder = client(&Settings::default());
        let messages = [HELLO, &[0xc1, 0x00], HELLO_AGAIN].concat();
        let expected = [PLAIN_HELLO, &[0x81, 0x00], PLAIN_HELLO].concat();
        assert_eq!(decoded(&mut decoder, &messages), Ok(expected));
    }

    #[test]
    fn memory_that_was_kept_survives_a_message_that_does_not_need_it() {
        let agreed = Agreed { server_no_context_takeover: true, ..AGREED };
        let budget = Budget::of(DECOMPRESSOR_BYTES);
        let settings = Settings { budget: budget.clone(), ..Settings::default() };
        let mut decoder = Decoder::new(Role::Client, &agreed, &settings);
        decoder.keep(budget.reserve(DECOMPRESSOR_BYTES).expect("room"));
        for message in [&[0xc1, 0x00], HELLO, HELLO] {
            assert!(decoded(&mut decoder, message).is_ok(), "{message:x?}");
            assert_eq!(budget.used(), DECOMPRESSOR_BYTES);
        }
    }

    #[test]
    fn a_message_that_ends_when_there_is_enough_already_is_handed_up_whole() {
        let plain = vec![b'a'; FRAGMENT + 1];
        let mut encoder = crate::encoder::Encoder::new(Role::Server, &AGREED, &Settings::default());
        let mut wire = Buffer::default();
        let header = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
        let mut frame = Vec::new();
        header.format(plain.len() as u64, &mut frame).expect("memory takes everything");
        frame.extend_from_slice(&plain);
        encoder.encode(&frame, &mut wire);
        assert!(wire.len() < PIECE, "{} bytes are read at once", wire.len());
        let mut output = Buffer::default();
        assert_eq!(client(&Settings::default()).decode(wire.unread(), &mut output), Ok(wire.len()));
        assert_eq!(output.len(), 4 + FRAGMENT + 2 + 1, "two frames");
    }

    #[test]
    fn without_a_limit_nothing_is_too_big() {
        let settings = Settings { max_message_bytes: usize::MAX, ..Settings::default() };
        assert_eq!(decoded(&mut client(&settings), HELLO).as_deref(), Ok(PLAIN_HELLO));
    }

    #[test]
    fn a_message_of_exactly_the_limit_inflates_and_one_byte_more_does_not() {
        let limited = |limit| client(&Settings { max_message_bytes: limit, ..Settings::default() });
        assert_eq!(decoded(&mut limited(5), HELLO).as_deref(), Ok(PLAIN_HELLO));
        assert_eq!(decoded(&mut limited(4), HELLO), Err(DeflateError::MessageTooBig { limit: 4 }));
    }

    #[test]
    fn a_message_that_is_far_larger_on_the_wire_than_it_may_become_is_too_big_before_it_arrives() {
        let mut decoder = client(&Settings { max_message_bytes: 8, ..Settings::default() });
        let announced = [0xc1, 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decoded(&mut decoder, &announced), Err(DeflateError::MessageTooBig { limit: 8 }));
        let mut decoder = client(&Settings { max_message_bytes: 8, ..Settings::default() });
        let endless: Vec<u8> = std::iter::once([0x41, 0x05])
            .chain(std::iter::repeat([0x00, 0x05]))
            .take(300)
            .flat_map(|header| {
                // An empty stored block, for ever.
                header.into_iter().chain([0x00, 0x00, 0x00, 0xff, 0xff])
            })
            .collect();
        assert_eq!(decoded(&mut decoder, &endless), Err(DeflateError::MessageTooBig { limit: 8 }));
    }

    #[test]
    fn what_is_not_deflate_is_corrupt() {
        assert_eq!(
            decoded(&mut client(&Settings::default()), &[0xc1, 0x02, 0xff, 0xff]),
            Err(DeflateError::Corrupt)
        );
    }

    #[test]
    fn without_memory_a_plain_message_still_passes() {
        let mut decoder = client(&Settings { budget: Budget::of(0), ..Settings::default() });
        assert_eq!(decoded(&mut decoder, PLAIN_HELLO).as_deref(), Ok(PLAIN_HELLO));
        assert_eq!(decoded(&mut decoder, HELLO), Err(DeflateError::OutOfMemory));
    }

    #[test]
    fn what_tungstenite_refuses_by_itself_is_passed_as_it_came() {
        for illegal in [
            &[0xc9, 0x01, 0x00][..], // a control frame that says it is compressed
            &[0xc0, 0x01, 0x00],     // a continuation that does
            &[0x80, 0x01, 0x00],     // a continuation of nothing
            &[0xa1, 0x01, 0x00],     // another reserved bit
            &[0xd1, 0x01, 0x00],
            &[0xc3, 0x01, 0x00],             // a reserved opcode
            &[0xc1, 0x81, 1, 2, 3, 4, 0x00], // a masked frame from a server
            &[0x01, 0x00, 0xc1, 0x01, 0x00], // a message within a message
        ] {
            let mut followed = illegal.to_vec();
            followed.extend_from_slice(HELLO);
            let decoded = decoded(&mut client(&Settings::default()), &followed);
            assert_eq!(decoded.as_deref(), Ok(&followed[..]), "{illegal:x?}");
        }
    }

    #[test]
    fn a_message_within_a_compressed_one_comes_after_the_beginning_of_that() {
        let (first, _) = HELLO_IN_FRAGMENTS.split_at(5);
        let within = [first, PLAIN_HELLO].concat();
        assert_eq!(
            decoded(&mut client(&Settings::default()), &within),
            Ok([&[0x01, 0x02, b'H', b'e'][..], PLAIN_HELLO].concat())
        );
    }

    #[test]
    fn a_server_hands_up_masked_frames_and_nothing_unmasked_is_inflated() {
        let server = || Decoder::new(Role::Server, &AGREED, &Settings::default());
        let mut masked = vec![0xc1, 0x87, 1, 2, 3, 4];
        masked.extend(HELLO[2..].iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, key)| byte ^ key));
        assert_eq!(decoded(&mut server(), &masked).as_deref(), Ok(&b"\x81\x85\0\0\0\0Hello"[..]));
        assert_eq!(decoded(&mut server(), HELLO).as_deref(), Ok(HELLO));
    }
}
