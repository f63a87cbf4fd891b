//! One open connection: the loop between its socket and its handler.
//!
//! Inputs: frames from the socket; what guests do to the [`Link`] (writes, timers, close); what outgoing connections have brought; the
//! clocks of the [`Watch`]. Output: one call at a time to the handler. No channel lies between: while a call runs, the loop polls the
//! socket and the call side by side, so a guest that waits or is made to yield freezes neither pings nor close. Meanwhile it reads ahead
//! only a little; then it stops reading, and TCP slows the peer down.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::connection::close::CloseCause;
use crate::connection::inbox::{Arrival, Inbox};
use crate::connection::link::{Errand, Link};
use crate::connection::outgoing::Outgoings;
use crate::connection::socket::Socket;
use crate::connection::watch::{Timeouts, Watch};
use crate::connection::wire::{Ended, Wire};
use crate::instance::seat::Seat;
use crate::instance::{Answer, Call, CallFailure};
use crate::limits::permits::Permits;
use crate::server::routes::Route;
use crate::swap::{Succession, Turn};

/// Calls in a row before the loop flushes and lets other tasks run.
const BATCH: u32 = 64;
/// How long such a batch may take.
const BATCH_TIME: std::time::Duration = std::time::Duration::from_millis(1);

/// A peer that is not read is looked at so often, whether it is still there.
const UNREAD_LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// See the module.
pub(crate) struct Connection<S> {
    wire: Wire<S>,
    link: Arc<Link>,
    outgoings: Arc<Outgoings>,
    route: Arc<Route>,
    /// None where the instance looks after itself.
    succession: Option<Succession>,
    /// The last call was about an outgoing connection: the peer's turn.
    peers_turn: bool,
    inbox: Inbox,
    /// Bytes of the message that the handler is dealing with.
    in_hand: usize,
    watch: Watch,
    /// None once the socket is closed, even while the handler still deals with something.
    permits: Option<Permits>,
}

/// What the loop does next.
enum Step {
    Call(Call),
    /// Another version of the handler is to go on.
    Succeed(Turn),
    /// The connection has ended, and nothing that arrived before is left.
    End(Ended),
}

impl<S: Socket> Connection<S> {
    /// Boxed, because a future holds what it is given twice.
    pub(crate) fn new(
        wire: Wire<S>,
        link: Arc<Link>,
        outgoings: Arc<Outgoings>,
        route: Arc<Route>,
        permits: Option<Permits>,
    ) -> Box<Self> {
        let watch = Watch::new(Timeouts::of(&route.limits));
        let (peers_turn, inbox, in_hand) = (true, Inbox::default(), 0);
        let succession = None;
        Box::new(Self {
            wire,
            link,
            outgoings,
            route,
            succession,
            peers_turn,
            inbox,
            in_hand,
            watch,
            permits,
        })
    }

    /// Serves the connection from `open` to `on-close`. Returns how it ended.
    ///
    /// Cancel safety: dropping the future drops the socket without a close frame; the handler is not told.
    pub(crate) async fn run(mut self: Box<Self>, mut seat: Seat) -> Ended {
        self.succession = seat.succession();
        let served = self.serve(&mut seat).await;
        // Its turn, if it has one, is for others.
        self.succession = None;
        // Boxed: an open connection does not pay for its ending.
        Box::pin(self.finish(seat, served)).await
    }

    /// `on-close` and the closing handshake.
    async fn finish(self: Box<Self>, mut seat: Seat, served: Result<Ended, CallFailure>) -> Ended {
        let timeout = self.route.limits.close_timeout;
        let Self { wire, link, outgoings, permits, .. } = *self;
        let finish = async |wire: Wire<S>, cause| {
            wire.finish(cause, &link, timeout).await;
            drop(permits);
        };
        match served {
            Ok(ended) => {
                link.refuse_writes();
                outgoings.refuse();
                let on_close = async {
                    // A failure has been logged; the connection is over either way.
                    if seat.call(Call::Close(ended.frame.clone())).await.is_ok() {
                        seat.give_back().await;
                    }
                };
                tokio::join!(finish(wire, ended.cause), on_close);
                ended
            }
            Err(failure) => {
                drop(seat);
                let cause = CloseCause::from(failure);
                finish(wire, cause).await;
                Ended { cause, frame: None }
            }
        }
    }

    async fn serve(&mut self, seat: &mut Seat) -> Result<Ended, CallFailure> {
        self.outgoings.open();
        self.deliver(seat, Call::Open).await?;
        let mut batch = 0;
        let mut batch_began = Instant::now();
        loop {
            let mut slept = false;
            let step = poll_fn(|cx| {
                let step = self.poll_step(cx);
                slept |= step.is_pending();
                step
            })
            .await;
            if slept {
                self.link.wake_up();
                batch = 0;
                batch_began = Instant::now();
            }
            match step {
                Step::Call(Call::Arrived(arrival)) => {
                    self.in_hand = arrival.len();
                    self.count_bytes();
                    self.deliver(seat, Call::Arrived(arrival)).await?;
                    self.in_hand = 0;
                    self.count_bytes();
                }
                Step::Call(call) => {
                    self.deliver(seat, call).await?;
                }
                // Boxed: it is seldom, and large.
                Step::Succeed(turn) => Box::pin(self.succeed(seat, turn)).await?,
                Step::End(ended) => return Ok(ended),
            }
            batch += 1;
            if batch == BATCH || (batch % 8 == 0 && batch_began.elapsed() >= BATCH_TIME) {
                batch = 0;
                self.pause(seat).await?;
                batch_began = Instant::now();
            }
        }
    }

    /// Lets another version go on, if it can. Until then nothing that arrives is lost, nor what guests and topics write.
    async fn succeed(&mut self, seat: &mut Seat, turn: Turn) -> Result<(), CallFailure> {
        let again = self.attend(seat.take_turn(turn)).await?;
        if let Some(succession) = &mut self.succession {
            succession.postpone(again);
            self.link.set_changes_seen(succession.changes_seen());
        }
        Ok(())
    }

    /// Flushes and lets other tasks run; what a busy peer would keep waiting (timers, `on-writable`) gets its turn.
    async fn pause(&mut self, seat: &mut Seat) -> Result<(), CallFailure> {
        poll_fn(|cx| Poll::Ready(self.wire.poll_write(cx, &self.link).is_ready())).await;
        tokio::task::yield_now().await;
        let reads = self.reads();
        self.watch.check(&mut self.wire, &self.link, reads);
        let errand = poll_fn(|cx| Poll::Ready(self.link.next_errand(cx, Instant::now))).await;
        if let Some(call) = errand_call(&errand) {
            self.deliver(seat, call).await?;
        }
        Ok(())
    }

    /// The next call; while there is none, everything that is to be written is written. The peer and the outgoing connections take
    /// turns; what each has brought comes in order.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.let_go();
        if let Some(ended) = self.wire.ended()
            && self.inbox.is_empty()
        {
            return Poll::Ready(Step::End(ended.clone()));
        }
        if let Poll::Ready(turn) = self.poll_succession(cx) {
            return Poll::Ready(Step::Succeed(turn));
        }
        if !std::mem::replace(&mut self.peers_turn, false)
            && let Poll::Ready(step) = self.poll_outgoings(cx)
        {
            return Poll::Ready(step);
        }
        if let Some(arrival) = self.inbox.pop() {
            return Poll::Ready(Step::Call(Call::Arrived(arrival)));
        }
        // Before the next frame is read: it may be the peer's close, after which an answer to what came before could not be sent.
        let _ = self.wire.poll_feed(cx, &self.link);
        match self.wire.poll_read(cx, &self.link) {
            Poll::Ready(Some(arrival)) => {
                if let Arrival::Ping(_) = arrival {
                    // The pong is sent before the handler hears of the ping.
                    let _ = self.wire.poll_write(cx, &self.link);
                }
                return Poll::Ready(Step::Call(Call::Arrived(arrival)));
            }
            Poll::Ready(None) => {
                if let Some(ended) = self.wire.ended() {
                    return Poll::Ready(Step::End(ended.clone()));
                }
            }
            Poll::Pending => {}
        }
        if let Poll::Ready(step) = self.poll_outgoings(cx) {
            return Poll::Ready(step);
        }
        loop {
            // Pending: what has been taken waits for the socket, which wakes this task.
            let _ = self.wire.poll_write(cx, &self.link);
            let errand = self.link.next_errand(cx, Instant::now);
            match errand {
                Errand::Write => {}
                Errand::Writable => return Poll::Ready(Step::Call(Call::Writable)),
                Errand::Timer(token) => return Poll::Ready(Step::Call(Call::Timer(token))),
                Errand::Sleep(next_timer) => {
                    // Who is told of a new version from here on is woken; who was told before must not sleep over it.
                    if let Poll::Ready(turn) = self.poll_succession(cx) {
                        return Poll::Ready(Step::Succeed(turn));
                    }
                    let reads = self.reads();
                    ready!(self.watch.poll(cx, &mut self.wire, &self.link, reads, next_timer));
                    if let Some(ended) = self.wire.ended() {
                        return Poll::Ready(Step::End(ended.clone()));
                    }
                }
            }
        }
    }

    /// Ready when another version is to go on. Who leaves need not go over.
    fn poll_succession(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let Some(succession) = self.succession.as_mut().filter(|succession| succession.must_look()) else {
            return Poll::Pending;
        };
        if self.wire.ended().is_some() {
            return Poll::Pending;
        }
        let turn = succession.poll_turn(self.link.version(), cx);
        if turn.is_pending() {
            self.link.set_changes_seen(succession.changes_seen());
        }
        turn
    }

    /// Whether the peer is read. If it is not, its pong may lie among what it has sent.
    fn reads(&self) -> bool {
        self.inbox.has_room() && !self.wire.is_paused()
    }

    /// What is held of the peer's messages takes memory.
    fn count_bytes(&mut self) {
        self.wire.hold(self.inbox.bytes() + self.in_hand);
    }

    /// Lets go of a peer that is gone, and of what a peer has sent that nobody is to be told of any more; true if there was a change.
    fn let_go(&mut self) -> bool {
        if self.wire.is_gone() {
            self.permits = None;
        }
        let lets_go = self.wire.is_over() && self.wire.discard_arrivals();
        if lets_go {
            self.inbox.clear();
            self.count_bytes();
        }
        lets_go
    }

    fn poll_outgoings(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let (id, event) = ready!(self.outgoings.poll_event(cx));
        self.peers_turn = true;
        Poll::Ready(Step::Call(Call::Client(id, event)))
    }

    /// Asks the handler, and meanwhile keeps the socket going.
    async fn deliver(&mut self, seat: &mut Seat, call: Call) -> Result<Answer, CallFailure> {
        self.attend(seat.call(call)).await
    }

    /// Waits for what its instance does, and meanwhile keeps the socket going.
    async fn attend<R>(&mut self, work: impl Future<Output = R>) -> R {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = work.as_mut().poll(cx) {
                return Poll::Ready(answer);
            }
            self.poll_background(cx);
            Poll::Pending
        })
        .await
    }

    /// What goes on while the handler waits or has yielded: reading ahead, pongs, writing, the peer's close.
    fn poll_background(&mut self, cx: &mut Context<'_>) {
        if let Some(succession) = &mut self.succession {
            succession.let_others_pass(cx);
        }
        loop {
            self.poll_socket(cx);
            // What is thrown away is read on.
            if !self.let_go() {
                break;
            }
        }
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>) {
        while self.inbox.has_room() {
            match self.wire.poll_read_ahead(cx, &self.link) {
                Poll::Ready(Some(arrival)) => {
                    self.inbox.push(arrival);
                    self.count_bytes();
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        self.wire.look_behind_close(cx, &self.link);
        let reads = self.reads();
        let mut look_again = None;
        if !reads && self.wire.ended().is_none() {
            self.wire.look_without_reading(&self.link);
            look_again = Some(Instant::now() + UNREAD_LOOK);
        }
        loop {
            let written = self.wire.poll_write(cx, &self.link);
            // Timers wait until the handler is free; only new output matters now.
            if written.is_ready() && self.link.next_write(cx) {
                continue;
            }
            if self.watch.poll(cx, &mut self.wire, &self.link, reads, look_again).is_pending() {
                break;
            }
        }
    }
}

fn errand_call(errand: &Errand) -> Option<Call> {
    match errand {
        Errand::Writable => Some(Call::Writable),
        Errand::Timer(token) => Some(Call::Timer(*token)),
        Errand::Write | Errand::Sleep(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::net::TcpStream;
    use tungstenite_deflate::DeflateStream;

    use super::*;
    use crate::connection::link::OBJECT_BYTES;
    use crate::connection::socket::Counted;
    use crate::connection::wire::BUFFER_BYTES;
    use crate::server::request::Request;

    /// What a future takes, without one.
    fn of_future<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// If this fails, somebody has made a connection larger: raise [`OBJECT_BYTES`], which every connection is charged, or make it smaller.
    #[test]
    fn what_every_connection_is_charged_covers_its_objects_and_buffers() {
        type Plain = Counted<TcpStream>;
        type Compressed = DeflateStream<Plain>;
        let task = size_of::<Connection<Compressed>>().max(size_of::<Connection<Plain>>())
            + of_future(Connection::<Compressed>::run).max(of_future(Connection::<Plain>::run));
        // The socket's entries in the runtime and the register, the header map of its request, and what the allocator rounds up.
        let around = 4 << 10;
        let objects = size_of::<Link>() + size_of::<Outgoings>() + size_of::<Request>() + size_of::<Route>();
        let sum = task + objects + BUFFER_BYTES + around;
        assert!(sum <= OBJECT_BYTES, "{sum}: task {task}, objects {objects}, buffers {BUFFER_BYTES}");
        assert!(sum >= OBJECT_BYTES / 2, "{sum} of {OBJECT_BYTES}: more is charged than anybody takes");
    }
}
