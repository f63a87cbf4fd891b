//! Any bytes from a peer.
//!
//! What is not compressed passes byte by byte; a compressed message becomes plain frames, of no more than the limit together; and
//! what is illegal is left to tungstenite, which must be able to see it.

use tungstenite_deflate::{DeflateError, DeflateStream, Settings};

use super::frames::Legal;
use super::input::Input;
use super::socket::{Pieces, read_all};

const LIMITS: [usize; 8] = [0, 1, 100, 4 << 10, 65_535, 65_536, 1 << 20, usize::MAX];

/// See the module.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let role = input.role();
    let agreed = input.agreed();
    let limit = LIMITS[usize::from(input.byte()) % LIMITS.len()];
    let sizes = usize::from(input.byte() % 8);
    let sizes = input.up_to(sizes);
    let ahead = usize::from(input.byte());
    let wire = input.rest();
    let settings = Settings { max_message_bytes: limit, ..Settings::default() };
    let (read_ahead, unread) = wire.split_at(ahead.min(wire.len()));
    let stream = DeflateStream::new(Pieces::new(unread, sizes), role, &agreed, &settings);
    let (output, error) = read_all(stream.with_read_ahead(read_ahead));

    let error = error.map(|error| DeflateError::in_io_error(&error).expect("the socket has no errors"));
    if let Some(DeflateError::MessageTooBig { limit: told }) = error {
        assert_eq!(told, limit);
    }
    let mut frames = Legal::new(wire, role, true);
    let mut expected = Vec::new();
    // By message.
    let mut is_compressed = Vec::new();
    for frame in &mut frames {
        if matches!(frame.opcode, 1 | 2) {
            is_compressed.push(frame.rsv1);
        }
        if frame.is_control() || is_compressed.last() == Some(&false) {
            expected.extend_from_slice(frame.bytes);
        }
    }
    expected.extend_from_slice(frames.rest);

    let mut frames = Legal::new(&output, role, false);
    let mut passed = Vec::new();
    let mut messages = 0;
    let mut inflated = 0;
    for frame in &mut frames {
        if matches!(frame.opcode, 1 | 2) {
            messages += 1;
            inflated = 0;
        }
        if frame.is_control() || !is_compressed[messages - 1] {
            passed.extend_from_slice(frame.bytes);
        } else {
            assert!(frame.is_complete, "half a frame of ours");
            inflated += frame.payload.len();
            assert!(inflated <= limit, "{inflated} bytes of at most {limit}");
        }
    }
    passed.extend_from_slice(frames.rest);
    assert!(expected.starts_with(&passed), "{passed:x?} of {expected:x?}");
    if error.is_none() {
        // A header that is not complete is kept.
        let kept = expected.len() - passed.len();
        assert!(kept < 14, "{kept} bytes were kept: {:x?}", &expected[passed.len()..]);
    }
}
