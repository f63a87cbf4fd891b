//! What was read before anybody could take it: while a handler's call ran, or while a client waited to write. Bounded, so that TCP slows
//! the peer down.

use std::collections::VecDeque;

use crate::instance::Call;

/// Bytes read ahead. One message may be larger.
const READ_AHEAD_BYTES: usize = 64 << 10;
/// What a message read ahead costs beside its payload: bounds how many empty ones there are.
const READ_AHEAD_ENTRY_BYTES: usize = 64;
/// See the module.
#[derive(Default)]
pub(crate) struct Inbox {
    calls: VecDeque<Call>,
    bytes: usize,
}

impl Inbox {
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < READ_AHEAD_BYTES
    }

    pub(crate) fn push(&mut self, call: Call) {
        self.bytes += cost(&call);
        self.calls.push_back(call);
    }

    pub(crate) fn pop(&mut self) -> Option<Call> {
        let call = self.calls.pop_front()?;
        self.bytes -= cost(&call);
        Some(call)
    }
}

fn cost(call: &Call) -> usize {
    READ_AHEAD_ENTRY_BYTES
        + match call {
            Call::Text(text) => text.len(),
            Call::Binary(bytes) | Call::Ping(bytes) | Call::Pong(bytes) => bytes.len(),
            _ => 0,
        }
}
