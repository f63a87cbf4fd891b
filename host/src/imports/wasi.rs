//! WASI 0.2, all of it linked, because Python and Go import it, and little of it granted: clocks, randomness, stdout and
//! stderr as log records, the environment and the configuration that the route lists. No file system, no network.

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::GuestState;
use super::output::{GuestOutput, Speaker, Stream};
use super::requests;
use crate::server::routes::Route;

/// Random bytes of one call: the host makes them in its own memory.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// Headers of one `wasi:http` request, which is never sent. Within what a handle is charged.
const MAX_HTTP_FIELDS_BYTES: usize = 512;

/// The WASI side of an instance. Made on first use: handlers that never print pay nothing.
pub(super) struct Wasi {
    route: Arc<Route>,
    speaker: Arc<Speaker>,
    granted: Option<Box<Granted>>,
    /// It has called something of `wasi:http`.
    pub(super) uses_http: bool,
}

struct Granted {
    ctx: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoRequests,
    config: WasiConfigVariables,
}

impl Wasi {
    pub(super) fn new(route: Arc<Route>, speaker: Arc<Speaker>) -> Self {
        Self { route, speaker, granted: None, uses_http: false }
    }

    fn granted(&mut self) -> &mut Granted {
        self.granted.get_or_insert_with(|| {
            let output = |stream| GuestOutput::new(stream, self.speaker.clone());
            let mut builder = WasiCtxBuilder::new();
            builder
                .stdout(output(Stream::Stdout))
                .stderr(output(Stream::Stderr))
                .max_random_size(MAX_RANDOM_BYTES)
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false);
            for (name, value) in &self.route.environment {
                builder.env(name, value);
            }
            let config =
                self.route.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let mut http = WasiHttpCtx::new();
            http.set_field_size_limit(MAX_HTTP_FIELDS_BYTES);
            Box::new(Granted { ctx: builder.build(), http, hooks: NoRequests, config })
        })
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.note_making();
        WasiCtxView { ctx: &mut self.wasi.granted().ctx, table: &mut self.table }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.note_making();
        self.wasi.uses_http = true;
        let Granted { http, hooks, .. } = self.wasi.granted();
        WasiHttpCtxView { hooks, table: &mut self.table, ctx: http }
    }
}

/// Refuses every outgoing HTTP request.
struct NoRequests;

type HttpWork<T> = Box<dyn Future<Output = Result<T, HttpError>> + Send>;

impl WasiHttpHooks for NoRequests {
    /// Nothing is ever sent, so what a guest writes to a body would only fill the host's memory.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        1 << 10
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: HttpWork<()>,
    ) -> HttpWork<(http::Response<WasiBody>, HttpWork<()>)> {
        Box::new(std::future::ready(Err(HttpError::HttpRequestDenied)))
    }
}

/// Links WASI 0.2, `wasi:http` and `wasi:config`.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    requests::bound_texts(linker)?;
    wasmtime_wasi_config::add_to_linker(linker, |state| WasiConfig::from(&state.wasi.granted().config))
}
