//! Files that are no handlers, or more than one.

use std::sync::Arc;

use crate::attack::Handler::Made;
use crate::attack::Harm::Noted as Gets;
use crate::attack::Sign::Logged;
use crate::attack::Without::{Limit, Rule};
use crate::attack::{Attack, Running, SANDBOX, Sign, server};
use crate::field::{Field, clients};
use crate::handlers;

const NOT_LOADED: Sign = Logged("the handler cannot be loaded: its route answers 503");

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "import what it may not",
        handler: Made(handlers::foreign_import),
        settings: &[],
        assault: nothing,
        seen: &[NOT_LOADED, Logged("evil:box/files")],
        without: Rule(SANDBOX),
    },
    Attack {
        name: "be a truncated file",
        handler: Made(handlers::truncated),
        settings: &[],
        assault: nothing,
        seen: &[NOT_LOADED, Logged("handler.wasm")],
        without: Rule(SANDBOX),
    },
    Attack {
        name: "be an AOT artefact that it forged",
        handler: Made(handlers::forged_artefact),
        settings: &[],
        assault: nothing,
        seen: &[NOT_LOADED, Logged("handler.wasm")],
        without: Rule("artefacts without our MAC are never loaded"),
    },
    Attack {
        name: "be a 100 MB component",
        handler: Made(handlers::hundred_megabytes),
        settings: &[],
        assault: is_served,
        seen: &[NOT_LOADED, Logged("max-component-bytes")],
        without: Limit(&[server("compile.max-component-bytes", "\"200MiB\"")], Gets("is served")),
    },
    Attack {
        name: "be a module with 100,000 functions",
        handler: Made(handlers::hundred_thousand_functions),
        settings: &[server("compile.max-artefact-bytes", "\"1MiB\""), server("cache", "false")],
        assault: is_served,
        seen: &[NOT_LOADED, Logged("max-artefact-bytes")],
        without: Limit(&[server("compile.max-artefact-bytes", "\"512MiB\"")], Gets("is served")),
    },
];

/// Whether the handler can be connected to.
fn is_served(field: Arc<Field>) -> Running {
    clients(field, 1, |field, _| async move {
        if field.open("").await.is_some() {
            field.note("is served");
        }
    })
}

fn nothing(_: Arc<Field>) -> Running {
    Box::pin(std::future::ready(()))
}
