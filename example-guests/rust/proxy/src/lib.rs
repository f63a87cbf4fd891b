//! Stands between two sides: what its peer sends goes to a server, what the server sends goes to its peer, and when one side closes,
//! the other is closed with the same code.
//!
//! Callback style: the handler never waits, so that it hears both sides. Where one side reads more slowly than the other writes, what does
//! not fit is kept, up to `MAX_KEPT_BYTES`; more ends both. A peer that leaves before the server has answered takes with it what it sent.
//!
//! The operator says where the server is, and allows it:
//!
//! ```toml
//! [route.proxy]
//! path = "/proxy"
//! handler = "target/guests/proxy.wasm"
//! connect = ["127.0.0.1:8888"]
//! config = { upstream = "ws://127.0.0.1:8888/websocket" }
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use waterspout_guest::client::{ClientConnection, ClientEvent, ConnectRequest, websocket_start};
use waterspout_guest::{CloseFrame, Connection, Error, Handler, Message, Request, config};

/// What is kept for a side that does not take it, in bytes of messages.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// The timer by which a server that took nothing more is tried again.
const TRY_AGAIN: u32 = 1;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Because it can be serialised, a new version goes on with the same two connections, and with what is kept for them.
#[derive(Default, Serialize, Deserialize)]
struct Proxy {
    upstream: Option<ClientConnection>,
    /// The server's connection is open: before that everything is kept.
    is_open: bool,
    to_server: Kept,
    to_peer: Kept,
    /// The server has closed, and what it sent before is still to be sent.
    server_closed: Option<ServerEnd>,
    peer_subprotocols: Vec<String>,
    /// One side was too slow for the other.
    is_over: bool,
}

/// How the server's connection ended.
#[derive(Serialize, Deserialize)]
enum ServerEnd {
    Closed(CloseFrame),
    Vanished,
}

/// Messages for a side that cannot take them yet.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Kept {
    /// Keeps a message; false if that would be too much.
    fn push(&mut self, message: Message) -> bool {
        self.bytes += message.len();
        self.messages.push_back(message);
        self.bytes <= MAX_KEPT_BYTES
    }

    /// Sends what the side takes. The first that it does not take stays.
    fn send(&mut self, write: impl Fn(&Message) -> Result<(), Error>) {
        while let Some(message) = self.messages.front() {
            if write(message) == Err(Error::BufferFull) {
                return;
            }
            self.bytes -= message.len();
            self.messages.pop_front();
        }
    }
}

impl Proxy {
    fn send_to_server(&mut self, conn: &Connection) {
        let Some(upstream) = self.upstream.as_ref().filter(|_| self.is_open) else { return };
        self.to_server.send(|message| upstream.write_message_ref(message));
        if !self.to_server.messages.is_empty() {
            let _ = conn.set_timer(TRY_AGAIN, TRY_AGAIN_AFTER);
        }
    }

    fn send_to_peer(&mut self, conn: &Connection) {
        self.to_peer.send(|message| conn.write_message_ref(message));
        if self.to_peer.messages.is_empty()
            && let Some(end) = self.server_closed.take()
        {
            close_peer(conn, end);
        }
    }

    /// Gives both sides up; what still comes is thrown away.
    fn overflow(&mut self, conn: &Connection, who: &str) {
        let reason = format!("{who} reads too slowly");
        self.is_over = true;
        (self.to_server, self.to_peer) = Default::default();
        let _ = conn.close(1008, reason.as_str());
        if let Some(upstream) = &self.upstream {
            let _ = upstream.close(1008, reason.as_str());
        }
    }
}

/// With the server's code, if that may be sent; else with 1011: the server has gone.
fn close_peer(conn: &Connection, end: ServerEnd) {
    let closed = match end {
        ServerEnd::Closed(CloseFrame { code: 1005, .. }) => conn.close(None, None),
        ServerEnd::Closed(CloseFrame { code, reason }) => conn.close(code, reason.as_str()),
        ServerEnd::Vanished => conn.close(1011, "the server has gone"),
    };
    if closed.is_err() {
        println!("{} has gone first", conn.id());
    }
}

impl Handler for Proxy {
    fn select_subprotocol(&mut self, _: &Request, offered: &[String]) -> Option<String> {
        // The server is asked for what is selected here: it is not connected yet.
        self.peer_subprotocols = offered.first().cloned().into_iter().collect();
        offered.first().cloned()
    }

    fn open(&mut self, conn: &Connection) {
        let Some(url) = config::get("upstream") else {
            println!("the route's `config` has no `upstream`");
            let _ = conn.close(1011, "not configured");
            return;
        };
        let request = ConnectRequest::new(url);
        let request = self.peer_subprotocols.iter().fold(request, ConnectRequest::subprotocol);
        match websocket_start(request) {
            Ok(upstream) => self.upstream = Some(upstream),
            Err(error) => {
                println!("no connection to the server: {error}");
                let _ = conn.close(1011, "the server cannot be reached");
            }
        }
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        if self.is_over {
            return;
        }
        if !self.to_server.push(message) {
            return self.overflow(conn, "the server");
        }
        self.send_to_server(conn);
    }

    fn on_client_event(&mut self, conn: &Connection, _: &str, event: ClientEvent) {
        match event {
            ClientEvent::Opened => {
                self.is_open = true;
                self.send_to_server(conn);
            }
            ClientEvent::Failed(error) => {
                println!("no connection to the server: {error}");
                let _ = conn.close(1011, "the server cannot be reached");
            }
            ClientEvent::Message(_) if self.is_over => {}
            ClientEvent::Message(message) => {
                if !self.to_peer.push(message) {
                    return self.overflow(conn, "the client");
                }
                self.send_to_peer(conn);
            }
            ClientEvent::Pong(_) => {}
            ClientEvent::Closed(frame) => {
                self.server_closed = Some(frame.map_or(ServerEnd::Vanished, ServerEnd::Closed));
                self.send_to_peer(conn);
            }
        }
    }

    fn on_writable(&mut self, conn: &Connection) {
        self.send_to_peer(conn);
    }

    fn on_timer(&mut self, conn: &Connection, _: u32) {
        self.send_to_server(conn);
    }

    fn on_close(&mut self, _: &Connection, frame: Option<CloseFrame>) {
        let Some(upstream) = &self.upstream else { return };
        self.to_server.send(|message| upstream.write_message_ref(message));
        let _ = match frame {
            Some(CloseFrame { code: 1005, .. }) => upstream.close(None, None),
            Some(CloseFrame { code, reason }) => upstream.close(code, reason.as_str()),
            None => upstream.close(1001, "the client has gone"),
        };
    }
}

waterspout_guest::export!(Proxy);
