//! Files of handlers that are looked at again and again, and deployed when they have changed.
//!
//! Looking, rather than being told: that works on every file system and platform, in containers, through links that are switched, and in
//! the sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Deployer;
use crate::handler::file::{HandlerFile, Stamp, is_whole};

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// A file is read when it has been the same for so many looks more.
const SETTLED: u32 = 2;
/// A file that is not whole by then (5 s) will not be: its mistake is told.
const ABANDONED: u32 = 20;

/// One file.
#[derive(Debug, Default)]
struct Watched {
    /// What the last look has found.
    stamp: Option<Stamp>,
    /// How many looks before that have found the same.
    unchanged: u32,
    /// What has been dealt with, well or not.
    settled: Option<Stamp>,
    /// It is being dealt with.
    busy: bool,
    /// It was not whole when it was last read.
    partial: bool,
}

impl Watched {
    /// Whether the file is to be read now. A file that is not there may come back.
    fn is_due(&mut self, found: Option<Stamp>) -> bool {
        if found != self.stamp {
            (self.stamp, self.unchanged, self.partial) = (found, 0, false);
            return false;
        }
        self.unchanged = self.unchanged.saturating_add(1);
        let patience = if self.partial { ABANDONED } else { SETTLED };
        found.is_some() && found != self.settled && !self.busy && self.unchanged >= patience
    }
}

/// What has become of a file that was due.
struct Dealt {
    path: PathBuf,
    /// None: it is to be read again later.
    settled: Option<Stamp>,
}

impl Deployer {
    /// Deploys handlers whose files change, for ever.
    ///
    /// Cancel safety: what is being deployed goes on.
    pub async fn watch(self) {
        self.watch_unless(|| false).await;
    }

    /// The same; while `is_held` says so, files are left alone. Who builds handlers holds them until they are whole and checked.
    ///
    /// Cancel safety: what is being deployed goes on.
    pub async fn watch_unless(self, is_held: impl Fn() -> bool + Send) {
        let mut files: BTreeMap<PathBuf, Watched> = BTreeMap::new();
        let mut deploying: JoinSet<Dealt> = JoinSet::new();
        loop {
            tokio::time::sleep(INTERVAL).await;
            if is_held() {
                continue;
            }
            while let Some(dealt) = deploying.try_join_next() {
                // A panic has been told; that file is busy for ever.
                let Ok(Dealt { path, settled }) = dealt else { continue };
                let Some(file) = files.get_mut(&path) else { continue };
                file.busy = false;
                match settled {
                    Some(stamp) => file.settled = Some(stamp),
                    None => file.partial = true,
                }
            }
            let paths: BTreeSet<PathBuf> =
                self.inner.records.iter().filter_map(|record| record.path()).collect();
            let look = move || {
                let stamped = paths.into_iter().map(|path| (Stamp::at(&path).ok(), path));
                stamped.collect::<Vec<_>>()
            };
            // The runtime ends.
            let Ok(looked) = tokio::task::spawn_blocking(look).await else { return };
            files.retain(|path, _| looked.iter().any(|(_, looked)| looked == path));
            for (stamp, path) in looked {
                let file = files.entry(path.clone()).or_default();
                if file.is_due(stamp) {
                    file.busy = true;
                    let is_last_try = file.unchanged >= ABANDONED;
                    deploying.spawn(self.clone().deal_with(path, stamp, is_last_try));
                }
            }
        }
    }

    async fn deal_with(self, path: PathBuf, stamp: Option<Stamp>, is_last_try: bool) -> Dealt {
        let max_bytes = self.max_handler_bytes();
        let read_from = path.clone();
        let read = tokio::task::spawn_blocking(move || HandlerFile::read(&read_from, max_bytes)).await;
        let routes = self.routes_of(&path);
        let settled = match read {
            // The runtime ends.
            Err(_) => None,
            Ok(Ok(file)) if Some(file.stamp) != stamp => None,
            Ok(Ok(file)) if !is_whole(&file.bytes) && !is_last_try => None,
            Ok(Ok(file)) => {
                self.follow(routes, Arc::new(file)).await;
                stamp
            }
            Ok(Err(error)) => {
                for index in routes {
                    self.note_unreadable(index, &path, &error);
                }
                stamp
            }
        };
        Dealt { path, settled }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Stamps of a file of this length and of the same one that has grown.
    fn stamps() -> [Stamp; 2] {
        let path = std::env::temp_dir()
            .join(format!("waterspout-watch-{:016x}", crate::handler::cache::random_u64()));
        let stamps = ["one", "more"].map(|content| {
            fs::write(&path, content).expect("writable");
            Stamp::at(&path).expect("there")
        });
        fs::remove_file(&path).expect("ours");
        stamps
    }

    #[test]
    fn a_file_is_read_once_it_has_not_changed_for_two_looks_and_never_twice() {
        let [one, more] = stamps();
        let mut file = Watched::default();
        let due: Vec<bool> = [one, one, more, more, more, more].map(|stamp| file.is_due(Some(stamp))).into();
        assert_eq!(due, [false, false, false, false, true, true]);
        file.busy = true;
        assert!(!file.is_due(Some(more)), "it is being dealt with");
        (file.busy, file.settled) = (false, Some(more));
        assert!(!file.is_due(Some(more)));
        // Gone, and back as it was.
        assert!(
            [None, None, None, Some(more), Some(more), Some(more)].iter().all(|found| !file.is_due(*found))
        );
        assert_eq!([one, one, one].map(|stamp| file.is_due(Some(stamp))), [false, false, true]);
    }

    #[test]
    fn a_partial_file_is_read_again_when_it_has_changed_or_is_abandoned() {
        let [one, more] = stamps();
        let mut file = Watched::default();
        assert_eq!([one, one, one].map(|stamp| file.is_due(Some(stamp))), [false, false, true]);
        file.partial = true;
        assert_eq!([more, more, more].map(|stamp| file.is_due(Some(stamp))), [false, false, true]);
        file.partial = true;
        let waits = (0..).take_while(|_| !file.is_due(Some(more))).count();
        assert_eq!(waits as u32, ABANDONED - SETTLED - 1);
    }
}
