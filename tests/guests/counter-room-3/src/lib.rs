//! The third version of `counter-room-1`: a room finds people by their connections' ids, so its state has a version, and a function makes it of the
//! older ones.

use std::collections::BTreeMap;
use std::error::Error;

use serde::{Deserialize, Serialize};
use waterspout_guest::{CloseFrame, Connection, Handler, Message, Migrate, Shared, Snapshot};

#[derive(Default, Serialize, Deserialize)]
struct Room {
    count: u64,
    people: BTreeMap<String, Connection>,
}

#[derive(Deserialize)]
struct Older {
    count: u64,
    people: Vec<Connection>,
}

impl Migrate for Room {
    const VERSION: u32 = 1;

    fn migrate(old: Snapshot<'_>) -> Result<Self, Box<dyn Error>> {
        match old.version() {
            0 => {
                let Older { count, people } = old.read()?;
                let people = people.into_iter().map(|person| (person.id(), person)).collect();
                Ok(Self { count, people })
            }
            newer => Err(format!("version {newer} of the room's state is not known here").into()),
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    count: u64,
}

impl Handler for Counter {
    fn open(&mut self, conn: &Connection) {
        Room::shared().people.insert(conn.id(), conn.clone());
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        let mut room = Room::shared();
        room.count += 1;
        self.count += 1;
        let text = message.to_string();
        let answer = Message::from(format!("3:{}:{}:{text}", room.count, self.count));
        if text.starts_with("all ") {
            for person in room.people.values() {
                let _ = person.write_message_ref(&answer);
            }
        } else {
            let _ = conn.write_message_ref(&answer);
        }
    }

    fn on_close(&mut self, conn: &Connection, _frame: Option<CloseFrame>) {
        Room::shared().people.remove(&conn.id());
    }
}

waterspout_guest::export!(Counter, shared = Room);
