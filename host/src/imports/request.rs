//! `interface handshake`: the request that a connection began with.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::{Answer, GuestState, answer};
use crate::handler::bindings::handshake;
use crate::server::request::Request;

/// What a guest's `request` handle stands for.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct RequestHandle(pub(crate) Arc<Request>);

impl GuestState {
    fn request(&self, handle: &Resource<RequestHandle>) -> wasmtime::Result<&Request> {
        Ok(&self.table.get(handle)?.0)
    }
}

impl handshake::Host for GuestState {}

impl handshake::HostRequest for GuestState {
    fn uri(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request(&request)?.uri())
    }

    fn path(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request(&request)?.path())
    }

    fn query(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.request(&request)?.query())
    }

    fn path_args(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.request(&request)?.captures())
    }

    fn header(&mut self, request: Resource<RequestHandle>, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.request(&request)?.header(&name))
    }

    fn headers(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        Ok(self.request(&request)?.headers())
    }

    fn remote_address(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.request(&request)?.remote_address())
    }

    fn origin_allowed(&mut self, request: Resource<RequestHandle>, origin: String) -> wasmtime::Result<bool> {
        Ok(self.request(&request)?.origin_allowed(&origin))
    }

    fn set_response_header(
        &mut self,
        request: Resource<RequestHandle>,
        name: String,
        value: String,
    ) -> Answer {
        if self.muted {
            return Ok(Err(crate::handler::bindings::types::Error::Denied));
        }
        answer(self.request(&request)?.set_response_header(&name, &value))
    }

    fn drop(&mut self, request: Resource<RequestHandle>) -> wasmtime::Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}
