//! Tornado's echo: the first handler of its documentation.

use waterspout_guest::{CloseFrame, Connection, Handler, Message};

#[derive(Default)]
struct Echo;

impl Handler for Echo {
    fn open(&mut self, _conn: &Connection) {
        println!("WebSocket opened");
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        let answer = match message {
            Message::Text(text) => Message::Text(format!("You said: {text}")),
            binary => binary,
        };
        // It fails if the peer has just left, or does not read: nothing that an echo could mend.
        let _ = conn.write_message(answer);
    }

    fn on_close(&mut self, _conn: &Connection, _frame: Option<CloseFrame>) {
        println!("WebSocket closed");
    }
}

waterspout_guest::export!(Echo);
