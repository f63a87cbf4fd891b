//! What goes along when the probe is replaced, and the commands that run then.

use std::collections::{BTreeMap, VecDeque};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use waterspout_guest::{Message, Shared};

use crate::Probe;
use crate::commands::{Answer, Context, run, spin};
use crate::instance::Instance;

#[derive(Serialize, Deserialize)]
struct State {
    number: u32,
    script: BTreeMap<String, Vec<String>>,
    pending: VecDeque<Message>,
    stuffing: String,
}

impl Probe {
    /// Runs a command of the query while the handler is replaced; what it answers goes to the history.
    fn ask(&self, function: &str, command: &str, word: &str, rest: &str) {
        let Some(conn) = Instance::shared().connection_of(self.number) else { return };
        let context =
            Context { request: conn.request(), conn: Some(&conn), message: None, number: self.number };
        if let Answer::Text(text) = run(word, rest, &context) {
            self.record(format_args!("{function}: {command} = {text}"));
        }
    }
}

impl Serialize for Probe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stuffing = String::new();
        for command in self.script("suspend") {
            match command.split_once([' ', ':']).unwrap_or((command, "")) {
                ("none", _) => return Err(S::Error::custom("it was told to give no state")),
                ("stuff", size) => stuffing = "x".repeat(size.parse().expect("a size")),
                (word, rest) => self.ask("suspend", command, word, rest),
            }
        }
        let Self { number, script, pending } = self;
        let (number, script, pending) = (*number, script.clone(), pending.clone());
        State { number, script, pending, stuffing }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let State { number, script, pending, .. } = State::deserialize(deserializer)?;
        let probe = Self { number, script, pending };
        for command in probe.script("resume") {
            match command.split_once([' ', ':']).unwrap_or((command, "")) {
                ("trap", _) => std::process::abort(),
                ("spin", _) => spin(None),
                ("refuse", why) => return Err(D::Error::custom(why)),
                (word, rest) => probe.ask("resume", command, word, rest),
            }
        }
        Ok(probe)
    }
}
