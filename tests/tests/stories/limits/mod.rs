//! What a guest may use of the host, and what happens at each limit; and that everybody else goes on.
//!
//! Limits of the handshake's headers are in `handshake`, those of incoming messages in `messages`, those of instances in
//! `instances`.

mod counts;
mod memory;
mod queue;
mod time;

use tokio_tungstenite::tungstenite::Message;
use waterspout_tests::TestHost;

/// What makes a handler do something without that there is a message.
fn unasked_pong() -> Message {
    Message::Pong(Default::default())
}

/// Somebody else is served as before.
async fn goes_on(host: &TestHost, path: &str) {
    assert_eq!(host.connect(path).await.say("count").await, "1");
}
