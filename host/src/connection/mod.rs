//! One side of a connection: its bytes, its frames, its clocks, and what it shares with those who hold handles to it.

pub mod close;
pub mod compression;
pub(crate) mod event_loop;
pub(crate) mod fragments;
pub(crate) mod inbox;
pub(crate) mod intake;
pub(crate) mod link;
pub(crate) mod outgoing;
pub(crate) mod paced;
pub(crate) mod socket;
pub(crate) mod timers;
pub(crate) mod topics;
pub(crate) mod traffic;
pub(crate) mod watch;
pub(crate) mod wire;
