//! Counts the messages of its connection. What it answers is `VERSION:COUNT:TEXT`: the number of this version of the guest, how many messages
//! came, and what this one was. `counter-2` and `counter-3` continue where this one was.

use serde::{Deserialize, Serialize};
use waterspout_guest::{Connection, Handler, Message};

/// With defaults, so that it can also take over from the next version: a rollback.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Counter {
    count: u32,
    /// The next version has no use for it.
    longest: String,
}

impl Handler for Counter {
    fn on_message(&mut self, conn: &Connection, message: Message) {
        self.count += 1;
        let text = message.to_string();
        let _ = conn.write_message(format!("1:{}:{text}", self.count));
        if text.len() > self.longest.len() {
            self.longest = text;
        }
    }
}

waterspout_guest::export!(Counter);
