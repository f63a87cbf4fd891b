//! Whole stories: a host on a real socket, a real client, a real guest. One test a sentence.

mod admin;
mod client;
mod client_handler;
mod client_tls;
mod clients;
mod closing;
mod compression;
mod handshake;
mod http2;
mod instances;
mod limits;
mod listeners;
mod messages;
mod outgoing;
mod outliving;
mod probe;
mod protocol;
mod proxies;
mod reading;
mod servers;
mod tenants;
mod time;
mod tls;
mod tornado;
mod wasi;
mod witness;
