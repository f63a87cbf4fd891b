//! RFC 6455's frames, read for themselves: the judge must not be the judged.

use tungstenite::protocol::Role;

/// One frame, as far as it is there.
pub(crate) struct Frame<'a> {
    pub(crate) is_final: bool,
    pub(crate) rsv1: bool,
    pub(crate) opcode: u8,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) payload: &'a [u8],
    /// All of its payload is there.
    pub(crate) is_complete: bool,
    /// With its header.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// None: there is no complete header.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[first, second], mut rest) = bytes.split_first_chunk()?;
        let length = match second & 0x7f {
            126 => {
                let (length, after) = rest.split_first_chunk()?;
                rest = after;
                u64::from(u16::from_be_bytes(*length))
            }
            127 => {
                let (length, after) = rest.split_first_chunk()?;
                rest = after;
                u64::from_be_bytes(*length)
            }
            short => u64::from(short),
        };
        let mut mask = None;
        if second & 0x80 != 0 {
            let (key, after) = rest.split_first_chunk()?;
            rest = after;
            mask = Some(*key);
        }
        let there = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        Some(Self {
            is_final: first & 0x80 != 0,
            rsv1: first & 0x40 != 0,
            // With RSV2 and RSV3: whoever sets them has an opcode that nobody knows.
            opcode: first & 0x3f,
            mask,
            payload: &rest[..there],
            is_complete: there as u64 == length,
            bytes: &bytes[..bytes.len() - rest.len() + there],
        })
    }

    pub(crate) fn is_control(&self) -> bool {
        self.opcode >= 8
    }

    pub(crate) fn unmasked(&self) -> Vec<u8> {
        let key = self.mask.unwrap_or_default();
        self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    }
}

/// The frames that `role` may be sent, up to the first that it may not.
pub(crate) struct Legal<'a> {
    pub(crate) rest: &'a [u8],
    role: Role,
    /// With compression: the first frame of a message may have RSV1.
    compression: bool,
    within_message: bool,
}

impl<'a> Legal<'a> {
    pub(crate) fn new(bytes: &'a [u8], role: Role, compression: bool) -> Self {
        Self { rest: bytes, role, compression, within_message: false }
    }
}

impl<'a> Iterator for Legal<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let frame = Frame::read(self.rest)?;
        let in_place = match frame.opcode {
            0 => self.within_message && !frame.rsv1,
            1 | 2 => !self.within_message && (self.compression || !frame.rsv1),
            8..=10 => !frame.rsv1,
            _ => false,
        };
        if !in_place || frame.mask.is_some() != (self.role == Role::Server) {
            return None;
        }
        if !frame.is_control() {
            self.within_message = !frame.is_final;
        }
        self.rest = &self.rest[frame.bytes.len()..];
        Some(frame)
    }
}
