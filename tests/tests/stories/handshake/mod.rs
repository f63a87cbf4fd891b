//! The opening handshake: what is answered to a good request, to each wrong one, and by a handler that refuses or fails.

mod accepted;
mod failures;
mod hosts;
mod mistakes;
mod origins;
mod pages;
mod rejections;
mod request;
mod subprotocols;

use waterspout_tests::http::Request;
use waterspout_tests::{Answer, Guest, TestHost};

use crate::witness::target;

const FOREIGN_ORIGIN: &str = "Cross origin websockets not allowed";
const MISDIRECTED: &str = "This server does not answer to this host name.";
const FAILED: &str = "The handler failed.";

/// Checks an answer of the host's own: exactly this status and body, as plain text.
#[track_caller]
fn assert_is(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status, answer.text()), (status, body), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

async fn refused(request: Request, status: u16, body: &str) -> Answer {
    let answer = request.answer().await;
    assert_is(&answer, status, body);
    answer
}

async fn echo() -> TestHost {
    TestHost::new(Guest::Echo).start().await
}

/// Under `/websocket`, with these commands for the probe.
fn asking(commands: &[(&str, &str)]) -> String {
    target("/websocket", commands)
}
