//! Handlers that wait for their own connections, and what happens meanwhile.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use waterspout_tests::Guest;
use waterspout_tests::frames::Frame;

use super::{dialling, echo, says, url};
use crate::client::{server, switching};
use crate::probe::{history, probe, rooms};
use crate::witness::{Witness, reporting};

#[tokio::test]
async fn a_loop_over_messages_outlives_a_silence_that_is_longer_than_an_event_may_take() {
    let server = probe().start().await;
    let limits = |limits: &mut waterspout::Limits| limits.wall_per_event = Duration::from_secs(1);
    let host = dialling(&[server.address()]).limits(limits).start().await;
    // The server speaks after three times as long as an event may take.
    let target =
        format!("ws://{}/websocket?open=timer+1+3000&timer=say+at+last&timer=close+1000", server.address());
    let mut client = host
        .connect(&crate::witness::target(
            "/websocket",
            &[("open", &format!("dial {target}")), ("open", "up-pump")],
        ))
        .await;
    assert_eq!(client.recv_text().await, "at last");
    let lines = history(&mut client).await;
    assert!(lines.contains(&"1 open: up-pump = pumped 1: none".into()), "{lines:?}");
}

#[tokio::test]
async fn a_handler_that_waits_for_a_message_is_told_when_its_own_peer_has_gone() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut witness = Witness::of(&host).await;
    let dial = format!("dial {}", url(&server));
    let client = host.connect(&reporting(&[("open", &dial), ("open", "up-pump")])).await;
    witness.sees_open().await;
    witness.sees([format!("1 open: {dial} = ok").as_str()]).await;
    client.leave().await;
    witness.sees(["1 open: up-pump = pumped 0: closed", "1 on-close 1000", "1 drop"]).await;
    assert_eq!(server.connection_ends().await, "peer_closed");
}

#[tokio::test]
async fn a_read_waits_as_long_as_it_is_told_to() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial {}", url(&server)), "ok")]).await;
    let began = std::time::Instant::now();
    says(&mut client, &[("up-read 20", "timeout")]).await;
    assert!(began.elapsed() >= Duration::from_millis(20));
    says(&mut client, &[("up-say hello\nup-read", "hello")]).await;
}

#[tokio::test]
async fn in_a_shared_instance_nobody_waits_for_long() {
    let server = echo().await;
    let host = rooms()
        .connects_to(&[server.address().to_string()])
        .limits(|limits| limits.shared_wait = Duration::from_millis(50))
        .start()
        .await;
    let mut client = host.connect("/rooms/blue").await;
    let mut other = host.connect("/rooms/blue").await;
    says(&mut client, &[(&format!("dial {}", url(&server)), "ok"), ("up-read", "timeout")]).await;
    // The two take turns, and each has its own connection.
    says(&mut other, &[(&format!("start {}", url(&server)), "ok")]).await;
    assert_eq!(other.recv_text().await, "on-client-event opened");
    client.send_text("up-say one\nup-read").await;
    other.send_text("up-say two").await;
    assert_eq!(client.recv_text().await, "one");
    assert_eq!(other.recv_text().await, "on-client-event text two");
}

#[tokio::test]
async fn a_handler_that_reads_for_ever_from_what_has_ended_is_stopped() {
    let server = probe().start().await;
    let limits = |limits: &mut waterspout::Limits| limits.cpu_per_event = Duration::from_millis(300);
    let host = dialling(&[server.address()]).limits(limits).start().await;
    let mut client = host.connect("/websocket").await;
    let target = format!("ws://{}/websocket?open=close+1000", server.address());
    says(&mut client, &[(&format!("dial {target}"), "ok")]).await;
    client.send_text("up-insist").await;
    assert_eq!(client.recv_close().await, (1011, "handler took too long".into()));
}

#[tokio::test]
async fn a_server_that_is_always_faster_does_not_keep_a_handler_whose_peer_has_gone() {
    let address = server(|mut socket, accept_key| async move {
        let _ = socket.write_all(&switching(&accept_key, "")).await;
        let messages = Frame::text("news").unmasked().repeat(1000);
        while socket.write_all(&messages).await.is_ok() {}
    })
    .await;
    let host = dialling(&[address]).start().await;
    let mut witness = Witness::of(&host).await;
    let dial = format!("dial ws://{address}");
    let client = host.connect(&reporting(&[("open", &dial), ("open", "up-sink")])).await;
    witness.sees_open().await;
    witness.sees([format!("1 open: {dial} = ok").as_str()]).await;
    client.leave().await;
    witness.sees(["1 open: up-sink = closed", "1 on-close 1000", "1 drop"]).await;
}

#[tokio::test]
async fn a_peer_that_vanishes_is_noticed_while_its_handler_waits_and_nobody_reads_it() {
    let server = echo().await;
    // The witness is not pinged.
    let host = probe()
        .and_route(Guest::named("probe"), "/pinged")
        .connects_to(&[server.address().to_string()])
        .limits(|limits| limits.ping_interval = Duration::from_millis(50))
        .start()
        .await;
    let mut witness = Witness::of(&host).await;
    let dial = format!("dial {}", url(&server));
    let target = reporting(&[("open", &dial), ("open", "up-sink")]).replacen("/websocket", "/pinged", 1);
    let mut raw = host.raw(&target).await;
    witness.sees_open().await;
    witness.sees([format!("1 open: {dial} = ok").as_str()]).await;
    // More than is read ahead.
    for _ in 0..200 {
        raw.send(Frame::binary(vec![0; 1000])).await;
    }
    raw.reset();
    assert_eq!(host.connection_ends().await, "vanished");
}
