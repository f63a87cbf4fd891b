//! Handlers for tests. Engines reserve address space and components take their time to compile: a process has one runtime,
//! and compiles each guest once for each size of memory, and once more for routes whose fuel is metered.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use waterspout::{FuelLimit, Handler, HandlerSource, Limits, Runtime, RuntimeOptions};

/// A handler to test with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Guest {
    /// The host's embedded echo: every message comes back unchanged.
    Echo,
    /// `target/guests/NAME.wasm`.
    Named(String),
    /// A component, a module or WebAssembly text.
    Bytes(Vec<u8>),
}

impl Guest {
    /// The guest that `cargo xtask guests` built under this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self::Named(name.into())
    }

    /// A component, a core module or WebAssembly text.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// The host's embedded echo with its WebAssembly text changed: for what no compiler writes.
    ///
    /// # Panics
    /// What comes out is no handler.
    pub fn echo_changed(change: impl FnOnce(&str) -> String) -> Self {
        let text = change(include_str!("../../host/src/handler/echo.wat"));
        let mut resolve = wit_parser::Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        let (package, _) = resolve.push_dir(&wit).expect("the interface");
        let world = resolve.select_world(&[package], Some("websocket-app")).expect("the world");
        let mut module = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
        wit_component::embed_component_metadata(
            &mut module,
            &resolve,
            world,
            wit_component::StringEncoding::UTF8,
        )
        .expect("a module");
        Self::Bytes(module)
    }

    /// Where the host finds it.
    ///
    /// # Panics
    /// A named guest has not been built.
    pub fn source(&self) -> HandlerSource {
        match self {
            Self::Echo => HandlerSource::Echo,
            Self::Named(name) => HandlerSource::File(built(name)),
            Self::Bytes(bytes) => HandlerSource::Bytes(bytes.clone().into()),
        }
    }

    /// The handler, compiled for a route with these limits.
    ///
    /// # Panics
    /// It has not been built, or cannot be loaded.
    pub fn handler(&self, limits: &Limits) -> Handler {
        type Compiled = HashMap<(Guest, bool, bool), Arc<OnceLock<Handler>>>;
        static COMPILED: OnceLock<Mutex<Compiled>> = OnceLock::new();
        let is_small = limits.max_memory_bytes <= SMALL_MEMORY_BYTES;
        let key = (self.clone(), is_small, limits.fuel_per_event != FuelLimit::Off);
        let mut compiled =
            COMPILED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let cell = compiled.entry(key).or_default().clone();
        drop(compiled);
        // Whoever needs the same guest waits here; others do not.
        cell.get_or_init(|| self.load(shared_runtime(), limits)).clone()
    }

    pub(crate) fn load(&self, runtime: &Runtime, limits: &Limits) -> Handler {
        runtime.load(&self.source(), limits).unwrap_or_else(|error| panic!("{self:?} {error}"))
    }
}

/// Memories up to here belong to the host's smallest engine class; the default limits to the next one.
const SMALL_MEMORY_BYTES: usize = 16 << 20;
/// Live instances of all tests that run at once, in the three classes.
const MAX_INSTANCES: u32 = 3_000;

fn shared_runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let small = Limits { max_memory_bytes: SMALL_MEMORY_BYTES, ..Limits::default() };
        let options = RuntimeOptions { max_instances: MAX_INSTANCES, ..RuntimeOptions::default() };
        let metered = Limits { fuel_per_event: FuelLimit::AtMost(1), ..Limits::default() };
        Runtime::new(&options, [&small, &Limits::default(), &metered])
            .expect("this machine has address space for the engines")
    })
}

/// The file of a guest in `target/guests`, which lies beside the workspace's Cargo.toml also where `CARGO_TARGET_DIR` moves
/// cargo's own output.
fn built(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/guests")
        .join(name)
        .with_added_extension("wasm");
    assert!(path.exists(), "{} is missing: build the guests with `cargo xtask guests`", path.display());
    path
}
