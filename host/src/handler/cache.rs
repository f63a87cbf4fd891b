//! Compiled handlers, kept on disk between starts.
//!
//! Compiled code is trusted like the program itself, so only what this program wrote for this user is ever loaded: the
//! folder is ours alone (mode 0700), a file's name is the hash of the handler as it was given, wasmtime version and engine
//! class, and its content carries a MAC under a key that is kept in another folder. A handler that is found here is not looked into. What does not verify is compiled again.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use wasmtime::Engine;

use crate::regular_file;

/// A folder of compiled handlers.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; 32],
    max_bytes: u64,
}

/// Where the cache is, and where its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFolders {
    /// Holds the compiled handlers; may be deleted at any time.
    pub cache: PathBuf,
    /// Holds the key, and whatever else outlives a restart.
    pub state: PathBuf,
}

impl CacheFolders {
    /// What a service that root starts has: `waterspout` in `$XDG_CACHE_HOME` and `$XDG_STATE_HOME`, else in `/var/cache` and
    /// `/var/lib`.
    pub fn of_service() -> Self {
        let folder = |variable: &str, else_in: &str| {
            let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            named.unwrap_or_else(|| else_in.into()).join("waterspout")
        };
        Self { cache: folder("XDG_CACHE_HOME", "/var/cache"), state: folder("XDG_STATE_HOME", "/var/lib") }
    }

    /// Makes the folders where they are missing; for another user (by number, with group), if root asks.
    ///
    /// # Errors
    /// One cannot be made, belongs to somebody else, or others may write to it.
    pub fn make(&self, for_user: Option<(u32, u32)>) -> io::Result<()> {
        private_folder(&self.cache, for_user)?;
        private_folder(&self.state, for_user)
    }

    /// `waterspout` in the user's cache and state folders (XDG base directories); none if the environment names neither.
    pub fn of_user() -> Option<Self> {
        let folder = |variable: &str, below_home: &str| {
            let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(below_home));
            Some(named.or_else(home)?.join("waterspout"))
        };
        Some(Self {
            cache: folder("XDG_CACHE_HOME", ".cache")?,
            state: folder("XDG_STATE_HOME", ".local/state")?,
        })
    }
}

/// How long a compiled handler is kept that no start has used.
const KEPT_UNUSED: Duration = Duration::from_secs(60 * 24 * 3600);

/// How the names of files begin that are being written.
const ASIDE: &str = ".waterspout-";

/// Whether a file in the folder is one of the cache's: an operator's folder may hold others.
fn is_ours(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        let is_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        name.starts_with(ASIDE) || name.strip_suffix(".compiled").is_some_and(is_hash)
    })
}

/// What the files hold. A program that holds something else in them has another text, and so other names.
const CONTENT: &str =
    "waterspout 2026-11 compiled handler: core instances, tables of handles, bytes of an instance, artefact";
const MAC_BYTES: usize = blake3::OUT_LEN;

impl Cache {
    /// Opens the folders and makes them where they are missing. Of what is kept, what was used last stays, in `max_bytes`.
    ///
    /// # Errors
    /// A folder cannot be made, belongs to somebody else, or others may write to it.
    pub(crate) fn open(folders: &CacheFolders, max_bytes: usize) -> io::Result<Self> {
        folders.make(None)?;
        let key = read_or_make_key(&folders.state.join("cache.key"))?;
        Ok(Self { folder: folders.cache.clone(), key, max_bytes: max_bytes as u64 })
    }

    /// The compiled form of `handler` for `engine`, if it is here, was written by us and is no larger than that.
    pub(crate) fn load(&self, engine: &Engine, handler: &[u8], max_bytes: usize) -> Option<Vec<u8>> {
        let path = self.path(engine, handler);
        let bytes = match regular_file::read(&path, max_bytes.saturating_add(MAC_BYTES)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a cached handler cannot be read; it is compiled again");
                return None;
            }
        };
        let (mac, artefact) = bytes.split_at_checked(MAC_BYTES)?;
        // blake3 compares hashes in constant time.
        if self.mac(&path, artefact) == *<&[u8; MAC_BYTES]>::try_from(mac).ok()? {
            // In use: not to be trimmed. If the time cannot be set it is only compiled again one day.
            let _ = File::options()
                .append(true)
                .open(&path)
                .and_then(|file| file.set_modified(SystemTime::now()));
            return Some(artefact.to_vec());
        }
        tracing::warn!(file = %path.display(), "a cached handler does not verify; it is compiled again");
        None
    }

    /// Keeps an artefact for the next start. A cache that cannot be written costs only time.
    pub(crate) fn store(&self, engine: &Engine, handler: &[u8], artefact: &[u8]) {
        let path = self.path(engine, handler);
        if let Err(error) = self.write(&path, artefact) {
            tracing::warn!(file = %path.display(), %error, "a compiled handler could not be cached");
        }
        self.trim(&path, SystemTime::now());
    }

    /// Removes what no start has used for a long time, and what was not used for the longest while there is too much: every version of a
    /// handler leaves a file. `newest` was just written, and stays.
    fn trim(&self, newest: &Path, now: SystemTime) {
        let Ok(files) = fs::read_dir(&self.folder) else { return };
        let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for file in files.flatten().filter(|file| is_ours(&file.file_name())) {
            let Ok(about) = file.metadata() else { continue };
            let Ok(used) = about.modified() else { continue };
            if now.duration_since(used).is_ok_and(|age| age > KEPT_UNUSED) {
                // Another process may have been faster.
                let _ = fs::remove_file(file.path());
            } else if !file.file_name().to_string_lossy().starts_with(ASIDE) {
                kept.push((used, about.len(), file.path()));
            }
        }
        kept.sort_unstable();
        let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, length, path) in kept.into_iter().filter(|(_, _, path)| path != newest) {
            if bytes <= self.max_bytes {
                break;
            }
            let _ = fs::remove_file(path);
            bytes -= length;
        }
    }

    fn write(&self, path: &Path, artefact: &[u8]) -> io::Result<()> {
        // Written aside and renamed, so that nobody reads half a file.
        let aside = self.folder.join(format!("{ASIDE}{}.{:016x}", std::process::id(), random_u64()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        let written = file
            .write_all(self.mac(path, artefact).as_bytes())
            .and_then(|()| file.write_all(artefact))
            .and_then(|()| fs::rename(&aside, path));
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        written
    }

    fn path(&self, engine: &Engine, handler: &[u8]) -> PathBuf {
        struct Fingerprint(blake3::Hasher);
        impl Hasher for Fingerprint {
            fn finish(&self) -> u64 {
                unreachable!("only written to")
            }
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
        }
        let mut fingerprint = Fingerprint(blake3::Hasher::new_derive_key(CONTENT));
        // wasmtime's version and every setting of the engine that its code depends on.
        engine.precompile_compatibility_hash().hash(&mut fingerprint);
        fingerprint.0.update(blake3::hash(handler).as_bytes());
        self.folder.join(format!("{}.compiled", fingerprint.0.finalize().to_hex()))
    }

    /// Over name and content: a file that was renamed does not verify.
    fn mac(&self, path: &Path, artefact: &[u8]) -> blake3::Hash {
        let mut mac = blake3::Hasher::new_keyed(&self.key);
        mac.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        mac.update(artefact);
        mac.finalize()
    }
}

/// Makes a folder that is a user's alone, or tells why the one that is there is not.
pub(crate) fn private_folder(path: &Path, for_user: Option<(u32, u32)>) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
        Ok(()) => {
            if let Some((user, group)) = for_user {
                // By descriptor: nobody can put a link in its place meanwhile.
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
                std::os::unix::fs::fchown(folder, Some(user), Some(group))?;
            }
        }
    }
    // A link is good if what it leads to is: so has systemd the folders of a `DynamicUser`.
    let metadata = fs::metadata(path)?;
    let owner = for_user.map_or_else(|| rustix::process::geteuid().as_raw(), |(user, _)| user);
    if !metadata.is_dir() || metadata.uid() != owner || metadata.mode() & 0o077 != 0 {
        let path = path.display();
        return Err(io::Error::other(match for_user {
            None => {
                format!(
                    "{path} must be a folder that belongs to this user alone; `chmod 700` it or remove it"
                )
            }
            Some((user, group)) => format!(
                "{path} must be a folder that belongs to user {user} alone: `chown -R {user}:{group}` and `chmod 700` it, or remove it"
            ),
        }));
    }
    Ok(())
}

fn read_or_make_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    match regular_file::open(path) {
        Ok(mut file) if file.metadata()?.len() == 32 => {
            file.read_exact(&mut key)?;
            return Ok(key);
        }
        Ok(_) => fs::remove_file(path)?,
        Err(error) if regular_file::is_of_the_file(&error) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let aside = path.with_extension(format!("{}.{:016x}", std::process::id(), random_u64()));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?.write_all(&key)?;
    // Two first starts at once: the later key wins, and what the other wrote is compiled again.
    fs::rename(&aside, path)?;
    Ok(key)
}

/// For names that nobody else has.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("waterspout-cache-{:016x}", random_u64())))
        }

        fn folders(&self) -> CacheFolders {
            CacheFolders { cache: self.0.join("cache"), state: self.0.join("state") }
        }

        fn open(&self) -> Cache {
            Cache::open(&self.folders(), usize::MAX).expect("a cache")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn only_file(cache: &Cache) -> PathBuf {
        let mut files = fs::read_dir(&cache.folder).expect("a folder");
        files.next().expect("a file").expect("readable").path()
    }

    #[test]
    fn what_was_stored_is_found_again_after_a_restart() {
        let folder = Folder::new();
        let engine = Engine::default();
        folder.open().store(&engine, b"component", b"artefact");
        assert_eq!(folder.open().load(&engine, b"component", usize::MAX).as_deref(), Some(&b"artefact"[..]));
        assert_eq!(folder.open().load(&engine, b"another", usize::MAX), None);
    }

    #[test]
    fn a_changed_truncated_or_renamed_file_is_not_loaded() {
        let folder = Folder::new();
        let engine = Engine::default();
        let cache = folder.open();
        cache.store(&engine, b"component", b"artefact");
        let path = only_file(&cache);
        let good = fs::read(&path).expect("readable");
        let mut bad = good.clone();
        *bad.last_mut().expect("not empty") ^= 1;
        for content in [bad.as_slice(), &good[..good.len() - 1], &good[..7], &[]] {
            fs::write(&path, content).expect("writable");
            assert_eq!(cache.load(&engine, b"component", usize::MAX), None);
        }
        fs::write(cache.path(&engine, b"another"), &good).expect("writable");
        assert_eq!(cache.load(&engine, b"another", usize::MAX), None);
    }

    #[test]
    fn an_artefact_under_another_key_is_not_loaded() {
        let folder = Folder::new();
        let engine = Engine::default();
        folder.open().store(&engine, b"component", b"artefact");
        fs::write(folder.folders().state.join("cache.key"), [7; 32]).expect("writable");
        assert_eq!(folder.open().load(&engine, b"component", usize::MAX), None);
    }

    #[test]
    fn what_no_start_has_used_for_a_long_time_is_removed() {
        let folder = Folder::new();
        let engine = Engine::default();
        let cache = folder.open();
        cache.store(&engine, b"component", b"artefact");
        let newest = Path::new("");
        cache.trim(newest, SystemTime::now() + KEPT_UNUSED / 2);
        assert!(cache.load(&engine, b"component", usize::MAX).is_some());
        let stranger = folder.folders().cache.join("somebody-elses.toml");
        fs::write(&stranger, "").expect("writable");
        cache.trim(newest, SystemTime::now() + KEPT_UNUSED * 2);
        assert!(cache.load(&engine, b"component", usize::MAX).is_none());
        assert!(stranger.exists(), "a file that is not the cache's was removed");
    }

    #[test]
    fn a_cache_that_is_full_keeps_what_was_used_last() {
        let folder = Folder::new();
        let engine = Engine::default();
        let a_file = MAC_BYTES + b"artefact".len();
        let cache = Cache::open(&folder.folders(), 2 * a_file).expect("a cache");
        let is_kept = |handler: &[u8]| cache.path(&engine, handler).exists();
        let used_before = |handler: &[u8], seconds: u64| {
            let file = File::options().append(true).open(cache.path(&engine, handler)).expect("kept");
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).expect("ours");
        };
        cache.store(&engine, b"one", b"artefact");
        cache.store(&engine, b"two", b"artefact");
        assert!(is_kept(b"one") && is_kept(b"two"), "exactly as much as there may be");
        used_before(b"one", 20);
        used_before(b"two", 10);
        assert!(cache.load(&engine, b"one", usize::MAX).is_some(), "used now");
        cache.store(&engine, b"three", b"artefact");
        assert!(is_kept(b"one") && !is_kept(b"two") && is_kept(b"three"));
        // Alone it is too much, and yet what the next start needs.
        cache.store(&engine, b"large", &[0; 1000]);
        assert!(!is_kept(b"one") && !is_kept(b"three") && is_kept(b"large"));
    }

    #[test]
    fn a_folder_may_be_a_link_to_one_of_ours() {
        let (folder, elsewhere) = (Folder::new(), Folder::new());
        elsewhere.open();
        fs::create_dir_all(&folder.0).expect("writable");
        std::os::unix::fs::symlink(elsewhere.folders().cache, folder.folders().cache).expect("writable");
        let engine = Engine::default();
        folder.open().store(&engine, b"component", b"artefact");
        assert!(folder.open().load(&engine, b"component", usize::MAX).is_some());
        let shared = elsewhere.folders().cache;
        fs::set_permissions(shared, fs::Permissions::from_mode(0o777)).expect("ours");
        Cache::open(&folder.folders(), usize::MAX).expect_err("what the link leads to is everybody's");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = Folder::new();
        folder.open();
        fs::set_permissions(folder.folders().cache, fs::Permissions::from_mode(0o777)).expect("ours");
        let error = Cache::open(&folder.folders(), usize::MAX).expect_err("refused").to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }
}
