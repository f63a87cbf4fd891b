//! A handler on the client's side: the same component, with a connection that this side has opened.

use std::future::{pending, ready};

use tokio_tungstenite::tungstenite::http;
use waterspout::client::{ConnectError, ConnectOptions};
use waterspout::client_handler::{HandledEnd, HandledError, connect_handler};
use waterspout::close::{CloseCause, CloseFrame};
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
    let server = TestHost::new(Guest::named("probe")).start().await;
    // Both sides are the same guest with the same script.
    for (script, compressed) in [("on", "true"), ("", "false")] {
        let script = if script.is_empty() { vec![] } else { vec![("compression", script)] };
        let target =
            target("/websocket", &[&script[..], &[("timer", "close 1000"), ("open", "timer 1 0")]].concat());
        handled(Guest::named("probe"), &server, &target, ConnectOptions::default(), pending())
            .await
            .expect("a connection");
        let open = |record: &waterspout_tests::Record| {
            record.message == "open" && record.field("compressed") == compressed
        };
        server.logged("the connection", open).await;
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
    let server = TestHost::new(Guest::Echo).start().await;
    let end = handled(Guest::Echo, &server, "/websocket", ConnectOptions::default(), ready(())).await;
    let end = end.expect("a connection");
    assert_eq!(end.cause, CloseCause::GoingAway);
    assert_eq!(end.frame.map(|frame| frame.code), Some(1001));
}

#[tokio::test]
async fn without_a_server_there_is_a_connect_error() {
    let server = TestHost::new(Guest::Echo).start().await;
    let options = ConnectOptions::default();
    let refused = handled(Guest::Echo, &server, "/nothing", options, pending()).await;
    let Err(HandledError::Connect(ConnectError::Http(answer))) = refused else { panic!("{refused:?}") };
    assert_eq!(answer.status(), 404);
}
