//! What is fuzzed: each target's `run` takes any bytes and panics if the crate does not keep a promise.
//!
//! libFuzzer calls it from `fuzz_targets/`, and `tests/fuzz_corpus.rs` of the crate itself for every file of `corpus/`.

mod frames;
mod input;
mod socket;

pub mod layer;
pub mod negotiation;
pub mod round_trip;
