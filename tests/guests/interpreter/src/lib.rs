//! The guest that the fuzzer talks to: it makes the host calls that the bytes of a program describe, in any order, with any
//! arguments, on handles that it has, has dropped, or has never had.
//!
//! The query is a program in hexadecimal digits, run by the constructor; each message is one, run by on-message. A program can leave
//! programs for the other functions, and what those answer. `host/fuzz` says what is fuzzed with it.

mod program;

use std::cell::RefCell;
use std::collections::BTreeMap;

use self::bindings::exports::waterspout::websocket::handler::{Guest, GuestHandler, Handler};
use self::bindings::waterspout::websocket::client::{self, ClientConnection, ClientEvent, ConnectOptions};
use self::bindings::waterspout::websocket::connection::Connection;
use self::bindings::waterspout::websocket::handshake::Request;
use self::bindings::waterspout::websocket::topics;
use self::bindings::waterspout::websocket::types::{CloseFrame, CompressionOptions, Message, Rejection};
use self::program::Program;

#[allow(unsafe_code, missing_docs, unreachable_pub, reason = "the generator's own")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "websocket-app" });

    use super::Interpreter;
    // Handles that are lies: the generator's way to make one is unsafe.
    use waterspout::websocket::client::ClientConnection;
    use waterspout::websocket::connection::Connection;
    use waterspout::websocket::handshake::Request;

    export!(Interpreter with_types_in self);

    pub(super) fn request(handle: u32) -> Request {
        // SAFETY: the host checks every handle; one that is not ours traps, which is what is tested.
        unsafe { Request::from_handle(handle) }
    }

    pub(super) fn connection(handle: u32) -> Connection {
        // SAFETY: as above.
        unsafe { Connection::from_handle(handle) }
    }

    pub(super) fn client(handle: u32) -> ClientConnection {
        // SAFETY: as above.
        unsafe { ClientConnection::from_handle(handle) }
    }
}

/// Calls that all programs of one instance may make. Without a bound a timer that sets itself again, or an answer to every answer of a
/// server's, would go on for ever: that is for the tests of processor time.
const MAX_CALLS: usize = 256;

/// Functions that a program can be left for, and that can be told what to answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Function {
    Prepare,
    CheckOrigin,
    SelectSubprotocol,
    CompressionOptions,
    Open,
    Ping,
    Pong,
    Writable,
    Timer,
    Client,
    Close,
    Suspend,
}

const FUNCTIONS: [Function; 12] = [
    Function::Prepare,
    Function::CheckOrigin,
    Function::SelectSubprotocol,
    Function::CompressionOptions,
    Function::Open,
    Function::Ping,
    Function::Pong,
    Function::Writable,
    Function::Timer,
    Function::Client,
    Function::Close,
    Function::Suspend,
];

/// Of the whole instance: handles of one handler are tried by another.
#[derive(Default)]
struct State {
    calls: usize,
    requests: Vec<Request>,
    connections: Vec<Connection>,
    clients: Vec<ClientConnection>,
    programs: BTreeMap<Function, Program>,
    answers: BTreeMap<Function, Program>,
    memory: Vec<Vec<u8>>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

struct Interpreter;

impl Guest for Interpreter {
    type Handler = Self;
}

impl Interpreter {
    fn run(program: &mut Program) {
        STATE.with_borrow_mut(|state| {
            while !program.is_empty() && state.calls < MAX_CALLS {
                state.calls += 1;
                state.step(program);
            }
        });
    }

    /// The program that was left for a function, and what it is to answer.
    fn on(function: Function) -> Program {
        let program = STATE.with_borrow(|state| state.programs.get(&function).cloned());
        Self::run(&mut program.unwrap_or_default());
        STATE.with_borrow(|state| state.answers.get(&function).cloned()).unwrap_or_default()
    }
}

/// One of those that there are.
fn pick<'h, T>(all: &'h [T], program: &mut Program) -> Option<&'h T> {
    let index = usize::from(program.byte());
    (!all.is_empty()).then(|| &all[index % all.len()])
}

fn take<T>(all: &mut Vec<T>, program: &mut Program) -> Option<T> {
    let index = usize::from(program.byte());
    (!all.is_empty()).then(|| all.swap_remove(index % all.len()))
}

fn message(program: &mut Program) -> Message {
    if program.bit() { Message::Text(program.long_text()) } else { Message::Binary(program.bytes()) }
}

fn compression(program: &mut Program) -> CompressionOptions {
    CompressionOptions { level: program.option(Program::byte), mem_level: program.option(Program::byte) }
}

fn headers(program: &mut Program) -> Vec<(String, String)> {
    (0..program.byte() % 4).map(|_| (program.text(), program.text())).collect()
}

fn options(program: &mut Program) -> ConnectOptions {
    ConnectOptions {
        headers: headers(program),
        subprotocols: (0..program.byte() % 4).map(|_| program.text()).collect(),
        connect_timeout_ms: program.option(Program::wide),
        max_message_size: program.option(Program::wide),
        ping_interval_ms: program.option(Program::wide),
        ping_timeout_ms: program.option(Program::wide),
        compression: program.option(compression),
    }
}

/// What the harness says is there, what is denied, and anything.
fn url(program: &mut Program) -> String {
    let upstream = std::env::var("UPSTREAM").unwrap_or_default();
    match program.byte() % 8 {
        0 => format!("ws://127.0.0.1:{upstream}/echo"),
        1 => format!("ws://127.0.0.1:{upstream}/close"),
        2 => format!("ws://127.0.0.1:{upstream}/garbage"),
        3 => format!("ws://upstream.example:{upstream}/echo"),
        4 => format!("wss://127.0.0.1:{upstream}/"),
        5 => "ws://127.0.0.2:9/".into(),
        6 => "ws://private.example:9/".into(),
        _ => program.text(),
    }
}

impl State {
    /// One call. What it answers is of no interest: that the host survives it is.
    fn step(&mut self, program: &mut Program) {
        match program.byte() % 32 {
            call @ 0..=9 => self.on_connection(call, program),
            call @ 10..=18 => self.on_client(call, program),
            call @ 19..=21 => self.on_request(call, program),
            22 => drop(topics::publish(&program.text(), &message(program))),
            23 => {
                let function = FUNCTIONS[usize::from(program.byte()) % FUNCTIONS.len()];
                self.programs.insert(function, Program::new(program.bytes()));
            }
            24 => {
                let function = FUNCTIONS[usize::from(program.byte()) % FUNCTIONS.len()];
                self.answers.insert(function, Program::new(program.bytes()));
            }
            call @ 25..=27 => self.with_handles(call, program),
            28 => self.memory.push(vec![1; usize::from(program.number()) << 4]),
            29 => std::thread::sleep(std::time::Duration::from_millis(u64::from(program.wide()))),
            30 => {
                let text = program.long_text();
                if program.bit() {
                    println!("{text}");
                } else {
                    eprintln!("{text}");
                }
            }
            // Rare, because nothing happens after it.
            _ => {
                if program.byte() == 0xff {
                    std::process::abort();
                }
            }
        }
    }

    fn on_connection(&mut self, call: u8, program: &mut Program) {
        let Some(connection) = pick(&self.connections, program) else { return };
        match call {
            0 | 1 => drop(connection.write_message(&message(program))),
            2 => drop(connection.flush()),
            3 => drop(connection.ping(&program.bytes())),
            4 => {
                let (code, reason) = (program.option(Program::number), program.option(Program::text));
                drop(connection.close(code, reason.as_deref()));
            }
            5 => drop(connection.subscribe(&program.text())),
            6 => connection.unsubscribe(&program.text()),
            7 => drop(connection.set_timer(program.wide(), program.wide())),
            8 => connection.clear_timer(program.wide()),
            _ => {
                let _ = connection.set_nodelay(program.bit());
                let _ = (connection.id(), connection.selected_subprotocol(), connection.buffered_amount());
            }
        }
    }

    fn on_client(&mut self, call: u8, program: &mut Program) {
        if let 10 | 11 = call {
            let (url, options) = (url(program), program.option(options));
            let connection = match call {
                10 => client::start(&url, options.as_ref()),
                _ => client::connect(&url, options.as_ref()),
            };
            self.clients.extend(connection);
            return;
        }
        let Some(connection) = pick(&self.clients, program) else { return };
        match call {
            12 => {
                let id = program.option(Program::text).unwrap_or_else(|| connection.id());
                let found = client::get(&id);
                self.clients.extend(found);
            }
            13 => drop(connection.write_message(&message(program))),
            14 => drop(connection.flush()),
            15 => drop(connection.ping(&program.bytes())),
            16 => {
                let (code, reason) = (program.option(Program::number), program.option(Program::text));
                drop(connection.close(code, reason.as_deref()));
            }
            17 => drop(connection.read_message(program.option(Program::wide))),
            _ => drop((connection.selected_subprotocol(), connection.close_frame())),
        }
    }

    fn on_request(&mut self, call: u8, program: &mut Program) {
        let Some(request) = pick(&self.requests, program) else { return };
        match call {
            19 => drop(request.set_response_header(&program.text(), &program.long_text())),
            20 => drop((request.origin_allowed(&program.text()), request.header(&program.text()))),
            _ => {
                drop((request.uri(), request.path(), request.query(), request.path_args(), request.headers()))
            }
        }
    }

    /// Handles that are dropped, perhaps twice, and handles that never were.
    fn with_handles(&mut self, call: u8, program: &mut Program) {
        match (call, program.byte() % 3) {
            (25, 0) => drop(take(&mut self.requests, program)),
            (25, 1) => drop(take(&mut self.connections, program)),
            (25, _) => drop(take(&mut self.clients, program)),
            (26, 0) => self.requests.push(bindings::request(program.wide())),
            (26, 1) => self.connections.push(bindings::connection(program.wide())),
            (26, _) => self.clients.push(bindings::client(program.wide())),
            (_, 0) => {
                if let Some(request) = take(&mut self.requests, program) {
                    let handle = request.handle();
                    drop(request);
                    drop(bindings::request(handle));
                }
            }
            (_, 1) => {
                if let Some(connection) = take(&mut self.connections, program) {
                    let handle = connection.handle();
                    drop(connection);
                    drop(bindings::connection(handle));
                }
            }
            _ => {
                if let Some(client) = take(&mut self.clients, program) {
                    let handle = client.handle();
                    drop(client);
                    drop(bindings::client(handle));
                }
            }
        }
    }
}

impl GuestHandler for Interpreter {
    fn new(request: Request) -> Self {
        let mut program = Program::from_hex(&request.query().unwrap_or_default());
        STATE.with_borrow_mut(|state| state.requests.push(request));
        Self::run(&mut program);
        Self
    }

    fn prepare(&self) -> Result<(), Rejection> {
        let mut answer = Self::on(Function::Prepare);
        if answer.is_empty() {
            return Ok(());
        }
        let (status, headers) = (answer.number(), headers(&mut answer));
        Err(Rejection { status, headers, body: answer.long_text().into() })
    }

    fn check_origin(&self, _: String) -> bool {
        !Self::on(Function::CheckOrigin).bit()
    }

    fn select_subprotocol(&self, offered: Vec<String>) -> Option<String> {
        let mut answer = Self::on(Function::SelectSubprotocol);
        if answer.is_empty() { offered.into_iter().next() } else { answer.option(Program::text) }
    }

    fn get_compression_options(&self) -> Option<CompressionOptions> {
        let mut answer = Self::on(Function::CompressionOptions);
        answer.option(compression)
    }

    fn open(&self, connection: Connection) {
        STATE.with_borrow_mut(|state| state.connections.push(connection));
        Self::on(Function::Open);
    }

    fn on_message(&self, message: Message) {
        let bytes = match message {
            Message::Text(text) => text.into_bytes(),
            Message::Binary(bytes) => bytes,
        };
        Self::run(&mut Program::new(bytes));
    }

    fn on_ping(&self, _: Vec<u8>) {
        Self::on(Function::Ping);
    }

    fn on_pong(&self, _: Vec<u8>) {
        Self::on(Function::Pong);
    }

    fn on_writable(&self) {
        Self::on(Function::Writable);
    }

    fn on_timer(&self, _: u32) {
        Self::on(Function::Timer);
    }

    fn on_client_event(&self, _: String, _: ClientEvent) {
        Self::on(Function::Client);
    }

    fn on_close(&self, _: Option<CloseFrame>) {
        Self::on(Function::Close);
    }

    fn suspend(&self) -> Option<Vec<u8>> {
        let mut answer = Self::on(Function::Suspend);
        answer.option(Program::bytes)
    }

    fn resume(request: Request, connection: Connection, state: Vec<u8>) -> Result<Handler, String> {
        STATE.with_borrow_mut(|of_instance| {
            of_instance.requests.push(request);
            of_instance.connections.push(connection);
        });
        Self::run(&mut Program::new(state));
        Ok(Handler::new(Self))
    }
}
