//! A tenant's handler that means harm: the query says in which function it does what. `?at=on-message&do=loop` loops when a
//! message comes; everywhere else it behaves.
//!
//! `at` is a function as the WIT names it (`constructor`, `prepare`, `check-origin`, `select-subprotocol`,
//! `get-compression-options`, `open`, `on-message`, `on-ping`, `on-pong`, `on-writable`, `on-timer`, `on-client-event`, `on-close`, `suspend`,
//! `resume`), `destructor`, or `shared-state.suspend` and `shared-state.resume`. It may stand several times. For `on-timer` it sets one when it
//! opens, for `on-writable` it writes until its queue is full, for `on-client-event` it connects to where nobody listens.
//!
//! | `do` | what |
//! |---|---|
//! | `loop`, `trap`, `recurse` | for ever; at once; until the stack is full |
//! | `sleep` | an hour in a host call |
//! | `grow N` | N MiB more memory, each page written to |
//! | `timers N`, `topics N`, `clients N URL` | so many, until one is refused |
//! | `topic N` | subscribes to a topic whose name has N bytes |
//! | `write N SIZE`, `write-all N SIZE` | N messages of SIZE bytes to its own connection, to each of its instance, until none is taken |
//! | `pour SIZE` | writes and flushes for ever, whatever is answered |
//! | `publish SIZE`, `publish-digits SIZE` | publishes to a topic of its own for ever; digits in no order, which take a compressor long |
//! | `print SIZE` | prints lines for ever, on both outputs, with control characters in them |
//! | `subscribe TOPIC`, `tell TOPIC` | a topic; publishes one message to it |
//! | `dial URL`, `headers N URL` | opens a connection; with N headers |
//! | `id URL`, `get ID` | opens a connection, tells its id, and whether that finds it; whether an id finds one |
//! | `close N`, `reason N`, `accents N`, `ping N` | closes with the code N; with a reason of N bytes, of N characters of two bytes; a ping of N bytes |
//! | `answer N` | in `prepare`: rejects with a body of N bytes |
//! | `page`, `cookie`, `clear`, `crlf` | in `prepare`: rejects with a page, Set-Cookie, Clear-Site-Data, a header of two lines |
//! | `header` | in `prepare`: a header of two lines for the 101; rejects with what came of it |
//! | `choose N` | selects a subprotocol that was not offered, of N bytes |
//!
//! What was refused, and how far it came, is written to the connection, and printed: `timers 64: limit max-timers`.

use std::hint::black_box;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use waterspout_guest::client::{
    self, ClientConnection, ClientEvent, ConnectRequest, websocket_connect, websocket_start,
};
use waterspout_guest::{
    CloseFrame, CompressionOptions, Connection, Error, Handler, Message, Rejection, Request, Shared, publish,
};

/// What it keeps so that it is not given back.
#[derive(Default)]
struct Hoard {
    clients: Vec<ClientConnection>,
    connections: Vec<Connection>,
    /// What to do in functions that no handler has.
    orders: Orders,
}

/// What the query says.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Orders {
    at: Vec<String>,
    /// The words of `do`.
    what: Vec<String>,
}

impl Serialize for Hoard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Attacker(self.orders.clone()).act("shared-state.suspend");
        self.orders.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hoard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let orders = Orders::deserialize(deserializer)?;
        // What follows may want it.
        let attacker = Attacker(orders.clone());
        attacker.act("shared-state.resume");
        Ok(Self { orders, ..Self::default() })
    }
}

#[derive(Default)]
struct Attacker(Orders);

impl Serialize for Attacker {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.act("suspend");
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Attacker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let attacker = Self(Orders::deserialize(deserializer)?);
        attacker.act("resume");
        Ok(attacker)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.act("destructor");
    }
}

impl Attacker {
    /// Whether the query wants something of this function.
    fn is_at(&self, function: &str) -> bool {
        self.0.at.iter().any(|at| at == function)
    }

    fn word(&self, index: usize) -> &str {
        self.0.what.get(index).map_or("", String::as_str)
    }

    fn number(&self, index: usize) -> usize {
        self.word(index).parse().unwrap_or(0)
    }

    /// In a function that has no connection.
    fn act(&self, function: &str) {
        if self.is_at(function)
            && let Some(answer) = self.anywhere()
        {
            println!("{function}: {} {answer}", self.word(0));
        }
    }

    /// In a function that has one, which is told what came of it.
    fn act_on(&self, function: &str, conn: &Connection) {
        if self.is_at(function) {
            let answer = self.anywhere().or_else(|| self.connected(conn)).unwrap_or_else(|| "unknown".into());
            let answer = format!("{} {answer}", self.word(0));
            println!("{function}: {answer}");
            let _ = conn.write_message(answer);
        }
    }

    /// What can be done in every function.
    fn anywhere(&self) -> Option<String> {
        match self.word(0) {
            "loop" => {
                let mut turns = 0_u64;
                loop {
                    turns = black_box(turns.wrapping_add(1));
                }
            }
            "trap" => std::process::abort(),
            "recurse" => Some(recurse(1).to_string()),
            "sleep" => {
                std::thread::sleep(Duration::from_secs(3600));
                Some("slept".into())
            }
            "grow" => Some(grow(self.number(1))),
            "print" => {
                // What would be a line of the host's own, on a terminal that is cleared first.
                let line =
                    format!("\x1b[2J\r2026-01-01T00:00:00Z ERROR forged {}", "x".repeat(self.number(1)));
                loop {
                    println!("{line}");
                    eprintln!("{line}");
                }
            }
            _ => None,
        }
    }

    /// What needs an open connection.
    fn connected(&self, conn: &Connection) -> Option<String> {
        let count = self.number(1);
        Some(match self.word(0) {
            "timers" => repeat(count, |index| conn.set_timer(index as u32, Duration::from_secs(3600))),
            "topics" => repeat(count, |index| conn.subscribe(&format!("topic-{index}"))),
            "topic" => outcome(conn.subscribe(&"t".repeat(count))),
            "clients" => clients(count, self.word(2)),
            "write" => {
                let message = Message::from("x".repeat(self.number(2)));
                repeat(count, |_| conn.write_message_ref(&message))
            }
            "write-all" => write_all(count, self.number(2)),
            "pour" => {
                let message = Message::from("x".repeat(count));
                loop {
                    let _ = conn.write_message_ref(&message);
                    let _ = conn.flush();
                }
            }
            "publish" => {
                let message = "x".repeat(count);
                let _ = conn.subscribe("own");
                loop {
                    let _ = publish("own", message.as_str());
                }
            }
            "publish-digits" => {
                let _ = conn.subscribe("own");
                let digits = digits(count);
                loop {
                    let _ = publish("own", digits.as_str());
                }
            }
            "subscribe" => outcome(conn.subscribe(self.word(1))),
            "tell" => outcome(publish(self.word(1), "heard")),
            "dial" => match websocket_connect(self.word(1)) {
                Ok(client) => {
                    Hoard::shared().clients.push(client);
                    "open".into()
                }
                Err(error) => format!("{error:?}"),
            },
            "headers" => {
                let none = ConnectRequest::new(self.word(2));
                match websocket_start((0..count).fold(none, |request, _| request.header("", ""))) {
                    Ok(_) => "ok".into(),
                    Err(error) => format!("{error:?}"),
                }
            }
            "id" => match websocket_connect(self.word(1)) {
                Ok(client) => {
                    let id = client.id();
                    let answer = format!("{id} {}", found(&id));
                    Hoard::shared().clients.push(client);
                    answer
                }
                Err(error) => format!("{error:?}"),
            },
            "get" => found(self.word(1)).into(),
            "close" => outcome(conn.close(count as u16, "")),
            "reason" => outcome(conn.close(1000, "x".repeat(count).as_str())),
            "accents" => outcome(conn.close(1000, "é".repeat(count).as_str())),
            "ping" => outcome(conn.ping("x".repeat(count))),
            _ => return None,
        })
    }

    /// What `prepare` may answer.
    fn rejection(&self) -> Option<Rejection> {
        Some(match self.word(0) {
            "answer" => Rejection::new(200, "x".repeat(self.number(1))),
            "page" => Rejection::new(200, "<script>alert(document.domain)</script>")
                .header("content-type", "text/html"),
            "cookie" => Rejection::new(200, "").header("set-cookie", "session=mine; Domain=attacker.test"),
            "clear" => Rejection::new(200, "").header("clear-site-data", "\"*\""),
            "crlf" => Rejection::new(200, "").header("x-split", "one\r\nset-cookie: two=2"),
            _ => return None,
        })
    }
}

#[allow(unconditional_recursion, reason = "the stack is what is attacked")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth) + 1)) + depth
}

fn grow(mebibytes: usize) -> String {
    let mut hoard = Vec::new();
    for grown in 0..mebibytes {
        let mut memory = Vec::<u8>::new();
        if memory.try_reserve_exact(1 << 20).is_err() {
            // So that there is some to tell it with.
            hoard.pop();
            std::mem::forget(hoard);
            return format!("{grown}: refused");
        }
        memory.resize(1 << 20, 7);
        hoard.push(memory);
    }
    std::mem::forget(hoard);
    format!("{mebibytes}: ok")
}

/// Hexadecimal digits in no order.
fn digits(count: usize) -> String {
    let mut state = 1_u32;
    let digit = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(b"0123456789abcdef"[(state >> 28) as usize])
    };
    (0..count).map(digit).collect()
}

fn clients(count: usize, url: &str) -> String {
    for made in 0..count {
        match websocket_start(url) {
            Ok(client) => Hoard::shared().clients.push(client),
            Err(error) => return format!("{made}: {error:?}"),
        }
    }
    format!("{count}: ok")
}

/// To every connection of the instance, in turn, until none takes any.
fn write_all(count: usize, bytes: usize) -> String {
    let message = Message::from("x".repeat(bytes));
    let connections = Hoard::shared().connections.clone();
    repeat(count, |_| {
        let taken = connections.iter().filter(|conn| conn.write_message_ref(&message).is_ok()).count();
        if taken == 0 { Err(Error::BufferFull) } else { Ok(()) }
    })
}

/// Calls `act` until it fails: `HOW-OFTEN: OUTCOME`.
fn repeat(count: usize, mut act: impl FnMut(usize) -> Result<(), Error>) -> String {
    for index in 0..count {
        let result = act(index);
        if result.is_err() {
            return format!("{index}: {}", outcome(result));
        }
    }
    format!("{count}: ok")
}

/// Whether an id finds one of this handler's own connections.
fn found(id: &str) -> &'static str {
    if client::get(id).is_some() { "found" } else { "unknown" }
}

fn outcome(result: Result<(), Error>) -> String {
    result.map_or_else(|error| format!("{error:?}"), |()| "ok".into())
}

impl Handler for Attacker {
    fn new(request: &Request) -> Self {
        let what = request.query_arg("do").unwrap_or_default();
        let orders =
            Orders { at: request.query_args("at"), what: what.split(' ').map(String::from).collect() };
        if orders.at.iter().any(|at| at.starts_with("shared-state")) {
            Hoard::shared().orders = orders.clone();
        }
        let attacker = Self(orders);
        attacker.act("constructor");
        attacker
    }

    fn prepare(&mut self, request: &Request) -> Result<(), Rejection> {
        self.act("prepare");
        if !self.is_at("prepare") {
            return Ok(());
        }
        if self.word(0) == "header" {
            let result = request.set_response_header("x-split", "one\r\nset-cookie: two=2");
            return Err(Rejection::new(403, outcome(result)));
        }
        self.rejection().map_or(Ok(()), Err)
    }

    fn check_origin(&mut self, request: &Request, origin: &str) -> bool {
        self.act("check-origin");
        request.origin_allowed(origin)
    }

    fn select_subprotocol(&mut self, _: &Request, _: &[String]) -> Option<String> {
        self.act("select-subprotocol");
        (self.word(0) == "choose").then(|| "x".repeat(self.number(1)))
    }

    fn get_compression_options(&mut self) -> Option<CompressionOptions> {
        self.act("get-compression-options");
        Some(CompressionOptions::default())
    }

    fn open(&mut self, conn: &Connection) {
        Hoard::shared().connections.push(conn.clone());
        self.act_on("open", conn);
        if self.is_at("on-timer") {
            let _ = conn.set_timer(1, Duration::from_millis(1));
        }
        if self.is_at("on-writable") {
            while conn.write_message("x".repeat(1000)).is_ok() {}
        }
        if self.is_at("on-client-event") {
            // Where nobody listens.
            let _ = websocket_start("ws://127.0.0.1:1/");
        }
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        if self.is_at("on-message") {
            self.act_on("on-message", conn);
        } else {
            let _ = conn.write_message(message);
        }
    }

    fn on_ping(&mut self, conn: &Connection, _: Vec<u8>) {
        self.act_on("on-ping", conn);
    }

    fn on_pong(&mut self, conn: &Connection, _: Vec<u8>) {
        self.act_on("on-pong", conn);
    }

    fn on_writable(&mut self, conn: &Connection) {
        self.act_on("on-writable", conn);
    }

    fn on_timer(&mut self, conn: &Connection, _: u32) {
        self.act_on("on-timer", conn);
    }

    fn on_client_event(&mut self, conn: &Connection, _: &str, _: ClientEvent) {
        self.act_on("on-client-event", conn);
    }

    fn on_close(&mut self, conn: &Connection, _: Option<CloseFrame>) {
        self.act_on("on-close", conn);
    }
}

waterspout_guest::export!(Attacker, shared = Hoard);
