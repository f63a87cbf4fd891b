//! What a connection takes in, bounded on its way from the wire to tungstenite: bytes a second and frames of a message where the bytes
//! come in, and memory where they are put together to messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::close::ReadRefused;
use crate::connection::compression::Reservation;
use crate::connection::fragments::FragmentCounter;
use crate::connection::link::FREE_RECEIVED_BYTES;
use crate::limits::Limits;
use crate::limits::throttle::Throttle;
use crate::units::Unit;

/// Where the bytes of a peer come in.
#[derive(Debug)]
pub(crate) struct Gate {
    bytes: Throttle,
    fragments: FragmentCounter,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A frame was one too many: to be told when what came before it has been read.
    Owed,
    /// That has been told, and nobody interprets what comes any more.
    Told,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        let bytes = Some(limits.max_bytes_per_second).filter(|bytes| *bytes != usize::unlimited());
        Self {
            bytes: Throttle::new(bytes.map_or(u64::MAX, |bytes| bytes as u64)),
            fragments: FragmentCounter::new(limits.max_fragments),
            state: State::Open,
        }
    }

    /// Of bytes that came in before there was a gate, those that may pass.
    pub(crate) fn admit<'a>(&mut self, read_ahead: &'a [u8]) -> &'a [u8] {
        self.bytes.take(read_ahead.len() as u64);
        &read_ahead[..self.scan(read_ahead)]
    }

    fn scan(&mut self, bytes: &[u8]) -> usize {
        if self.state == State::Told {
            return bytes.len();
        }
        let passes = self.fragments.scan(bytes);
        if passes < bytes.len() {
            self.state = State::Owed;
        }
        passes
    }

    /// Whether nothing is read because of `max-bytes-per-second`.
    pub(crate) fn is_paused(&self) -> bool {
        self.bytes.is_paused()
    }

    /// Nobody is to be protected any more from how much there is.
    pub(crate) fn lift(&mut self) {
        self.bytes.lift();
    }

    /// Reads from `transport` what may pass.
    pub(crate) fn poll_read<T: AsyncRead + Unpin>(
        &mut self,
        transport: &mut T,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.state != State::Owed {
            let allowed = usize::try_from(ready!(self.bytes.poll(cx))).unwrap_or(usize::MAX);
            if allowed >= buffer.remaining() {
                ready!(Pin::new(transport).poll_read(cx, buffer))?;
            } else {
                let mut part = ReadBuf::new(buffer.initialize_unfilled_to(allowed));
                ready!(Pin::new(transport).poll_read(cx, &mut part))?;
                let read = part.filled().len();
                buffer.advance(read);
            }
            let read = buffer.filled().len() - before;
            self.bytes.take(read as u64);
            let passes = self.scan(&buffer.filled()[before..]);
            buffer.set_filled(before + passes);
            if passes > 0 || read == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        self.state = State::Told;
        Poll::Ready(Err(ReadRefused::TooManyFragments.into()))
    }
}

/// What of a peer's messages is held before it takes more: that much every connection has taken from the start.
const FREE_BYTES: usize = FREE_RECEIVED_BYTES;
/// More is taken in steps, so that not every read is a step.
const STEP_BYTES: usize = 64 << 10;

/// What tungstenite reads from: a socket whose bytes are counted as long as they are held, as parts of a message that is not complete, or
/// as messages that nobody has dealt with; inflated, where they were compressed. They take memory of whoever the connection belongs to.
#[derive(Debug)]
pub(crate) struct Intake<S> {
    socket: S,
    memory: Reservation,
    /// Read, and not part of a message that was handed on.
    unfinished: usize,
    /// Handed on, and not dealt with.
    held: usize,
}

impl<S> Intake<S> {
    /// `read_ahead` bytes are with tungstenite already.
    pub(crate) fn new(socket: S, read_ahead: usize, memory: Reservation) -> Self {
        Self { socket, memory, unfinished: read_ahead, held: 0 }
    }

    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    pub(crate) fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Where the memory comes from.
    pub(crate) fn set_memory(&mut self, memory: Reservation) {
        self.memory = memory;
    }

    /// A message is complete. What was read behind it is counted with it: no more than a read buffer.
    pub(crate) fn complete(&mut self) {
        self.unfinished = 0;
    }

    /// So many bytes were a control frame, which may come between the parts of a message.
    pub(crate) fn not_of_a_message(&mut self, bytes: usize) {
        self.unfinished = self.unfinished.saturating_sub(bytes);
    }

    /// So many bytes of messages are held now that have not been dealt with.
    pub(crate) fn hold(&mut self, bytes: usize) {
        self.held = bytes;
        let reserved = self.memory.bytes();
        if reserved > 0 {
            let wanted = self.wanted();
            if wanted == 0 || reserved >= wanted + 2 * STEP_BYTES {
                // Less is always there.
                let _ = self.memory.resize(wanted);
            }
        }
    }

    /// What is to be reserved for what there is.
    fn wanted(&self) -> usize {
        (self.unfinished + self.held).saturating_sub(FREE_BYTES).next_multiple_of(STEP_BYTES)
    }

    #[cold]
    fn grow(&mut self) -> io::Result<()> {
        let wanted = self.wanted();
        if wanted > self.memory.bytes() && !self.memory.resize(wanted) {
            return Err(ReadRefused::NoMemory.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Intake<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        self.unfinished += buffer.filled().len() - before;
        if self.unfinished + self.held > FREE_BYTES + self.memory.bytes() {
            self.grow()?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Intake<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Duration, Instant};

    use super::*;
    use crate::connection::compression::Budget;
    use crate::connection::socket::Counted;

    fn refused(error: &io::Error) -> Option<ReadRefused> {
        ReadRefused::in_io_error(error)
    }

    fn gated(limits: &Limits) -> (Counted<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(1 << 20);
        (Counted::new(ours).with_gate(Gate::new(limits)), theirs)
    }

    /// A masked text frame that does not end its message, and continuations.
    fn fragments(count: usize) -> Vec<u8> {
        let mut bytes = vec![0x01, 0x81, 0, 0, 0, 0, b'x'];
        for _ in 1..count {
            bytes.extend([0x00, 0x81, 0, 0, 0, 0, b'x']);
        }
        bytes
    }

    #[tokio::test]
    async fn a_frame_too_many_fails_the_read_after_everything_before_it_wherever_it_is_cut() {
        let limits = Limits { max_fragments: 3, ..Limits::default() };
        let bytes = fragments(4);
        for cut in 0..=bytes.len() {
            let (mut ours, mut theirs) = gated(&limits);
            let mut read = ours.gate().expect("it was made with one").admit(&bytes[..cut]).to_vec();
            theirs.write_all(&bytes[cut..]).await.expect("there is room");
            let error = ours.read_to_end(&mut read).await.expect_err("one is too many");
            assert_eq!(refused(&error), Some(ReadRefused::TooManyFragments));
            assert_eq!(read, fragments(3), "cut at {cut}");
            // Who only throws away what comes can go on.
            theirs.write_all(&fragments(9)).await.expect("there is room");
            drop(theirs);
            ours.read_to_end(&mut read).await.expect("nobody looks any more");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_read_in_a_second_than_may_be() {
        let limits = Limits { max_bytes_per_second: 1000, ..Limits::default() };
        let (mut ours, mut theirs) = gated(&limits);
        theirs.write_all(&[0; 4000]).await.expect("there is room");
        let began = Instant::now();
        let mut read = 0;
        let mut buffer = [0; 300];
        for seconds in 0..4 {
            while read < 1000 * (seconds + 1) {
                let bytes = ours.read(&mut buffer).await.expect("it is open");
                read += bytes;
                let at_most = 1000 + 1000 * began.elapsed().as_millis() as usize / 1000;
                assert!(bytes > 0 && read <= at_most, "{read} bytes after {:?}", began.elapsed());
            }
        }
        assert!((2990..=3100).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_ahead_counts() {
        let limits = Limits { max_bytes_per_second: 1000, ..Limits::default() };
        let (mut ours, mut theirs) = gated(&limits);
        // The payload of one frame.
        let mut read_ahead = vec![0x82, 126, 0x0f, 0xff];
        read_ahead.resize(2000, 0);
        assert_eq!(ours.gate().expect("it was made with one").admit(&read_ahead).len(), 2000);
        theirs.write_all(&[0; 10]).await.expect("there is room");
        let began = Instant::now();
        ours.read_exact(&mut [0; 1]).await.expect("it is open");
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    }

    async fn intake(budget: &Budget, bytes: usize) -> Intake<DuplexStream> {
        let (ours, mut theirs) = duplex(1 << 20);
        theirs.write_all(&vec![0; bytes]).await.expect("there is room");
        Intake::new(ours, 0, budget.reserve(0).expect("nothing fits"))
    }

    #[tokio::test]
    async fn what_is_unfinished_takes_memory_beyond_its_free_bytes_and_gives_it_back() {
        let budget = Budget::of(STEP_BYTES);
        let mut intake = intake(&budget, FREE_BYTES + STEP_BYTES + 1).await;
        let mut buffer = vec![0; FREE_BYTES];
        intake.read_exact(&mut buffer).await.expect("it is free");
        assert_eq!(budget.used(), 0);
        intake.read_exact(&mut buffer[..1]).await.expect("there is a step");
        assert_eq!(budget.used(), STEP_BYTES);
        intake.read_exact(&mut buffer[1..]).await.expect("it is within the step");
        let error = intake.read_exact(&mut buffer[..1]).await.expect_err("there is no more");
        assert_eq!(refused(&error), Some(ReadRefused::NoMemory));
        // A message that is complete is held until it is dealt with.
        intake.complete();
        intake.hold(FREE_BYTES + STEP_BYTES);
        assert_eq!(budget.used(), STEP_BYTES);
        intake.hold(0);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn what_is_held_counts_with_what_is_read() {
        let budget = Budget::of(0);
        let mut intake = intake(&budget, 100).await;
        intake.hold(FREE_BYTES - 99);
        let mut buffer = [0; 99];
        intake.read_exact(&mut buffer).await.expect("it is free");
        intake.read_exact(&mut buffer[..1]).await.expect_err("one too many");
    }

    #[tokio::test]
    async fn pings_within_a_message_do_not_add_up() {
        let budget = Budget::of(0);
        let mut intake = intake(&budget, 10 * FREE_BYTES).await;
        let mut buffer = [0; 1024];
        for _ in 0..9 * FREE_BYTES / buffer.len() {
            intake.read_exact(&mut buffer).await.expect("there is always room");
            intake.not_of_a_message(buffer.len());
        }
    }
}
