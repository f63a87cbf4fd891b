//! The second version of `counter-1`: one field less, another one with a larger type, and a new one. `by N` lets it count by N from now on.

use serde::{Deserialize, Serialize};
use waterspout_guest::{Connection, Handler, Message};

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Counter {
    count: u64,
    step: u64,
}

/// Also for the field that the first version did not have.
impl Default for Counter {
    fn default() -> Self {
        Self { count: 0, step: 1 }
    }
}

impl Handler for Counter {
    fn on_message(&mut self, conn: &Connection, message: Message) {
        let text = message.to_string();
        if let Some(step) = text.strip_prefix("by ").and_then(|step| step.parse().ok()) {
            self.step = step;
        }
        self.count += self.step;
        let _ = conn.write_message(format!("2:{}:{text}", self.count));
    }
}

waterspout_guest::export!(Counter);
