//! "Server to client role": servers that mean harm to the handlers that connect to them.

use std::sync::Arc;
use std::time::Duration;

use waterspout_tests::Frame;

use crate::attack::Handler::Guest;
use crate::attack::Sign::{NotNoted, Noted};
use crate::attack::Without::Rule;
use crate::attack::{Attack, PROTOCOL, Running, Setting, tenant};
use crate::field::Field;

const ALLOWED: &[Setting] =
    &[tenant("connect", "[\"127.0.0.1:{hostile}\"]"), tenant("limits.cpu-per-event", "\"1s\"")];

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "a server answers with a wrong accept key, an extension or a subprotocol that was not asked for",
        handler: Guest("attacker"),
        settings: ALLOWED,
        assault: |field| dial(field, &["accept", "extension", "subprotocol"]),
        seen: &[Noted("dial Protocol"), NotNoted("dial open")],
        without: Rule(PROTOCOL),
    },
    Attack {
        name: "a server answers with a redirect, or a page without end",
        handler: Guest("attacker"),
        settings: ALLOWED,
        assault: |field| dial(field, &["redirect", "home", "page"]),
        seen: &[Noted("dial Http(302)"), Noted("dial Http(200)"), NotNoted("dial open")],
        without: Rule("redirects are not followed, bodies are not read"),
    },
    Attack {
        name: "a server answers with 1 GB of headers",
        handler: Guest("attacker"),
        settings: ALLOWED,
        assault: |field| dial(field, &["headers"]),
        seen: &[Noted("dial Protocol"), NotNoted("dial open")],
        without: Rule("an answer's head is bounded"),
    },
    Attack {
        name: "a server answers that an answer will come, for ever",
        handler: Guest("attacker"),
        settings: ALLOWED,
        assault: |field| dial(field, &["interim"]),
        seen: &[Noted("dial Protocol"), NotNoted("dial open")],
        without: Rule("what comes before the answer is bounded, and read in the tenant's turns"),
    },
    Attack {
        name: "a server sends a masked frame, or one of 1 GB",
        handler: Guest("attacker"),
        settings: ALLOWED,
        assault: |field| dial(field, &["masked", "huge"]),
        seen: &[Noted("dial open")],
        without: Rule(PROTOCOL),
    },
];

/// Handlers that dial the hostile server's paths, stay for a moment, and leave.
fn dial(field: Arc<Field>, paths: &'static [&'static str]) -> Running {
    Box::pin(async move {
        let mut all = tokio::task::JoinSet::new();
        for path in paths.iter().cycle().take(4) {
            let field = field.clone();
            all.spawn(async move {
                let query = Field::query("on-message", &format!("dial ws://{}/{path}", field.hostile));
                loop {
                    if let Some(mut peer) = field.open(&query).await {
                        peer.say(Frame::text("go")).await;
                        field.watch_until_answer(&mut peer).await;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            });
        }
        all.join_next().await;
    })
}
