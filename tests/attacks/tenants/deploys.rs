//! Handlers that do harm when they are replaced: in `suspend`, in `resume`, and in what the handlers of an instance share.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use waterspout_tests::Frame;
use waterspout_tests::frames::{CLOSE, TEXT};

use super::ATTACKER;
use crate::attack::Harm::Memory;
use crate::attack::Sign::{self, Logged, NotLogged, NotNoted, Noted};
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, Running, SANDBOX, SPINS, Setting, TEN_SECONDS_OF_CPU, route, tenant, unlimited};
use crate::field::{ADMIN, Arrival, Field, clients, pause};

/// One instance for all, which has something that they share.
const SHARED: Setting = route("instance", "\"route\"");
/// Not much longer than its connections.
const SHORT_LINGER: Setting = tenant("limits.linger", "\"50ms\"");

/// Who is there stays with the old version.
const STAYS: [Sign; 3] = [Noted("deployed: 409"), Noted("goes on"), NotNoted("close 1011")];

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "loop in suspend",
        handler: ATTACKER,
        settings: &[ADMIN],
        assault: |field| deploy_beside(field, "suspend", "loop"),
        seen: &[Noted("close 1011 handler took too long"), Logged("call=\"suspend\"")],
        without: Limit(&[unlimited("limits.cpu-per-event")], SPINS),
    },
    Attack {
        name: "loop in shared-state.suspend",
        handler: ATTACKER,
        settings: &[ADMIN, SHARED, SHORT_LINGER],
        assault: |field| deploy_beside(field, "shared-state.suspend", "loop"),
        seen: &[Noted("close 1011 handler took too long"), Logged("call=\"suspend\"")],
        without: Limit(&[unlimited("limits.cpu-per-event")], SPINS),
    },
    Attack {
        name: "loop in resume",
        handler: ATTACKER,
        settings: &[ADMIN],
        assault: |field| deploy_beside(field, "resume", "loop"),
        seen: &STAYS,
        without: Limit(&[unlimited("limits.cpu-per-event")], SPINS),
    },
    Attack {
        name: "loop in shared-state.resume",
        handler: ATTACKER,
        settings: &[ADMIN, SHARED, SHORT_LINGER],
        assault: |field| deploy_beside(field, "shared-state.resume", "loop"),
        seen: &STAYS,
        without: Limit(&[unlimited("limits.cpu-per-event")], SPINS),
    },
    Attack {
        name: "trap in suspend",
        handler: ATTACKER,
        settings: &[ADMIN],
        assault: |field| deploy_beside(field, "suspend", "trap"),
        seen: &[Noted("close 1011 handler failed"), Logged("call=\"suspend\"")],
        without: Rule(SANDBOX),
    },
    Attack {
        name: "trap in shared-state.suspend",
        handler: ATTACKER,
        settings: &[ADMIN, SHARED, SHORT_LINGER],
        assault: |field| deploy_beside(field, "shared-state.suspend", "trap"),
        seen: &[Noted("close 1011 handler failed"), Logged("call=\"suspend\"")],
        without: Rule(SANDBOX),
    },
    Attack {
        name: "trap in resume and shared-state.resume",
        handler: ATTACKER,
        settings: &[ADMIN, SHARED, SHORT_LINGER],
        assault: |field| deploy_beside(field, "resume&at=shared-state.resume", "trap"),
        seen: &STAYS,
        without: Rule(SANDBOX),
    },
    Attack {
        name: "grow memory to the limit in suspend, resume and shared-state",
        handler: ATTACKER,
        settings: &[
            ADMIN,
            SHARED,
            SHORT_LINGER,
            TEN_SECONDS_OF_CPU,
            tenant("total.max-memory-bytes", "\"256MiB\""),
        ],
        assault: |field| {
            deploy_beside(
                field,
                "suspend&at=resume&at=shared-state.suspend&at=shared-state.resume",
                "grow 700",
            )
        },
        seen: &[
            Logged("suspend: grow "),
            Logged("shared-state.suspend: grow "),
            Logged("resume: grow "),
            Logged("shared-state.resume: grow "),
            NotLogged(": ok"),
        ],
        without: Limit(
            &[unlimited("limits.max-memory-bytes"), unlimited("total.max-memory-bytes")],
            Memory(400),
        ),
    },
];

/// Four connections that stay as long as their handler lets them, and somebody who replaces it again and again.
fn deploy_beside(field: Arc<Field>, at: &'static str, what: &'static str) -> Running {
    Box::pin(async move {
        let deploying = async {
            for variant in (0..2).cycle() {
                if field.deploy(variant).await.is_err() {
                    field.note("not deployed");
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::join!(deploying, clients(field.clone(), 4, move |field, _| stay(field, at, what)));
    })
}

async fn stay(field: Arc<Field>, at: &'static str, what: &'static str) {
    if let Some(mut peer) = field.open(&Field::query(at, what)).await {
        while peer.say(Frame::text("there?")).await {
            match peer.next().await {
                Arrival::Frame(TEXT, _) => field.note("goes on"),
                Arrival::Frame(CLOSE, payload) => {
                    field.note_close(&payload);
                    break;
                }
                Arrival::Frame(..) => {}
                Arrival::Gone => break,
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    pause().await;
}
