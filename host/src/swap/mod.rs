//! Replacing a route's handler while its connections stay open.
//!
//! The socket belongs to the host, so the handler under it can change. What a route serves are its `Versions`; each connection, and each
//! shared instance, looks between two events whether there is another one for it (`Succession`), and goes over to it by a
//! migration: `suspend` gives the old handler's state, `resume` in the new version takes it. A `Rollout` is one change of
//! version, with what has become of the connections that were open; `swap` watches over it.

mod canary;
mod conduct;
mod health;
mod hindrance;
mod migration;
mod policy;
mod rollout;
mod seats;
mod succession;
mod version;
mod versions;

pub(crate) use canary::{Canary, Verdict};
pub use conduct::{SwapError, SwapReport};
pub(crate) use conduct::{admit_canary, hindrance, offer, promote, roll_back, swap, watch_canary};
pub(crate) use health::Health;
pub(crate) use hindrance::Unsupported;
pub use hindrance::migration_hindrance;
pub(crate) use migration::move_instance;
pub use policy::{OnSwap, SwapPolicy};
pub(crate) use rollout::{Again, Outcome, Rollout, Stays};
pub(crate) use seats::{Seated, Seats};
pub(crate) use succession::{Succession, Turn};
pub(crate) use version::{Origin, Version};
pub(crate) use versions::{Standing, Versions};
