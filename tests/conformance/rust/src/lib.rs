//! The conformance handler in Rust: `tests/conformance/README.md` says what it does.

mod client;
mod connection;
mod handshake;
mod state;
mod surroundings;

use serde::{Deserialize, Serialize};
use waterspout_guest::client::ClientEvent;
use waterspout_guest::{
    CloseFrame, CompressionOptions, Connection, Error, Handler, Message, Rejection, Request, publish,
};

use crate::state::{Kept, Reluctant, Room};

/// Whom those who watch connections end are told by.
const ENDS: &str = "conformance-ends";

/// Whom those who wait for a queue to be full are told by.
const FULL: &str = "conformance-full";

/// One connection's handler. What it does depends on the path.
#[derive(Default, Serialize, Deserialize)]
struct Conformance {
    feature: String,
    /// The method that fails.
    fails_in: String,
    /// Of the header that may not be set.
    refused: String,
    count: u32,
    kept: Kept,
    /// The connection that this one has opened, by its id.
    upstream: Option<String>,
    reluctant: Reluctant,
}

impl Conformance {
    fn may_fail(&self, method: &str) {
        assert_ne!(self.fails_in, method, "conformance: {method}");
    }
}

/// An error's name in the interface.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Closed => "closed",
        Error::BufferFull => "buffer-full",
        Error::Timeout => "timeout",
        Error::Limit(_) => "limit",
        Error::Denied => "denied",
        Error::Invalid(_) => "invalid",
    }
}

fn report(conn: &Connection, text: impl Into<Message>) {
    if let Err(error) = conn.write_message(text) {
        eprintln!("not reported: {error}");
    }
}

/// `ok`, or the error's name.
fn outcome(result: Result<(), Error>) -> &'static str {
    result.as_ref().map_or_else(kind, |()| "ok")
}

/// A word and what follows it.
fn words(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

fn frame_text(frame: Option<&CloseFrame>) -> String {
    match frame {
        Some(frame) => format!("{} {}", frame.code, frame.reason).trim_end().to_owned(),
        None => "none".to_owned(),
    }
}

impl Handler for Conformance {
    fn new(request: &Request) -> Self {
        let feature = request.path_arg("feature").unwrap_or_default();
        let fails_in = request.query_arg("in").unwrap_or_default();
        let reluctant = Reluctant(if feature == "refuse" { feature.clone() } else { fails_in.clone() });
        let handler = Self { feature, fails_in, reluctant, ..Self::default() };
        handler.may_fail("construct");
        handler
    }

    fn prepare(&mut self, request: &Request) -> Result<(), Rejection> {
        self.may_fail("prepare");
        handshake::prepare(self, request)
    }

    fn check_origin(&mut self, request: &Request, origin: &str) -> bool {
        self.may_fail("check_origin");
        match self.feature.as_str() {
            "origin" => origin == "https://good.example",
            _ => request.origin_allowed(origin),
        }
    }

    fn select_subprotocol(&mut self, _request: &Request, offered: &[String]) -> Option<String> {
        self.may_fail("select_subprotocol");
        let second = offered.iter().find(|subprotocol| *subprotocol == "second");
        second.filter(|_| self.feature == "subprotocol").cloned()
    }

    fn get_compression_options(&mut self) -> Option<CompressionOptions> {
        self.may_fail("get_compression_options");
        let options = CompressionOptions { level: Some(6), ..CompressionOptions::default() };
        (self.feature == "compression").then_some(options)
    }

    fn open(&mut self, conn: &Connection) {
        self.may_fail("open");
        match self.feature.as_str() {
            "request" => report(conn, handshake::described(conn.request())),
            "response-header" => report(conn, self.refused.as_str()),
            "subprotocol" | "subprotocol-default" => {
                report(conn, conn.selected_subprotocol().unwrap_or_else(|| "none".into()));
            }
            "open" => report(conn, format!("opened {}", conn.id())),
            "observe" => {
                let topic = conn.request().query_arg("topic").unwrap_or_default();
                conn.subscribe(&topic).expect("a topic");
                report(conn, "ready");
            }
            "room" => Room::enter(conn),
            _ => {}
        }
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        self.may_fail("on_message");
        let text = message.as_text().unwrap_or_default().to_owned();
        match self.feature.as_str() {
            "json" => connection::json(conn, &message),
            "open" => report(conn, conn.id()),
            "ping" => connection::ping(conn, &text),
            "close" => connection::close(conn, &text),
            "invalid" => connection::invalid(conn, &text),
            "queue" => connection::queue(conn, &text),
            "nodelay" => report(conn, outcome(conn.set_nodelay(text == "on"))),
            "topics" => connection::topics(conn, &text),
            "timers" => connection::timers(conn, &text),
            "connect" => client::connect(self, conn, &text),
            "start" => client::start(self, conn, &text),
            "counter" => {
                self.count += 1;
                report(conn, self.count.to_string());
            }
            "keep" => self.kept.run(conn, &text),
            "room" => Room::say(&text),
            "print" => surroundings::print(&text),
            "clock" => report(conn, surroundings::clock()),
            "config" => {
                report(conn, waterspout_guest::config::get(&text).unwrap_or_else(|| "none".into()));
            }
            "throw" => self.provoke(conn, message),
            _ => report(conn, message),
        }
    }

    fn on_ping(&mut self, conn: &Connection, data: Vec<u8>) {
        self.may_fail("on_ping");
        if self.feature == "ping" {
            report(conn, format!("ping {}", String::from_utf8_lossy(&data)));
        }
    }

    fn on_pong(&mut self, conn: &Connection, data: Vec<u8>) {
        self.may_fail("on_pong");
        if self.feature == "ping" {
            report(conn, format!("pong {}", String::from_utf8_lossy(&data)));
        }
    }

    fn on_writable(&mut self, conn: &Connection) {
        self.may_fail("on_writable");
        report(conn, "writable");
    }

    fn on_timer(&mut self, conn: &Connection, token: u32) {
        self.may_fail("on_timer");
        report(conn, format!("timer {token}"));
    }

    fn on_client_event(&mut self, conn: &Connection, _id: &str, event: ClientEvent) {
        self.may_fail("on_client_event");
        report(conn, client::told(event));
    }

    fn on_close(&mut self, conn: &Connection, frame: Option<CloseFrame>) {
        self.may_fail("on_close");
        match self.feature.as_str() {
            "close" => {
                let told = publish(ENDS, format!("closed {}", frame_text(frame.as_ref())));
                told.expect("a topic takes a line");
            }
            "room" => Room::leave(conn),
            _ => {}
        }
    }
}

impl Conformance {
    /// Makes happen what `in` names, or echoes.
    fn provoke(&mut self, conn: &Connection, message: Message) {
        match self.fails_in.as_str() {
            "on_pong" => conn.ping("now").expect("a ping"),
            "on_writable" => connection::fill(conn, 65_536),
            "on_timer" => conn.set_timer(1, std::time::Duration::from_millis(1)).expect("a timer"),
            "on_client_event" => client::start_anything(self, conn),
            _ => report(conn, message),
        }
    }
}

waterspout_guest::export!(Conformance, shared = Room);
