//! The server goes away.

use std::time::Duration;

use waterspout_tests::frames::Frame;

use crate::probe::probe;
use crate::witness::{Witness, reporting, target};

#[tokio::test]
async fn a_server_that_goes_away_closes_every_connection_with_1001() {
    let mut host = probe().start().await;
    let mut witness = Witness::of(&host).await;
    let mut raw = host.raw(&reporting(&[])).await;
    witness.sees_open().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("count").await, "1");
    host.shut_down();
    assert_eq!(client.recv_close().await, (1001, "going away".into()));
    client.ends().await;
    assert_eq!(raw.close_frame().await, (1001, "going away".into()));
    raw.send(Frame::close(1001, "")).await;
    raw.ends().await;
    drop(witness);
    assert_eq!(host.gone().await, 0);
    assert_eq!(host.connection_ends().await, "going_away");
}

#[tokio::test]
async fn a_server_that_goes_away_calls_on_close() {
    let mut host = probe().start().await;
    let mut client = host.connect(&target("/websocket", &[("close", "print on-close was called")])).await;
    assert_eq!(client.say("count").await, "1");
    host.shut_down();
    client.recv_close().await;
    client.ends().await;
    host.guest_prints("on-close was called").await;
    assert_eq!(host.gone().await, 0);
}

#[tokio::test]
async fn a_peer_that_does_not_go_is_dropped_after_the_grace() {
    let mut host = probe().options(|options| options.grace = Duration::from_millis(100)).start().await;
    let mut raw = host.raw("/websocket").await;
    raw.send(Frame::text("count")).await;
    assert_eq!(raw.frame().await, Frame::text("1"));
    host.shut_down();
    assert_eq!(raw.close_frame().await.0, 1001);
    assert_eq!(host.gone().await, 1);
    raw.is_dropped().await;
}

#[tokio::test]
async fn a_server_that_goes_away_takes_no_new_connections() {
    let mut host = probe().start().await;
    let mut open = host.raw("/websocket").await;
    open.send(Frame::text("count")).await;
    assert_eq!(open.frame().await, Frame::text("1"));
    let mut waiting = host.request("/healthz").plain().sent().await;
    assert_eq!(waiting.answer(true).await.status, 200);
    host.shut_down();
    host.logged("the drain", |record| record.message == "draining").await;
    assert!(tokio::net::TcpStream::connect(host.address()).await.is_err(), "the port is still open");
    waiting.send_bytes(&host.request("/websocket").bytes()).await;
    let answer = waiting.answer(true).await;
    assert_eq!((answer.status, answer.text()), (503, "The server is going away."));
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(open.close_frame().await.0, 1001);
    open.send(Frame::close(1001, "")).await;
    assert_eq!(host.gone().await, 0);
}
