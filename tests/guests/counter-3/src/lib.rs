//! The third version of `counter-1`: what it keeps means something else, so its state has a version, and a function makes it of the older ones.

use std::error::Error;

use serde::{Deserialize, Serialize};
use waterspout_guest::{Connection, Handler, Message, Migrate, Snapshot};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    /// In dozens and what is left of them.
    count: Dozens,
}

#[derive(Default, Serialize, Deserialize)]
struct Dozens {
    dozens: u64,
    rest: u8,
}

/// What this version wants of both older ones.
#[derive(Deserialize)]
struct Older {
    count: u64,
}

impl Dozens {
    fn of(count: u64) -> Self {
        Self { dozens: count / 12, rest: (count % 12) as u8 }
    }

    fn count(&self) -> u64 {
        self.dozens * 12 + u64::from(self.rest)
    }
}

impl Migrate for Counter {
    const VERSION: u32 = 1;

    fn migrate(old: Snapshot<'_>) -> Result<Self, Box<dyn Error>> {
        match old.version() {
            0 => Ok(Self { count: Dozens::of(old.read::<Older>()?.count) }),
            newer => Err(format!("version {newer} of the counter's state is not known here").into()),
        }
    }
}

impl Handler for Counter {
    fn on_message(&mut self, conn: &Connection, message: Message) {
        self.count = Dozens::of(self.count.count() + 1);
        let _ = conn.write_message(format!("3:{}:{message}", self.count.count()));
    }
}

waterspout_guest::export!(Counter);
