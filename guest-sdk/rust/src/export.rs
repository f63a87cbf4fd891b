//! From a [`Handler`] to the exports of a component.

use std::cell::{OnceCell, RefCell};
use std::marker::PhantomData;

use crate::client as client_connections;
use crate::generated::app::exports::waterspout::websocket::handler;
use crate::generated::app::waterspout::websocket::{client, connection, handshake, types};
use crate::generated::shared::exports::waterspout::websocket::shared_state;
use crate::migrate::Movable;
use crate::{CloseFrame, CompressionOptions, Connection, Handler, Message, Request, Shared, resuming};

/// Makes this crate a component: `export!(Echo)`, with a type that is a [`Handler`], or `export!(Chat, shared =
/// Room)`, where the handlers of one instance also have a `Room` in [common](crate::Shared). Once in a crate, whose
/// `crate-type` is `["cdylib"]`.
///
/// The component is of world `websocket-app`, with `shared` of `stateful-websocket-app`. On other targets than wasm32
/// nothing is exported, but the types are checked: `cargo check` and `cargo test` work as ever.
#[macro_export]
macro_rules! export {
    ($handler:ty $(,)?) => {
        $crate::__movable!($handler);
        const _: () = {
            type Component = $crate::__private::Component<$handler>;
            $crate::__private::assert_component::<Component>();
            #[cfg(target_arch = "wasm32")]
            const _: () = {
                $crate::__private::app::export_handler!(Component with_types_in $crate::__private::app);
            };
        };
    };
    ($handler:ty, shared = $shared:ty $(,)?) => {
        $crate::export!($handler);
        $crate::__movable!($shared);
        const _: () = {
            impl $crate::Shared for $shared {
                fn shared() -> ::std::cell::RefMut<'static, Self> {
                    ::std::thread_local! {
                        static STATE: &'static ::std::cell::RefCell<$shared> = $crate::__private::leak();
                    }
                    $crate::__private::borrow(STATE.with(|state| *state))
                }
            }

            type State = $crate::__private::State<$shared>;
            $crate::__private::assert_state::<State>();
            #[cfg(target_arch = "wasm32")]
            const _: () = {
                $crate::__private::shared::export_shared_state!(State with_types_in $crate::__private::shared);
            };
        };
    };
}

/// Only where the type is named can be found out whether it can be serialised.
#[doc(hidden)]
#[macro_export]
macro_rules! __movable {
    ($type:ty) => {
        const _: () = {
            #[allow(unused_imports)]
            use $crate::__private::{BySerde as _, ByVersion as _, Without as _};

            impl $crate::__private::Movable for $type {
                fn is_movable() -> bool {
                    (&&&$crate::__private::Probe::<$type>::new()).way().is_movable()
                }

                fn suspend(&self) -> ::std::option::Option<::std::vec::Vec<u8>> {
                    (&&&$crate::__private::Probe::<$type>::new()).way().suspend(self)
                }

                fn resume(snapshot: &[u8]) -> ::std::result::Result<Self, ::std::string::String> {
                    (&&&$crate::__private::Probe::<$type>::new()).way().resume(snapshot)
                }
            }
        };
    };
}

/// What `export!` exports for the handler `H`.
#[doc(hidden)]
pub struct Component<H>(PhantomData<H>);

/// Fails to compile, naming what is missing, where `export!` would fail with pages of generated code.
#[doc(hidden)]
pub const fn assert_component<C: handler::Guest>() {}

impl<H: Handler + Movable> handler::Guest for Component<H> {
    type Handler = Adapter<H>;
}

/// One connection's handler, with what the interface gives only once and [`Handler`] gives each time.
#[doc(hidden)]
pub struct Adapter<H> {
    /// Never borrowed twice: events come one at a time, and no import calls an export.
    handler: RefCell<H>,
    request: Request,
    connection: OnceCell<Connection>,
}

impl<H> Adapter<H> {
    fn connection(&self) -> &Connection {
        self.connection.get().expect("the host calls open before any event")
    }
}

impl<H: Handler + Movable> handler::GuestHandler for Adapter<H> {
    fn new(request: handshake::Request) -> Self {
        Connection::end_of_resuming();
        let request = Request::new(request);
        Self { handler: RefCell::new(H::new(&request)), request, connection: OnceCell::new() }
    }

    fn prepare(&self) -> Result<(), types::Rejection> {
        Ok(self.handler.borrow_mut().prepare(&self.request)?)
    }

    fn check_origin(&self, origin: String) -> bool {
        self.handler.borrow_mut().check_origin(&self.request, &origin)
    }

    fn select_subprotocol(&self, offered: Vec<String>) -> Option<String> {
        self.handler.borrow_mut().select_subprotocol(&self.request, &offered)
    }

    fn get_compression_options(&self) -> Option<CompressionOptions> {
        self.handler.borrow_mut().get_compression_options()
    }

    fn open(&self, connection: connection::Connection) {
        let connection = self.connection.get_or_init(|| Connection::new(connection, self.request.clone()));
        self.handler.borrow_mut().open(connection);
    }

    fn on_message(&self, message: Message) {
        self.handler.borrow_mut().on_message(self.connection(), message);
    }

    fn on_ping(&self, data: Vec<u8>) {
        self.handler.borrow_mut().on_ping(self.connection(), data);
    }

    fn on_pong(&self, data: Vec<u8>) {
        self.handler.borrow_mut().on_pong(self.connection(), data);
    }

    fn on_writable(&self) {
        self.handler.borrow_mut().on_writable(self.connection());
    }

    fn on_timer(&self, token: u32) {
        self.handler.borrow_mut().on_timer(self.connection(), token);
    }

    fn on_client_event(&self, id: String, event: client::ClientEvent) {
        self.handler.borrow_mut().on_client_event(self.connection(), &id, event.into());
    }

    fn on_close(&self, frame: Option<CloseFrame>) {
        self.handler.borrow_mut().on_close(self.connection(), frame);
    }

    fn suspend(&self) -> Option<Vec<u8>> {
        self.handler.borrow().suspend()
    }

    fn resume(
        request: handshake::Request,
        connection: connection::Connection,
        snapshot: Vec<u8>,
    ) -> Result<handler::Handler, String> {
        // Before anything is done that a handler which cannot be moved would carry the code of.
        if !H::is_movable() {
            return H::resume(&snapshot).and(Err(String::new()));
        }
        let connection = Connection::resumed(connection, request);
        if size_of::<H>() != 0 {
            connection.keep();
        }
        let handler = resuming::of_handler(|| {
            client_connections::find_awaited();
            H::resume(&snapshot)
        })?;
        let request = connection.request().clone();
        let adapter = Self { handler: RefCell::new(handler), request, connection: connection.into() };
        Ok(handler::Handler::new(adapter))
    }
}

/// What `export!(_, shared = S)` exports beside the handler.
#[doc(hidden)]
pub struct State<S>(PhantomData<S>);

#[doc(hidden)]
pub const fn assert_state<S: shared_state::Guest>() {}

impl<S: Shared + Movable> shared_state::Guest for State<S> {
    fn suspend() -> Option<Vec<u8>> {
        S::shared().suspend()
    }

    fn resume(snapshot: Vec<u8>) -> Result<(), String> {
        *S::shared() = resuming::of_shared(|| S::resume(&snapshot))?;
        Ok(())
    }
}
