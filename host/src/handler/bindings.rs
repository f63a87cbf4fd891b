//! What wasmtime generates from the WIT, once, under the names that the rest of the host uses.
//!
//! Values from a guest own their bytes (`Incoming...`); values to a guest borrow them (`Outgoing...`), so that a message is
//! copied once, into the guest's memory.

#[allow(missing_docs, unreachable_pub, reason = "the generator's own")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "websocket-app",
        imports: {
            "waterspout:websocket/connection.[method]connection.flush": async | trappable,
            "waterspout:websocket/topics.publish": async | trappable,
            "waterspout:websocket/client.connect": async | trappable,
            "waterspout:websocket/client.[method]client-connection.read-message": async | trappable,
            "waterspout:websocket/client.[method]client-connection.flush": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "waterspout:websocket/connection.connection": crate::imports::ConnectionHandle,
            "waterspout:websocket/handshake.request": crate::imports::RequestHandle,
            "waterspout:websocket/client.client-connection": crate::imports::client::ClientConnectionHandle,
        },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// What of `world stateful-websocket-app` is beside the other world's: there only where a component has it.
#[allow(missing_docs, unreachable_pub, reason = "the generator's own")]
mod stateful {
    wasmtime::component::bindgen!({
        inline: "
            package waterspout:host;
            world stateful { export waterspout:websocket/shared-state@0.1.0; }
        ",
        path: "../wit",
        world: "waterspout:host/stateful",
        exports: { default: async },
    });
}

pub(crate) use generated::{WebsocketApp, WebsocketAppIndices};
pub(crate) use stateful::{Stateful, StatefulIndices};

/// `interface types`.
pub(crate) mod types {
    pub(crate) use super::generated::waterspout::websocket::types::{
        CloseFrameParam as OutgoingCloseFrame, CompressionOptions, Error, Host,
        MessageParam as OutgoingMessage, MessageResult as IncomingMessage, Rejection,
    };
}

/// `interface handshake`.
pub(crate) mod handshake {
    pub(crate) use super::generated::waterspout::websocket::handshake::{Host, HostRequest};
}

/// `interface connection`.
pub(crate) mod connection {
    pub(crate) use super::generated::waterspout::websocket::connection::{Host, HostConnection};
}

/// `interface topics`.
pub(crate) mod topics {
    pub(crate) use super::generated::waterspout::websocket::topics::Host;
}

/// `interface client`.
pub(crate) mod client {
    pub(crate) use super::generated::waterspout::websocket::client::{
        ClientEvent as OutgoingClientEvent, ConnectErrorParam as OutgoingConnectError,
        ConnectErrorResult as ConnectError, ConnectOptions, Host, HostClientConnection,
    };
    pub(crate) use super::generated::waterspout::websocket::types::{
        CloseFrameResult as IncomingCloseFrame, MessageResult as IncomingMessage,
    };
}
