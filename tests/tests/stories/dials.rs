//! What a handler that may connect cannot gain by it: time that it has not waited, and connections as fast as it likes.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};
use tokio_tungstenite::tungstenite::Message;
use waterspout_tests::host::Builder;
use waterspout_tests::{Guest, TestHost, within};

use crate::admin::{metrics, start};
use crate::probe::probe;
use crate::witness::target;

/// A host with the probe, which may connect to this, and whose events have so much processor time.
fn dialling(server: SocketAddr) -> Builder {
    probe()
        .connects_to(&[server.to_string()])
        .limits(|limits| limits.cpu_per_event = Duration::from_millis(200))
}

/// It listens, and never answers.
async fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A port on which nobody listens, nor will as long as the socket is there.
fn closed() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

async fn echo() -> TestHost {
    TestHost::new(Guest::Echo).start().await
}

fn url(server: &TestHost) -> String {
    format!("ws://{}/websocket", server.address())
}

/// It took too long, in this function.
async fn is_stopped(host: &TestHost, call: &str) {
    let record = host
        .logged("that it is stopped", |record| record.message == "the handler ran past its deadline")
        .await;
    assert_eq!(record.field("call"), call);
    let cause = record.field("cause");
    assert!(cause.contains("cpu-per-event"), "{cause}");
}

#[tokio::test]
async fn a_handler_that_goes_on_connecting_after_its_peer_has_gone_is_stopped() {
    let (_listener, address) = silent().await;
    for verb in ["dial-insist", "start-insist"] {
        let host = dialling(address).start().await;
        // Of connections to be started none is refused before the peer has gone.
        let open = [("open", format!("{verb} ws://{address} timeout=100"))];
        let raw =
            host.raw(&target("/websocket", &open.each_ref().map(|(at, what)| (*at, what.as_str())))).await;
        raw.reset();
        is_stopped(&host, "open").await;
    }
}

#[tokio::test]
async fn a_handler_whose_peer_has_gone_is_told_so_instead_of_being_connected() {
    let server = echo().await;
    let host = dialling(server.address()).start().await;
    let mut witness = crate::witness::Witness::of(&host).await;
    let (dial, start) = (format!("dial {}", url(&server)), format!("start {}", url(&server)));
    let commands =
        [("open", dial.as_str()), ("open", "up-pump"), ("open", dial.as_str()), ("open", start.as_str())];
    let client = host.connect(&crate::witness::reporting(&commands)).await;
    witness.sees_open().await;
    witness.sees([format!("1 open: {dial} = ok").as_str()]).await;
    client.leave().await;
    // Its own connection has not been closed yet: this happens within `open`.
    witness.sees(["1 open: up-pump = pumped 0: closed"]).await;
    witness.sees([format!("1 open: {dial} = closed").as_str(), &format!("1 open: {start} = closed")]).await;
}

#[tokio::test]
async fn connects_that_fail_at_once_do_not_keep_a_handler_running() {
    let (_socket, address) = closed();
    let host = dialling(address).start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text(format!("dial-insist ws://{address}")).await;
    assert_eq!(client.recv_close().await, (1011, "handler took too long".into()));
    is_stopped(&host, "on-message").await;
}

#[tokio::test]
async fn connects_that_succeed_at_once_do_not_keep_a_handler_running() {
    let server = echo().await;
    let host =
        dialling(server.address()).limits(|limits| limits.max_client_connections = 1_000).start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text(format!("dial-insist {}", url(&server))).await;
    assert_eq!(client.recv_close().await, (1011, "handler took too long".into()));
}

#[tokio::test]
async fn reads_that_wait_for_nothing_do_not_keep_a_handler_running() {
    let server = echo().await;
    let host = dialling(server.address()).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say(format!("dial {}", url(&server))).await, "ok");
    client.send_text("up-glance").await;
    assert_eq!(client.recv_close().await, (1011, "handler took too long".into()));
}

#[tokio::test]
async fn a_handler_that_waits_for_longer_than_it_computes_goes_on_although_nothing_comes() {
    let server = echo().await;
    let limits = |limits: &mut waterspout::Limits| limits.wall_per_event = Duration::from_millis(500);
    let host = dialling(server.address()).limits(limits).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say(format!("dial {}", url(&server))).await, "ok");
    // Four times the processor time of an event, and more than its wall-clock time.
    assert_eq!(client.say("up-doze 20 x 80").await, "dozed 20: ok");
}

#[tokio::test]
async fn a_handler_begins_so_many_connections_a_second_and_as_many_after_a_silence() {
    let (_socket, address) = closed();
    let limits = |limits: &mut waterspout::Limits| limits.max_connects_per_second = 3;
    let (host, _folder) = start(dialling(address).limits(limits)).await;
    let mut client = host.connect("/websocket").await;
    let dial = format!("dial ws://{address}");
    let began = Instant::now();
    for _ in 0..3 {
        let said = client.say(&dial).await;
        assert!(said.starts_with("network "), "{said}");
    }
    let said = client.say(&dial).await;
    if began.elapsed() < Duration::from_millis(300) {
        assert_eq!(said, "limit max-connects-per-second");
    }
    let labels = [("scope", "connection"), ("limit", "max-connects-per-second")];
    assert_eq!(metrics(&host).await.sum("waterspout_refusals_total", &labels), 1.0);
    // What is on no list uses nothing up, and another connection has its own.
    assert_eq!(client.say("dial ws://192.0.2.1").await, "denied");
    assert!(host.connect("/websocket").await.say(&dial).await.starts_with("network "));
    let refused = async { while client.say(&dial).await == "limit max-connects-per-second" {} };
    within("the next second", refused).await;
}

#[tokio::test]
async fn all_handlers_of_a_route_together_begin_so_many_connections_a_second() {
    let (_socket, address) = closed();
    let limits = |limits: &mut waterspout::Limits| limits.max_route_connects_per_second = 2;
    let (host, _folder) = start(dialling(address).limits(limits)).await;
    let dial = format!("dial ws://{address}");
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(host.connect("/websocket").await);
    }
    let began = Instant::now();
    let mut said = Vec::new();
    for client in &mut clients {
        said.push(client.say(&dial).await);
    }
    assert!(said[..2].iter().all(|said| said.starts_with("network ")), "{said:?}");
    if began.elapsed() < Duration::from_millis(450) {
        assert_eq!(said[2], "limit max-route-connects-per-second");
        let labels = [("scope", "route"), ("limit", "max-route-connects-per-second")];
        assert_eq!(metrics(&host).await.sum("waterspout_refusals_total", &labels), 1.0);
    }
    let refused = async { while clients[2].say(&dial).await == "limit max-route-connects-per-second" {} };
    within("the next second", refused).await;
}

#[tokio::test]
async fn handles_are_counted_before_their_handler_waits() {
    let server = echo().await;
    let host =
        dialling(server.address()).route(|route| route.tenant.total.max_memory_bytes = 6 << 20).start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say(format!("dial {}", url(&server))).await, "ok");
    while client.say("grow 64KiB").await == "ok" {}
    // More than is left, and made within a tick, at which they would be counted, too.
    client.send_text("handles 60\nup-read").await;
    match client.recv().await {
        // That they were made has left before.
        Message::Text(answer) => {
            assert_eq!(answer.as_str(), "ok");
            assert_eq!(client.recv_close().await.0, 1011);
        }
        Message::Close(frame) => assert_eq!(u16::from(frame.expect("a code").code), 1011),
        other => panic!("{other:?}"),
    }
}
