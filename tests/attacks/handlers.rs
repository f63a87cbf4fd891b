//! Handlers that no compiler makes: the host's own echo, which is WebAssembly text, changed in one place.

use std::fmt::Write;
use std::path::Path;

use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentTypeRef, ExternalKind, Parser, Payload,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const ECHO: &str = include_str!("../../host/src/handler/echo.wat");
const PREPARE: &str =
    "(i32.store8 (i32.const 0) (i32.const 0))\n    (i32.const 0))\n\n  ;; The host's default";

/// Nothing is changed: every message comes back.
pub(crate) fn echo() -> Vec<u8> {
    component(ECHO)
}

/// Its `on-message` grows a table for ever.
pub(crate) fn growing_table() -> Vec<u8> {
    let text = echo_with(
        "  (memory (export \"memory\") 6)",
        "  (memory (export \"memory\") 6)\n  (table $grown 1 funcref)",
    );
    let text = changed(
        &text,
        "    (local $connection i32)\n    (local.set $connection",
        "    (local $connection i32)\n    (loop $more\n      (if (i32.eq (table.grow $grown (ref.null func) (i32.const 5000)) (i32.const -1)) (then unreachable))\n      \
         (br_if $more (i32.lt_u (table.size $grown) (i32.const 9000000))))\n    (local.set $connection",
    );
    component(&text)
}

/// Its `on-message` overwrites all of its 62 MiB for ever: one instruction each time, within which nothing interrupts it.
pub(crate) fn filling_memory() -> Vec<u8> {
    let text = echo_with("  (memory (export \"memory\") 6)", "  (memory (export \"memory\") 1000)");
    let begin = "    (local $connection i32)\n    (local.set $connection";
    let filling = "    (local $connection i32)\n    (loop $again\n      (memory.fill (i32.const 0x100000) (i32.const 7) (i32.const 64000000))\n      \
                   (br $again))\n    (local.set $connection";
    component(&changed(&text, begin, filling))
}

/// Its `on-message` closes for a reason that ends within a character.
pub(crate) fn cut_reason() -> Vec<u8> {
    let text =
        echo_with("  (data (i32.const 64)", "  (data (i32.const 200) \"caf\\c3\")\n  (data (i32.const 64)");
    let begin = "    (block $done\n      (call $write-message";
    let close = "    (block $done\n      (call $close (local.get $connection)\n        \
                 (i32.const 1) (i32.const 1000) (i32.const 1) (i32.const 200) (i32.const 4) (i32.const 0))\n      (call $write-message";
    component(&changed(&text, begin, close))
}

/// Its `prepare` rejects with a body of a gigabyte, most of which is not there.
pub(crate) fn list_of_a_gigabyte() -> Vec<u8> {
    component(&echo_with(
        PREPARE,
        "(i32.store8 (i32.const 0) (i32.const 1))\n    (i32.store16 (i32.const 4) (i32.const 200))\n    (i32.store (i32.const 8) (i32.const 0))\n    \
         (i32.store (i32.const 12) (i32.const 0))\n    (i32.store (i32.const 16) (i32.const 1024))\n    (i32.store (i32.const 20) (i32.const 0x40000000))\n    \
         (i32.const 0))\n\n  ;; The host's default",
    ))
}

/// Beside the echo it has a component that is instantiated twenty times, each time with a core instance: what is written is one.
pub(crate) fn nested_instances() -> Vec<u8> {
    let nested = "(component (core module) (core instance (instantiate 0)))";
    beside_the_echo(nested, COMPONENT, 20)
}

/// Beside the echo it has twenty core instances: it takes three places.
pub(crate) fn many_instances() -> Vec<u8> {
    beside_the_echo("(module)", MODULE, 20)
}

/// Beside the echo it has 200,000 elements for tables that it has not got, which the host keeps for each instance.
pub(crate) fn passive_elements() -> Vec<u8> {
    let elements = "(ref.null func) ".repeat(200_000);
    beside_the_echo(&format!("(module (elem funcref {elements}))"), MODULE, 1)
}

/// Its start function traps: it cannot be instantiated.
pub(crate) fn trap_at_start() -> Vec<u8> {
    component(&echo_with("  (func $slot", "  (func $begin unreachable)\n  (start $begin)\n  (func $slot"))
}

/// Its start function traps, and has a name that C++'s compiler might have made: each piece of it stands for thirty of the one before.
pub(crate) fn trap_in_function_of_endless_name() -> Vec<u8> {
    let mut name = String::from("_Z1f5tupleIiE");
    for level in 0..15 {
        let _ = write!(name, "S_I{}E", format!("S{level:X}_").repeat(30));
    }
    component(&echo_with(
        "  (func $slot",
        &format!("  (func $begin (@name \"{name}\") unreachable)\n  (start $begin)\n  (func $slot"),
    ))
}

/// A function that its start function calls by way of others traps, and all have long names, of brackets that nothing closes.
pub(crate) fn trap_in_functions_of_long_names() -> Vec<u8> {
    let name = "[".repeat(99_990);
    let mut functions = format!("  (func $deep0 (@name \"{name}\") unreachable)\n");
    for depth in 1..8 {
        let _ = writeln!(functions, "  (func $deep{depth} (@name \"{name}\") call $deep{})", depth - 1);
    }
    component(&echo_with("  (func $slot", &format!("{functions}  (start $deep7)\n  (func $slot")))
}

/// Its `on-message` makes requests and gives them as much text as it can, again and again if that is more than a little; then it echoes.
pub(crate) fn requests_of_much_text() -> Vec<u8> {
    let wit = "package evil:box@1.0.0;
        package wasi:http@0.2.1 { interface types {
            variant method { get, head, post, put, delete, connect, options, trace, patch, other(string) }
            variant scheme { HTTP, HTTPS, other(string) }
            resource fields { constructor(); }
            resource outgoing-request {
                constructor(headers: fields);
                set-method: func(method: method) -> result;
                set-scheme: func(scheme: option<scheme>) -> result;
                set-authority: func(authority: option<string>) -> result;
                set-path-with-query: func(path-with-query: option<string>) -> result;
            } } }
        world foreign { include waterspout:websocket/websocket-app@0.1.0; import wasi:http/types@0.2.1; }";
    let imports = [
        ("[constructor]fields", "$fields (result i32)"),
        ("[constructor]outgoing-request", "$request (param i32) (result i32)"),
        ("[method]outgoing-request.set-method", "$method (param i32 i32 i32 i32) (result i32)"),
        ("[method]outgoing-request.set-scheme", "$scheme (param i32 i32 i32 i32 i32) (result i32)"),
        ("[method]outgoing-request.set-authority", "$authority (param i32 i32 i32 i32) (result i32)"),
        ("[method]outgoing-request.set-path-with-query", "$path (param i32 i32 i32 i32) (result i32)"),
    ]
    .map(|(name, function)| format!("  (import \"wasi:http/types@0.2.1\" \"{name}\" (func {function}))\n"))
    .concat();
    let text = echo_with("(module\n", &format!("(module\n{imports}"));
    let text = changed(&text, "(memory (export \"memory\") 6)", "(memory (export \"memory\") 80)");
    let begin = "    (local $connection i32)\n    (local.set $connection";
    // From 1 MiB on there are letters, and a `/` before them.
    let requests = "    (local $connection i32)
    (local $made i32)
    (local $request i32)
    (local $refused i32)
    (memory.fill (i32.const 0x100000) (i32.const 0x61) (i32.const 3000000))
    (i32.store8 (i32.const 0xfffff) (i32.const 0x2f))
    (loop $again
      (local.set $request (call $request (call $fields)))
      ;; A little is taken, and not a byte more.
      (if (call $method (local.get $request) (i32.const 9) (i32.const 0x100000) (i32.const 512)) (then unreachable))
      (local.set $refused (i32.add
        (i32.add
          (call $scheme (local.get $request) (i32.const 1) (i32.const 2) (i32.const 0x100000) (i32.const 1))
          (call $authority (local.get $request) (i32.const 1) (i32.const 0x100000) (i32.const 1)))
        (call $path (local.get $request) (i32.const 1) (i32.const 0xfffff) (i32.const 1))))
      (if (call $method (local.get $request) (i32.const 0) (i32.const 0) (i32.const 0)) (then unreachable))
      (local.set $refused (i32.add (local.get $refused) (i32.add
        (call $authority (local.get $request) (i32.const 1) (i32.const 0x100000) (i32.const 60000))
        (call $path (local.get $request) (i32.const 1) (i32.const 0xfffff) (i32.const 60000)))))
      (local.set $refused (i32.add (local.get $refused)
        (call $method (local.get $request) (i32.const 9) (i32.const 0x100000) (i32.const 3000000))))
      (local.set $made (i32.add (local.get $made) (i32.const 1)))
      (br_if $again (i32.or (i32.ne (local.get $refused) (i32.const 6)) (i32.lt_u (local.get $made) (i32.const 100)))))
    (local.set $connection";
    component_of(&changed(&text, begin, requests), Some(wit))
}

/// Its `cabi_realloc` traps when there is a message to be put into memory.
pub(crate) fn trap_in_realloc() -> Vec<u8> {
    component(&echo_with(
        "    (local.set $at\n      (i32.and",
        "    unreachable\n    (local.set $at\n      (i32.and",
    ))
}

/// It imports what is not WASI and not ours.
pub(crate) fn foreign_import() -> Vec<u8> {
    let wit = "package evil:box@1.0.0; interface files { read-secret: func(); }
        world foreign { include waterspout:websocket/websocket-app@0.1.0; import files; }";
    let import = "(module\n  (import \"evil:box/files@1.0.0\" \"read-secret\" (func $read-secret))";
    let text = echo_with("(module", import);
    // What is not called is left out.
    let text = changed(&text, "(func $release ", "(func $release (call $read-secret) ");
    component_of(&text, Some(wit))
}

/// The first half of a good component.
pub(crate) fn truncated() -> Vec<u8> {
    let mut bytes = component(ECHO);
    bytes.truncate(bytes.len() / 2);
    bytes
}

/// What begins like the ELF file that wasmtime makes of a component, and has code of its own behind that.
pub(crate) fn forged_artefact() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\xc8".to_vec();
    bytes.resize(64, 0);
    bytes.extend(b".wasmtime.engine\0.wasmtime.info\0");
    bytes.extend([0xcc; 4096]);
    bytes
}

/// A good component, and 100 MB in a custom section.
pub(crate) fn hundred_megabytes() -> Vec<u8> {
    let mut bytes = component(ECHO);
    // A name of one byte, and its length before it.
    let content = [vec![1, b'x'], vec![0; 100_000_000]].concat();
    append(&mut bytes, 0, &content);
    bytes
}

/// A good handler with 100,000 functions that are long enough to be work.
pub(crate) fn hundred_thousand_functions() -> Vec<u8> {
    let mut functions = String::new();
    for number in 0..100_000 {
        let _ = writeln!(
            functions,
            "(func $f{number} (param i32) (result i32) (i32.add (i32.mul (local.get 0) (i32.const {number})) (i32.load (i32.and (local.get 0) (i32.const 0xfff)))))"
        );
    }
    component(&echo_with("  (func $slot", &format!("{functions}  (func $slot")))
}

/// Its `on-message` asks the host for a number, 300,000 times one after the other. The host answers without the guest's memory, so that even
/// usual tools put no function between.
pub(crate) fn row_of_questions() -> Vec<u8> {
    let import = "(module\n  (import \"waterspout:websocket/connection@0.1.0\" \"[method]connection.buffered-amount\"\n    \
                  (func $buffered-amount (param i32) (result i32)))\n";
    let begin = "    (block $done\n      (call $write-message";
    let row = "    (drop (call $buffered-amount (local.get $connection)))\n".repeat(300_000);
    component(&changed(&echo_with("(module\n", import), begin, &format!("{row}{begin}")))
}

/// What a component by hand has beside the echo's: a module whose start function calls `publish` so many times, one call after the other, and
/// is given what the host made of it, without a function between them that would look at its deadline.
pub(crate) fn row_of_host_calls() -> Vec<u8> {
    const CALLS: usize = 2000;
    const MESSAGE_BYTES: usize = 9_000_000;
    let publishes = "  (import \"waterspout:websocket/topics@0.1.0\" \"publish\" (func $publish (param i32 i32 i32 i32 i32 i32)))\n";
    let text = echo_with("(module\n", &format!("(module\n{publishes}"));
    let mut bytes = component(&changed(
        &text,
        "    (local $connection i32)\n    (local.set $connection",
        // It is imported only if it is called.
        "    (local $connection i32)\n    (if (i32.eqz (memory.size)) (then (call $publish (i32.const 0) (i32.const 0) (i32.const 0) \
         (i32.const 0) (i32.const 0) (i32.const 0))))\n    (local.set $connection",
    ));
    let counts = Counts::of(&bytes);
    let memory = format!(
        "(module (memory (export \"memory\") {})
           (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))",
        MESSAGE_BYTES.div_ceil(1 << 16) + 1
    );
    // A topic of three bytes, a binary message, and where the answer goes.
    let call = format!(
        "(call $publish (i32.const 0) (i32.const 3) (i32.const 1) (i32.const 0) (i32.const {MESSAGE_BYTES}) (i32.const {MESSAGE_BYTES}))\n"
    );
    let row = format!(
        "(module (import \"host\" \"publish\" (func $publish (param i32 i32 i32 i32 i32 i32)))
           (func $row {}) (start $row))",
        call.repeat(CALLS)
    );
    let wat = |text: &str| wat::parse_str(text).expect("WebAssembly text");
    let name = |name: &str| [&leb128(name.len()), name.as_bytes()].concat();
    let number = |number: usize| leb128(number);
    // Component Model, Binary.md: a module and its instance, what it exports, the function lowered with that, and the other module with it.
    append(&mut bytes, 1, &wat(&memory));
    append(&mut bytes, 2, &[&[1, 0][..], &number(counts.modules), &[0]].concat());
    let of_memory = number(counts.core_instances);
    append(
        &mut bytes,
        6,
        &[
            &[3, 0, 2, 1][..],
            &of_memory,
            &name("memory"),
            &[0, 0, 1],
            &of_memory,
            &name("realloc"),
            &[1, 0],
            &number(counts.topics),
            &name("publish"),
        ]
        .concat(),
    );
    let options = [&[2, 3][..], &number(counts.core_memories), &[4], &number(counts.core_functions)].concat();
    append(&mut bytes, 8, &[&[1, 1, 0][..], &number(counts.functions), &options].concat());
    append(&mut bytes, 1, &wat(&row));
    append(
        &mut bytes,
        2,
        &[
            &[2, 1, 1][..],
            &name("publish"),
            &[0],
            &number(counts.core_functions + 1),
            &[0],
            &number(counts.modules + 1),
            &[1],
            &name("host"),
            &[0x12],
            &number(counts.core_instances + 1),
        ]
        .concat(),
    );
    bytes
}

/// How many of each a component has of its own, which is the number of the next one.
#[derive(Default)]
struct Counts {
    modules: usize,
    core_instances: usize,
    core_functions: usize,
    core_memories: usize,
    functions: usize,
    instances: usize,
    /// The instance that is the interface of that name.
    topics: usize,
}

impl Counts {
    fn of(component: &[u8]) -> Self {
        let mut counts = Self::default();
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload.expect("a component");
            match &payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    counts.modules +=
                        usize::from(depth == 0 && matches!(payload, Payload::ModuleSection { .. }));
                    depth += 1;
                }
                Payload::End(_) => depth -= 1,
                _ if depth == 0 => counts.count(payload),
                _ => {}
            }
        }
        counts
    }

    fn count(&mut self, section: Payload<'_>) {
        match section {
            Payload::InstanceSection(section) => self.core_instances += section.count() as usize,
            Payload::ComponentInstanceSection(section) => self.instances += section.count() as usize,
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import.expect("an import");
                    assert!(matches!(import.ty, ComponentTypeRef::Instance(_)), "{import:?}");
                    if import.name.name.contains("/topics@") {
                        self.topics = self.instances;
                    }
                    self.instances += 1;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    match alias.expect("an alias") {
                        ComponentAlias::CoreInstanceExport { kind: ExternalKind::Func, .. } => {
                            self.core_functions += 1
                        }
                        ComponentAlias::CoreInstanceExport { kind: ExternalKind::Memory, .. } => {
                            self.core_memories += 1
                        }
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Func, .. } => {
                            self.functions += 1
                        }
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Instance, .. } => {
                            self.instances += 1
                        }
                        _ => {}
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    match function.expect("a function") {
                        CanonicalFunction::Lift { .. } => self.functions += 1,
                        _ => self.core_functions += 1,
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    match export.expect("an export").kind {
                        ComponentExternalKind::Func => self.functions += 1,
                        ComponentExternalKind::Instance => self.instances += 1,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// The numbers of the sections that have a component's core modules, or its components, and instances of such.
type Sections = (u8, u8);
const MODULE: Sections = (1, 2);
const COMPONENT: Sections = (4, 5);

/// The echo's component with so many instances of something else, which takes no arguments.
fn beside_the_echo(text: &str, (of_what, of_instances): Sections, instances: usize) -> Vec<u8> {
    let mut bytes = echo();
    let number = sections(&bytes).filter(|id| *id == of_what).count();
    let what = wat::parse_str(text).expect("WebAssembly text");
    append(&mut bytes, of_what, &what);
    let instance = [&[0][..], &leb128(number), &[0]].concat();
    append(&mut bytes, of_instances, &[leb128(instances), instance.repeat(instances)].concat());
    bytes
}

/// The numbers of a component's own sections.
fn sections(component: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = &component[8..];
    std::iter::from_fn(move || {
        let (id, mut tail) = rest.split_first()?;
        let (mut length, mut shift) = (0, 0);
        while let Some((byte, more)) = tail.split_first() {
            tail = more;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        rest = &tail[length..];
        Some(*id)
    })
}

fn append(component: &mut Vec<u8>, section: u8, content: &[u8]) {
    component.push(section);
    component.extend(leb128(content.len()));
    component.extend(content);
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f | 0x80) as u8);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn echo_with(what: &str, by: &str) -> String {
    changed(ECHO, what, by)
}

fn changed(text: &str, what: &str, by: &str) -> String {
    assert!(text.contains(what), "host/src/handler/echo.wat has changed: there is no `{what}`");
    text.replacen(what, by, 1)
}

/// The component that a module's text makes.
fn component(text: &str) -> Vec<u8> {
    component_of(text, None)
}

/// The same, of a world of its own.
fn component_of(text: &str, world: Option<&str>) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let (mut package, _) = resolve.push_dir(folder).expect("the interface");
    if let Some(world) = world {
        package = resolve.push_str("foreign.wit", world).expect("a world");
    }
    let name = if world.is_some() { "foreign" } else { "websocket-app" };
    let world = resolve.select_world(&[package], Some(name)).expect("the world");
    let mut module = wat::parse_str(text).expect("WebAssembly text");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a module");
    let mut encoder =
        ComponentEncoder::default().module(&module).expect("a module with a component-type section");
    encoder.encode().expect("a component")
}
