//! `interface client`: outgoing connections. No route may open any yet, so every attempt is `denied`, and there is no
//! handle that a call could come from.

use wasmtime::component::Resource;

use super::{Answer, GuestState};
use crate::bindings::client::{self, ConnectError, ConnectOptions, IncomingCloseFrame, IncomingMessage};

/// What a guest's `client-connection` handle stands for: none is ever made.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub enum ClientConnectionHandle {}

type Handle = Resource<ClientConnectionHandle>;

impl GuestState {
    /// Traps on a handle that was never given out, as wasmtime does before it gets here.
    fn client(&self, handle: &Handle) -> wasmtime::Result<std::convert::Infallible> {
        match *self.table.get(handle)? {}
    }
}

impl client::HostClientConnection for GuestState {
    fn id(&mut self, handle: Handle) -> wasmtime::Result<String> {
        match self.client(&handle)? {}
    }

    fn selected_subprotocol(&mut self, handle: Handle) -> wasmtime::Result<Option<String>> {
        match self.client(&handle)? {}
    }

    fn read_message(&mut self, handle: Handle, _: Option<u32>) -> Answer<Option<IncomingMessage>> {
        match self.client(&handle)? {}
    }

    fn write_message(&mut self, handle: Handle, _: IncomingMessage) -> Answer {
        match self.client(&handle)? {}
    }

    fn flush(&mut self, handle: Handle) -> Answer {
        match self.client(&handle)? {}
    }

    fn ping(&mut self, handle: Handle, _: Vec<u8>) -> Answer {
        match self.client(&handle)? {}
    }

    fn close(&mut self, handle: Handle, _: Option<u16>, _: Option<String>) -> Answer {
        match self.client(&handle)? {}
    }

    fn close_frame(&mut self, handle: Handle) -> wasmtime::Result<Option<IncomingCloseFrame>> {
        match self.client(&handle)? {}
    }

    fn drop(&mut self, handle: Handle) -> wasmtime::Result<()> {
        match self.client(&handle)? {}
    }
}

impl client::Host for GuestState {
    fn connect(
        &mut self,
        _: String,
        _: Option<ConnectOptions>,
    ) -> wasmtime::Result<Result<Handle, ConnectError>> {
        Ok(Err(ConnectError::Denied))
    }

    fn start(
        &mut self,
        _: String,
        _: Option<ConnectOptions>,
    ) -> wasmtime::Result<Result<Handle, ConnectError>> {
        Ok(Err(ConnectError::Denied))
    }

    fn get(&mut self, _: String) -> wasmtime::Result<Option<Handle>> {
        Ok(None)
    }
}
