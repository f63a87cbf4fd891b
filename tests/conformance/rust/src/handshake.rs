//! Before the answer.

use waterspout_guest::serde_json::{Map, Value, json};
use waterspout_guest::{Rejection, Request};

use crate::{Conformance, kind};

pub(crate) fn prepare(handler: &mut Conformance, request: &Request) -> Result<(), Rejection> {
    match handler.feature.as_str() {
        "reject" => Err(Rejection::new(418, "short and stout").header("x-why", "teapot")),
        "response-header" => {
            request.set_response_header("x-conformance", "yes").expect("a harmless header");
            let refused = request.set_response_header("connection", "close").expect_err("the host's own");
            handler.refused = kind(&refused).into();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The request, as the suite wants to see it.
pub(crate) fn described(request: &Request) -> String {
    let path_args: Map<String, Value> =
        request.path_args().into_iter().map(|(name, value)| (name, value.into())).collect();
    let many = request.headers().into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-many"));
    let many: Vec<String> = many.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect();
    json!({
        "uri": request.uri(),
        "path": request.path(),
        "query": request.query(),
        "path_args": path_args,
        "remote_address": request.remote_address(),
        "x_test": request.header("X-Test"),
        "x_many": many,
        "arg": request.query_arg("name"),
    })
    .to_string()
}
