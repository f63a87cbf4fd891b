//! Folders for programs, and the commands that start them there.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::handlers;

/// A folder for one test, with the user's cache and state in it. Gone with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self::within(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// Not within the repository: for those who look for something in the folders above, too.
    pub(crate) fn elsewhere() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(folder: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("waterspout-program-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder is writable");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("the target folder is writable");
        path
    }

    /// The program, in this folder.
    pub(crate) fn command(&self) -> Command {
        self.prepared(env!("CARGO_BIN_EXE_waterspout"))
    }

    /// The program as a server, on a free port.
    pub(crate) fn serve(&self) -> Command {
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command
    }

    /// The program as a server with this configuration, and an echo as `echo.wasm` beside that.
    pub(crate) fn serve_configured(&self, text: impl AsRef<[u8]>) -> Command {
        self.write("echo.wasm", handlers::echo());
        self.write("waterspout.toml", text);
        let mut command = self.command();
        command.args(["serve", "--config", "waterspout.toml"]);
        command
    }

    /// The same, with a socket that systemd has opened and calls `web`.
    pub(crate) fn serve_socket_activated(&self, listener: TcpListener, text: impl AsRef<[u8]>) -> Command {
        let program = self.serve_configured(text).get_program().to_owned();
        let mut shell = self.prepared("sh");
        // As systemd does: descriptors from 3 on, and variables that name them; LISTEN_PID is the shell's, which becomes the program.
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" serve --config waterspout.toml";
        shell.args(["-c", script]).arg(program);
        shell.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "web")]).stdin(OwnedFd::from(listener));
        shell
    }

    /// An example of this package, which `cargo test` has built.
    pub(crate) fn example(&self, name: &str) -> Command {
        let test = std::env::current_exe().expect("a test is a file");
        let examples =
            test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps").join("examples");
        let program = examples.join(name);
        assert!(
            program.exists(),
            "{} is missing: `cargo build --example {name}` in this profile",
            program.display()
        );
        self.prepared(program)
    }

    /// Another program, in this folder.
    pub(crate) fn prepared(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.0)
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    /// A file that holds a token, as the program wants it: readable by nobody else.
    pub(crate) fn write_token(&self, name: &str, token: &str) {
        let file = self.write(name, token);
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("ours");
    }

    /// The compiled handlers that the program keeps.
    pub(crate) fn compiled(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("cache/waterspout")).expect("the cache's folder");
        entries.map(|entry| entry.expect("readable").path()).collect()
    }

    /// An artefact with the signature that makes it this file's content.
    pub(crate) fn sign(&self, file: &Path, artefact: &[u8]) -> Vec<u8> {
        let key = fs::read(self.path("state/waterspout/cache.key")).expect("the cache's key");
        let mut mac = blake3::Hasher::new_keyed(&key.try_into().expect("32 bytes"));
        mac.update(file.file_name().expect("a file").as_encoded_bytes());
        mac.update(artefact);
        [mac.finalize().as_bytes().as_slice(), artefact].concat()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
