//! What a compiler is asked, what it answers, and the work itself: the same in this process and in a child.

use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldItem, WorldKey};

use super::component::{WIT_PACKAGE, check_exports, componentize};
use super::footprint::Footprint;
use crate::handler::engine::CodeClass;
use crate::handler::load_error::{LoadError, one_line};

/// What is asked about a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// Its code, for the engine class.
    Compile(CodeClass),
    /// What it is.
    Describe,
}

/// What comes of it, if it is no refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Compiled(Compiled),
    Described(Description),
}

/// Compiled code, and what must be known about it besides; in one piece, as it is sent and kept: core instances (4 bytes, least
/// first), tables of handles (4), what an instance takes in bytes (8), then wasmtime's artefact.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Compiled(Vec<u8>);

impl Compiled {
    /// What stands before wasmtime's artefact.
    pub(super) const FACTS_BYTES: usize = 2 * size_of::<u32>() + size_of::<u64>();

    fn new(footprint: Footprint, artefact: &[u8]) -> Self {
        let Footprint { core_instances, handle_tables, bytes } = footprint;
        let [core_instances, handle_tables] = [core_instances, handle_tables].map(u32::to_le_bytes);
        Self([&core_instances[..], &handle_tables, &bytes.to_le_bytes(), artefact].concat())
    }

    /// None if it is too short to be one.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() >= Self::FACTS_BYTES).then_some(Self(bytes))
    }

    /// As it is sent and kept.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What one instance takes.
    pub(crate) fn footprint(&self) -> Footprint {
        let (core_instances, rest) = self.0.split_first_chunk().unwrap_or((&[0xff; 4], &[]));
        let (handle_tables, rest) = rest.split_first_chunk().unwrap_or((&[0xff; 4], &[]));
        let bytes = rest.first_chunk().unwrap_or(&[0xff; 8]);
        let [core_instances, handle_tables] = [core_instances, handle_tables].map(|n| u32::from_le_bytes(*n));
        Footprint { core_instances, handle_tables, bytes: u64::from_le_bytes(*bytes) }
    }

    /// What wasmtime takes.
    pub(crate) fn artefact(&self) -> &[u8] {
        self.0.get(Self::FACTS_BYTES..).unwrap_or_default()
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("bytes", &self.0.len()).finish_non_exhaustive()
    }
}

/// What a handler is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) form: Form,
    /// Bytes of the binary component.
    pub(crate) bytes: u64,
    pub(crate) exports: Vec<String>,
    pub(crate) imports: Vec<String>,
}

/// What a handler was given as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Component,
    CoreModule,
    Text,
}

impl Form {
    fn of(bytes: &[u8]) -> Self {
        match bytes.get(..8) {
            Some([b'\0', b'a', b's', b'm', 1, 0, 0, 0]) => Self::CoreModule,
            Some([b'\0', b'a', b's', b'm', ..]) => Self::Component,
            _ => Self::Text,
        }
    }
}

impl Job {
    /// Does it here.
    pub(super) fn run(self, handler: &[u8]) -> Result<Answer, LoadError> {
        match self {
            Self::Compile(class) => compile(class, handler).map(Answer::Compiled),
            Self::Describe => describe(handler).map(Answer::Described),
        }
    }
}

fn compile(class: CodeClass, handler: &[u8]) -> Result<Compiled, LoadError> {
    let component = componentize(handler)?;
    check_exports(&component)?;
    // Without a pool: nothing is run here, and address space that the pool reserves would count.
    let engine = wasmtime::Engine::new(&class.code_config())
        .map_err(|error| LoadError::CompilerUnavailable(one_line(&error)))?;
    let artefact =
        engine.precompile_component(&component).map_err(|error| LoadError::Compile(one_line(&error)))?;
    Ok(Compiled::new(Footprint::of(&component)?, &artefact))
}

fn describe(handler: &[u8]) -> Result<Description, LoadError> {
    let component = componentize(handler)?;
    let decoded =
        wit_component::decode(&component).map_err(|error| LoadError::Compile(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(LoadError::NotWasm(WIT_PACKAGE));
    };
    let world = &resolve.worlds[world];
    Ok(Description {
        form: Form::of(handler),
        bytes: component.len() as u64,
        exports: names(&resolve, world.exports.iter()),
        imports: names(&resolve, world.imports.iter()),
    })
}

fn names<'a>(resolve: &Resolve, items: impl Iterator<Item = (&'a WorldKey, &'a WorldItem)>) -> Vec<String> {
    items
        .filter(|(_, item)| !matches!(item, WorldItem::Type { .. }))
        .map(|(key, _)| resolve.name_world_key(key))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(engine: &wasmtime::Engine) -> u64 {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn code_that_is_compiled_without_a_pool_fits_every_class_that_has_one() {
        for class in CodeClass::all() {
            let without = wasmtime::Engine::new(&class.code_config()).expect("an engine");
            let with = class.pooling_engine(1, 20_000).expect("an engine with a pool of one");
            assert_eq!(fingerprint(&without), fingerprint(&with), "{class:?}");
        }
    }

    #[test]
    fn code_of_one_class_is_not_taken_for_anothers() {
        let engine = |class: CodeClass| wasmtime::Engine::new(&class.code_config()).expect("an engine");
        let (plain, metered) = (CodeClass::all()[0], CodeClass { metered: true, ..CodeClass::all()[0] });
        assert_ne!(fingerprint(&engine(plain)), fingerprint(&engine(metered)), "the cache's name");
    }

    #[test]
    fn what_is_compiled_carries_what_an_instance_takes_and_loads() {
        let Answer::Compiled(compiled) =
            Job::Compile(CodeClass::all()[0]).run(&crate::handler::echo::component()).expect("compiles")
        else {
            panic!("another answer")
        };
        let footprint = compiled.footprint();
        assert!((1..=8).contains(&footprint.core_instances) && footprint.bytes < 64 << 10, "{footprint:?}");
        assert_eq!(Compiled::from_bytes(compiled.as_bytes().to_vec()), Some(compiled.clone()));
        assert!(compiled.artefact().starts_with(b"\x7fELF"));
        assert_eq!(Compiled::from_bytes(vec![0; 3]), None);
    }
}
