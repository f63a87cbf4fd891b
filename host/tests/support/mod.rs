//! A program that runs beside the test, in folders of its own, and clients for it. Every wait is bounded.

mod folder;
pub(crate) mod handlers;
mod peers;
mod program;
pub(crate) mod tls;

use std::time::Duration;

pub(crate) use folder::Folder;
pub(crate) use peers::{answer_to, client, echoes, exchange, get, last_request, request, socket};
pub(crate) use program::{Ended, Program, run, run_for};

/// How long anything may take. Far longer than it does on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The token of every admin listener here.
pub(crate) const TOKEN: &str = "sixteen-characters-and-more";

/// The route of a configuration that [`Folder::serve_configured`] has an echo for.
pub(crate) const ECHO_ROUTE: &str = "[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n";
