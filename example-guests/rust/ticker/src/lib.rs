//! Timers, and publish and subscribe.
//!
//! Each connection has an instance, and so memory, of its own: what connections tell each other goes through topics.
//! A peer sends lines:
//!
//! | line | what happens | answer |
//! |---|---|---|
//! | `subscribe NAME` | what is published under NAME comes here, too | `{"subscribed":"NAME"}` |
//! | `unsubscribe NAME` | it does no longer | `{"unsubscribed":"NAME"}` |
//! | `publish NAME TEXT` | all subscribers of NAME get `{"topic":"NAME","text":"TEXT"}` | `{"published":"NAME"}` |
//! | `every MILLISECONDS` | all subscribers of `ticks` get `{"tick":1}`, `{"tick":2}`, ... at that pace | `{"every":500}` |
//! | `stop` | no more ticks from this connection | `{"stopped":true}` |
//!
//! Whoever connects is subscribed to `ticks`. What cannot be done is answered `{"error":"..."}`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use waterspout_guest::serde_json::{Value, json};
use waterspout_guest::{Connection, Error, Handler, Message, publish};

/// The topic that ticks are published under.
const TICKS: &str = "ticks";

/// Timers are told apart by a number of the handler's choice; this handler has one timer.
const TICK_TIMER: u32 = 0;

/// Faster would be a load, slower a mistake.
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 10..=3_600_000;

/// Because it can be serialised, it ticks on where it was when a new version takes its place: topics and the running
/// timer stay with the connection.
#[derive(Default, Serialize, Deserialize)]
struct Ticker {
    interval: Duration,
    ticks: u64,
}

impl Handler for Ticker {
    fn open(&mut self, conn: &Connection) {
        if let Err(error) = conn.subscribe(TICKS) {
            // Why is for the log; the peer is told that it is not its fault (1011).
            eprintln!("not subscribed to {TICKS}: {error}");
            let _ = conn.close(1011, "No ticks today.");
        }
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        let line = message.as_text().unwrap_or_default();
        let answer = Command::parse(line)
            .and_then(|command| self.run(conn, command).map_err(|error| error.to_string()))
            .unwrap_or_else(|why| json!({ "error": why }));
        let _ = conn.write_message(answer);
    }

    fn on_timer(&mut self, conn: &Connection, _token: u32) {
        self.ticks += 1;
        // A timer rings once. To ring again it is set again, first, so that the pace does not depend on what follows.
        let ticked = conn
            .set_timer(TICK_TIMER, self.interval)
            .and_then(|()| publish(TICKS, json!({ "tick": self.ticks })));
        if let Err(error) = ticked {
            println!("tick {}: {error}", self.ticks);
        }
    }
}

impl Ticker {
    fn run(&mut self, conn: &Connection, command: Command<'_>) -> Result<Value, Error> {
        match command {
            Command::Subscribe { topic } => {
                conn.subscribe(topic)?;
                Ok(json!({ "subscribed": topic }))
            }
            Command::Unsubscribe { topic } => {
                conn.unsubscribe(topic);
                Ok(json!({ "unsubscribed": topic }))
            }
            Command::Publish { topic, text } => {
                publish(topic, json!({ "topic": topic, "text": text }))?;
                Ok(json!({ "published": topic }))
            }
            Command::Every { interval } => {
                self.interval = interval;
                // Takes the place of the timer that is running, if one is.
                conn.set_timer(TICK_TIMER, interval)?;
                Ok(json!({ "every": interval.as_millis() as u64 }))
            }
            Command::Stop => {
                conn.clear_timer(TICK_TIMER);
                Ok(json!({ "stopped": true }))
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Command<'l> {
    Subscribe { topic: &'l str },
    Unsubscribe { topic: &'l str },
    Publish { topic: &'l str, text: &'l str },
    Every { interval: Duration },
    Stop,
}

impl<'l> Command<'l> {
    fn parse(line: &'l str) -> Result<Self, String> {
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match (word, rest.trim()) {
            ("subscribe", topic) if !topic.is_empty() => Ok(Command::Subscribe { topic }),
            ("unsubscribe", topic) if !topic.is_empty() => Ok(Command::Unsubscribe { topic }),
            ("publish", rest) => match rest.split_once(' ') {
                Some((topic, text)) => Ok(Command::Publish { topic, text: text.trim_start() }),
                None => Err("publish NAME TEXT".into()),
            },
            ("every", ms) => match ms.parse() {
                Ok(ms) if INTERVAL_MS.contains(&ms) => {
                    Ok(Command::Every { interval: Duration::from_millis(ms) })
                }
                _ => {
                    Err(format!("every MILLISECONDS, from {} to {}", INTERVAL_MS.start(), INTERVAL_MS.end()))
                }
            },
            ("stop", "") => Ok(Command::Stop),
            _ => Err("one of: subscribe NAME, unsubscribe NAME, publish NAME TEXT, every MILLISECONDS, stop"
                .into()),
        }
    }
}

waterspout_guest::export!(Ticker);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words_in_a_line() {
        assert_eq!(Command::parse("subscribe news"), Ok(Command::Subscribe { topic: "news" }));
        assert_eq!(Command::parse(" unsubscribe news\n"), Ok(Command::Unsubscribe { topic: "news" }));
        assert_eq!(
            Command::parse("publish news it  rains"),
            Ok(Command::Publish { topic: "news", text: "it  rains" })
        );
        assert_eq!(Command::parse("every 500"), Ok(Command::Every { interval: Duration::from_millis(500) }));
        assert_eq!(Command::parse("stop"), Ok(Command::Stop));
    }

    #[test]
    fn what_is_no_command_says_what_would_be() {
        for line in ["", "subscribe", "stop it", "Subscribe news"] {
            assert!(Command::parse(line).unwrap_err().starts_with("one of: "), "{line:?}");
        }
        assert_eq!(Command::parse("publish news").unwrap_err(), "publish NAME TEXT");
    }

    #[test]
    fn an_interval_has_bounds() {
        assert!(Command::parse("every 10").is_ok());
        assert!(Command::parse("every 3600000").is_ok());
        for line in ["every", "every 9", "every 3600001", "every -1", "every soon"] {
            assert!(Command::parse(line).unwrap_err().starts_with("every MILLISECONDS"), "{line:?}");
        }
    }
}
