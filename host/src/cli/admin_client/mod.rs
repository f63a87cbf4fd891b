//! The admin listener, asked from the command line: where it is, by which token, and one request with its answer.
//!
//! The token goes only to this machine: over TCP it is not encrypted.

mod arguments;
mod place;
mod upload;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use waterspout::printable;

pub(super) use self::arguments::AdminArguments;
use self::place::Place;
use self::upload::Upload;
use super::Internal;

/// More than any answer has: bounds what a stranger on that port could have us keep.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// How long a server may take that is asked what it knows; its own limit is 10 s.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a swap may take; the server's own limit is 600 s from the first byte.
const PATIENCE_WITH_A_SWAP: Duration = Duration::from_secs(620);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_in_the_target() {
        let question = Question::new(Method::PUT, &["routes", "a/b c", "handler"])
            .with("tenant", Some("a&b"))
            .with("canary", None::<u8>)
            .with("on-swap", Some("drain"));
        assert_eq!(question.target, "/routes/a%2Fb%20c/handler?tenant=a%26b&on-swap=drain");
    }
}
