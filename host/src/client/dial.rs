//! From a host's name to a TCP connection: its addresses are looked up, those that may not be dialled are left out, and the others are
//! tried side by side (RFC 8305, "Happy Eyeballs", without its resumed look-ups).

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ConnectError;
use super::handshake::Target;
use crate::limits::tenants::LOOK_UPS_AT_ONCE;

/// How long an attempt has before the next address is tried beside it (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried. Keeps a name with a thousand from taking a thousand descriptors.
const MAX_ADDRESSES: usize = 16;

/// Look-ups of the system's at once; more wait. Far fewer than there are threads for what blocks.
const MAX_LOOK_UPS: usize = 64;

/// What a [`Resolver`] answers.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Finds a host's addresses, in place of the system.
pub trait Resolver: Debug + Send + Sync {
    /// The addresses, the preferred one first. `host` is never an address.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// For whom somebody dials.
#[derive(Debug)]
pub(crate) struct Caller<P> {
    /// Which addresses he may dial.
    pub(crate) permit: P,
    /// His look-ups at once: [`LOOK_UPS_AT_ONCE`].
    pub(crate) look_ups: Arc<Semaphore>,
}

impl Caller<fn(SocketAddr) -> bool> {
    /// Whoever runs this process: he may dial everything, and all that he does here is one caller's.
    pub(crate) fn owner() -> Self {
        static LOOK_UPS: LazyLock<Arc<Semaphore>> =
            LazyLock::new(|| Arc::new(Semaphore::new(LOOK_UPS_AT_ONCE)));
        Self { permit: |_| true, look_ups: LOOK_UPS.clone() }
    }
}

/// Connects to one of `target`'s addresses that the caller may dial. What is checked is what is dialled: there is no second look-up.
pub(super) async fn dial(
    target: &Target,
    resolver: Option<&dyn Resolver>,
    caller: Caller<impl Fn(SocketAddr) -> bool>,
) -> Result<TcpStream, ConnectError> {
    let mut addresses = resolve(target, resolver, &caller.look_ups).await?;
    if addresses.is_empty() {
        return Err(unknown(&target.host, &io::Error::other("it has no address")));
    }
    addresses.retain(|address| (caller.permit)(*address));
    if addresses.is_empty() {
        return Err(ConnectError::Denied(target.host.clone()));
    }
    let mut addresses = interleaved(addresses);
    addresses.truncate(MAX_ADDRESSES);
    let socket = first_of(addresses, TcpStream::connect).await?;
    // Messages leave as soon as they are flushed; that it cannot be set is told by the next write.
    let _ = socket.set_nodelay(true);
    Ok(socket)
}

async fn resolve(
    target: &Target,
    resolver: Option<&dyn Resolver>,
    of_caller: &Arc<Semaphore>,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let (host, port) = (target.host.as_str(), target.port);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let found = match resolver {
        Some(resolver) => resolver.resolve(host, port).await,
        None => look_up(host.to_owned(), port, of_caller).await,
    };
    found.map_err(|error| unknown(host, &error))
}

/// Asks the system.
async fn look_up(host: String, port: u16, of_caller: &Arc<Semaphore>) -> io::Result<Vec<SocketAddr>> {
    static OF_ALL: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOK_UPS)));
    let ask = move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
    in_turn(ask, of_caller, &OF_ALL).await
}

/// Asks on a thread for what blocks, when it is the caller's turn among his own and then among all: who has too many of them waits for his
/// own first. A look-up cannot be taken back: it has its thread, and both permits, until it ends, whoever has given up waiting for it.
async fn in_turn<R: Send + 'static>(
    ask: impl FnOnce() -> io::Result<R> + Send + 'static,
    of_caller: &Arc<Semaphore>,
    of_all: &Arc<Semaphore>,
) -> io::Result<R> {
    let of_caller = of_caller.clone().acquire_owned().await.map_err(io::Error::other)?;
    let of_all = of_all.clone().acquire_owned().await.map_err(io::Error::other)?;
    let asking = tokio::task::spawn_blocking(move || {
        let _permits = (of_caller, of_all);
        ask()
    });
    asking.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn unknown(host: &str, error: &io::Error) -> ConnectError {
    ConnectError::Network(io::Error::new(error.kind(), format!("no address found for `{host}`: {error}")))
}

/// In turns an address of the first one's family and one of the other; in each, the order stays (RFC 8305 section 4).
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut ordered = Vec::new();
    loop {
        let before = ordered.len();
        ordered.extend(one.next());
        ordered.extend(other.next());
        if ordered.len() == before {
            return ordered;
        }
    }
}

/// The first connection that there is: the next attempt starts when one has failed, or after [`ATTEMPT_DELAY`].
async fn first_of<S, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<S, ConnectError>
where
    S: Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let mut waiting = addresses.into_iter();
    // Dropped, it ends the attempts that are under way.
    let mut attempts = JoinSet::new();
    let mut failure: Option<(SocketAddr, io::Error)> = None;
    loop {
        if let Some(address) = waiting.next() {
            let attempt = connect(address);
            attempts.spawn(async move { (address, attempt.await) });
        }
        let attempt = tokio::select! {
            attempt = attempts.join_next() => attempt,
            () = tokio::time::sleep(ATTEMPT_DELAY), if waiting.len() > 0 => continue,
        };
        match attempt {
            Some(Ok((_, Ok(socket)))) => return Ok(socket),
            Some(Ok((address, Err(error)))) => {
                // Of several failures a refusal says most: there is a machine, and nobody listens.
                let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                let said = failure
                    .as_ref()
                    .is_some_and(|(_, error)| error.kind() == io::ErrorKind::ConnectionRefused);
                if failure.is_none() || (refused && !said) {
                    failure = Some((address, error));
                }
            }
            Some(Err(error)) => return Err(ConnectError::Network(io::Error::other(error))),
            None => {
                return Err(match failure {
                    Some((address, error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        ConnectError::Refused(address)
                    }
                    Some((address, error)) => {
                        ConnectError::Network(io::Error::new(error.kind(), format!("{address}: {error}")))
                    }
                    None => ConnectError::Network(io::Error::other("there is no address")),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use tokio::net::TcpListener;

    fn target(host: &str, port: u16) -> Target {
        Target::new(&format!("ws://{host}:{port}").parse().expect("a URI")).expect("a WebSocket's URL")
    }

    /// Answers with these addresses, whatever the port.
    #[derive(Debug)]
    struct Fixed(Vec<SocketAddr>);

    impl Resolver for Fixed {
        fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolving<'a> {
            Box::pin(async { Ok(self.0.clone()) })
        }
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// Who may dial this address and no other.
    fn only(permitted: SocketAddr) -> Caller<impl Fn(SocketAddr) -> bool> {
        let look_ups = Caller::owner().look_ups;
        Caller { permit: move |address| address == permitted, look_ups }
    }

    /// Nobody listens there.
    async fn closed() -> SocketAddr {
        listener().await.1
    }

    #[test]
    fn families_take_turns_and_the_first_address_stays_the_first() {
        let v4 = |n| SocketAddr::from((Ipv4Addr::new(192, 0, 2, n), 1));
        let v6 = |n| SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 1));
        assert_eq!(interleaved(vec![v6(1), v6(2), v6(3), v4(1), v4(2)]), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        assert_eq!(interleaved(vec![v4(1), v6(1)]), [v4(1), v6(1)]);
        assert_eq!(interleaved(Vec::new()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_fails_is_followed_at_once_and_one_that_is_silent_after_a_while() {
        let address = |n| SocketAddr::from((Ipv4Addr::new(192, 0, 2, n), 1));
        let began = tokio::time::Instant::now();
        let connected = first_of((1..=4).map(address).collect(), |to| async move {
            match to {
                _ if to == address(1) => Err(io::ErrorKind::HostUnreachable.into()),
                _ if to == address(4) => Ok(to),
                _ => std::future::pending().await,
            }
        });
        assert_eq!(connected.await.expect("the last one answers"), address(4));
        assert_eq!(began.elapsed(), 2 * ATTEMPT_DELAY);
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_address_may_still_answer_after_a_later_one_was_tried() {
        let address = |n| SocketAddr::from((Ipv4Addr::new(192, 0, 2, n), 1));
        let connected = first_of((1..=2).map(address).collect(), |to| async move {
            if to == address(2) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok(to)
        });
        assert_eq!(connected.await.expect("it answers"), address(1));
    }

    #[tokio::test]
    async fn of_several_failures_a_refusal_is_told() {
        let address = |n| SocketAddr::from((Ipv4Addr::new(192, 0, 2, n), 1));
        let failed = first_of((1..=3).map(address).collect(), |to| async move {
            let refuses = to == address(2);
            Err::<(), _>(
                if refuses { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::NetworkUnreachable }
                    .into(),
            )
        });
        let failed = failed.await;
        assert!(matches!(failed, Err(ConnectError::Refused(at)) if at == address(2)), "{failed:?}");
    }

    #[tokio::test]
    async fn where_nobody_listens_is_named() {
        let address = closed().await;
        let refused = dial(&target("a.example", 1), Some(&Fixed(vec![address])), Caller::owner()).await;
        assert!(matches!(refused, Err(ConnectError::Refused(at)) if at == address), "{refused:?}");
    }

    #[tokio::test]
    async fn only_a_permitted_address_is_dialled() {
        let (one, first) = listener().await;
        let (_two, second) = listener().await;
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let resolver = Fixed(vec![first, second]);
        let socket = dial(&target("a.example", 1), Some(&resolver), only(second)).await.expect("one");
        assert_eq!(socket.peer_addr().expect("connected"), second);
        let denied = dial(&target("a.example", 1), Some(&resolver), only(nowhere)).await;
        assert!(matches!(&denied, Err(ConnectError::Denied(host)) if host == "a.example"), "{denied:?}");
        let denied = dial(&target("127.0.0.1", first.port()), None, only(nowhere)).await;
        assert!(matches!(denied, Err(ConnectError::Denied(_))), "{denied:?}");
        // Nobody has come.
        let come = tokio::time::timeout(Duration::from_millis(1), one.accept()).await;
        assert!(come.is_err(), "{come:?}");
    }

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        let (_listener, address) = listener().await;
        let target = target("127.0.0.1", address.port());
        let socket = dial(&target, Some(&Fixed(Vec::new())), Caller::owner()).await.expect("a connection");
        assert_eq!(socket.peer_addr().expect("connected"), address);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_named() {
        let unknown = dial(&target("a.example", 1), Some(&Fixed(Vec::new())), Caller::owner()).await;
        let error = unknown.expect_err("no address").to_string();
        assert!(error.contains("no address found for `a.example`"), "{error}");
        // RFC 6761 section 6.4: never a name.
        let unknown = dial(&target("a.invalid", 1), None, Caller::owner()).await;
        let error = unknown.expect_err("no address").to_string();
        assert!(error.contains("no address found for `a.invalid`"), "{error}");
    }

    #[tokio::test]
    async fn one_callers_slow_names_leave_threads_to_others_and_are_counted_until_they_are_answered() {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let (slow, quick) = (semaphore(LOOK_UPS_AT_ONCE), semaphore(LOOK_UPS_AT_ONCE));
        let all = semaphore(MAX_LOOK_UPS);
        let (answer, answered) = std::sync::mpsc::channel::<()>();
        let answered = Arc::new(std::sync::Mutex::new(answered));
        let mut waiting = JoinSet::new();
        for _ in 0..2 * MAX_LOOK_UPS {
            let (slow, all, answered) = (slow.clone(), all.clone(), answered.clone());
            waiting.spawn(async move {
                // Until the test drops `answer`.
                let ask = move || Ok(answered.lock().expect("no panic").recv().is_err());
                in_turn(ask, &slow, &all).await
            });
        }
        let all_taken = async {
            while slow.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all_taken).await.expect("they are counted as his");
        let others = tokio::time::timeout(Duration::from_secs(10), in_turn(|| Ok(7), &quick, &all)).await;
        assert_eq!(others.expect("there is a thread for it").expect("an answer"), 7);
        // Nobody waits for them any more, and they still have their threads.
        waiting.shutdown().await;
        assert_eq!(slow.available_permits(), 0);
        assert_eq!(all.available_permits(), MAX_LOOK_UPS - LOOK_UPS_AT_ONCE);
        drop(answer);
        let free = slow.acquire_many(LOOK_UPS_AT_ONCE as u32);
        let free = tokio::time::timeout(Duration::from_secs(10), free).await;
        assert!(free.expect("all are answered").is_ok());
    }
}
