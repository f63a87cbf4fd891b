//! A next version of `counter-1` that does not succeed. The route's configuration says how: `resume = "trap"`, `"spin"` for ever, `"grow"` until
//! memory is refused; else it wants a field that no older version has.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use waterspout_guest::{Connection, Handler, Message, config};

#[derive(Default, Serialize)]
struct Counter {
    count: u32,
}

#[derive(Deserialize)]
struct Impossible {
    count: u32,
    colour: u32,
}

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match config::get("resume").as_deref() {
            Some("trap") => panic!("resume was told to"),
            Some("spin") => loop {
                std::hint::spin_loop();
            },
            Some("grow") => {
                let mut memory = Vec::new();
                loop {
                    memory.push(vec![1u8; 1 << 20]);
                }
            }
            Some(other) => Err(D::Error::custom(format!("resume is {other:?}: trap, spin or grow"))),
            None => Impossible::deserialize(deserializer)
                .map(|Impossible { count, colour }| Self { count: count + colour }),
        }
    }
}

impl Handler for Counter {
    fn on_message(&mut self, conn: &Connection, message: Message) {
        self.count += 1;
        let _ = conn.write_message(format!("broken:{}:{message}", self.count));
    }
}

waterspout_guest::export!(Counter);
