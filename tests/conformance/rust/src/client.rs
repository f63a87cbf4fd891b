//! Connections of the handler's own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use waterspout_guest::client::{
    ClientConnection, ClientEvent, ConnectError, ConnectRequest, get, websocket_connect, websocket_start,
};
use waterspout_guest::{CompressionOptions, Connection, Error, Message};

use crate::{Conformance, frame_text, kind, report, words};

/// What the suite asks to be connected to.
#[derive(Deserialize)]
struct Asked {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    subprotocols: Vec<String>,
    timeout_ms: Option<u64>,
    max_message_size: Option<u32>,
    ping_interval_ms: Option<u64>,
    ping_timeout_ms: Option<u64>,
    compression: Option<Compression>,
}

#[derive(Deserialize)]
struct Compression {
    level: Option<u8>,
    mem_level: Option<u8>,
}

impl From<Asked> for ConnectRequest {
    fn from(asked: Asked) -> Self {
        let mut request = asked
            .headers
            .into_iter()
            .fold(Self::new(asked.url), |request, (name, value)| request.header(name, value));
        request = asked.subprotocols.into_iter().fold(request, Self::subprotocol);
        if let Some(ms) = asked.timeout_ms {
            request = request.connect_timeout(Duration::from_millis(ms));
        }
        if let Some(bytes) = asked.max_message_size {
            request = request.max_message_size(bytes);
        }
        if let Some(ms) = asked.ping_interval_ms {
            request = request.ping_interval(Duration::from_millis(ms));
        }
        if let Some(ms) = asked.ping_timeout_ms {
            request = request.ping_timeout(Duration::from_millis(ms));
        }
        if let Some(Compression { level, mem_level }) = asked.compression {
            request = request.compression(CompressionOptions { level, mem_level });
        }
        request
    }
}

pub(crate) fn connect(handler: &mut Conformance, conn: &Connection, text: &str) {
    if let Ok(asked) = Message::from(text).json::<Asked>() {
        let answer = match websocket_connect(asked) {
            Ok(upstream) => {
                handler.upstream = Some(upstream.id());
                format!("connected {}", upstream.selected_subprotocol().unwrap_or_else(|| "none".into()))
            }
            Err(error) => failure(&error),
        };
        return report(conn, answer);
    }
    let upstream = upstream(handler);
    match words(text) {
        ("read", _) => report(conn, read(&upstream, upstream.read_message())),
        ("read-within", ms) => {
            let time = Duration::from_millis(ms.parse().expect("milliseconds"));
            report(conn, read(&upstream, upstream.read_message_within(time)));
        }
        ("id", _) => {
            let same = get(&upstream.id()).is_some_and(|found| found.id() == upstream.id());
            report(conn, if same { "same" } else { "another" });
        }
        (verb, rest) => send(&upstream, verb, rest),
    }
}

pub(crate) fn start(handler: &mut Conformance, conn: &Connection, text: &str) {
    let Ok(asked) = Message::from(text).json::<Asked>() else {
        let (verb, rest) = words(text);
        return send(&upstream(handler), verb, rest);
    };
    match websocket_start(asked) {
        Ok(upstream) => handler.upstream = Some(upstream.id()),
        Err(error) => report(conn, failure(&error)),
    }
}

/// A connection to where the query says.
pub(crate) fn start_anything(handler: &mut Conformance, conn: &Connection) {
    let url = conn.request().query_arg("url").unwrap_or_default();
    handler.upstream = websocket_start(url).ok().map(|upstream| upstream.id());
}

fn upstream(handler: &Conformance) -> ClientConnection {
    handler.upstream.as_deref().and_then(get).expect("it has connected")
}

fn send(upstream: &ClientConnection, verb: &str, rest: &str) {
    let sent = match verb {
        "send" => upstream.write_message(rest),
        "send-binary" => upstream.write_message(rest.as_bytes().to_vec()),
        "ping" => upstream.ping(rest),
        "flush" => upstream.flush(),
        _ => {
            let (code, reason) = words(rest);
            upstream.close(code.parse::<u16>().ok(), (!reason.is_empty()).then_some(reason))
        }
    };
    sent.expect("an upstream that takes it");
}

fn read(upstream: &ClientConnection, message: Result<Option<Message>, Error>) -> String {
    match message {
        Ok(Some(message)) => described(&message),
        Ok(None) => format!("end {}", frame_text(upstream.close_frame().as_ref())),
        Err(error) => kind(&error).to_owned(),
    }
}

fn described(message: &Message) -> String {
    match message.as_text() {
        Some(text) => format!("text {text}"),
        None => format!("binary {}", String::from_utf8_lossy(message.as_bytes())),
    }
}

/// What an event is to the suite.
pub(crate) fn told(event: ClientEvent) -> String {
    match event {
        ClientEvent::Opened => "opened".to_owned(),
        ClientEvent::Failed(error) => failure(&error),
        ClientEvent::Message(message) => described(&message),
        ClientEvent::Pong(data) => format!("pong {}", String::from_utf8_lossy(&data)),
        ClientEvent::Closed(frame) => format!("closed {}", frame_text(frame.as_ref())),
    }
}

fn failure(error: &ConnectError) -> String {
    match error {
        ConnectError::Denied => "failed denied".to_owned(),
        ConnectError::Closed => "failed closed".to_owned(),
        ConnectError::Limit(which) => format!("failed limit {which}"),
        ConnectError::Invalid(why) => format!("failed invalid-url {why}"),
        ConnectError::Network(why) => format!("failed network {why}"),
        ConnectError::Timeout => "failed timeout".to_owned(),
        ConnectError::Http(status) => format!("failed http {status}"),
        ConnectError::Protocol(why) => format!("failed protocol {why}"),
    }
}
