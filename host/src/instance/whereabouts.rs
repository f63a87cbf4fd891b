//! Where in the guest a call failed, for its record.
//!
//! What functions are called is the tenant's to say, and this is told while nobody counts his time: of each name only a beginning is looked
//! at, once, and what it is taken apart into ends where a record does. C++'s way to mangle is left as it is: a few hundred bytes of it
//! stand for more than there is memory. Linkers have taken most names apart before.

use std::fmt::{self, Write};

use wasmtime::{FrameInfo, WasmBacktrace};

use crate::units::shown;

/// Bytes that are looked at of a function's name, and of what it stands for.
const NAME_BYTES: usize = 1 << 10;

/// Functions that are told.
const FUNCTIONS: usize = 8;

/// In one line; empty if the guest did not run.
pub(super) fn whereabouts(error: &wasmtime::Error) -> String {
    let trace = error.downcast_ref::<WasmBacktrace>();
    shown(&trace.map(|trace| place(trace.frames().iter().map(function))).unwrap_or_default())
}

/// `module!function`.
fn function(frame: &FrameInfo) -> String {
    let module = beginning(frame.module().name().unwrap_or("<unknown>"));
    match frame.func_name() {
        Some(name) => format!("{module}!{}", without_hashes(&demangled(name))),
        None => format!("{module}!<wasm function {}>", frame.func_index()),
    }
}

/// The innermost functions. A panic's own machinery says nothing, unless there is nothing else.
fn place(functions: impl Iterator<Item = String>) -> String {
    const MACHINERY: [&str; 5] = ["std", "core", "alloc", "rustc", "abort"];
    let functions: Vec<String> = functions.collect();
    let own = |function: &&String| {
        let name = function.split_once('!').map_or(function.as_str(), |(_, name)| name);
        let name = name.trim_start_matches(['<', '_']);
        let krate = name.split(['[', ':', '<', '(', ' ']).next().unwrap_or_default();
        !MACHINERY.contains(&krate) && !krate.starts_with("rust_")
    };
    let own_functions: Vec<&String> = functions.iter().filter(own).collect();
    let told = if own_functions.is_empty() { functions.iter().collect() } else { own_functions };
    told.into_iter().take(FUNCTIONS).map(String::as_str).collect::<Vec<_>>().join(" < ")
}

fn beginning(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES)]
}

/// A name as it is, or what Rust's compiler has made it from.
fn demangled(name: &str) -> String {
    let name = beginning(name);
    let Ok(parts) = rustc_demangle::try_demangle(name) else {
        return name.to_owned();
    };
    let mut text = Bounded(String::new());
    // Past the bound it is cut.
    let _ = write!(text, "{parts:#}");
    text.0
}

/// Takes [`NAME_BYTES`], and no more work is done for the rest.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = NAME_BYTES - self.0.len();
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

/// `name[d123b7a1a2ed1472]::f` and `name::h0123456789abcdef` without what only a linker needs.
fn without_hashes(function: &str) -> String {
    let mut text = String::new();
    let mut rest = function;
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_hexdigit).count();
        rest = match after[digits..].strip_prefix(']') {
            Some(tail) if digits >= 8 => tail,
            _ => {
                text.push('[');
                after
            }
        };
    }
    text.push_str(rest);
    match text.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    /// What is told of a call chain of these functions, the innermost last, which traps.
    fn told(names: &[&str]) -> String {
        let mut text = String::from("(module\n");
        for (number, name) in names.iter().enumerate() {
            let next = number + 1;
            let body = if next < names.len() { format!("call {next}") } else { "unreachable".into() };
            text.push_str(&format!("(func (@name \"{name}\") {body})\n"));
        }
        text.push_str("(start 0))");
        let engine = Engine::default();
        let module = wat::parse_str(text).expect("WebAssembly text");
        let module = Module::new(&engine, module).expect("a module");
        let error = Instance::new(&mut Store::new(&engine, ()), &module, &[]).expect_err("a trap");
        whereabouts(&error)
    }

    #[test]
    fn a_functions_name_is_shown_without_the_linkers_hashes() {
        assert_eq!(
            without_hashes("chat.wasm!chat[d123b7a1a2ed1472]::Chat::join"),
            "chat.wasm!chat::Chat::join"
        );
        assert_eq!(without_hashes("chat::join::h27e91f0a4b8c6d33"), "chat::join");
        assert_eq!(without_hashes("sum[0]"), "sum[0]");
        assert_eq!(without_hashes("sum[deadbeef"), "sum[deadbeef");
    }

    #[test]
    fn the_functions_of_a_trap_are_told_the_innermost_first_without_a_panics_machinery() {
        assert_eq!(
            told(&["chat::on_message", "chat::join::h27e91f0a4b8c6d33", "core::panicking::panic"]),
            "<unknown>!chat::join < <unknown>!chat::on_message"
        );
        assert_eq!(told(&["abort"]), "<unknown>!abort");
    }

    #[test]
    fn a_name_that_rusts_compiler_mangled_is_taken_apart() {
        assert_eq!(told(&["_ZN4chat4join17h27e91f0a4b8c6d33E"]), "<unknown>!chat::join");
        assert_eq!(told(&["_RNvCs1234_4chat4join"]), "<unknown>!chat::join");
    }

    #[test]
    fn a_mangled_name_that_stands_for_gigabytes_is_told_at_once() {
        // Each piece of C++'s stands for thirty of the one before.
        let mut cpp = String::from("_Z1f5tupleIiE");
        for level in 0..15 {
            let before = char::from_digit(level, 36).expect("a digit").to_ascii_uppercase();
            cpp.push_str(&format!("S_I{}E", format!("S{before}_").repeat(30)));
        }
        let at = told(&[&cpp]);
        assert!(at.starts_with("<unknown>!_Z1f5tupleIiES_IS0_"), "{at}");
        assert!(at.len() < 1200, "{}", at.len());

        // Rust's: a tuple of two of the tuple before, and so on.
        let mut rust = String::from("_RINvC1a1bT");
        let mut last = "u".to_owned();
        for _ in 0..40 {
            let here = rust.len() - "_R".len() - 1;
            rust.push_str(&format!("{last}{last}ET"));
            last = format!("B{}", base_62(here));
        }
        rust.push_str("EE");
        assert!(rustc_demangle::try_demangle(&rust).is_ok(), "{rust}");
        let told = demangled(&rust);
        assert!(told.starts_with("a::b::<(") && told.len() == NAME_BYTES, "{told}");
    }

    /// As backward references of Rust's are written.
    fn base_62(number: usize) -> String {
        const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let Some(mut rest) = number.checked_sub(1) else { return "_".into() };
        let mut digits = Vec::new();
        loop {
            digits.insert(0, char::from(DIGITS[rest % 62]));
            rest /= 62;
            if rest == 0 {
                break;
            }
        }
        digits.into_iter().chain(['_']).collect()
    }

    #[test]
    fn of_long_names_only_the_beginning_is_looked_at() {
        let name = "[".repeat(99_990);
        let began = std::time::Instant::now();
        let at = told(&[&*name; 20]);
        assert!(began.elapsed().as_millis() < 2000, "{:?}", began.elapsed());
        assert!(at.starts_with("<unknown>![[[") && at.len() < 1200, "{}", at.len());
        let parts: Vec<_> = at.split(" < ").collect();
        assert_eq!(parts.len(), 1, "the first fills the record");
    }
}
