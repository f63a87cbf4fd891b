//! From bytes of any accepted form to a binary component, and what can be read off one.
//!
//! Told apart by content: a component, a core module (it is made a component), or WebAssembly text of either. A core module says by
//! a `component-type` section which world it implements, as linkers leave it of bindings in C or Rust, or is known by its exports:
//! some compilers (Go's) cannot write such a section.

use std::borrow::Cow;

use crate::handler::interface::{self, World};
use crate::handler::load_error::{HANDLER_INTERFACE, LoadError};
use crate::units::printable;

/// What may be added to say why something is no handler.
pub(super) const NOT_WASM: [&str; 3] = ["", PRECOMPILED, WIT_PACKAGE];
const PRECOMPILED: &str = " (precompiled artefacts are never loaded: give the component itself)";
pub(super) const WIT_PACKAGE: &str = " (it is a WIT package in binary form)";

/// From whatever was given to a binary component.
pub(super) fn componentize(bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let mut binary = match bytes {
        [b'\0', b'a', b's', b'm', ..] => Cow::Borrowed(bytes),
        [0x7f, b'E', b'L', b'F', ..] => {
            return Err(LoadError::NotWasm(PRECOMPILED));
        }
        _ => {
            let text = std::str::from_utf8(bytes).map_err(|_| LoadError::NotWasm(""))?;
            if !text.contains("(module") && !text.contains("(component") {
                return Err(LoadError::NotWasm(""));
            }
            wat::parse_str(text).map_err(|error| LoadError::Text(mistake(&error.to_string(), text)))?.into()
        }
    };
    if wasmparser::Parser::is_component(&binary) {
        return Ok(binary.into_owned());
    }
    if !has_component_type(&binary)? {
        let world = world(&binary)?.ok_or(LoadError::CoreModule)?;
        interface::embed(binary.to_mut(), world)
            .map_err(|error| LoadError::Componentize(format!("{error:#}")))?;
    }
    wit_component::ComponentEncoder::default()
        .module(&binary)
        .and_then(|encoder| {
            let adapter = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
            let name = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
            // Only a module that imports preview 1 gets the adapter.
            encoder.adapter(name, adapter)?.validate(true).encode()
        })
        .map_err(|error| LoadError::Componentize(format!("{error:#}")))
}

/// What `wat` says on several lines, with a picture, in one: place, what it expected, and the line that it is about.
fn mistake(report: &str, text: &str) -> String {
    let what = report.lines().next().unwrap_or_default();
    let place = report.lines().find_map(|line| {
        let (line, column) = line.trim().strip_prefix("--> <anon>:")?.split_once(':')?;
        Some((line.parse::<usize>().ok()?, column.parse::<usize>().ok()?))
    });
    let Some((line, column)) = place else { return what.to_owned() };
    let about: String =
        text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim().chars().take(60).collect();
    printable(format!("line {line}, column {column}: {what}, in `{about}`").as_bytes())
}

fn has_component_type(module: &[u8]) -> Result<bool, LoadError> {
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|error| LoadError::Compile(error.to_string()))?;
        if let wasmparser::Payload::CustomSection(section) = payload
            && section.name().starts_with("component-type")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Which world a core module implements, if it is one of the interface's.
fn world(module: &[u8]) -> Result<Option<World>, LoadError> {
    let mut names = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        if let wasmparser::Payload::ExportSection(section) =
            payload.map_err(|error| LoadError::Compile(error.to_string()))?
        {
            for export in section {
                names.push(export.map_err(|error| LoadError::Compile(error.to_string()))?.name);
            }
        }
    }
    Ok(World::of(names))
}

/// The names of a component's exported interfaces and functions.
pub(crate) fn exports(component: &[u8]) -> Result<Vec<String>, LoadError> {
    let mut names = Vec::new();
    let mut depth = 0_usize;
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        match payload.map_err(|error| LoadError::Compile(error.to_string()))? {
            wasmparser::Payload::ModuleSection { .. } | wasmparser::Payload::ComponentSection { .. } => {
                depth += 1
            }
            wasmparser::Payload::End(_) => depth = depth.saturating_sub(1),
            wasmparser::Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(|error| LoadError::Compile(error.to_string()))?;
                    names.push(export.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

pub(super) fn check_exports(component: &[u8]) -> Result<(), LoadError> {
    let exports = exports(component)?;
    if exports.iter().any(|name| name == HANDLER_INTERFACE) {
        return Ok(());
    }
    let exports = match exports.as_slice() {
        [] => "nothing".to_owned(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    Err(LoadError::OtherWorld { exports })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_text_is_told_in_one_line_with_its_place() {
        let error = componentize(b"(module\n  (imprt \"a\"))").expect_err("a mistake").to_string();
        assert!(
            error.contains("line 2, column 4") && error.contains("imprt") && !error.contains('\n'),
            "{error}"
        );
    }

    #[test]
    fn a_core_module_without_the_section_is_known_by_its_exports() {
        let echo = include_str!("../handler/echo.wat");
        let component = componentize(echo.as_bytes()).expect("a component");
        assert!(check_exports(&component).is_ok());
        // Of the world, but not all of it: said so, and not that there is no section.
        let half = echo.replacen("#[method]handler.on-ping", "#[method]handler.on-pin", 1);
        let error = componentize(half.as_bytes()).expect_err("a method is missing").to_string();
        assert!(error.contains("on-ping"), "{error}");
    }

    #[test]
    fn what_is_no_wasm_is_told_apart_from_what_is_precompiled() {
        assert!(matches!(componentize(b"hello"), Err(LoadError::NotWasm(""))));
        assert!(matches!(componentize(b"\xff\xfe"), Err(LoadError::NotWasm(""))));
        assert!(matches!(componentize(b""), Err(LoadError::NotWasm(""))));
        assert!(
            matches!(componentize(b"\x7fELF..."), Err(LoadError::NotWasm(why)) if why.contains("precompiled"))
        );
        assert!(matches!(componentize(b"\0asm\x01\0\0\0"), Err(LoadError::CoreModule)));
    }
}
