//! What outlives a swap, and what does not.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use waterspout_guest::{Connection, Shared, serde_json};

use crate::{report, words};

/// Fields of every kind, with what the suite sends.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    text: String,
    bytes: Vec<u8>,
    number: f64,
    list: Vec<Option<bool>>,
    map: BTreeMap<String, BTreeMap<String, i64>>,
    set: BTreeSet<String>,
}

impl Kept {
    pub(crate) fn run(&mut self, conn: &Connection, text: &str) {
        match words(text) {
            ("set", values) => *self = serde_json::from_str(values).expect("values of these kinds"),
            _ => conn.write_json(self).expect("room for an answer"),
        }
    }
}

/// A field that will not be written (`suspend`), or not be read again (`resume`, `refuse`).
#[derive(Default)]
pub(crate) struct Reluctant(pub(crate) String);

impl Serialize for Reluctant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, "suspend", "conformance: suspend");
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Reluctant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let when = String::deserialize(deserializer)?;
        assert_ne!(when, "resume", "conformance: resume");
        if when == "refuse" { Err(D::Error::custom("not this state")) } else { Ok(Self(when)) }
    }
}

/// What will not be written if it is `suspend`, and not be read again if it is `resume`, with an error.
#[derive(Default)]
struct Refused(String);

impl Serialize for Refused {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == "suspend" {
            return Err(serde::ser::Error::custom("this room stays"));
        }
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let method = String::deserialize(deserializer)?;
        if method == "resume" { Err(D::Error::custom("not this room")) } else { Ok(Self(method)) }
    }
}

/// What the connections of an instance share.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Room {
    count: u32,
    people: Vec<Connection>,
    refused: Refused,
}

impl Room {
    pub(crate) fn enter(conn: &Connection) {
        Self::shared().people.push(conn.clone());
    }

    pub(crate) fn say(text: &str) {
        let mut room = Self::shared();
        if let ("refuse", method) = words(text) {
            room.refused = Refused(method.to_owned());
            return;
        }
        room.count += 1;
        let line = format!("{} {text}", room.count);
        for person in &room.people {
            report(person, line.as_str());
        }
    }

    pub(crate) fn leave(conn: &Connection) {
        Self::shared().people.retain(|person| person.id() != conn.id());
    }
}
