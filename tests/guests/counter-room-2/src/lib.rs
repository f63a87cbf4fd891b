//! The second version of `counter-room-1`, without a version number: the room keeps what was said last, and no longer when it was fullest; a
//! connection's handler has a field more and one less. `last` is answered by what was said before.

use serde::{Deserialize, Serialize};
use waterspout_guest::{CloseFrame, Connection, Handler, Message, Shared};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Room {
    count: u64,
    people: Vec<Connection>,
    last: Option<Message>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Counter {
    count: u64,
    bytes: usize,
}

impl Handler for Counter {
    fn open(&mut self, conn: &Connection) {
        Room::shared().people.push(conn.clone());
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        let mut room = Room::shared();
        room.count += 1;
        self.count += 1;
        self.bytes += message.len();
        let text = match message.as_text() {
            Some("last") => room.last.as_ref().map(Message::to_string).unwrap_or_default(),
            _ => message.to_string(),
        };
        let answer = Message::from(format!("2:{}:{}:{text}", room.count, self.count));
        if message.as_bytes().starts_with(b"all ") {
            for person in &room.people {
                let _ = person.write_message_ref(&answer);
            }
        } else {
            let _ = conn.write_message_ref(&answer);
        }
        room.last = Some(message);
    }

    fn on_close(&mut self, conn: &Connection, _frame: Option<CloseFrame>) {
        Room::shared().people.retain(|person| person.id() != conn.id());
    }
}

waterspout_guest::export!(Counter, shared = Room);
