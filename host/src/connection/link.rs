//! What the two sides of a connection share: the loop that owns its socket, and the guests that hold handles to it.
//!
//! A guest's imports touch only this, never the socket; so a guest that waits freezes neither pings nor close nor
//! time-outs, and whatever writes to a connection (its handler, another handler of its instance, a topic) passes through
//! one queue: messages never interleave or overtake. The host owns the connection's life: when it ends the state goes,
//! whatever handles a guest still holds; only id and subprotocol stay.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::connection::close::{CloseCause, CloseRequest};
use crate::connection::compression::{ReadyMade, Reservation};
use crate::connection::timers::Timers;
use crate::connection::topics::Topics;
use crate::connection::traffic::Traffic;
use crate::limits::Limits;
use crate::limits::SlowConsumer;

/// Why a guest's call on a connection failed; the WIT's `error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkError {
    Closed,
    BufferFull,
    Limit(String),
    Invalid(String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    id: String,
    subprotocol: OnceLock<String>,
    /// How what is published is compressed for this connection.
    ready_made: OnceLock<ReadyMade>,
    /// Something was done to the state since the loop last took what there is: spares the loop the lock between two messages.
    touched: AtomicBool,
    /// The number of the handler's version that serves it.
    version: AtomicU32,
    /// How many changes of version it has dealt with.
    changes_seen: AtomicU64,
    /// What has passed; readable whatever the state.
    pub(crate) traffic: Traffic,
    /// None once the connection has ended.
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Message>,
    /// What is in `queue`, and what the loop has taken from it and not yet handed to the network.
    unsent: Unsent,
    /// Messages that were ever queued: what a flush waits for has a number.
    queued_messages: u64,
    ending: Ending,
    /// A write was refused: `on-writable` is owed.
    refused: bool,
    timers: Timers,
    topics: BTreeSet<String>,
    /// What they cost.
    topic_bytes: usize,
    slow_consumer: SlowConsumer,
    nodelay: Option<bool>,
    /// The loop's waker while the loop sleeps; none while it runs and will look for itself.
    sleeper: Option<Waker>,
    flushers: Vec<Waker>,
    /// The peer will send nothing more.
    ended: bool,
    /// Who waits for something else than the queue, and no longer when the connection has ended.
    end_waiters: Vec<Waker>,
    /// How many messages had been handed to the network when a flush was given up.
    stalled_at: Option<u64>,
    bounds: Bounds,
    /// Of the tenant's memory: [`CONNECTION_BYTES`] at first, and more while more is queued.
    memory: Reservation,
    /// What the tenant had no memory for when it was last asked for some.
    lacked_memory: Option<usize>,
    /// The tenant had no memory for a write: until then `on-writable` would only be refused again.
    out_of_memory_until: Option<Instant>,
}

/// Messages that are not on their way yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unsent {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Unsent {
    pub(crate) fn add(&mut self, message: &Message) {
        self.messages += 1;
        self.bytes += message.len();
    }
}

/// The part of [`Limits`] that the queue needs, small enough to keep for each connection.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    message_bytes: usize,
    queue_bytes: usize,
    timers: usize,
    topics: usize,
    topic_bytes: usize,
}

/// What a connection takes of its tenant's memory as long as it lasts, whatever it does: its objects and buffers, and what it may hold
/// without asking for more, of what is to be sent and of what was received.
pub(crate) const CONNECTION_BYTES: usize = OBJECT_BYTES + FREE_HELD_BYTES + FREE_RECEIVED_BYTES;
/// Its task with everything in it, and tungstenite's buffers.
pub(crate) const OBJECT_BYTES: usize = 20 << 10;
/// What its queue, its topics and its timers may come to together before they take more.
const FREE_HELD_BYTES: usize = 16 << 10;
/// What of its peer's messages may be held, unfinished or not dealt with, before they take more.
pub(crate) const FREE_RECEIVED_BYTES: usize = 64 << 10;
/// More is taken in steps, so that not every message is a step.
const MEMORY_STEP_BYTES: usize = 64 << 10;
/// When a write is tried again for which the tenant had no memory.
const MEMORY_PAUSE: Duration = Duration::from_millis(100);

/// What a queued message may cost beside its payload: bounds how many empty ones fit.
const QUEUE_ENTRY_BYTES: usize = 64;
/// What a timer costs: two entries of trees whose nodes may be half empty.
const TIMER_BYTES: usize = 128;
/// What a topic costs beside its name, which is kept twice: with the connection, and with the tenant's topics, where its subscribers are
/// entries of a table. At the worst nobody else is subscribed.
const TOPIC_ENTRY_BYTES: usize = 768;

fn topic_bytes(topic: &str) -> usize {
    TOPIC_ENTRY_BYTES + 2 * topic.len()
}

#[derive(Debug)]
enum Ending {
    Open,
    /// Writes are refused; the close frame follows what is queued. None once the loop has taken it.
    Closing(Option<Closing>),
    /// The peer has closed, or is gone.
    Closed,
}

/// Who ends the connection, and so with which frame.
#[derive(Debug)]
pub(crate) enum Closing {
    Handler(CloseRequest),
    /// By the admin listener.
    Operator(CloseRequest),
    Host(CloseCause),
}

impl Closing {
    pub(crate) fn cause(&self) -> CloseCause {
        match self {
            Self::Handler(_) => CloseCause::HandlerClosed,
            Self::Operator(_) => CloseCause::Kicked,
            Self::Host(cause) => *cause,
        }
    }
}

/// What the loop finds when it looks, or why it may sleep.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// There is something to write: call [`Link::take`].
    Write,
    /// Half the queue is free again after a write was refused.
    Writable,
    /// A timer has come due.
    Timer(u32),
    /// Nothing: sleep, at the latest until the next timer.
    Sleep(Option<Instant>),
}

/// What the loop has to do for the guests.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) closing: Option<Closing>,
    pub(crate) nodelay: Option<bool>,
}

impl Link {
    /// `memory` is the connection's: [`CONNECTION_BYTES`].
    pub(crate) fn new(limits: &Limits, slow_consumer: SlowConsumer, memory: Reservation) -> Self {
        let bounds = Bounds {
            message_bytes: limits.max_message_bytes,
            queue_bytes: limits.max_queue_bytes,
            timers: limits.max_timers as usize,
            topics: limits.max_topics as usize,
            topic_bytes: limits.max_topic_bytes,
        };
        let state = State {
            queue: VecDeque::new(),
            unsent: Unsent::default(),
            queued_messages: 0,
            ending: Ending::Open,
            refused: false,
            timers: Timers::default(),
            topics: BTreeSet::new(),
            topic_bytes: 0,
            slow_consumer,
            nodelay: None,
            sleeper: None,
            flushers: Vec::new(),
            ended: false,
            end_waiters: Vec::new(),
            stalled_at: None,
            bounds,
            memory,
            lacked_memory: None,
            out_of_memory_until: None,
        };
        Self {
            id: random_id(),
            subprotocol: OnceLock::new(),
            ready_made: OnceLock::new(),
            touched: AtomicBool::new(false),
            version: AtomicU32::new(0),
            changes_seen: AtomicU64::new(0),
            traffic: Traffic::default(),
            state: Mutex::new(Some(state)),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Tells this link from every other one as long as somebody holds it.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn selected_subprotocol(&self) -> Option<&str> {
        self.subprotocol.get().map(String::as_str)
    }

    /// The number of the handler's version that serves it; 0 before there is one.
    pub(crate) fn version(&self) -> u32 {
        self.version.load(Ordering::Relaxed)
    }

    pub(crate) fn set_version(&self, number: u32) {
        self.version.store(number, Ordering::Relaxed);
    }

    /// How many changes of version it has dealt with.
    pub(crate) fn changes_seen(&self) -> u64 {
        self.changes_seen.load(Ordering::Acquire)
    }

    pub(crate) fn set_changes_seen(&self, changes: u64) {
        self.changes_seen.store(changes, Ordering::Release);
    }

    /// Only once, before the 101.
    pub(crate) fn select_subprotocol(&self, subprotocol: String) {
        self.subprotocol.get_or_init(|| subprotocol);
    }

    /// None where messages go uncompressed, or share a context.
    pub(crate) fn ready_made(&self) -> Option<ReadyMade> {
        self.ready_made.get().copied()
    }

    /// Only once, before the 101.
    pub(crate) fn take_ready_made(&self, ready_made: ReadyMade) {
        self.ready_made.get_or_init(|| ready_made);
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `action` on the state and then wakes the loop, if it sleeps.
    fn act<R>(&self, action: impl FnOnce(&mut State) -> Result<R, LinkError>) -> Result<R, LinkError> {
        let mut guard = self.lock();
        let state = guard.as_mut().ok_or(LinkError::Closed)?;
        let result = action(state)?;
        self.touched.store(true, Ordering::Release);
        let sleeper = state.sleeper.take();
        drop(guard);
        if let Some(waker) = sleeper {
            waker.wake();
        }
        Ok(result)
    }

    /// What the tenant had no memory for when the queue, a topic or a timer last needed some.
    pub(crate) fn lacked_memory(&self) -> Option<usize> {
        self.lock().as_ref()?.lacked_memory
    }

    // What guests do.

    /// Queues a message, whoever it is from.
    pub(crate) fn write(&self, message: Message) -> Result<(), LinkError> {
        self.act(|state| state.enqueue_for_guest(message))
    }

    /// Queues a published message, which may be compressed already. At a full queue it is not delivered, which is counted, and the
    /// connection goes on or closes as the route's `slow-consumer` says. Returns whether it is the first that is not delivered.
    pub(crate) fn deliver_published(&self, message: Message, plain_bytes: usize) -> bool {
        let result = self.act(|state| match state.enqueue(message, plain_bytes) {
            Err(error @ (LinkError::BufferFull | LinkError::Limit(_))) => {
                let drops = self.traffic.count_published_drop();
                // What is larger than its route allows says nothing of the subscriber.
                if error == LinkError::BufferFull && state.slow_consumer == SlowConsumer::Close {
                    state.close(Closing::Host(CloseCause::SlowConsumer))?;
                }
                Ok(drops)
            }
            other => other.map(|()| 0),
        });
        result == Ok(1)
    }

    /// A ping has at most 125 bytes (RFC 6455 section 5.5).
    pub(crate) fn ping(&self, data: Vec<u8>) -> Result<(), LinkError> {
        if data.len() > 125 {
            return Err(LinkError::Invalid(format!(
                "a ping has at most 125 bytes, this one has {}",
                data.len()
            )));
        }
        self.act(|state| state.enqueue_for_guest(Message::Ping(Bytes::from(data))))
    }

    /// Starts the closing handshake after what is queued; a second call changes nothing.
    pub(crate) fn close(&self, closing: Closing) -> Result<(), LinkError> {
        self.act(|state| state.close(closing))
    }

    pub(crate) fn buffered_amount(&self) -> u32 {
        self.lock()
            .as_ref()
            .map_or(0, |state| u32::try_from(state.unsent.bytes).unwrap_or(u32::MAX).min(i32::MAX as u32))
    }

    pub(crate) fn set_nodelay(&self, value: bool) -> Result<(), LinkError> {
        self.act(|state| {
            state.check_open()?;
            state.nodelay = Some(value);
            Ok(())
        })
    }

    /// Resolves when everything that is queued now has been handed to the network; what others queue meanwhile is not waited for.
    /// The caller bounds the time.
    ///
    /// Cancel safety: nothing is lost.
    pub(crate) async fn flush(&self) -> Result<(), LinkError> {
        let mut last = None;
        poll_fn(|cx| self.poll_flushed(cx, &mut last)).await
    }

    /// `last` is the number of the last message that is waited for; set by the first poll.
    fn poll_flushed(&self, cx: &mut Context<'_>, last: &mut Option<u64>) -> Poll<Result<(), LinkError>> {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return Poll::Ready(Err(LinkError::Closed)) };
        state.check_open()?;
        let last = *last.get_or_insert(state.queued_messages);
        if state.sent_messages() >= last {
            return Poll::Ready(Ok(()));
        }
        if state.ended {
            // It may still leave; a peer that has closed need not take it.
            return Poll::Ready(Err(LinkError::Closed));
        }
        if !state.flushers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.flushers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Ready when the peer will send nothing more, or the connection is gone.
    pub(crate) fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut().filter(|state| !state.ended) else { return Poll::Ready(()) };
        if !state.end_waiters.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.end_waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether the peer will send nothing more, or the connection is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().as_ref().is_none_or(|state| state.ended)
    }

    /// A flush has been given up.
    pub(crate) fn note_stalled(&self) {
        if let Some(state) = self.lock().as_mut() {
            state.stalled_at = Some(state.sent_messages());
        }
    }

    /// Nothing has been handed to the network since a flush was given up.
    pub(crate) fn is_stalled(&self) -> bool {
        self.lock().as_ref().is_some_and(|state| state.stalled_at == Some(state.sent_messages()))
    }

    /// Records a subscription; true if it is new. Only [`Topics`] calls it, under its own lock.
    pub(crate) fn add_topic(&self, topic: &str) -> Result<bool, LinkError> {
        let mut guard = self.lock();
        let state = guard.as_mut().ok_or(LinkError::Closed)?;
        state.check_open()?;
        if topic.is_empty() || topic.len() > state.bounds.topic_bytes {
            return Err(LinkError::Invalid(format!("a topic has 1 to {} bytes", state.bounds.topic_bytes)));
        }
        if state.topics.contains(topic) {
            return Ok(false);
        }
        if state.topics.len() >= state.bounds.topics {
            return Err(LinkError::Limit("max-topics".into()));
        }
        if !state.take_memory(topic_bytes(topic)) {
            return Err(LinkError::Limit("max-memory-bytes".into()));
        }
        state.topics.insert(topic.to_owned());
        state.topic_bytes += topic_bytes(topic);
        Ok(true)
    }

    pub(crate) fn remove_topic(&self, topic: &str) {
        if let Some(state) = self.lock().as_mut()
            && state.topics.remove(topic)
        {
            state.topic_bytes -= topic_bytes(topic);
            state.give_memory_back();
        }
    }

    /// An earlier timer with the token is replaced.
    pub(crate) fn set_timer(&self, token: u32, delay: Duration) -> Result<(), LinkError> {
        self.act(|state| {
            state.check_open()?;
            if !state.timers.contains(token) {
                if state.timers.len() >= state.bounds.timers {
                    return Err(LinkError::Limit("max-timers".into()));
                }
                if !state.take_memory(TIMER_BYTES) {
                    return Err(LinkError::Limit("max-memory-bytes".into()));
                }
            }
            state.timers.set(token, Instant::now() + delay);
            Ok(())
        })
    }

    pub(crate) fn clear_timer(&self, token: u32) {
        if let Some(state) = self.lock().as_mut() {
            state.timers.clear(token);
            state.give_memory_back();
        }
    }

    /// Wakes the loop: there is something that it must look at.
    pub(crate) fn nudge(&self) {
        // What has ended need not look.
        let _ = self.act(|_| Ok(()));
    }

    // What the loop does.

    /// What to do next; [`Errand::Sleep`] has stored the waker.
    pub(crate) fn next_errand(&self, cx: &Context<'_>, now: impl FnOnce() -> Instant) -> Errand {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return Errand::Sleep(None) };
        if state.has_work() {
            return Errand::Write;
        }
        let mut writable_at = None;
        if state.refused && matches!(state.ending, Ending::Open) && state.half_free() {
            writable_at = state.out_of_memory_until.filter(|until| *until > Instant::now());
            if writable_at.is_none() {
                state.refused = false;
                state.out_of_memory_until = None;
                return Errand::Writable;
            }
        }
        if let Some(token) = state.timers.take_due(now) {
            return Errand::Timer(token);
        }
        state.sleep(cx);
        Errand::Sleep(state.timers.next().into_iter().chain(writable_at).min())
    }

    /// The loop runs, and will look for itself: what guests do now need not wake it.
    pub(crate) fn wake_up(&self) {
        if let Some(state) = self.lock().as_mut() {
            state.sleeper = None;
        }
    }

    /// Whether there is something to write; if not, the waker is stored. For a loop whose handler is busy: timers and
    /// `on-writable` keep.
    pub(crate) fn next_write(&self, cx: &Context<'_>) -> bool {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return false };
        let work = state.has_work();
        if !work {
            state.sleep(cx);
        }
        work
    }

    /// Moves what is queued to the loop's own queue.
    pub(crate) fn take(&self, outgoing: &mut VecDeque<Message>) -> Taken {
        if !self.touched.swap(false, Ordering::AcqRel) {
            return Taken::default();
        }
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return Taken::default() };
        outgoing.append(&mut state.queue);
        let closing = match &mut state.ending {
            Ending::Closing(closing) => closing.take(),
            Ending::Open | Ending::Closed => None,
        };
        Taken { closing, nodelay: state.nodelay.take() }
    }

    /// What was taken has been handed to the network.
    pub(crate) fn settle(&self, sent: Unsent) {
        if let Some(state) = self.lock().as_mut() {
            state.unsent.bytes = state.unsent.bytes.saturating_sub(sent.bytes);
            state.unsent.messages = state.unsent.messages.saturating_sub(sent.messages);
            state.give_memory_back();
            state.wake_flushers();
        }
    }

    /// The peer will send nothing more: nobody waits for what it might do.
    pub(crate) fn note_ended(&self) {
        if let Some(state) = self.lock().as_mut() {
            state.end();
        }
    }

    /// Nothing more will be taken from guests: whoever waits or writes is told `closed`, and timers no longer fire. What is
    /// queued may still leave.
    pub(crate) fn refuse_writes(&self) {
        if let Some(state) = self.lock().as_mut() {
            state.ending = Ending::Closed;
            state.timers.clear_all();
            state.wake_flushers();
            state.end();
        }
    }

    /// Nothing that is queued can leave any more.
    pub(crate) fn discard_queue(&self) {
        if let Some(state) = self.lock().as_mut() {
            state.queue.clear();
            state.unsent = Unsent::default();
            state.give_memory_back();
        }
    }

    /// The connection has ended: everything that was held for it goes.
    pub(crate) fn end(&self, topics: &Topics) {
        let state = self.lock().take();
        if let Some(mut state) = state {
            state.wake_flushers();
            state.end();
            topics.forget(self, state.topics);
        }
    }
}

impl State {
    fn check_open(&self) -> Result<(), LinkError> {
        if matches!(self.ending, Ending::Open) { Ok(()) } else { Err(LinkError::Closed) }
    }

    fn close(&mut self, closing: Closing) -> Result<(), LinkError> {
        match self.ending {
            Ending::Open => {
                self.ending = Ending::Closing(Some(closing));
                self.wake_flushers();
                Ok(())
            }
            Ending::Closing(_) => Ok(()),
            Ending::Closed => Err(LinkError::Closed),
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.wake_flushers();
        for waker in self.end_waiters.drain(..) {
            waker.wake();
        }
    }

    /// Messages that were ever handed to the network.
    fn sent_messages(&self) -> u64 {
        self.queued_messages - self.unsent.messages as u64
    }

    /// A guest that is refused is told when there is room again.
    fn enqueue_for_guest(&mut self, message: Message) -> Result<(), LinkError> {
        let plain_bytes = message.len();
        let result = self.enqueue(message, plain_bytes);
        self.refused |= result == Err(LinkError::BufferFull);
        result
    }

    fn enqueue(&mut self, message: Message, plain_bytes: usize) -> Result<(), LinkError> {
        self.check_open()?;
        let bytes = message.len();
        if plain_bytes > self.bounds.message_bytes {
            return Err(LinkError::Limit("max-message-bytes".into()));
        }
        if plain_bytes > self.bounds.queue_bytes {
            return Err(LinkError::Limit("max-queue-bytes".into()));
        }
        let too_many = (self.unsent.messages + 1) * QUEUE_ENTRY_BYTES > self.bounds.queue_bytes;
        if too_many || self.unsent.bytes + bytes > self.bounds.queue_bytes {
            return Err(LinkError::BufferFull);
        }
        if !self.take_memory(bytes) {
            self.out_of_memory_until = Some(Instant::now() + MEMORY_PAUSE);
            return Err(LinkError::BufferFull);
        }
        self.unsent.add(&message);
        self.queued_messages += 1;
        self.queue.push_back(message);
        Ok(())
    }

    /// What the connection takes of the tenant's memory with so much more in its queue, its topics or its timers.
    fn memory_bytes(&self, more: usize) -> usize {
        let queue = self.unsent.bytes + self.unsent.messages * QUEUE_ENTRY_BYTES;
        let held = queue + self.topic_bytes + self.timers.len() * TIMER_BYTES + more;
        match held.checked_sub(FREE_HELD_BYTES) {
            None | Some(0) => CONNECTION_BYTES,
            Some(beyond) => CONNECTION_BYTES + beyond.next_multiple_of(MEMORY_STEP_BYTES),
        }
    }

    fn take_memory(&mut self, more: usize) -> bool {
        let bytes = self.memory_bytes(more);
        let taken = bytes <= self.memory.bytes() || self.memory.resize(bytes);
        self.lacked_memory = (!taken).then(|| bytes - self.memory.bytes());
        taken
    }

    /// What comes and goes is kept.
    fn give_memory_back(&mut self) {
        let bytes = self.memory_bytes(0);
        if self.memory.bytes() >= bytes + 2 * MEMORY_STEP_BYTES {
            // Less is always there.
            let _ = self.memory.resize(bytes);
        }
    }

    /// The loop sleeps until something is done to the state.
    fn sleep(&mut self, cx: &Context<'_>) {
        if !self.sleeper.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.sleeper = Some(cx.waker().clone());
        }
    }

    fn half_free(&self) -> bool {
        let bound = self.bounds.queue_bytes / 2;
        self.unsent.bytes <= bound && self.unsent.messages * QUEUE_ENTRY_BYTES <= bound
    }

    fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.nodelay.is_some() || matches!(self.ending, Ending::Closing(Some(_)))
    }

    fn wake_flushers(&mut self) {
        for waker in self.flushers.drain(..) {
            waker.wake();
        }
    }
}

/// 128 random bits: unguessable, and unique without asking anybody.
fn random_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::compression::Budget;

    fn link(max_queue_bytes: usize) -> Link {
        let limits = Limits {
            max_queue_bytes,
            max_message_bytes: 1000,
            max_timers: 1,
            max_topics: 1,
            ..Limits::default()
        };
        Link::new(&limits, SlowConsumer::Drop, Reservation::default())
    }

    fn asleep(link: &Link) -> Errand {
        link.next_errand(&Context::from_waker(Waker::noop()), Instant::now)
    }

    #[test]
    fn a_queue_takes_exactly_its_bytes_and_not_one_more() {
        let link = link(1000);
        assert_eq!(link.write(Message::text("x".repeat(999))), Ok(()));
        assert_eq!(link.write(Message::text("yy")), Err(LinkError::BufferFull));
        assert_eq!(link.write(Message::text("y")), Ok(()));
        assert_eq!(link.buffered_amount(), 1000);
        assert_eq!(link.write(Message::text("y")), Err(LinkError::BufferFull));
    }

    #[test]
    fn a_message_that_could_never_fit_is_a_limit_and_not_a_full_buffer() {
        assert_eq!(
            link(2000).write(Message::text("x".repeat(1001))),
            Err(LinkError::Limit("max-message-bytes".into()))
        );
        assert_eq!(
            link(500).write(Message::text("x".repeat(501))),
            Err(LinkError::Limit("max-queue-bytes".into()))
        );
    }

    #[test]
    fn empty_messages_do_not_pile_up_without_bound() {
        let link = link(640);
        let queued = (0..1000).take_while(|_| link.write(Message::text("")).is_ok()).count();
        assert_eq!(queued, 10);
    }

    #[test]
    fn writable_is_told_once_when_half_the_queue_is_free() {
        let link = link(1000);
        let mut outgoing = VecDeque::new();
        link.write(Message::text("x".repeat(600))).expect("room");
        link.write(Message::text("x".repeat(400))).expect("room");
        link.write(Message::text("x")).expect_err("full");
        assert_eq!(asleep(&link), Errand::Write);
        link.take(&mut outgoing);
        link.settle(Unsent { messages: 1, bytes: 400 });
        assert_eq!(asleep(&link), Errand::Sleep(None));
        link.settle(Unsent { messages: 1, bytes: 600 });
        assert_eq!(asleep(&link), Errand::Writable);
        assert_eq!(asleep(&link), Errand::Sleep(None));
    }

    #[test]
    fn after_close_writes_are_closed_and_what_was_queued_still_goes_out() {
        let link = link(1000);
        link.write(Message::text("last words")).expect("room");
        link.close(Closing::Handler(CloseRequest::new(None, None).expect("valid"))).expect("open");
        link.close(Closing::Host(CloseCause::GoingAway)).expect("a second close changes nothing");
        assert_eq!(link.write(Message::text("more")), Err(LinkError::Closed));
        let mut outgoing = VecDeque::new();
        assert!(matches!(link.take(&mut outgoing).closing, Some(Closing::Handler(_))));
        assert_eq!(outgoing.len(), 1);
        assert!(link.take(&mut outgoing).closing.is_none());
    }

    #[tokio::test]
    async fn a_flush_waits_for_what_was_queued_before_it_and_no_longer() {
        let link = link(1000);
        let mut outgoing = VecDeque::new();
        link.write(Message::text("one")).expect("room");
        let mut flush = std::pin::pin!(link.flush());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(flush.as_mut().poll(&mut cx).is_pending());
        link.write(Message::text("two")).expect("room");
        link.take(&mut outgoing);
        link.settle(Unsent { messages: 1, bytes: 3 });
        assert_eq!(flush.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_timer_is_replaced_by_its_token_and_bounded_in_number() {
        let link = link(1000);
        link.set_timer(1, Duration::from_secs(60)).expect("room");
        link.set_timer(1, Duration::ZERO).expect("replaced");
        assert_eq!(link.set_timer(2, Duration::ZERO), Err(LinkError::Limit("max-timers".into())));
        assert_eq!(asleep(&link), Errand::Timer(1));
        assert_eq!(asleep(&link), Errand::Sleep(None));
    }

    #[test]
    fn topics_and_timers_take_memory_beyond_what_each_connection_has_and_give_it_back() {
        let budget = Budget::of(CONNECTION_BYTES + 4 * MEMORY_STEP_BYTES);
        let limits = Limits { max_timers: u32::MAX, max_topics: u32::MAX, ..Limits::default() };
        let memory = budget.reserve(CONNECTION_BYTES).expect("room");
        let link = Link::new(&limits, SlowConsumer::Drop, memory);
        let free = u32::try_from(FREE_HELD_BYTES / TIMER_BYTES).expect("a few");
        (0..free).for_each(|token| link.set_timer(token, Duration::from_secs(60)).expect("room"));
        assert_eq!(budget.used(), CONNECTION_BYTES);
        let set = (free..u32::MAX).take_while(|token| link.set_timer(*token, Duration::ZERO).is_ok()).count();
        assert_eq!(set, 4 * MEMORY_STEP_BYTES / TIMER_BYTES);
        let full = Err(LinkError::Limit("max-memory-bytes".into()));
        assert_eq!(link.set_timer(u32::MAX, Duration::ZERO), full);
        assert_eq!(link.set_timer(0, Duration::ZERO), Ok(()), "an earlier one is replaced");
        assert_eq!(link.add_topic("news"), Err(LinkError::Limit("max-memory-bytes".into())));
        let set = u32::try_from(set).expect("a few");
        (free..free + set).for_each(|token| link.clear_timer(token));
        assert!(budget.used() < CONNECTION_BYTES + 2 * MEMORY_STEP_BYTES);
        // The same of topics, with names of a kilobyte.
        let name = |number: u32| format!("{number:0>1024}");
        let limits = Limits { max_topic_bytes: 1024, ..limits };
        let memory = Budget::of(CONNECTION_BYTES + MEMORY_STEP_BYTES);
        let link = Link::new(&limits, SlowConsumer::Drop, memory.reserve(CONNECTION_BYTES).expect("room"));
        let added = (0..).take_while(|number| link.add_topic(&name(*number)).is_ok()).count();
        assert_eq!(added, (FREE_HELD_BYTES + MEMORY_STEP_BYTES) / (TOPIC_ENTRY_BYTES + 2048));
    }

    #[test]
    fn an_ended_connection_answers_closed_and_keeps_its_id() {
        let link = link(1000);
        let id = link.id().to_owned();
        link.end(&Topics::default());
        assert_eq!(link.write(Message::text("x")), Err(LinkError::Closed));
        assert_eq!(link.buffered_amount(), 0);
        assert_eq!(link.id(), id);
        assert_eq!(id.len(), 32);
    }
}
