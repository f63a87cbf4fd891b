//! Handlers in every form that the program takes, made of the echo's text, so that these tests need no compiler for
//! WebAssembly.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const ECHO: &str = include_str!("../../src/handler/echo.wat");

/// A component that echoes.
pub(crate) fn echo() -> Vec<u8> {
    component_of(&echo_module())
}

/// The same, but what it sends is always binary.
pub(crate) fn binary_echo() -> Vec<u8> {
    component_of(&binary_echo_module())
}

/// A core module with a `component-type` section that echoes.
pub(crate) fn echo_module() -> Vec<u8> {
    module_of(ECHO)
}

/// The same, but what it sends is always binary.
pub(crate) fn binary_echo_module() -> Vec<u8> {
    let as_it_came = "(local.get $connection) (local.get $kind)";
    assert!(ECHO.contains(as_it_came), "echo.wat has changed");
    module_of(&ECHO.replace(as_it_came, "(local.get $connection) (i32.const 1)"))
}

/// The same as the echo, with so many more linear memories, each of an instance of its own.
pub(crate) fn echo_with_memories(more: u8) -> Vec<u8> {
    let mut component = echo();
    let payloads = wasmparser::Parser::new(0).parse_all(&component);
    let is_module =
        |payload: &wasmparser::Result<_>| matches!(payload, Ok(wasmparser::Payload::ModuleSection { .. }));
    let index = payloads.filter(is_module).count() as u8;
    let module = wat::parse_str("(module (memory 1))").expect("WebAssembly text");
    // A section is its kind, its size and its content (Component Model, Binary Format): a core module, ...
    component.extend([1, module.len() as u8]);
    component.extend(module);
    // ... and a list of instances of it, which are given nothing.
    component.extend([2, 1 + 3 * more, more]);
    component.extend([0, index, 0].repeat(more.into()));
    component
}

/// The same as the echo, but it gives no state when another version is to take over.
pub(crate) fn echo_module_without_state() -> Vec<u8> {
    changed("(param $handler i32) (result i32)\n    (i32.store8 (i32.const 0) (i32.const 1))", |gives| {
        gives.replace("(i32.const 1)", "(i32.const 0)")
    })
}

/// The same as the echo, but it traps when it is to take over.
pub(crate) fn echo_module_that_does_not_resume() -> Vec<u8> {
    changed("(param $request i32) (param $connection i32) (param i32 i32) (result i32)", |head| {
        format!("{head} unreachable")
    })
}

fn changed(part: &str, change: impl Fn(&str) -> String) -> Vec<u8> {
    assert_eq!(ECHO.matches(part).count(), 1, "echo.wat has changed");
    module_of(&ECHO.replace(part, &change(part)))
}

/// The module of a text, with a `component-type` section that says that it is a handler.
pub(crate) fn module_of(text: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (package, _) = resolve.push_dir(folder).expect("the interface");
    let world = resolve.select_world(&[package], Some("websocket-app")).expect("the world");
    let mut module = wat::parse_str(text).expect("WebAssembly text");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a module");
    module
}

pub(crate) fn component_of(module: &[u8]) -> Vec<u8> {
    let encoder = ComponentEncoder::default().module(module).expect("a module with a component-type section");
    encoder.validate(true).encode().expect("a component")
}

/// The echo as text, with the `component-type` section of its module.
pub(crate) fn text_of(module: &[u8]) -> Vec<u8> {
    let mut sections = String::new();
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        if let wasmparser::Payload::CustomSection(section) = payload.expect("a module")
            && section.name().starts_with("component-type")
        {
            let data: String = section.data().iter().map(|byte| format!("\\{byte:02x}")).collect();
            sections += &format!("(@custom \"{}\" \"{data}\")\n", section.name());
        }
    }
    assert!(!sections.is_empty(), "the module has no component-type section");
    let module = ECHO.trim_end().strip_suffix(')').expect("the module's end");
    format!("{module}\n{sections})\n").into_bytes()
}
