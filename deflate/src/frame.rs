//! Where a frame's header ends (RFC 6455 section 5.2), and its mask.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;

/// Two bytes, a length of eight, a masking key of four.
const MAX_HEADER_BYTES: usize = 14;

/// Gathers one frame's header, in however small pieces it comes.
#[derive(Debug, Default)]
pub(crate) struct HeaderReader {
    bytes: [u8; MAX_HEADER_BYTES],
    filled: usize,
}

/// A header that is complete.
#[derive(Debug)]
pub(crate) enum Header {
    /// With the length of the payload.
    Valid(FrameHeader, u64),
    /// A reserved opcode.
    Invalid,
}

impl HeaderReader {
    /// Takes what belongs to the header; returns how much that was, and the header once it is complete.
    pub(crate) fn read(&mut self, input: &[u8]) -> (usize, Option<Header>) {
        let mut used = 0;
        while self.filled < self.length() {
            let wanted = self.length() - self.filled;
            let Some(piece) =
                input[used..].get(..wanted.min(input.len() - used)).filter(|piece| !piece.is_empty())
            else {
                return (used, None);
            };
            self.bytes[self.filled..self.filled + piece.len()].copy_from_slice(piece);
            self.filled += piece.len();
            used += piece.len();
        }
        let header = match FrameHeader::parse(&mut Cursor::new(self.bytes())) {
            Ok(Some((header, length))) => Header::Valid(header, length),
            Ok(None) | Err(_) => Header::Invalid,
        };
        (used, Some(header))
    }

    /// As far as the bytes that are there tell.
    fn length(&self) -> usize {
        if self.filled < 2 {
            return 2;
        }
        let extended = match self.bytes[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.bytes[1] & 0x80 == 0 { 0 } else { 4 };
        2 + extended + mask
    }

    /// The header as it came.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// The next byte begins another header.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }
}

/// A frame's payload, and how much of it has been read.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) header: FrameHeader,
    pub(crate) length: u64,
    pub(crate) read: u64,
}

impl Payload {
    pub(crate) fn new(header: FrameHeader, length: u64) -> Self {
        Self { header, length, read: 0 }
    }

    pub(crate) fn is_read(&self) -> bool {
        self.read == self.length
    }

    /// What of these bytes belongs to it.
    pub(crate) fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let left = usize::try_from(self.length - self.read).unwrap_or(usize::MAX);
        &bytes[..bytes.len().min(left)]
    }
}

/// How many bytes are unmasked at a time, on the stack. Also bounds what one step inflates: a byte becomes at most 1,032.
pub(crate) const PIECE: usize = 512;

/// The next piece of a payload, unmasked.
///
/// `offset` is how many bytes of the payload came before (RFC 6455 section 5.3).
pub(crate) fn unmasked<'a>(
    payload: &[u8],
    mask: Option<[u8; 4]>,
    offset: u64,
    piece: &'a mut [u8; PIECE],
) -> &'a [u8] {
    let piece = &mut piece[..payload.len().min(PIECE)];
    piece.copy_from_slice(&payload[..piece.len()]);
    if let Some(mask) = mask {
        apply_mask(piece, mask, offset);
    }
    piece
}

pub(crate) fn apply_mask(bytes: &mut [u8], mut mask: [u8; 4], offset: u64) {
    mask.rotate_left((offset % 4) as usize);
    let mut words = bytes.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, key) in word.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_however_it_is_cut() {
        for (bytes, length) in [
            (&[0x81, 0x05][..], 5),
            (&[0x82, 0x85, 1, 2, 3, 4], 5),
            (&[0x01, 126, 1, 0], 256),
            (&[0xc1, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 65536),
        ] {
            for cut in 0..=bytes.len() {
                let mut reader = HeaderReader::default();
                let (used, early) = reader.read(&bytes[..cut]);
                assert_eq!(used, cut);
                let header = early.or_else(|| {
                    let with_payload: Vec<u8> = bytes[cut..].iter().copied().chain([9; 9]).collect();
                    let (used, header) = reader.read(&with_payload);
                    assert_eq!(used, bytes.len() - cut);
                    header
                });
                assert!(matches!(header, Some(Header::Valid(_, found)) if found == length));
                assert_eq!(reader.bytes(), bytes);
            }
        }
    }

    #[test]
    fn a_reserved_opcode_is_invalid() {
        assert!(matches!(HeaderReader::default().read(&[0x83, 0]), (2, Some(Header::Invalid))));
    }

    #[test]
    fn a_mask_goes_on_where_it_stopped() {
        let mut whole: Vec<u8> = (0..23).collect();
        let mut parts = whole.clone();
        apply_mask(&mut whole, [1, 2, 3, 4], 0);
        let (head, tail) = parts.split_at_mut(6);
        apply_mask(head, [1, 2, 3, 4], 0);
        apply_mask(tail, [1, 2, 3, 4], 6);
        assert_eq!(whole, parts);
    }
}
