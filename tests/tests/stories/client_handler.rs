//! A handler on the client's side: the same component, with a connection that this side has opened.

use std::future::pending;

use tokio_tungstenite::tungstenite::http;
use waterspout::client::handler::{HandledEnd, HandledError, connect_handler};
use waterspout::client::{ConnectError, ConnectOptions};
use waterspout::connection::close::{CloseCause, CloseFrame};
use waterspout::{Pattern, Route};
use waterspout_tests::{Guest, TestHost, within};

use crate::probe::probe;
use crate::witness::{Witness, reporting, target};

/// Has a guest handle a connection to a host.
async fn handled(
    guest: Guest,
    server: &TestHost,
    target: &str,
    options: ConnectOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<HandledEnd, HandledError> {
    let url = format!("ws://{}{target}", server.address());
    let request = http::Request::get(url).body(()).expect("a request");
    let mut route = Route::new("client", Pattern::new("^.*$").expect("a pattern"));
    route.limits.cpu_per_event = std::time::Duration::from_secs(2);
    let handler = guest.handler(&route.limits);
    within("the end", connect_handler(request, options, route, &handler, shutdown)).await
}

fn frame(code: u16, reason: &str) -> Option<CloseFrame> {
    Some(CloseFrame { code, reason: reason.into() })
}

#[tokio::test]
async fn a_handler_gets_what_the_server_sends_and_answers_it() {
    let server = probe().start().await;
    let mut witness = Witness::of(&server).await;
    let script = [("open", "say hello"), ("message", "close 1000 got it")];
    let options = ConnectOptions::default();
    let end =
        handled(Guest::Echo, &server, &reporting(&script), options, pending()).await.expect("a connection");
    assert_eq!(end, HandledEnd { cause: CloseCause::PeerClosed, frame: frame(1000, "got it") });
    witness.sees_open().await;
    witness.sees(["1 on-message text hello"]).await;
}

#[tokio::test]
async fn a_handler_that_closes_gets_the_servers_answer() {
    let server = TestHost::new(Guest::Echo).start().await;
    let target = target("/websocket", &[("open", "close 4001 enough")]);
    let end = handled(Guest::named("probe"), &server, &target, ConnectOptions::default(), pending()).await;
    let end = end.expect("a connection");
    assert_eq!(end, HandledEnd { cause: CloseCause::HandlerClosed, frame: frame(4001, "enough") });
}

#[tokio::test]
async fn a_handler_decides_whether_compression_is_offered() {
    // Both sides are the same guest with the same script; the witness is told by the server's.
    let header = "header sec-websocket-extensions";
    for (compression, offer) in
        [(vec![("compression", "on")], "permessage-deflate; client_max_window_bits"), (vec![], "none")]
    {
        let server = probe().start().await;
        let mut witness = Witness::of(&server).await;
        let script =
            [&compression[..], &[("open", header), ("open", "timer 1 0"), ("timer", "close 1000")]].concat();
        let options = ConnectOptions::default();
        handled(Guest::named("probe"), &server, &reporting(&script), options, pending())
            .await
            .expect("a connection");
        witness.sees_open().await;
        witness.sees([format!("1 open: {header} = {offer}").as_str()]).await;
    }
}

#[tokio::test]
async fn a_handler_may_decline_and_is_told_what_the_server_selected() {
    let server = probe().start().await;
    let handled = async |script: &[(&str, &str)]| {
        let options =
            ConnectOptions { subprotocols: vec!["a".into(), "b".into()], ..ConnectOptions::default() };
        handled(Guest::named("probe"), &server, &target("/websocket", script), options, pending()).await
    };
    let declined = handled(&[("prepare", "status:418")]).await;
    assert!(matches!(declined, Err(HandledError::Declined(418))), "{declined:?}");
    // Server and handler are the same guest, and select the same.
    let end = handled(&[("select", "b"), ("open", "timer 1 0"), ("timer", "close 1000")]).await.expect("b");
    assert_eq!(end.frame, frame(1000, ""));
}

#[tokio::test]
async fn a_handler_that_fails_closes_its_connection_with_1011() {
    let server = TestHost::new(Guest::Echo).start().await;
    let target = target("/websocket", &[("open", "trap")]);
    let end = handled(Guest::named("probe"), &server, &target, ConnectOptions::default(), pending()).await;
    assert_eq!(end.expect("a connection").cause, CloseCause::Trapped);
    assert_eq!(server.connection_ends().await, "peer_closed");
}

#[tokio::test]
async fn at_the_end_of_the_program_the_connection_closes_with_1001() {
    let server = probe().start().await;
    let mut witness = Witness::of(&server).await;
    let answered = async {
        witness.sees_open().await;
        witness.sees(["1 on-message text hello"]).await;
    };
    let target = reporting(&[("open", "say hello"), ("message", "count")]);
    let end = handled(Guest::Echo, &server, &target, ConnectOptions::default(), answered).await;
    let end = end.expect("a connection");
    assert_eq!(end.cause, CloseCause::GoingAway);
    assert_eq!(end.frame.map(|frame| frame.code), Some(1001));
}

#[tokio::test]
async fn who_is_interrupted_before_the_connection_is_open_has_none() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let request = http::Request::get(format!("ws://{}", listener.local_addr().expect("an address")));
    let route = Route::new("client", Pattern::new("^.*$").expect("a pattern"));
    let handler = Guest::Echo.handler(&route.limits);
    let accepted = async { drop(listener.accept().await) };
    let request = request.body(()).expect("a request");
    let interrupted =
        within("the end", connect_handler(request, ConnectOptions::default(), route, &handler, accepted))
            .await;
    assert!(matches!(interrupted, Err(HandledError::Interrupted)), "{interrupted:?}");
}

#[tokio::test]
async fn without_a_server_there_is_a_connect_error() {
    let server = TestHost::new(Guest::Echo).start().await;
    let options = ConnectOptions::default();
    let refused = handled(Guest::Echo, &server, "/nothing", options, pending()).await;
    let Err(HandledError::Connect(ConnectError::Http(answer))) = refused else { panic!("{refused:?}") };
    assert_eq!(answer.status(), 404);
}
