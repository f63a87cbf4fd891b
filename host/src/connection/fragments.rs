//! How many frames the message has that a peer is sending: counted on the bytes as they come from the wire, because tungstenite and the
//! layer that inflates hide frames.
//!
//! It knows where frames begin and end (RFC 6455 section 5.2) and nothing else: what breaks the protocol is tungstenite's to find.

/// See the module.
#[derive(Debug)]
pub(crate) struct FragmentCounter {
    max: u32,
    /// Frames of the message that is not complete.
    frames: u32,
    /// Bytes of the current frame that say nothing: its mask and its payload.
    skip: u64,
    place: Place,
}

/// Which byte of a frame's header is next.
#[derive(Debug, Clone, Copy)]
enum Place {
    First,
    Second,
    /// One of the long form's length.
    Length {
        /// Bytes of it that are yet to come.
        left: u8,
        so_far: u64,
        masked: bool,
    },
}

const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
/// Opcodes with this bit are those of control frames, which belong to no message.
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;
const MASK_BYTES: u64 = 4;

impl FragmentCounter {
    /// For messages of at most `max` frames.
    pub(crate) fn new(max: u32) -> Self {
        Self { max, frames: 0, skip: 0, place: Place::First }
    }

    /// How many of the next bytes may pass: all, or those before the frame that is one too many.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let left = (bytes.len() - at) as u64;
            if self.skip >= left {
                self.skip -= left;
                return bytes.len();
            }
            // It is less than what is left.
            at += self.skip as usize;
            self.skip = 0;
            let byte = bytes[at];
            self.place = match self.place {
                Place::First => {
                    if !self.counts(byte) {
                        return at;
                    }
                    Place::Second
                }
                Place::Second => {
                    let masked = byte & MASKED != 0;
                    match byte & !MASKED {
                        126 => Place::Length { left: 2, so_far: 0, masked },
                        127 => Place::Length { left: 8, so_far: 0, masked },
                        length => self.payload(u64::from(length), masked),
                    }
                }
                Place::Length { left, so_far, masked } => {
                    let so_far = so_far << 8 | u64::from(byte);
                    match left - 1 {
                        0 => self.payload(so_far, masked),
                        left => Place::Length { left, so_far, masked },
                    }
                }
            };
            at += 1;
        }
    }

    fn payload(&mut self, length: u64, masked: bool) -> Place {
        self.skip = length.saturating_add(if masked { MASK_BYTES } else { 0 });
        Place::First
    }

    /// Whether a frame that begins so is one of those that a message may have.
    fn counts(&mut self, first: u8) -> bool {
        if first & CONTROL != 0 {
            return true;
        }
        if first & OPCODE != CONTINUATION {
            self.frames = 0;
        }
        self.frames = self.frames.saturating_add(1);
        if self.frames > self.max {
            return false;
        }
        if first & FIN != 0 {
            self.frames = 0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

    use super::*;

    fn frame(opcode: OpCode, is_final: bool, length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, mask, ..FrameHeader::default() };
        let frame = Frame::from_payload(header, vec![0x80; length].into());
        let mut bytes = Vec::new();
        frame.format(&mut bytes).expect("memory takes everything");
        bytes
    }

    /// A message of so many frames, with a ping between each two.
    fn message(frames: usize, length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in 1..=frames {
            let opcode = OpCode::Data(if number == 1 { Data::Binary } else { Data::Continue });
            bytes.extend(frame(opcode, number == frames, length, mask));
            bytes.extend(frame(OpCode::Control(Control::Ping), true, 3, mask));
        }
        bytes
    }

    const MASKS: [Option<[u8; 4]>; 2] = [None, Some([1, 2, 3, 4])];
    /// Of each form of a header.
    const LENGTHS: [usize; 5] = [0, 5, 125, 126, 65_536];

    #[test]
    fn a_message_of_as_many_frames_as_it_may_have_passes_again_and_again() {
        for mask in MASKS {
            for length in LENGTHS {
                let bytes = message(3, length, mask);
                let mut counter = FragmentCounter::new(3);
                for _ in 0..3 {
                    assert_eq!(counter.scan(&bytes), bytes.len(), "{length} {mask:?}");
                }
            }
        }
    }

    #[test]
    fn what_comes_before_the_frame_that_is_one_too_many_passes() {
        for mask in MASKS {
            for length in LENGTHS {
                let before = [message(3, length, mask), message(3, length, mask)].concat();
                let last = frame(OpCode::Data(Data::Continue), true, length, mask);
                let ping = frame(OpCode::Control(Control::Ping), true, 3, mask);
                let four = message(4, length, mask);
                let passes = before.len() + four.len() - last.len() - ping.len();
                let bytes = [before, four].concat();
                assert_eq!(FragmentCounter::new(3).scan(&bytes), passes, "{length} {mask:?}");
            }
        }
    }

    #[test]
    fn it_does_not_matter_where_the_bytes_are_cut() {
        for mask in MASKS {
            let bytes: Vec<u8> =
                [message(2, 5, mask), message(3, 126, mask), message(1, 65_536, mask), message(4, 0, mask)]
                    .concat();
            let passes = FragmentCounter::new(3).scan(&bytes);
            assert!(passes < bytes.len());
            for cut in 0..=bytes.len() {
                let mut counter = FragmentCounter::new(3);
                let head = counter.scan(&bytes[..cut]);
                assert_eq!(head, cut.min(passes));
                if head == cut {
                    assert_eq!(head + counter.scan(&bytes[cut..]), passes, "cut at {cut}");
                }
            }
            let mut counter = FragmentCounter::new(3);
            assert_eq!(bytes.iter().take_while(|byte| counter.scan(&[**byte]) == 1).count(), passes);
        }
    }

    #[test]
    fn a_message_that_never_ends_is_stopped_where_only_control_frames_would_not_be() {
        let endless = frame(OpCode::Data(Data::Continue), false, 0, None).repeat(10);
        let bytes = [frame(OpCode::Data(Data::Text), false, 1, None), endless].concat();
        assert_eq!(FragmentCounter::new(5).scan(&bytes), 3 + 4 * 2);
        let pings = frame(OpCode::Control(Control::Ping), true, 0, None).repeat(10);
        assert_eq!(FragmentCounter::new(1).scan(&pings), pings.len());
    }

    #[test]
    fn without_a_bound_nothing_is_too_many_and_a_length_of_all_bits_is_only_a_length() {
        let bytes = message(1000, 1, None);
        assert_eq!(FragmentCounter::new(u32::MAX).scan(&bytes), bytes.len());
        let huge = [&[0x82, 0xff][..], &[0xff; 8], &[0x01; 100]].concat();
        let mut counter = FragmentCounter::new(1);
        assert_eq!(counter.scan(&huge), huge.len());
        assert_eq!(counter.scan(&[0; 100]), 100);
    }
}
