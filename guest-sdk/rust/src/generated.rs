//! What wit-bindgen makes of `wit/`: the one place with unsafe code, and private. The rest of the crate wraps or
//! re-exports it.
//!
//! There are three small worlds, not one, because a component has the union of the worlds whose macros it expands, and
//! wit-component leaves out the imports that nothing calls: `app` is in every handler, `shared` only in those that
//! say `export!(_, shared = _)`, and `wasi:config` only in those that call [`config`](crate::config).

/// World `websocket-app`.
pub mod app {
    wit_bindgen::generate!({
        path: "wit",
        world: "websocket-app",
        pub_export_macro: true,
        export_macro_name: "export_handler",
        additional_derives: [PartialEq, Eq],
        additional_member_attributes: {
            "waterspout:websocket/types@0.1.0/message.binary": [#[doc = "Any bytes."]],
            "waterspout:websocket/types@0.1.0/close-frame.code": [#[doc = "1000 to 4999; 1005 stands for a frame without a code."]],
        },
    });
}

/// What `stateful-websocket-app` has beyond `websocket-app`.
pub mod shared {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package waterspout:guest-shared;
            world shared { export waterspout:websocket/shared-state@0.1.0; }
        ",
        pub_export_macro: true,
        export_macro_name: "export_shared_state",
    });
}

/// The one interface of `wasi:config` 0.2.0-rc.1, which wasmtime-wasi-config 48 serves.
pub mod config {
    wit_bindgen::generate!({
        inline: "
            package waterspout:guest-config;

            package wasi:config@0.2.0-rc.1 {
                interface store {
                    variant error { upstream(string), io(string) }
                    get: func(key: string) -> result<option<string>, error>;
                    get-all: func() -> result<list<tuple<string, string>>, error>;
                }
            }

            world configured { import wasi:config/store@0.2.0-rc.1; }
        ",
        generate_all,
    });
}
