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

impl Serialize for Probe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut stuffing = String::new();
        let conn = Instance::shared().connection_of(self.number);
        for command in self.script("suspend") {
            let (word, rest) = command.split_once([' ', ':']).unwrap_or((command, ""));
            match word {
                "none" => return Err(S::Error::custom("it was told to give no state")),
                "stuff" => stuffing = "x".repeat(rest.parse().expect("a size")),
                _ => {
                    let Some(conn) = &conn else { continue };
                    let context = Context {
                        request: conn.request(),
                        conn: Some(conn),
                        message: None,
                        number: self.number,
                    };
                    if let Answer::Text(text) = run(word, rest, &context) {
                        self.record(format_args!("suspend: {command} = {text}"));
                    }
                }
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
                _ => panic!("`{command}` is no command of the probe in `resume`"),
            }
        }
        Ok(probe)
    }
}
