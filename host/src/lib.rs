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
//! In reading order; each folder's first file says what it is about.
//!
//! - `units`, `clock`, `machine`, `regular_file`: values and how they are read and shown; [`limits`]: every bound, and who shares what
//! - `connection`: one side of a connection: its bytes, its frames, its clocks; [`client`]: those that this side opens
//! - [`compiler`], [`handler`], `imports`, `instance`: the sandbox, from a component's bytes to calls on a live instance
//! - [`swap`], [`deployer`], [`state`]: versions of a handler, how they follow one another, and what of them outlives the process
//! - [`server`]: who is let in, and HTTP; [`admin`] and `metrics`: what an operator sees of it
//! - [`config`]: the configuration file; [`sandbox`]: what the process may still do; [`takeover`]: another process in its place
//! - `fuzzing`, in no ordinary build: what `fuzz/` runs

pub mod admin;
pub mod client;
mod clock;
pub mod compiler;
pub mod config;
pub mod connection;
pub mod deployer;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
pub mod handler;
mod imports;
mod instance;
pub mod limits;
mod machine;
mod metrics;
mod regular_file;
pub mod sandbox;
pub mod server;
pub mod state;
pub mod swap;
pub mod takeover;
mod units;

pub use admin::{Admin, AdminOptions};
pub use client::destinations::Destinations;
pub use compiler::{ChildCompiler, CompileLimits, Compiler};
pub use config::Config;
pub use deployer::{DeployError, Deployer, Deployment, Kept, Offer, RouteName, Starter};
pub use handler::cache::CacheFolders;
pub use handler::engine::Shortage;
pub use handler::loading::{Loader, NotLoaded, RouteHandler};
pub use handler::{Handler, HandlerSource, LoadError, Runtime, RuntimeOptions};
pub use limits::tenants::Tenant;
pub use limits::{FuelLimit, Limits, SlowConsumer, TenantLimits};
pub use sandbox::Sandbox;
pub use server::admission::ServerOptions;
pub use server::application::Application;
pub use server::listener::{InheritedSockets, ListenAddress, Listener, ListenerHandle, Reserved};
pub use server::listening::Server;
pub use server::page::Page;
pub use server::routes::{InstancePolicy, MAX_SPARE_INSTANCES, Pattern, Route};
pub use server::tls::{CertificateFiles, Certificates};
pub use state::{StateDir, StateError};
pub use swap::{OnSwap, SwapError, SwapPolicy, SwapReport, migration_hindrance};
pub use units::printable;
