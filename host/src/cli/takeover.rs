//! SIGUSR2: another process in this one's place, while this one ends what it has begun.

use std::process::Child;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use waterspout::takeover::{Confined, Handover, Invocation, Purpose, TakeoverError};
use waterspout::{Application, Deployer, ListenerHandle};

use super::supervisor::Supervisor;

/// What a successor is given.
pub(super) struct Takeover {
    pub(super) application: Application,
    pub(super) deployer: Deployer,
    pub(super) invocation: Invocation,
    pub(super) confined: Option<Confined>,
    pub(super) supervisor: Supervisor,
    pub(super) listeners: Vec<ListenerHandle>,
    pub(super) admin: Option<ListenerHandle>,
    /// How long it may take to be ready.
    pub(super) timeout: Duration,
}

/// Whether another process has taken this one's place.
#[derive(Clone)]
pub(super) struct Replaced(watch::Receiver<bool>);

impl Replaced {
    /// Resolves when it has; never, if there is to be none.
    pub(super) async fn wait(mut self) {
        if self.0.wait_for(|replaced| *replaced).await.is_err() {
            std::future::pending().await
        }
    }
}

/// The task that waits for SIGUSR2.
pub(super) struct Watch {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Watch {
    /// No successor any more; one that is not ready is ended.
    pub(super) async fn stop(self) {
        drop(self.stop);
        // A panic of it has been told.
        let _ = self.task.await;
    }
}

/// SIGUSR2 in a process that does not serve yet, which nobody can replace.
pub(super) struct Early {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Signal>,
}

impl Early {
    /// From now on one is told, and nothing else. In a process that nobody has started for a takeover it ends the process before, as the
    /// system has it.
    pub(super) fn begin() -> anyhow::Result<Self> {
        let mut signals = signal(SignalKind::user_defined2()).context("cannot wait for SIGUSR2")?;
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut stopped => return signals,
                    _ = signals.recv() => {
                        tracing::warn!("SIGUSR2: this process does not serve yet; ask again when it does");
                    }
                }
            }
        });
        Ok(Self { stop, task })
    }

    /// Those that come from now on. To be called before anybody hears that this process serves.
    pub(super) async fn end(self) -> anyhow::Result<Signal> {
        drop(self.stop);
        self.task.await.context("cannot wait for SIGUSR2")
    }
}

/// What a server does something at, and what ends a process that does not know it.
fn of_servers() -> SigSet {
    [Number::SIGHUP, Number::SIGUSR2].into_iter().collect()
}

/// What whoever signals every process of this program sends to one that the calling thread starts waits until that one
/// [lets it in](let_signals_in): before, it would end it.
fn hold_signals_back() {
    // Where it is denied, they end it.
    let _ = of_servers().thread_block();
}

/// The other side of [`hold_signals_back`], for who can be signalled.
pub(super) fn let_signals_in() {
    let _ = of_servers().thread_unblock();
}

impl Takeover {
    /// Begins to act on `signals`. To be called when this process can serve.
    pub(super) fn watch(self, signals: Signal) -> (Replaced, Watch) {
        let (tell, replaced) = watch::channel(false);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(self.run(signals, tell, stopped));
        (Replaced(replaced), Watch { stop, task })
    }

    async fn run(self, mut signals: Signal, tell: watch::Sender<bool>, mut stopped: oneshot::Receiver<()>) {
        let successor = loop {
            if stopped.is_terminated() {
                return;
            }
            tokio::select! {
                _ = &mut stopped => return,
                _ = signals.recv() => {}
            }
            tracing::info!(program = %self.invocation.program.display(), "SIGUSR2: another process is started in this one's place");
            // It begins with what is kept of the versions that are served.
            self.deployer.hand_over();
            match self.attempt(&mut signals, &mut stopped).await {
                Ok(successor) => break successor,
                Err(error) => tracing::warn!(%error, "SIGUSR2: there is no takeover; this process goes on"),
            }
            if let Err(error) = self.deployer.take_back().await {
                tracing::warn!(%error, "what is deployed from now on is not kept");
            }
        };
        let not_kept = self.deployer.not_kept();
        if !not_kept.is_empty() {
            tracing::warn!(
                routes = not_kept.join(", "),
                remedy = "deploy what is wanted once more; with `state-dir` it would be kept",
                "without `state-dir` the process that takes over begins with the routes' files: what was deployed, rolled back or pinned is not kept"
            );
        }
        // From here on the files are its own.
        self.listeners.iter().chain(&self.admin).for_each(|listener| listener.own_file(false));
        // While this is the main process, whose word counts.
        self.supervisor.tell(&format!("MAINPID={successor}"));
        tracing::info!(pid = successor, "another process has taken over");
        tell.send_replace(true);
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                _ = signals.recv() => {
                    tracing::warn!(pid = successor, "SIGUSR2: another process has taken over already; ask that one");
                }
            }
        }
    }

    /// The process that is ready to serve.
    async fn attempt(
        &self,
        signals: &mut Signal,
        stopped: &mut oneshot::Receiver<()>,
    ) -> Result<u32, TakeoverError> {
        let mut handover = Handover::new(&self.application, self.confined)?;
        for listener in &self.listeners {
            handover = handover.listener(Purpose::Listener, listener)?;
        }
        if let Some(admin) = &self.admin {
            handover = handover.listener(Purpose::Admin, admin)?;
        }
        if let Some(socket) = self.supervisor.socket() {
            handover = handover.supervisor(socket)?;
        }
        let canceller = handover.canceller()?;
        let (invocation, timeout) = (self.invocation.clone(), self.timeout);
        let (tell, mut told) = oneshot::channel();
        // Of its own: it waits for the child's end, which may be after everything here.
        let thread = std::thread::Builder::new().name("takeover".into()).spawn(move || {
            hold_signals_back();
            match handover.to(&invocation, timeout) {
                Ok(child) => {
                    let _ = tell.send(Ok(child.id()));
                    see_to_its_end(child);
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        });
        thread.map_err(TakeoverError::Sockets)?;
        loop {
            tokio::select! {
                answer = &mut told => return answer.unwrap_or(Err(TakeoverError::Cancelled)),
                _ = signals.recv() => tracing::info!("SIGUSR2: a takeover is under way already"),
                _ = &mut *stopped, if !stopped.is_terminated() => canceller.cancel(),
            }
        }
    }
}

/// Reaps a successor that ends before this process does.
fn see_to_its_end(mut successor: Child) {
    let pid = successor.id();
    match successor.wait() {
        // It has been told to, or has been taken over from itself.
        Ok(status) if status.success() => tracing::info!(pid, "the process that has taken over has ended"),
        Ok(status) => tracing::warn!(pid, %status, "the process that has taken over has ended"),
        Err(error) => tracing::warn!(pid, %error, "the process that has taken over cannot be waited for"),
    }
}
