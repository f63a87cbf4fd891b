//! Files that the host reads by itself, at its start and again later: plain ones, of a size that can be meant. To open a pipe, or to read it,
//! can wait without end; a device such as `/dev/zero` has none.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::units::Unit;

/// What a person writes, or has written for him: configuration, page, certificates. All of a system's authorities are some 200 KB.
pub(crate) const MAX_TEXT_BYTES: usize = 16 << 20;

/// Opens a file for reading. Never waits.
///
/// # Errors
/// The system's; it is something else than a file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    check(OpenOptions::new().read(true).custom_flags(at_once()).open(path)?)
}

/// By which a pipe is opened without waiting for its other end. Reading a file is as it always is.
pub(crate) fn at_once() -> i32 {
    OFlags::NONBLOCK.bits().cast_signed()
}

/// The file, if it is one.
///
/// # Errors
/// It is something else.
pub(crate) fn check(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    match () {
        () if kind.is_file() => Ok(file),
        () if kind.is_dir() => Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder")),
        () => Err(io::Error::new(ErrorKind::InvalidInput, "it is no plain file, but a pipe or a device")),
    }
}

/// Reads a file, of which there may be so much.
///
/// # Errors
/// As [`open`]; it is larger, and was not read to its end.
pub(crate) fn read(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than it may have tells that it has too many.
    open(path)?.take((max_bytes as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > max_bytes {
        let why = format!("it is larger than {}", max_bytes.show());
        return Err(io::Error::new(ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// The same of a text.
///
/// # Errors
/// As [`read`]; it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let no_text = |_| io::Error::new(ErrorKind::InvalidData, "it is no text (UTF-8)");
    String::from_utf8(read(path, MAX_TEXT_BYTES)?).map_err(no_text)
}

/// Whether an error is about what lies there, and would be the same whenever it is read.
pub(crate) fn is_of_the_file(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::IsADirectory | ErrorKind::InvalidInput | ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_file_is_an_error_and_nobody_waits_for_it() {
        let folder = std::env::temp_dir()
            .join(format!("waterspout-file-{:016x}", crate::handler::cache::random_u64()));
        std::fs::create_dir(&folder).expect("a folder");
        let pipe = folder.join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
        let said = |path: &Path| read(path, 10).expect_err("no file").to_string();
        assert_eq!(said(&pipe), "it is no plain file, but a pipe or a device");
        assert_eq!(said(Path::new("/dev/zero")), "it is no plain file, but a pipe or a device");
        assert_eq!(said(&folder), "it is a folder");
        let file = folder.join("file");
        std::fs::write(&file, b"0123456789").expect("ours");
        assert_eq!(read(&file, 10).expect("as large as it may be"), b"0123456789");
        let error = read(&file, 9).expect_err("a byte too large");
        assert!(is_of_the_file(&error) && error.to_string() == "it is larger than 9", "{error}");
        std::fs::write(&file, b"\xff").expect("ours");
        assert_eq!(read_text(&file).expect_err("no text").to_string(), "it is no text (UTF-8)");
        std::fs::remove_dir_all(&folder).expect("ours");
        assert!(!is_of_the_file(&read(&file, 9).expect_err("gone")));
    }
}
