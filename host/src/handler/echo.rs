//! The embedded echo handler, so that the host runs without any Wasm toolchain and without a binary in the repository: a core
//! module in WebAssembly text, made a component with the interface's own WIT.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The interface, one file each, as in the repository's `wit` folder.
const WIT: [(&str, &str); 8] = [
    ("worlds.wit", include_str!("../../../wit/worlds.wit")),
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("handshake.wit", include_str!("../../../wit/handshake.wit")),
    ("connection.wit", include_str!("../../../wit/connection.wit")),
    ("topics.wit", include_str!("../../../wit/topics.wit")),
    ("client.wit", include_str!("../../../wit/client.wit")),
    ("handler.wit", include_str!("../../../wit/handler.wit")),
    ("shared-state.wit", include_str!("../../../wit/shared-state.wit")),
];

const CORE_MODULE: &str = include_str!("echo.wat");

/// The echo handler as a binary component. It sends every message back unchanged, kind and all.
pub(crate) fn component() -> Vec<u8> {
    encode().expect("the embedded handler and the embedded WIT belong together")
}

fn encode() -> anyhow::Result<Vec<u8>> {
    let mut sources = wit_parser::SourceMap::new();
    for (name, text) in WIT {
        sources.push_str(name, text);
    }
    let mut resolve = Resolve::default();
    let package = resolve.push_group(sources.parse().map_err(|(_, error)| error)?)?;
    let world = resolve.select_world(&[package], Some("websocket-app"))?;
    let mut module = wat::parse_str(CORE_MODULE)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
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
