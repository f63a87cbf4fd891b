//! A route's handler is replaced while its connections stay open.

mod broken;
mod canary;
mod denied;
mod load;
mod modes;
mod moments;
mod room;
mod state;
mod transports;
mod turns;

use waterspout::SwapReport;
use waterspout_tests::host::Builder;
use waterspout_tests::{Client, Guest, TestHost};

/// Counts the messages of its connection: `VERSION:COUNT:TEXT`.
fn counter() -> Builder {
    TestHost::new(Guest::named("counter-1"))
}

/// Counts those of a room, too: `VERSION:COUNT OF THE ROOM:COUNT:TEXT`.
fn counting_rooms() -> Builder {
    TestHost::new(Guest::named("counter-room-1")).path("/rooms/{room}").instance("{room}")
}

fn version(number: u32) -> Guest {
    Guest::named(format!("counter-{number}"))
}

fn room_version(number: u32) -> Guest {
    Guest::named(format!("counter-room-{number}"))
}

/// Puts a version into the place of what there is, as the route says.
async fn swapped(host: &TestHost, guest: &Guest) -> SwapReport {
    host.swap(guest, None).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A connection of the [`counter`] that has said something.
async fn who_has_counted(host: &TestHost) -> Client {
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("a").await, "1:1:a");
    client
}

/// What the answer begins with.
async fn is_answered(client: &mut Client, text: &str, begins: &str) {
    let answer = client.say(text).await;
    assert!(answer.starts_with(begins), "`{answer}` does not begin with `{begins}`");
}
