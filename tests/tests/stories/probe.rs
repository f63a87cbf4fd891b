//! What stories tell and ask the guest probe (tests/guests/probe).

use waterspout_tests::host::Builder;
use waterspout_tests::{Client, Guest, TestHost};

/// A host with the probe, to be told more.
pub(crate) fn probe() -> Builder {
    TestHost::new(Guest::named("probe"))
}

/// A host with the probe in an instance for each `{room}` of `/rooms/{room}`.
pub(crate) fn rooms() -> Builder {
    probe().path("/rooms/{room}").instance("{room}")
}

/// Everything that this connection's instance was called with.
pub(crate) async fn history(client: &mut Client) -> Vec<String> {
    client.send_text("history").await;
    let lines = client.recv_json().await;
    let lines = lines.as_array().expect("a list").iter();
    lines.map(|line| line.as_str().expect("text").to_owned()).collect()
}

/// Reads until this text has come, and returns what came before it.
pub(crate) async fn read_until(client: &mut Client, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let text = client.recv_text().await;
        if text == last {
            return texts;
        }
        texts.push(text);
    }
}
