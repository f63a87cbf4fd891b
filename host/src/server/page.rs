//! The page at `/`, from which a person tries a handler: the host's own, or a file of the operator's.

use std::path::Path;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use hyper::Response;

use crate::regular_file::{self, MAX_TEXT_BYTES};
use crate::server::answers::HttpAnswer;
use crate::server::routes::Route;

/// One HTML file, ready to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    html: Bytes,
    /// Whether it is the host's own, which needs nothing from elsewhere.
    own: bool,
}

const TEMPLATE: &str = include_str!("page.html");
/// Where the template takes the routes, as JSON.
const ROUTES: &str = "{{ROUTES}}";

/// What the host's own page may do: its inline script and style, and WebSocket connections to anywhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Page {
    /// The host's own page for these routes.
    pub fn of_host<'a>(routes: impl IntoIterator<Item = &'a Route>) -> Self {
        let routes: Vec<serde_json::Value> = routes
            .into_iter()
            .map(|route| {
                serde_json::json!({
                    "path": route.pattern.as_str(),
                    "subprotocols": route.subprotocols.as_deref().unwrap_or_default(),
                })
            })
            .collect();
        // `<` is escaped, so that no text can end the script element.
        let json = serde_json::Value::from(routes).to_string().replace('<', "\\u003c");
        Self { html: TEMPLATE.replace(ROUTES, &json).into(), own: true }
    }

    /// A page of the operator's.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn from_file(path: &Path) -> std::io::Result<Self> {
        Ok(Self { html: regular_file::read(path, MAX_TEXT_BYTES)?.into(), own: false })
    }

    pub(crate) fn answer(&self) -> HttpAnswer {
        let mut answer = Response::new(self.html.clone().into());
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.own {
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::routes::Pattern;

    #[test]
    fn a_routes_path_cannot_end_the_script_it_stands_in() {
        let route = Route::new("r", Pattern::new("^/</script><b>").expect("a pattern"));
        let page = Page::of_host([&route]);
        let html = std::str::from_utf8(&page.html).expect("text");
        assert!(html.contains(r"^/\u003c/script>\u003cb>"));
        assert!(!html.contains(ROUTES));
    }
}
