//! SIGHUP: configuration, page, certificates and handlers are read again. A mistake in one of them keeps what there is of it, and a mistake
//! in the configuration keeps everything. `waterspout dev` does the same when configuration or page are saved.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use waterspout::config::{Config, ConfigError, Document, PageChoice};
use waterspout::{Application, Certificates, Deployer, ListenAddress, Page};

use super::supervisor::Supervisor;

/// How often files that are followed are looked at; they are read when two looks have found the same.
const INTERVAL: Duration = Duration::from_millis(250);

/// What is read again.
pub(super) struct Reload {
    pub(super) file: Option<Configuration>,
    pub(super) certificates: Option<Certificates>,
    pub(super) deployer: Deployer,
    pub(super) supervisor: Supervisor,
    pub(super) application: Application,
    pub(super) pages: Pages,
}

/// The configuration file, as it was at the start.
pub(super) struct Configuration {
    pub(super) file: PathBuf,
    pub(super) at_start: Document,
    /// The argument that stands for what the file says.
    pub(super) listen: Option<ListenAddress>,
}

/// Which page is served.
pub(super) struct Pages {
    /// By the arguments, which stand over the configuration.
    pub(super) asked: Option<PageChoice>,
    pub(super) at_start: PageChoice,
    /// The host's own.
    pub(super) of_host: Page,
}

impl Pages {
    /// The page that was chosen, as it is in its file.
    pub(super) fn page(&self, choice: &PageChoice) -> anyhow::Result<Option<Page>> {
        Ok(match choice {
            PageChoice::Off => None,
            PageChoice::Own => Some(self.of_host.clone()),
            PageChoice::File(path) => {
                let read = Page::from_file(path);
                Some(read.with_context(|| format!("the page {} cannot be read", path.display()))?)
            }
        })
    }
}

/// Why something is read again. Each record begins with it.
enum Cause {
    Hangup,
    /// Somebody has saved this file, under `waterspout dev`.
    Saved(PathBuf),
}

impl Cause {
    /// How what a running server cannot take comes to be served.
    fn remedy(&self) -> &'static str {
        match self {
            Self::Hangup => "start the server again, or send SIGUSR2",
            Self::Saved(_) => "end `waterspout dev` by ctrl-c and start it again",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hangup => f.write_str("SIGHUP"),
            Self::Saved(file) => write!(f, "{} has changed", file.display()),
        }
    }
}

/// SIGHUP from now on. Before, it ends the process, as the system has it.
pub(super) fn signals() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("cannot wait for SIGHUP")
}

impl Reload {
    /// Begins to act on `signals`, also on one that has come before, and on files that are saved if they are followed.
    pub(super) fn begin(self, mut signals: Signal, mut saved: Option<Saved>) {
        tokio::spawn(async move {
            loop {
                let next_saved = async {
                    match &mut saved {
                        Some(saved) => saved.next().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    hangup = signals.recv() => {
                        if hangup.is_none() {
                            return;
                        }
                        self.on_hangup(saved.as_mut()).await;
                    }
                    file = next_saved => self.on_saved(file, saved.as_mut()).await,
                }
            }
        });
    }

    async fn on_hangup(&self, saved: Option<&mut Saved>) {
        // As `Type=notify-reload` wants it (`systemd.service(5)`); for others `systemctl reload` waits, too.
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
        self.supervisor.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
        self.reload(&Cause::Hangup, saved).await;
        self.supervisor.tell("READY=1");
    }

    async fn on_saved(&self, file: PathBuf, saved: Option<&mut Saved>) {
        let is_configuration = self.file.as_ref().is_some_and(|configuration| configuration.file == file);
        let choice = PageChoice::File(file.clone());
        let cause = Cause::Saved(file);
        if is_configuration {
            self.reload(&cause, saved).await;
        } else {
            tokio::task::block_in_place(|| self.take_page(&choice, &cause));
        }
    }

    /// `saved` follows the page that is served from now on.
    async fn reload(&self, cause: &Cause, saved: Option<&mut Saved>) {
        let config = match tokio::task::block_in_place(|| self.configuration(cause)) {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(%error, "{cause}: the configuration is not taken; everything goes on as it was");
                return;
            }
        };
        let configured = config.as_ref().map_or(&self.pages.at_start, |config| &config.page);
        let page = self.pages.asked.as_ref().unwrap_or(configured);
        tokio::task::block_in_place(|| {
            if let Some(saved) = saved {
                saved.set_page(page);
            }
            self.take_page(page, cause);
        });
        match self.certificates.clone() {
            None => tracing::info!("{cause}: there are no certificates to reload"),
            Some(certificates) => {
                match tokio::task::spawn_blocking(move || certificates.reload()).await {
                    Ok(Ok(changed)) => tracing::info!(changed, "{cause}: the certificates are reloaded"),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "{cause}: the certificates are not taken; those of before go on");
                    }
                    // The runtime ends.
                    Err(_) => return,
                }
            }
        }
        let routes = config.map(|config| config.routes).unwrap_or_default();
        let replaced = self.deployer.reread(&routes).await;
        tracing::info!(replaced, "{cause}: the handlers are looked at");
    }

    fn take_page(&self, choice: &PageChoice, cause: &Cause) {
        match self.pages.page(choice) {
            Ok(page) => {
                if self.application.replace_page(page) {
                    tracing::info!("{cause}: another page is served");
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "{cause}: the page is not taken; that of before goes on");
            }
        }
    }

    /// Reads the file, and tells what of it is not taken. None without a file.
    fn configuration(&self, cause: &Cause) -> Result<Option<Config>, ConfigError> {
        let Some(Configuration { file, at_start, listen }) = &self.file else { return Ok(None) };
        let document = Document::read(file)?;
        // Its own mistakes first; what has changed is of interest only if it is right.
        let config = Config::from_document(&document, file, listen.clone())?;
        for change in at_start.changes(&document) {
            let key = &change.key;
            if change.is_live {
                tracing::info!(key, change = %change.kind, "{cause}: a key of the configuration is taken");
            } else {
                tracing::warn!(
                    key,
                    change = %change.kind,
                    remedy = cause.remedy(),
                    "{cause}: a key of the configuration is not taken"
                );
            }
        }
        Ok(Some(config))
    }
}

/// What a file was when somebody looked: when it was changed, its length, and which it was. None where there is none.
type Stamp = Option<(i64, i64, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.mtime(), about.mtime_nsec(), about.len(), about.ino()))
}

/// The configuration's file and the page's, looked at again and again, as handlers' are.
pub(super) struct Saved {
    configuration: Option<Followed>,
    page: Option<Followed>,
}

struct Followed {
    path: PathBuf,
    /// What was dealt with, and what the last look has found.
    taken: Stamp,
    last: Stamp,
}

impl Followed {
    fn new(path: &Path) -> Self {
        let now = stamp(path);
        Self { path: path.into(), taken: now, last: now }
    }

    /// Whether it is another than was dealt with, and somebody has finished writing it.
    fn is_due(&mut self) -> bool {
        let found = stamp(&self.path);
        let is_due = found == self.last && found != self.taken;
        self.last = found;
        if is_due {
            self.taken = found;
        }
        is_due
    }
}

impl Saved {
    /// The configuration's file as it is now: to be called before it is read.
    pub(super) fn now(configuration: Option<&Path>) -> Self {
        Self { configuration: configuration.map(Followed::new), page: None }
    }

    /// Follows the page's file, if it is one: from what it is now, so to be called before it is read.
    pub(super) fn set_page(&mut self, page: &PageChoice) {
        self.page = match page {
            PageChoice::File(path) if self.page.as_ref().is_some_and(|page| page.path == *path) => return,
            PageChoice::File(path) => Some(Followed::new(path)),
            PageChoice::Off | PageChoice::Own => None,
        };
    }

    /// The next file that is saved.
    ///
    /// Cancel safety: what was not given is found again.
    async fn next(&mut self) -> PathBuf {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let due = tokio::task::block_in_place(|| {
                self.configuration.iter_mut().chain(&mut self.page).find_map(|file| {
                    let is_due = file.is_due();
                    is_due.then(|| file.path.clone())
                })
            });
            if let Some(path) = due {
                return path;
            }
        }
    }
}
