//! A line of text and some descriptors, over a Unix stream socket (`unix(7)`, `SCM_RIGHTS`): first the line, then a byte for each
//! descriptor.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Far more than a configuration comes to.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Of one `recvmsg`: the kernel's limit.
const MAX_DESCRIPTORS_AT_ONCE: usize = 253;

/// Sends a line, which has no line break in it, and descriptors. Blocks, as long as the socket's time-out.
pub(super) fn send<F: AsFd>(socket: &UnixStream, line: &[u8], descriptors: &[F]) -> io::Result<()> {
    let mut writer = socket;
    writer.write_all(line)?;
    writer.write_all(b"\n")?;
    for descriptor in descriptors {
        let one = [descriptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&one));
        while let Err(error) = sendmsg(socket, &[IoSlice::new(b".")], &mut control, SendFlags::empty()) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// What comes over a socket, in pieces.
pub(super) struct Reception<'a> {
    socket: &'a UnixStream,
    bytes: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
}

impl<'a> Reception<'a> {
    pub(super) fn on(socket: &'a UnixStream) -> Self {
        Self { socket, bytes: Vec::new(), descriptors: VecDeque::new() }
    }

    /// The line. Blocks.
    pub(super) fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let rest = self.bytes.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.bytes, rest);
                line.pop();
                return Ok(line);
            }
            if self.bytes.len() > MAX_LINE_BYTES {
                return Err(io::Error::new(ErrorKind::InvalidData, "it says more than it can have to say"));
            }
            self.receive()?;
        }
    }

    /// So many descriptors. Blocks.
    pub(super) fn descriptors(mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        while self.bytes.len() < count {
            self.receive()?;
        }
        if self.descriptors.len() != count {
            let why = format!("{count} descriptors were to come, and {} came", self.descriptors.len());
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        Ok(self.descriptors.into())
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS_AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(self.socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::empty());
        let count = match received {
            Ok(received) => received.bytes,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                for descriptor in descriptors {
                    fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
                    self.descriptors.push_back(descriptor);
                }
            }
        }
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.bytes.extend(&buffer[..count]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn descriptors_arrive_in_order_behind_their_line_and_no_program_inherits_them() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let pipes: Vec<_> = (0..300).map(|_| UnixStream::pair().expect("sockets")).collect();
        let (here, there): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
        let sender = std::thread::spawn(move || send(&ours, &[b'x'; 10_000], &there));
        let mut reception = Reception::on(&theirs);
        assert_eq!(reception.line().expect("a line").len(), 10_000);
        let descriptors = reception.descriptors(300).expect("as many");
        sender.join().expect("no panic").expect("sent");
        for (at, (mut here, descriptor)) in here.into_iter().zip(descriptors).enumerate() {
            assert!(rustix::io::fcntl_getfd(&descriptor).expect("open").contains(FdFlags::CLOEXEC));
            UnixStream::from(descriptor).write_all(&[at as u8]).expect("its other end is open");
            let mut byte = [0];
            here.read_exact(&mut byte).expect("a byte");
            assert_eq!(byte, [at as u8]);
        }
    }

    #[test]
    fn who_leaves_in_the_middle_is_an_error() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        (&ours).write_all(b"half a line").expect("sent");
        drop(ours);
        let error = Reception::on(&theirs).line().expect_err("it has no end");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        (&ours).write_all(b"line\n.").expect("sent");
        let mut reception = Reception::on(&theirs);
        assert_eq!(reception.line().expect("a line"), b"line");
        let error = reception.descriptors(1).expect_err("a byte without its descriptor");
        assert!(error.to_string().contains("1 descriptors were to come, and 0 came"), "{error}");
    }
}
