//! What the operator's configuration tells this handler: `wasi:config/store`. A component that never asks does not
//! import it.

use crate::generated::config::wasi::config::store;

/// The value of a key, or none if the operator set none.
///
/// # Panics
/// When the host cannot read its configuration. Waterspout always can.
pub fn get(key: &str) -> Option<String> {
    store::get(key).unwrap_or_else(|error| panic!("the host could not read its configuration: {error:?}"))
}

/// All keys with their values.
///
/// # Panics
/// When the host cannot read its configuration. Waterspout always can.
pub fn all() -> Vec<(String, String)> {
    store::get_all().unwrap_or_else(|error| panic!("the host could not read its configuration: {error:?}"))
}
