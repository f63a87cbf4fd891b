//! One route's folder: its manifest, and the bytes of the versions in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use super::manifest::{FORMAT, Manifest};
use super::names::folder_name;
use super::{ASIDE, StateDir, StateError, sync_folder, write_whole};
use crate::handler::sha256;
use crate::regular_file;

const MANIFEST: &str = "manifest.json";
/// Far more than three versions and some paths come to.
const MAX_MANIFEST_BYTES: usize = 1 << 20;
/// How the names of versions' bytes end.
const BYTES: &str = ".handler";
/// How the names of those end that did not load.
const UNUSABLE: &str = ".unusable";

/// See the module. Cheap to clone; clones share what they know.
#[derive(Debug, Clone)]
pub(crate) struct RouteFolder {
    state: StateDir,
    path: PathBuf,
    books: Arc<Mutex<Books>>,
}

#[derive(Debug, Default)]
struct Books {
    /// What the manifest's file holds.
    written: Option<Manifest>,
    /// Digests of bytes that no manifest names yet, and how many want them.
    in_flight: BTreeMap<String, usize>,
}

/// Bytes that stay until this is dropped, even if no manifest names them.
#[derive(Debug)]
pub(crate) struct InFlight {
    books: Arc<Mutex<Books>>,
    sha256: String,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = books.in_flight.get_mut(&self.sha256) {
            *count -= 1;
            if *count == 0 {
                books.in_flight.remove(&self.sha256);
            }
        }
    }
}

/// What is known of a manifest before it is read.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Why a version's bytes cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoBytes {
    pub(crate) why: String,
    /// Another time, or under other limits, it would be the same.
    pub(crate) are_lost: bool,
}

impl RouteFolder {
    pub(super) fn new(state: StateDir, tenant: &str, route: &str) -> Self {
        let path = state.path.join(folder_name(tenant, route));
        Self { state, path, books: Arc::default() }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was kept; none if nothing was. What cannot be understood is an `Err` of the inner result, with why.
    pub(crate) fn read(&self) -> Result<Option<Result<Manifest, String>>, StateError> {
        let file = self.path.join(MANIFEST);
        let bytes = match regular_file::read(&file, MAX_MANIFEST_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if regular_file::is_of_the_file(&error) => {
                return Ok(Some(Err(format!("{} cannot be one: {error}", file.display()))));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateError::system(&file, "cannot be read")(error)),
        };
        if let Ok(Format { format }) = serde_json::from_slice::<Format>(&bytes)
            && format > FORMAT
        {
            return Err(StateError::Newer { path: file, format });
        }
        let manifest: Result<Manifest, _> = serde_json::from_slice(&bytes);
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => return Ok(Some(Err(format!("{} is damaged: {error}", file.display())))),
        };
        if let Some(why) = manifest.contradiction() {
            return Ok(Some(Err(format!("{} is damaged: {why}", file.display()))));
        }
        self.books().written = Some(manifest.clone());
        Ok(Some(Ok(manifest)))
    }

    /// The bytes with this digest, of which there may be so many.
    ///
    /// # Errors
    /// There are none, they are others, or more than there may be.
    pub(crate) fn bytes(&self, digest: &str, max_bytes: Option<usize>) -> Result<Vec<u8>, NoBytes> {
        let file = self.bytes_file(digest);
        let bytes = regular_file::read(&file, max_bytes.unwrap_or(usize::MAX)).map_err(|error| NoBytes {
            why: format!("{} cannot be read: {error}", file.display()),
            are_lost: matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput
            ),
        })?;
        match sha256(&bytes) == digest {
            true => Ok(bytes),
            false => Err(NoBytes {
                why: format!("{} is damaged: it has not the digest of its name", file.display()),
                are_lost: true,
            }),
        }
    }

    fn bytes_file(&self, digest: &str) -> PathBuf {
        self.path.join(format!("{digest}{BYTES}"))
    }

    /// Keeps bytes, which a manifest is to name soon.
    pub(crate) fn store(&self, digest: &str, bytes: &[u8]) -> Result<InFlight, StateError> {
        let lock = self.state.lock();
        if lock.is_none() {
            return Err(StateError::Released);
        }
        *self.books().in_flight.entry(digest.into()).or_default() += 1;
        let in_flight = InFlight { books: self.books.clone(), sha256: digest.into() };
        self.make()?;
        if self.bytes(digest, Some(bytes.len())).is_err() {
            let name = format!("{digest}{BYTES}");
            write_whole(&self.path, &name, bytes)
                .map_err(StateError::system(&self.path.join(name), "cannot be written"))?;
        }
        drop(lock);
        Ok(in_flight)
    }

    /// Makes the folder where it is missing.
    fn make(&self) -> Result<(), StateError> {
        let made = match fs::DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => sync_folder(&self.state.path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        made.map_err(StateError::system(&self.path, "cannot be made"))
    }

    /// Somebody else may have written meanwhile: what is there is not known any more.
    pub(crate) fn forget_what_is_written(&self) {
        self.books().written = None;
    }

    /// Writes what there is now, and removes bytes that nothing names. `manifest` is asked when nobody else writes, so that the latest
    /// word is the last.
    pub(crate) fn keep(&self, manifest: impl FnOnce() -> Option<Manifest>) -> Result<(), StateError> {
        let lock = self.state.lock();
        if lock.is_none() {
            return Err(StateError::Released);
        }
        let Some(manifest) = manifest() else { return Ok(()) };
        let mut books = self.books();
        if books.written.as_ref() != Some(&manifest) {
            self.make()?;
            let mut text = serde_json::to_vec_pretty(&manifest).expect("texts and numbers are JSON");
            text.push(b'\n');
            // What is there then is one of both.
            books.written = None;
            write_whole(&self.path, MANIFEST, &text)
                .map_err(StateError::system(&self.path.join(MANIFEST), "cannot be written"))?;
            books.written = Some(manifest);
        }
        self.sweep(&books);
        drop(lock);
        Ok(())
    }

    /// What cannot be removed now is removed another time.
    fn sweep(&self, books: &Books) {
        let Ok(files) = fs::read_dir(&self.path) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let name = name.to_string_lossy();
            let is_wanted = |digest: &str| {
                books.in_flight.contains_key(digest)
                    || books.written.as_ref().is_some_and(|kept| kept.digests().any(|other| other == digest))
            };
            let unwanted =
                name.starts_with(ASIDE) || name.strip_suffix(BYTES).is_some_and(|name| !is_wanted(name));
            if unwanted {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    /// Puts everything aside, so that nothing of it is lost and nothing of it is used. Returns where it is.
    pub(crate) fn put_aside(&self) -> Result<PathBuf, StateError> {
        let mut books = self.books();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let aside = self
            .state
            .path
            .join(format!("{name}{UNUSABLE}-{:08x}", crate::handler::cache::random_u64() >> 32));
        fs::rename(&self.path, &aside)
            .and_then(|()| sync_folder(&self.state.path))
            .map_err(StateError::system(&self.path, "cannot be put aside"))?;
        books.written = None;
        Ok(aside)
    }

    /// Puts the bytes of one version aside; returns where they are, if there were any.
    pub(crate) fn put_bytes_aside(&self, digest: &str) -> Option<PathBuf> {
        let aside = self.path.join(format!("{digest}{UNUSABLE}"));
        fs::rename(self.bytes_file(digest), &aside).ok().map(|()| aside)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::super::manifest::{KeptOrigin, KeptVersion};
    use super::super::tests::Scratch;
    use super::*;

    fn version(number: u32, bytes: &[u8]) -> KeptVersion {
        let since = SystemTime::UNIX_EPOCH;
        KeptVersion { number, sha256: sha256(bytes), source: KeptOrigin::Deployed, since }
    }

    fn manifest(current: KeptVersion, previous: Option<KeptVersion>) -> Manifest {
        let (tenant, route) = ("acme".to_owned(), "chat".to_owned());
        let latest_number = 9;
        let (file, canary) = (None, None);
        Manifest {
            format: FORMAT,
            tenant,
            route,
            file,
            current,
            previous,
            latest_number,
            pinned: true,
            canary,
        }
    }

    fn files(folder: &RouteFolder) -> Vec<String> {
        let files = fs::read_dir(folder.path()).expect("there");
        let mut names: Vec<String> =
            files.map(|file| file.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_kept_is_read_again_and_only_what_it_names_stays() {
        let scratch = Scratch::new();
        let state = StateDir::open(&scratch.0).expect("new");
        let folder = state.route("acme", "chat");
        assert!(folder.read().expect("readable").is_none());
        let one = folder.store(&sha256(b"one"), b"one").expect("room");
        folder.keep(|| Some(manifest(version(1, b"one"), None))).expect("room");
        drop(one);
        let two = folder.store(&sha256(b"two"), b"two").expect("room");
        // Nothing names them yet.
        let three = folder.store(&sha256(b"three"), b"three").expect("room");
        let written = manifest(version(2, b"two"), Some(version(1, b"one")));
        folder.keep(|| Some(written.clone())).expect("room");
        assert_eq!(files(&folder).len(), 4, "{:?}", files(&folder));
        drop((two, three));
        folder.keep(|| Some(written.clone())).expect("room");
        assert_eq!(files(&folder).len(), 3, "{:?}", files(&folder));
        for file in files(&folder) {
            let mode = fs::metadata(folder.path().join(file)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        drop(state);
        drop(folder);
        let state = StateDir::open(&scratch.0).expect("free");
        let folder = state.route("acme", "chat");
        assert_eq!(folder.read().expect("readable"), Some(Ok(written)));
        assert_eq!(folder.bytes(&sha256(b"one"), None), Ok(b"one".to_vec()));
    }

    #[test]
    fn what_is_damaged_says_so_and_is_put_aside_whole() {
        let scratch = Scratch::new();
        let state = StateDir::open(&scratch.0).expect("new");
        let folder = state.route("acme", "chat");
        let _one = folder.store(&sha256(b"one"), b"one").expect("room");
        folder.keep(|| Some(manifest(version(1, b"one"), None))).expect("room");
        fs::write(folder.path().join(format!("{}{BYTES}", sha256(b"one"))), "others").expect("ours");
        let error = folder.bytes(&sha256(b"one"), None).expect_err("damaged");
        assert!(error.why.contains(&sha256(b"one")) && error.why.contains("is damaged"), "{error:?}");
        assert!(error.are_lost);
        let error = folder.bytes(&sha256(b"one"), Some(2)).expect_err("too many");
        assert!(!error.are_lost, "{error:?}");
        let file = folder.path().join(MANIFEST);
        let good = fs::read_to_string(&file).expect("text");
        for bad in [
            "",
            "{",
            "[]",
            &good[..good.len() / 2],
            // A name that leads elsewhere.
            &good.replace(&sha256(b"one"), "../../../etc/passwd"),
            &good.replace("\"number\": 1", "\"number\": 10"),
            &good.replace("1970-01-01", "yesterday"),
        ] {
            fs::write(&file, bad).expect("ours");
            let why = folder.read().expect("readable").expect("there").expect_err(bad);
            assert!(why.contains("manifest.json is damaged"), "{why}");
        }
        // What is no file at all is not waited for.
        fs::remove_file(&file).expect("ours");
        rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).expect("a pipe");
        let why = folder.read().expect("readable").expect("there").expect_err("a pipe");
        assert!(why.contains("manifest.json cannot be one: it is no plain file"), "{why}");
        let aside = folder.put_aside().expect("ours");
        assert!(aside.join(MANIFEST).exists() && !folder.path().exists());
        assert!(folder.read().expect("readable").is_none());
    }

    #[test]
    fn a_later_programs_state_is_not_touched() {
        let scratch = Scratch::new();
        let state = StateDir::open(&scratch.0).expect("new");
        let folder = state.route("acme", "chat");
        fs::create_dir(folder.path()).expect("ours");
        fs::write(folder.path().join(MANIFEST), "{\"format\": 2, \"else\": 1}").expect("ours");
        let error = folder.read().expect_err("newer").to_string();
        assert!(error.contains("format 2") && error.contains("manifest.json"), "{error}");
    }

    #[test]
    fn nothing_is_written_once_it_is_another_processes() {
        let scratch = Scratch::new();
        let state = StateDir::open(&scratch.0).expect("new");
        let folder = state.route("acme", "chat");
        state.release();
        assert!(matches!(folder.store(&sha256(b"one"), b"one"), Err(StateError::Released)));
        let kept = folder.keep(|| Some(manifest(version(1, b"one"), None)));
        assert!(matches!(kept, Err(StateError::Released)) && !folder.path().exists());
    }
}
