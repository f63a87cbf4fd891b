//! `wasi:http`'s requests, which are never sent: what a guest makes the host hold of them stays within what their handles are charged.

use std::any::Any;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, Lift, Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method, Scheme};
use wasmtime_wasi_http::p2::types::{HostOutgoingRequest, HostOutgoingResponse};

use super::GuestState;

/// Of one request: its method, scheme, authority and path together.
const MAX_TEXT_BYTES: usize = 512;

/// The interface's name as wasmtime links it. Components that import an earlier version get this one.
const TYPES_INTERFACE: &str = "wasi:http/types@0.2.12";

/// For how many handles an object is charged. A request has headers and text; it, or a response, keeps its body's channel with two pieces
/// and the trailers, also when the body's own handles are gone.
pub(super) fn handles_of(object: &dyn Any) -> usize {
    const WITH_TEXT: usize = 2;
    const WITH_BODY: usize = 4;
    if let Some(request) = object.downcast_ref::<HostOutgoingRequest>() {
        return if request.body.is_some() { WITH_BODY } else { WITH_TEXT };
    }
    let response = object.downcast_ref::<HostOutgoingResponse>();
    if response.is_some_and(|response| response.body.is_some()) { WITH_BODY } else { 1 }
}

/// Links the setters of texts once more. wasmtime's own take as much as the guest has.
pub(super) fn bound_texts(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    link_setter(
        linker,
        "method",
        |texts, method: &Method| texts.method = method_bytes(method),
        |state, request, method| state.http().set_method(request, method),
    )?;
    link_setter(
        linker,
        "scheme",
        |texts, scheme: &Option<Scheme>| texts.scheme = scheme_bytes(scheme),
        |state, request, scheme| state.http().set_scheme(request, scheme),
    )?;
    link_setter(
        linker,
        "authority",
        |texts, text: &Option<String>| texts.authority = text_bytes(text),
        |state, request, text| state.http().set_authority(request, text),
    )?;
    link_setter(
        linker,
        "path-with-query",
        |texts, text: &Option<String>| texts.path = text_bytes(text),
        |state, request, text| state.http().set_path_with_query(request, text),
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// A setter of wasmtime's own.
type Set<V> = fn(&mut GuestState, Resource<HostOutgoingRequest>, V) -> wasmtime::Result<Result<(), ()>>;

/// `set-NAME`: refused as a value that cannot be is, where the request would have too much text.
fn link_setter<V>(
    linker: &mut Linker<GuestState>,
    name: &str,
    replace: fn(&mut TextBytes, &V),
    set: Set<V>,
) -> wasmtime::Result<()>
where
    V: 'static,
    (Resource<HostOutgoingRequest>, V): ComponentNamedList + Lift + 'static,
{
    linker.instance(TYPES_INTERFACE)?.func_wrap(
        &format!("[method]outgoing-request.set-{name}"),
        move |mut store: StoreContextMut<'_, GuestState>,
              (request, value): (Resource<HostOutgoingRequest>, V)| {
            let state = store.data_mut();
            let mut texts = TextBytes::of(state.table.get(&request)?);
            replace(&mut texts, &value);
            if texts.sum() > MAX_TEXT_BYTES {
                return Ok((Err(()),));
            }
            Ok((set(state, request, value)?,))
        },
    )
}

/// What the texts of a request take.
struct TextBytes {
    method: usize,
    scheme: usize,
    authority: usize,
    path: usize,
}

impl TextBytes {
    fn of(request: &HostOutgoingRequest) -> Self {
        Self {
            method: method_bytes(&request.method),
            scheme: scheme_bytes(&request.scheme),
            authority: text_bytes(&request.authority),
            path: text_bytes(&request.path_with_query),
        }
    }

    fn sum(&self) -> usize {
        [self.method, self.scheme, self.authority, self.path].into_iter().fold(0, usize::saturating_add)
    }
}

fn method_bytes(method: &Method) -> usize {
    if let Method::Other(name) = method { name.len() } else { 0 }
}

fn scheme_bytes(scheme: &Option<Scheme>) -> usize {
    if let Some(Scheme::Other(name)) = scheme { name.len() } else { 0 }
}

fn text_bytes(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use wasmtime_wasi_http::FieldMap;
    use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};

    use super::*;

    fn request() -> HostOutgoingRequest {
        HostOutgoingRequest {
            method: Method::Other("abcd".into()),
            scheme: Some(Scheme::Other("efg".into())),
            authority: Some("hi".into()),
            path_with_query: Some("/".into()),
            headers: FieldMap::default(),
            body: None,
        }
    }

    #[test]
    fn all_texts_of_a_request_are_its_text() {
        let mut texts = TextBytes::of(&request());
        assert_eq!(texts.sum(), 10);
        texts.method = method_bytes(&Method::Get);
        assert_eq!(texts.sum(), 6, "one is replaced");
    }

    #[test]
    fn a_request_that_has_a_body_is_charged_for_it_also_when_the_bodys_own_handles_are_gone() {
        let mut request = request();
        assert_eq!(handles_of(&request), 2);
        let (_, body) = HostOutgoingBody::new(StreamContext::Request, None, 1, 1024);
        request.body = Some(body);
        assert_eq!(handles_of(&request), 4);
        assert_eq!(handles_of(&FieldMap::default()), 1, "anything else");
    }
}
