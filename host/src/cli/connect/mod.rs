//! `waterspout connect`: a WebSocket by hand, or in a pipe: lines in, messages out.
//!
//! One loop ([`session`]) owns the connection. Lines come from a thread that reads them, messages go to a thread that shows them: each may
//! wait for a person or a pipe while the connection goes on.

mod command;
mod handled;
mod input;
mod output;
mod session;
mod show;
mod terminal;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytesize::ByteSize;
use clap::Args;
use http::header::{HeaderName, HeaderValue, ORIGIN};
use http::{Request, Uri};
use waterspout::client::{self, ConnectError, ConnectOptions, Roots, TlsError};
use waterspout::connection::close::{CloseCause, CloseFrame};
use waterspout::connection::compression::Settings;
use waterspout::printable;

use self::output::Output;
use self::session::Session;
use self::show::Style;

/// The arguments of `waterspout connect`.
#[derive(Args)]
pub(super) struct Connect {
    /// Where to: `ws://HOST[:PORT]/PATH`, or `wss://` for TLS
    url: String,
    /// A handler for the connection, as `serve` takes it; without it, lines are messages
    handler: Option<PathBuf>,
    /// A header of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A subprotocol to ask for, the preferred one first; may be repeated
    #[arg(long = "subprotocol", value_name = "NAME")]
    subprotocols: Vec<String>,
    /// The Origin header, which a browser would send
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// Trust the certificates of this PEM file, and not the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Offer permessage-deflate; a HANDLER decides by itself
    #[arg(long, conflicts_with = "handler")]
    compress: bool,
    /// How long the server may take to answer the handshake, its name's look-up included
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = humantime::parse_duration)]
    connect_timeout: Duration,
    /// Bytes in one message, in either direction; a larger one of the server's closes the connection (1009)
    #[arg(long, value_name = "SIZE", default_value = "10MiB")]
    max_message_bytes: ByteSize,
    /// Ping the server so often [default: never; with HANDLER, 30s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ping_interval: Option<Duration>,
    /// How long it may take to answer such a ping; at most, and by default, as long as the interval; 0s waits for none
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ping_timeout: Option<Duration>,
    /// Show everything that arrives as JSON, one object a line
    #[arg(long, conflicts_with = "handler")]
    json: bool,
    /// Also show the answer's headers, pings, pongs and the close
    #[arg(short, long, conflicts_with = "handler")]
    verbose: bool,
}

/// The second ctrl-c: as shells report a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

impl Connect {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| super::Internal(format!("the system gives no threads: {error}")))?;
        let talked = runtime.block_on(self.talk());
        // The thread that reads lines may wait for one that nobody types.
        runtime.shutdown_background();
        talked
    }

    async fn talk(self) -> anyhow::Result<()> {
        let (request, options) = (self.request()?, self.options()?);
        let max_message_bytes = options.max_message_bytes;
        if let Some(handler) = self.handler {
            let Some(end) = handled::run(handler, request, options).await? else {
                std::process::exit(INTERRUPTED);
            };
            return verdict(end.frame.as_ref(), Some(end.cause), max_message_bytes);
        }
        let connection = client::connect(request, options).await.map_err(|error| explained(&error))?;
        let signals = session::signals()?;
        let style = match () {
            () if self.json => Style::Json,
            () if std::io::stdout().is_terminal() => Style::Terminal,
            () => Style::Raw,
        };
        let editor = (std::io::stdin().is_terminal() && std::io::stdout().is_terminal())
            .then(terminal::Editor::new)
            .flatten();
        let found = editor.as_ref().map(terminal::Editor::found);
        let (lines, output) = match editor {
            Some(editor) => {
                let (lines, printer) = editor.start();
                (lines, Output::to_terminal(printer))
            }
            None => (input::of_pipe(max_message_bytes), Output::to_pipe()),
        };
        let failure = output.failure.clone();
        let mut session = Session::new(connection, lines, output, style, found, self.verbose, signals);
        session.greet(&self.url);
        let ended = session.run().await;
        let Some(connection) = session.end(ended).await else {
            std::process::exit(INTERRUPTED);
        };
        if let Some(error) = failure.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            return Err(crate::cli::Internal(format!(
                "stdout cannot be written: {error}: messages are lost"
            ))
            .into());
        }
        match connection {
            Some(connection) => {
                verdict(connection.close_frame(), connection.close_cause(), max_message_bytes)
            }
            // Whoever read our output has gone, which is their right.
            None => Ok(()),
        }
    }

    fn request(&self) -> anyhow::Result<Request<()>> {
        let url: Uri = self.url.parse().map_err(|error| {
            anyhow!(
                "{}: {error}: a WebSocket's URL is like ws://127.0.0.1:8888/websocket",
                printable(self.url.as_bytes())
            )
        })?;
        let mut request = Request::get(url).body(())?;
        for header in &self.headers {
            let (name, value) = header
                .split_once(':')
                // Not what was given, which may be a secret.
                .ok_or_else(|| {
                    anyhow!("--header: one has no colon: a header is like `Authorization: Bearer x`")
                })?;
            let name: HeaderName =
                name.trim().parse().with_context(|| format!("--header: `{name}` is no header's name"))?;
            let value: HeaderValue = value
                .trim()
                .parse()
                .with_context(|| format!("--header {name}: no value that a header can have"))?;
            request.headers_mut().append(name, value);
        }
        if let Some(origin) = &self.origin {
            let origin = origin.parse().with_context(|| format!("--origin {origin}"))?;
            request.headers_mut().insert(ORIGIN, origin);
        }
        Ok(request)
    }

    fn options(&self) -> anyhow::Result<ConnectOptions> {
        let defaults = ConnectOptions::default();
        let max_message_bytes = usize::try_from(self.max_message_bytes.as_u64())
            .with_context(|| format!("--max-message-bytes {}", self.max_message_bytes))?;
        let ca = match &self.ca {
            Some(file) => {
                let named = || format!("--ca {}", file.display());
                Some(Roots::from_pem(&std::fs::read(file).with_context(named)?).with_context(named)?)
            }
            None => None,
        };
        Ok(ConnectOptions {
            subprotocols: self.subprotocols.clone(),
            connect_timeout: self.connect_timeout,
            max_message_bytes,
            // A message is bounded by its size; how a server cuts it is its business.
            max_fragments: u32::MAX,
            max_queue_bytes: defaults.max_queue_bytes.max(max_message_bytes),
            compression: self.compress.then(Settings::default),
            ca,
            ping_interval: self.ping_interval,
            pong_timeout: self.ping_timeout,
            ..defaults
        })
    }
}

/// What a person can do about it, in one sentence.
fn explained(error: &ConnectError) -> anyhow::Error {
    match error {
        ConnectError::Tls(TlsError::UnknownIssuer | TlsError::BadSignature) => {
            anyhow!("{error}: if you trust its issuer, pass the issuer's certificate with --ca FILE")
        }
        ConnectError::Tls(TlsError::NoRoots(_)) => anyhow!("{error}: pass them with --ca FILE"),
        ConnectError::Timeout(_) => anyhow!("{error}: --connect-timeout waits longer"),
        ConnectError::Http(answer) => match show::first_line(answer.body()) {
            Some(line) if Some(line.as_str()) != answer.status().canonical_reason() => {
                anyhow!("{error}: {line}")
            }
            _ => anyhow!("{error}"),
        },
        _ => anyhow!("{error}"),
    }
}

/// 1000, 1001 and 1005 are good endings.
fn verdict(
    frame: Option<&CloseFrame>,
    cause: Option<CloseCause>,
    max_message_bytes: usize,
) -> anyhow::Result<()> {
    let why = match (frame, cause) {
        // Whatever the server answers.
        (_, Some(CloseCause::Trapped | CloseCause::DeadlineExceeded | CloseCause::OutOfFuel)) => {
            "the handler failed".into()
        }
        (Some(frame), _) if matches!(frame.code, 1000 | 1001 | 1005) => return Ok(()),
        (Some(frame), _) => format!("the server closed with {}", show::close_frame(frame)),
        (None, Some(CloseCause::HandlerClosed | CloseCause::GoingAway)) => {
            "the server did not answer the close frame".into()
        }
        (None, Some(CloseCause::MessageTooBig)) => {
            format!(
                "the server sent a message of more than {max_message_bytes} bytes: --max-message-bytes allows more"
            )
        }
        (None, Some(CloseCause::InvalidUtf8)) => "the server sent text that is not UTF-8".into(),
        (None, Some(CloseCause::CorruptCompression)) => "the server sent what cannot be inflated".into(),
        (None, Some(CloseCause::ProtocolError)) => "the server broke the protocol".into(),
        (None, Some(CloseCause::Vanished) | None) => {
            "the server ended the connection without a close frame".into()
        }
        (None, Some(cause)) => format!("the connection has ended: {}", cause.label()),
    };
    Err(anyhow!(why))
}
