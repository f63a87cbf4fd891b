//! Where connections come from: TCP addresses, Unix sockets, and sockets that systemd has opened, or a process that this one replaces;
//! and what is expected on each of them before HTTP begins (a PROXY header, TLS).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use listenfd::ListenFd;
use rustix::io::Errno;
use rustix::net;
use socket2::{Domain, SockAddr, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::server::tls::Certificates;

/// Where to listen, as an operator writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `127.0.0.1:8888`; port 0 takes a free one.
    Tcp(SocketAddr),
    /// `unix:/path/to.sock`.
    Unix(PathBuf),
    /// `systemd` (the next socket that is not taken yet), or `systemd:NAME` (by its `FileDescriptorName=`).
    Systemd(Option<String>),
}

impl ListenAddress {
    /// Whether only this machine can reach it; of a socket of systemd's that is not known.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
            Self::Systemd(_) => false,
        }
    }
}

/// Text that is no [`ListenAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address: an IP address with port such as `127.0.0.1:8888` or `[::]:443`, `unix:/path/to.sock`, \
     `systemd` or `systemd:NAME`"
)]
pub struct ListenAddressError(String);

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        let wrong = || ListenAddressError(text.to_owned());
        match text.split_once(':') {
            None if text == "systemd" => Ok(Self::Systemd(None)),
            Some(("systemd", name)) if !name.is_empty() => Ok(Self::Systemd(Some(name.into()))),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => text.parse().map(Self::Tcp).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(None) => f.write_str("systemd"),
            Self::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

/// The sockets that systemd has opened for this process (`sd_listen_fds(3)`: LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES), or that the process
/// has handed over whose place this one takes ([`takeover`](crate::takeover)).
pub struct InheritedSockets {
    sockets: ListenFd,
    names: Vec<String>,
    taken: Vec<bool>,
    handed: Vec<HandedSocket>,
}

/// A socket that another process listens on, too, until this one is ready.
#[derive(Debug)]
pub(crate) struct HandedSocket {
    /// What the operator has written.
    pub(crate) address: String,
    /// Its file goes with whoever has the socket last.
    pub(crate) has_file: bool,
    pub(crate) descriptor: OwnedFd,
}

impl HandedSocket {
    fn into_claim(self) -> io::Result<Claim> {
        let Self { has_file, descriptor, .. } = self;
        let socket = socket2::Socket::from(descriptor);
        let address = socket.local_addr()?;
        if !address.is_unix() {
            return Ok(Claim::OpenTcp(socket.into()));
        }
        let path = address.as_pathname().filter(|_| has_file);
        // Whose file is gone, or another's, has none to remove.
        let file = path.and_then(|path| SocketFile::of_another(path).ok());
        Ok(Claim::OpenUnix(OwnedFd::from(socket).into(), file))
    }
}

impl fmt::Debug for InheritedSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InheritedSockets").field("names", &self.names).finish_non_exhaustive()
    }
}

impl InheritedSockets {
    /// None at all: for programs that are not started that way.
    pub fn none() -> Self {
        Self { sockets: ListenFd::empty(), names: Vec::new(), taken: Vec::new(), handed: Vec::new() }
    }

    /// Takes the sockets, and the variables away, so that no child inherits them. Call it before there are threads, because the
    /// environment is theirs, too.
    pub fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let sockets = ListenFd::from_env();
        let taken = vec![false; sockets.len()];
        let names = names.split(':').map(str::to_owned).collect();
        Self { sockets, names, taken, handed: Vec::new() }
    }

    /// Those of another process. An address that is not among them is bound anew.
    pub(crate) fn handed(handed: Vec<HandedSocket>) -> Self {
        Self { handed, ..Self::none() }
    }

    fn take_handed(&mut self, address: &ListenAddress) -> Option<HandedSocket> {
        let address = address.to_string();
        let at = self.handed.iter().position(|handed| handed.address == address)?;
        Some(self.handed.remove(at))
    }

    /// Closes what nobody has taken. Call it when the process is ready that was started to take them: what its configuration does not
    /// name any more has no listener then, and no file.
    pub fn close_the_rest(self) {
        for claim in self.handed.into_iter().map(HandedSocket::into_claim) {
            if let Ok(Claim::OpenUnix(_, Some(file))) = claim {
                file.set_ours(true);
            }
        }
    }

    fn take(&mut self, name: Option<&str>) -> io::Result<Claim> {
        let wanted = |at: &usize| match name {
            None => !self.taken[*at],
            Some(name) => self.names.get(*at).is_some_and(|named| named == name) && !self.taken[*at],
        };
        let at = (0..self.taken.len()).find(wanted).ok_or_else(|| {
            let message = match (self.taken.len(), name) {
                (0, _) => "systemd has given no socket: start it by a `.socket` unit".to_owned(),
                (_, None) => "systemd has given no more sockets".to_owned(),
                (_, Some(name)) => {
                    format!(
                        "systemd has given no socket with `FileDescriptorName={name}` (there are: {})",
                        self.names.join(", ")
                    )
                }
            };
            io::Error::new(io::ErrorKind::NotFound, message)
        })?;
        self.taken[at] = true;
        if let Ok(Some(listener)) = self.sockets.take_unix_listener(at) {
            check_listens(&listener)?;
            return Ok(Claim::OpenUnix(listener, None));
        }
        let not_ours = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "systemd's socket is neither a TCP nor a Unix stream socket: use `ListenStream=`",
            )
        };
        let listener = self.sockets.take_tcp_listener(at).ok().flatten().ok_or_else(not_ours)?;
        check_listens(&listener)?;
        Ok(Claim::OpenTcp(listener))
    }
}

/// An address that this process has, and on which it does not listen yet: whatever a port needs of privileges is over, nobody can
/// connect, and no runtime is needed.
#[derive(Debug)]
pub struct Reserved {
    address: ListenAddress,
    claim: Claim,
}

#[derive(Debug)]
enum Claim {
    /// Bound.
    Tcp(socket2::Socket),
    /// Nothing at all: a Unix socket's file is made at once with listening, so that no other process takes it for a dead one's.
    Unix {
        path: PathBuf,
        mode: Option<u32>,
    },
    /// Of systemd's, or another process's, which listens already.
    OpenTcp(std::net::TcpListener),
    OpenUnix(std::os::unix::net::UnixListener, Option<SocketFile>),
}

impl Reserved {
    /// Takes `address`. `mode` is that of a Unix socket's file; without it, what the umask leaves.
    ///
    /// # Errors
    /// The address is in use or not ours; systemd gave none. A Unix socket is looked at no sooner than by [`listen`](Self::listen).
    pub fn new(
        address: &ListenAddress,
        mode: Option<u32>,
        inherited: &mut InheritedSockets,
    ) -> io::Result<Self> {
        let claim = match (inherited.take_handed(address), address) {
            (Some(handed), _) => handed.into_claim()?,
            (None, ListenAddress::Tcp(address)) => Claim::Tcp(bind_tcp(*address)?),
            (None, ListenAddress::Unix(path)) => Claim::Unix { path: path.clone(), mode },
            (None, ListenAddress::Systemd(name)) => inherited.take(name.as_deref())?,
        };
        Ok(Self { address: address.clone(), claim })
    }

    /// Listens. To be called within a tokio runtime.
    ///
    /// # Errors
    /// Another process was faster; a Unix socket's file is another program's, which answers, or no socket, or cannot be made.
    pub fn listen(self) -> io::Result<Listener> {
        let bound = match self.claim {
            Claim::Tcp(socket) => {
                socket.listen(BACKLOG)?;
                Bound::tcp(socket.into())?
            }
            Claim::Unix { path, mode } => listen_unix(&path, mode)?,
            Claim::OpenTcp(listener) => Bound::tcp(listener)?,
            Claim::OpenUnix(listener, file) => Bound::unix(listener, file)?,
        };
        Ok(Listener { bound: Arc::new(bound), address: self.address, expected: Expected::default() })
    }
}

/// A socket that is connected, or bound and no more, would never have a newcomer.
fn check_listens(socket: impl AsFd) -> io::Result<()> {
    // Where the system cannot tell, accepting will.
    if net::sockopt::socket_acceptconn(socket).unwrap_or(true) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "systemd's socket does not listen: use `ListenStream=`, and `Accept=no`",
    ))
}

/// A socket that is listened on, and what is expected on it.
#[derive(Debug)]
pub struct Listener {
    bound: Arc<Bound>,
    /// As it was written.
    address: ListenAddress,
    pub(crate) expected: Expected,
}

/// What a peer must say before HTTP begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    /// A PROXY header, version 2.
    pub(crate) proxy_header: bool,
    /// TLS, with one of these certificates.
    pub(crate) certificates: Option<Certificates>,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix { listener: UnixListener, file: Option<SocketFile> },
}

impl Bound {
    fn tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(TcpListener::from_std(listener)?))
    }

    fn unix(listener: std::os::unix::net::UnixListener, file: Option<SocketFile>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Unix { listener: UnixListener::from_std(listener)?, file })
    }

    fn file(&self) -> Option<&SocketFile> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix { file, .. } => file.as_ref(),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix { listener, .. } => listener.as_fd(),
        }
    }
}

/// A socket that is listened on, to be handed to another process. It keeps nothing open.
#[derive(Debug, Clone)]
pub struct ListenerHandle {
    bound: Weak<Bound>,
    address: ListenAddress,
}

impl ListenerHandle {
    /// The socket once more; none if nobody listens any more.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(crate) fn hand_over(&self) -> io::Result<Option<HandedSocket>> {
        let Some(bound) = self.bound.upgrade() else { return Ok(None) };
        let descriptor = bound.as_fd().try_clone_to_owned()?;
        Ok(Some(HandedSocket {
            address: self.address.to_string(),
            has_file: bound.file().is_some(),
            descriptor,
        }))
    }

    /// Whether a Unix socket's file is removed at this listener's end. Of one that was handed over it is not, until this is called;
    /// when another process has it, it must not be.
    pub fn own_file(&self, ours: bool) {
        if let Some(bound) = self.bound.upgrade()
            && let Some(file) = bound.file()
        {
            file.set_ours(ours);
        }
    }
}

/// A socket's file, which goes with it, unless it is another's by now.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device_and_number: (u64, u64),
    /// Otherwise another process has the socket, too, and looks after the file.
    ours: AtomicBool,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        let device_and_number = (file.dev(), file.ino());
        Ok(Self { path: path.into(), device_and_number, ours: AtomicBool::new(true) })
    }

    fn of_another(path: &Path) -> io::Result<Self> {
        let file = Self::new(path)?;
        file.set_ours(false);
        Ok(file)
    }

    fn set_ours(&self, ours: bool) {
        self.ours.store(ours, Ordering::Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !*self.ours.get_mut() {
            return;
        }
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.device_and_number);
        if ours {
            // If it cannot be removed, the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A connection that was accepted.
pub(crate) enum Socket {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    /// Listens on `address`. `mode` is that of a Unix socket's file; without it, what the umask leaves. To be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// The address is in use or not ours; a Unix socket's file is another program's, which answers, or no socket; systemd gave none.
    pub fn bind(
        address: &ListenAddress,
        mode: Option<u32>,
        inherited: &mut InheritedSockets,
    ) -> io::Result<Self> {
        Reserved::new(address, mode, inherited)?.listen()
    }

    /// TLS on this listener (HTTP/2 and HTTP/1.1), with these certificates.
    pub fn with_tls(mut self, certificates: Certificates) -> Self {
        self.expected.certificates = Some(certificates);
        self
    }

    /// Each connection begins with a PROXY header, version 2, which names the peer; before TLS, if there is both.
    pub fn with_proxy_protocol(mut self) -> Self {
        self.expected.proxy_header = true;
        self
    }

    /// Whether TLS is spoken here.
    pub fn has_tls(&self) -> bool {
        self.expected.certificates.is_some()
    }

    /// For who hands the socket to another process.
    pub fn handle(&self) -> ListenerHandle {
        ListenerHandle { bound: Arc::downgrade(&self.bound), address: self.address.clone() }
    }

    /// The address that was bound; none for Unix sockets.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &*self.bound {
            Bound::Tcp(listener) => listener.local_addr().ok(),
            Bound::Unix { .. } => None,
        }
    }

    /// The file of a Unix socket.
    pub fn path(&self) -> Option<PathBuf> {
        match &*self.bound {
            Bound::Tcp(_) => None,
            Bound::Unix { listener, .. } => listener.local_addr().ok()?.as_pathname().map(Path::to_owned),
        }
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        Poll::Ready(match &*self.bound {
            Bound::Tcp(listener) => {
                ready!(listener.poll_accept(cx)).map(|(socket, peer)| Socket::Tcp(socket, peer))
            }
            Bound::Unix { listener, .. } => {
                ready!(listener.poll_accept(cx)).map(|(socket, _)| Socket::Unix(socket))
            }
        })
    }
}

/// Connections that wait to be accepted; what tokio chooses, too.
const BACKLOG: i32 = 1024;

fn bind_tcp(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // The port can be had again at once, although connections of the process before still end.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen_unix(path: &Path, mode: Option<u32>) -> io::Result<Bound> {
    make_way(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    if let Some(mode) = mode {
        // Before anybody can connect.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    Bound::unix(socket.into(), Some(file))
}

/// Removes the socket's file of a process that has gone without doing so.
fn make_way(path: &Path) -> io::Result<()> {
    let in_use = |why: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, why.to_owned()));
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return in_use("there is a file that is no socket: remove it, or choose another path");
        }
        Ok(_) => {}
    }
    match knock(path) {
        // Whose backlog is full is there, too.
        Ok(()) | Err(Errno::AGAIN) => {
            in_use("another program answers on this socket: end it, or choose another path")
        }
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path),
        Err(error) => Err(error.into()),
    }
}

/// Connects to a Unix socket without waiting for whoever should accept.
fn knock(path: &Path) -> rustix::io::Result<()> {
    let socket = net::socket(net::AddressFamily::UNIX, net::SocketType::STREAM, None)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    net::connect(&socket, &net::SocketAddrUnix::new(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_as_an_operator_writes_it() {
        for text in ["127.0.0.1:8888", "[::]:443", "unix:/run/w.sock", "systemd", "systemd:web"] {
            assert_eq!(text.parse::<ListenAddress>().expect("an address").to_string(), text);
        }
        for text in ["", "here", "unix:", "systemd:", "127.0.0.1", ":80"] {
            let error = text.parse::<ListenAddress>().expect_err("no address").to_string();
            assert!(error.contains("unix:/path/to.sock"), "{error}");
        }
    }

    #[test]
    fn loopback_and_unix_sockets_are_local() {
        let local = |text: &str| text.parse::<ListenAddress>().expect("an address").is_local();
        assert!(local("127.0.0.1:1") && local("[::1]:1") && local("unix:/x"));
        assert!(!local("0.0.0.0:1") && !local("[::]:1") && !local("systemd"));
    }

    #[test]
    fn a_socket_whose_owner_is_slow_to_accept_is_in_use_all_the_same() {
        let path = std::env::temp_dir().join(format!("waterspout-slow-{}.sock", std::process::id()));
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        socket.bind(&SockAddr::unix(&path).expect("a path")).expect("bound");
        socket.listen(1).expect("listening");
        // Until its backlog is full, and one more.
        let answers: Vec<String> =
            (0..4).map(|_| make_way(&path).expect_err("it is in use").to_string()).collect();
        std::fs::remove_file(&path).expect("it is still there");
        assert!(answers.iter().all(|answer| answer.contains("another program answers")), "{answers:?}");
    }

    #[test]
    fn nobody_can_connect_to_an_address_that_is_only_reserved() {
        let address = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
        let Reserved { claim: Claim::Tcp(socket), .. } =
            Reserved::new(&address, None, &mut InheritedSockets::none()).expect("a free port")
        else {
            panic!("a TCP socket")
        };
        let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let error = std::net::TcpStream::connect(address).expect_err("not open yet");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        socket.listen(BACKLOG).expect("ours");
        std::net::TcpStream::connect(address).expect("open");
    }

    #[test]
    fn without_systemd_its_sockets_are_missing() {
        let error = InheritedSockets::none().take(None).expect_err("none");
        assert!(error.to_string().contains(".socket"), "{error}");
    }
}
