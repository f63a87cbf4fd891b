//! A host of a test's own: routes, a port, threads and a log.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::http;
use waterspout::client::{self, ClientConnection, ConnectOptions, Resolver};
use waterspout::{
    Admin, AdminOptions, Application, Certificates, Destinations, InheritedSockets, InstancePolicy, Limits,
    ListenAddress, Listener, OnSwap, Page, Pattern, Route, RouteName, Runtime, Server, ServerOptions,
    SwapError, SwapReport,
};

use crate::client::Client;
use crate::frames::Raw;
use crate::guests::Guest;
use crate::http::Request;
use crate::logs::{Logs, Record};
use crate::within;

/// What a test wants of its host. [`Builder::start`] starts it.
pub struct Builder {
    routes: Vec<RouteBuilder>,
    listeners: Vec<MakeListener>,
    page: Option<Page>,
    options: ServerOptions,
    runtime: Option<Arc<Runtime>>,
    resolver: Option<Arc<dyn Resolver>>,
    admin: Option<AdminOptions>,
}

/// In the host's own runtime.
type MakeListener = Box<dyn FnOnce() -> Listener + Send>;

#[derive(Debug)]
struct RouteBuilder {
    guest: Guest,
    instance: Option<String>,
    route: Route,
}

impl RouteBuilder {
    fn new(guest: Guest, path: &str, name: &str) -> Self {
        let mut route = Route::new(name, pattern(path));
        // A busy machine must not end a connection; tests of this limit set it.
        route.limits.cpu_per_event = Duration::from_secs(2);
        Self { guest, instance: None, route }
    }
}

fn pattern(path: &str) -> Pattern {
    Pattern::new(path).unwrap_or_else(|error| panic!("{error}"))
}

impl Builder {
    fn last(&mut self) -> &mut RouteBuilder {
        self.routes.last_mut().expect("there is a first route")
    }

    /// The route's path pattern; `/websocket` if this is not called.
    pub fn path(mut self, path: &str) -> Self {
        self.last().route.pattern = pattern(path);
        self
    }

    /// The route's instance policy as an operator writes it: `connection`, `route` or a template.
    pub fn instance(mut self, policy: &str) -> Self {
        self.last().instance = Some(policy.into());
        self
    }

    /// Changes the route's limits. They are the host's own, but for `cpu_per_event`: 2 s.
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.last().route.limits);
        self
    }

    /// Changes the route.
    pub fn route(mut self, change: impl FnOnce(&mut Route)) -> Self {
        change(&mut self.last().route);
        self
    }

    /// Where the route's handlers may connect to, as an operator writes it.
    ///
    /// # Panics
    /// An operator may not write that.
    pub fn connects_to(self, destinations: &[String]) -> Self {
        let destinations = Destinations::listed(destinations).unwrap_or_else(|error| panic!("{error}"));
        self.route(|route| route.connect = destinations)
    }

    /// Who finds the addresses of the names that handlers connect to.
    pub fn resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Another route after those there are; what is called next changes this one. Its name is its path.
    pub fn and_route(mut self, guest: Guest, path: &str) -> Self {
        self.routes.push(RouteBuilder::new(guest, path, path));
        self
    }

    /// Serves a page at `/`.
    pub fn page(mut self, page: Page) -> Self {
        self.page = Some(page);
        self
    }

    /// Serves the host's own page at `/`.
    pub fn own_page(self) -> Self {
        let page = Page::of_host(self.routes.iter().map(|route| &route.route));
        self.page(page)
    }

    /// Changes how the server accepts and ends.
    pub fn options(mut self, change: impl FnOnce(&mut ServerOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Listens on `address`, too, with what `expect` adds. The first listener is always plain TCP on a free port.
    pub fn listen(
        mut self,
        address: &str,
        expect: impl FnOnce(Listener) -> Listener + Send + 'static,
    ) -> Self {
        let address: ListenAddress = address.parse().unwrap_or_else(|error| panic!("{error}"));
        self.listeners.push(Box::new(move || {
            let listener = Listener::bind(&address, None, &mut InheritedSockets::none());
            expect(listener.unwrap_or_else(|error| panic!("{address}: {error}")))
        }));
        self
    }

    /// Speaks TLS on a free port, too, with these certificates.
    pub fn tls(self, certificates: Certificates) -> Self {
        self.listen("127.0.0.1:0", |listener| listener.with_tls(certificates))
    }

    /// Uses this runtime instead of the one that all tests share; the guests are compiled for it.
    pub fn runtime(mut self, runtime: Arc<Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Has an admin listener.
    pub fn admin(mut self, options: AdminOptions) -> Self {
        self.admin = Some(options);
        self
    }

    /// Starts the host.
    ///
    /// # Panics
    /// A guest is missing or cannot be loaded.
    pub async fn start(self) -> TestHost {
        let limits = self.routes[0].route.limits.clone();
        let routes = self.routes.into_iter().map(|RouteBuilder { guest, instance, mut route }| {
            if let Some(policy) = instance {
                route.policy =
                    InstancePolicy::new(&policy, &route.pattern).unwrap_or_else(|error| panic!("{error}"));
            }
            let handler = match &self.runtime {
                Some(runtime) => guest.load(runtime, &route.limits),
                None => guest.handler(&route.limits),
            };
            (route, handler)
        });
        let application = Application::with_resolver(routes, self.page, self.resolver);
        TestHost::serve(application, limits, self.options, self.listeners, self.admin).await
    }
}

const FIRST_ROUTE: &str = "test";

fn first_route() -> RouteName {
    RouteName { tenant: None, route: FIRST_ROUTE.into() }
}

/// A running host. Dropped, it is gone at once.
#[derive(Debug)]
pub struct TestHost {
    application: Application,
    /// Of the first route.
    limits: Limits,
    address: SocketAddr,
    /// Of the second listener and those after it that have one.
    more: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    logs: Logs,
    number: u64,
    threads: Option<tokio::runtime::Runtime>,
    shutdown: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<usize>>,
}

impl TestHost {
    /// A host with this guest at `/websocket`, one instance for each connection. The route's name is `test`.
    #[expect(clippy::new_ret_no_self, reason = "it reads as what it makes")]
    pub fn new(guest: Guest) -> Builder {
        Builder {
            routes: vec![RouteBuilder::new(guest, "/websocket", FIRST_ROUTE)],
            listeners: Vec::new(),
            page: None,
            options: ServerOptions::default(),
            runtime: None,
            resolver: None,
            admin: None,
        }
    }

    /// Replaces the handler of the first route, as its policy says or as `on_swap` does.
    ///
    /// # Errors
    /// The host's own.
    ///
    /// # Panics
    /// The guest is missing or cannot be loaded.
    pub async fn swap(&self, guest: &Guest, on_swap: Option<OnSwap>) -> Result<SwapReport, SwapError> {
        self.swap_route(FIRST_ROUTE, guest, on_swap).await
    }

    /// The same of the route of this name, whose limits must be those of the first.
    ///
    /// # Errors
    /// The host's own.
    ///
    /// # Panics
    /// The guest is missing or cannot be loaded.
    pub async fn swap_route(
        &self,
        route: &str,
        guest: &Guest,
        on_swap: Option<OnSwap>,
    ) -> Result<SwapReport, SwapError> {
        let handler = guest.handler(&self.limits);
        let application = self.application.clone();
        let route = RouteName { tenant: None, route: route.into() };
        let swap = async move { application.replace_handler(&route, handler, on_swap).await };
        let threads = self.threads.as_ref().expect("it runs");
        within("the swap", threads.spawn(swap)).await.expect("no panic")
    }

    /// Gives another version to a part of the first route's newcomers.
    ///
    /// # Errors
    /// The host's own.
    pub async fn offer(&self, guest: &Guest, percent: u8) -> Result<u32, SwapError> {
        let handler = guest.handler(&self.limits);
        let application = self.application.clone();
        let offer = async move { application.offer_handler(&first_route(), handler, percent).await };
        let threads = self.threads.as_ref().expect("it runs");
        within("the offer", threads.spawn(offer)).await.expect("no panic")
    }

    /// Promotes what was offered.
    ///
    /// # Errors
    /// The host's own.
    pub async fn promote(&self) -> Result<SwapReport, SwapError> {
        let application = self.application.clone();
        let promote = async move { application.promote_handler(&first_route()).await };
        let threads = self.threads.as_ref().expect("it runs");
        within("the promotion", threads.spawn(promote)).await.expect("no panic")
    }

    /// Withdraws what was offered, or puts back what was served before.
    ///
    /// # Errors
    /// The host's own.
    pub async fn roll_back(&self) -> Result<SwapReport, SwapError> {
        let application = self.application.clone();
        let roll_back = async move { application.roll_back(&first_route()).await };
        let threads = self.threads.as_ref().expect("it runs");
        within("the rollback", threads.spawn(roll_back)).await.expect("no panic")
    }

    /// Serves on threads of its own, so that a host that hangs cannot take the test's clock with it, and so that its log
    /// is its own.
    async fn serve(
        application: Application,
        limits: Limits,
        options: ServerOptions,
        more: Vec<MakeListener>,
        admin: Option<AdminOptions>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        record_panics();
        let logs = Logs::default();
        let dispatch = tracing::Dispatch::new(logs.clone());
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .thread_name(thread_name(number))
            // Until the thread ends.
            .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&dispatch)))
            .build()
            .expect("threads");
        let (shutdown, asked) = oneshot::channel::<()>();
        let (bound, binding) = oneshot::channel();
        let serving = application.clone();
        let served = threads.spawn(async move {
            let application = serving;
            let admin = admin.map(|options| {
                Admin::bind(&options, application.clone()).unwrap_or_else(|error| panic!("{error}"))
            });
            let admin_address = admin.as_ref().and_then(Admin::local_addr);
            if let Some(admin) = admin {
                // As long as the host's threads: longer than the drain.
                tokio::spawn(admin.run(std::future::pending()));
            }
            let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), application, options).await;
            let server =
                more.into_iter().fold(server.expect("a free port"), |server, make| server.and_on(make()));
            let addresses = server.listeners().iter().filter_map(Listener::local_addr).collect::<Vec<_>>();
            let _ = bound.send((addresses, admin_address));
            // A sender that is dropped, because the host is, asks for nothing.
            server
                .run(async {
                    if asked.await.is_err() {
                        std::future::pending().await
                    }
                })
                .await
        });
        let (mut more, admin) = within("the host to bind", binding).await.expect("the host has bound");
        let address = more.remove(0);
        Self {
            application,
            limits,
            address,
            more,
            admin,
            logs,
            number,
            threads: Some(threads),
            shutdown: Some(shutdown),
            served: Some(served),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its second TCP listener listens.
    pub fn second_address(&self) -> SocketAddr {
        self.more[0]
    }

    /// A GET request to its admin listener, without a token.
    ///
    /// # Panics
    /// It has none on TCP.
    pub fn admin_request(&self, target: &str) -> Request {
        Request::new(self.admin_address(), target).plain()
    }

    /// Where its admin listener listens.
    ///
    /// # Panics
    /// It has none on TCP.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.expect("the host has an admin listener on TCP")
    }

    /// `127.0.0.1:PORT`: the Host header that clients send.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The origin of a page that this host serves.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connects.
    ///
    /// # Panics
    /// The host refuses.
    pub async fn connect(&self, path: &str) -> Client {
        self.connect_with(path, &[]).await
    }

    /// Connects, with more headers.
    ///
    /// # Panics
    /// The host refuses.
    pub async fn connect_with(&self, path: &str, headers: &[(&str, &str)]) -> Client {
        self.try_connect(path, headers).await.unwrap_or_else(|error| panic!("{path} was refused: {error}"))
    }

    /// Connects, or tells why not.
    ///
    /// # Errors
    /// tungstenite's; `Error::Http` holds an answer other than 101.
    pub async fn try_connect(&self, path: &str, headers: &[(&str, &str)]) -> Result<Client, Error> {
        Client::connect(self.address, path, headers).await
    }

    /// Connects with the client of the crate `waterspout`, which can compress.
    ///
    /// # Panics
    /// The host refuses.
    pub async fn dial(&self, path: &str, options: ConnectOptions) -> ClientConnection {
        let request = http::Request::get(format!("ws://{}{path}", self.address)).body(()).expect("a request");
        within("the answer to a handshake", client::connect(request, options))
            .await
            .unwrap_or_else(|error| panic!("{path} was refused: {error}"))
    }

    /// A good handshake for this target, to be changed and sent.
    pub fn request(&self, target: &str) -> Request {
        Request::new(self.address, target)
    }

    /// The same, to its second TCP listener.
    pub fn second_request(&self, target: &str) -> Request {
        Request::new(self.second_address(), target)
    }

    /// A socket after a good handshake.
    pub async fn raw(&self, target: &str) -> Raw {
        self.request(target).upgrade().await.1
    }

    /// A TCP connection on which nothing has been said.
    pub async fn tcp(&self) -> Raw {
        let socket = tokio::net::TcpStream::connect(self.address);
        Raw::new(within("a TCP connection", socket).await.expect("the host listens"), Vec::new())
    }

    /// What was logged so far.
    pub fn logs(&self) -> Vec<Record> {
        self.logs.all()
    }

    /// The lines that guests have printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.logs().into_iter().filter(Record::is_guest).map(|record| record.message).collect()
    }

    /// Waits for a log record; `what` says what it is.
    pub async fn logged(&self, what: &str, wanted: impl Fn(&Record) -> bool) -> Record {
        match tokio::time::timeout(crate::PATIENCE, self.logs.find(wanted)).await {
            Ok(record) => record,
            Err(_) => panic!("{what} was never logged, but this:\n{}", lines(&self.logs())),
        }
    }

    /// Waits until a guest has printed a line with this in it.
    pub async fn guest_prints(&self, text: &str) -> Record {
        self.logged(&format!("`{text}`"), |record| record.is_guest() && record.message.contains(text)).await
    }

    /// Waits until a connection has ended, and returns the label of its cause.
    pub async fn connection_ends(&self) -> String {
        let end = self.logged("the end of a connection", |record| record.message == "closed").await;
        end.field("cause").to_owned()
    }

    /// Tells the host to go away; returns at once.
    pub fn shut_down(&mut self) {
        let _ = self.shutdown.take().expect("only once").send(());
    }

    /// Waits until the host has gone away; returns how many connections it dropped.
    pub async fn gone(&mut self) -> usize {
        let served = self.served.take().expect("only once");
        within("the host to go away", served).await.expect("the host does not panic")
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        if let Some(served) = self.served.take() {
            // Its connections go with it, while there are threads on which they can end.
            served.abort();
            let began = std::time::Instant::now();
            while !served.is_finished() && began.elapsed() < crate::PATIENCE {
                thread::sleep(Duration::from_millis(1));
            }
        }
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
        let panics =
            panics().lock().unwrap_or_else(PoisonError::into_inner).remove(&thread_name(self.number));
        if thread::panicking() {
            eprintln!("the host's log:\n{}", lines(&self.logs()));
        } else if let Some(panics) = panics {
            panic!("the host panicked: {panics:?}");
        }
    }
}

fn lines(records: &[Record]) -> String {
    records.iter().map(|record| format!("  {record}\n")).collect()
}

fn thread_name(number: u64) -> String {
    format!("test-host-{number}")
}

/// Panics of hosts, by the name of their threads.
fn panics() -> &'static Mutex<HashMap<String, Vec<String>>> {
    static PANICS: OnceLock<Mutex<HashMap<String, Vec<String>>>> = OnceLock::new();
    PANICS.get_or_init(Mutex::default)
}

/// Remembers panics on hosts' threads, which tokio swallows.
fn record_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(name) = thread::current().name().filter(|name| name.starts_with("test-host-")) {
                let mut panics = panics().lock().unwrap_or_else(PoisonError::into_inner);
                panics.entry(name.to_owned()).or_default().push(panic.to_string());
            }
            before(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "the host panicked")]
    async fn a_panic_of_a_host_fails_the_test_that_it_happened_in() {
        let host = TestHost::new(Guest::Echo).start().await;
        let threads = host.threads.as_ref().expect("it runs");
        threads.spawn(async { panic!("on purpose") }).await.expect_err("it panicked");
    }

    #[tokio::test]
    async fn hosts_have_logs_of_their_own() {
        let (one, two) = (TestHost::new(Guest::Echo).start().await, TestHost::new(Guest::Echo).start().await);
        one.connect("/websocket").await.leave().await;
        assert_eq!(one.connection_ends().await, "peer_closed");
        assert!(two.logs().is_empty(), "{:?}", two.logs());
    }
}
