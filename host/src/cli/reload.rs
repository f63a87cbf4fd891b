//! SIGHUP: configuration, certificates and handlers are read again. A mistake in one of them keeps what there is of it, and a mistake in the
//! configuration keeps everything.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use waterspout::config::{Config, ConfigError, Document};
use waterspout::{Certificates, Deployer, ListenAddress};

use super::supervisor::Supervisor;

/// What is read again.
pub(super) struct Reload {
    pub(super) file: Option<Configuration>,
    pub(super) certificates: Option<Certificates>,
    pub(super) deployer: Deployer,
    pub(super) supervisor: Supervisor,
}

/// The configuration file, as it was at the start.
pub(super) struct Configuration {
    pub(super) file: PathBuf,
    pub(super) at_start: Document,
    /// The argument that stands for what the file says.
    pub(super) listen: Option<ListenAddress>,
}

/// SIGHUP from now on. Before, it ends the process, as the system has it.
pub(super) fn signals() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("cannot wait for SIGHUP")
}

impl Reload {
    /// Begins to act on `signals`, also on one that has come before.
    pub(super) fn begin(self, mut signals: Signal) {
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // As `Type=notify-reload` wants it (`systemd.service(5)`); for others `systemctl reload` waits, too.
                let now = clock_gettime(ClockId::Monotonic);
                let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
                self.supervisor.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
                self.reload().await;
                self.supervisor.tell("READY=1");
            }
        });
    }

    async fn reload(&self) {
        let config = match tokio::task::block_in_place(|| self.configuration()) {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(%error, "SIGHUP: the configuration is not taken; everything goes on as it was");
                return;
            }
        };
        match self.certificates.clone() {
            None => tracing::info!("SIGHUP: there are no certificates to reload"),
            Some(certificates) => {
                match tokio::task::spawn_blocking(move || certificates.reload()).await {
                    Ok(Ok(changed)) => tracing::info!(changed, "SIGHUP: the certificates are reloaded"),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "SIGHUP: the certificates are not taken; those of before go on");
                    }
                    // The runtime ends.
                    Err(_) => return,
                }
            }
        }
        let routes = config.map(|config| config.routes).unwrap_or_default();
        let replaced = self.deployer.reread(&routes).await;
        tracing::info!(replaced, "SIGHUP: the handlers are looked at");
    }

    /// Reads the file, and tells what of it is not taken. None without a file.
    fn configuration(&self) -> Result<Option<Config>, ConfigError> {
        let Some(Configuration { file, at_start, listen }) = &self.file else { return Ok(None) };
        let document = Document::read(file)?;
        // Its own mistakes first; what has changed is of interest only if it is right.
        let config = Config::from_document(&document, file, listen.clone())?;
        for change in at_start.changes(&document) {
            let key = &change.key;
            if change.is_live {
                tracing::info!(key, change = %change.kind, "SIGHUP: a key of the configuration is taken");
            } else {
                tracing::warn!(
                    key,
                    change = %change.kind,
                    remedy = "start the server again, or send SIGUSR2",
                    "SIGHUP: a key of the configuration is not taken"
                );
            }
        }
        Ok(Some(config))
    }
}
