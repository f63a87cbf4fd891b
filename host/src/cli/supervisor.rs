//! Whoever has started this process and wants to know how it is: systemd, or what speaks like it (`sd_notify(3)`).

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

/// A supervisor that is listening; or nobody.
#[derive(Debug, Clone, Default)]
pub(super) struct Supervisor(Option<Arc<UnixDatagram>>);

impl Supervisor {
    /// Whom NOTIFY_SOCKET names. Connected now: in a sandbox it is too late.
    pub(super) fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let connected = UnixDatagram::unbound().and_then(|socket| {
            match name.as_encoded_bytes() {
                [b'@', name @ ..] => abstract_name::connect(&socket, name)?,
                _ => socket.connect(&name)?,
            }
            Ok(socket)
        });
        match connected {
            Ok(socket) => Self(Some(Arc::new(socket))),
            Err(error) => {
                tracing::warn!(socket = %name.display(), %error, "NOTIFY_SOCKET: the supervisor is not told how this process is");
                Self::default()
            }
        }
    }

    /// Whoever supervised the process before this one.
    pub(super) fn of_predecessor(socket: Option<OwnedFd>) -> Self {
        Self(socket.map(|socket| Arc::new(socket.into())))
    }

    /// The connected socket.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        self.0.as_ref().map(|socket| socket.as_fd())
    }

    /// Says something of `sd_notify(3)`.
    pub(super) fn tell(&self, assignment: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(assignment.as_bytes())
        {
            tracing::warn!(assignment, %error, "the supervisor cannot be told");
        }
    }
}

#[cfg(target_os = "linux")]
mod abstract_name {
    use std::io;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    pub(super) fn connect(socket: &UnixDatagram, name: &[u8]) -> io::Result<()> {
        socket.connect_addr(&SocketAddr::from_abstract_name(name)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod abstract_name {
    use std::io;
    use std::os::unix::net::UnixDatagram;

    pub(super) fn connect(_: &UnixDatagram, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
