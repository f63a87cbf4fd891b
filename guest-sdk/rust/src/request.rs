//! The opening handshake (RFC 6455 section 4): what was asked, and how to refuse it.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use crate::generated::app::waterspout::websocket::{handshake, types};
use crate::{CompressionOptions, Error, query};

/// The request that asked for the connection. A clone is another handle to the same; once the connection has ended,
/// all of them answer as if it had been empty.
///
/// Each call asks the host and copies the answer: keep what is needed often.
#[derive(Clone)]
pub struct Request(Rc<OnceCell<handshake::Request>>);

impl Request {
    pub(crate) fn new(request: handshake::Request) -> Self {
        Self(Rc::new(request.into()))
    }

    /// Of a connection whose handler has not been resumed yet: as if it had ended.
    pub(crate) fn awaited() -> Self {
        Self(Rc::default())
    }

    /// Now it is there.
    pub(crate) fn arrive(&self, request: handshake::Request) {
        // If it was there, it is another handle to the same.
        let _ = self.0.set(request);
    }

    fn handle(&self) -> Option<&handshake::Request> {
        self.0.get()
    }

    /// Path and query as they stood on the request line.
    pub fn uri(&self) -> String {
        self.handle().map(handshake::Request::uri).unwrap_or_default()
    }

    /// The path as it stood on the request line.
    pub fn path(&self) -> String {
        self.handle().map(handshake::Request::path).unwrap_or_default()
    }

    /// What followed the question mark, if there was one.
    pub fn query(&self) -> Option<String> {
        self.handle()?.query()
    }

    /// The value of an argument in the query, as Tornado's `get_argument` gives it: decoded, without control
    /// characters and surrounding space, the last one if there are several, `""` if it has no value.
    pub fn query_arg(&self, name: &str) -> Option<String> {
        query::values(&self.query()?, name).last()
    }

    /// All values of an argument in the query, in order, as Tornado's `get_arguments`.
    pub fn query_args(&self, name: &str) -> Vec<String> {
        query::values(&self.query().unwrap_or_default(), name).collect()
    }

    /// What the route's pattern captured, in order, percent-decoded: (name, value). Positional captures are named
    /// "0", "1", ...; a group that matched nothing is left out.
    pub fn path_args(&self) -> Vec<(String, String)> {
        self.handle().map(handshake::Request::path_args).unwrap_or_default()
    }

    /// The capture of that name: of `/chat/blue` under `/chat/{room}`, "room" is "blue".
    pub fn path_arg(&self, name: &str) -> Option<String> {
        self.path_args().into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The first value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<String> {
        self.handle()?.header(name)
    }

    /// All headers, in order; a value need not be UTF-8.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.handle().map(handshake::Request::headers).unwrap_or_default()
    }

    /// The peer's address without port; behind a trusted proxy, the address that the proxy names.
    pub fn remote_address(&self) -> String {
        self.handle().map(handshake::Request::remote_address).unwrap_or_default()
    }

    /// Whether the default policy (the same host and port) or the operator's list allows this origin.
    pub fn origin_allowed(&self, origin: &str) -> bool {
        self.handle().is_some_and(|request| request.origin_allowed(origin))
    }

    /// Adds a header to the 101 answer.
    ///
    /// # Errors
    /// [`Closed`](Error::Closed) once the handshake is over; [`Invalid`](Error::Invalid) for a header that is the
    /// host's own or that guests may not set; [`Limit`](Error::Limit).
    pub fn set_response_header(&self, name: &str, value: &str) -> Result<(), Error> {
        Ok(self.handle().ok_or(Error::Closed)?.set_response_header(name, value)?)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("uri", &self.uri()).finish_non_exhaustive()
    }
}

/// An HTTP answer instead of the upgrade: what [`prepare`](crate::Handler::prepare) refuses with.
///
/// ```
/// use waterspout_guest::Rejection;
///
/// let rejection = Rejection::new(401, "Who are you?").header("www-authenticate", "Bearer");
/// assert_eq!(rejection.status, 401);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// 200 to 599.
    pub status: u16,
    /// Of those that guests may set; the host adds its own.
    pub headers: Vec<(String, String)>,
    /// As `content-type` says.
    pub body: Vec<u8>,
}

impl Rejection {
    /// An answer in plain text, unless a [`header`](Self::header) says otherwise.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![(CONTENT_TYPE.into(), "text/plain; charset=utf-8".into())];
        Self { status, headers, body: body.into().into_bytes() }
    }

    /// 302 to `url`, as Tornado's `redirect`.
    pub fn redirect(url: impl Into<String>) -> Self {
        Self { status: 302, headers: vec![("location".into(), url.into())], body: Vec::new() }
    }

    /// The same with one header more; a second `content-type` takes the place of the first.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        if name.eq_ignore_ascii_case(CONTENT_TYPE) {
            self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(CONTENT_TYPE));
        }
        self.headers.push((name, value.into()));
        self
    }
}

const CONTENT_TYPE: &str = "content-type";

impl From<Rejection> for types::Rejection {
    fn from(Rejection { status, headers, body }: Rejection) -> Self {
        Self { status, headers, body }
    }
}

/// The host's defaults.
impl Default for CompressionOptions {
    fn default() -> Self {
        Self { level: None, mem_level: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_plain_text_unless_it_says_otherwise() {
        let rejection = Rejection::new(403, "no").header("x-why", "a").header("x-why", "b");
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            rejection.headers,
            [header("content-type", "text/plain; charset=utf-8"), header("x-why", "a"), header("x-why", "b")]
        );
        let rejection = Rejection::new(200, "{}").header("Content-Type", "application/json");
        assert_eq!(rejection.headers, [header("Content-Type", "application/json")]);
        assert_eq!(rejection.body, b"{}");
    }

    #[test]
    fn a_redirect_is_302_with_a_location() {
        let rejection = Rejection::redirect("/login");
        assert_eq!((rejection.status, rejection.body.len()), (302, 0));
        assert_eq!(rejection.headers, [("location".to_owned(), "/login".to_owned())]);
    }
}
