//! The embedded echo handler, so that the host runs without any Wasm toolchain and without a binary in the repository: a core
//! module in WebAssembly text, made a component with the interface's own WIT.

use wit_component::ComponentEncoder;

use crate::handler::interface::{self, World};

const CORE_MODULE: &str = include_str!("echo.wat");

/// The echo handler as a binary component. It sends every message back unchanged, kind and all.
pub(crate) fn component() -> Vec<u8> {
    encode().expect("the embedded handler and the embedded WIT belong together")
}

fn encode() -> anyhow::Result<Vec<u8>> {
    let mut module = wat::parse_str(CORE_MODULE)?;
    interface::embed(&mut module, World::Handler)?;
    ComponentEncoder::default().module(&module)?.validate(true).encode()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_embedded_handler_is_a_component_of_the_world() {
        let exports = crate::compiler::component::exports(&super::component()).expect("a component");
        assert!(
            exports.iter().any(|name| name == crate::handler::load_error::HANDLER_INTERFACE),
            "{exports:?}"
        );
    }
}
