#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! - [`Handler`]: what a handler may answer, and when it is asked; [`export!`] makes a component of it
//! - [`Request`], [`Rejection`], [`CompressionOptions`]: the opening handshake
//! - [`Connection`], [`Message`], [`CloseFrame`], [`Error`]: the open connection
//! - [`publish`]: a message to everybody who subscribed to a topic
//! - [`Shared`]: what the handlers of one shared instance have in common
//! - [`Migrate`], [`Snapshot`]: what they leave to the component's next version
//! - [`config`]: what the operator's configuration tells this handler
//! - [`client`]: connections that a handler opens itself

#[allow(unsafe_code, missing_docs, unreachable_pub)]
mod generated;

mod error;
mod message;
mod values;

mod query;
mod request;

mod resuming;

mod connection;
mod topics;

pub mod client;
pub mod config;

mod handler;
mod shared;

mod snapshot;

mod migrate;

mod export;

pub use connection::Connection;
pub use error::Error;
pub use generated::app::waterspout::websocket::types::{CloseFrame, CompressionOptions, Message};
pub use handler::Handler;
pub use migrate::Migrate;
pub use request::{Rejection, Request};
pub use shared::Shared;
pub use snapshot::{Snapshot, SnapshotError};
pub use topics::publish;

/// The JSON library that [`Message::json`], [`Connection::write_json`] and `Message: From<serde_json::Value>` speak.
pub use serde_json;

/// What the code made by [`export!`] names. Not for anybody else.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{Component, State, assert_component, assert_state};
    pub use crate::generated::{app, shared};
    pub use crate::migrate::{BySerde, ByVersion, Movable, Probe, Without};
    pub use crate::shared::{borrow, leak};
}
