//! What connections share: instances by connection, by route and by path captures; their beginnings, their ends, their bounds.

mod bounds;
mod failures;
mod lives;
mod sharing;
mod timers;
mod topics;
mod turns;
