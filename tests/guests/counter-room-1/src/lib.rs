//! Counts the messages of a room, an instance that connections share, and those of each connection. What it answers is `VERSION:ROOM:OWN:TEXT`: the
//! number of this version of the guest, how many messages came to the room, how many of this connection, and what this one was. If that begins
//! with `all `, everybody in the room is told. `counter-room-2` and `counter-room-3` continue where this one was.

use serde::{Deserialize, Serialize};
use waterspout_guest::{CloseFrame, Connection, Handler, Message, Shared};

/// With defaults, as the handler, so that they can also take over from the next version: a rollback.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Room {
    count: u64,
    /// How many people there were at most. The next version has no use for it.
    fullest: usize,
    people: Vec<Connection>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Counter {
    /// Nor for this.
    id: String,
    count: u64,
}

impl Handler for Counter {
    fn open(&mut self, conn: &Connection) {
        self.id = conn.id();
        let mut room = Room::shared();
        room.people.push(conn.clone());
        room.fullest = room.fullest.max(room.people.len());
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        let mut room = Room::shared();
        room.count += 1;
        self.count += 1;
        let text = message.to_string();
        let answer = Message::from(format!("1:{}:{}:{text}", room.count, self.count));
        if text.starts_with("all ") {
            for person in &room.people {
                let _ = person.write_message_ref(&answer);
            }
        } else {
            let _ = conn.write_message_ref(&answer);
        }
    }

    fn on_close(&mut self, conn: &Connection, _frame: Option<CloseFrame>) {
        Room::shared().people.retain(|person| person.id() != conn.id());
    }
}

waterspout_guest::export!(Counter, shared = Room);
