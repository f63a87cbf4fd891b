//! What handlers are called with: commands for the guest probe in a request's target, and a connection that is told what the
//! probe was called with, also by connections of other instances.

use std::fmt::Write;

use waterspout_tests::{Client, TestHost};

/// A request's target with commands for the probe: (function, command), in order.
pub(crate) fn target(path: &str, commands: &[(&str, &str)]) -> String {
    let mut target = path.to_owned();
    for (index, (function, command)) in commands.iter().enumerate() {
        target.push(if index == 0 { '?' } else { '&' });
        target.push_str(function);
        target.push('=');
        for byte in command.bytes() {
            if byte.is_ascii_alphanumeric() {
                target.push(byte.into());
            } else {
                write!(target, "%{byte:02X}").expect("a string can be written to");
            }
        }
    }
    target
}

/// [`target`] under `/websocket`, for a handler whose calls a [`Witness`] is told of.
pub(crate) fn reporting(commands: &[(&str, &str)]) -> String {
    reporting_from("/websocket", commands)
}

/// The same under another path of the host.
pub(crate) fn reporting_from(path: &str, commands: &[(&str, &str)]) -> String {
    target(path, &[&[("report", TOPIC)], commands].concat())
}

const TOPIC: &str = "witness";

/// A connection that is told, line by line and in order, what the handlers of [`reporting`] requests are called with,
/// whichever instance they live in.
#[derive(Debug)]
pub(crate) struct Witness {
    client: Client,
}

impl Witness {
    /// Begins to watch.
    pub(crate) async fn of(host: &TestHost) -> Self {
        let mut client =
            host.connect(&target("/websocket", &[("open", &format!("subscribe {TOPIC}"))])).await;
        // A message is answered after `open`: from here on nothing is missed.
        assert_eq!(client.say("count").await, "1");
        Self { client }
    }

    /// The next line.
    pub(crate) async fn line(&mut self) -> String {
        self.client.recv_text().await
    }

    /// The next lines are exactly these.
    pub(crate) async fn sees<const N: usize>(&mut self, lines: [&str; N]) {
        for line in lines {
            assert_eq!(self.line().await, line);
        }
    }

    /// A handshake's calls without an Origin and without an offer, and `open`.
    pub(crate) async fn sees_open(&mut self) {
        let lines = ["constructor", "prepare", "select-subprotocol", "get-compression-options", "open"];
        for line in lines {
            assert_eq!(self.line().await, format!("1 {line}"));
        }
    }

    /// Nothing has been reported since, and nothing will be of what has happened: another connection is made, and its lines
    /// are the next ones.
    pub(crate) async fn sees_no_more(&mut self, host: &TestHost) {
        let client = host.connect(&reporting(&[])).await;
        self.sees_open().await;
        client.leave().await;
        self.sees(["1 on-close 1000", "1 drop"]).await;
    }
}
