//! The admin listener, asked from the command line: where it is, by which token, and one request with its answer.
//!
//! The token goes only to this machine: over TCP it is not encrypted.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use waterspout::config::Config;
use waterspout::printable;

use super::Internal;
use super::admin_place::Place;

const PLACE_VARIABLE: &str = "WATERSPOUT_ADMIN";
const TOKEN_VARIABLE: &str = "WATERSPOUT_ADMIN_TOKEN_FILE";
/// More than any token has.
const MAX_TOKEN_BYTES: u64 = 4096;
/// More than any answer has: bounds what a stranger on that port could have us keep.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// How long a server may take that is asked what it knows; its own limit is 10 s.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a swap may take; the server's own limit is 600 s from the first byte.
const PATIENCE_WITH_A_SWAP: Duration = Duration::from_secs(620);
/// How long a server may take to say that it wants the body. Ours says so at once; another may never.
const UNTIL_WANTED: Duration = Duration::from_secs(1);

/// Which server is meant.
#[derive(Args, Default)]
#[command(next_help_heading = "Server")]
pub(super) struct AdminArguments {
    /// Its admin listener: `127.0.0.1:9090`, `http://localhost:9090` or `unix:/path/to.sock` [default: what WATERSPOUT_ADMIN says, else
    /// 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "config")]
    admin: Option<Place>,
    /// The file with its token [default: what WATERSPOUT_ADMIN_TOKEN_FILE says]
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    token_file: Option<PathBuf>,
    /// Its configuration file, whose `[admin]` says both
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl AdminArguments {
    /// # Errors
    /// Something is mistaken, or the token cannot be read. Nobody has been asked yet.
    pub(super) fn client(self) -> anyhow::Result<AdminClient> {
        let (place, token_file) = self.resolve(|name| std::env::var_os(name))?;
        let authorization = token_file.as_deref().map(authorization).transpose()?;
        if authorization.is_none() && matches!(place, Place::Tcp { .. }) {
            bail!(
                "the admin listener at {place} wants a token: name its file by `--token-file`, or the server's configuration file by `--config`"
            );
        }
        Ok(AdminClient { place, authorization, token_file })
    }

    /// Flags come before the environment.
    fn resolve(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> anyhow::Result<(Place, Option<PathBuf>)> {
        if let Some(file) = self.config {
            let admin = Config::from_file(&file)?.admin;
            let admin = admin.with_context(|| {
                format!("{}: there is no `[admin]`: the server cannot be asked", file.display())
            })?;
            let place = Place::of_listener(&admin.address)
                .map_err(|error| anyhow!("{}: in `[admin]`: {error}", file.display()))?;
            return Ok((place, admin.token_file));
        }
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let of_variable = |value: OsString| {
            value.to_string_lossy().parse().map_err(|error| anyhow!("{PLACE_VARIABLE}: {error}"))
        };
        let place = match self.admin {
            Some(place) => place,
            None => variable(PLACE_VARIABLE).map_or_else(|| Ok(Place::default()), of_variable)?,
        };
        Ok((place, self.token_file.or_else(|| variable(TOKEN_VARIABLE).map(PathBuf::from))))
    }
}

/// The header that has a file's token.
fn authorization(file: &Path) -> anyhow::Result<HeaderValue> {
    let mut token = String::new();
    let opened =
        File::open(file).and_then(|opened| opened.take(MAX_TOKEN_BYTES + 2).read_to_string(&mut token));
    opened.with_context(|| format!("the token's file {} cannot be read", file.display()))?;
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("{}: a token is one line of visible ASCII characters", file.display());
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).context("a token")?;
    header.set_sensitive(true);
    Ok(header)
}

/// One request.
pub(super) struct Question {
    method: Method,
    target: String,
    body: Bytes,
    patience: Duration,
}

impl Question {
    pub(super) fn new(method: Method, path: &[&str]) -> Self {
        let target = path.iter().map(|segment| format!("/{}", encoded(segment))).collect();
        let patience = if method == Method::GET { PATIENCE } else { PATIENCE_WITH_A_SWAP };
        Self { method, target, body: Bytes::new(), patience }
    }

    /// With a key of the query, if there is a value.
    pub(super) fn with(mut self, key: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            let mark = if self.target.contains('?') { '&' } else { '?' };
            self.target += &format!("{mark}{key}={}", encoded(&value.to_string()));
        }
        self
    }

    pub(super) fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// See the module.
pub(super) struct AdminClient {
    place: Place,
    authorization: Option<HeaderValue>,
    token_file: Option<PathBuf>,
}

impl AdminClient {
    /// The JSON that the server answers.
    ///
    /// # Errors
    /// [`Internal`] if there is no answer, or none of the admin listener's; otherwise the server's own sentence.
    pub(super) fn ask(&self, question: Question) -> anyhow::Result<Bytes> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Internal(format!("the system gives no timer and no sockets: {error}")))?;
        let patience = question.patience;
        let (status, body) = runtime
            .block_on(async { tokio::time::timeout(patience, self.exchange(question)).await })
            .map_err(|_| {
                let patience = humantime::format_duration(patience);
                Internal(format!("the admin listener at {} has not answered for {patience}", self.place))
            })??;
        match status {
            StatusCode::OK if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() => Ok(body),
            StatusCode::OK => Err(self.stranger().into()),
            StatusCode::UNAUTHORIZED => Err(self.not_let_in()),
            _ => {
                let sentence = printable(body.trim_ascii());
                let told = format!("{} answers {}: {sentence}", self.place, status.as_u16());
                match status {
                    StatusCode::INTERNAL_SERVER_ERROR => Err(Internal(told).into()),
                    _ => Err(anyhow!(told)),
                }
            }
        }
    }

    async fn exchange(&self, question: Question) -> anyhow::Result<(StatusCode, Bytes)> {
        match &self.place {
            Place::Tcp { addresses, .. } => {
                let socket = TcpStream::connect(addresses.as_slice()).await;
                self.converse(socket.map_err(|error| self.unreachable(&error))?, question).await
            }
            Place::Unix(path) => {
                let socket = UnixStream::connect(path).await;
                self.converse(socket.map_err(|error| self.unreachable(&error))?, question).await
            }
        }
    }

    async fn converse(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        question: Question,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let silent = |error: hyper::Error| self.silent(&error);
        let (mut sender, connection) =
            http1::handshake::<_, Upload>(TokioIo::new(socket)).await.map_err(silent)?;
        // Its error is told by the answer that does not come.
        tokio::spawn(connection);
        let answer = sender.send_request(self.request(question)?).await.map_err(silent)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| self.silent(error.as_ref()))?;
        Ok((status, body.to_bytes()))
    }

    fn request(&self, question: Question) -> anyhow::Result<Request<Upload>> {
        let Question { method, target, body, .. } = question;
        let wanted = Arc::new(Notify::new());
        // The admin listener answers to no other name, wherever it is.
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, "localhost");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            request = request.header(header::EXPECT, "100-continue");
        }
        let mut request = request.body(Upload::new(body, wanted.clone()))?;
        hyper::ext::on_informational(&mut request, move |answer| {
            if answer.status() == StatusCode::CONTINUE {
                wanted.notify_one();
            }
        });
        Ok(request)
    }

    fn unreachable(&self, error: &io::Error) -> Internal {
        let hint = match (&self.place, error.kind()) {
            (Place::Unix(_), io::ErrorKind::PermissionDenied) => {
                "run this as the server's user, or let others in by `mode` of its `[admin]`"
            }
            _ => {
                "start the server with an `[admin]` in its configuration file, and say where that listens by `--admin` or `--config`"
            }
        };
        Internal(format!("the admin listener at {} cannot be reached: {error}: {hint}", self.place))
    }

    fn silent(&self, error: &dyn std::error::Error) -> Internal {
        Internal(format!(
            "the admin listener at {} ended the connection before it had answered ({error}): see the server's log; `waterspout versions` tells \
             what is served",
            self.place
        ))
    }

    /// An answer that is not the admin listener's.
    pub(super) fn stranger(&self) -> Internal {
        Internal(format!(
            "what answers at {} is no admin listener of Waterspout {}: say by `--admin` where that is",
            self.place,
            env!("CARGO_PKG_VERSION")
        ))
    }

    fn not_let_in(&self) -> anyhow::Error {
        match &self.token_file {
            Some(file) => anyhow!(
                "the admin listener at {} does not take the token of {}: name the server's own `token-file`",
                self.place,
                file.display()
            ),
            None => {
                anyhow!("the admin listener at {} wants a token: name its file by `--token-file`", self.place)
            }
        }
    }
}

/// A body that is not sent before the server wants it: a server that refuses without reading it closes the connection, and its answer
/// would be lost with what is on its way.
struct Upload {
    bytes: Bytes,
    until_wanted: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Upload {
    fn new(bytes: Bytes, wanted: Arc<Notify>) -> Self {
        let until_wanted = Box::pin(async move {
            // Whoever says nothing may want it all the same (RFC 9110 section 10.1.1).
            let _ = tokio::time::timeout(UNTIL_WANTED, wanted.notified()).await;
        });
        Self { bytes, until_wanted }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        self.until_wanted.as_mut().poll(cx).map(|()| Some(Ok(Frame::data(std::mem::take(&mut self.bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(admin: Option<&str>, token_file: Option<&str>) -> AdminArguments {
        AdminArguments {
            admin: admin.map(|text| text.parse().expect("a place")),
            token_file: token_file.map(PathBuf::from),
            config: None,
        }
    }

    fn resolved(arguments: AdminArguments, variables: &[(&str, &str)]) -> (String, Option<PathBuf>) {
        let variable = |name: &str| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value))
        };
        let (place, token_file) = arguments.resolve(variable).expect("right");
        (place.to_string(), token_file)
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_default() {
        assert_eq!(resolved(arguments(None, None), &[]), ("127.0.0.1:9090".into(), None));
        let environment = [(PLACE_VARIABLE, "unix:/run/a.sock"), (TOKEN_VARIABLE, "a.token")];
        assert_eq!(
            resolved(arguments(None, None), &environment),
            ("unix:/run/a.sock".into(), Some("a.token".into()))
        );
        assert_eq!(
            resolved(arguments(Some("127.0.0.1:1"), Some("b.token")), &environment),
            ("127.0.0.1:1".into(), Some("b.token".into()))
        );
        let empty = [(PLACE_VARIABLE, ""), (TOKEN_VARIABLE, "")];
        assert_eq!(resolved(arguments(None, None), &empty), ("127.0.0.1:9090".into(), None));
        let error = arguments(None, None).resolve(|_| Some("nowhere".into())).expect_err("a mistake");
        assert!(error.to_string().starts_with("WATERSPOUT_ADMIN: `nowhere`"), "{error}");
    }

    #[test]
    fn names_are_encoded_in_the_target() {
        let question = Question::new(Method::PUT, &["routes", "a/b c", "handler"])
            .with("tenant", Some("a&b"))
            .with("canary", None::<u8>)
            .with("on-swap", Some("drain"));
        assert_eq!(question.target, "/routes/a%2Fb%20c/handler?tenant=a%26b&on-swap=drain");
    }
}
