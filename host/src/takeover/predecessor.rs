//! The side that is there, and goes.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::message::{Confined, Message, PROTOCOL, Purpose, Socket};
use super::{READY, VARIABLE};
use crate::server::application::Application;
use crate::server::listener::ListenerHandle;

/// How long a successor that has closed its socket may take to end by itself, so that it can be told how it did.
const ENDING: Duration = Duration::from_secs(2);

/// How this process was started, so that its successor can be.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The program's file, by the name that led to it: another version is put there.
    pub program: PathBuf,
    /// With the program's name, the first of them.
    arguments: Vec<OsString>,
}

impl Invocation {
    /// Of this process. Call it early: later its file may have been replaced, and no name lead to it any more.
    ///
    /// # Errors
    /// The system does not say which file it is.
    pub fn of_this_process() -> io::Result<Self> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let real = std::env::current_exe()?;
        let named = arguments.first().map(PathBuf::from).unwrap_or_default();
        let leads_here = |path: &Path| std::fs::canonicalize(path).is_ok_and(|file| file == real);
        // As a shell finds it. A link that is switched leads to the new version: its name is kept, and not where it leads to today.
        let candidates: Vec<PathBuf> = if named.components().count() > 1 {
            vec![named]
        } else {
            let folders = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&folders).map(|folder| folder.join(&named)).collect()
        };
        let found = candidates.into_iter().find(|path| leads_here(path));
        let program = found.and_then(|path| std::path::absolute(path).ok()).unwrap_or(real);
        Ok(Self { program, arguments })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some((name, arguments)) = self.arguments.split_first() {
            command.arg0(name).args(arguments);
        }
        // What systemd has given was for this process, by its number.
        for variable in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"] {
            command.env_remove(variable);
        }
        command.env(VARIABLE, PROTOCOL.to_string());
        command
    }
}

/// Why there is no successor. This process goes on, and nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// Its program cannot be executed.
    #[error("{} cannot be executed: {error}{}", .program.display(), remedy(*.confined, .error))]
    Start {
        /// The file.
        program: PathBuf,
        /// This process is in a sandbox.
        confined: bool,
        /// Why.
        error: io::Error,
    },
    /// It has ended instead.
    #[error("the new process has ended before it was ready ({0}): it has said why")]
    Ended(ExitStatus),
    /// It took too long, and was killed.
    #[error("the new process was not ready after `takeover-timeout` ({}), and was killed", humantime::format_duration(*.0))]
    Late(Duration),
    /// It said something else than that it is ready, or closed its standard input, and was killed.
    #[error("the new process does not answer as a version of this program does, and was killed")]
    Stranger,
    /// This process ends.
    #[error("this process was told to end meanwhile, and the new one was killed")]
    Cancelled,
    /// Nobody listens any more, or descriptors are short.
    #[error("the sockets cannot be handed over: {0}")]
    Sockets(io::Error),
}

fn remedy(confined: bool, error: &io::Error) -> &'static str {
    if confined && error.kind() == ErrorKind::PermissionDenied {
        "; in the sandbox, a file that has replaced the program can only be executed in a folder of its own, where it was at the start \
         (docs/deployment.md)"
    } else {
        ""
    }
}

/// Everything that a successor is given.
#[derive(Debug)]
pub struct Handover {
    message: Message,
    descriptors: Vec<OwnedFd>,
    ours: UnixStream,
    theirs: UnixStream,
    cancelled: Arc<AtomicBool>,
}

/// Ends an attempt from outside.
#[derive(Debug)]
pub struct Canceller {
    socket: UnixStream,
    cancelled: Arc<AtomicBool>,
}

impl Canceller {
    /// The successor is killed, unless it is ready already.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        // Who waits for the answer sees its end.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Handover {
    /// Of a server with this application. `confined`: this process is in a sandbox, as [`crate::sandbox`] makes it.
    ///
    /// # Errors
    /// Descriptors are short.
    pub fn new(application: &Application, confined: Option<Confined>) -> Result<Self, TakeoverError> {
        let (ours, theirs) = UnixStream::pair().map_err(TakeoverError::Sockets)?;
        let routes = application.served().into_iter();
        let message = Message {
            protocol: PROTOCOL,
            sockets: Vec::new(),
            routes: routes.map(|name| (name.tenant.unwrap_or_default(), name.route)).collect(),
            memory_bytes: crate::machine::memory_bytes(),
            confined,
        };
        Ok(Self { message, descriptors: Vec::new(), ours, theirs, cancelled: Arc::default() })
    }

    /// A socket that is listened on.
    ///
    /// # Errors
    /// Nobody listens there any more; descriptors are short.
    pub fn listener(mut self, purpose: Purpose, listener: &ListenerHandle) -> Result<Self, TakeoverError> {
        let gone = || io::Error::new(ErrorKind::NotConnected, "they are closed already");
        let handed = listener.hand_over().and_then(|handed| handed.ok_or_else(gone));
        let handed = handed.map_err(TakeoverError::Sockets)?;
        let (address, has_file) = (handed.address, handed.has_file);
        self.message.sockets.push(Socket { purpose, address, has_file });
        self.descriptors.push(handed.descriptor);
        Ok(self)
    }

    /// The socket over which whoever supervises this process is told of it.
    ///
    /// # Errors
    /// Descriptors are short.
    pub fn supervisor(mut self, socket: impl AsFd) -> Result<Self, TakeoverError> {
        let descriptor = socket.as_fd().try_clone_to_owned().map_err(TakeoverError::Sockets)?;
        let (purpose, address, has_file) = (Purpose::Supervisor, String::new(), false);
        self.message.sockets.push(Socket { purpose, address, has_file });
        self.descriptors.push(descriptor);
        Ok(self)
    }

    /// By which the attempt can be ended.
    ///
    /// # Errors
    /// Descriptors are short.
    pub fn canceller(&self) -> Result<Canceller, TakeoverError> {
        let socket = self.ours.try_clone().map_err(TakeoverError::Sockets)?;
        Ok(Canceller { socket, cancelled: self.cancelled.clone() })
    }

    /// Starts the successor and waits until it is ready. Blocks, at most for `timeout` and a little. Whoever gets the child waits for its
    /// end, too.
    ///
    /// # Errors
    /// See [`TakeoverError`]: no successor is left.
    pub fn to(self, invocation: &Invocation, timeout: Duration) -> Result<Child, TakeoverError> {
        let Self { message, descriptors, ours, theirs, cancelled } = self;
        let deadline = Instant::now().checked_add(timeout);
        let mut command = invocation.command();
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let spawned = command.spawn();
        // It holds the socket's other end: its end is to be seen here.
        drop(command);
        let child = spawned.map_err(|error| TakeoverError::Start {
            program: invocation.program.clone(),
            confined: message.confined.is_some(),
            error,
        })?;
        let mut successor = Successor(Some(child));
        let line = serde_json::to_vec(&message).map_err(|error| TakeoverError::Sockets(error.into()))?;
        let said = ours
            .set_write_timeout(Some(timeout))
            .and_then(|()| super::descriptors::send(&ours, &line, &descriptors))
            .and_then(|()| answer(&ours, deadline));
        drop(descriptors);
        match said {
            Ok(answer) if answer == READY => successor.0.take().ok_or(TakeoverError::Stranger),
            _ if cancelled.load(Ordering::Relaxed) => Err(TakeoverError::Cancelled),
            Err(error) if is_late(&error) => Err(TakeoverError::Late(timeout)),
            // It has said nothing, or could not be told everything: it has gone, or is about to.
            _ => match successor.wait_until(Instant::now() + ENDING) {
                Some(status) => Err(TakeoverError::Ended(status)),
                None => Err(TakeoverError::Stranger),
            },
        }
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// What a successor answers: as many bytes as the word has, or fewer if it ends.
fn answer(mut socket: &UnixStream, deadline: Option<Instant>) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while answer.len() < READY.len() {
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
        }
        let mut buffer = [0; READY.len()];
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => answer.extend(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // It has closed its end with something unread in it.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// A child that is ended and reaped, unless it is taken out.
struct Successor(Option<Child>);

impl Successor {
    /// How it ended; none if it has not until then.
    fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            match self.0.as_mut()?.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Not there any more, or ended by this: reaped in either case.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
