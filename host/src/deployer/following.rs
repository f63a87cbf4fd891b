//! Who deals with a route's file, one after the other: SIGHUP and who watches may find the same change at the same time, and the second need
//! not compile it again.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::handler::file::{HandlerFile, Stamp};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Following {
    turn: tokio::sync::Mutex<()>,
    latest: Mutex<Latest>,
}

/// What was dealt with last, well or not.
#[derive(Debug, Default)]
struct Latest {
    /// Which one it was.
    number: u64,
    sha256: String,
}

/// The right to deal with a file, until it is dropped.
#[derive(Debug)]
pub(super) struct FollowingTurn<'a> {
    file: Arc<HandlerFile>,
    following: &'a Following,
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

impl Following {
    /// Nobody begins to deal with a file as long as this is held.
    #[cfg(test)]
    pub(super) async fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was found before has been dealt with. None if that was this file; if it has changed meanwhile, it is read again.
    pub(super) async fn turn_for(
        &self,
        mut file: Arc<HandlerFile>,
        max_bytes: Option<usize>,
    ) -> Option<FollowingTurn<'_>> {
        let before = self.latest().number;
        let turn = self.turn.lock().await;
        if self.latest().number != before {
            let found = file.clone();
            let reread = tokio::task::spawn_blocking(move || match Stamp::at(&found.seen.path) {
                Ok(stamp) if stamp == found.stamp => Some(found),
                _ => HandlerFile::read(&found.seen.path, max_bytes).ok().map(Arc::new),
            });
            // What is gone by now is nobody's; nor is anything when the runtime ends.
            file = reread.await.ok().flatten()?;
            if self.latest().sha256 == file.seen.sha256 {
                return None;
            }
        }
        Some(FollowingTurn { file, following: self, _turn: turn })
    }
}

impl Deref for FollowingTurn<'_> {
    type Target = HandlerFile;

    fn deref(&self) -> &HandlerFile {
        &self.file
    }
}

impl Drop for FollowingTurn<'_> {
    fn drop(&mut self) {
        let mut latest = self.following.latest();
        latest.number += 1;
        latest.sha256.clone_from(&self.file.seen.sha256);
    }
}
