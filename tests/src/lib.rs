//! The harness of the stories in `tests/stories`: a host in this process on a port of its own, and clients for it.
//!
//! ```no_run
//! # async fn story() {
//! use waterspout_tests::{Guest, TestHost};
//!
//! let host = TestHost::new(Guest::Echo).limits(|limits| limits.max_message_bytes = 1024).start().await;
//! let mut client = host.connect("/websocket").await;
//! assert_eq!(client.say("hello").await, "hello");
//! # }
//! ```
//!
//! Every wait ends after [`PATIENCE`] and then fails the test with a sentence; nothing sleeps. A panic of the host fails the
//! test that it happened in, when its [`TestHost`] is dropped.
//!
//! # Layout
//!
//! - [`guests`]: handlers, each compiled once in a process
//! - [`logs`]: what one host logged
//! - [`http`]: requests with exact answers
//! - [`frames`]: a socket after the upgrade, for hand-made frames
//! - [`client`]: a well-behaved client
//! - [`certificates`]: for servers over TLS
//! - [`tls`]: a host's certificate in files, and clients that trust it
//! - [`http2`]: a client for WebSockets over HTTP/2, and frames of HTTP/2 made by hand
//! - [`metrics`]: Prometheus' text, read strictly
//! - [`host`]: the host
//! - [`program`]: the program, as a person calls it

pub mod certificates;
pub mod client;
pub mod frames;
pub mod guests;
pub mod host;
pub mod http;
pub mod http2;
pub mod logs;
pub mod metrics;
pub mod program;
pub mod tls;

pub use client::Client;
pub use frames::{Frame, Raw};
pub use guests::Guest;
pub use host::TestHost;
pub use http::Answer;
pub use logs::Record;
pub use metrics::Metrics;
pub use tls::Identity;

use std::future::Future;
use std::time::Duration;

/// How long anything may take. Far longer than it does on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for `future`, but not for ever.
///
/// # Panics
/// It took longer than [`PATIENCE`]; the message names `what` was awaited.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}
