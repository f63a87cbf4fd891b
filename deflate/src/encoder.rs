//! From plain frames, as tungstenite writes them, to what the peer is sent: messages are compressed, everything else passes as it
//! is; so do messages that have been [compressed already](crate::ready_made).

use tungstenite::protocol::Role;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::budget::Budget;
use crate::buffer::Buffer;
use crate::context::{Compressor, Output};
use crate::frame::{Header, HeaderReader, PIECE, Payload, apply_mask, unmasked};
use crate::negotiation::Agreed;
use crate::settings::{Compression, Settings};

/// A server's compressed message is sent in fragments of about this many bytes: no more of it is held.
const FRAGMENT: usize = 64 << 10;

/// See the module.
pub(crate) struct Encoder {
    compression: Compression,
    /// Each of our messages is compressed by itself.
    no_context_takeover: bool,
    threshold: u64,
    budget: Budget,
    compressor: Option<Compressor>,
    header: HeaderReader,
    frame: Frame,
    message: Message,
    /// The frame that is passing is a close frame.
    is_closing: bool,
    /// The payload of the frame that is being compressed.
    payload: Output,
}

/// Where in a frame we are.
#[derive(Debug)]
enum Frame {
    Header,
    /// A payload that passes as it is.
    Verbatim {
        remaining: u64,
    },
    Plain(Payload),
    /// A close frame has passed, after which nothing may be sent (RFC 6455 section 5.5.1).
    Closed,
    /// What comes are no frames: not for us to judge.
    Lost,
}

/// What happens to the fragments of the message that is being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Verbatim,
    Compressed,
}

impl Encoder {
    pub(crate) fn new(role: Role, agreed: &Agreed, settings: &Settings) -> Self {
        let no_context_takeover = agreed.no_context_takeover(role);
        Self {
            compression: agreed.compression(role, settings),
            no_context_takeover,
            threshold: settings.threshold(no_context_takeover) as u64,
            budget: settings.budget.clone(),
            compressor: None,
            header: HeaderReader::default(),
            frame: Frame::Header,
            message: Message::Verbatim,
            is_closing: false,
            payload: Output::default(),
        }
    }

    /// Whether a close frame has passed: whatever comes is not encoded any more.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.frame, Frame::Closed)
    }

    /// Takes all of `input`.
    pub(crate) fn encode(&mut self, mut input: &[u8], output: &mut Buffer) {
        loop {
            match &mut self.frame {
                Frame::Header => {
                    let (taken, header) = self.header.read(input);
                    input = &input[taken..];
                    let Some(header) = header else { return };
                    self.on_header(header, output);
                }
                Frame::Verbatim { remaining: 0 } => {
                    self.frame = if self.is_closing { Frame::Closed } else { Frame::Header };
                }
                Frame::Plain(payload) if payload.is_read() => self.end_frame(output),
                _ if input.is_empty() => return,
                Frame::Verbatim { remaining } => {
                    let taken = input.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                    output.push(&input[..taken]);
                    *remaining -= taken as u64;
                    input = &input[taken..];
                }
                Frame::Plain(payload) => {
                    let plain = payload.of(input);
                    let compressor = self.compressor.as_mut().expect("made with the message");
                    let taken = if payload.header.mask.is_none() {
                        compressor.compress(plain, &mut self.payload);
                        plain.len()
                    } else {
                        let mut piece = [0; PIECE];
                        let piece = unmasked(plain, payload.header.mask, payload.read, &mut piece);
                        compressor.compress(piece, &mut self.payload);
                        piece.len()
                    };
                    payload.read += taken as u64;
                    input = &input[taken..];
                    // Each of a client's frames needs a key of its own, and tungstenite has made one.
                    if self.payload.filled().len() >= FRAGMENT && payload.header.mask.is_none() {
                        self.send(false, output);
                    }
                }
                Frame::Closed => return,
                Frame::Lost => {
                    output.push(input);
                    return;
                }
            }
        }
    }

    fn on_header(&mut self, header: Header, output: &mut Buffer) {
        let Header::Valid(header, length) = header else {
            self.pass_header(output);
            self.frame = Frame::Lost;
            return;
        };
        if let OpCode::Data(opcode) = header.opcode {
            if opcode != Data::Continue {
                self.message = self.choose(&header, length);
            }
            if self.message == Message::Compressed {
                self.header.clear();
                self.frame = Frame::Plain(Payload::new(header, length));
                return;
            }
        }
        self.is_closing = header.opcode == OpCode::Control(Control::Close);
        self.pass_header(output);
        self.frame = Frame::Verbatim { remaining: length };
    }

    fn choose(&mut self, header: &FrameHeader, length: u64) -> Message {
        if header.rsv1 {
            // Compressed by somebody else: what we send next must not refer to what the peer had before it.
            if let Some(compressor) = &mut self.compressor {
                compressor.reset();
            }
            return Message::Verbatim;
        }
        if header.is_final && length < self.threshold {
            return Message::Verbatim;
        }
        if self.compressor.is_none() {
            self.compressor = Compressor::new(self.compression, &self.budget);
        }
        // Without memory messages go as they are, which the peer must take (RFC 7692 section 6).
        if self.compressor.is_some() { Message::Compressed } else { Message::Verbatim }
    }

    fn pass_header(&mut self, output: &mut Buffer) {
        output.push(self.header.bytes());
        self.header.clear();
    }

    fn end_frame(&mut self, output: &mut Buffer) {
        let Frame::Plain(payload) = &self.frame else { return };
        let is_final = payload.header.is_final;
        self.compressor.as_mut().expect("made with the message").finish(is_final, &mut self.payload);
        self.send(is_final, output);
        self.frame = Frame::Header;
        if is_final && self.no_context_takeover {
            self.compressor = None;
        }
    }

    /// Sends what has been compressed as a frame.
    fn send(&mut self, is_final: bool, output: &mut Buffer) {
        let Frame::Plain(Payload { header, .. }) = &mut self.frame else { return };
        if let Some(mask) = header.mask {
            // tungstenite made this key for this frame, and nothing else is sent with it.
            apply_mask(self.payload.filled_mut(), mask, 0);
        }
        let payload = self.payload.filled();
        let rsv1 = header.opcode != OpCode::Data(Data::Continue);
        let sent = FrameHeader { is_final, rsv1, ..header.clone() };
        sent.format(payload.len() as u64, output).expect("memory takes everything");
        output.push(payload);
        self.payload.clear();
        header.opcode = OpCode::Data(Data::Continue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WindowBits;
    use crate::decoder::Decoder;

    const AGREED: Agreed = Agreed {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: WindowBits::MAX,
        client_max_window_bits: WindowBits::MAX,
    };
    const TEXT: &[u8] = b"\x81\x10eeny meeny miny ";

    fn server(agreed: &Agreed, settings: &Settings) -> Encoder {
        Encoder::new(Role::Server, agreed, settings)
    }

    fn encoded(encoder: &mut Encoder, plain: &[u8]) -> Vec<u8> {
        let mut output = Buffer::default();
        for byte in plain {
            encoder.encode(&[*byte], &mut output);
        }
        output.unread().to_vec()
    }

    #[test]
    fn a_second_message_refers_to_the_first_unless_there_is_no_takeover() {
        let mut encoder = server(&AGREED, &Settings::default());
        let (first, second) = (encoded(&mut encoder, TEXT), encoded(&mut encoder, TEXT));
        assert!(first[0] == 0xc1 && second[0] == 0xc1);
        assert!(second.len() <= first.len() / 2, "{} after {}", second.len(), first.len());
        let settings = Settings { threshold: Some(0), ..Settings::default() };
        let mut encoder = server(&Agreed { server_no_context_takeover: true, ..AGREED }, &settings);
        assert_eq!(encoded(&mut encoder, TEXT), encoded(&mut encoder, TEXT));
    }

    #[test]
    fn what_is_under_the_threshold_goes_as_it_is() {
        let mut encoder = server(&AGREED, &Settings { threshold: Some(17), ..Settings::default() });
        assert_eq!(encoded(&mut encoder, TEXT), TEXT);
        let mut encoder = server(&AGREED, &Settings { threshold: Some(16), ..Settings::default() });
        assert_ne!(encoded(&mut encoder, TEXT), TEXT);
        let alone = Agreed { server_no_context_takeover: true, ..AGREED };
        assert_eq!(encoded(&mut server(&alone, &Settings::default()), TEXT), TEXT);
    }

    #[test]
    fn control_frames_are_never_compressed() {
        let ping = b"\x89\x14aaaaaaaaaaaaaaaaaaaa";
        assert_eq!(encoded(&mut server(&AGREED, &Settings::default()), ping), ping);
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        for close in [&b"\x88\x00"[..], b"\x88\x02\x03\xe8"] {
            let mut encoder = server(&AGREED, &Settings::default());
            assert_eq!(encoded(&mut encoder, b"\x89\x00"), b"\x89\x00");
            assert!(!encoder.is_closed());
            assert_eq!(encoded(&mut encoder, close), close);
            assert!(encoder.is_closed());
            assert_eq!(encoded(&mut encoder, TEXT), b"");
        }
    }

    #[test]
    fn without_memory_messages_go_as_they_are() {
        let budget = Budget::of(0);
        let mut encoder = server(&AGREED, &Settings { budget, ..Settings::default() });
        assert_eq!(encoded(&mut encoder, TEXT), TEXT);
    }

    #[test]
    fn a_compressor_is_counted_from_its_first_message_to_its_end() {
        let budget = Budget::of(1 << 20);
        let settings = Settings { budget: budget.clone(), ..Settings::default() };
        let mut encoder = server(&AGREED, &settings);
        assert_eq!(budget.used(), 0);
        encoded(&mut encoder, TEXT);
        assert_eq!(budget.used(), AGREED.compression(Role::Server, &settings).compressor_bytes());
        drop(encoder);
        assert_eq!(budget.used(), 0);
    }

    /// What a client's decoder makes of it.
    fn decoded(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Buffer::default();
        let mut decoder = Decoder::new(Role::Client, &AGREED, &Settings::default());
        assert_eq!(decoder.decode(bytes, &mut plain), Ok(bytes.len()));
        plain.unread().to_vec()
    }

    #[test]
    fn fragments_of_a_message_are_compressed_as_one_even_if_the_last_is_empty() {
        let mut encoder = server(&AGREED, &Settings::default());
        let wire = encoded(&mut encoder, b"\x01\x05Hello\x89\x00\x00\x01,\x80\x00");
        assert_eq!((wire[0], wire.iter().filter(|byte| **byte == 0x89).count()), (0x41, 1));
        assert_eq!(decoded(&wire), b"\x89\x00\x81\x06Hello,");
    }

    #[test]
    fn a_large_message_is_sent_in_fragments_that_are_one_stream() {
        // Every byte differs from what a compressor would guess.
        let mut state = 1_u32;
        let plain: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(200_000)
        .collect();
        let mut frame = b"\x82\x7f".to_vec();
        frame.extend_from_slice(&(plain.len() as u64).to_be_bytes());
        frame.extend_from_slice(&plain);
        let mut wire = Buffer::default();
        let mut encoder = server(&AGREED, &Settings::default());
        for piece in frame.chunks(1000) {
            encoder.encode(piece, &mut wire);
            assert!(encoder.payload.filled().len() <= FRAGMENT + 1000);
        }
        assert_eq!(wire.unread()[0], 0x42);
        let mut decoder = Decoder::new(Role::Client, &AGREED, &Settings::default());
        let (mut read, mut used) = (Buffer::default(), 0);
        let mut inflated = Vec::new();
        while used < wire.len() {
            used += decoder.decode(&wire.unread()[used..], &mut read).expect("valid");
            inflated.extend_from_slice(read.unread());
            read.advance(read.len());
        }
        // Plain frames of 65,535 bytes, the header of each four bytes long.
        let payloads: Vec<u8> = inflated.chunks(65_535 + 4).flat_map(|frame| frame[4..].to_vec()).collect();
        assert!(payloads == plain);
    }

    #[test]
    fn a_ready_made_message_passes_and_what_follows_does_not_refer_to_before_it() {
        let mut encoder = server(&AGREED, &Settings::default());
        let ready = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
        let mut wire = encoded(&mut encoder, TEXT);
        let alone = wire.clone();
        wire.extend(encoded(&mut encoder, ready));
        let after = encoded(&mut encoder, TEXT);
        assert_eq!(after, alone);
        wire.extend(after);
        assert_eq!(decoded(&wire), [TEXT, b"\x81\x05Hello", TEXT].concat());
    }

    #[test]
    fn a_client_masks_what_it_compressed() {
        let mut encoder = Encoder::new(Role::Client, &AGREED, &Settings::default());
        let mut masked = vec![0x81, 0x90, 1, 2, 3, 4];
        masked.extend(TEXT[2..].iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, key)| byte ^ key));
        let mut wire = encoded(&mut encoder, &masked);
        assert_eq!(wire[..2], [0xc1, 0x80 | (wire.len() - 6) as u8]);
        let mask = [wire[2], wire[3], wire[4], wire[5]];
        apply_mask(&mut wire[6..], mask, 0);
        let plain_wire = encoded(&mut server(&AGREED, &Settings::default()), TEXT);
        assert_eq!(wire[6..], plain_wire[2..]);
    }
}
