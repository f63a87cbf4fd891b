//! A route's handler file, as it is found: whether it is whole, and whether what it holds is to be served.
//!
//! A file is known by its content. Times and numbers of inodes only say that it is worth reading again.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::handler::{HandlerSource, LoadError, sha256};

/// When a file was last written: seconds and nanoseconds since 1970, as its file system has them.
pub(crate) type Modified = (i64, i64);

/// What tells that a file may have changed, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: Modified,
    /// Unlike the other time nobody can set it.
    changed: Modified,
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    /// Of the file that a path leads to now, by whatever links.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|file| Self::of(&file))
    }
}

/// A handler file as it was when somebody decided what is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    #[serde(with = "any_path")]
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
    pub(crate) modified: Modified,
}

/// A path as a text, or as bytes where it is none.
pub(crate) mod any_path {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(PathBuf),
        Bytes(Vec<u8>),
    }

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => text.serialize(serializer),
            None => path.as_os_str().as_bytes().serialize(serializer),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Text(path) => path,
            Written::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }
}

/// A handler file that has been read.
#[derive(Debug)]
pub(crate) struct HandlerFile {
    pub(crate) seen: Seen,
    pub(crate) stamp: Stamp,
    pub(crate) bytes: Bytes,
}

impl HandlerFile {
    /// Blocks.
    pub(crate) fn read(path: &Path, max_bytes: Option<usize>) -> Result<Self, LoadError> {
        let stamp = Stamp::at(path)?;
        let bytes = HandlerSource::File(path.into()).read(max_bytes)?;
        let path = std::path::absolute(path)?;
        let seen = Seen { path, sha256: sha256(&bytes), modified: stamp.modified };
        Ok(Self { seen, stamp, bytes })
    }
}

/// How far behind the system's clock the time of a file that is written may be: Linux takes the time of its last tick, of which there are
/// 100 to 1,000 a second (`CLOCK_REALTIME_COARSE`, clock_gettime(2)).
const FILE_CLOCK_TICK: Duration = Duration::from_millis(10);

/// What a route serves, as far as its file matters.
#[derive(Debug)]
pub(crate) struct Served<'a> {
    /// The digest of the current version; none while there is none.
    pub(crate) sha256: Option<&'a str>,
    /// When that was loaded.
    pub(crate) since: SystemTime,
    pub(crate) pinned: bool,
    /// The file, when it was last decided what is served.
    pub(crate) seen: Option<&'a Seen>,
}

/// What is to be done about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is to be served.
    Deploy,
    /// It is served.
    Served,
    /// Something else is served on purpose, and the file has not changed since.
    Known,
    /// Something else is served on purpose, and the file is another, but no newer one.
    NotNewer,
    /// What is served is to stay.
    Pinned,
    /// It could not be loaded, and has not changed since.
    Failed,
}

impl Verdict {
    /// Of a file that was found.
    pub(crate) fn of(found: &Seen, served: &Served<'_>) -> Self {
        let Some(current) = served.sha256 else { return Self::Deploy };
        if found.sha256 == current {
            return Self::Served;
        }
        if served.pinned {
            return Self::Pinned;
        }
        let Some(seen) = served.seen else {
            // Nobody knows what the file was like.
            let since = since_1970(served.since.checked_sub(FILE_CLOCK_TICK).unwrap_or(UNIX_EPOCH));
            return if found.modified > since { Self::Deploy } else { Self::NotNewer };
        };
        // The route follows its file, or the operator has named another one.
        if seen.sha256 == current || seen.path != found.path && seen.sha256 != found.sha256 {
            return Self::Deploy;
        }
        match (seen.sha256 == found.sha256, found.modified > seen.modified) {
            (true, _) => Self::Known,
            (false, true) => Self::Deploy,
            (false, false) => Self::NotNewer,
        }
    }
}

fn since_1970(time: SystemTime) -> Modified {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), i64::from(since.subsec_nanos()))
}

/// How a WebAssembly binary begins, component or core module, before its version.
const MAGIC: &[u8] = b"\0asm";
const HEADER_BYTES: usize = 8;

/// Whether this may be a whole handler, and not the beginning of one that is being copied: only the lengths of a binary's sections are
/// looked at. Of a text nobody can tell.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    if bytes.len() < MAGIC.len() {
        return !bytes.is_empty() && !MAGIC.starts_with(bytes);
    }
    if !bytes.starts_with(MAGIC) {
        return true;
    }
    let Some(mut rest) = bytes.get(HEADER_BYTES..) else { return false };
    // A header alone is how a copy begins, and no handler.
    if rest.is_empty() {
        return false;
    }
    while let Some((_, after_id)) = rest.split_first() {
        let Some((length, content)) = leb128(after_id) else { return false };
        let Some(next) = usize::try_from(length).ok().and_then(|length| content.get(length..)) else {
            return false;
        };
        rest = next;
    }
    true
}

/// An unsigned number (WebAssembly 2.0, 5.2.2), and what follows it.
fn leb128(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(sha256: &str, modified: i64) -> Seen {
        Seen { path: "/srv/chat.wasm".into(), sha256: sha256.into(), modified: (modified, 0) }
    }

    fn verdict(found: &Seen, current: &str, of_file: &Seen) -> Verdict {
        let served = Served { sha256: Some(current), since: UNIX_EPOCH, pinned: false, seen: Some(of_file) };
        Verdict::of(found, &served)
    }

    #[test]
    fn a_route_that_follows_its_file_takes_every_other_one_however_old() {
        assert_eq!(verdict(&seen("b", 1), "a", &seen("a", 5)), Verdict::Deploy);
        assert_eq!(verdict(&seen("a", 9), "a", &seen("a", 5)), Verdict::Served);
    }

    #[test]
    fn what_was_deployed_or_put_back_yields_only_to_a_newer_file() {
        assert_eq!(verdict(&seen("file", 5), "deployed", &seen("file", 5)), Verdict::Known);
        assert_eq!(verdict(&seen("file", 9), "deployed", &seen("file", 5)), Verdict::Known);
        assert_eq!(verdict(&seen("other", 5), "deployed", &seen("file", 5)), Verdict::NotNewer);
        assert_eq!(verdict(&seen("other", 6), "deployed", &seen("file", 5)), Verdict::Deploy);
        assert_eq!(verdict(&seen("deployed", 1), "deployed", &seen("file", 5)), Verdict::Served);
    }

    #[test]
    fn another_path_is_the_operators_word_unless_it_holds_the_same() {
        let elsewhere = |sha256| Seen { path: "/srv/other.wasm".into(), ..seen(sha256, 1) };
        assert_eq!(verdict(&elsewhere("other"), "deployed", &seen("file", 5)), Verdict::Deploy);
        assert_eq!(verdict(&elsewhere("file"), "deployed", &seen("file", 5)), Verdict::Known);
    }

    #[test]
    fn a_pinned_version_stays_and_a_route_without_one_takes_what_there_is() {
        let file = seen("a", 5);
        let served = |sha256| Served { sha256, since: UNIX_EPOCH, pinned: true, seen: Some(&file) };
        assert_eq!(Verdict::of(&seen("b", 9), &served(Some("a"))), Verdict::Pinned);
        assert_eq!(Verdict::of(&seen("b", 9), &served(None)), Verdict::Deploy);
    }

    #[test]
    fn a_file_that_nobody_has_seen_must_be_newer_than_what_is_served() {
        let since = UNIX_EPOCH + Duration::from_secs(5);
        let served = Served { sha256: Some("deployed"), since, pinned: false, seen: None };
        assert_eq!(Verdict::of(&seen("file", 4), &served), Verdict::NotNewer);
        assert_eq!(Verdict::of(&seen("file", 6), &served), Verdict::Deploy);
        // Written in the tick in which the other was loaded.
        let in_one_tick = Seen { modified: (4, 995_000_000), ..seen("file", 0) };
        assert_eq!(Verdict::of(&in_one_tick, &served), Verdict::Deploy);
    }

    #[test]
    fn every_path_can_be_written_and_read() {
        use std::os::unix::ffi::OsStringExt;
        for path in [b"/srv/chat.wasm".to_vec(), b"/srv/\xff\xfe.wasm".to_vec()] {
            let seen = Seen { path: std::ffi::OsString::from_vec(path).into(), ..seen("a", -5) };
            let text = serde_json::to_string(&seen).expect("JSON");
            assert_eq!(serde_json::from_str::<Seen>(&text).expect(&text), seen);
        }
    }

    #[test]
    fn no_beginning_of_a_component_is_whole_unless_it_ends_with_a_section() {
        let whole = crate::handler::echo::component();
        assert!(is_whole(&whole));
        let ends: Vec<usize> = (0..whole.len()).filter(|&end| is_whole(&whole[..end])).collect();
        let sections = wasmparser::Parser::new(0)
            .parse_all(&whole)
            .filter_map(|payload| payload.expect("a component").as_section().map(|(_, range)| range.end));
        let sections: Vec<usize> = sections.collect();
        assert!(ends.iter().all(|end| sections.contains(end)), "{ends:?} are not among {sections:?}");
    }

    #[test]
    fn a_text_may_be_whole_and_nothing_is_not() {
        assert!(is_whole(b"(component)") && is_whole(b"no"));
        assert!(!is_whole(b"") && !is_whole(b"\0as") && !is_whole(b"\0asm\x0d\0\x01\0"));
        // A length that no file has.
        assert!(!is_whole(b"\0asm\x0d\0\x01\0\x00\xff\xff\xff\xff\x0f"));
    }
}
