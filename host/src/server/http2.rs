//! HTTP/2 on one socket (RFC 9113), with WebSockets as streams of it (RFC 8441): each is a task and a connection of its own,
//! beside pages and health checks.
//!
//! What bounds a peer that attacks: hyper and h2 bound the frames of a header, the streams that are reset before they are looked
//! at, empty and tiny DATA frames, and answer SETTINGS and PING one at a time, so that a peer that does not read is not read
//! either. What is set here are the numbers, and three ends: of a socket on which nothing is asked, of one whose requests are
//! taken back again and again, and of one that leaves stream after stream unread. And one of a stream: whose answer nobody takes.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::connection::socket::{AnyTransport, Transport};
use crate::limits::processors::Turns;
use crate::limits::tenants::Tenancy;
use crate::server::admission::Newcomer;
use crate::server::answer_body::AnswerBody;
use crate::server::answers::HttpAnswer;
use crate::server::application::{Accepted, Application};
use crate::server::conversation::MAX_HEAD_BYTES;

/// Streams of one socket at once; more are refused by a reset. RFC 9113 section 6.5.2 advises no fewer.
const MAX_STREAMS: u32 = 100;
/// What a peer may send on one stream before it is read: as much as a connection's loop reads ahead.
const STREAM_WINDOW: u32 = 64 << 10;
/// All streams' windows together, so that those whose handlers are slow do not stop the others.
const SOCKET_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// Bytes that one write to a stream takes. A write is copied, and waits for the peer's window where nobody counts it: so little at
/// a time that what a peer does not take stays in the connection's own queue.
const WRITE_BYTES: usize = 16 << 10;
/// Of one stream, written and not sent.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that a peer resets before anybody has looked at them.
const MAX_UNSEEN_RESETS: usize = 20;
/// Streams that are reset because the peer broke the protocol.
const MAX_ERROR_RESETS: usize = 100;
/// Requests of one socket that were taken back while they were being answered (CVE-2023-44487), less those that were not: each has
/// cost an instance.
const MAX_ABANDONED: u32 = 100;
/// Streams of one socket that were given up with something on them that the peer does not take: what was written is kept by hyper
/// until the peer takes it, resets the stream, or the socket ends.
const MAX_STUCK: u32 = 8;
/// How long the peer has for the rest of a stream that was given up, before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Serves a socket until it ends, with all its streams.
pub(crate) async fn serve(application: Application, transport: AnyTransport, newcomer: Newcomer) {
    let _open = application.open_connections().enter_socket();
    let tasks = Arc::new(Tasks::default());
    let activity = Arc::new(Activity::new(newcomer.deadline - newcomer.admission.handshake_timeout));
    let payer = Payer { strangers: application.strangers().clone(), tenancy: Arc::default() };
    payer.pays_for(converse(&application, transport, &newcomer, &tasks, &activity, &payer)).await;
    // Whatever was open sees its end, and tells its handler.
    tasks.ended().await;
}

/// Whose work a socket's frames are: strangers', and from its first WebSocket on that tenant's.
#[derive(Clone)]
struct Payer {
    strangers: Arc<Tenancy>,
    tenancy: Arc<OnceLock<Arc<Tenancy>>>,
}

impl Payer {
    fn pays_for<F: Future>(&self, work: F) -> Turns<F> {
        Turns::new(self.strangers.clone(), work).becoming(self.tenancy.clone())
    }
}

async fn converse(
    application: &Application,
    transport: AnyTransport,
    newcomer: &Newcomer,
    tasks: &Arc<Tasks>,
    activity: &Arc<Activity>,
    payer: &Payer,
) {
    let (peer, timeout) = (newcomer.peer, newcomer.admission.handshake_timeout);
    let executor = StreamTasks { tasks: Arc::downgrade(tasks), timeout, payer: payer.clone() };
    let service = {
        let (application, newcomer, tasks) = (application.clone(), newcomer.clone(), executor.clone());
        let activity = activity.clone();
        service_fn(move |request| {
            let (application, newcomer, tasks) = (application.clone(), newcomer.clone(), tasks.clone());
            let mut stream = activity.begin();
            async move {
                let (answer, accepted) = application.answer(request, &newcomer).await;
                stream.answered = true;
                let answer = if accepted.is_none() { with_time_out(answer) } else { answer };
                if let Some(Accepted { upgrade, opening }) = accepted {
                    let _ = tasks.payer.tenancy.set(opening.held.tenancy.clone());
                    let stream_tasks = tasks.clone();
                    tasks.spawn(async move {
                        if let Ok(upgraded) = upgrade.await {
                            let io = Some(TokioIo::new(upgraded));
                            let activity = stream.activity.clone();
                            let transport: AnyTransport =
                                Box::new(Stream { io, activity, tasks: stream_tasks });
                            opening.on(transport, &[]).await.await;
                        }
                        drop(stream);
                    });
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        })
    };
    let mut http = http2::Builder::new(executor);
    http.timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(SOCKET_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS);
    let mut conversation = pin!(http.serve_connection(TokioIo::new(transport), service));
    let mut elsewhere = pin!(application.open_connections().leaving());
    let mut look = pin!(tokio::time::sleep_until(newcomer.deadline));
    let mut leaving = false;
    loop {
        tokio::select! {
            ended = &mut conversation => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "the peer's HTTP/2 ended");
                }
                return;
            }
            () = &mut elsewhere, if !leaving => {
                leaving = true;
                conversation.as_mut().graceful_shutdown();
            }
            () = activity.too_many_stuck() => {
                tracing::debug!(%peer, "the peer leaves stream after stream unread");
                return;
            }
            () = activity.exhausted(), if !leaving => {
                tracing::debug!(%peer, "the peer takes back its requests again and again");
                // Its open streams go on.
                leaving = true;
                conversation.as_mut().graceful_shutdown();
            }
            () = &mut look => {
                let idle = activity.idle_for().unwrap_or_default();
                if idle >= timeout {
                    if leaving {
                        // It has not answered our GOAWAY either.
                        return;
                    }
                    tracing::debug!(%peer, "no stream within `handshake-timeout`");
                    leaving = true;
                    conversation.as_mut().graceful_shutdown();
                    look.as_mut().reset(Instant::now() + timeout);
                } else {
                    look.as_mut().reset(Instant::now() + (timeout - idle));
                }
            }
        }
    }
}

/// The tasks of a socket's streams. Dropped, they end.
#[derive(Default)]
struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ended(&self) {
        while poll_fn(|cx| self.lock().poll_join_next(cx)).await.is_some() {}
    }
}

/// Where hyper and we start tasks. It does not keep them: they would keep themselves.
#[derive(Clone)]
struct StreamTasks {
    tasks: Weak<Tasks>,
    /// How long a peer has for an answer.
    timeout: Duration,
    payer: Payer,
}

impl StreamTasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = self.tasks.upgrade() {
            let mut tasks = tasks.lock();
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for StreamTasks {
    fn execute(&self, stream: F) {
        let answered = Arc::<Notify>::default();
        let timeout = self.timeout;
        let overdue = {
            let answered = answered.clone();
            async move {
                answered.notified().await;
                tokio::time::sleep(timeout).await;
            }
        };
        let stream = self.payer.pays_for(stream);
        self.spawn(ANSWERED.scope(answered, async move {
            tokio::select! {
                biased;
                () = stream => {}
                // Dropped, it is reset.
                () = overdue => tracing::debug!("the peer does not take its answer within `handshake-timeout`"),
            }
        }));
    }
}

tokio::task_local! {
    /// That the stream whose task is running has been answered.
    static ANSWERED: Arc<Notify>;
}

/// From now on the peer has `handshake-timeout` to take the answer of the stream whose task this is.
fn with_time_out(answer: HttpAnswer) -> HttpAnswer {
    // Kept for a waiter that is yet to come.
    ANSWERED.with(|answered| answered.notify_one());
    answer.map(AnswerBody::until_taken)
}

/// What goes on on a socket.
struct Activity {
    streams: Mutex<Streams>,
    abandoned: AtomicU32,
    stuck: AtomicU32,
    changed: Notify,
    stuck_changed: Notify,
}

struct Streams {
    open: u32,
    idle_since: Instant,
}

impl Activity {
    fn new(idle_since: Instant) -> Self {
        let streams = Mutex::new(Streams { open: 0, idle_since });
        Self {
            streams,
            abandoned: AtomicU32::new(0),
            stuck: AtomicU32::new(0),
            changed: Notify::new(),
            stuck_changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>) -> ActiveStream {
        self.lock().open += 1;
        ActiveStream { activity: self.clone(), answered: false }
    }

    /// None while there is a stream.
    fn idle_for(&self) -> Option<Duration> {
        let streams = self.lock();
        (streams.open == 0).then(|| streams.idle_since.elapsed())
    }

    /// Resolves when too many requests were taken back. Cancel safe.
    async fn exhausted(&self) {
        while self.abandoned.load(Ordering::Relaxed) <= MAX_ABANDONED {
            self.changed.notified().await;
        }
    }

    fn count_stuck(self: &Arc<Self>) -> Stuck {
        self.stuck.fetch_add(1, Ordering::Relaxed);
        self.stuck_changed.notify_one();
        Stuck(self.clone())
    }

    /// Resolves when too many streams are stuck. Cancel safe.
    async fn too_many_stuck(&self) {
        while self.stuck.load(Ordering::Relaxed) <= MAX_STUCK {
            self.stuck_changed.notified().await;
        }
    }
}

/// A stream that was given up, and whose peer has not taken what was written on it.
struct Stuck(Arc<Activity>);

impl Drop for Stuck {
    fn drop(&mut self) {
        self.0.stuck.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request, and the WebSocket that it becomes.
struct ActiveStream {
    activity: Arc<Activity>,
    answered: bool,
}

impl Drop for ActiveStream {
    fn drop(&mut self) {
        let mut streams = self.activity.lock();
        streams.open -= 1;
        streams.idle_since = Instant::now();
        drop(streams);
        if self.answered {
            // Who also asks in earnest may take something back now and then.
            let _ = self
                .activity
                .abandoned
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_sub(1)));
        } else {
            self.activity.abandoned.fetch_add(1, Ordering::Relaxed);
            // Kept for a waiter that is yet to come.
            self.activity.changed.notify_one();
        }
    }
}

/// One stream as a transport.
struct Stream {
    /// Taken when it is dropped.
    io: Option<TokioIo<Upgraded>>,
    activity: Arc<Activity>,
    tasks: StreamTasks,
}

impl Stream {
    fn io(&mut self) -> Pin<&mut TokioIo<Upgraded>> {
        Pin::new(self.io.as_mut().expect("it is not dropped"))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(mut io) = self.io.take() {
            let activity = self.activity.clone();
            self.tasks.spawn(async move {
                if tokio::time::timeout(STUCK_AFTER, io.shutdown()).await.is_err() {
                    let _stuck = activity.count_stuck();
                    let _ = io.shutdown().await;
                }
            });
        }
    }
}

impl Transport for Stream {
    fn set_nodelay(&self, _: bool) -> io::Result<()> {
        // The socket is others', too, and always sends at once.
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, &bytes[..bytes.len().min(WRITE_BYTES)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}
