//! `counter-1` without a derive: it cannot be suspended, and a swap has to drain it. It answers `fixed:COUNT:TEXT`.

use waterspout_guest::{Connection, Handler, Message};

#[derive(Default)]
struct Counter {
    count: u32,
}

impl Handler for Counter {
    fn on_message(&mut self, conn: &Connection, message: Message) {
        self.count += 1;
        let _ = conn.write_message(format!("fixed:{}:{message}", self.count));
    }
}

waterspout_guest::export!(Counter);
