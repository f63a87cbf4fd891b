//! A handler, loaded: from bytes of any accepted form to a component that is compiled, linked and ready to be instantiated.
//!
//! Told apart by content: a component, a core module with a `component-type` section (it is made a component), or
//! WebAssembly text of either. Everything that can be wrong with it is said before a port opens.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::Component;

use crate::bindings::WebsocketAppPre;
use crate::cache::{Cache, CacheFolders};
use crate::compression::Budget;
use crate::engine::{EngineClass, Engines, Shortage};
use crate::imports::{GuestState, TABLE_ELEMENT_BYTES};
use crate::limits::Limits;
use crate::machine;
use crate::units::printable;

/// The interface that every handler exports.
pub(crate) const HANDLER_INTERFACE: &str = "waterspout:websocket/handler@0.1.0";

const PAGE_BYTES: u64 = 64 << 10;

/// Why a file is not a handler that this host can run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// Neither WebAssembly nor its text.
    #[error("is not WebAssembly: it is neither a component, a core module nor WebAssembly text{0}")]
    NotWasm(&'static str),
    /// WebAssembly text with a mistake.
    #[error("is WebAssembly text with a mistake: {0}")]
    Text(String),
    /// A core module that does not say which world it implements.
    #[error(
        "is a core module without a `component-type` section: build it with bindings to `waterspout:websocket` (see `docs/guests.md`)"
    )]
    CoreModule,
    /// A core module that does not fit the world that it says it implements.
    #[error("is a core module that cannot be made a component: {0}")]
    Componentize(String),
    /// It does not export the handler interface.
    #[error("is a component of another world: it exports {exports}, not `{HANDLER_INTERFACE}`")]
    OtherWorld {
        /// What it exports instead.
        exports: String,
    },
    /// It imports what this host does not have.
    #[error("imports what this host does not offer: {0}")]
    MissingImport(String),
    /// It exports the handler interface, but not as the WIT has it.
    #[error("does not export `{HANDLER_INTERFACE}` as this host knows it: {0}")]
    Mismatch(String),
    /// It needs more than its route allows.
    #[error("needs {needed} to begin with, and the route allows {allowed}: raise `{key}`")]
    TooLarge {
        /// What it needs.
        needed: String,
        /// What the route allows.
        allowed: String,
        /// The limit that decides it.
        key: &'static str,
    },
    /// It is not valid WebAssembly, or uses features that this host does not have.
    #[error("does not compile: {0}")]
    Compile(String),
    /// The route's limits cannot be met.
    #[error("belongs to a route with an impossible limit: {0}")]
    Limits(String),
    /// The runtime was not made for a route with this much memory.
    #[error("belongs to a route whose `max-memory-bytes` the runtime was not made for")]
    UnforeseenClass,
}

/// What all handlers of a process share: engines, and the cache of compiled code.
pub struct Runtime {
    engines: Engines,
    cache: Option<Cache>,
    shortage: Option<Shortage>,
    memory: Budget,
}

/// What a [`Runtime`] is made of.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Live instances of all handlers together. Protects the machine; a handshake that would need one more is refused (503).
    /// Default: 10,000.
    pub max_instances: u32,
    /// Memory of all tenants together: what instances have asked for, whether they have touched it or not, and what the host holds for
    /// connections. Protects the machine. At it memory does not grow, and a handshake that would need more is refused (503). Default: three
    /// quarters of the machine's memory, or of the control group's.
    pub max_memory_bytes: usize,
    /// Where compiled handlers are kept; none compiles at every start. Default: none.
    pub cache: Option<CacheFolders>,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { max_instances: 10_000, max_memory_bytes: machine::memory_bytes() / 4 * 3, cache: None }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

impl Runtime {
    /// Makes the engines that routes with these limits need. Reserves address space; do it once.
    ///
    /// # Errors
    /// The system does not give the address space. A cache that cannot be used is no error: it is logged, and does without.
    pub fn new<'a>(
        options: &RuntimeOptions,
        limits: impl IntoIterator<Item = &'a Limits>,
    ) -> wasmtime::Result<Self> {
        let (engines, shortage) = Engines::new(limits, options.max_instances)?;
        let cache = options.cache.as_ref().and_then(|folders| {
            Cache::open(folders)
                .inspect_err(|error| tracing::warn!(%error, "compiled handlers are not cached"))
                .ok()
        });
        Ok(Self { engines, cache, shortage, memory: Budget::of(options.max_memory_bytes) })
    }

    /// What was wanted and this system does not allow.
    pub fn shortage(&self) -> Option<&Shortage> {
        self.shortage.as_ref()
    }

    /// Loads a handler for a route with these limits. Takes processor time: seconds for a large component.
    ///
    /// # Errors
    /// See [`LoadError`]; nothing has been changed.
    pub fn load(&self, source: &HandlerSource, limits: &Limits) -> Result<Handler, LoadError> {
        if let Some((_, why)) = limits.contradiction() {
            return Err(LoadError::Limits(why));
        }
        let bytes = source.read()?;
        let component = componentize(&bytes)?;
        let class = self.engines.class(limits).ok_or(LoadError::UnforeseenClass)?;
        check_exports(&component)?;
        let compiled = self.compile(class, &component)?;
        let resources = compiled.resources_required().unwrap_or(wasmtime::ResourcesRequired {
            num_memories: 1,
            max_initial_memory_size: None,
            num_tables: 1,
            max_initial_table_size: None,
        });
        check_size(&resources, limits)?;
        let pre = class
            .linker
            .instantiate_pre(&compiled)
            .map_err(|error| LoadError::MissingImport(one_line(&error)))?;
        let pre = WebsocketAppPre::new(pre).map_err(|error| LoadError::Mismatch(one_line(&error)))?;
        let weight =
            EngineClass::weight(resources.num_memories, resources.num_tables, core_instances(&component)?);
        if weight > class.all_slots {
            return Err(LoadError::TooLarge {
                needed: format!("{weight} times what an ordinary instance takes"),
                allowed: format!("{} of `max-instances` in its class", class.all_slots),
                key: "max-instances",
            });
        }
        Ok(Handler {
            pre: Arc::new(pre),
            class: class.clone(),
            weight,
            initial_bytes: initial_bytes(&resources),
            memory: self.memory.clone(),
        })
    }

    #[allow(unsafe_code)]
    fn compile(&self, class: &EngineClass, component: &[u8]) -> Result<Component, LoadError> {
        if let Some(artefact) = self.cache.as_ref().and_then(|cache| cache.load(&class.engine, component)) {
            // SAFETY: `deserialize` trusts its input to be what `serialize` of this wasmtime wrote; the cache's MAC says that
            // this program did, and the file's name is bound to wasmtime's version and settings.
            match unsafe { Component::deserialize(&class.engine, &artefact) } {
                Ok(component) => return Ok(component),
                Err(error) => tracing::warn!(error = one_line(&error), "a cached handler is compiled again"),
            }
        }
        let compiled = Component::from_binary(&class.engine, component)
            .map_err(|error| LoadError::Compile(one_line(&error)))?;
        if let Some(cache) = &self.cache {
            match compiled.serialize() {
                Ok(artefact) => cache.store(&class.engine, component, &artefact),
                Err(error) => {
                    tracing::warn!(error = one_line(&error), "a compiled handler could not be cached")
                }
            }
        }
        Ok(compiled)
    }
}

/// Where a handler comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerSource {
    /// The embedded echo: sends every message back unchanged, kind and all.
    Echo,
    /// A file.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Vec<u8>),
}

impl HandlerSource {
    pub(crate) fn read(&self) -> Result<Vec<u8>, LoadError> {
        match self {
            Self::Echo => Ok(crate::echo::component()),
            Self::File(path) => Ok(std::fs::read(path)?),
            Self::Bytes(bytes) => Ok(bytes.clone()),
        }
    }
}

impl fmt::Display for HandlerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => f.write_str("the embedded echo handler"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Bytes(_) => f.write_str("a handler in memory"),
        }
    }
}

/// A handler that is ready to be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct Handler {
    pub(crate) pre: Arc<WebsocketAppPre<GuestState>>,
    class: Arc<EngineClass>,
    weight: u32,
    initial_bytes: usize,
    memory: Budget,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("weight", &self.weight).finish_non_exhaustive()
    }
}

impl Handler {
    /// The right to one more live instance of all there may be; none if the pool is exhausted.
    pub(crate) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.class.try_permit(self.weight)
    }

    /// Memory that an instance begins with, at most.
    pub(crate) fn initial_bytes(&self) -> usize {
        self.initial_bytes
    }

    /// The server's.
    pub(crate) fn memory(&self) -> &Budget {
        &self.memory
    }
}

/// From whatever was given to a binary component.
pub(crate) fn componentize(bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let binary = match bytes {
        [b'\0', b'a', b's', b'm', ..] => std::borrow::Cow::Borrowed(bytes),
        [0x7f, b'E', b'L', b'F', ..] => {
            return Err(LoadError::NotWasm(
                " (precompiled artefacts are never loaded: give the component itself)",
            ));
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
        return Err(LoadError::CoreModule);
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

/// How many core instances one instance of the component has.
fn core_instances(component: &[u8]) -> Result<u32, LoadError> {
    let mut count = 0_u32;
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| LoadError::Compile(error.to_string()))?;
        let wasmparser::Payload::InstanceSection(section) = payload else { continue };
        for instance in section {
            // The others are only names for what was exported elsewhere.
            if let wasmparser::Instance::Instantiate { .. } =
                instance.map_err(|error| LoadError::Compile(error.to_string()))?
            {
                count = count.saturating_add(1);
            }
        }
    }
    Ok(count)
}

fn check_exports(component: &[u8]) -> Result<(), LoadError> {
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

/// An upper bound: wasmtime tells the largest memory and how many there are.
fn initial_bytes(resources: &wasmtime::ResourcesRequired) -> usize {
    let memories =
        resources.max_initial_memory_size.unwrap_or(0).saturating_mul(u64::from(resources.num_memories));
    let tables =
        resources.max_initial_table_size.unwrap_or(0).saturating_mul(u64::from(resources.num_tables));
    let bytes =
        memories.saturating_mul(PAGE_BYTES).saturating_add(tables.saturating_mul(TABLE_ELEMENT_BYTES as u64));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn check_size(resources: &wasmtime::ResourcesRequired, limits: &Limits) -> Result<(), LoadError> {
    let memory = resources.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE_BYTES);
    if memory > limits.max_memory_bytes as u64 {
        return Err(LoadError::TooLarge {
            needed: format!("{memory} bytes of memory"),
            allowed: format!("{} bytes", limits.max_memory_bytes),
            key: "max-memory-bytes",
        });
    }
    let table = resources.max_initial_table_size.unwrap_or(0);
    if table > u64::from(limits.max_table_elements) {
        return Err(LoadError::TooLarge {
            needed: format!("{table} table elements"),
            allowed: format!("{} elements", limits.max_table_elements),
            key: "max-table-elements",
        });
    }
    Ok(())
}

/// An error with its causes, in one line.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
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
