//! `interface client`: connections that a handler opens itself.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};

use super::connection::wire_message;
use super::{Answer, GuestState, answer};
use crate::connection::close::{CloseFrame, CloseRequest};
use crate::connection::inbox::Arrival;
use crate::connection::link::Closing;
use crate::connection::outgoing::{ClientEvent, Dial, DialError, Outgoing, Style};
use crate::handler::bindings::client::{
    self, ConnectError, ConnectOptions, IncomingCloseFrame, IncomingMessage, OutgoingClientEvent,
    OutgoingConnectError,
};
use crate::handler::bindings::types::{Error, OutgoingCloseFrame, OutgoingMessage};

/// What a guest's `client-connection` handle stands for. Dropping it closes nothing.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct ClientConnectionHandle(Arc<Outgoing>);

type Handle = Resource<ClientConnectionHandle>;

impl GuestState {
    fn outgoing(&self, handle: &Handle) -> wasmtime::Result<&Arc<Outgoing>> {
        Ok(&self.table.get(handle)?.0)
    }

    fn dial(
        &self,
        url: String,
        options: Option<ConnectOptions>,
        style: Style,
    ) -> wasmtime::Result<Result<Arc<Outgoing>, DialError>> {
        if self.muted {
            return Ok(Err(DialError::Denied));
        }
        let serving = self.serving()?;
        // Nobody is left for whom to connect, and a handler that goes on trying is to be stopped like any other.
        if serving.link.has_ended() {
            return Ok(Err(DialError::Closed));
        }
        Ok(serving.outgoings.dial(dial(url, options), style))
    }

    fn hand_out(&mut self, outgoing: Arc<Outgoing>) -> wasmtime::Result<Handle> {
        self.note_making();
        Ok(self.table.push(ClientConnectionHandle(outgoing))?)
    }
}

impl GuestState {
    /// Waits for what others do, at most until `until`; what came and how long that took. Alone in its instance a guest may wait as long as
    /// that takes; in a shared one as long as an import may.
    async fn wait<R>(
        &mut self,
        until: Option<Instant>,
        future: impl Future<Output = R>,
    ) -> wasmtime::Result<(Option<R>, Waited)> {
        self.count_handles()?;
        let shared = self.is_shared();
        let until = until.into_iter().chain(shared.then(|| self.wait_until())).min();
        let _free = (!shared).then(|| self.meter.wait_freely());
        let began = Instant::now();
        let mut pending = false;
        let mut future = pin!(future);
        let future = poll_fn(|cx| {
            let polled = future.as_mut().poll(cx);
            pending |= polled.is_pending();
            polled
        });
        let came = match until {
            Some(until) => tokio::time::timeout_at(until, future).await.ok(),
            None => Some(future.await),
        };
        // What was there at once has only used the processor.
        Ok((came, Waited(if pending { began.elapsed() } else { Duration::ZERO })))
    }

    /// The guest goes on after a wait. A message is what the other style has an event for, and comes no faster than its server sends: what the
    /// guest does from here on has the limits of an event of its own. Everything else gives back no more than the time that went by, so that
    /// no loop of calls that return at once has more than one event's time.
    fn go_on(&mut self, came: Came, Waited(waited): Waited) {
        if self.is_shared() {
            return;
        }
        match came {
            Came::Message => self.meter.begin_again(),
            Came::Connection | Came::Silence | Came::Nothing => self.meter.give_back(waited),
        }
        // Fuel is no time, and depends on none: what came says whether the tank is full again.
        self.has_begun_again |= came != Came::Nothing;
    }
}

/// How long a guest has really waited.
#[derive(Clone, Copy)]
struct Waited(Duration);

/// What ended a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Message,
    /// An open connection: there is a rate for them.
    Connection,
    /// The time for which the guest was ready to wait is over: a timer's tick at least.
    Silence,
    /// There is nothing to wait for.
    Nothing,
}

/// Links what may begin an event again once more, for code that is metered: fuel is the store's, which the bindings do not hand over.
pub(super) fn link_metered(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut interface = linker.instance(CLIENT_INTERFACE)?;
    type Connect = (String, Option<ConnectOptions>);
    interface.func_wrap_async("connect", |mut store, (url, options): Connect| {
        Box::new(async move {
            let connected = client::Host::connect(store.data_mut(), url, options).await?;
            refuel(store)?;
            Ok((connected,))
        })
    })?;
    type ReadMessage = (Handle, Option<u32>);
    interface.func_wrap_async(
        "[method]client-connection.read-message",
        |mut store, (handle, timeout_ms): ReadMessage| {
            Box::new(async move {
                let state: &mut GuestState = store.data_mut();
                let read = client::HostClientConnection::read_message(state, handle, timeout_ms).await?;
                refuel(store)?;
                Ok((read,))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The interface's name as a component imports it.
const CLIENT_INTERFACE: &str = "waterspout:websocket/client@0.1.0";

/// If the event has begun again.
fn refuel(mut store: StoreContextMut<'_, GuestState>) -> wasmtime::Result<()> {
    let state = store.data_mut();
    match (std::mem::take(&mut state.has_begun_again), state.fuel.clone()) {
        (true, Some(gauge)) => gauge.settle(store),
        _ => Ok(()),
    }
}

/// What a guest asks for, in the host's terms.
fn dial(url: String, options: Option<ConnectOptions>) -> Dial {
    let Some(options) = options else { return Dial { url, ..Dial::default() } };
    let milliseconds = |ms: u32| Duration::from_millis(ms.into());
    Dial {
        url,
        headers: options.headers,
        subprotocols: options.subprotocols,
        connect_timeout: options.connect_timeout_ms.map(milliseconds),
        max_message_bytes: options.max_message_size.map(|bytes| bytes as usize),
        ping_interval: options.ping_interval_ms.map(milliseconds),
        pong_timeout: options.ping_timeout_ms.map(milliseconds),
        compression: options.compression.map(|options| (options.level, options.mem_level)),
    }
}

fn connect_error(error: DialError) -> ConnectError {
    match error {
        DialError::Denied => ConnectError::Denied,
        DialError::Closed => ConnectError::Closed,
        DialError::Limit(limit) => ConnectError::Limit(limit.into()),
        DialError::InvalidUrl(why) => ConnectError::InvalidUrl(why),
        DialError::Network(why) => ConnectError::Network(why),
        DialError::Timeout => ConnectError::Timeout,
        DialError::Http(status) => ConnectError::Http(status),
        DialError::Protocol(why) => ConnectError::Protocol(why),
    }
}

/// What happened on an outgoing connection, as its handler is told.
pub(crate) fn outgoing_event(event: &ClientEvent) -> OutgoingClientEvent<'_> {
    match event {
        ClientEvent::Opened => OutgoingClientEvent::Opened,
        ClientEvent::Failed(error) => OutgoingClientEvent::Failed(match error {
            DialError::Denied => OutgoingConnectError::Denied,
            DialError::Closed => OutgoingConnectError::Closed,
            DialError::Limit(limit) => OutgoingConnectError::Limit(limit),
            DialError::InvalidUrl(why) => OutgoingConnectError::InvalidUrl(why),
            DialError::Network(why) => OutgoingConnectError::Network(why),
            DialError::Timeout => OutgoingConnectError::Timeout,
            DialError::Http(status) => OutgoingConnectError::Http(*status),
            DialError::Protocol(why) => OutgoingConnectError::Protocol(why),
        }),
        ClientEvent::Arrived(Arrival::Text(text)) => {
            OutgoingClientEvent::Message(OutgoingMessage::Text(text))
        }
        ClientEvent::Arrived(Arrival::Binary(bytes)) => {
            OutgoingClientEvent::Message(OutgoingMessage::Binary(bytes))
        }
        ClientEvent::Arrived(Arrival::Ping(data) | Arrival::Pong(data)) => OutgoingClientEvent::Pong(data),
        ClientEvent::Closed(frame) => OutgoingClientEvent::Closed(
            frame.as_ref().map(|frame| OutgoingCloseFrame { code: frame.code, reason: &frame.reason }),
        ),
    }
}

impl client::HostClientConnection for GuestState {
    fn id(&mut self, handle: Handle) -> wasmtime::Result<String> {
        Ok(self.outgoing(&handle)?.link.id().to_owned())
    }

    fn selected_subprotocol(&mut self, handle: Handle) -> wasmtime::Result<Option<String>> {
        Ok(self.outgoing(&handle)?.link.selected_subprotocol().map(str::to_owned))
    }

    async fn read_message(
        &mut self,
        handle: Handle,
        timeout_ms: Option<u32>,
    ) -> Answer<Option<IncomingMessage>> {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        let outgoing = self.outgoing(&handle)?.clone();
        if outgoing.style() == Style::Callback {
            let why = "made by `start`: its messages come to `on-client-event`";
            return Ok(Err(Error::Invalid(why.into())));
        }
        let link = self.serving()?.link.clone();
        let asked_until = timeout_ms.map(|ms| Instant::now() + Duration::from_millis(ms.into()));
        let reading = poll_fn(|cx| {
            // First of all: a server that is always faster than its reader must not keep a handler whose peer has gone.
            if link.poll_ended(cx).is_ready() {
                return Poll::Ready(Err(Error::Closed));
            }
            outgoing.poll_message(cx).map(Ok)
        });
        let (read, waited) = self.wait(asked_until, reading).await?;
        let came = match &read {
            Some(Ok(Some(_))) => Came::Message,
            Some(_) => Came::Nothing,
            None => Came::Silence,
        };
        self.go_on(came, waited);
        let result = read.unwrap_or(Err(Error::Timeout));
        Ok(result.map(|message| {
            message.map(|message| match message {
                Arrival::Text(text) => IncomingMessage::Text(text.as_str().to_owned()),
                Arrival::Binary(bytes) | Arrival::Ping(bytes) | Arrival::Pong(bytes) => {
                    IncomingMessage::Binary(bytes.into())
                }
            })
        }))
    }

    fn write_message(&mut self, handle: Handle, message: IncomingMessage) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        let outgoing = self.outgoing(&handle)?;
        if !outgoing.is_open() {
            return Ok(Err(Error::Closed));
        }
        answer(outgoing.link.write(wire_message(message)))
    }

    async fn flush(&mut self, handle: Handle) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        let outgoing = self.outgoing(&handle)?.clone();
        if !outgoing.is_open() {
            return Ok(Err(Error::Closed));
        }
        let own = self.serving()?.link.clone();
        tokio::select! {
            biased;
            () = poll_fn(|cx| own.poll_ended(cx)) => Ok(Err(Error::Closed)),
            flushed = self.flush_link(&outgoing.link) => flushed,
        }
    }

    fn ping(&mut self, handle: Handle, data: Vec<u8>) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        let outgoing = self.outgoing(&handle)?;
        if !outgoing.is_open() {
            return Ok(Err(Error::Closed));
        }
        answer(outgoing.link.ping(data))
    }

    fn close(&mut self, handle: Handle, code: Option<u16>, reason: Option<String>) -> Answer {
        if self.muted {
            return Ok(Err(Error::Denied));
        }
        let outgoing = self.outgoing(&handle)?;
        let request = match CloseRequest::new(code, reason) {
            Ok(request) => request,
            Err(why) => return Ok(Err(Error::Invalid(why))),
        };
        if outgoing.cancel() {
            return Ok(Ok(()));
        }
        answer(outgoing.link.close(Closing::Handler(request)))
    }

    fn close_frame(&mut self, handle: Handle) -> wasmtime::Result<Option<IncomingCloseFrame>> {
        let frame = self.outgoing(&handle)?.close_frame();
        Ok(frame.map(|CloseFrame { code, reason }| IncomingCloseFrame { code, reason }))
    }

    fn drop(&mut self, handle: Handle) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl client::Host for GuestState {
    async fn connect(
        &mut self,
        url: String,
        options: Option<ConnectOptions>,
    ) -> wasmtime::Result<Result<Handle, ConnectError>> {
        let outgoing = match self.dial(url, options, Style::Coroutine)? {
            Ok(outgoing) => outgoing,
            Err(error) => return Ok(Err(connect_error(error))),
        };
        let link = self.serving()?.link.clone();
        let opening = poll_fn(|cx| match outgoing.poll_opened(cx) {
            Poll::Ready(opened) => Poll::Ready(opened),
            Poll::Pending => link.poll_ended(cx).map(|()| Err(DialError::Closed)),
        });
        // It has a time-out of its own.
        let (opened, waited) = self.wait(None, opening).await?;
        let opened = opened.unwrap_or(Err(DialError::Timeout));
        self.go_on(if opened.is_ok() { Came::Connection } else { Came::Nothing }, waited);
        match opened {
            Ok(()) => self.hand_out(outgoing).map(Ok),
            Err(error) => {
                outgoing.abandon();
                Ok(Err(connect_error(error)))
            }
        }
    }

    fn start(
        &mut self,
        url: String,
        options: Option<ConnectOptions>,
    ) -> wasmtime::Result<Result<Handle, ConnectError>> {
        match self.dial(url, options, Style::Callback)? {
            Ok(outgoing) => self.hand_out(outgoing).map(Ok),
            Err(error) => Ok(Err(connect_error(error))),
        }
    }

    fn get(&mut self, id: String) -> wasmtime::Result<Option<Handle>> {
        let Some(serving) = &self.serving else { return Ok(None) };
        match serving.outgoings.get(&id) {
            Some(outgoing) => self.hand_out(outgoing).map(Some),
            None => Ok(None),
        }
    }
}
