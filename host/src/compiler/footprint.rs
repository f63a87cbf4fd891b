//! What one instance of a component takes of the pool and of the host's memory, beside what it grows to.
//!
//! Asked of wasmtime's own translation, which knows what a component comes to once nested ones are put in wherever they are instantiated,
//! with the modules that join them. That is no public interface of wasmtime, but its public one does not tell, and whoever counted in the
//! file would count other things.

use std::collections::BTreeSet;

use wasmtime_environ::component::{
    Component, ComponentTypes, ComponentTypesBuilder, GlobalInitializer, InstantiateModule,
    RuntimeComponentInstanceIndex, Translator, TypeResourceTable, TypeResourceTableIndex, VMComponentOffsets,
};
use wasmtime_environ::wasmparser::Validator;
use wasmtime_environ::{HostPtr, Module, ScopeVec, Tunables, VMOffsets};

use crate::handler::load_error::LoadError;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// How many core instances one instance of the component has.
    pub(crate) core_instances: u32,
    /// How many tables of handles it has: one for each component within the component that has code and knows a resource.
    pub(crate) handle_tables: u32,
    /// What wasmtime allocates for one instance whatever it does: contexts, types of resources, and element segments that are kept for
    /// `table.init`.
    pub(crate) bytes: u64,
}

/// What wasmtime keeps of a core instance beside its context: the instance itself, and its places in lists.
const CORE_INSTANCE_BYTES: u64 = 1 << 10;
/// The same of an instance of a component within the component: its table of handles.
const COMPONENT_INSTANCE_BYTES: u64 = 512;
/// A type of resources, in a list that doubles as it grows.
const RESOURCE_TYPE_BYTES: u64 = 48;
/// An element of a passive segment: any value of WebAssembly.
const PASSIVE_ELEMENT_BYTES: u64 = 16;
/// What a passive segment has beside its elements.
const PASSIVE_SEGMENT_BYTES: u64 = 64;

impl Footprint {
    /// Of a component that wasmtime has compiled.
    ///
    /// # Errors
    /// It is none, or what one instance takes cannot be told.
    pub(super) fn of(component: &[u8]) -> Result<Self, LoadError> {
        let (tunables, scope) = (Tunables::default_host(), ScopeVec::new());
        let mut validator = Validator::new();
        let mut types = ComponentTypesBuilder::new(&validator);
        let (translation, modules) = Translator::new(&tunables, &mut validator, &mut types, &scope)
            .translate(component)
            .map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        let component = &translation.component;
        let mut footprint = Self { core_instances: 0, handle_tables: 0, bytes: context_bytes(component) };
        let mut with_code = BTreeSet::new();
        for initializer in &component.initializers {
            let GlobalInitializer::InstantiateModule(module, owner) = initializer else { continue };
            // Without code there is nobody to have handles: those that only pass on what they import.
            with_code.extend(*owner);
            let InstantiateModule::Static(module, _) = module else {
                return Err(LoadError::Compile("it imports a module: nobody could give it one".into()));
            };
            footprint.core_instances = footprint.core_instances.saturating_add(1);
            footprint.bytes = footprint.bytes.saturating_add(module_bytes(&modules[*module].module));
        }
        let tables = types.num_resource_tables();
        footprint.handle_tables = handle_tables(&types.finish(component).0, tables, &with_code);
        Ok(footprint)
    }
}

fn context_bytes(component: &Component) -> u64 {
    let context = VMComponentOffsets::new(HostPtr, component).size_of_vmctx();
    let instances =
        u64::from(component.num_runtime_component_instances).saturating_mul(COMPONENT_INSTANCE_BYTES);
    let resource_types = u64::from(component.num_resources).saturating_mul(RESOURCE_TYPE_BYTES);
    instances.saturating_add(resource_types).saturating_add(context.into())
}

/// wasmtime has one for all resources of a component within the component.
fn handle_tables(
    types: &ComponentTypes,
    resource_tables: usize,
    with_code: &BTreeSet<RuntimeComponentInstanceIndex>,
) -> u32 {
    let tables =
        (0..u32::try_from(resource_tables).unwrap_or(u32::MAX)).map(TypeResourceTableIndex::from_u32);
    let owners = tables.filter_map(|table| match &types[table] {
        TypeResourceTable::Concrete { instance, .. } if with_code.contains(instance) => Some(*instance),
        TypeResourceTable::Concrete { .. } | TypeResourceTable::Abstract(_) => None,
    });
    u32::try_from(owners.collect::<BTreeSet<_>>().len()).unwrap_or(u32::MAX)
}

fn module_bytes(module: &Module) -> u64 {
    let context = VMOffsets::new(HostPtr, module).size_of_vmctx();
    let passive = module.passive_elements.iter().fold(0_u64, |bytes, (_, (_, elements))| {
        bytes
            .saturating_add(elements.saturating_mul(PASSIVE_ELEMENT_BYTES))
            .saturating_add(PASSIVE_SEGMENT_BYTES)
    });
    CORE_INSTANCE_BYTES.saturating_add(context.into()).saturating_add(passive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footprint(text: &str) -> Footprint {
        Footprint::of(&wat::parse_str(text).expect("text")).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_component_within_the_component_counts_as_often_as_it_is_instantiated() {
        let inner = "(component $inner (core module $m) (core instance (instantiate $m)) (core instance (instantiate $m)))";
        let thrice = "(instance (instantiate $inner))".repeat(3);
        let outer = format!("(component $outer {inner} {thrice})");
        let twice = "(instance (instantiate $outer))".repeat(2);
        assert_eq!(footprint(&format!("(component {inner})")).core_instances, 0);
        assert_eq!(footprint(&format!("(component {inner} {thrice})")).core_instances, 6);
        assert_eq!(footprint(&format!("(component {outer} {twice})")).core_instances, 12);
    }

    #[test]
    fn what_joins_two_components_is_a_core_instance_too() {
        let text = r#"(component
            (component $a
                (core module $m (func (export "f")))
                (core instance $i (instantiate $m))
                (func (export "f") (canon lift (core func $i "f"))))
            (component $b
                (import "f" (func $f))
                (core func $g (canon lower (func $f)))
                (core module $m (import "" "f" (func)))
                (core instance (instantiate $m (with "" (instance (export "f" (func $g)))))))
            (instance $a (instantiate $a))
            (instance (instantiate $b (with "f" (func $a "f")))))"#;
        assert_eq!(footprint(text).core_instances, 3);
    }

    #[test]
    fn types_of_resources_count_whether_they_are_used_or_not() {
        let of = |types: usize| {
            footprint(&format!("(component {})", "(type (resource (rep i32)))".repeat(types))).bytes
        };
        let more = of(2000) - of(1000);
        assert!((48_000..60_000).contains(&more), "{more} bytes");
    }

    #[test]
    fn each_component_within_the_component_that_has_resources_has_a_table_of_handles() {
        let inner = |resource: &str| format!("(component $inner {resource})");
        let of = |resource: &str, instances: usize| {
            let instances = "(instance (instantiate $inner))".repeat(instances);
            footprint(&format!("(component {} {instances})", inner(resource))).handle_tables
        };
        let code = "(core module $m) (core instance (instantiate $m))";
        let passive = "(type $r (resource (rep i32))) (core func (canon resource.new $r))";
        let active = format!("{code} {passive}");
        assert_eq!([of(code, 3), of(passive, 3), of(&active, 1), of(&active, 3)], [0, 0, 1, 3]);
        let echo = Footprint::of(&crate::handler::echo::component()).expect("a component");
        assert_eq!(echo.handle_tables, 1);
    }

    #[test]
    fn what_an_instance_keeps_beside_its_memories_and_tables_is_in_its_bytes() {
        let of = |module: &str, instances: usize| {
            let instances = "(core instance (instantiate $m))".repeat(instances);
            footprint(&format!("(component (core module $m {module}) {instances})")).bytes
        };
        let nothing = of("", 1);
        assert!(nothing < 4 << 10, "{nothing} bytes");
        let elements = "(ref.null func) ".repeat(1000);
        let passive = of(&format!("(elem funcref {elements})"), 10);
        assert!((160_000..200_000).contains(&passive), "{passive} bytes");
        let globals = of(&"(global i32 (i32.const 0))".repeat(1000), 1);
        assert!((nothing + 16_000..nothing + 20_000).contains(&globals), "{globals} bytes");
    }
}
