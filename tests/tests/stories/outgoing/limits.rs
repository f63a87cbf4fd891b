//! How many connections a handler may have, and how much may wait on them.

use std::time::Duration;

use waterspout_tests::{Client, within};

use super::{dialling, echo, says, url};
use crate::probe::probe;
use crate::witness::{Witness, reporting};

/// A connection's end is told a moment before its socket is closed, and its place free.
async fn dials_when_there_is_room(client: &mut Client, dial: &str) {
    let dialled = async {
        loop {
            match client.say(dial).await.as_str() {
                "ok" => return,
                other => assert_eq!(other, "limit max-client-connections"),
            }
        }
    };
    within("a place", dialled).await;
}

#[tokio::test]
async fn a_handler_may_have_so_many_connections_and_one_that_has_ended_makes_room() {
    let server = echo().await;
    let host = dialling(&[server.address()]).limits(|limits| limits.max_client_connections = 2).start().await;
    let mut client = host.connect("/websocket").await;
    let dial = format!("dial {}", url(&server));
    says(&mut client, &[(&dial, "ok"), (&dial, "ok"), (&dial, "limit max-client-connections")]).await;
    says(&mut client, &[("up-close", "ok"), ("up-read", "none")]).await;
    dials_when_there_is_room(&mut client, &dial).await;
    says(&mut client, &[(&dial, "limit max-client-connections")]).await;
    // Somebody else has others.
    says(&mut host.connect("/websocket").await, &[(&dial, "ok")]).await;
}

#[tokio::test]
async fn a_connection_that_ended_unread_still_counts_until_it_is_read_to_its_end() {
    let server = probe().start().await;
    let host = dialling(&[server.address()]).limits(|limits| limits.max_client_connections = 1).start().await;
    let mut client = host.connect("/websocket").await;
    let dial = format!("dial ws://{}/websocket?open=say+hello&open=close+1000", server.address());
    says(&mut client, &[(&dial, "ok")]).await;
    assert_eq!(server.connection_ends().await, "handler_closed");
    says(&mut client, &[(&dial, "limit max-client-connections"), ("up-read", "hello"), ("up-read", "none")])
        .await;
    dials_when_there_is_room(&mut client, &dial).await;
}

#[tokio::test]
async fn a_server_whose_messages_nobody_reads_is_slowed_down() {
    let limits = |limits: &mut waterspout::Limits| {
        limits.max_queue_bytes = 1 << 20;
        limits.wall_per_event = Duration::from_millis(600);
    };
    let server = probe().limits(limits).start().await;
    let mut witness = Witness::of(&server).await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let target = format!("ws://{}{}", server.address(), reporting(&[("open", "fill 64KiB")]));
    says(&mut client, &[(&format!("dial {target}"), "ok")]).await;
    witness.sees_open().await;
    // What the sockets hold, a megabyte of queue and a little read ahead: then its flush waits in vain.
    let line = witness.line().await;
    let filled =
        line.strip_prefix("1 open: fill 64KiB = filled ").and_then(|rest| rest.strip_suffix(": timeout"));
    let filled: usize = filled.and_then(|filled| filled.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    assert!((16..2_000).contains(&filled), "{filled} messages of 64 KiB");
    // Nothing of it is lost.
    for _ in 0..filled {
        assert!(client.say("up-read").await.starts_with("xxx"));
    }
}

#[tokio::test]
async fn a_queue_that_was_full_takes_messages_again_when_they_have_left() {
    let server = probe().start().await;
    let host = dialling(&[server.address()])
        .limits(|limits| {
            limits.max_queue_bytes = 1 << 20;
            limits.max_message_bytes = 1 << 20;
        })
        .start()
        .await;
    let mut client = host.connect("/websocket").await;
    // A server that reads nothing for a while.
    let target = format!("ws://{}/websocket?open=sleep+300&message=count", server.address());
    says(&mut client, &[(&format!("dial {target}"), "ok")]).await;
    let said = client.say("up-write 1000 x 64KiB").await;
    assert!(said.ends_with(": buffer-full"), "{said}");
    // Everything leaves by itself, and what is written then, too.
    says(
        &mut client,
        &[("up-read", "1"), ("up-flush", "ok"), ("up-write 1 x 64KiB\nup-flush", "wrote 1: ok")],
    )
    .await;
    assert_eq!(client.recv_text().await, "ok");
}
