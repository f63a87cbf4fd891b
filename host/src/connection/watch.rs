//! The clocks of one open connection: pings and their answers, idle time, life time, a peer that takes nothing, a closing
//! handshake that nobody answers.
//!
//! What happens to the connection is not noted with a time as it happens: the wire counts, and whoever drives it lets the watch look
//! when a task wakes up. So a message costs no clock. The one timer is set to the earliest deadline, and left alone as long as it
//! rings early enough.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::connection::close::CloseCause;
use crate::connection::link::{Closing, Link};
use crate::connection::socket::Socket;
use crate::connection::wire::Wire;
use crate::limits::{Limits, MIN_TIMEOUT};

/// How long what may take. Zero for the first two and none for the others: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) ping_interval: Duration,
    /// At most `ping_interval`.
    pub(crate) pong_timeout: Duration,
    pub(crate) idle: Option<Duration>,
    pub(crate) life: Option<Duration>,
    pub(crate) write: Duration,
    pub(crate) close: Duration,
}

impl Timeouts {
    pub(crate) fn of(limits: &Limits) -> Self {
        // Whoever set them, they do not keep the host busy.
        let not_too_often = |time: Duration| if time.is_zero() { time } else { time.max(MIN_TIMEOUT) };
        let ping_interval = not_too_often(limits.ping_interval);
        Self {
            ping_interval,
            pong_timeout: not_too_often(limits.pong_timeout.within(ping_interval)),
            idle: limits.idle_timeout,
            life: limits.life_time,
            write: limits.write_timeout,
            close: limits.close_timeout,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Watch {
    timeouts: Timeouts,
    opened: Instant,
    /// Messages that had passed when the watch last looked, and since when there has been none.
    messages: u64,
    silent_since: Instant,
    /// Bytes that had left, and since when the peer has taken none of those that wait.
    written_bytes: u64,
    stuck_since: Option<Instant>,
    /// Since when our close frame waits or has been sent.
    closing_since: Option<Instant>,
    /// When the next ping is due.
    next_ping: Instant,
    awaited: Option<AwaitedPong>,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// A ping that was sent.
#[derive(Debug)]
struct AwaitedPong {
    since: Instant,
    /// Pongs that had come before it.
    pongs: u64,
    /// For some of the time nobody read, because the handler was busy or the peer sent more than it may: the pong may lie among what it
    /// sent.
    unread: bool,
}

impl Watch {
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        let now = Instant::now();
        Self {
            timeouts,
            opened: now,
            messages: 0,
            silent_since: now,
            written_bytes: 0,
            stuck_since: None,
            closing_since: None,
            next_ping: now + timeouts.ping_interval,
            awaited: None,
            sleep: None,
        }
    }

    /// Ready when a clock has run out and something was done about it: look again. Pending until the next one does, or `wake_at`.
    /// `reads` says whether the peer is being read.
    pub(crate) fn poll<S: Socket>(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire<S>,
        link: &Link,
        reads: bool,
        wake_at: Option<Instant>,
    ) -> Poll<()> {
        let now = Instant::now();
        self.look(now, wire, reads);
        if self.act(now, wire, link) {
            return Poll::Ready(());
        }
        let Some(at) = self.deadlines(wire).into_iter().flatten().chain(wake_at).min() else {
            return Poll::Pending;
        };
        ready!(self.poll_at(cx, at));
        Poll::Ready(())
    }

    /// For a driver that has too much to do to wait: does what is due.
    pub(crate) fn check<S: Socket>(&mut self, wire: &mut Wire<S>, link: &Link, reads: bool) {
        let now = Instant::now();
        self.look(now, wire, reads);
        self.act(now, wire, link);
    }

    /// Ready when `at` has come.
    fn poll_at(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        ready!(sleep.as_mut().poll(cx));
        // It may have been set for an earlier deadline that has moved.
        if at > Instant::now() {
            sleep.as_mut().reset(at);
            ready!(sleep.as_mut().poll(cx));
        }
        Poll::Ready(())
    }

    /// Takes in what has happened.
    fn look<S: Socket>(&mut self, now: Instant, wire: &Wire<S>, reads: bool) {
        if wire.messages() != self.messages {
            self.messages = wire.messages();
            self.silent_since = now;
        }
        let written_bytes = wire.written_bytes();
        let closes = wire.awaits_close();
        if !closes && !wire.is_blocked() {
            self.stuck_since = None;
        } else if self.stuck_since.is_none()
            || written_bytes != self.written_bytes
            || (closes && self.closing_since.is_none())
        {
            // What closes has its own time from there on.
            self.stuck_since = Some(now);
        }
        if closes {
            self.closing_since.get_or_insert(now);
        }
        self.written_bytes = written_bytes;
        if let Some(awaited) = &mut self.awaited {
            awaited.unread |= !reads;
        }
    }

    /// When which clock runs out.
    fn deadlines<S: Socket>(&self, wire: &Wire<S>) -> [Option<Instant>; 5] {
        let Timeouts { ping_interval, pong_timeout, idle, life, write, close } = self.timeouts;
        if wire.ended().is_some() {
            // What came before the peer's close is dealt with, but not for longer than it could have stayed.
            let end = life.map(|life| self.opened + life).filter(|_| !wire.is_gone());
            return [end, None, None, None, None];
        }
        if wire.awaits_close() {
            let patience = self.stuck_since.map(|since| since + close);
            // However little by little it takes what waits before the close frame.
            let end = self.closing_since.map(|since| since + write + close);
            return [patience.into_iter().chain(end).min(), None, None, None, None];
        }
        [
            life.map(|life| self.opened + life),
            idle.map(|idle| self.silent_since + idle),
            self.stuck_since.map(|since| since + write),
            self.awaited.as_ref().map(|awaited| awaited.since + pong_timeout),
            (!ping_interval.is_zero() && self.awaited.is_none()).then_some(self.next_ping),
        ]
    }

    /// Does what is due; true if there was something that the connection's driver must look at.
    fn act<S: Socket>(&mut self, now: Instant, wire: &mut Wire<S>, link: &Link) -> bool {
        let deadlines = self.deadlines(wire).map(|deadline| deadline.is_some_and(|at| at <= now));
        if wire.ended().is_some() {
            if deadlines[0] {
                wire.drop_peer(link, CloseCause::LifeTimeOver);
            }
            return deadlines[0];
        }
        if wire.awaits_close() {
            if deadlines[0] {
                wire.give_up(link);
            }
            return deadlines[0];
        }
        let [life_is_over, was_idle, takes_nothing, pong_is_due, ping_is_due] = deadlines;
        if takes_nothing {
            wire.drop_peer(link, CloseCause::WriteTimeout);
            return true;
        }
        if pong_is_due && let Some(awaited) = &mut self.awaited {
            if awaited.pongs != wire.pongs() {
                self.awaited = None;
                return self.act(now, wire, link);
            }
            if !awaited.unread {
                close(wire, link, CloseCause::PingTimeout);
                return true;
            }
            awaited.since = now;
            awaited.unread = false;
        }
        if life_is_over || was_idle {
            let cause = if life_is_over { CloseCause::LifeTimeOver } else { CloseCause::IdleTimeout };
            close(wire, link, cause);
            return true;
        }
        if ping_is_due {
            self.next_ping = now + self.timeouts.ping_interval;
            // Behind what a peer does not take a ping would only wait, too.
            if !wire.is_blocked() {
                wire.ping();
                self.awaited = (!self.timeouts.pong_timeout.is_zero()).then(|| AwaitedPong {
                    since: now,
                    pongs: wire.pongs(),
                    unread: false,
                });
            }
        }
        ping_is_due
    }
}

fn close<S: Socket>(wire: &mut Wire<S>, link: &Link, cause: CloseCause) {
    if link.close(Closing::Host(cause)).is_err() {
        // Nothing can be queued any more.
        wire.drop_peer(link, cause);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, DuplexStream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::connection::compression::Reservation;
    use crate::connection::socket::Counted;
    use crate::limits::SlowConsumer;

    const SECOND: Duration = Duration::from_secs(1);

    /// No clock but those that a test sets.
    fn no_clocks() -> Timeouts {
        Timeouts {
            ping_interval: Duration::ZERO,
            pong_timeout: Duration::ZERO,
            idle: None,
            life: None,
            write: 1000 * SECOND,
            close: 1000 * SECOND,
        }
    }

    struct Driven {
        wire: Wire<Counted<DuplexStream>>,
        link: Link,
        watch: Watch,
        began: Instant,
    }

    /// Our side of a connection, and the peer's socket, which holds `buffer` bytes that nobody has read.
    async fn connection(timeouts: Timeouts, buffer: usize) -> (Driven, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(buffer);
        let limits = Limits::default();
        let wire = Wire::new(Counted::new(ours), &[], Role::Server, &limits).await;
        let link = Link::new(&limits, SlowConsumer::Drop, Reservation::default());
        (Driven { wire, link, watch: Watch::new(timeouts), began: Instant::now() }, theirs)
    }

    async fn peer(socket: DuplexStream) -> WebSocketStream<DuplexStream> {
        WebSocketStream::from_raw_socket(socket, Role::Client, None).await
    }

    impl Driven {
        /// Drives the connection to its end, or for so long; how it ended, and when, in seconds.
        async fn run(&mut self, reads: bool) -> Option<(CloseCause, u64)> {
            let ended = poll_fn(|cx| {
                let Self { wire, link, watch, .. } = self;
                loop {
                    while reads && wire.poll_read(cx, link).is_ready() {
                        if let Some(ended) = wire.ended() {
                            return Poll::Ready(ended.cause);
                        }
                    }
                    let _ = wire.poll_write(cx, link);
                    if let Some(ended) = wire.ended() {
                        return Poll::Ready(ended.cause);
                    }
                    ready!(watch.poll(cx, wire, link, reads, None));
                }
            });
            let cause = tokio::time::timeout(100 * SECOND, ended).await.ok()?;
            Some((cause, self.began.elapsed().as_secs()))
        }
    }

    /// What the peer is sent, until the connection ends; with the second when it came.
    async fn read_all(mut peer: WebSocketStream<DuplexStream>) -> Vec<(u64, Message)> {
        let began = Instant::now();
        let mut messages = Vec::new();
        while let Some(Ok(message)) = peer.next().await {
            messages.push((began.elapsed().as_secs(), message));
        }
        messages
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_is_pinged_once_an_interval_and_stays() {
        let timeouts = Timeouts { ping_interval: 10 * SECOND, pong_timeout: 4 * SECOND, ..no_clocks() };
        let (mut driven, theirs) = connection(timeouts, 1 << 10).await;
        let reading = tokio::spawn(read_all(peer(theirs).await));
        assert_eq!(driven.run(true).await, None);
        drop(driven);
        let pings: Vec<u64> =
            reading.await.expect("no panic").into_iter().map(|(second, _)| second).collect();
        assert_eq!(pings, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    }

    /// Bytes that a peer is sent that answers nothing.
    async fn swallow(mut peer: DuplexStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = peer.read_to_end(&mut bytes).await;
        bytes
    }

    const PING: [u8; 2] = [0x89, 0];

    #[tokio::test(start_paused = true)]
    async fn a_ping_without_an_answer_closes_the_connection_with_tornados_words() {
        let ping = (10 * SECOND, 4 * SECOND);
        let timeouts =
            Timeouts { ping_interval: ping.0, pong_timeout: ping.1, close: 5 * SECOND, ..no_clocks() };
        let (mut driven, theirs) = connection(timeouts, 1 << 10).await;
        let swallowed = tokio::spawn(swallow(theirs));
        // The ping at 10 s, its time-out at 14 s, and 5 s for an answer to the close frame.
        assert_eq!(driven.run(true).await, Some((CloseCause::PingTimeout, 19)));
        drop(driven);
        let close = [&[0x88, 16, 0x03, 0xe8], b"ping timed out".as_slice()].concat();
        assert_eq!(swallowed.await.expect("no panic"), [&PING[..], &close].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_pong_timeout_nobody_waits_for_pongs() {
        let timeouts = Timeouts { ping_interval: 10 * SECOND, ..no_clocks() };
        let (mut driven, theirs) = connection(timeouts, 1 << 10).await;
        let swallowed = tokio::spawn(swallow(theirs));
        assert_eq!(driven.run(true).await, None);
        drop(driven);
        assert_eq!(swallowed.await.expect("no panic"), PING.repeat(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pong_that_nobody_has_read_yet_is_not_late() {
        let timeouts = Timeouts { ping_interval: 10 * SECOND, pong_timeout: 4 * SECOND, ..no_clocks() };
        let (mut driven, theirs) = connection(timeouts, 1 << 10).await;
        let _swallowed = tokio::spawn(swallow(theirs));
        assert_eq!(driven.run(false).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_ends_after_its_idle_time_and_pings_are_no_messages() {
        let timeouts = Timeouts { ping_interval: 10 * SECOND, idle: Some(30 * SECOND), ..no_clocks() };
        let (mut driven, theirs) = connection(timeouts, 1 << 10).await;
        let mut theirs = peer(theirs).await;
        tokio::spawn(async move {
            tokio::time::sleep(20 * SECOND).await;
            theirs.send(Message::text("still here")).await.expect("it is open");
            read_all(theirs).await
        });
        assert_eq!(driven.run(true).await, Some((CloseCause::IdleTimeout, 50)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_to_a_peer_keeps_its_connection_from_being_idle() {
        let timeouts = Timeouts { idle: Some(30 * SECOND), ..no_clocks() };
        let (mut driven, theirs) = connection(timeouts, 1 << 10).await;
        tokio::spawn(read_all(peer(theirs).await));
        driven.link.write(Message::text("one")).expect("it is open");
        assert_eq!(driven.run(true).await, Some((CloseCause::IdleTimeout, 30)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_when_its_life_time_is_over_whatever_it_does() {
        let timeouts = Timeouts { life: Some(60 * SECOND), idle: Some(61 * SECOND), ..no_clocks() };
        let (mut driven, theirs) = connection(timeouts, 1 << 10).await;
        let mut theirs = peer(theirs).await;
        tokio::spawn(async move {
            for _ in 0..59 {
                tokio::time::sleep(SECOND).await;
                theirs.send(Message::text("busy")).await.expect("it is open");
            }
            read_all(theirs).await
        });
        assert_eq!(driven.run(true).await, Some((CloseCause::LifeTimeOver, 60)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_dropped_and_one_that_takes_something_is_not() {
        let timeouts = Timeouts { write: 30 * SECOND, ..no_clocks() };
        let (mut driven, mut theirs) = connection(timeouts, 100).await;
        driven.link.write(Message::binary(vec![0; 1000])).expect("room");
        tokio::spawn(async move {
            let mut some = [0; 100];
            for _ in 0..2 {
                tokio::time::sleep(20 * SECOND).await;
                theirs.read_exact(&mut some).await.expect("there is more");
            }
            std::future::pending::<()>().await;
        });
        // It takes something at 20 s and at 40 s.
        assert_eq!(driven.run(true).await, Some((CloseCause::WriteTimeout, 70)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_that_nobody_answers_is_given_up_from_the_last_that_was_taken_of_what_came_before() {
        let timeouts = Timeouts { close: 5 * SECOND, ..no_clocks() };
        let (mut driven, mut theirs) = connection(timeouts, 100).await;
        driven.link.write(Message::binary(vec![0; 1000])).expect("room");
        driven.link.close(Closing::Host(CloseCause::GoingAway)).expect("open");
        tokio::spawn(async move {
            tokio::time::sleep(4 * SECOND).await;
            theirs.read_exact(&mut [0; 100]).await.expect("there is more");
            std::future::pending::<()>().await;
        });
        assert_eq!(driven.run(true).await, Some((CloseCause::GoingAway, 9)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_little_again_and_again_does_not_put_off_the_end_for_ever() {
        let timeouts = Timeouts { close: 5 * SECOND, write: 30 * SECOND, ..no_clocks() };
        let (mut driven, mut theirs) = connection(timeouts, 100).await;
        driven.link.write(Message::binary(vec![0; 100_000])).expect("room");
        driven.link.close(Closing::Host(CloseCause::GoingAway)).expect("open");
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(4 * SECOND).await;
                if theirs.read_exact(&mut [0; 100]).await.is_err() {
                    break;
                }
            }
        });
        assert_eq!(driven.run(true).await, Some((CloseCause::GoingAway, 35)));
    }

    #[test]
    fn a_pong_may_take_no_longer_than_it_is_to_the_next_ping() {
        use crate::limits::PongTimeout;
        let pong_timeout = |pong_timeout| {
            Timeouts::of(&Limits { ping_interval: 10 * SECOND, pong_timeout, ..Limits::default() })
                .pong_timeout
        };
        assert_eq!(pong_timeout(PongTimeout::Interval), 10 * SECOND);
        assert_eq!(pong_timeout(PongTimeout::Of(4 * SECOND)), 4 * SECOND);
        assert_eq!(pong_timeout(PongTimeout::Of(11 * SECOND)), 10 * SECOND);
    }
}
