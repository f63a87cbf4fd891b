//! Whose turn it is: how tenants share the processors.
//!
//! Every task that does a tenant's work (a connection, a shared instance, a handshake) is polled as [`Turns`]: each poll is timed and
//! charged to the tenant's [`Account`], the host's own work for him included. An account is filled by the clock at the rate of its
//! share; with something in it, a task is polled at once. An overdrawn tenant's tasks take turns on what the others leave: all
//! processors but one, so that who is within his share never finds every processor busy with somebody who is not. A guest's turn is
//! over after a tick (see `meter`), so nobody waits longer for one. Of the overdrawn, who has overdrawn least comes first. What an event
//! waits in the line is told to whoever is polled next ([`take_time_in_line`]), so that it is not held against the event.
//!
//! Work that holds what other tenants wait for is only [`Charged`].
//!
//! What comes before anybody knows whose it is (TLS, HTTP up to a handshake with a route) is strangers', who have an account like a tenant's.
//! Work within work deadlocks: what is somebody else's is a task of its own.
//!
//! Only one tenant: nobody else is there to be protected from him, and he never waits.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};

use crate::clock::{now, processor_time};
use crate::limits::overruns::{Asides, Overruns};
use crate::limits::tenants::Tenancy;

/// What a tenant may use at once after he was silent.
const BURST_NS: u64 = Duration::from_millis(100).as_nanos() as u64;
/// How far an account is overdrawn at most: so soon after he has stopped a tenant is within his share again.
const MAX_DEBT_NS: u64 = Duration::from_millis(100).as_nanos() as u64;

thread_local! {
    /// Of the task that is being polled.
    static TIME_IN_LINE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// How long the task that is being polled has waited in the line for this poll: told once.
pub(crate) fn take_time_in_line() -> Duration {
    TIME_IN_LINE.take()
}

/// The processors of one server.
#[derive(Debug, Default)]
pub(crate) struct Processors {
    tenants: AtomicUsize,
    /// The sum of all tenants' shares.
    shares: AtomicU64,
    /// The runtime's threads, when first needed.
    threads: OnceLock<usize>,
    asides: Asides,
    line: Mutex<Line>,
}

/// Those who wait for a turn, and the turns that are being taken.
#[derive(Debug, Default)]
struct Line {
    taken: usize,
    /// By tenant, in order of arrival; only tenants of whom somebody waits.
    waiting: Vec<(Arc<Tenancy>, VecDeque<Arc<Ticket>>)>,
}

/// One task's place in the line.
#[derive(Debug)]
struct Ticket(Mutex<TicketState>);

#[derive(Debug)]
enum TicketState {
    Waiting(Waker),
    /// It is this task's turn.
    Called,
    /// The task is gone.
    Left,
}

impl Ticket {
    fn lock(&self) -> MutexGuard<'_, TicketState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much processor time a tenant has used, and how much he was granted.
#[derive(Debug)]
pub(crate) struct Account {
    processors: Arc<Processors>,
    /// Strangers are never alone: there is somebody who is not to notice them.
    is_tenants: bool,
    share: u64,
    used_ns: AtomicU64,
    /// In step with `used_ns`: never far above, nor far below.
    granted_ns: AtomicU64,
    filled_at_ns: AtomicU64,
    overruns: Overruns,
}

impl Processors {
    /// An account for one more tenant.
    pub(crate) fn open_account(self: &Arc<Self>, share: u32) -> Account {
        self.tenants.fetch_add(1, Ordering::Relaxed);
        self.account(share, true)
    }

    /// The account of those who are nobody's yet.
    pub(crate) fn open_strangers_account(self: &Arc<Self>, share: u32) -> Account {
        self.account(share, false)
    }

    fn account(self: &Arc<Self>, share: u32, is_tenants: bool) -> Account {
        self.shares.fetch_add(share.into(), Ordering::Relaxed);
        Account {
            processors: self.clone(),
            is_tenants,
            share: share.into(),
            used_ns: AtomicU64::new(0),
            granted_ns: AtomicU64::new(BURST_NS),
            filled_at_ns: AtomicU64::new(0),
            overruns: Overruns::default(),
        }
    }

    /// The server that has them ends: what its guests still do is done on the runtime's own threads. Blocks for a moment where a long poll
    /// is being made beside them.
    pub(crate) fn retire(&self) {
        self.asides.end();
    }

    fn threads(&self) -> usize {
        *self.threads.get_or_init(|| tokio::runtime::Handle::current().metrics().num_workers())
    }

    /// How many turns there are for the overdrawn at once.
    fn turns(&self) -> usize {
        self.threads().saturating_sub(1).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready with a turn; or the task waits in the line with its `ticket`.
    fn poll_turn(
        self: &Arc<Self>,
        tenancy: &Arc<Tenancy>,
        ticket: &mut Option<Arc<Ticket>>,
        cx: &Context<'_>,
    ) -> Poll<Turn> {
        if let Some(place) = ticket {
            let mut state = place.lock();
            if let TicketState::Waiting(waker) = &mut *state {
                waker.clone_from(cx.waker());
                return Poll::Pending;
            }
            drop(state);
            *ticket = None;
            return Poll::Ready(Turn(self.clone()));
        }
        let mut line = self.lock();
        if line.taken < self.turns() {
            line.taken += 1;
            return Poll::Ready(Turn(self.clone()));
        }
        let place = Arc::new(Ticket(Mutex::new(TicketState::Waiting(cx.waker().clone()))));
        *ticket = Some(place.clone());
        match line.waiting.iter_mut().find(|(of, _)| Arc::ptr_eq(of, tenancy)) {
            Some((_, tickets)) => tickets.push_back(place),
            None => line.waiting.push((tenancy.clone(), VecDeque::from([place]))),
        }
        Poll::Pending
    }

    /// A turn is over: the next one's.
    fn next(&self) {
        let mut line = self.lock();
        while let Some(place) = line.pop() {
            let mut state = place.lock();
            if let TicketState::Waiting(waker) = std::mem::replace(&mut *state, TicketState::Called) {
                drop(state);
                drop(line);
                waker.wake();
                return;
            }
        }
        line.taken -= 1;
    }
}

impl Line {
    /// Of the tenants that wait, who has overdrawn least.
    fn pop(&mut self) -> Option<Arc<Ticket>> {
        let balances = self.waiting.iter().map(|(tenancy, _)| tenancy.account.balance_ns());
        let (index, _) = balances.enumerate().max_by_key(|(_, balance)| *balance)?;
        let tickets = &mut self.waiting[index].1;
        let place = tickets.pop_front();
        if tickets.is_empty() {
            self.waiting.swap_remove(index);
        }
        place
    }
}

/// The right to be polled once beside whom it concerns.
struct Turn(Arc<Processors>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.next();
    }
}

impl Account {
    /// Processor time that was used so far.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    fn is_alone(&self) -> bool {
        self.is_tenants && self.processors.tenants.load(Ordering::Relaxed) <= 1
    }

    /// What he may still use; negative: what he has overdrawn. In units of his own share, so that tenants compare.
    fn balance_ns(&self) -> i64 {
        let granted = self.granted_ns.load(Ordering::Relaxed) as i64;
        (granted - self.used_ns.load(Ordering::Relaxed) as i64) / self.share.max(1) as i64
    }

    /// Fills the account by what the clock says; whether there is anything in it.
    fn is_within_share(&self, now: u64) -> bool {
        let filled_at = self.filled_at_ns.load(Ordering::Relaxed);
        let elapsed = now.saturating_sub(filled_at);
        if elapsed > 0
            && self
                .filled_at_ns
                .compare_exchange(filled_at, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let of_all = self.processors.shares.load(Ordering::Relaxed).max(1);
            // Longer than that fills any account.
            let elapsed = elapsed.min(Duration::from_secs(1).as_nanos() as u64);
            let more = elapsed * self.processors.threads() as u64 * self.share / of_all;
            let used = self.used_ns.load(Ordering::Relaxed);
            let granted = self.granted_ns.load(Ordering::Relaxed) + more;
            let granted = granted.clamp(used.saturating_sub(MAX_DEBT_NS), used + BURST_NS);
            self.granted_ns.store(granted, Ordering::Relaxed);
        }
        self.granted_ns.load(Ordering::Relaxed) > self.used_ns.load(Ordering::Relaxed)
    }

    /// Makes one poll, which begins at `began` and has waited in the line for so long.
    fn charged_poll<T>(&self, began: u64, in_line: Duration, poll: impl FnOnce() -> T) -> T {
        TIME_IN_LINE.set(in_line);
        let (polled, ended) = self.overruns.watch(&self.processors.asides, began, poll);
        self.charge(ended.saturating_sub(began));
        polled
    }

    fn charge(&self, ns: u64) {
        self.used_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

pin_project_lite::pin_project! {
    /// A tenant's work, polled when it is his turn.
    pub(crate) struct Turns<F> {
        #[pin]
        work: F,
        tenancy: Arc<Tenancy>,
        // From when it is known, whose work it is.
        becomes: Option<Arc<OnceLock<Arc<Tenancy>>>>,
        place: Place,
    }
}

/// Where a task stands in the line, if it does. Dropped, it leaves, and gives back a turn to which it was called.
#[derive(Default)]
struct Place {
    ticket: Option<Arc<Ticket>>,
    /// Since when, if it does.
    since_ns: u64,
    processors: Option<Arc<Processors>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let was = std::mem::replace(&mut *ticket.lock(), TicketState::Left);
        if let (TicketState::Called, Some(processors)) = (was, &self.processors) {
            processors.next();
        }
    }
}

impl<F> Turns<F> {
    pub(crate) fn new(tenancy: Arc<Tenancy>, work: F) -> Self {
        Self { work, tenancy, becomes: None, place: Place::default() }
    }

    /// Work of strangers that may become a tenant's.
    pub(crate) fn becoming(self, tenancy: Arc<OnceLock<Arc<Tenancy>>>) -> Self {
        Self { becomes: Some(tenancy), ..self }
    }
}

impl<F: Future> Future for Turns<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.place.ticket.is_none()
            && let Some(tenancy) = this.becomes.as_ref().and_then(|becomes| becomes.get())
        {
            *this.tenancy = tenancy.clone();
            *this.becomes = None;
        }
        let account = &this.tenancy.account;
        let processors = &account.processors;
        let mut began = now();
        let is_due = account.is_alone() || account.is_within_share(began);
        // Long polls, for which there are threads beside the runtime's own, are charged only when they are over.
        let is_one_of_few = account.overruns.aside(began).is_none_or(|aside| aside < processors.threads());
        let turn = if this.place.ticket.is_none() && is_due && is_one_of_few {
            None
        } else {
            this.place.processors.get_or_insert_with(|| processors.clone());
            if this.place.ticket.is_none() {
                this.place.since_ns = began;
            }
            let Poll::Ready(turn) = processors.poll_turn(this.tenancy, &mut this.place.ticket, cx) else {
                return Poll::Pending;
            };
            began = now();
            Some(turn)
        };
        let in_line = if turn.is_some() { began.saturating_sub(this.place.since_ns) } else { 0 };
        let polled = account.charged_poll(began, Duration::from_nanos(in_line), || this.work.poll(cx));
        drop(turn);
        polled
    }
}

pin_project_lite::pin_project! {
    /// A tenant's work that is charged to him as in [`Turns`], and waits for no turn: what ends soon by itself, and has meanwhile what other
    /// tenants wait for, too.
    pub(crate) struct Charged<F> {
        #[pin]
        work: F,
        tenancy: Arc<Tenancy>,
    }
}

impl<F> Charged<F> {
    pub(crate) fn new(tenancy: Arc<Tenancy>, work: F) -> Self {
        Self { work, tenancy }
    }
}

impl<F: Future> Future for Charged<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.tenancy.account.charged_poll(now(), Duration::ZERO, || this.work.poll(cx))
    }
}

/// Work for a tenant that nothing interrupts, beside his tasks: it begins when it is his turn, on a thread of its own, and is charged to him. None
/// when the process ends.
///
/// Cancel safety: what has begun goes on to its end, what has not does not begin.
pub(crate) async fn work_aside<T: Send + 'static>(
    tenancy: Arc<Tenancy>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    // A task of its own: who waits for it may need a turn himself to be told.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let turn = wait_for_turn(&tenancy).await;
        let done = spawn_blocking(move || {
            let before = processor_time();
            let done = work();
            tenancy.account.charge(processor_time().saturating_sub(before));
            drop(turn);
            done
        });
        done.await.ok()
    });
    tasks.join_next().await?.ok()?
}

/// None if the tenant need not wait for one.
async fn wait_for_turn(tenancy: &Arc<Tenancy>) -> Option<Turn> {
    let account = &tenancy.account;
    let mut place = Place::default();
    poll_fn(|cx| {
        if place.ticket.is_none() && (account.is_alone() || account.is_within_share(now())) {
            return Poll::Ready(None);
        }
        place.processors.get_or_insert_with(|| account.processors.clone());
        account.processors.poll_turn(tenancy, &mut place.ticket, cx).map(Some)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::clock::advance;
    use crate::connection::compression::Budget;
    use crate::limits::TenantLimits;
    use crate::limits::tenants::Tenant;

    const TICK: Duration = Duration::from_millis(1);

    fn processors(threads: usize) -> Arc<Processors> {
        let processors = Arc::<Processors>::default();
        processors.threads.set(threads).expect("new");
        processors
    }

    fn tenancy(name: &str, cpu_share: u32, processors: &Arc<Processors>) -> Arc<Tenancy> {
        let total = TenantLimits { cpu_share, ..TenantLimits::default() };
        Tenancy::new(&Tenant { name: name.into(), total }, &Budget::unlimited(), processors)
    }

    /// A guest that computes for ever, and yields every tick.
    async fn spin() {
        loop {
            advance(TICK);
            tokio::task::yield_now().await;
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One task that spins, and is polled only by the test.
    struct Task {
        turns: Pin<Box<dyn Future<Output = ()>>>,
        woken: Arc<Woken>,
    }

    impl Task {
        fn of(tenancy: &Arc<Tenancy>) -> Self {
            Self { turns: Box::pin(Turns::new(tenancy.clone(), spin())), woken: Arc::default() }
        }

        /// Whether it has computed.
        fn poll(&mut self) -> bool {
            let before = now();
            let waker = Waker::from(self.woken.clone());
            assert!(self.turns.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            now() > before
        }
    }

    /// Polls all again and again for so many rounds; how often each has computed.
    fn run(tasks: &mut [Task], rounds: usize) -> Vec<usize> {
        let mut computed = vec![0; tasks.len()];
        for _ in 0..rounds {
            for (task, count) in tasks.iter_mut().zip(&mut computed) {
                *count += usize::from(task.poll());
            }
        }
        computed
    }

    #[tokio::test]
    async fn a_tenant_who_is_alone_never_waits() {
        let processors = processors(2);
        let alone = tenancy("alone", 100, &processors);
        assert_eq!(run(&mut [Task::of(&alone), Task::of(&alone)], 500), [500, 500]);
        assert_eq!(alone.account.used(), 1000 * TICK);
    }

    /// Has used far more than his share.
    fn overdraw(tenancy: &Tenancy) {
        assert!(tenancy.account.is_within_share(now()));
        tenancy.account.charge(Duration::from_secs(1).as_nanos() as u64);
        advance(Duration::from_nanos(1));
        assert!(!tenancy.account.is_within_share(now()));
    }

    fn take_turn(processors: &Arc<Processors>, tenancy: &Arc<Tenancy>) -> Turn {
        match processors.poll_turn(tenancy, &mut None, &Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => turn,
            Poll::Pending => panic!("no turn is free"),
        }
    }

    fn woken(tasks: &[Task]) -> Vec<usize> {
        tasks.iter().map(|task| task.woken.0.swap(0, Ordering::Relaxed)).collect()
    }

    #[tokio::test]
    async fn who_is_within_his_share_never_waits_for_who_is_not() {
        let processors = processors(2);
        let (burns, victim) = (tenancy("burns", 100, &processors), tenancy("victim", 100, &processors));
        overdraw(&burns);
        let _turn = take_turn(&processors, &burns);
        assert!(!Task::of(&burns).poll(), "the overdrawn wait");
        assert!(Task::of(&victim).poll(), "others do not");
    }

    #[tokio::test]
    async fn of_long_polls_as_many_are_made_at_once_as_there_are_threads_and_the_others_wait_for_turns() {
        let processors = processors(2);
        let (burns, victim) = (tenancy("burns", 100, &processors), tenancy("victim", 100, &processors));
        let _turn = take_turn(&processors, &victim);
        let poll = |asides| {
            let _asides: Vec<_> = (0..asides).map(|_| burns.account.overruns.pretend_aside()).collect();
            Task::of(&burns).poll()
        };
        assert!(poll(2), "as yet nothing long is expected of him");
        burns.account.overruns.pretend_expected();
        assert!(poll(1));
        assert!(!poll(2));
        assert!(Task::of(&victim).poll());
    }

    #[tokio::test]
    async fn what_others_wait_for_is_charged_and_waits_for_no_turn() {
        let processors = processors(2);
        let (burns, _victim) = (tenancy("burns", 100, &processors), tenancy("victim", 100, &processors));
        overdraw(&burns);
        let _turn = take_turn(&processors, &burns);
        let before = burns.account.used();
        TIME_IN_LINE.set(TICK);
        Charged::new(burns.clone(), async {
            assert_eq!(take_time_in_line(), Duration::ZERO, "what another one has waited");
            advance(7 * TICK);
        })
        .await;
        assert_eq!(burns.account.used(), before + 7 * TICK);
    }

    #[tokio::test]
    async fn work_aside_is_charged_and_waits_for_a_turn_where_its_tenant_has_overdrawn() {
        let processors = processors(2);
        let (burns, _victim) = (tenancy("burns", 100, &processors), tenancy("victim", 100, &processors));
        let work =
            || async { work_aside(burns.clone(), || advance(7 * TICK)).await.expect("the process goes on") };
        work().await;
        assert_eq!(burns.account.used(), 7 * TICK, "charged, and within his share at once");
        overdraw(&burns);
        let before = burns.account.used();
        let turn = take_turn(&processors, &burns);
        let mut waiting = Box::pin(work());
        for _ in 0..100 {
            assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await.is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(burns.account.used(), before, "somebody has the only turn");
        drop(turn);
        waiting.await;
        assert_eq!(burns.account.used(), before + 7 * TICK);
        drop(take_turn(&processors, &burns));
    }

    #[tokio::test]
    async fn work_aside_that_nobody_waits_for_any_more_gives_its_place_in_the_line_back() {
        let processors = processors(2);
        let (burns, _victim) = (tenancy("burns", 100, &processors), tenancy("victim", 100, &processors));
        overdraw(&burns);
        let turn = take_turn(&processors, &burns);
        let mut waiting = Box::pin(work_aside(burns.clone(), || panic!("it must not begin")));
        while processors.lock().waiting.is_empty() {
            assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await.is_pending());
            tokio::task::yield_now().await;
        }
        drop(waiting);
        drop(turn);
        while processors.lock().taken > 0 {
            tokio::task::yield_now().await;
        }
        drop(take_turn(&processors, &burns));
    }

    #[tokio::test]
    async fn a_turn_is_handed_on_to_one_who_waits_and_each_has_his() {
        let processors = processors(2);
        let (one, other) = (tenancy("one", 100, &processors), tenancy("other", 100, &processors));
        overdraw(&one);
        overdraw(&other);
        let mut tasks = [Task::of(&one), Task::of(&one), Task::of(&other)];
        let turn = take_turn(&processors, &one);
        assert_eq!(run(&mut tasks, 1), [0, 0, 0]);
        woken(&tasks);
        drop(turn);
        assert_eq!(woken(&tasks).iter().sum::<usize>(), 1, "one of them is called");
        assert_eq!(run(&mut tasks, 3).iter().filter(|count| **count > 0).count(), 3);
    }

    #[tokio::test]
    async fn a_task_that_leaves_gives_its_turn_to_the_next() {
        let processors = processors(1);
        let (one, other) = (tenancy("one", 100, &processors), tenancy("other", 100, &processors));
        overdraw(&one);
        overdraw(&other);
        let mut tasks = vec![Task::of(&one), Task::of(&one), Task::of(&other)];
        let turn = take_turn(&processors, &one);
        assert_eq!(run(&mut tasks, 1), [0, 0, 0]);
        drop(turn);
        // Among them who has just been called.
        tasks.truncate(1);
        assert!(tasks[0].poll());
        tasks.clear();
        assert_eq!(processors.lock().taken, 0);
    }

    #[tokio::test]
    async fn who_has_overdrawn_less_for_his_share_is_called_first() {
        let processors = processors(1);
        let (small, large) = (tenancy("small", 100, &processors), tenancy("large", 300, &processors));
        overdraw(&small);
        overdraw(&large);
        let mut tasks = [Task::of(&small), Task::of(&large)];
        let turn = take_turn(&processors, &small);
        assert_eq!(run(&mut tasks, 1), [0, 0]);
        woken(&tasks);
        drop(turn);
        assert_eq!(woken(&tasks), [0, 1], "the same debt weighs less on a larger share");
    }

    #[tokio::test]
    async fn a_debt_is_forgotten_soon_after_a_tenant_has_stopped() {
        let processors = processors(2);
        let (burns, _other) = (tenancy("burns", 100, &processors), tenancy("other", 100, &processors));
        overdraw(&burns);
        // Half of two processors are his: a millisecond for a millisecond.
        advance(Duration::from_millis(90));
        assert!(!burns.account.is_within_share(now()));
        advance(Duration::from_millis(20));
        assert!(burns.account.is_within_share(now()));
        advance(Duration::from_secs(3600));
        assert!(burns.account.is_within_share(now()));
        assert_eq!(burns.account.balance_ns() * 100, BURST_NS as i64, "silence is not saved up");
    }
}
