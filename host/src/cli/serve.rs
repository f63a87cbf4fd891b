//! `waterspout serve`: from arguments or a configuration file to a running server.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use waterspout::config::{Config, DEFAULT_LISTEN, DEFAULT_PATH, Document, ListenerConfig, PageChoice};
use waterspout::server::handshake::{Hosts, Origins};
use waterspout::takeover::{Confined, Invocation, Predecessor, Purpose};
use waterspout::{
    Admin, Application, CertificateFiles, Certificates, HandlerSource, InheritedSockets, InstancePolicy,
    ListenAddress, Listener, ListenerHandle, NotLoaded, Page, Pattern, Reserved, Route, Runtime, Server,
    Starter, StateDir,
};

use super::progress::with_progress;
use super::project::{CONFIGURATION, Project};
use super::reload::{Configuration, Pages, Reload, Saved};
use super::supervisor::Supervisor;
use super::takeover::{Early, Takeover};

/// Threads beside the runtime's own: for look-ups of names, files, and polls that are long. A poll that is to be made aside asks for one even
/// where another has not begun yet, as happens on a busy machine; past this it waits for one of these, which is as soon.
const MAX_THREADS_BESIDE: usize = 192;

/// The arguments of `waterspout serve`.
#[derive(Args, Default)]
pub(super) struct Serve {
    /// The handler: a component, a core module with a component-type section, or WebAssembly text; without it, an
    /// embedded echo
    #[arg(conflicts_with = "config")]
    handler: Option<PathBuf>,
    /// Where to listen: an IP address with port (0 takes a free one), `unix:/path/to.sock`, `systemd` or `systemd:NAME`
    /// [default: 127.0.0.1:8888]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<ListenAddress>,
    /// Speak TLS, with this certificate and those that lead to a root (PEM); `wss://` instead of `ws://`, HTTP/2 and HTTP/1.1
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "config")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate", conflicts_with = "config")]
    tls_key: Option<PathBuf>,
    /// The path of the route: a template such as `/chat/{room}`, or, if it begins with `^`, a regular expression
    /// [default: /websocket]
    #[arg(long, value_name = "PATTERN", conflicts_with = "config")]
    path: Option<String>,
    /// What connections share: `connection` (nothing), `route` (one instance for all), or a template of path captures such
    /// as `{room}` (one instance for each room) [default: connection]
    #[arg(long, value_name = "POLICY", conflicts_with = "config")]
    instance: Option<String>,
    /// A host name that is answered; may be repeated [default: on loopback, localhost and the loopback addresses; else any]
    #[arg(long = "host", value_name = "NAME", conflicts_with = "config")]
    hosts: Vec<String>,
    /// An origin whose pages may connect, such as `https://example.com`; may be repeated [default: the same host and port]
    #[arg(long = "origin", value_name = "ORIGIN", conflicts_with = "config")]
    origins: Vec<String>,
    /// Several routes and everything else: see docs/configuration.md
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve a page at `/`: FILE, or the host's own, from which a person tries the handler (on without --config)
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "clap's way to tell `--page` from `--page FILE`")]
    page: Option<Option<PathBuf>>,
    /// Serve no page
    #[arg(long, conflicts_with = "page")]
    no_page: bool,
    /// Do not keep compiled handlers between starts
    #[arg(long)]
    no_cache: bool,
    /// Deploy a handler whose file has changed, while its connections stay open (on without --config)
    #[arg(long)]
    watch: bool,
    /// Leave handlers as they are when their files change
    #[arg(long, conflicts_with = "watch")]
    no_watch: bool,
    /// Keep what is deployed here, so that it outlives a restart; the file of a handler is taken again when it is newer
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// Before it serves, give up every privilege and (Linux: Landlock) whatever the configuration does not need of files and ports;
    /// see docs/deployment.md
    #[arg(long)]
    sandbox: bool,
    /// Whom to become with --sandbox; needed, and only possible, as root
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Served by `waterspout dev`.
    #[arg(skip)]
    pub(super) development: Option<Development>,
}

/// A handler that is served while it is written: configuration and page are read again as soon as they have changed, as at SIGHUP.
#[derive(Clone, Default)]
pub(super) struct Development {
    /// Meanwhile handlers' files are left alone: what a build has written is taken when it was checked.
    pub(super) is_building: Arc<AtomicBool>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.run_after(|| {})
    }

    /// The same. `prepare` is done before any handler is loaded; under `waterspout dev` when the addresses are known to be free.
    pub(super) fn run_after(self, prepare: impl FnOnce()) -> anyhow::Result<()> {
        let mut predecessor = Predecessor::of_this_process()?;
        let invocation = Invocation::of_this_process().map_err(|error| {
            super::Internal(format!("the system does not say which program this is: {error}"))
        })?;
        if let Some(command) = self.overlooked() {
            // It looks right: it listens, it has a page, it answers.
            eprintln!(
                "waterspout: the embedded echo is served, and not what is in this folder: that does `{command}`"
            );
        }
        let file = self.config.clone();
        let watching = match &self.development {
            Some(development) => Watching::Unless(development.is_building.clone()),
            None if self.watches() => Watching::Always,
            None => Watching::Never,
        };
        // Before it is read: what changes in between is found when it is read again.
        let development = self.development.clone();
        let mut saved = development.is_some().then(|| Saved::now(file.as_deref()));
        let at_start = file.as_deref().map(Document::read).transpose()?;
        let listen = self.listen.clone();
        let configuration =
            file.clone().zip(at_start).map(|(file, at_start)| Configuration { file, at_start, listen });
        let asked_page = self.page_choice();
        let elsewhere = self.elsewhere();
        let mut config = self.into_config()?;
        if let Some(saved) = &mut saved {
            saved.set_page(&config.page);
        }
        // Before there are threads, whose environment it is, too.
        let by_systemd = |address: &ListenAddress| matches!(address, ListenAddress::Systemd(_));
        let inherited = match &mut predecessor {
            Some(predecessor) => predecessor.take_listeners(Purpose::Listener),
            None if config.listeners.iter().any(|listener| by_systemd(&listener.address)) => {
                InheritedSockets::from_environment()
            }
            None => InheritedSockets::none(),
        };
        // And before the sandbox, in which it could not be reached any more.
        let supervisor = match &mut predecessor {
            Some(predecessor) => Supervisor::of_predecessor(predecessor.take_supervisor()),
            None => Supervisor::from_environment(),
        };
        let mut addresses = Addresses::Free(inherited);
        let confined = match predecessor.as_ref().and_then(Predecessor::confined) {
            Some(confined) => {
                super::sandbox::inherit(&mut config, confined)?;
                Some(confined)
            }
            None if config.sandbox => {
                // While we may: ports below 1024 are root's.
                addresses = addresses.take(&config.listeners, elsewhere)?;
                Some(super::sandbox::confine(&mut config, file.as_deref(), &invocation.program)?)
            }
            None => None,
        };
        if development.is_some() && predecessor.is_none() {
            // A build may take long: who could not be served should know before.
            addresses = addresses.take(&config.listeners, elsewhere)?;
        }
        prepare();
        let files = Files { configuration, asked_page, saved, watching, elsewhere };
        let life = Life { predecessor, invocation, confined, supervisor };
        super::huge_pages::disable();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // A task that computes (a guest, a compressor) does so for a millisecond at a time: sockets are looked at between a few
            // of them, not after tokio's 61.
            .event_interval(8)
            // Threads that were needed beside the workers, for long polls and files, keep memory of their own.
            .thread_keep_alive(Duration::from_secs(1))
            .max_blocking_threads(MAX_THREADS_BESIDE)
            .enable_all()
            .build()
            .context("the system gives no threads")?;
        let served = runtime.block_on(serve(config, addresses, files, life));
        // What is still being compressed on a thread of its own is for nobody any more.
        runtime.shutdown_background();
        served
    }

    /// What would serve the folder one is in, where nothing is named and so the embedded echo is served.
    fn overlooked(&self) -> Option<String> {
        if self.handler.is_some() || self.config.is_some() {
            return None;
        }
        let here = Path::new("");
        if here.join(CONFIGURATION).is_file() {
            return Some(format!("waterspout serve --config {CONFIGURATION}"));
        }
        let component = Project::at(here, None).ok()?.component();
        Some(if component.is_file() {
            format!("waterspout serve {}", component.display())
        } else {
            "waterspout dev".into()
        })
    }

    fn elsewhere(&self) -> Elsewhere {
        match (&self.development, &self.config) {
            (Some(_), _) => Elsewhere::Words("waterspout dev -- --listen"),
            (None, Some(_)) => Elsewhere::Configuration,
            (None, None) => Elsewhere::Words("waterspout serve --listen"),
        }
    }

    fn watches(&self) -> bool {
        self.watch || self.config.is_none() && !self.no_watch
    }

    fn into_config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(file) => Config::from_file_on(file, self.listen.clone())?,
            None => self.single()?,
        };
        if let Some(page) = self.page_choice() {
            config.page = page;
        }
        if self.no_cache {
            config.runtime.cache = None;
        }
        if self.state_dir.is_some() {
            config.state_dir = self.state_dir;
        }
        config.sandbox |= self.sandbox;
        config.runtime.compiler = super::compiler(config.compile.clone(), config.sandbox)?;
        if self.user.is_some() {
            config.user = self.user;
        }
        check_user(&config)?;
        Ok(config)
    }

    /// The page that the arguments ask for, if they do.
    fn page_choice(&self) -> Option<PageChoice> {
        match &self.page {
            Some(Some(file)) => Some(PageChoice::File(file.clone())),
            Some(None) => Some(PageChoice::Own),
            None => self.no_page.then_some(PageChoice::Off),
        }
    }

    /// One handler on one path.
    fn single(&self) -> anyhow::Result<Config> {
        let path = self.path.as_deref().unwrap_or(DEFAULT_PATH);
        let pattern = Pattern::new(path).map_err(|error| anyhow!("--path {path}: {error}"))?;
        let name = match &self.handler {
            Some(file) => {
                file.file_stem().map_or_else(|| "handler".into(), |stem| stem.to_string_lossy().into_owned())
            }
            None => "echo".into(),
        };
        let mut route = Route::new(name, pattern);
        if let Some(policy) = &self.instance {
            route.policy = InstancePolicy::new(policy, &route.pattern)
                .map_err(|error| anyhow!("--instance {policy}: {error}"))?;
        }
        if !self.origins.is_empty() {
            route.origins = Origins::listed(&self.origins).map_err(|error| anyhow!("--origin {error}"))?;
        }
        let handler = self.handler.clone().map_or(HandlerSource::Echo, HandlerSource::File);
        let mut config = Config::single(route, handler, self.listen.clone().unwrap_or(DEFAULT_LISTEN));
        if let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) {
            config.certificates =
                vec![CertificateFiles { certificate: certificate.clone(), key: key.clone() }];
            config.listeners[0].tls = true;
        }
        if !self.hosts.is_empty() {
            let hosts = Hosts::listed(&self.hosts).map_err(|error| anyhow!("--host {error}"))?;
            config.routes[0].0.hosts = hosts;
        }
        Ok(config)
    }
}

/// Nobody becomes a user without the sandbox.
pub(super) fn check_user(config: &Config) -> anyhow::Result<()> {
    if let (Some(user), false) = (&config.user, config.sandbox) {
        anyhow::bail!(
            "user `{user}` is whom the sandbox becomes: add `--sandbox`, or `sandbox = true` to the file"
        );
    }
    Ok(())
}

/// The addresses to listen on: taken when the handlers are known to be good, or, where privileges are given up, before.
enum Addresses {
    Free(InheritedSockets),
    Taken(Vec<Reserved>, InheritedSockets),
}

/// What is read again while it is served.
struct Files {
    configuration: Option<Configuration>,
    /// By the arguments, whatever the configuration says.
    asked_page: Option<PageChoice>,
    /// Where files are followed: what they were at the start.
    saved: Option<Saved>,
    watching: Watching,
    elsewhere: Elsewhere,
}

/// Whether handlers' files are looked at again and again.
enum Watching {
    Never,
    Always,
    /// But for the time in which this is true.
    Unless(Arc<AtomicBool>),
}

/// How one has it listen elsewhere.
#[derive(Clone, Copy)]
enum Elsewhere {
    /// By these words and an address.
    Words(&'static str),
    /// As the configuration's file says.
    Configuration,
}

/// Where this process comes from, and what its successor needs.
struct Life {
    predecessor: Option<Predecessor>,
    invocation: Invocation,
    confined: Option<Confined>,
    supervisor: Supervisor,
}

impl Addresses {
    fn take(self, listeners: &[ListenerConfig], elsewhere: Elsewhere) -> anyhow::Result<Self> {
        let Self::Free(mut inherited) = self else { return Ok(self) };
        let reserve = |listener: &ListenerConfig| {
            Reserved::new(&listener.address, listener.mode, &mut inherited)
                .map_err(|error| cannot_listen(&listener.address, &error, elsewhere))
        };
        let reserved = listeners.iter().map(reserve).collect::<anyhow::Result<_>>()?;
        Ok(Self::Taken(reserved, inherited))
    }

    /// The addresses, and what was inherited that is none of them.
    fn taken(
        self,
        listeners: &[ListenerConfig],
        elsewhere: Elsewhere,
    ) -> anyhow::Result<(Vec<Reserved>, InheritedSockets)> {
        match self.take(listeners, elsewhere)? {
            Self::Taken(reserved, rest) => Ok((reserved, rest)),
            Self::Free(rest) => Ok((Vec::new(), rest)),
        }
    }
}

/// Why nobody can listen on an address; where another program does, with what to do.
fn cannot_listen(address: &ListenAddress, error: &io::Error, elsewhere: Elsewhere) -> anyhow::Error {
    let in_use = error.kind() == io::ErrorKind::AddrInUse;
    let remedy = match (address, elsewhere) {
        (ListenAddress::Tcp(address), Elsewhere::Words(words)) if in_use => {
            let mut other = *address;
            other.set_port(address.port().checked_add(1).unwrap_or(0));
            format!(": end the program that listens there, or listen elsewhere: `{words} {other}`")
        }
        (ListenAddress::Tcp(_), Elsewhere::Configuration) if in_use => {
            ": end the program that listens there, or write another address into the configuration".into()
        }
        _ => String::new(),
    };
    anyhow!("cannot listen on {address}: {error}{remedy}")
}

async fn serve(config: Config, addresses: Addresses, files: Files, life: Life) -> anyhow::Result<()> {
    let Life { mut predecessor, invocation, confined, supervisor } = life;
    // Too early, neither must end the process.
    let (hangups, early) = (super::reload::signals()?, Early::begin()?);
    super::takeover::let_signals_in();
    raise_descriptor_limit(config.server.max_connections);
    let Files { configuration, asked_page, saved, watching, elsewhere } = files;
    let file = configuration.as_ref().map(|configuration| configuration.file.clone());
    let in_file = |error: anyhow::Error| match &file {
        Some(file) => error.context(file.display().to_string()),
        None => error,
    };
    let certificates = match config.certificates.is_empty() {
        true => None,
        false => Some(Certificates::load(config.certificates).map_err(|error| in_file(error.into()))?),
    };
    let limits = config.routes.iter().map(|(route, _)| &route.limits);
    let runtime = Runtime::new(&config.runtime, limits)
        .map(Arc::new)
        .map_err(|error| super::Internal(format!("the sandbox's address space cannot be had: {error:#}")))?;
    if let Some(shortage) = runtime.shortage() {
        tracing::warn!(
            wanted = shortage.wanted,
            granted = shortage.granted,
            remedy = shortage.remedy,
            "fewer instances than `max-instances` fit into this system's limits"
        );
    }
    let pages = Pages {
        asked: asked_page,
        at_start: config.page,
        of_host: Page::of_host(config.routes.iter().map(|(route, _)| route)),
    };
    let page = pages.page(&pages.at_start)?;
    let state = config.state_dir.as_deref().map(StateDir::open).transpose().context("state-dir")?;
    let mut starter = Starter::new(runtime, state);
    if predecessor.is_some() {
        starter = starter.taking_over();
    }
    if config.routes.len() > 1 {
        with_progress("the handlers", || starter.compile_ahead(&config.routes));
    }
    let mut routes = Vec::new();
    for (route, source) in config.routes {
        let loaded = with_progress(&source.to_string(), || starter.load(&route, &source));
        routes.push((route, loaded.context("state-dir")?));
    }
    if let Some(predecessor) = &predecessor {
        let lost = routes.iter().filter(|(route, _)| predecessor.serves(route));
        let lost: Vec<_> = lost.filter_map(|(route, loaded)| Some((route, loaded.as_ref().err()?))).collect();
        if !lost.is_empty() {
            return Err(super::not_loaded(file.as_deref(), lost));
        }
    }
    let paths: Vec<String> = routes
        .iter()
        .filter(|(_, loaded)| loaded.as_ref().map_or_else(NotLoaded::is_postponed, |_| true))
        .map(|(route, _)| route.pattern.as_str().to_owned())
        .collect();
    if paths.is_empty() {
        let missing = routes.iter().filter_map(|(route, loaded)| Some((route, loaded.as_ref().err()?)));
        return Err(super::not_loaded(file.as_deref(), missing));
    }
    let has_page = page.is_some();
    let mut listeners = Vec::new();
    let (reserved, unused) = addresses.taken(&config.listeners, elsewhere)?;
    for (listener, reserved) in config.listeners.into_iter().zip(reserved) {
        let mut bound =
            reserved.listen().map_err(|error| cannot_listen(&listener.address, &error, elsewhere))?;
        if let (true, Some(certificates)) = (listener.tls, &certificates) {
            bound = bound.with_tls(certificates.clone());
        }
        if listener.proxy_protocol {
            bound = bound.with_proxy_protocol();
        }
        listeners.push(bound);
    }
    let mut listeners = listeners.into_iter();
    let first = listeners.next().context("there is nothing to listen on")?;
    let application = Application::new(routes, page);
    let mut of_admin = predecessor
        .as_mut()
        .map_or_else(InheritedSockets::none, |predecessor| predecessor.take_listeners(Purpose::Admin));
    let admin =
        config.admin.map(|options| Admin::bind_inherited(&options, application.clone(), &mut of_admin));
    let admin = admin.transpose().map_err(|error| in_file(anyhow!("in `[admin]`: {error}")))?;
    // Before anybody is accepted.
    let deployer = starter.deployer(application.clone()).await;
    let admin = admin.map(|admin| admin.with_deployer(deployer.clone()));
    let server = Server::on(first, application.clone(), config.server);
    let server = listeners.fold(server, Server::and_on);
    let grace = server.grace();
    let handles: Vec<ListenerHandle> = server.listeners().iter().map(Listener::handle).collect();
    let of_admin_handle = admin.as_ref().map(Admin::handle);
    // Whoever hears that this process is ready may signal.
    let (shutdown, asked) = (first_signal()?, early.end().await?);
    let reload = Reload {
        file: configuration,
        certificates,
        deployer: deployer.clone(),
        supervisor: supervisor.clone(),
        application: application.clone(),
        pages,
    };
    reload.begin(hangups, saved);
    let is_first = predecessor.is_none();
    if let Some(predecessor) = predecessor {
        if let Err(error) = predecessor.ready() {
            tracing::warn!(%error, "the process to take over from is gone");
        }
        // Nobody but this process accepts: it must not wait for what is compiled now.
        tokio::spawn(deployer.settle());
        handles.iter().chain(&of_admin_handle).for_each(|handle| handle.own_file(true));
        unused.close_the_rest();
        of_admin.close_the_rest();
    }
    match watching {
        Watching::Never => {}
        Watching::Always => drop(tokio::spawn(deployer.clone().watch())),
        Watching::Unless(held) => {
            drop(tokio::spawn(deployer.clone().watch_unless(move || held.load(Ordering::Relaxed))));
        }
    }
    let takeover = Takeover {
        application,
        deployer: deployer.clone(),
        invocation,
        confined,
        supervisor: supervisor.clone(),
        listeners: handles,
        admin: of_admin_handle,
        timeout: config.takeover_timeout,
    };
    let (replaced, takeover) = takeover.watch(asked);
    for listener in server.listeners() {
        for path in &paths {
            tell(listener, path);
        }
    }
    if has_page
        && let Some((listener, address)) =
            server.listeners().iter().find_map(|listener| Some((listener, listener.local_addr()?)))
    {
        let scheme = if listener.has_tls() { "https" } else { "http" };
        super::say(format_args!("open {scheme}://{address}/ in a browser"));
    }
    if let Some(admin) = &admin {
        tell_admin(admin);
    }
    if is_first {
        // Of a successor the predecessor has told, whose word counts until then.
        supervisor.tell("READY=1");
    }
    // Readable to the end of the drain, or until another process answers there.
    let (drained, until_drained) = tokio::sync::oneshot::channel::<()>();
    let admin = admin.map(|admin| {
        let replaced = replaced.clone();
        tokio::spawn(admin.run(async {
            tokio::select! {
                _ = until_drained => {}
                () = replaced.wait() => {}
            }
        }))
    });
    let shutdown = async {
        shutdown.await;
        takeover.stop().await;
        super::say(format_args!("closing connections{}; ctrl-c again to drop them", at_most(grace)));
        exit_at_second_signal();
    };
    let dropped = server.run_until_replaced(shutdown, replaced.wait()).await;
    if dropped > 0 {
        tracing::warn!(connections = dropped, "dropped at the end of the grace period");
    }
    deployer.finish().await;
    drop(drained);
    if let Some(admin) = admin {
        // A panic of it has been told.
        let _ = admin.await;
    }
    Ok(())
}

/// Says where the operator asks.
fn tell_admin(admin: &Admin) {
    match (admin.local_addr(), admin.path()) {
        (Some(address), _) => super::say(format_args!("admin on http://{address}/metrics")),
        (None, file) => super::say(format_args!("admin on unix:{}", file.unwrap_or_default().display())),
    }
}

/// Says where a route is served.
fn tell(listener: &Listener, path: &str) {
    let scheme = if listener.has_tls() { "wss" } else { "ws" };
    let place = match (listener.local_addr(), listener.path()) {
        (Some(address), _) => format!("{scheme}://{address}"),
        (None, Some(file)) => format!("{scheme}+unix:{}:", file.display()),
        (None, None) => format!("{scheme}+unix:"),
    };
    if path.starts_with('^') {
        super::say(format_args!("listening on {place} for paths like {path}"));
    } else {
        super::say(format_args!("listening on {place}{path}"));
    }
}

/// Resolves at ctrl-c or SIGTERM.
fn first_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for ctrl-c")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// What is said of how long connections may take to close.
fn at_most(grace: Duration) -> String {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    if grace < YEAR { format!("; at most {}", humantime::format_duration(grace)) } else { String::new() }
}

fn exit_at_second_signal() {
    if let Ok(signal) = first_signal() {
        tokio::spawn(async move {
            signal.await;
            // As shells report a program that SIGINT ended.
            std::process::exit(130);
        });
    }
}

/// Each connection is a descriptor; the usual soft limit of 1,024 is meant to be raised by programs that need more.
fn raise_descriptor_limit(connections: u32) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    /// Listener, log, cache, epoll and the like.
    const OWN: u64 = 64;
    let needed = u64::from(connections) + OWN;
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    // If it cannot be raised, what there is counts.
    let _ = setrlimit(Resource::Nofile, raised);
    // Who wants no bound has this one.
    if let Some(available) = getrlimit(Resource::Nofile).current
        && available < needed
        && connections != u32::MAX
    {
        tracing::warn!(
            wanted = connections,
            granted = available.saturating_sub(OWN),
            remedy = format!("ulimit -n {needed}"),
            "fewer connections than `max-connections` fit into this system's limits"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_arguments_it_is_the_echo_on_loopback_with_a_page() {
        let config = Serve::default().into_config().expect("valid");
        assert_eq!(config.listeners, [ListenerConfig::plain(DEFAULT_LISTEN)]);
        assert_eq!(config.page, PageChoice::Own);
        assert_eq!(config.routes[0].1, HandlerSource::Echo);
        assert_eq!(config.routes[0].0.pattern.as_str(), DEFAULT_PATH);
    }

    #[test]
    fn a_mistaken_argument_is_named() {
        let serve = Serve { path: Some("chat".into()), ..Serve::default() };
        let error = serve.into_config().expect_err("a mistake").to_string();
        assert!(error.starts_with("--path chat:"), "{error}");
        let serve = Serve { instance: Some("{room}".into()), ..Serve::default() };
        let error = serve.into_config().expect_err("a mistake").to_string();
        assert!(error.starts_with("--instance {room}:"), "{error}");
    }
}
