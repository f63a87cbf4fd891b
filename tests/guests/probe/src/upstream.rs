//! The probe's own connections: the interface `client`.

use std::time::Duration;

use waterspout_guest::client::{
    ClientConnection, ClientEvent, ConnectError, ConnectRequest, get, websocket_connect, websocket_start,
};
use waterspout_guest::{CloseFrame, CompressionOptions, Error, Message, Shared};

use crate::commands::{Answer, Context, number, or_none, outcome, pair, repeat, size, spin};
use crate::instance::{Instance, shortened};

pub(crate) fn run(word: &str, rest: &str, context: &Context<'_>) -> Option<Answer> {
    let last = || Instance::shared().upstream(context.number).expect("`dial` or `start` comes first");
    Some(match word {
        "dial" => keep(websocket_connect(request(rest)), context),
        "start" => keep(websocket_start(request(rest)), context),
        "up-read" => {
            let message = match rest {
                "" => last().read_message(),
                ms => last().read_message_within(Duration::from_millis(number(ms))),
            };
            match message {
                Ok(Some(message)) => text(&message).into(),
                Ok(None) => "none".into(),
                Err(error) => outcome(Err(error)).into(),
            }
        }
        "up-pump" => {
            let conn = context.conn.expect("after open");
            let upstream = last();
            let mut pumped = 0;
            let end = loop {
                match upstream.read_message() {
                    Ok(Some(message)) => match conn.write_message(message) {
                        Ok(()) => pumped += 1,
                        error => break outcome(error),
                    },
                    Ok(None) => break "none".into(),
                    Err(error) => break outcome(Err(error)),
                }
            };
            format!("pumped {pumped}: {end}").into()
        }
        "up-sink" => {
            let upstream = last();
            let end = loop {
                match upstream.read_message() {
                    Ok(Some(_)) => {}
                    Ok(None) => break "none".into(),
                    Err(error) => break outcome(Err(error)),
                }
            };
            end.into()
        }
        "up-insist" => {
            let upstream = last();
            loop {
                let _ = upstream.read_message();
            }
        }
        "dial-insist" => loop {
            let _ = websocket_connect(request(rest));
        },
        "start-insist" => loop {
            let _ = websocket_start(request(rest));
        },
        "up-glance" => {
            let upstream = last();
            loop {
                spin(Some(Duration::from_millis(5)));
                let _ = upstream.read_message_within(Duration::ZERO);
            }
        }
        "up-doze" => {
            let (times, ms) = rest.split_once(" x ").expect("up-doze N x MS");
            let upstream = last();
            repeat("dozed", number(times), |_| {
                match upstream.read_message_within(Duration::from_millis(number(ms))) {
                    Err(Error::Timeout) => {
                        spin(Some(Duration::from_millis(number::<u64>(ms) / 2)));
                        Ok(())
                    }
                    Err(error) => Err(error),
                    Ok(_) => Ok(()),
                }
            })
            .into()
        }
        "up-say" => match last().write_message(rest) {
            Ok(()) => Answer::Nothing,
            error => outcome(error).into(),
        },
        "up-write" => {
            let (count, bytes) = rest.split_once(" x ").expect("up-write N x SIZE");
            let (upstream, message) = (last(), Message::from("x".repeat(size(bytes))));
            repeat("wrote", number(count), |_| upstream.write_message_ref(&message)).into()
        }
        "up-ping" => outcome(last().ping(rest)).into(),
        "up-flush" => outcome(last().flush()).into(),
        "up-close" => {
            let (code, reason) = pair(rest);
            let code: Option<u16> = (!code.is_empty()).then(|| number(code));
            outcome(last().close(code, (!reason.is_empty()).then_some(reason))).into()
        }
        "up-id" => last().id().into(),
        "up-subprotocol" => or_none(last().selected_subprotocol()),
        "up-frame" => frame(last().close_frame().as_ref()).into(),
        "up-forget" => {
            Instance::shared().forget_upstreams();
            "ok".into()
        }
        "up-get" => if get(rest).is_some() { "ok" } else { "none" }.into(),
        _ => return None,
    })
}

fn keep(connected: Result<ClientConnection, ConnectError>, context: &Context<'_>) -> Answer {
    match connected {
        Ok(connection) => {
            Instance::shared().keep_upstream(context.number, connection);
            "ok".into()
        }
        Err(error) => failure(&error).into(),
    }
}

/// `URL OPTIONS`.
fn request(text: &str) -> ConnectRequest {
    let mut words = text.split(' ');
    let request = ConnectRequest::new(words.next().unwrap_or_default());
    words.fold(request, |request, option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let time = || Duration::from_millis(number(value));
        match name {
            "sub" => request.subprotocol(value),
            "header" => {
                let (name, value) = value.split_once(':').expect("header=NAME:VALUE");
                request.header(name, value)
            }
            "timeout" => request.connect_timeout(time()),
            "max" => request.max_message_size(size(value) as u32),
            "ping" => request.ping_interval(time()),
            "pong" => request.ping_timeout(time()),
            "deflate" => request.compression(CompressionOptions::default()),
            _ => panic!("`{option}` is no option of `dial`"),
        }
    })
}

fn failure(error: &ConnectError) -> String {
    match error {
        ConnectError::Denied => "denied".into(),
        ConnectError::Closed => "closed".into(),
        ConnectError::Limit(name) => format!("limit {name}"),
        ConnectError::Invalid(why) => format!("invalid {why}"),
        ConnectError::Network(why) => format!("network {why}"),
        ConnectError::Timeout => "timeout".into(),
        ConnectError::Http(status) => format!("http {status}"),
        ConnectError::Protocol(why) => format!("protocol {why}"),
    }
}

fn text(message: &Message) -> String {
    match message {
        Message::Text(text) => shortened(text).to_owned(),
        Message::Binary(bytes) => format!("binary {}", bytes.len()),
    }
}

fn frame(frame: Option<&CloseFrame>) -> String {
    match frame {
        Some(CloseFrame { code, reason }) => format!("{code} {reason}").trim_end().to_owned(),
        None => "none".into(),
    }
}

/// `opened`, `failed WHY`, `text TEXT`, `binary LENGTH`, `pong DATA`, `closed CODE REASON`.
pub(crate) fn shown(event: &ClientEvent) -> String {
    match event {
        ClientEvent::Opened => "opened".into(),
        ClientEvent::Failed(error) => format!("failed {}", failure(error)),
        ClientEvent::Message(message @ Message::Text(_)) => format!("text {}", text(message)),
        ClientEvent::Message(message) => text(message),
        ClientEvent::Pong(data) => format!("pong {}", String::from_utf8_lossy(data)),
        ClientEvent::Closed(end) => format!("closed {}", frame(end.as_ref())),
    }
}
