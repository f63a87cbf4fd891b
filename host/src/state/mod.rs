//! What survives a restart: which versions each route serves, with their bytes, in a folder of the operator's (`state-dir`).
//!
//! Each route has a folder of its own, with a manifest and one file for each version's bytes, named by their digest. Everything is
//! written aside, synchronised and renamed, bytes before the manifest that names them: whenever the process or the machine stops, the old
//! state is there or the new one. What cannot be used is put aside under another name, and told; nothing of it is removed.
//!
//! One process at a time: a lock, which goes with the process, or is [released](StateDir::release) when another one takes over.

mod folder;
mod manifest;
mod names;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use folder::{InFlight, NoBytes, RouteFolder};
pub(crate) use manifest::{FORMAT, KeptCanary, KeptVersion, Manifest};

use crate::handler::cache::private_folder;
use crate::regular_file::{self, at_once};

/// See the module. Cheap to clone; clones share the lock.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
    /// None once it is another process's.
    lock: Arc<Mutex<Option<File>>>,
}

/// Why the state cannot be used. Correct what is named, and start again.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A folder or a file cannot be read or written.
    #[error("{}: {what}: {error}", .path.display())]
    System {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        error: io::Error,
    },
    /// Another process has it.
    #[error(
        "{} is in use by another process{by}: two servers would overwrite each other's state; give each its own, or end that one first",
        .path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// ` (number 123)`, if it is known.
        by: String,
    },
    /// A later version of this program wrote it.
    #[error(
        "{} has format {format}, and this program knows only {FORMAT}: start the version that wrote it, or move its folder away to begin with \
         the route's file",
        .path.display()
    )]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// It is damaged, or what it names cannot be loaded, and it is another process's yet.
    #[error("{}: {why}", .path.display())]
    Unusable {
        /// The route's folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It has been [released](StateDir::release).
    #[error("another process has taken over the state")]
    Released,
}

impl StateError {
    /// Of what was tried with a path.
    fn system(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { path: path.into(), what, error }
    }
}

impl StateDir {
    /// Makes the folder where it is missing (mode 0700), and takes the lock.
    ///
    /// # Errors
    /// It cannot be made or written, is not this user's alone, or another process has it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        Self::make(path, None)?;
        // What is written to later may be another working folder's.
        let path = std::path::absolute(path).map_err(StateError::system(path, "cannot be used"))?;
        let lock = Arc::new(Mutex::new(Some(take_lock(&path)?)));
        Ok(Self { path, lock })
    }

    /// Makes the folder where it is missing (mode 0700); for another user (by number, with group), if root asks.
    ///
    /// # Errors
    /// It cannot be made, or is not that user's alone.
    pub fn make(path: &Path, for_user: Option<(u32, u32)>) -> Result<(), StateError> {
        private_folder(path, for_user).map_err(StateError::system(path, "cannot be used"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets another process have it, once what is being written is written. Nothing is written from here any more.
    pub fn release(&self) {
        drop(self.lock().take());
    }

    /// Takes it back.
    ///
    /// # Errors
    /// [`StateError::InUse`]: somebody has it.
    pub fn take_back(&self) -> Result<(), StateError> {
        let mut lock = self.lock();
        if lock.is_none() {
            *lock = Some(take_lock(&self.path)?);
        }
        Ok(())
    }

    /// The folder of one route.
    pub(crate) fn route(&self, tenant: &str, route: &str) -> RouteFolder {
        RouteFolder::new(self.clone(), tenant, route)
    }
}

fn take_lock(folder: &Path) -> Result<File, StateError> {
    let path = folder.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(at_once());
    let opened = options.open(&path).and_then(regular_file::check);
    let mut file = opened.map_err(StateError::system(&path, "cannot be opened"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut number = String::new();
            // For the message only.
            let _ = file.take(20).read_to_string(&mut number);
            let number = number.trim().parse::<u32>().ok();
            let by = number.map(|number| format!(" (number {number})")).unwrap_or_default();
            return Err(StateError::InUse { path: folder.into(), by });
        }
        Err(TryLockError::Error(error)) => return Err(StateError::system(&path, "cannot be locked")(error)),
    }
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(StateError::system(&path, "cannot be written"))?;
    Ok(file)
}

/// A folder's names are on the disk, too, when this returns.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Replaces a file, or leaves it as it was, whatever happens meanwhile.
fn write_whole(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let aside = folder.join(format!("{ASIDE}{:016x}", crate::handler::cache::random_u64()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, folder.join(name))?;
        sync_folder(folder)
    };
    write().inspect_err(|_| {
        // If it was renamed it is not there any more.
        let _ = fs::remove_file(&aside);
    })
}

/// How the names of files begin that are being written.
const ASIDE: &str = ".new-";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A path that nobody has, removed with what is there in the end.
    pub(super) struct Scratch(pub(super) PathBuf);

    impl Scratch {
        pub(super) fn new() -> Self {
            Self(
                std::env::temp_dir()
                    .join(format!("waterspout-state-{:016x}", crate::handler::cache::random_u64())),
            )
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn it_belongs_to_one_server_at_a_time_and_can_be_handed_over() {
        let scratch = Scratch::new();
        let first = StateDir::open(&scratch.0).expect("new");
        let error = StateDir::open(&scratch.0).expect_err("in use").to_string();
        assert!(error.contains(&format!("number {}", std::process::id())), "{error}");
        first.release();
        let second = StateDir::open(&scratch.0).expect("free");
        first.take_back().expect_err("the other has it");
        drop(second);
        first.take_back().expect("free again");
        StateDir::open(&scratch.0).expect_err("in use again");
    }

    #[test]
    fn it_is_this_users_alone() {
        let scratch = Scratch::new();
        drop(StateDir::open(&scratch.0).expect("new"));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&scratch.0), mode(&scratch.0.join("lock"))), (0o700, 0o600));
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).expect("ours");
        let error = StateDir::open(&scratch.0).expect_err("others may look").to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }
}
