//! From core module to component.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, DecodedWasm};

/// Writes the component made of the module `module`, or `module` itself if it is one already, to `into`. Returns how many
/// bytes it has and how many WASI interfaces it imports.
pub(crate) fn write(module: &Path, into: &Path) -> Result<(usize, usize)> {
    let module_bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let bytes = if is_component(&module_bytes) { module_bytes } else { encode(&module_bytes)? };
    let wasi_imports =
        check_imports(&bytes).with_context(|| format!("{} is no handler", module.display()))?;

    let folder = into.parent().context("a component lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Someone may be serving or testing the previous one: a file appears whole, and only when it is another.
    if fs::read(into).ok().as_ref() != Some(&bytes) {
        let partial: PathBuf = into.with_extension("partial");
        fs::write(&partial, &bytes).with_context(|| format!("cannot write {}", partial.display()))?;
        fs::rename(&partial, into).with_context(|| format!("cannot write {}", into.display()))?;
    }
    Ok((bytes.len(), wasi_imports))
}

/// Byte 6 is the layer: 0 for core modules, 1 for components.
fn is_component(bytes: &[u8]) -> bool {
    bytes.get(6) == Some(&1)
}

fn encode(module: &[u8]) -> Result<Vec<u8>> {
    // The adapter is left out again where no import needs it.
    ComponentEncoder::default()
        .validate(true)
        .module(module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .encode()
}

/// The host gives WASI 0.2 and its own interfaces, nothing else.
fn check_imports(component: &[u8]) -> Result<usize> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("a WIT package, not a component");
    };
    let mut wasi_imports = 0;
    for key in resolve.worlds[world].imports.keys() {
        let name = resolve.name_world_key(key);
        if name.starts_with("wasi:") && name.contains("@0.2.") {
            wasi_imports += 1;
        } else if !name.starts_with("waterspout:") {
            bail!("it imports {name}, which no Waterspout host provides");
        }
    }
    Ok(wasi_imports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_module_becomes_a_component_without_imports() {
        let module = b"\0asm\x01\0\0\0";
        let component = ComponentEncoder::default().module(module).and_then(|encoder| encoder.encode());
        let component = component.expect("an empty module makes an empty component");
        assert!(is_component(&component) && !is_component(module));
        assert_eq!(check_imports(&component).expect("it imports nothing"), 0);
    }
}
