//! What is fuzzed: each target's `run` takes any bytes and panics if the host does not keep a promise. It refuses to be part of any
//! ordinary build: it is there for cargo-fuzz (`fuzz/`), which sets `cfg(fuzzing)`, and for tests, which replay the corpus.
//!
//! - `input`: choices, made by the bytes
//! - `idle`: what a host holds, so that it can be seen that it holds nothing more afterwards
//! - `handshake`: heads of requests, as hyper reads them, and PROXY headers
//! - `configuration`: configuration files
//! - `imports`: what guests and peers do, in any order

pub mod configuration;
pub mod handshake;
mod idle;
pub mod imports;
mod input;

#[cfg(test)]
mod corpus;
