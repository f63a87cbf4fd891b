//! Who is let in, and HTTP: from a listener to the request that an application answers.

pub(crate) mod addresses;
pub mod admission;
pub(crate) mod answer_body;
pub(crate) mod answers;
pub mod application;
pub(crate) mod conversation;
pub mod handshake;
pub(crate) mod http2;
pub mod listener;
pub mod listening;
pub mod page;
pub mod proxies;
pub(crate) mod proxy_header;
pub(crate) mod request;
pub mod routes;
pub(crate) mod shutdown;
pub mod tls;
