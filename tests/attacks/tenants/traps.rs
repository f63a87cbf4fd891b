//! Handlers that trap before or beside what a peer asks of them; those that trap in their functions are in `exports` and `deploys`.

use crate::attack::Handler::Made;
use crate::attack::Sign::{Logged, LoggedAtMost, Noted};
use crate::attack::Without::Rule;
use crate::attack::{Attack, SANDBOX};
use crate::field::{clients, poke};
use crate::handlers;

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "trap at start",
        handler: Made(handlers::trap_at_start),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("HTTP 50")],
        without: Rule(SANDBOX),
    },
    Attack {
        name: "crash in a loop at start",
        handler: Made(handlers::trap_at_start),
        settings: &[],
        assault: |field| {
            clients(field, 8, |field, _| async move {
                field.open("").await;
            })
        },
        // A try after 1 s, one 2 s later, and so on.
        seen: &[Noted("HTTP 503"), LoggedAtMost(6, "the handler trapped")],
        without: Rule("it is tried ever less often"),
    },
    Attack {
        name: "trap in a function whose name stands for gigabytes",
        handler: Made(handlers::trap_in_function_of_endless_name),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("HTTP 500"), Logged("!_Z1f5tupleIiES_IS0_")],
        without: Rule("names that C++'s compiler made are told as they are, and cut"),
    },
    Attack {
        name: "trap in functions of long names",
        handler: Made(handlers::trap_in_functions_of_long_names),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("HTTP 500"), Logged("![[[[[[[[")],
        without: Rule("of a name only the beginning is looked at"),
    },
    Attack {
        name: "trap inside cabi_realloc",
        handler: Made(handlers::trap_in_realloc),
        settings: &[],
        assault: |field| poke(field, 4, "", ""),
        seen: &[Noted("HTTP 500")],
        without: Rule(SANDBOX),
    },
];
