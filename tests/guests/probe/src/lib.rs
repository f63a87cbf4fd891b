//! The guest that tests talk to: it does in each of its functions what the request's query says, and on each text message
//! what that says; and it remembers, for all connections of its instance, what was called with what.
//!
//! # Where commands stand
//!
//! - In the query, under the name of a function: `?open=say+hello&open=trap`. They run in that order. The first space may be
//!   a colon: `?prepare=status:418`. The names: `constructor`, `prepare`, `origin` (check-origin), `select`
//!   (select-subprotocol), `compression`, `open`, `message`, `ping`, `pong`, `writable`, `timer`, `client`, `close`, `suspend`, `resume`.
//! - In a text message, one a line; without `?message=...`, which takes their place. A binary message is sent back.
//!
//! What a command of a message answers is written to its connection, as text; if the queue is full, before anything else in
//! on-writable. What one of the query answers goes to the history, except an error of parsing, which panics.
//! Without commands in the query, `on-ping DATA`, `on-pong DATA`, `on-writable`, `on-timer TOKEN` and `on-client-event EVENT` are written to the
//! peer.
//!
//! # What is remembered
//!
//! A line for each call: `1 constructor`, `1 prepare`, `1 check-origin ORIGIN`, `1 select-subprotocol a,b`,
//! `1 get-compression-options`, `1 open`, `1 on-message text TEXT`, `1 on-message binary LENGTH`, `1 on-ping DATA`,
//! `1 on-pong DATA`, `1 on-writable`, `1 on-timer TOKEN`, `1 on-client-event EVENT`, `1 on-close CODE REASON` or `1 on-close none`, `1 drop`; and
//! `1 open: COMMAND = ANSWER` for a command of the query. The number tells the instance's handlers apart, in the order of
//! their constructors. Texts are cut after 60 characters. With `?report=TOPIC` each line is also published, for connections
//! of other instances. The commands `history` and `watch` are not listed.
//!
//! # Commands
//!
//! What acts answers `ok` or why not: `closed`, `buffer-full`, `timeout`, `limit NAME`, `denied`, `invalid WHY`.
//!
//! | command | what it does, or answers |
//! |---|---|
//! | `trap`, `panic TEXT`, `exit CODE` | ends the instance |
//! | `spin`, `spin MS` | uses the processor, for ever or so long |
//! | `sleep MS` | waits in an import |
//! | `recurse` | until the stack is full |
//! | `grow SIZE` | more memory, which is kept; `ok` or `refused` |
//! | `handles N` | N more component handles, which are kept |
//! | `say TEXT` | writes it; answers nothing if that is `ok` |
//! | `echo` | writes the message back, as it came |
//! | `write N x SIZE` | N text messages of that size, until one is refused: `wrote K: ok`, `wrote K: buffer-full` |
//! | `fill SIZE` | messages of that size, with a `flush` whenever the queue is full, until nothing moves: `filled K: timeout` |
//! | `top-up SIZE` | one message that brings what is buffered to SIZE bytes |
//! | `write-to ID TEXT` | writes to any connection that this instance ever had |
//! | `flush`, `buffered`, `nodelay` | `flush`, `buffered-amount`, `set-nodelay(true)` |
//! | `ping TEXT`, `ping-of N` | a ping, of N bytes |
//! | `close`, `close CODE`, `close CODE REASON`, `close-reason REASON`, `close-long CODE N` | `close`; without a code; with a reason of N bytes |
//! | `close-peer ID CODE REASON` | closes any connection of this instance |
//! | `timer TOKEN MS`, `clear-timer TOKEN` | |
//! | `timers N` | sets the timers 1 to N, in an hour, until one is refused: `set K: ok` |
//! | `subscribe TOPIC`, `unsubscribe TOPIC`, `publish TOPIC TEXT`, `publish-large TOPIC SIZE` | |
//! | `topics N` | subscribes to `topic-1` to `topic-N`, until one is refused: `subscribed K: ok` |
//! | `id`, `subprotocol`, `uri`, `path`, `query`, `path-args`, `header NAME`, `headers`, `remote-address`, `origin-allowed ORIGIN` | `none` if there is none; lists as JSON |
//! | `set-header NAME VALUE` | a header of the 101 answer |
//! | `peers` | ids of the instance's open connections, in order, separated by spaces |
//! | `ask ID` | what a connection answers, perhaps after its end: JSON with id, subprotocol, buffered, uri |
//! | `count` | how often the instance was asked this |
//! | `history`, `watch` | what is remembered, as a JSON list; from now on each new line, to this connection: `history LINE` |
//! | `env`, `env NAME`, `args`, `config`, `config KEY`, `stdin` | from WASI |
//! | `read-file PATH`, `list PATH`, `connect ADDRESS`, `bind ADDRESS`, `udp ADDRESS`, `fetch ADDRESS`, `resolve NAME` | `ok`, or `error: WHY` |
//! | `random N`, `hash` | N random bytes in hexadecimal; what a new `HashMap` would hash 0 to |
//! | `now`, `ticks` | milliseconds since 1970; nanoseconds of the monotonic clock |
//! | `print TEXT`, `eprint TEXT`, `print-part TEXT`, `print-long N` | a line; one without its end; one of N bytes |
//! | `dial URL OPTIONS`, `start URL OPTIONS` | `websocket_connect`, `websocket_start`; what follows is about the last one. Options, separated by spaces: `sub=NAME`, `header=NAME:VALUE`, `timeout=MS`, `max=SIZE`, `ping=MS`, `pong=MS`, `deflate` |
//! | `up-read`, `up-read MS` | the next message's text, `binary LENGTH`, or `none` |
//! | `up-pump` | writes each message that comes to its own connection, as it came, until there are no more: `pumped N: none` |
//! | `up-sink` | reads messages until there are no more |
//! | `up-insist`, `up-glance` | reads for ever, whatever is answered; without waiting, and computes between |
//! | `up-doze N x MS` | N times reads for so long, and computes for half as long if nothing has come: `dozed K: ok` |
//! | `dial-insist URL OPTIONS`, `start-insist URL OPTIONS` | `dial`, `start` for ever, whatever is answered |
//! | `up-say TEXT`, `up-write N x SIZE`, `up-ping TEXT`, `up-flush`, `up-close CODE REASON` | |
//! | `up-forget` | drops all handles of such connections |
//! | `up-id`, `up-subprotocol`, `up-frame`, `up-get ID` | `none` if there is none |
//!
//! What it remembers and its script go along when it is replaced, by itself for instance; memory and handles that it holds do not. In `suspend`:
//! `none` gives no state, `stuff SIZE` so much more of it. In `resume`: `trap`, `spin`, `refuse WHY`. Other commands run in both, with their answers in
//! the history.
//!
//! Only in `prepare`: `status CODE BODY`, `rejection-header NAME VALUE`, `redirect URL`. Only in `origin`: `allow`, `deny`. In
//! `select`: what is no command is the answer. In `compression`: `on`, `level N`, `mem-level N`.

mod commands;
mod instance;
mod swap;
mod upstream;
mod wasi;

use std::collections::{BTreeMap, VecDeque};

use waterspout_guest::client::ClientEvent;
use waterspout_guest::{
    CloseFrame, CompressionOptions, Connection, Error, Handler, Message, Rejection, Request, Shared,
};

use crate::commands::{Answer, Context, run};
use crate::instance::{Instance, shortened};

/// One connection's handler.
#[derive(Default)]
struct Probe {
    /// Which handler of its instance.
    number: u32,
    /// The query's commands by function.
    script: BTreeMap<String, Vec<String>>,
    /// Answers that found the queue full.
    pending: VecDeque<Message>,
}

impl Probe {
    /// Remembers a call.
    fn record(&self, call: impl std::fmt::Display) {
        Instance::record(self.number, self.script("report").first(), &format!("{} {call}", self.number));
    }

    fn script(&self, function: &str) -> &[String] {
        self.script.get(function).map_or(&[], Vec::as_slice)
    }

    /// Runs the query's commands for a function. `special` takes those that only this function knows; it is asked first.
    fn play(
        &mut self,
        function: &str,
        request: &Request,
        conn: Option<&Connection>,
        mut special: impl FnMut(&str, &str) -> bool,
    ) {
        for command in self.script(function).to_vec() {
            let (word, rest) = command.split_once([' ', ':']).unwrap_or((&command, ""));
            if special(word, rest) {
                continue;
            }
            let context = Context { request, conn, message: None, number: self.number };
            match run(word, rest, &context) {
                Answer::Nothing => {}
                Answer::Text(text) => self.record(format_args!("{function}: {command} = {text}")),
                Answer::Message(message) => self.write(conn, message),
                Answer::Unknown => panic!("`{command}` is no command of the probe in `{function}`"),
            }
        }
    }

    /// Runs the query's commands of an event, or else tells the peer of it.
    fn on_event(&mut self, function: &str, conn: &Connection, call: String) {
        self.record(&call);
        if self.script.contains_key(function) {
            self.play(function, conn.request(), Some(conn), |_, _| false);
        } else {
            self.write(Some(conn), call.into());
        }
    }

    /// Writes, or keeps what does not fit for on-writable.
    fn write(&mut self, conn: Option<&Connection>, message: Message) {
        let Some(conn) = conn else { return };
        if !self.pending.is_empty() || conn.write_message_ref(&message) == Err(Error::BufferFull) {
            self.pending.push_back(message);
        }
    }
}

impl Handler for Probe {
    fn new(request: &Request) -> Self {
        let mut script = BTreeMap::<String, Vec<String>>::new();
        for function in FUNCTIONS {
            let commands = request.query_args(function);
            if !commands.is_empty() {
                script.insert(function.to_owned(), commands);
            }
        }
        let number = Instance::shared().next_number();
        let mut probe = Self { number, script, pending: VecDeque::new() };
        probe.record("constructor");
        probe.play("constructor", request, None, |_, _| false);
        probe
    }

    fn prepare(&mut self, request: &Request) -> Result<(), Rejection> {
        self.record("prepare");
        let mut rejection: Option<Rejection> = None;
        let mut headers = Vec::new();
        self.play("prepare", request, None, |word, rest| {
            match word {
                "status" => {
                    let (code, body) = rest.split_once(' ').unwrap_or((rest, ""));
                    rejection = Some(Rejection::new(code.parse().expect("a status"), body));
                }
                "redirect" => rejection = Some(Rejection::redirect(rest)),
                "rejection-header" => {
                    headers.push(rest.split_once(' ').map(own).expect("a name and a value"))
                }
                _ => return false,
            }
            true
        });
        match rejection {
            Some(rejection) => {
                Err(headers.into_iter().fold(rejection, |all, (name, value)| all.header(name, value)))
            }
            None => Ok(()),
        }
    }

    fn check_origin(&mut self, request: &Request, origin: &str) -> bool {
        self.record(format_args!("check-origin {}", shortened(origin)));
        let mut verdict = None;
        self.play("origin", request, None, |word, _| {
            match word {
                "allow" => verdict = Some(true),
                "deny" => verdict = Some(false),
                _ => return false,
            }
            true
        });
        verdict.unwrap_or_else(|| request.origin_allowed(origin))
    }

    fn select_subprotocol(&mut self, request: &Request, offered: &[String]) -> Option<String> {
        self.record(format_args!("select-subprotocol {}", offered.join(",")).to_string().trim_end());
        let mut chosen = None;
        for command in self.script("select").to_vec() {
            let (word, rest) = command.split_once([' ', ':']).unwrap_or((&command, ""));
            let context = Context { request, conn: None, message: None, number: self.number };
            if let Answer::Unknown = run(word, rest, &context) {
                chosen = Some(command);
            }
        }
        chosen
    }

    fn get_compression_options(&mut self) -> Option<CompressionOptions> {
        self.record("get-compression-options");
        let mut options = None;
        for command in self.script("compression").to_vec() {
            let (word, number) = command.split_once(' ').unwrap_or((&command, ""));
            match word {
                "on" => options = Some(CompressionOptions::default()),
                "level" => options.get_or_insert_default().level = Some(number.parse().expect("a number")),
                "mem-level" => {
                    options.get_or_insert_default().mem_level = Some(number.parse().expect("a number"))
                }
                // The one function that is not given its request: only what needs none is a command here.
                "trap" => std::process::abort(),
                "spin" => commands::spin(None),
                _ => panic!("`{command}` is no command of the probe in `compression`"),
            }
        }
        options
    }

    fn open(&mut self, conn: &Connection) {
        Instance::shared().opened(self.number, conn);
        self.record("open");
        self.play("open", conn.request(), Some(conn), |_, _| false);
    }

    fn on_message(&mut self, conn: &Connection, message: Message) {
        let text = match &message {
            Message::Text(text) => text.as_str(),
            Message::Binary(bytes) => {
                self.record(format_args!("on-message binary {}", bytes.len()));
                ""
            }
        };
        if message.as_text().is_some() && !matches!(text, "history" | "watch") {
            self.record(format_args!("on-message text {}", shortened(text)));
        }
        let commands = match self.script.get("message") {
            Some(commands) => commands.clone(),
            None if message.as_text().is_none() => vec!["echo".into()],
            None => text.lines().map(String::from).collect(),
        };
        for command in commands {
            let (word, rest) = command.split_once([' ', ':']).unwrap_or((&command, ""));
            let context = Context {
                request: conn.request(),
                conn: Some(conn),
                message: Some(&message),
                number: self.number,
            };
            match run(word, rest, &context) {
                Answer::Nothing => {}
                Answer::Text(text) => self.write(Some(conn), text.into()),
                Answer::Message(message) => self.write(Some(conn), message),
                Answer::Unknown => {
                    self.write(Some(conn), format!("unknown command: {}", shortened(&command)).into())
                }
            }
        }
    }

    fn on_ping(&mut self, conn: &Connection, data: Vec<u8>) {
        self.on_event("ping", conn, format!("on-ping {}", String::from_utf8_lossy(&data)));
    }

    fn on_pong(&mut self, conn: &Connection, data: Vec<u8>) {
        self.on_event("pong", conn, format!("on-pong {}", String::from_utf8_lossy(&data)));
    }

    fn on_writable(&mut self, conn: &Connection) {
        while let Some(message) = self.pending.pop_front() {
            if conn.write_message_ref(&message) == Err(Error::BufferFull) {
                self.pending.push_front(message);
                break;
            }
        }
        self.on_event("writable", conn, "on-writable".into());
    }

    fn on_timer(&mut self, conn: &Connection, token: u32) {
        self.on_event("timer", conn, format!("on-timer {token}"));
    }

    fn on_client_event(&mut self, conn: &Connection, _: &str, event: ClientEvent) {
        self.on_event("client", conn, format!("on-client-event {}", upstream::shown(&event)));
    }

    fn on_close(&mut self, conn: &Connection, frame: Option<CloseFrame>) {
        Instance::shared().closed(self.number);
        match frame {
            Some(CloseFrame { code, reason }) => {
                self.record(format_args!("on-close {code} {reason}").to_string().trim_end());
            }
            None => self.record("on-close none"),
        }
        self.play("close", conn.request(), Some(conn), |_, _| false);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.record("drop");
    }
}

/// The query's names.
const FUNCTIONS: [&str; 16] = [
    "constructor",
    "prepare",
    "origin",
    "select",
    "compression",
    "open",
    "message",
    "ping",
    "pong",
    "writable",
    "timer",
    "client",
    "close",
    "report",
    "resume",
    "suspend",
];

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

waterspout_guest::export!(Probe, shared = Instance);
