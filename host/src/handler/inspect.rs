//! What a component is, told to a person: which world, what it imports and what of that it gets, what is missing.

use std::fmt;

use crate::compiler::{Compiler, Form};
use crate::handler::load_error::HANDLER_INTERFACE;
use crate::handler::{HandlerSource, LoadError};

/// See the module. Its `Display` is what `waterspout check` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// `component`, `core module` or `WebAssembly text`.
    pub form: &'static str,
    /// Bytes of the binary component.
    pub bytes: usize,
    /// The exported interfaces.
    pub exports: Vec<String>,
    /// The imports, and what this host does with each.
    pub imports: Vec<(String, Offer)>,
}

/// What this host does with an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It works.
    Works(&'static str),
    /// It can be called, and is answered with an error.
    Denied(&'static str),
    /// It is not there: the component cannot be loaded.
    Missing,
}

/// Interfaces by the beginning of their name.
const OFFERS: [(&str, Offer); 16] = [
    ("waterspout:websocket/client@0.1.", Offer::Works("to what the route's `connect` lists")),
    ("waterspout:websocket/", Offer::Works("")),
    ("wasi:config/", Offer::Works("the route's `config`")),
    ("wasi:cli/environment@0.2.", Offer::Works("the route's `environment`, nothing else")),
    ("wasi:cli/stdout@0.2.", Offer::Works("log records")),
    ("wasi:cli/stderr@0.2.", Offer::Works("log records")),
    ("wasi:cli/stdin@0.2.", Offer::Works("always at its end")),
    ("wasi:cli/exit@0.2.", Offer::Works("ends the instance")),
    ("wasi:cli/terminal", Offer::Works("there is none")),
    ("wasi:clocks/", Offer::Works("")),
    ("wasi:random/", Offer::Works("")),
    ("wasi:io/", Offer::Works("")),
    ("wasi:filesystem/", Offer::Denied("no files")),
    ("wasi:sockets/", Offer::Denied("no network")),
    ("wasi:http/types@0.2.", Offer::Works("")),
    ("wasi:http/outgoing-handler@0.2.", Offer::Denied("no network")),
];

impl Inspection {
    /// Looks at a handler without compiling it, in the compiler's process. Blocks.
    ///
    /// # Errors
    /// It is no WebAssembly, or cannot be made a component; see [`LoadError`].
    pub fn of(source: &HandlerSource, compiler: &Compiler) -> Result<Self, LoadError> {
        let described = compiler.describe(&source.read(compiler.max_component_bytes())?)?;
        Ok(Self {
            form: match described.form {
                Form::Component => "component",
                Form::CoreModule => "core module",
                Form::Text => "WebAssembly text",
            },
            bytes: usize::try_from(described.bytes).unwrap_or(usize::MAX),
            exports: described.exports,
            imports: described.imports.into_iter().map(|name| (name.clone(), offer(&name))).collect(),
        })
    }

    /// The world of the WIT that it implements, if it does.
    pub fn world(&self) -> Option<&'static str> {
        match (self.exports(HANDLER_INTERFACE), self.shares_state()) {
            (true, true) => Some("waterspout:websocket/stateful-websocket-app@0.1.0"),
            (true, false) => Some("waterspout:websocket/websocket-app@0.1.0"),
            (false, _) => None,
        }
    }

    fn exports(&self, interface: &str) -> bool {
        self.exports.iter().any(|name| name == interface)
    }

    /// Whether shared instances of it may go over to another version.
    fn shares_state(&self) -> bool {
        self.exports("waterspout:websocket/shared-state@0.1.0")
    }
}

fn offer(import: &str) -> Offer {
    OFFERS.iter().find(|(prefix, _)| import.starts_with(prefix)).map_or(Offer::Missing, |(_, offer)| *offer)
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "form     {}, {} bytes as a component", self.form, self.bytes)?;
        writeln!(f, "world    {}", self.world().unwrap_or("another one"))?;
        for (index, export) in self.exports.iter().enumerate() {
            writeln!(f, "{:<8} {export}", if index == 0 { "exports" } else { "" })?;
        }
        if self.world().is_some() {
            let shared = if self.shares_state() {
                "so do shared ones"
            } else {
                "shared ones do not: no `shared-state`"
            };
            writeln!(
                f,
                "swaps    instances go over to a later version if `suspend` gives a state; {shared}"
            )?;
        }
        for (index, (import, offer)) in self.imports.iter().enumerate() {
            let note = match offer {
                Offer::Works("") => String::new(),
                Offer::Works(note) => format!("  ({note})"),
                Offer::Denied(why) => format!("  (denied: {why})"),
                Offer::Missing => "  (MISSING: this host does not offer it)".into(),
            };
            writeln!(f, "{:<8} {import}{note}", if index == 0 { "imports" } else { "" })?;
        }
        if self.imports.iter().any(|(_, offer)| matches!(offer, Offer::Denied(_))) {
            writeln!(
                f,
                "         what is denied is answered with an error if it is called; importing it does no harm"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_echo_is_of_the_plain_world_and_misses_nothing() {
        let inspection = Inspection::of(&HandlerSource::Echo, &Compiler::InProcess).expect("a component");
        assert_eq!(inspection.world(), Some("waterspout:websocket/websocket-app@0.1.0"));
        assert!(inspection.imports.iter().all(|(_, offer)| *offer != Offer::Missing), "{inspection}");
    }

    #[test]
    fn an_import_of_nobodys_is_shown_as_missing() {
        let text = r#"(component (import "acme:db/store@1.0.0" (instance)))"#;
        let inspection =
            Inspection::of(&HandlerSource::Bytes(text.into()), &Compiler::InProcess).expect("a component");
        assert_eq!(inspection.world(), None);
        assert_eq!(inspection.imports, [("acme:db/store@1.0.0".to_owned(), Offer::Missing)]);
        assert!(inspection.to_string().contains("MISSING"));
    }
}
