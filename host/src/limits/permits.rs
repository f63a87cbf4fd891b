//! What counts one connection beside its socket: free again when the socket is closed, whatever is still being done about it.

use tokio::sync::OwnedSemaphorePermit;

use crate::server::addresses::AddressPermit;

/// See the module. Dropped, another connection may take its place.
#[derive(Debug)]
pub(crate) struct Permits {
    pub(crate) _tenant: OwnedSemaphorePermit,
    pub(crate) _address: AddressPermit,
    /// Of the server's `max-connections`, where the socket has streams.
    pub(crate) _stream: Option<OwnedSemaphorePermit>,
}
