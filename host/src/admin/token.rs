//! The bearer token: what a file says now. A file that cannot be trusted lets nobody in.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use http::{HeaderValue, StatusCode};

use super::answers::Problem;
use crate::regular_file;

/// Shorter could be guessed.
const MIN_BYTES: usize = 16;
/// More than any token has.
const MAX_BYTES: usize = 4096;
/// Everything for others, and writing for the group.
const FORBIDDEN_MODE: u32 = 0o027;

/// Why a token's file cannot be used. Correct the file.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("{}: cannot be read: {error}", .file.display())]
    Read {
        /// The token's file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is a folder, a pipe or a device.
    #[error("{}: is no plain file", .0.display())]
    NotAFile(PathBuf),
    /// Who is not meant to can read or write it.
    #[error("{}: others may use it (mode {mode:04o}): `chmod 600 {}`", .file.display(), .file.display())]
    Open {
        /// The token's file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It holds no token.
    #[error(
        "{}: a token has {MIN_BYTES} to {MAX_BYTES} visible ASCII characters in one line, this one {found}: make one by \
         `openssl rand -hex 32`", .file.display()
    )]
    NoToken {
        /// The token's file.
        file: PathBuf,
        /// What is there instead.
        found: String,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct TokenFile {
    file: PathBuf,
    known: Mutex<Known>,
}

/// What was read when the file looked so. Of the token only its hash is kept, which is also compared in constant time.
#[derive(Debug)]
struct Known {
    look: Option<Look>,
    token: Option<blake3::Hash>,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    device_and_number: (u64, u64),
    bytes: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    fn of(file: &Metadata) -> Self {
        Self {
            device_and_number: (file.dev(), file.ino()),
            bytes: file.size(),
            mode: file.mode(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

impl TokenFile {
    /// Reads it, and again whenever it has changed.
    pub(super) fn open(file: PathBuf) -> Result<Self, TokenError> {
        let (look, token) = read(&file)?;
        Ok(Self { file, known: Mutex::new(Known { look: Some(look), token: Some(token) }) })
    }

    /// Whether an `Authorization` header has it (RFC 6750 section 2.1).
    pub(super) fn check(&self, given: Option<&HeaderValue>) -> Result<(), Problem> {
        let Some(token) = self.now() else {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The file with the token cannot be used; the log says why.",
            ));
        };
        let bearer = |header: &HeaderValue| {
            let (scheme, given) = header.to_str().ok()?.split_once(' ')?;
            // Hashes compare in constant time.
            (scheme.eq_ignore_ascii_case("bearer") && blake3::hash(given.trim().as_bytes()) == token)
                .then_some(())
        };
        given.and_then(bearer).ok_or_else(Problem::unauthorized)
    }

    /// The token that the file has now.
    fn now(&self) -> Option<blake3::Hash> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let look = std::fs::metadata(&self.file).ok().as_ref().map(Look::of);
        if look.is_some() && look == known.look {
            return known.token;
        }
        let (look, token) = match read(&self.file) {
            Ok((look, token)) => {
                tracing::info!(file = %self.file.display(), "the admin token has changed and is taken");
                (Some(look), Some(token))
            }
            Err(error) => {
                if known.token.is_some() {
                    tracing::warn!(%error, "the admin token cannot be used: nobody is let in");
                }
                (look, None)
            }
        };
        *known = Known { look, token };
        token
    }
}

fn read(file: &Path) -> Result<(Look, blake3::Hash), TokenError> {
    let read = |error| TokenError::Read { file: file.into(), error };
    let opened = match regular_file::open(file) {
        Err(error) if regular_file::is_of_the_file(&error) => {
            return Err(TokenError::NotAFile(file.into()));
        }
        opened => opened.map_err(read)?,
    };
    let metadata = opened.metadata().map_err(read)?;
    let mode = metadata.mode() & 0o777;
    if mode & FORBIDDEN_MODE != 0 {
        return Err(TokenError::Open { file: file.into(), mode });
    }
    let mut bytes = Vec::new();
    opened.take(MAX_BYTES as u64 + 2).read_to_end(&mut bytes).map_err(read)?;
    let token = bytes.trim_ascii();
    let found = match token {
        _ if !(MIN_BYTES..=MAX_BYTES).contains(&token.len()) => format!("{} bytes", token.len()),
        _ if !token.iter().all(u8::is_ascii_graphic) => "others".to_owned(),
        _ => return Ok((Look::of(&metadata), blake3::hash(token))),
    };
    Err(TokenError::NoToken { file: file.into(), found })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("waterspout-token-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("a folder");
            Self(folder)
        }

        fn file(&self, content: &str, mode: u32) -> PathBuf {
            let (new, file) = (self.0.join("new"), self.0.join("token"));
            std::fs::write(&new, content).expect("written");
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).expect("ours");
            std::fs::rename(new, &file).expect("ours");
            file
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn bearer(token: &str) -> HeaderValue {
        HeaderValue::from_str(token).expect("a header")
    }

    #[test]
    fn only_the_token_of_the_file_as_it_is_now_is_let_in() {
        let scratch = Scratch::new("now");
        let token = TokenFile::open(scratch.file("0123456789abcdef\n", 0o640)).expect("a token");
        assert_eq!(token.check(Some(&bearer("Bearer 0123456789abcdef"))), Ok(()));
        assert_eq!(token.check(Some(&bearer("bearer 0123456789abcdef"))), Ok(()));
        for wrong in
            ["Bearer 0123456789abcdeF", "Bearer", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef"]
        {
            assert_eq!(token.check(Some(&bearer(wrong))), Err(Problem::unauthorized()), "{wrong}");
        }
        assert_eq!(token.check(None), Err(Problem::unauthorized()));
        scratch.file("another token? no, one word", 0o600);
        assert_ne!(token.check(Some(&bearer("Bearer 0123456789abcdef"))), Ok(()), "nobody");
        scratch.file("fedcba9876543210", 0o600);
        assert_eq!(token.check(Some(&bearer("Bearer fedcba9876543210"))), Ok(()));
        assert_eq!(token.check(Some(&bearer("Bearer 0123456789abcdef"))), Err(Problem::unauthorized()));
        std::fs::remove_file(scratch.0.join("token")).expect("it was there");
        assert_ne!(token.check(Some(&bearer("Bearer fedcba9876543210"))), Ok(()), "nobody");
    }

    #[test]
    fn a_token_of_16_bytes_is_taken_and_one_of_15_is_not() {
        let scratch = Scratch::new("short");
        assert!(TokenFile::open(scratch.file("0123456789abcdef", 0o600)).is_ok());
        let error = TokenFile::open(scratch.file("0123456789abcde\n\n", 0o600)).expect_err("too short");
        assert!(error.to_string().contains("15 bytes"), "{error}");
        assert!(TokenFile::open(scratch.file(&"x".repeat(4096), 0o600)).is_ok());
        assert!(TokenFile::open(scratch.file(&"x".repeat(4097), 0o600)).is_err());
    }

    #[test]
    fn a_file_that_others_may_use_is_refused_with_the_command_that_mends_it() {
        let scratch = Scratch::new("open");
        for mode in [0o644, 0o604, 0o620, 0o601] {
            let error = TokenFile::open(scratch.file("0123456789abcdef", mode)).expect_err("open");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        let error = TokenFile::open(scratch.0.clone()).expect_err("a folder");
        assert!(error.to_string().contains("no plain file"), "{error}");
        let error = TokenFile::open(scratch.0.join("none")).expect_err("nothing");
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
}
