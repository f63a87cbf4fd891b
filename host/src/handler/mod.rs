//! A handler, loaded: from bytes of any accepted form to a component that is compiled, linked and ready to be instantiated.
//!
//! Nothing here looks into a handler's bytes: they are hashed, for the cache, or given to the [compiler](crate::compiler).
//! Everything that can be wrong with a handler is said before a port opens.

pub(crate) mod bindings;
pub(crate) mod cache;
pub(crate) mod echo;
pub(crate) mod endpoint;
pub(crate) mod engine;
pub(crate) mod file;
pub(crate) mod flights;
pub mod inspect;
pub mod interface;
pub(crate) mod load_error;
pub mod loading;

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Component, InstancePre};

use crate::compiler::queue::Queue;
use crate::compiler::{Compiled, Compiler, Footprint};
use crate::connection::compression::Budget;
use crate::handler::bindings::{StatefulIndices, WebsocketAppIndices};
use crate::handler::cache::{Cache, CacheFolders};
use crate::handler::engine::{CodeClass, EngineClass, Engines, Shortage};
use crate::handler::flights::Flights;
pub use crate::handler::load_error::LoadError;
use crate::handler::load_error::one_line;
use crate::imports::{GuestState, INSTANCE_BYTES, TABLE_ELEMENT_BYTES};
use crate::limits::Limits;
use crate::machine;
use crate::regular_file;

const PAGE_BYTES: u64 = 64 << 10;

/// What all handlers of a process share: engines, and the cache of compiled code.
pub struct Runtime {
    engines: Engines,
    cache: Option<Cache>,
    compiler: Compiler,
    /// Of those who want the compiler.
    queue: Queue,
    /// By class and digest.
    compiling: Flights<(CodeClass, Arc<str>), Result<Code, LoadError>>,
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
    /// Bytes of all that is kept there; what was not used for the longest goes first, when something is added. Protects the disk: every
    /// version of a handler leaves a file. Default: 4 GiB.
    pub max_cache_bytes: usize,
    /// Where handlers are compiled. Default: in this process, which is for handlers that are trusted.
    pub compiler: Compiler,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            max_instances: 10_000,
            max_memory_bytes: machine::memory_bytes() / 4 * 3,
            cache: None,
            max_cache_bytes: 4 << 30,
            compiler: Compiler::InProcess,
        }
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
            Cache::open(folders, options.max_cache_bytes)
                .inspect_err(|error| tracing::warn!(%error, "compiled handlers are not cached"))
                .ok()
        });
        let memory = Budget::of(options.max_memory_bytes);
        let compiler = options.compiler.clone();
        let queue = Queue::new(compiler.max_at_once());
        let compiling = Flights::default();
        Ok(Self { engines, cache, compiler, queue, compiling, shortage, memory })
    }

    /// What was wanted and this system does not allow.
    pub fn shortage(&self) -> Option<&Shortage> {
        self.shortage.as_ref()
    }

    /// Loads a handler for a route with these limits. Blocks: seconds for a large component, at most the compiler's `timeout` where it
    /// is a child, once it is its turn. In async code it is for `spawn_blocking`.
    ///
    /// # Errors
    /// See [`LoadError`]; nothing has been changed.
    pub fn load(&self, source: &HandlerSource, limits: &Limits) -> Result<Handler, LoadError> {
        let (class, bytes) = self.read(source, limits)?;
        self.link(class, self.compile(class, &bytes)?, limits)
    }

    /// The file's bytes, and the class that a route with these limits takes.
    pub(crate) fn read(
        &self,
        source: &HandlerSource,
        limits: &Limits,
    ) -> Result<(&Arc<EngineClass>, Bytes), LoadError> {
        if let Some((_, why)) = limits.contradiction() {
            return Err(LoadError::Limits(why));
        }
        let class = self.engines.class(limits).ok_or(LoadError::UnforeseenClass)?;
        Ok((class, source.read(self.compiler.max_component_bytes())?))
    }

    /// Code for a route with these limits.
    pub(crate) fn link(
        &self,
        class: &Arc<EngineClass>,
        code: Code,
        limits: &Limits,
    ) -> Result<Handler, LoadError> {
        let Code { component, footprint, digest } = code;
        let resources = component.resources_required().unwrap_or(wasmtime::ResourcesRequired {
            num_memories: 1,
            max_initial_memory_size: None,
            num_tables: 1,
            max_initial_table_size: None,
        });
        check_size(&resources, limits)?;
        let pre = class
            .linker
            .instantiate_pre(&component)
            .map_err(|error| LoadError::MissingImport(one_line(&error)))?;
        let app = WebsocketAppIndices::new(&pre).map_err(|error| LoadError::Mismatch(one_line(&error)))?;
        let stateful = StatefulIndices::new(&pre).ok();
        let weight =
            EngineClass::weight(resources.num_memories, resources.num_tables, footprint.core_instances);
        check_weight(weight, class, limits)?;
        let own_bytes = own_bytes(footprint, limits)?;
        Ok(Handler {
            parts: Arc::new(Parts { pre, app, stateful, digest }),
            class: class.clone(),
            weight,
            own_bytes,
            initial_bytes: initial_bytes(&resources).saturating_add(own_bytes),
            memory: self.memory.clone(),
        })
    }

    /// A handler's code: kept from an earlier start, or compiled when it is its turn. Who wants the same meanwhile gets it, too, or the same
    /// refusal.
    pub(crate) fn compile(&self, class: &EngineClass, handler: &[u8]) -> Result<Code, LoadError> {
        let digest: Arc<str> = sha256(handler).into();
        self.compiling.join(&(class.code, digest.clone()), || self.compile_alone(class, handler, digest))
    }

    /// A handler's code, if it is kept from an earlier start.
    pub(crate) fn kept(&self, class: &EngineClass, handler: &[u8]) -> Option<Code> {
        self.kept_as(class, handler, || sha256(handler).into())
    }

    fn kept_as(
        &self,
        class: &EngineClass,
        handler: &[u8],
        digest: impl FnOnce() -> Arc<str>,
    ) -> Option<Code> {
        let cache = self.cache.as_ref()?;
        let kept = cache.load(&class.engine, handler, self.compiler.max_compiled_bytes())?;
        let kept = Compiled::from_bytes(kept)?;
        match deserialize(class, &kept) {
            Ok(component) => Some(Code { component, footprint: kept.footprint(), digest: digest() }),
            Err(error) => {
                tracing::warn!(error = one_line(&error), "a cached handler is compiled again");
                None
            }
        }
    }

    fn compile_alone(
        &self,
        class: &EngineClass,
        handler: &[u8],
        digest: Arc<str>,
    ) -> Result<Code, LoadError> {
        if let Some(kept) = self.kept_as(class, handler, || digest.clone()) {
            return Ok(kept);
        }
        let turn = self.queue.wait();
        let compiled = self.compiler.compile(class.code, handler, &turn)?;
        drop(turn);
        let component =
            deserialize(class, &compiled).map_err(|error| LoadError::Compile(one_line(&error)))?;
        if let Some(cache) = &self.cache {
            cache.store(&class.engine, handler, compiled.as_bytes());
        }
        Ok(Code { component, footprint: compiled.footprint(), digest })
    }

    /// Bytes that a handler may have; none if there is no bound.
    pub(crate) fn max_handler_bytes(&self) -> Option<usize> {
        self.compiler.max_component_bytes()
    }

    /// For how long a start waits; none if it waits for all.
    pub(crate) fn max_start_wait(&self) -> Option<Duration> {
        self.compiler.max_start_wait()
    }

    /// How many handlers are compiled at once.
    pub(crate) fn max_at_once(&self) -> u32 {
        self.queue.at_once()
    }

    /// All tenants'.
    pub(crate) fn memory(&self) -> &Budget {
        &self.memory
    }
}

/// What a handler's bytes come to in one engine class. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Code {
    component: Component,
    footprint: Footprint,
    /// The SHA-256 of the handler's bytes, as hexadecimal digits.
    digest: Arc<str>,
}

#[allow(unsafe_code)]
fn deserialize(class: &EngineClass, compiled: &Compiled) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` trusts its input to be what this wasmtime compiled. It comes from our own compiler, in this process or in a
    // child that is this program and could reach nothing but us, or from the cache, whose MAC says that we wrote it, under a name that
    // is bound to wasmtime's version and settings. That a child which a handler has taken over could hand back other code is the
    // remaining risk, told in docs/compiling.md.
    unsafe { Component::deserialize(&class.engine, compiled.artefact()) }
}

/// Where a handler comes from. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerSource {
    /// The embedded echo: sends every message back unchanged, kind and all.
    Echo,
    /// A file.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Bytes),
}

impl HandlerSource {
    /// The bytes, of which there may be so many. Those in memory are not copied.
    pub(crate) fn read(&self, max_bytes: Option<usize>) -> Result<Bytes, LoadError> {
        let limit = max_bytes.unwrap_or(usize::MAX);
        let bytes = match self {
            Self::Echo => crate::handler::echo::component().into(),
            Self::File(path) => {
                let mut bytes = Vec::new();
                // One more than it may have tells that it has too many.
                regular_file::open(path)?.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes)?;
                bytes.into()
            }
            Self::Bytes(bytes) => bytes.clone(),
        };
        if bytes.len() > limit { Err(LoadError::ComponentTooLarge { limit }) } else { Ok(bytes) }
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
    pub(crate) parts: Arc<Parts>,
    class: Arc<EngineClass>,
    weight: u32,
    own_bytes: usize,
    initial_bytes: usize,
    memory: Budget,
}

/// What a handler's instances are made of.
pub(crate) struct Parts {
    pub(crate) pre: InstancePre<GuestState>,
    pub(crate) app: WebsocketAppIndices,
    /// Only where the component exports `shared-state`.
    pub(crate) stateful: Option<StatefulIndices>,
    digest: Arc<str>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("digest", &self.parts.digest).finish_non_exhaustive()
    }
}

/// The SHA-256 of bytes, as 64 hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Handler {
    /// The SHA-256 of the bytes that it was loaded from, as 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.parts.digest
    }

    /// Enough of the digest to tell a route's handlers apart.
    pub(crate) fn short_digest(&self) -> &str {
        &self.parts.digest[..12]
    }

    /// How many places an instance takes, of the route's, the tenant's and the server's `max-instances`.
    pub(crate) fn weight(&self) -> u32 {
        self.weight
    }

    /// The right to so many places of all there may be; none if the pool is exhausted.
    pub(crate) fn try_permit(&self, weight: u32) -> Option<OwnedSemaphorePermit> {
        self.class.try_permit(weight)
    }

    /// The right to an instance that takes another one's place; waits for it.
    pub(crate) async fn moving_permit(&self) -> OwnedSemaphorePermit {
        self.class.moving_permit(self.weight).await
    }

    /// The right to an instance that is only tried; waits for it.
    pub(crate) async fn trial_permit(&self) -> OwnedSemaphorePermit {
        self.class.trial_permit(self.weight).await
    }

    /// Slots that nobody has taken.
    #[cfg(any(fuzzing, test))]
    pub(crate) fn free_slots(&self) -> usize {
        self.class.free_slots()
    }

    /// Whose pool its instances take their places in.
    pub(crate) fn code_class(&self) -> CodeClass {
        self.class.code
    }

    /// Whether its code counts the fuel that it uses.
    pub(crate) fn is_metered(&self) -> bool {
        self.class.code.metered
    }

    /// What an instance has as long as it lives, beside what it grows to and what it holds.
    pub(crate) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// Memory that an instance begins with, at most, that included.
    pub(crate) fn initial_bytes(&self) -> usize {
        self.initial_bytes
    }

    /// The server's.
    pub(crate) fn memory(&self) -> &Budget {
        &self.memory
    }
}

/// What an instance has as long as it lives. A table of handles never shrinks, and each may have been as large as all of them together may be
/// at once; of an ordinary component's, which has one, [`INSTANCE_BYTES`] has what is usual.
fn own_bytes(footprint: Footprint, limits: &Limits) -> Result<usize, LoadError> {
    const HANDLE_SLOT_BYTES: usize = 24;
    let slots = (limits.max_handles as usize).checked_next_power_of_two().unwrap_or(usize::MAX);
    let further_tables = footprint.handle_tables.saturating_sub(1) as usize;
    let bytes = usize::try_from(footprint.bytes).unwrap_or(usize::MAX);
    let bytes = bytes.saturating_add(further_tables.saturating_mul(slots).saturating_mul(HANDLE_SLOT_BYTES));
    if bytes > limits.max_memory_bytes {
        return Err(LoadError::TooLarge {
            needed: format!("{bytes} bytes beside its memories"),
            allowed: format!("{} bytes", limits.max_memory_bytes),
            key: "max-memory-bytes",
        });
    }
    Ok(bytes.saturating_add(INSTANCE_BYTES))
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

fn check_weight(weight: u32, class: &EngineClass, limits: &Limits) -> Result<(), LoadError> {
    let allowed = if weight > class.all_slots {
        format!("{} of `max-instances` in its class", class.all_slots)
    } else if weight > limits.max_instances {
        format!("{} of the route's `max-instances`", limits.max_instances)
    } else {
        return Ok(());
    };
    let needed = format!("{weight} times what an ordinary instance takes");
    Err(LoadError::TooLarge { needed, allowed, key: "max-instances" })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_memory_are_shared_by_all_who_load_them() {
        let source = HandlerSource::Bytes(vec![0; 1 << 20].into());
        let HandlerSource::Bytes(bytes) = &source else { unreachable!("it is bytes") };
        let read = source.clone().read(None).expect("no limit");
        assert_eq!(read.as_ptr(), bytes.as_ptr());
    }
}
