//! The side that comes, and stays.

use std::collections::HashSet;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::descriptors::Reception;
use super::message::{Confined, Message, PROTOCOL, Purpose, Socket};
use super::{READY, VARIABLE};
use crate::server::listener::{HandedSocket, InheritedSockets};
use crate::server::routes::Route;

/// How long the predecessor may take to say what there is.
const PATIENCE: Duration = Duration::from_secs(10);

/// The process whose place this one was started to take.
#[derive(Debug)]
pub struct Predecessor {
    socket: UnixStream,
    sockets: Vec<(Socket, OwnedFd)>,
    served: HashSet<(String, String)>,
    confined: Option<Confined>,
}

/// Why a process cannot take another's place, for which it was started. End it: the other one goes on.
#[derive(Debug, thiserror::Error)]
pub enum PredecessorError {
    /// No predecessor, but the variable that says so.
    #[error(
        "{VARIABLE} is set, and standard input is not the socket of a process to take over from ({0}): unset it"
    )]
    None(io::Error),
    /// What it says is cut off, or no version of this program says it.
    #[error("what the process to take over from says cannot be understood: {0}")]
    Malformed(String),
    /// It is of a version that this one does not know.
    #[error(
        "the process to take over from speaks version {0} of the takeover, and this one {PROTOCOL}: restart instead"
    )]
    Protocol(u32),
}

impl Predecessor {
    /// The one that has started this process for that; none if nobody has. Standard input is the socket, and has an end when all is over.
    /// Call it first of all, before there are threads, and before anything is asked of the machine.
    ///
    /// # Errors
    /// See [`PredecessorError`].
    pub fn of_this_process() -> Result<Option<Self>, PredecessorError> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let socket = standard_input().map_err(PredecessorError::None)?;
        let predecessor = Self::on(socket)?;
        Ok(Some(predecessor))
    }

    fn on(socket: UnixStream) -> Result<Self, PredecessorError> {
        let malformed = |error: io::Error| PredecessorError::Malformed(error.to_string());
        socket.set_read_timeout(Some(PATIENCE)).map_err(malformed)?;
        let mut reception = Reception::on(&socket);
        let line = reception.line().map_err(malformed)?;
        let spoken = |line: &[u8]| -> Option<u32> {
            let value: serde_json::Value = serde_json::from_slice(line).ok()?;
            value.get("protocol")?.as_u64()?.try_into().ok()
        };
        if let Some(other) = spoken(&line).filter(|protocol| *protocol != PROTOCOL) {
            return Err(PredecessorError::Protocol(other));
        }
        let message: Message =
            serde_json::from_slice(&line).map_err(|error| PredecessorError::Malformed(error.to_string()))?;
        let descriptors = reception.descriptors(message.sockets.len()).map_err(malformed)?;
        crate::machine::remember_memory(message.memory_bytes);
        Ok(Self {
            socket,
            sockets: message.sockets.into_iter().zip(descriptors).collect(),
            served: message.routes.into_iter().collect(),
            confined: message.confined,
        })
    }

    /// Whether it is in a sandbox, and with it this process.
    pub fn confined(&self) -> Option<Confined> {
        self.confined
    }

    /// The sockets that it listens on, for this purpose. Those that are taken out of them are not touched before [`ready`](Self::ready):
    /// their files are the predecessor's until they are given to [`ListenerHandle::own_file`](crate::ListenerHandle::own_file).
    pub fn take_listeners(&mut self, purpose: Purpose) -> InheritedSockets {
        let handed = self.take(purpose).into_iter();
        InheritedSockets::handed(
            handed
                .map(|(Socket { address, has_file, .. }, descriptor)| HandedSocket {
                    address,
                    has_file,
                    descriptor,
                })
                .collect(),
        )
    }

    /// The socket over which whoever supervises both is told of them.
    pub fn take_supervisor(&mut self) -> Option<OwnedFd> {
        self.take(Purpose::Supervisor).into_iter().next().map(|(_, descriptor)| descriptor)
    }

    fn take(&mut self, purpose: Purpose) -> Vec<(Socket, OwnedFd)> {
        let (taken, left) =
            std::mem::take(&mut self.sockets).into_iter().partition(|(socket, _)| socket.purpose == purpose);
        self.sockets = left;
        taken
    }

    /// Whether it serves a route of this tenant and name: then its successor must.
    pub fn serves(&self, route: &Route) -> bool {
        self.served.contains(&(route.tenant.name.clone(), route.name.clone()))
    }

    /// Says that this process can serve: the predecessor stops accepting.
    ///
    /// # Errors
    /// It is gone. Whoever can serve should.
    pub fn ready(mut self) -> io::Result<()> {
        self.socket.write_all(READY)
    }
}

/// Standard input, if it is a Unix socket.
fn standard_input() -> io::Result<UnixStream> {
    let stdin = io::stdin();
    rustix::net::getpeername(stdin.as_fd())?;
    Ok(stdin.as_fd().try_clone_to_owned()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> PredecessorError {
        let (mut ours, theirs) = UnixStream::pair().expect("sockets");
        ours.write_all(line.as_bytes()).expect("sent");
        drop(ours);
        Predecessor::on(theirs).expect_err("no predecessor")
    }

    #[test]
    fn a_predecessor_of_another_kind_is_refused() {
        assert!(matches!(said("{\"protocol\":2,\"other\":true}\n"), PredecessorError::Protocol(2)));
        for line in ["", "{", "{}\n", "hello\n", "{\"protocol\":1}\n"] {
            assert!(matches!(said(line), PredecessorError::Malformed(_)), "{line}");
        }
        let line = "{\"protocol\":1,\"sockets\":[{\"purpose\":\"listener\",\"address\":\"systemd\",\"has-file\":false}],\
                    \"routes\":[],\"memory-bytes\":1,\"confined\":null}\n";
        assert!(matches!(said(line), PredecessorError::Malformed(_)), "the descriptor is missing");
    }
}
