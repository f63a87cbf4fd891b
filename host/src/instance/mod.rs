//! One live instance: a sandbox with its store, and the calls that a connection makes on its handler.
//!
//! An instance is an actor: one call at a time, each under its own limits of processor time and wall-clock time. After any
//! failed call it must be dropped: nothing is ever called again.

pub(crate) mod fuel;
mod handover;
mod host_calls;
pub(crate) mod instances;
pub(crate) mod meter;
pub(crate) mod party;
pub(crate) mod seat;
pub(crate) mod shortage;
pub(crate) mod spares;
mod whereabouts;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::ResourceAny;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::connection::close::{CloseCause, CloseFrame};
use crate::connection::compression::Reservation;
use crate::connection::inbox::Arrival;
use crate::connection::outgoing::ClientEvent;
use crate::handler::bindings::types::{CompressionOptions, OutgoingCloseFrame, OutgoingMessage, Rejection};
use crate::handler::bindings::{Stateful, WebsocketApp};
use crate::handler::endpoint::{Endpoint, Slot, SlotPermits};
use crate::imports::{self, ConnectionHandle, GuestState, RequestHandle};
use crate::instance::fuel::{FuelExceeded, FueledStore};
use crate::instance::host_calls::{AfterHostCalls, Interruptible};
use crate::instance::meter::{CpuExceeded, Meter, Metered, WallExceeded};
use crate::instance::party::Party;
use crate::instance::shortage::{NO_ROOM_IN_POOL, NO_SYSTEM_MEMORY, Shortage, is_out_of_memory};
use crate::instance::whereabouts::whereabouts;
use crate::limits::records::Kind;
use crate::limits::{Limits, Reached};
use crate::metrics::{CallKind, TrapCause};
use crate::swap::Version;
use crate::units::{Unit, shown};
pub(crate) use handover::Unfit;

/// What a connection asks its handler: the handshake's questions, then its events.
#[derive(Debug)]
pub(crate) enum Call {
    Construct,
    Prepare,
    CheckOrigin(String),
    SelectSubprotocol(Vec<String>),
    GetCompressionOptions,
    Open,
    Arrived(Arrival),
    /// What happened on one of its outgoing connections, by id.
    Client(String, ClientEvent),
    Writable,
    Timer(u32),
    Close(Option<CloseFrame>),
    /// The connection has ended: the handler's destructor.
    Drop,
}

impl Call {
    /// The function's name in the WIT.
    fn name(&self) -> &'static str {
        match self {
            Self::Construct => "constructor",
            Self::Prepare => "prepare",
            Self::CheckOrigin(_) => "check-origin",
            Self::SelectSubprotocol(_) => "select-subprotocol",
            Self::GetCompressionOptions => "get-compression-options",
            Self::Open => "open",
            Self::Arrived(Arrival::Text(_) | Arrival::Binary(_)) => "on-message",
            Self::Arrived(Arrival::Ping(_)) => "on-ping",
            Self::Arrived(Arrival::Pong(_)) => "on-pong",
            Self::Client(..) => "on-client-event",
            Self::Writable => "on-writable",
            Self::Timer(_) => "on-timer",
            Self::Close(_) => "on-close",
            Self::Drop => "destructor",
        }
    }

    fn kind(&self) -> CallKind {
        match self {
            Self::Construct
            | Self::Prepare
            | Self::CheckOrigin(_)
            | Self::SelectSubprotocol(_)
            | Self::GetCompressionOptions => CallKind::Handshake,
            Self::Open => CallKind::Open,
            Self::Arrived(Arrival::Text(_) | Arrival::Binary(_)) => CallKind::Message,
            Self::Arrived(_) | Self::Client(..) | Self::Writable | Self::Timer(_) => CallKind::Other,
            Self::Close(_) | Self::Drop => CallKind::Close,
        }
    }
}

/// What `prepare` answers in place of the handler's consent.
#[derive(Debug)]
pub(crate) enum Declined {
    With(Rejection),
    /// It is more than it may be, and not kept: why, for the log.
    TooLarge(String),
}

impl Declined {
    fn new(rejection: Rejection, limits: &Limits) -> Self {
        let Rejection { headers, body, .. } = &rejection;
        let most = limits.max_response_body_bytes;
        if body.len() > most {
            return Self::TooLarge(format!(
                "its body has {} bytes, and `max-response-body-bytes` is {}: answer less, or raise it",
                body.len(),
                most.show()
            ));
        }
        // That is before the headers are looked at one by one: they wait, too.
        let header_bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let most = limits.max_response_header_bytes;
        if header_bytes > most {
            return Self::TooLarge(format!(
                "its headers have {header_bytes} bytes, and `max-response-header-bytes` is {}: answer less, or raise it",
                most.show()
            ));
        }
        Self::With(rejection)
    }
}

/// What a handler answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Constructed(ResourceAny),
    Prepared(Result<(), Declined>),
    OriginAllowed(bool),
    Subprotocol(Option<String>),
    Compression(Option<CompressionOptions>),
    Done,
}

/// A call failed, and with it the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallFailure {
    #[error("the handler trapped")]
    Trapped,
    #[error("the handler ran past its deadline")]
    Deadline,
    #[error("the handler ran out of fuel")]
    OutOfFuel,
    /// What the handler shares with others is used up: neither its own fault nor its peer's.
    #[error("the handler could not go on: {0} is used up")]
    Exhausted(Reached),
}

impl CallFailure {
    fn of(error: &wasmtime::Error) -> Self {
        if let Some(Shortage(reached)) = error.downcast_ref() {
            Self::Exhausted(*reached)
        } else if error.is::<PoolConcurrencyLimitError>() {
            Self::Exhausted(NO_ROOM_IN_POOL)
        } else if is_out_of_memory(error) {
            Self::Exhausted(NO_SYSTEM_MEMORY)
        } else if error.is::<CpuExceeded>() || error.is::<WallExceeded>() {
            Self::Deadline
        } else if error.is::<FuelExceeded>() {
            Self::OutOfFuel
        } else {
            Self::Trapped
        }
    }

    /// What was used up, if that is why: then nobody has to wait for it, and no version is judged by it.
    pub(crate) fn reached(self) -> Option<Reached> {
        match self {
            Self::Exhausted(reached) => Some(reached),
            Self::Trapped | Self::Deadline | Self::OutOfFuel => None,
        }
    }
}

impl From<CallFailure> for CloseCause {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Trapped => Self::Trapped,
            CallFailure::Deadline => Self::DeadlineExceeded,
            CallFailure::OutOfFuel => Self::OutOfFuel,
            CallFailure::Exhausted(_) => Self::Overloaded,
        }
    }
}

/// See the module.
pub(crate) struct Instance {
    store: FueledStore<GuestState>,
    app: WebsocketApp,
    /// Only where the component exports `shared-state`.
    stateful: Option<Stateful>,
    meter: Arc<Meter>,
    endpoint: Arc<Endpoint>,
    version: Arc<Version>,
    // After the store, which has the pool's room. None as long as it serves nobody.
    permits: Option<SlotPermits>,
}

impl Instance {
    /// Instantiates what the slot is for, for one party's sake, or to have it when one comes.
    pub(crate) async fn new(
        endpoint: &Arc<Endpoint>,
        slot: Slot,
        party: Option<&Party>,
    ) -> Result<Self, CallFailure> {
        let Slot { version, permits, memory } = slot;
        match Self::make(endpoint, &version, memory, party).await {
            Ok(mut instance) => {
                instance.permits = Some(permits);
                version.start_pause.succeeded();
                Ok(instance)
            }
            Err(error) => {
                let failure = CallFailure::of(&error);
                let pause = failure.reached().is_none().then(|| {
                    if let Some(party) = party {
                        endpoint.versions.note_failed(version.number, party.peer);
                    }
                    // Nothing of the peer's has been seen: it is the handler's own failure.
                    version.start_pause.failed()
                });
                // That there is no room for what nobody needs yet is no news.
                if party.is_some() || pause.is_some() {
                    report(&error, failure, endpoint, &version, party, "instantiate", pause);
                }
                Err(failure)
            }
        }
    }

    async fn make(
        endpoint: &Arc<Endpoint>,
        version: &Arc<Version>,
        memory: Reservation,
        party: Option<&Party>,
    ) -> wasmtime::Result<Self> {
        let Endpoint { route, metrics, .. } = &**endpoint;
        let code = &version.handler.parts;
        let limits = &route.limits;
        let meter = Arc::new(Meter::new(limits.cpu_per_event, limits.wall_per_event));
        let state = GuestState::new(endpoint, &version.handler, memory, meter.clone());
        let mut store = Store::new(code.pre.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.hostcall_fuel());
        store.set_max_component_handles(limits.max_handles as usize);
        store.epoch_deadline_callback(|mut context| context.data_mut().on_tick());
        store.call_hook_async(AfterHostCalls);
        begin_event(&mut store, party);
        let gauge = store.data().fuel.clone();
        let mut store = FueledStore::new(store, gauge);
        let timed = metrics.calls.begin(CallKind::Instantiate);
        let instantiating = async {
            store.fill()?;
            code.pre.instantiate_async(&mut *store).await
        };
        let instantiated = Metered::new(instantiating, &meter).await;
        if let Some(timed) = timed {
            metrics.calls.end(timed);
        }
        let instance =
            store.end_call(instantiated).inspect_err(|error| metrics.count_trap(trap_cause(error)))?;
        let app = code.app.load(&mut *store, &instance)?;
        let stateful = match &code.stateful {
            Some(indices) => Some(indices.load(&mut *store, &instance)?),
            None => None,
        };
        store.data_mut().limiter.settle();
        let (endpoint, version) = (endpoint.clone(), version.clone());
        Ok(Self { store, app, stateful, meter, endpoint, version, permits: None })
    }

    /// It was made for nobody, and is somebody's now: its imports do what they do.
    fn begin_to_serve(&mut self) {
        self.store.data_mut().mute(false);
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// What it is an instance of.
    pub(crate) fn version(&self) -> &Arc<Version> {
        &self.version
    }

    /// Asks one party's handler. After an error the instance must be dropped.
    ///
    /// Cancel safety: none; the instance must be dropped then, too.
    pub(crate) async fn call(&mut self, party: &Party, call: Call) -> Result<Answer, CallFailure> {
        begin_event(&mut self.store, Some(party));
        let metrics = &self.endpoint.metrics;
        let (name, kind) = (call.name(), call.kind());
        let timed = metrics.calls.begin(kind);
        let asked = ask(&mut self.store, &self.app, party, call);
        let answer = Metered::new(asked, &self.meter).await;
        let answer = answer.and_then(|answer| {
            self.store.data_mut().end_call()?;
            Ok(answer)
        });
        if let Some(timed) = timed {
            metrics.calls.end(timed);
        }
        self.store.end_call(answer).map_err(|error| {
            metrics.count_trap(trap_cause(&error));
            let failure = CallFailure::of(&error);
            let pause = match failure.reached() {
                // It may be the peer's doing, and must not be everybody's loss.
                None => {
                    self.endpoint.versions.note_failed(self.version.number, party.peer);
                    self.endpoint.address_pauses.failed(party.peer)
                }
                // The answer to a handshake is counted as such.
                Some(_) if kind == CallKind::Handshake => None,
                Some(reached) => {
                    metrics.count_refusal(reached);
                    None
                }
            };
            report(&error, failure, &self.endpoint, &self.version, Some(party), name, pause);
            failure
        })
    }
}

/// What is kept of a subprotocol that cannot be taken: more than a record shows, so that it says that it was cut. Offers are shorter
/// than a head, and one that is as long is not among them.
const WRONG_SUBPROTOCOL_BYTES: usize = 32 << 10;

/// What every event begins with: whose it is, and its first tick.
fn begin_event(store: &mut Store<GuestState>, party: Option<&Party>) {
    match party {
        Some(party) => store.data_mut().start_event(party),
        None => store.data_mut().start_event_of_nobody(),
    }
    store.set_epoch_deadline(1);
}

async fn ask(
    store: &mut Store<GuestState>,
    app: &WebsocketApp,
    party: &Party,
    call: Call,
) -> wasmtime::Result<Answer> {
    let exports = app.waterspout_websocket_handler().handler();
    if let Call::Construct = call {
        let handle = store.data_mut().table.push(RequestHandle(party.request.clone()))?;
        return Ok(Answer::Constructed(Box::pin(exports.call_constructor(store, handle)).await?));
    }
    let Some(handler) = party.handler else {
        if let Call::Drop = call {
            return Ok(Answer::Done);
        }
        wasmtime::bail!("`{}` was called before the constructor", call.name());
    };
    // The questions of a handshake are boxed, so that an open connection does not keep room for them.
    match call {
        Call::Construct => unreachable!("answered above"),
        Call::Prepare => {
            let answer = Box::pin(exports.call_prepare(&mut *store, handler)).await?;
            let limits = &store.data().route().limits;
            return Ok(Answer::Prepared(answer.map_err(|rejection| Declined::new(rejection, limits))));
        }
        Call::CheckOrigin(origin) => {
            return Ok(Answer::OriginAllowed(
                Box::pin(exports.call_check_origin(store, handler, &origin)).await?,
            ));
        }
        Call::SelectSubprotocol(offered) => {
            let offered: Vec<&str> = offered.iter().map(String::as_str).collect();
            let mut answer = Box::pin(exports.call_select_subprotocol(store, handler, &offered)).await?;
            if let Some(answer) = &mut answer
                && !offered.contains(&answer.as_str())
            {
                // It is only for the log.
                answer.truncate(answer.floor_char_boundary(WRONG_SUBPROTOCOL_BYTES));
                answer.shrink_to_fit();
            }
            return Ok(Answer::Subprotocol(answer));
        }
        Call::GetCompressionOptions => {
            return Ok(Answer::Compression(
                Box::pin(exports.call_get_compression_options(store, handler)).await?,
            ));
        }
        Call::Open => {
            let handle = store.data_mut().table.push(ConnectionHandle(party.link.clone()))?;
            exports.call_open(store, handler, handle).await?;
        }
        Call::Arrived(Arrival::Text(text)) => {
            exports.call_on_message(store, handler, OutgoingMessage::Text(&text)).await?
        }
        Call::Arrived(Arrival::Binary(bytes)) => {
            exports.call_on_message(store, handler, OutgoingMessage::Binary(&bytes)).await?
        }
        Call::Arrived(Arrival::Ping(data)) => exports.call_on_ping(store, handler, &data).await?,
        Call::Arrived(Arrival::Pong(data)) => exports.call_on_pong(store, handler, &data).await?,
        Call::Client(id, event) => {
            exports.call_on_client_event(store, handler, &id, imports::client::outgoing_event(&event)).await?
        }
        Call::Writable => exports.call_on_writable(store, handler).await?,
        Call::Timer(token) => exports.call_on_timer(store, handler, token).await?,
        Call::Close(frame) => {
            let frame =
                frame.as_ref().map(|frame| OutgoingCloseFrame { code: frame.code, reason: &frame.reason });
            exports.call_on_close(store, handler, frame).await?;
        }
        Call::Drop => handler.resource_drop_async(store).await?,
    }
    Ok(Answer::Done)
}

/// Under which cause a failed call is counted.
fn trap_cause(error: &wasmtime::Error) -> TrapCause {
    if error.is::<PoolConcurrencyLimitError>() || error.is::<Shortage>() || is_out_of_memory(error) {
        return TrapCause::Exhausted;
    }
    if error.is::<CpuExceeded>() {
        return TrapCause::Cpu;
    }
    if error.is::<WallExceeded>() {
        return TrapCause::Wall;
    }
    if error.is::<FuelExceeded>() {
        return TrapCause::Fuel;
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => TrapCause::Unreachable,
        Some(Trap::StackOverflow) => TrapCause::Stack,
        Some(Trap::MemoryOutOfBounds | Trap::HeapMisaligned | Trap::TableOutOfBounds) => TrapCause::Memory,
        _ => TrapCause::Other,
    }
}

/// Tells why a call failed, with the place in the guest where it did, and the pause that begins.
fn report(
    error: &wasmtime::Error,
    failure: CallFailure,
    endpoint: &Endpoint,
    version: &Version,
    party: Option<&Party>,
    call: &'static str,
    pause: Option<Duration>,
) {
    let (cause, at) = (cause(error), whereabouts(error));
    let records = &endpoint.metrics.records;
    let told = match failure {
        // Where much is used up, many fail for it.
        CallFailure::Exhausted(_) => records.tell(Kind::Exhausted),
        _ => records.tell_each(Kind::Failed, cause.len() + at.len(), &endpoint.tenancy),
    };
    let Some(untold) = told else {
        return;
    };
    tracing::warn!(
        tenant = endpoint.tenancy.name,
        route = %endpoint.route.name,
        %version,
        connection = party.map(|party| party.link.id()),
        call,
        cause,
        at,
        pause = pause.map(tracing::field::debug),
        untold,
        "{failure}"
    );
}

fn cause(error: &wasmtime::Error) -> String {
    if let Some(shortage) = error.downcast_ref::<Shortage>() {
        return shortage.to_string();
    }
    if let Some(exceeded) = error.downcast_ref::<FuelExceeded>() {
        // Around wasmtime's own error, which does not name the limit.
        return exceeded.to_string();
    }
    shown(error.root_cause().to_string().lines().next().unwrap_or_default())
}
