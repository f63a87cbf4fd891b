//! What is known of one route beside its versions: its file, and where its state is kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::following::{Following, FollowingTurn};
use crate::handler::endpoint::Endpoint;
use crate::handler::file::{HandlerFile, Seen, Served, Stamp, Verdict};
use crate::state::{FORMAT, KeptCanary, KeptVersion, Manifest, RouteFolder, StateError};
use crate::swap::Standing;

/// See the module.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) endpoint: Arc<Endpoint>,
    file: Mutex<FileRecord>,
    pub(super) folder: Option<RouteFolder>,
    pub(super) following: Following,
    /// What was kept, and could not be loaded at the start. It stands over the file as if it were served, until something is.
    waiting: Waiting,
}

/// What was kept, and could not be loaded at the start. It stays kept until something comes after it.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// It stands over the file as if it were served, until something is.
    pub(super) current: Option<KeptVersion>,
    /// Beside the version that began.
    pub(super) previous: Option<KeptVersion>,
    pub(super) canary: Option<KeptCanary>,
    /// Of the versions that there had been.
    pub(super) latest_number: u32,
}

#[derive(Debug, Default)]
struct FileRecord {
    /// The configuration's; none where the handler comes from elsewhere.
    path: Option<PathBuf>,
    /// As it was when the current version was decided on.
    seen: Option<Seen>,
    /// As it was before, and the number of the version that was decided on then: it may be taken back.
    before: Option<(u32, Option<Seen>)>,
    /// The same for versions that are about to be current, by number.
    in_flight: BTreeMap<u32, Option<Seen>>,
    failed: Option<Failed>,
}

/// What was found in the place of a route's file, could not be loaded, and has been told: it is not tried again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// A file that cannot be read, or none.
    Unreadable,
    /// This one, until it changes.
    File(Stamp),
}

impl Record {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        path: Option<PathBuf>,
        seen: Option<Seen>,
        folder: Option<RouteFolder>,
        failed: Option<Failed>,
    ) -> Self {
        let file = Mutex::new(FileRecord { path, seen, before: None, in_flight: BTreeMap::new(), failed });
        Self { endpoint, file, folder, following: Following::default(), waiting: Waiting::default() }
    }

    /// With what was kept, and cannot be loaded now.
    pub(super) fn waiting(self, waiting: Waiting) -> Self {
        Self { waiting, ..self }
    }

    /// For who has found this file: waits until what was found before has been dealt with.
    pub(super) async fn turn_for(
        &self,
        file: Arc<HandlerFile>,
        max_bytes: Option<usize>,
    ) -> Option<FollowingTurn<'_>> {
        self.following.turn_for(file, max_bytes).await
    }

    fn file(&self) -> MutexGuard<'_, FileRecord> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration's file.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.file().path.clone()
    }

    /// From now on this is the route's file. Returns whether that is another one.
    pub(super) fn set_path(&self, path: PathBuf) -> bool {
        let mut file = self.file();
        let changed = file.path.as_ref() != Some(&path);
        file.path = Some(path);
        changed
    }

    /// When the version of this number is current, the file has been as it was seen here.
    pub(super) fn expect(&self, number: u32, seen: Option<Seen>) {
        let standing = self.endpoint.versions.standing();
        let mut file = self.file();
        file.settle(&standing);
        file.in_flight.insert(number, seen);
    }

    /// The swap to that version is over, well or not.
    pub(super) fn do_not_expect(&self, number: u32) {
        let standing = self.endpoint.versions.standing();
        let mut file = self.file();
        file.settle(&standing);
        file.in_flight.remove(&number);
    }

    /// What was found cannot be loaded. Returns whether that is news.
    pub(super) fn note_failed(&self, failed: Failed) -> bool {
        self.file().failed.replace(failed) != Some(failed)
    }

    /// Somebody asks for the file: what has failed is tried, and told, again.
    pub(super) fn forget_failure(&self) {
        self.file().failed = None;
    }

    /// The file holds what is served.
    pub(super) fn note_served(&self, seen: Seen) {
        self.file().seen = Some(seen);
    }

    /// What is to be done about a file.
    pub(super) fn verdict(&self, found: &HandlerFile) -> Verdict {
        let standing = self.endpoint.versions.standing();
        let mut file = self.file();
        file.settle(&standing);
        if file.failed == Some(Failed::File(found.stamp)) {
            return Verdict::Failed;
        }
        file.failed = None;
        let current = standing.current.as_ref().map(|current| (current.handler.digest(), current.since));
        let waiting = || self.waiting.current.as_ref().map(|kept| (kept.sha256.as_str(), kept.since));
        let known = current.or_else(waiting);
        let served = Served {
            sha256: known.map(|(sha256, _)| sha256),
            since: known.map_or(std::time::SystemTime::UNIX_EPOCH, |(_, since)| since),
            // What is not there cannot stay.
            pinned: standing.pinned && current.is_some(),
            seen: file.seen.as_ref(),
        };
        match Verdict::of(&found.seen, &served) {
            // Nothing is: perhaps it can be loaded by now.
            Verdict::Served if current.is_none() => Verdict::Deploy,
            verdict => verdict,
        }
    }

    /// Writes what there is now, if anything is kept. Blocks.
    pub(super) fn keep(&self) -> Result<(), StateError> {
        match &self.folder {
            Some(folder) => folder.keep(|| self.manifest()),
            None => Ok(()),
        }
    }

    /// None while there is no version.
    fn manifest(&self) -> Option<Manifest> {
        let standing = self.endpoint.versions.standing();
        let mut file = self.file();
        file.settle(&standing);
        // As long as nothing has come after it.
        let waiting = Some(&self.waiting).filter(|waiting| waiting.latest_number == standing.latest_number);
        let previous = standing.previous.as_deref().map(Into::into);
        let canary = standing.canary.as_deref();
        let canary =
            canary.map(|canary| KeptCanary { candidate: (&*canary.version).into(), percent: canary.percent });
        Some(Manifest {
            format: FORMAT,
            tenant: self.endpoint.tenancy.name.clone(),
            route: self.endpoint.route.name.clone(),
            file: file.seen.clone(),
            current: (&**standing.current.as_ref()?).into(),
            previous: previous.or_else(|| waiting?.previous.clone()),
            latest_number: standing.latest_number,
            pinned: standing.pinned,
            canary: canary.or_else(|| waiting?.canary.clone()),
        })
    }
}

impl FileRecord {
    /// What was expected of a version that is, or was, current has come to pass, unless it was taken back, sooner or later: then what the file was
    /// like decides nothing, and whoever asks for it has it tried again.
    fn settle(&mut self, standing: &Standing) {
        let versions = [&standing.previous, &standing.current].into_iter().flatten();
        for version in versions {
            if let Some(seen) = self.in_flight.remove(&version.number) {
                let before = std::mem::replace(&mut self.seen, seen);
                self.before = Some((version.number, before));
            }
        }
        let is_back = |(number, _): &mut (u32, _)| standing.taken_back == Some(*number);
        if let Some((_, before)) = self.before.take_if(is_back) {
            self.seen = before;
        }
    }
}
