//! `interface connection`: what a handler does with an accepted connection.

use std::sync::Arc;
use std::time::Duration;

use tokio_tungstenite::tungstenite::Message as WireMessage;
use wasmtime::component::Resource;

use super::{Answer, GuestState, answer};
use crate::connection::close::CloseRequest;
use crate::connection::link::{Closing, Link, LinkError};
use crate::handler::bindings::connection;
use crate::handler::bindings::types::{Error, IncomingMessage};

/// What a guest's `connection` handle stands for. Dropping it ends nothing.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct ConnectionHandle(pub(crate) Arc<Link>);

impl GuestState {
    fn link(&self, handle: &Resource<ConnectionHandle>) -> wasmtime::Result<&Arc<Link>> {
        Ok(&self.table.get(handle)?.0)
    }

    /// Waits until what is queued has left, as long as an import may.
    pub(super) async fn flush_link(&mut self, link: &Link) -> Answer {
        if self.is_shared() && link.is_stalled() {
            return Ok(Err(Error::Timeout));
        }
        self.count_handles()?;
        match tokio::time::timeout_at(self.wait_until(), link.flush()).await {
            Ok(result) => answer(result),
            Err(_) => {
                link.note_stalled();
                Ok(Err(Error::Timeout))
            }
        }
    }
}

/// What a guest wrote, as tungstenite takes it; nothing is copied.
pub(super) fn wire_message(message: IncomingMessage) -> WireMessage {
    match message {
        IncomingMessage::Text(text) => WireMessage::Text(text.into()),
        IncomingMessage::Binary(bytes) => WireMessage::Binary(bytes.into()),
    }
}

impl connection::Host for GuestState {}

impl connection::HostConnection for GuestState {
    fn id(&mut self, connection: Resource<ConnectionHandle>) -> wasmtime::Result<String> {
        Ok(self.link(&connection)?.id().to_owned())
    }

    fn selected_subprotocol(
        &mut self,
        connection: Resource<ConnectionHandle>,
    ) -> wasmtime::Result<Option<String>> {
        Ok(self.link(&connection)?.selected_subprotocol().map(str::to_owned))
    }

    fn write_message(&mut self, connection: Resource<ConnectionHandle>, message: IncomingMessage) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        answer(self.link(&connection)?.write(wire_message(message)))
    }

    async fn flush(&mut self, connection: Resource<ConnectionHandle>) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        let link = self.link(&connection)?.clone();
        self.flush_link(&link).await
    }

    fn buffered_amount(&mut self, connection: Resource<ConnectionHandle>) -> wasmtime::Result<u32> {
        Ok(self.link(&connection)?.buffered_amount())
    }

    fn ping(&mut self, connection: Resource<ConnectionHandle>, data: Vec<u8>) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        answer(self.link(&connection)?.ping(data))
    }

    fn close(
        &mut self,
        connection: Resource<ConnectionHandle>,
        code: Option<u16>,
        reason: Option<String>,
    ) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        let link = self.link(&connection)?;
        answer(
            CloseRequest::new(code, reason)
                .map_err(LinkError::Invalid)
                .and_then(|request| link.close(Closing::Handler(request))),
        )
    }

    fn set_nodelay(&mut self, connection: Resource<ConnectionHandle>, value: bool) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        answer(self.link(&connection)?.set_nodelay(value))
    }

    fn subscribe(&mut self, connection: Resource<ConnectionHandle>, topic: String) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        answer(self.tenancy.topics.subscribe(self.link(&connection)?, &topic))
    }

    fn unsubscribe(&mut self, connection: Resource<ConnectionHandle>, topic: String) -> wasmtime::Result<()> {
        if self.muted {
            return Ok(());
        }
        self.tenancy.topics.unsubscribe(self.link(&connection)?, &topic);
        Ok(())
    }

    fn set_timer(&mut self, connection: Resource<ConnectionHandle>, token: u32, delay_ms: u32) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        answer(self.link(&connection)?.set_timer(token, Duration::from_millis(delay_ms.into())))
    }

    fn clear_timer(&mut self, connection: Resource<ConnectionHandle>, token: u32) -> wasmtime::Result<()> {
        if self.muted {
            return Ok(());
        }
        self.link(&connection)?.clear_timer(token);
        Ok(())
    }

    fn drop(&mut self, connection: Resource<ConnectionHandle>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}
