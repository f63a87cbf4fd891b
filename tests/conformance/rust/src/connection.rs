//! What a handler does with its connection.

use std::time::Duration;

use waterspout_guest::serde_json::{Value, json};
use waterspout_guest::{Connection, Error, Message, publish};

use crate::{ENDS, FULL, kind, outcome, report, words};

pub(crate) fn json(conn: &Connection, message: &Message) {
    match message.json::<Value>() {
        Ok(got) => conn.write_json(&json!({"got": got, "kind": "json"})).expect("room for an answer"),
        Err(_) => report(conn, "not json"),
    }
}

pub(crate) fn ping(conn: &Connection, text: &str) {
    match words(text) {
        ("ping", data) => conn.ping(data).expect("a short ping"),
        _ => report(conn, outcome(conn.ping([b'p'; 126]))),
    }
}

pub(crate) fn close(conn: &Connection, text: &str) {
    let (code, reason) = words(text);
    let code = code.parse::<u16>().ok();
    let reason = (!reason.is_empty()).then_some(reason);
    conn.close(code, reason).expect("a code that may be sent");
    let late = conn.write_message("late");
    publish(ENDS, outcome(late)).expect("a topic takes a line");
}

pub(crate) fn invalid(conn: &Connection, text: &str) {
    let (what, number) = words(text);
    let number: u16 = number.parse().expect("a number");
    let closed = match what {
        "code" => conn.close(number, "no"),
        _ => conn.close(1000, "r".repeat(number.into()).as_str()),
    };
    if let Err(error) = closed {
        report(conn, kind(&error));
    }
}

pub(crate) fn queue(conn: &Connection, text: &str) {
    match words(text) {
        ("fill", bytes) => fill(conn, bytes.parse().expect("a number")),
        ("amount", _) => report(conn, conn.buffered_amount().to_string()),
        _ => {
            conn.flush().expect("a peer that reads");
            report(conn, "flushed");
        }
    }
}

/// Writes until the queue is full, and tells whoever watches.
pub(crate) fn fill(conn: &Connection, bytes: usize) {
    let message = Message::from(vec![0_u8; bytes]);
    while conn.write_message_ref(&message) != Err(Error::BufferFull) {}
    publish(FULL, "full").expect("a topic takes a line");
}

pub(crate) fn topics(conn: &Connection, text: &str) {
    let (verb, rest) = words(text);
    let (topic, text) = words(rest);
    let done = match verb {
        "subscribe" => conn.subscribe(topic),
        "unsubscribe" => {
            conn.unsubscribe(topic);
            Ok(())
        }
        "publish" => publish(topic, text),
        _ => publish(topic, text.as_bytes().to_vec()),
    };
    report(conn, outcome(done));
}

pub(crate) fn timers(conn: &Connection, text: &str) {
    text.split("; ").for_each(|command| timer(conn, command));
}

fn timer(conn: &Connection, command: &str) {
    let (verb, rest) = words(command);
    let (token, delay) = words(rest);
    let token = token.parse().expect("a token");
    match verb {
        "set" => {
            let delay = Duration::from_millis(delay.parse().expect("milliseconds"));
            conn.set_timer(token, delay).expect("a timer more");
        }
        _ => conn.clear_timer(token),
    }
}
