//! The handshake's request as a handler sees it, for as long as its connection lives.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::HeaderMap;

use crate::connection::link::LinkError;
use crate::server::handshake::{GuestHeaderError, GuestHeaders, Host};
use crate::server::routes::{Captures, Route};

/// See the module. Once the connection has ended it answers as if empty.
#[derive(Debug)]
pub(crate) struct Request {
    parts: Mutex<Option<Box<Parts>>>,
}

#[derive(Debug)]
struct Parts {
    uri: Box<str>,
    captures: Captures,
    headers: CompactHeaders,
    remote_address: IpAddr,
    host: Host,
    route: Arc<Route>,
    /// What the handler adds to the answer; none once the answer is on its way.
    response: Option<GuestHeaders>,
}

/// A copy of the request's headers in one piece: hyper's own share the read buffer, which would live as long as they do.
#[derive(Debug)]
struct CompactHeaders(Box<[u8]>);

impl CompactHeaders {
    fn new(headers: &HeaderMap) -> Self {
        let mut lines = Vec::new();
        for (name, value) in headers {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.push(b':');
            lines.extend_from_slice(value.as_bytes());
            lines.push(b'\n');
        }
        Self(lines.into())
    }

    /// (lower-case name, value): neither a name nor a value can hold a line feed, nor a name a colon.
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.split(|&b| b == b'\n').filter_map(|line| {
            let colon = line.iter().position(|&b| b == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        })
    }
}

impl Request {
    pub(crate) fn new(
        head: &http::request::Parts,
        captures: Captures,
        remote_address: IpAddr,
        host: Host,
        route: Arc<Route>,
    ) -> Self {
        let uri = head.uri.path_and_query().map_or("/", |target| target.as_str()).into();
        let headers = CompactHeaders::new(&head.headers);
        let response = Some(GuestHeaders::default());
        let parts = Parts { uri, captures, headers, remote_address, host, route, response };
        Self { parts: Mutex::new(Some(Box::new(parts))) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Parts>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<R: Default>(&self, read: impl FnOnce(&Parts) -> R) -> R {
        self.lock().as_deref().map(read).unwrap_or_default()
    }

    pub(crate) fn uri(&self) -> String {
        self.read(|parts| parts.uri.to_string())
    }

    pub(crate) fn path(&self) -> String {
        self.read(|parts| parts.uri.split('?').next().unwrap_or_default().to_owned())
    }

    pub(crate) fn query(&self) -> Option<String> {
        self.read(|parts| parts.uri.split_once('?').map(|(_, query)| query.to_owned()))
    }

    pub(crate) fn captures(&self) -> Vec<(String, String)> {
        self.read(|parts| parts.captures.0.clone())
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.read(|parts| {
            let (_, value) =
                parts.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))?;
            Some(String::from_utf8_lossy(value).into_owned())
        })
    }

    pub(crate) fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.read(|parts| {
            let line =
                |(name, value): (&[u8], &[u8])| (String::from_utf8_lossy(name).into_owned(), value.to_vec());
            parts.headers.iter().map(line).collect()
        })
    }

    pub(crate) fn remote_address(&self) -> String {
        self.read(|parts| parts.remote_address.to_string())
    }

    pub(crate) fn origin_allowed(&self, origin: &str) -> bool {
        self.read(|parts| parts.route.origins.allow(origin, &parts.host))
    }

    /// Adds a header to the 101.
    pub(crate) fn set_response_header(&self, name: &str, value: &str) -> Result<(), LinkError> {
        let mut guard = self.lock();
        let parts = guard.as_deref_mut().ok_or(LinkError::Closed)?;
        let response = parts.response.as_mut().ok_or(LinkError::Closed)?;
        let Route { set_cookie, limits, .. } = &*parts.route;
        response.add(name, value, *set_cookie, limits.max_response_header_bytes).map_err(
            |error| match error {
                GuestHeaderError::Invalid(why) => LinkError::Invalid(why),
                GuestHeaderError::TooMany(limit) => LinkError::Limit(limit.into()),
            },
        )
    }

    /// The handshake is over: takes the headers of the answer; from now on none can be added.
    pub(crate) fn take_response_headers(&self) -> HeaderMap {
        self.lock().as_deref_mut().and_then(|parts| parts.response.take()).unwrap_or_default().into_headers()
    }

    /// The connection has ended.
    pub(crate) fn end(&self) {
        self.lock().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::server::routes::Pattern;

    fn request() -> Request {
        let pattern = Pattern::new("/chat/{room}").expect("a pattern");
        let captures = pattern.captures("/chat/a%20b").expect("a match");
        let mut route = Route::new("chat", pattern);
        route.limits = Limits { max_response_header_bytes: 20, ..Limits::default() };
        let (head, ()) = http::Request::builder()
            .uri("/chat/a%20b?token=1?2")
            .header("X-Twice", "one")
            .header("x-twice", "a: b")
            .body(())
            .expect("a request")
            .into_parts();
        let host = Host { name: "localhost".into(), with_port: "localhost:1".into() };
        Request::new(&head, captures, IpAddr::from([127, 0, 0, 1]), host, Arc::new(route))
    }

    #[test]
    fn it_answers_with_what_was_asked() {
        let request = request();
        assert_eq!(request.uri(), "/chat/a%20b?token=1?2");
        assert_eq!(request.path(), "/chat/a%20b");
        assert_eq!(request.query().as_deref(), Some("token=1?2"));
        assert_eq!(request.captures(), [("room".to_owned(), "a b".to_owned())]);
        assert_eq!(request.header("X-TWICE").as_deref(), Some("one"));
        assert_eq!(request.headers()[1], ("x-twice".to_owned(), b"a: b".to_vec()));
        assert_eq!(request.remote_address(), "127.0.0.1");
        assert!(request.origin_allowed("http://localhost:1"));
    }

    #[test]
    fn headers_of_the_answer_are_bounded_and_end_with_the_handshake() {
        let request = request();
        assert_eq!(request.set_response_header("x-a", "1234567890123"), Ok(()));
        assert!(matches!(request.set_response_header("x-b", "too long now"), Err(LinkError::Limit(_))));
        assert_eq!(request.take_response_headers()["x-a"], "1234567890123");
        assert_eq!(request.set_response_header("x-a", "1"), Err(LinkError::Closed));
    }

    #[test]
    fn after_the_end_it_is_empty() {
        let request = request();
        request.end();
        assert_eq!((request.uri().as_str(), request.query(), request.captures()), ("", None, vec![]));
        assert!(!request.origin_allowed("http://localhost:1"));
    }
}
