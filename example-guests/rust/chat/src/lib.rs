//! A chat: a room is an instance. With `--path '/chat/{room}' --instance '{room}'` the host makes one instance for
//! each value of `{room}`, and all of a room's connections share its memory: a `Room` knows who is here and what
//! was said, and writes to everybody.
//!
//! The page and the handler speak JSON, as `Request` and `Event` say.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use waterspout_guest::{CloseFrame, CompressionOptions, Connection, Error, Handler, Message, Shared};

/// Long enough for a name, short enough for the list of people.
const MAX_NAME_CHARS: usize = 32;

/// Bounds, with `MAX_HISTORY`, what a room keeps and a newcomer is sent.
const MAX_TEXT_CHARS: usize = 500;

/// How many lines a newcomer sees.
const MAX_HISTORY: usize = 50;

/// What the page asks for: `{"type":"join","name":"Ada"}`, `{"type":"say","text":"Hello"}`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Request {
    Join { name: String },
    Say { text: String },
}

/// What the page is told: `{"type":"said","name":"Ada","text":"Hello","at":1700000000}`, ...
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Event<'r> {
    /// To whoever has joined, before anything else.
    Welcome {
        name: &'r str,
        history: &'r VecDeque<Line>,
    },
    /// To everybody, as are the next two; `people` are those who are here now.
    Joined {
        name: &'r str,
        people: Vec<&'r str>,
    },
    Left {
        name: &'r str,
        people: Vec<&'r str>,
    },
    Said(&'r Line),
    /// To whoever asked for what cannot be.
    Error {
        text: &'r str,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    text: String,
    /// Seconds since 1970.
    at: u64,
}

/// What all connections of a room share. Because it and the handler can be serialised, they move along when the handler
/// is replaced by a new version: nobody leaves, and nothing that was said is forgotten.
#[derive(Default, Serialize, Deserialize)]
struct Room {
    history: VecDeque<Line>,
    /// Who has joined, by the connection's id.
    people: BTreeMap<String, Person>,
}

#[derive(Serialize, Deserialize)]
struct Person {
    name: String,
    conn: Connection,
}

impl Room {
    fn join(&mut self, id: &str, conn: &Connection, name: &str) -> Result<(), &'static str> {
        let name = bounded(name, MAX_NAME_CHARS).ok_or("A name has 1 to 32 characters.")?;
        if self.people.contains_key(id) {
            return Err("You are here already.");
        }
        if self.people.values().any(|person| person.name.to_lowercase() == name.to_lowercase()) {
            return Err("Somebody here has that name.");
        }

        self.people.insert(id.to_owned(), Person { name: name.to_owned(), conn: conn.clone() });
        tell(conn, &Event::Welcome { name, history: &self.history });
        self.tell_everybody(&Event::Joined { name, people: self.names() });
        Ok(())
    }

    fn say(&mut self, id: &str, text: &str) -> Result<(), &'static str> {
        let text = bounded(text, MAX_TEXT_CHARS).ok_or("A text has 1 to 500 characters.")?;
        let person = self.people.get(id).ok_or("Join first.")?;

        let line = Line { name: person.name.clone(), text: text.to_owned(), at: now() };
        self.tell_everybody(&Event::Said(&line));
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(line);
        Ok(())
    }

    fn leave(&mut self, id: &str) {
        if let Some(Person { name, .. }) = self.people.remove(id) {
            self.tell_everybody(&Event::Left { name: &name, people: self.names() });
        }
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.people.values().map(|person| person.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// One message, made once, for all.
    fn tell_everybody(&self, event: &Event<'_>) {
        let message = json(event);
        for person in self.people.values() {
            write(&person.conn, &message);
        }
    }
}

/// One connection's handler: the room does the work.
#[derive(Default, Serialize, Deserialize)]
struct Chat {
    /// The connection's id, kept because each `conn.id()` asks the host.
    id: String,
}

impl Handler for Chat {
    /// What is said repeats itself: names, keys of JSON, the history.
    fn get_compression_options(&mut self) -> Option<CompressionOptions> {
        Some(CompressionOptions::default())
    }

    fn open(&mut self, conn: &Connection) {
        self.id = conn.id();
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        let mut room = Room::shared();
        let done = match message.json() {
            Ok(Request::Join { name }) => room.join(&self.id, conn, &name),
            Ok(Request::Say { text }) => room.say(&self.id, &text),
            Err(_) => Err("That was neither a join nor a say."),
        };
        if let Err(text) = done {
            tell(conn, &Event::Error { text });
        }
    }

    fn on_close(&mut self, _conn: &Connection, _frame: Option<CloseFrame>) {
        Room::shared().leave(&self.id);
    }
}

fn tell(conn: &Connection, event: &Event<'_>) {
    write(conn, &json(event));
}

/// Writes to any of the room's connections. One that cannot take it must not hold up the others: nobody waits here.
fn write(conn: &Connection, message: &Message) {
    match conn.write_message_ref(message) {
        // Closed: its own on_close is on its way, and takes it off the list.
        Ok(()) | Err(Error::Closed) => {}
        // It reads more slowly than the room talks. Rather than miss a line unnoticed it comes back, and finds the
        // history.
        Err(Error::BufferFull) => {
            let _ = conn.close(1008, "You read too slowly.");
        }
        Err(error) => println!("not sent to {}: {error}", conn.id()),
    }
}

fn json(event: &Event<'_>) -> Message {
    Message::from_json(event).expect("strings and numbers are JSON")
}

/// The text without surrounding space, if there is any, but not too much.
fn bounded(text: &str, max_chars: usize) -> Option<&str> {
    let text = text.trim();
    (1..=max_chars).contains(&text.chars().count()).then_some(text)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

waterspout_guest::export!(Chat, shared = Room);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_trimmed_and_bounded_in_characters() {
        assert_eq!(bounded("  Ada ", 3), Some("Ada"));
        assert_eq!(bounded("ÄÖÜ", 3), Some("ÄÖÜ"));
        assert_eq!(bounded("Adam", 3), None);
        assert_eq!(bounded(" \n", 3), None);
    }

    #[test]
    fn events_are_what_the_page_expects() {
        let line = Line { name: "Ada".into(), text: "Hello".into(), at: 7 };
        assert_eq!(
            json(&Event::Said(&line)).as_text(),
            Some(r#"{"type":"said","name":"Ada","text":"Hello","at":7}"#)
        );
        let history = VecDeque::from([line]);
        assert_eq!(
            json(&Event::Welcome { name: "Bob", history: &history }).as_text(),
            Some(r#"{"type":"welcome","name":"Bob","history":[{"name":"Ada","text":"Hello","at":7}]}"#)
        );
        assert_eq!(
            json(&Event::Left { name: "Bob", people: vec!["Ada"] }).as_text(),
            Some(r#"{"type":"left","name":"Bob","people":["Ada"]}"#)
        );
    }

    #[test]
    fn requests_are_what_the_page_sends() {
        let join = Message::from(r#"{"type":"join","name":"Ada"}"#).json();
        assert!(matches!(join, Ok(Request::Join { name }) if name == "Ada"));
        let say = Message::from(r#"{"type":"say","text":"Hello"}"#).json();
        assert!(matches!(say, Ok(Request::Say { text }) if text == "Hello"));
        assert!(Message::from(r#"{"type":"shout"}"#).json::<Request>().is_err());
    }
}
