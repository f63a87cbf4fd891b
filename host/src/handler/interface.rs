//! The interface itself, `wit/`, as the program carries it: for whoever writes bindings, and for core modules that do not say which
//! world they implement.

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

/// Its files, each with its name in the repository's `wit` folder.
pub const FILES: [(&str, &str); 8] = [
    ("worlds.wit", include_str!("../../../wit/worlds.wit")),
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("handshake.wit", include_str!("../../../wit/handshake.wit")),
    ("connection.wit", include_str!("../../../wit/connection.wit")),
    ("topics.wit", include_str!("../../../wit/topics.wit")),
    ("client.wit", include_str!("../../../wit/client.wit")),
    ("handler.wit", include_str!("../../../wit/handler.wit")),
    ("shared-state.wit", include_str!("../../../wit/shared-state.wit")),
];

/// The worlds below, and what of WASI 0.2 has no form in preview 1. `wit-component` leaves out what a module does not import.
const WORLDS: &str = "
    package waterspout:core-module;

    package wasi:config@0.2.0-rc.1 {
        interface store {
            variant error { upstream(string), io(string) }
            get: func(key: string) -> result<option<string>, error>;
            get-all: func() -> result<list<tuple<string, string>>, error>;
        }
    }

    world handler {
        include waterspout:websocket/websocket-app@0.1.0;
        import wasi:config/store@0.2.0-rc.1;
    }

    world stateful-handler {
        include waterspout:websocket/stateful-websocket-app@0.1.0;
        import wasi:config/store@0.2.0-rc.1;
    }
";

/// What a core module exports that implements a world of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum World {
    Handler,
    StatefulHandler,
}

impl World {
    /// The world of which these are a core module's exports, by the names that the component model gives them.
    pub(crate) fn of<'e>(exports: impl IntoIterator<Item = &'e str>) -> Option<Self> {
        let (mut handler, mut shared_state) = (false, false);
        for name in exports {
            handler |= name == "waterspout:websocket/handler@0.1.0#[constructor]handler";
            shared_state |= name == "waterspout:websocket/shared-state@0.1.0#suspend";
        }
        match (handler, shared_state) {
            (true, false) => Some(Self::Handler),
            (true, true) => Some(Self::StatefulHandler),
            (false, _) => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::StatefulHandler => "stateful-handler",
        }
    }
}

/// Adds the section to a core module that says that it implements `world`.
pub(crate) fn embed(module: &mut Vec<u8>, world: World) -> anyhow::Result<()> {
    let mut resolve = Resolve::default();
    let mut files = SourceMap::new();
    for (name, text) in FILES {
        files.push_str(name, text);
    }
    resolve.push_group(files.parse().map_err(|(_, error)| error)?)?;
    let mut worlds = SourceMap::new();
    worlds.push_str("core-module.wit", WORLDS);
    let package = resolve.push_group(worlds.parse().map_err(|(_, error)| error)?)?;
    let world = resolve.select_world(&[package], Some(world.name()))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_s_world_is_known_by_what_it_exports() {
        let constructor = "waterspout:websocket/handler@0.1.0#[constructor]handler";
        let suspend = "waterspout:websocket/shared-state@0.1.0#suspend";
        assert_eq!(World::of(["memory", constructor]), Some(World::Handler));
        assert_eq!(World::of([suspend, constructor]), Some(World::StatefulHandler));
        assert_eq!(World::of([suspend]), None);
        assert_eq!(World::of(["memory", "_start"]), None);
    }

    #[test]
    fn every_file_of_the_interface_is_carried() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit");
        let mut there: Vec<_> = std::fs::read_dir(folder)
            .expect("the repository's wit folder")
            .filter_map(|file| file.expect("a file").file_name().into_string().ok())
            .filter(|name| name.ends_with(".wit"))
            .collect();
        let mut carried = FILES.map(|(name, _)| name);
        there.sort();
        carried.sort();
        assert_eq!(there, carried);
    }
}
