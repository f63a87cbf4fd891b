//! Why connections cannot go over from one version of a handler to another: as far as that can be told before anybody tries, from what a
//! component exports.

use super::OnSwap;
use crate::handler::Handler;
use crate::server::routes::InstancePolicy;

/// What stands in the way of [`OnSwap::Migrate`] once `handler` is to be replaced by another version, as far as its exports tell; whether it
/// gives a state is known only when it is asked. To be read after "the handler".
pub fn migration_hindrance(
    policy: &InstancePolicy,
    on_swap: OnSwap,
    handler: &Handler,
) -> Option<&'static str> {
    let is_shared = *policy != InstancePolicy::Connection;
    let hinders = on_swap == OnSwap::Migrate && is_shared && handler.parts.stateful.is_none();
    hinders.then_some("does not export `shared-state`: its shared instances cannot go over to another version, and are drained")
}

/// Why the connections of one instance cannot go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsupported {
    #[error("the handler gives no state: its `suspend` answers none")]
    NoState,
    #[error("its handlers together take longer than twice `wall-per-event` to give their state")]
    TooSlow,
    #[error("what is shared gives no state: `shared-state.suspend` answers none")]
    NoSharedState,
    #[error(
        "the old version does not export `shared-state`, without which a shared instance does not go over"
    )]
    OldSharesNothing,
    #[error(
        "the new version does not export `shared-state`, without which it cannot take a shared instance's state"
    )]
    NewSharesNothing,
}
