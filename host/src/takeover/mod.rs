//! Another process in this one's place: it is given the listening sockets, and accepts on them while this one still does, so that
//! there is no moment in which nobody does, and nothing is lost of what waits to be accepted.
//!
//! The process that is there (the predecessor) starts the successor as it was started itself: the same path, where another file may lie
//! by now, the same arguments, environment and working folder. Between them is a Unix socket, which is the successor's standard input. Over
//! it the predecessor says what there is, and sends the sockets themselves (`SCM_RIGHTS`, `unix(7)`): descriptors are close-on-exec from
//! their first moment to their last, and no child that either of them starts meanwhile inherits one. The successor answers one word when
//! everything is loaded. Until then it may fail, in any way, and nothing has changed.
//!
//! Both sides may be of different versions of the program: what is said is JSON, and has a number.

mod descriptors;
mod message;
mod predecessor;
mod successor;

pub use self::message::{Confined, Purpose};
pub use self::predecessor::{Canceller, Handover, Invocation, TakeoverError};
pub use self::successor::{Predecessor, PredecessorError};

/// Set for a successor, and for nobody else: its standard input is the predecessor's socket.
const VARIABLE: &str = "WATERSPOUT_TAKEOVER";
/// What a successor answers when it can serve.
const READY: &[u8] = b"ready\n";
