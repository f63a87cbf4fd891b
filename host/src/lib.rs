//! A host for WebSocket handlers that are WebAssembly components.
//!
//! A handler implements the WIT interface `waterspout:websocket/handler`, which mirrors Tornado's `WebSocketHandler`: `open`,
//! `on-message`, `on-close`, `check-origin`... This library accepts WebSocket connections and calls a sandboxed handler for
//! each; the `waterspout` program is one use of it.
//!
//! ```no_run
#![doc = include_str!("../examples/embed.rs")]
//! ```
//!
//! # Layout
//!
//! In reading order; a module uses only modules above it.
//!
//! - data: `units`, `clock`, `machine`, `rate`, `repeats`, [`limits`], [`close`], `fragments`, `throttle`, `timers`, `traffic`, [`compression`], [`handshake`], [`destinations`], [`roots`], [`routes`]: values and pure functions
//! - services: `topics`, `link`, `shutdown`, `request`, `addresses`, `metrics`, `permits`, `pauses`, `overruns`, `processors`, [`tenants`]: what connections and guests share
//! - connections: `intake`, `socket`, `inbox`, `wire`, `watch`, [`client`], `outgoing`: one side of a connection, and those that this side opens
//! - guest: `meter`, `fuel`, `party`, `bindings`, `imports`, `engine`, `load_error`, [`compiler`], `cache`, `echo`, [`handler`], [`loading`], `handler_file`, `endpoint`, `instance`, `instances`, `seat`, [`swap`]: the sandbox
//! - server: `connection`, [`proxies`], `proxy_header`, [`admission`], `answers`, [`page`], [`server`], [`state`], [`deployer`], `conversation`, `http2`, [`client_handler`], [`tls`],
//!   [`listener`], [`listening`], [`admin`]: who is let in, and HTTP
//! - [`config`]: the configuration file; [`sandbox`]: what the process may still do; [`takeover`]: another process in its place; [`inspect`]: what a component is, told to a person
//! - `fuzzing`, in no ordinary build: what `fuzz/` runs

mod addresses;
pub mod admin;
pub mod admission;
mod answers;
mod bindings;
mod cache;
pub mod client;
pub mod client_handler;
mod clock;
pub mod close;
pub mod compiler;
pub mod compression;
pub mod config;
mod connection;
mod conversation;
pub mod deployer;
pub mod destinations;
mod echo;
mod endpoint;
mod engine;
mod fragments;
mod fuel;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
pub mod handler;
mod handler_file;
pub mod handshake;
mod http2;
mod imports;
mod inbox;
pub mod inspect;
mod instance;
mod instances;
mod intake;
pub mod limits;
mod link;
pub mod listener;
pub mod listening;
mod load_error;
pub mod loading;
mod machine;
mod meter;
mod metrics;
mod outgoing;
mod overruns;
pub mod page;
mod party;
mod pauses;
mod permits;
mod processors;
pub mod proxies;
mod proxy_header;
mod rate;
mod repeats;
mod request;
pub mod roots;
pub mod routes;
pub mod sandbox;
mod seat;
pub mod server;
mod shutdown;
mod socket;
pub mod state;
pub mod swap;
pub mod takeover;
pub mod tenants;
mod throttle;
mod timers;
pub mod tls;
mod topics;
mod traffic;
mod units;
mod watch;
mod wire;

pub use admin::{Admin, AdminOptions};
pub use admission::ServerOptions;
pub use cache::CacheFolders;
pub use compiler::{ChildCompiler, CompileLimits, Compiler};
pub use config::Config;
pub use deployer::{DeployError, Deployer, Deployment, Kept, RouteName, Starter};
pub use destinations::Destinations;
pub use engine::Shortage;
pub use handler::{Handler, HandlerSource, LoadError, Runtime, RuntimeOptions};
pub use limits::{FuelLimit, Limits, SlowConsumer, TenantLimits};
pub use listener::{InheritedSockets, ListenAddress, Listener, ListenerHandle, Reserved};
pub use listening::Server;
pub use loading::{Loader, NotLoaded, RouteHandler};
pub use page::Page;
pub use routes::{InstancePolicy, Pattern, Route};
pub use sandbox::Sandbox;
pub use server::Application;
pub use state::{StateDir, StateError};
pub use swap::{OnSwap, SwapError, SwapPolicy, SwapReport};
pub use tenants::Tenant;
pub use tls::{CertificateFiles, Certificates};
pub use units::printable;
