//! `waterspout connect URL HANDLER`: a component handles the connection.

use std::path::PathBuf;
use std::pin::pin;

use anyhow::anyhow;
use http::Request;
use waterspout::client::ConnectOptions;
use waterspout::client::handler::{HandledEnd, HandledError, connect_handler};
use waterspout::limits::PongTimeout;
use waterspout::{
    CacheFolders, CompileLimits, HandlerSource, Limits, Pattern, Route, Runtime, RuntimeOptions,
};

use super::super::Internal;
use super::super::progress::with_progress;
use super::session;

/// Until the connection has ended, or ctrl-c has closed it with 1001; none if a second one was in a hurry.
pub(super) async fn run(
    file: PathBuf,
    request: Request<()>,
    options: ConnectOptions,
) -> anyhow::Result<Option<HandledEnd>> {
    let route = route(&file, &options);
    let runtime = RuntimeOptions {
        max_instances: super::super::PLACES_OF_ONE,
        cache: CacheFolders::of_user(),
        compiler: super::super::compiler(CompileLimits::default(), false)?,
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::new(&runtime, [&route.limits]).map_err(|error| Internal(format!("{error:#}")))?;
    let source = HandlerSource::File(file);
    let handler = with_progress(&source.to_string(), || runtime.load(&source, &route.limits))
        .map_err(|error| anyhow!("{source} {error}"))?;
    let [mut interrupt, mut terminate] = session::signals()?;
    let mut signalled = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let (asked, shutdown) = tokio::sync::oneshot::channel::<()>();
    let mut connected = pin!(connect_handler(request, options, route, &handler, async {
        if shutdown.await.is_err() {
            std::future::pending().await
        }
    }));
    tokio::select! {
        ended = &mut connected => return ended.map(Some).map_err(explained),
        () = signalled() => {}
    }
    let _ = asked.send(());
    tokio::select! {
        ended = connected => ended.map(Some).map_err(explained),
        () = signalled() => Ok(None),
    }
}

/// What the handler may use: the client's own limits where it has them.
fn route(file: &std::path::Path, options: &ConnectOptions) -> Route {
    let name = file.file_stem().map_or_else(|| "handler".into(), |stem| stem.to_string_lossy().into_owned());
    let every_path = Pattern::new("^.*$").expect("a regular expression");
    let mut route = Route::new(name, every_path);
    let defaults = Limits::default();
    route.limits = Limits {
        max_message_bytes: options.max_message_bytes,
        max_fragments: options.max_fragments,
        max_queue_bytes: options.max_queue_bytes,
        close_timeout: options.close_timeout,
        write_timeout: options.write_timeout,
        ping_interval: options.ping_interval.unwrap_or(defaults.ping_interval),
        pong_timeout: options.pong_timeout.map_or(PongTimeout::Interval, PongTimeout::Of),
        idle_timeout: None,
        life_time: None,
        ..defaults
    };
    route
}

fn explained(error: HandledError) -> anyhow::Error {
    match error {
        HandledError::Connect(error) => super::explained(&error),
        error => anyhow!("{error}"),
    }
}
