//! What the probe can be told to do.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::io::{Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use waterspout_guest::serde_json::json;
use waterspout_guest::{Connection, Error, Message, Request, Shared, config, publish};

use crate::instance::Instance;
use crate::{upstream, wasi};

/// Where a command runs.
pub(crate) struct Context<'c> {
    pub(crate) request: &'c Request,
    /// None before `open`.
    pub(crate) conn: Option<&'c Connection>,
    /// The message that it stands in.
    pub(crate) message: Option<&'c Message>,
    /// Which handler of the instance.
    pub(crate) number: u32,
}

pub(crate) enum Answer {
    Nothing,
    Text(String),
    Message(Message),
    Unknown,
}

impl<T: Into<String>> From<T> for Answer {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

pub(crate) fn run(word: &str, rest: &str, context: &Context<'_>) -> Answer {
    act(word, rest, context)
        .or_else(|| on_connection(word, rest, context))
        .or_else(|| upstream::run(word, rest, context))
        .or_else(|| of_request(word, rest, context.request))
        .or_else(|| of_instance(word, rest, context))
        .or_else(|| of_wasi(word, rest))
        .unwrap_or(Answer::Unknown)
}

fn act(word: &str, rest: &str, context: &Context<'_>) -> Option<Answer> {
    Some(match word {
        "trap" => std::process::abort(),
        "panic" => panic!("{rest}"),
        "exit" => std::process::exit(number(rest)),
        "spin" => {
            spin((!rest.is_empty()).then(|| Duration::from_millis(number(rest))));
            "ok".into()
        }
        "sleep" => {
            thread::sleep(Duration::from_millis(number(rest)));
            "ok".into()
        }
        "recurse" => recurse(1).to_string().into(),
        "grow" => if Instance::shared().grow(size(rest)) { "ok" } else { "refused" }.into(),
        "handles" => {
            for _ in 0..number(rest) {
                Instance::shared().hold(wasi::subscribe_duration(0));
            }
            "ok".into()
        }
        "echo" => context.message.cloned().map_or(Answer::Nothing, Answer::Message),
        "publish" => {
            let (topic, text) = pair(rest);
            outcome(publish(topic, text)).into()
        }
        "publish-large" => {
            let (topic, bytes) = pair(rest);
            outcome(publish(topic, "x".repeat(size(bytes)))).into()
        }
        _ => return None,
    })
}

fn on_connection(word: &str, rest: &str, context: &Context<'_>) -> Option<Answer> {
    let conn = context.conn?;
    Some(match word {
        "say" => match conn.write_message(rest) {
            Ok(()) => Answer::Nothing,
            error => outcome(error).into(),
        },
        "write" => {
            let (count, bytes) = rest.split_once(" x ").expect("write N x SIZE");
            let message = Message::from("x".repeat(size(bytes)));
            repeat("wrote", number(count), |_| conn.write_message_ref(&message)).into()
        }
        "fill" => {
            let message = Message::from("x".repeat(size(rest)));
            let mut filled = 0;
            let end = loop {
                match conn.write_message_ref(&message) {
                    Ok(()) => filled += 1,
                    Err(Error::BufferFull) => match conn.flush() {
                        Ok(()) => {}
                        error => break error,
                    },
                    error => break error,
                }
            };
            format!("filled {filled}: {}", outcome(end)).into()
        }
        "top-up" => {
            let bytes = size(rest) - conn.buffered_amount() as usize;
            outcome(conn.write_message("x".repeat(bytes))).into()
        }
        "flush" => outcome(conn.flush()).into(),
        "buffered" => conn.buffered_amount().to_string().into(),
        "nodelay" => outcome(conn.set_nodelay(true)).into(),
        "ping" => outcome(conn.ping(rest)).into(),
        "ping-of" => outcome(conn.ping("x".repeat(number(rest)))).into(),
        "close" => outcome(close(conn, rest)).into(),
        "close-reason" => outcome(conn.close(None, rest)).into(),
        "close-long" => {
            let (code, bytes) = pair(rest);
            outcome(conn.close(number::<u16>(code), "x".repeat(number(bytes)).as_str())).into()
        }
        "timer" => {
            let (token, delay) = pair(rest);
            outcome(conn.set_timer(number(token), Duration::from_millis(number(delay)))).into()
        }
        "clear-timer" => {
            conn.clear_timer(number(rest));
            "ok".into()
        }
        "timers" => {
            repeat("set", number(rest), |token| conn.set_timer(token, Duration::from_secs(3600))).into()
        }
        "subscribe" => outcome(conn.subscribe(rest)).into(),
        "unsubscribe" => {
            conn.unsubscribe(rest);
            "ok".into()
        }
        "topics" => {
            repeat("subscribed", number(rest), |index| conn.subscribe(&format!("topic-{index}"))).into()
        }
        "id" => conn.id().into(),
        "subprotocol" => or_none(conn.selected_subprotocol()),
        _ => return None,
    })
}

fn of_request(word: &str, rest: &str, request: &Request) -> Option<Answer> {
    Some(match word {
        "uri" => request.uri().into(),
        "path" => request.path().into(),
        "query" => or_none(request.query()),
        "path-args" => json!(request.path_args()).to_string().into(),
        "header" => or_none(request.header(rest)),
        "headers" => {
            let text =
                |(name, value): (String, Vec<u8>)| (name, String::from_utf8_lossy(&value).into_owned());
            json!(request.headers().into_iter().map(text).collect::<Vec<_>>()).to_string().into()
        }
        "remote-address" => request.remote_address().into(),
        "origin-allowed" => request.origin_allowed(rest).to_string().into(),
        "set-header" => {
            let (name, value) = pair(rest);
            outcome(request.set_response_header(name, value)).into()
        }
        _ => return None,
    })
}

fn of_instance(word: &str, rest: &str, context: &Context<'_>) -> Option<Answer> {
    let connection = |id: &str| Instance::shared().connection(id).expect("an id of this instance");
    Some(match word {
        "write-to" => {
            let (id, text) = pair(rest);
            outcome(connection(id).write_message(text)).into()
        }
        "close-peer" => {
            let (id, how) = pair(rest);
            outcome(close(&connection(id), how)).into()
        }
        "peers" => Instance::shared().peers().into(),
        "ask" => {
            let conn = connection(rest);
            json!({
                "id": conn.id(),
                "subprotocol": conn.selected_subprotocol(),
                "buffered": conn.buffered_amount(),
                "uri": conn.request().uri(),
            })
            .to_string()
            .into()
        }
        "count" => Instance::shared().count().to_string().into(),
        "history" => json!(Instance::shared().history()).to_string().into(),
        "watch" => {
            Instance::shared().watch(context.number);
            "ok".into()
        }
        _ => return None,
    })
}

fn of_wasi(word: &str, rest: &str) -> Option<Answer> {
    let io = |result: std::io::Result<String>| result.unwrap_or_else(|error| format!("error: {error}"));
    Some(match word {
        "env" if rest.is_empty() => json!(env::vars().collect::<BTreeMap<_, _>>()).to_string().into(),
        "env" => or_none(env::var(rest).ok()),
        "args" => json!(env::args().collect::<Vec<_>>()).to_string().into(),
        "config" if rest.is_empty() => {
            json!(config::all().into_iter().collect::<BTreeMap<_, _>>()).to_string().into()
        }
        "config" => or_none(config::get(rest)),
        "stdin" => {
            let mut text = String::new();
            io(std::io::stdin().read_to_string(&mut text).map(|bytes| format!("{bytes} bytes"))).into()
        }
        "read-file" => io(fs::read_to_string(rest).map(|_| "ok".into())).into(),
        "list" => io(fs::read_dir(rest).map(|_| "ok".into())).into(),
        "connect" => wasi::connect(rest).into(),
        "bind" => wasi::bind_tcp(rest).into(),
        "udp" => wasi::bind_udp(rest).into(),
        "fetch" => wasi::fetch(rest).into(),
        "resolve" => wasi::resolve(rest).into(),
        "random" => {
            let bytes = wasi::random_bytes(number(rest));
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
        }
        "hash" => RandomState::new().hash_one(0).to_string().into(),
        "now" => match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis().to_string().into(),
            Err(_) => "before 1970".into(),
        },
        "ticks" => wasi::monotonic_now().to_string().into(),
        "print" => {
            println!("{rest}");
            "ok".into()
        }
        "eprint" => {
            eprintln!("{rest}");
            "ok".into()
        }
        "print-part" => {
            print!("{rest}");
            // Until its end a line lies in this program's own buffer.
            std::io::stdout().flush().map_or_else(|error| format!("error: {error}"), |()| "ok".into()).into()
        }
        "print-long" => {
            println!("{}", "x".repeat(number(rest)));
            "ok".into()
        }
        _ => return None,
    })
}

/// Uses the processor, for ever or so long.
pub(crate) fn spin(time: Option<Duration>) {
    let began = time.map(|time| (Instant::now(), time));
    let mut turns = 0_u64;
    while began.is_none_or(|(began, time)| began.elapsed() < time) {
        turns = black_box(turns.wrapping_add(1));
    }
}

#[allow(unconditional_recursion, reason = "the stack is what is tested")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth) + 1)) + depth
}

/// `CODE REASON`, `CODE` or nothing.
fn close(conn: &Connection, how: &str) -> Result<(), Error> {
    let (code, reason) = pair(how);
    let code: Option<u16> = (!code.is_empty()).then(|| number(code));
    conn.close(code, (!reason.is_empty()).then_some(reason))
}

/// Calls `act` with 1 to `count`, until it fails: `VERB HOW-OFTEN: OUTCOME`.
pub(crate) fn repeat(verb: &str, count: u32, mut act: impl FnMut(u32) -> Result<(), Error>) -> String {
    for index in 1..=count {
        let result = act(index);
        if result.is_err() {
            return format!("{verb} {}: {}", index - 1, outcome(result));
        }
    }
    format!("{verb} {count}: ok")
}

pub(crate) fn outcome(result: Result<(), Error>) -> String {
    match result {
        Ok(()) => "ok".into(),
        Err(Error::Closed) => "closed".into(),
        Err(Error::BufferFull) => "buffer-full".into(),
        Err(Error::Timeout) => "timeout".into(),
        Err(Error::Limit(name)) => format!("limit {name}"),
        Err(Error::Denied) => "denied".into(),
        Err(Error::Invalid(why)) => format!("invalid {why}"),
    }
}

pub(crate) fn or_none(value: Option<String>) -> Answer {
    value.unwrap_or_else(|| "none".into()).into()
}

pub(crate) fn pair(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

pub(crate) fn number<N: std::str::FromStr>(text: &str) -> N {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no such number"))
}

/// `100`, `64KiB`, `3MiB`.
pub(crate) fn size(text: &str) -> usize {
    let (digits, unit) = match text.split_once(|c: char| c.is_ascii_alphabetic()) {
        Some((digits, "iB")) => (digits, if text.contains('K') { 1 << 10 } else { 1 << 20 }),
        _ => (text, 1),
    };
    number::<usize>(digits) * unit
}
