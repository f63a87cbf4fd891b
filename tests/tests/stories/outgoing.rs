//! Connections that handlers open themselves: where to they may, what the two styles bring, and how they end. The servers are hosts of
//! this crate; servers that misbehave are in `client`, which is the same client.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio_tungstenite::tungstenite::Message;
use waterspout::client::{Resolver, Resolving};
use waterspout_tests::frames::Frame;
use waterspout_tests::host::Builder;
use waterspout_tests::{Client, Guest, TestHost, within};

use crate::client::{close_code, sending, server, switching};
use crate::probe::{history, probe, rooms};
use crate::witness::{Witness, reporting};

/// A host with the probe, which may connect to these.
fn dialling(servers: &[SocketAddr]) -> Builder {
    probe().connects_to(&servers.iter().map(SocketAddr::to_string).collect::<Vec<_>>())
}

async fn echo() -> TestHost {
    TestHost::new(Guest::Echo).start().await
}

fn url(server: &TestHost) -> String {
    format!("ws://{}/websocket", server.address())
}

/// What the probe answers to each of these commands.
async fn says(client: &mut Client, conversation: &[(&str, &str)]) {
    for (command, answer) in conversation {
        assert_eq!(client.say(*command).await, *answer, "{command}");
    }
}

/// A port on which nobody listens, nor will as long as the socket is there.
fn bound() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

// Two styles.

#[tokio::test]
async fn a_handler_connects_and_reads_message_by_message() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let dial = format!("dial {}", url(&server));
    says(&mut client, &[(&dial, "ok"), ("up-say hello\nup-read", "hello"), ("up-subprotocol", "none")]).await;
    says(&mut client, &[("up-frame", "none"), ("up-close 4001 bye", "ok"), ("up-read", "none")]).await;
    says(&mut client, &[("up-frame", "4001 bye"), ("up-say late", "closed"), ("up-flush", "closed")]).await;
    assert_eq!(server.connection_ends().await, "peer_closed");
    client.leave().await;
}

#[tokio::test]
async fn a_handler_that_has_started_a_connection_is_told_what_happens_in_order() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("start {}", url(&server)), "ok")]).await;
    assert_eq!(client.recv_text().await, "on-client-event opened");
    client.send_text("up-say hello\nup-ping are you there?\nup-say again\nup-close 1000 bye").await;
    // What the commands answer, and what comes of them.
    for line in ["ok", "ok"] {
        assert_eq!(client.recv_text().await, line);
    }
    for event in ["text hello", "pong are you there?", "text again", "closed 1000 bye"] {
        assert_eq!(client.recv_text().await, format!("on-client-event {event}"));
    }
    let why = "invalid made by `start`: its messages come to `on-client-event`";
    says(&mut client, &[("up-read", why), ("up-say late", "closed")]).await;
    client.leave().await;
}

#[tokio::test]
async fn until_it_is_open_a_started_connection_takes_no_message_and_can_be_given_up() {
    // It listens, and never answers.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let host = dialling(&[address]).start().await;
    let mut client = host.connect("/websocket").await;
    let start = format!("start ws://{address}");
    says(&mut client, &[(&start, "ok"), ("up-say early", "closed"), ("up-close", "ok")]).await;
    assert_eq!(client.recv_text().await, "on-client-event failed closed");
    client.leave().await;
}

#[tokio::test]
async fn several_connections_are_told_apart_by_their_ids() {
    let servers = (echo().await, echo().await);
    let host = dialling(&[servers.0.address(), servers.1.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial {}", url(&servers.0)), "ok")]).await;
    let first = client.say("up-id").await;
    says(&mut client, &[(&format!("dial {}", url(&servers.1)), "ok")]).await;
    let second = client.say("up-id").await;
    assert_ne!(first, second);
    for id in [&first, &second] {
        says(&mut client, &[(&format!("up-get {id}"), "ok")]).await;
    }
    says(&mut client, &[("up-get 0123", "none")]).await;
    // Another connection's are not one's own.
    let mut other = host.connect("/websocket").await;
    says(&mut other, &[(&format!("up-get {first}"), "none")]).await;
}

#[tokio::test]
async fn the_options_of_a_connection_reach_the_server() {
    let server = probe().route(|route| route.subprotocols = Some(vec!["b".into()])).start().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let target = format!("ws://{}/websocket?select=b&compression=on", server.address());
    let dial = format!("dial {target} sub=a sub=b header=x-Name:value deflate");
    says(&mut client, &[(&dial, "ok"), ("up-subprotocol", "b")]).await;
    says(
        &mut client,
        &[("up-say header x-name\nup-read", "value"), ("up-say header host\nup-read", &server.authority())],
    )
    .await;
    let offer = "permessage-deflate; client_max_window_bits";
    says(&mut client, &[("up-say header sec-websocket-extensions\nup-read", offer)]).await;
    let long = "x".repeat(50);
    says(&mut client, &[(&format!("up-say say {long}\nup-read"), &long)]).await;
}

#[tokio::test]
async fn a_message_over_the_limit_that_a_handler_asked_for_closes_its_connection() {
    let server = probe().start().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial {} max=100", url(&server)), "ok")]).await;
    says(&mut client, &[("up-write 1 x 101", "wrote 0: limit max-message-bytes")]).await;
    says(&mut client, &[("up-say write 1 x 101\nup-read", "none"), ("up-frame", "none")]).await;
    assert_eq!(server.connection_ends().await, "peer_closed");
}

#[tokio::test]
async fn a_server_that_does_not_answer_a_handlers_pings_is_left() {
    let (address, heard) = sending(Vec::new()).await;
    let limits = |limits: &mut waterspout::Limits| limits.close_timeout = Duration::from_millis(50);
    let host = dialling(&[address]).limits(limits).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("start ws://{address} ping=100"), "ok")]).await;
    assert_eq!(client.recv_text().await, "on-client-event opened");
    assert_eq!(client.recv_text().await, "on-client-event closed none");
    let heard = within("what the server heard", heard).await.expect("it ends");
    assert_eq!(
        (&heard[..2], close_code(&heard[6..])),
        (&[0x89, 0x80][..], 1000),
        "a ping, and a close frame"
    );
}

#[tokio::test]
async fn the_answers_to_a_handlers_pings_are_told() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("start {} ping=20 pong=0", url(&server)), "ok")]).await;
    assert_eq!(client.recv_text().await, "on-client-event opened");
    for _ in 0..3 {
        assert_eq!(client.recv_text().await, "on-client-event pong ");
    }
}

// Waiting.

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

// Where to.

#[tokio::test]
async fn without_a_list_every_destination_is_denied() {
    let server = echo().await;
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    for verb in ["dial", "start"] {
        says(&mut client, &[(&format!("{verb} {}", url(&server)), "denied")]).await;
    }
}

#[tokio::test]
async fn before_open_every_destination_is_denied() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let dial = format!("dial {}", url(&server));
    let mut client = host
        .connect(&crate::witness::target("/websocket", &[("constructor", &dial), ("prepare", &dial)]))
        .await;
    let lines = history(&mut client).await;
    for function in ["constructor", "prepare"] {
        assert!(lines.contains(&format!("1 {function}: {dial} = denied")), "{lines:?}");
    }
}

/// Answers each name with a list of its own, and remembers how often it was asked.
#[derive(Debug, Default)]
struct Names {
    answers: Mutex<Vec<Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

impl Names {
    /// Answers with the first list, then the second, and so on; the last one stays.
    fn of(answers: &[&[SocketAddr]]) -> Arc<Self> {
        let answers = answers.iter().rev().map(|list| list.to_vec()).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolving<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().expect("no panic");
        let answer =
            if answers.len() > 1 { answers.pop().expect("more than one") } else { answers[0].clone() };
        Box::pin(async move { Ok(answer) })
    }
}

#[tokio::test]
async fn a_listed_name_that_leads_to_this_machine_is_denied() {
    let server = echo().await;
    let names = Names::of(&[&[server.address()]]);
    let name = format!("server.example:{}", server.address().port());
    let host = probe().connects_to(std::slice::from_ref(&name)).resolver(names).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial ws://{name}/websocket"), "denied")]).await;
    says(&mut client, &[(&format!("start ws://{name}/websocket"), "ok")]).await;
    assert_eq!(client.recv_text().await, "on-client-event failed denied");
    assert!(server.logs().is_empty());
}

#[tokio::test]
async fn of_a_name_with_a_listed_and_a_forbidden_address_only_the_listed_one_is_dialled() {
    let (listed, forbidden) = (echo().await, echo().await);
    let names = Names::of(&[&[forbidden.address(), listed.address()]]);
    let name = "server.example:80".to_owned();
    let host =
        probe().connects_to(&[name.clone(), listed.address().to_string()]).resolver(names).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial ws://{name}/websocket"), "ok"), ("up-say hello\nup-read", "hello")])
        .await;
    assert!(forbidden.logs().is_empty());
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_dialled() {
    let (listed, forbidden) = (echo().await, echo().await);
    // A name that changes between check and dial, if there were two questions.
    let names = Names::of(&[&[listed.address()], &[forbidden.address()]]);
    let name = "server.example:80".to_owned();
    let host = probe()
        .connects_to(&[name.clone(), listed.address().to_string()])
        .resolver(names.clone())
        .start()
        .await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial ws://{name}/websocket"), "ok")]).await;
    assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    // The second time the name has moved.
    says(&mut client, &[(&format!("dial ws://{name}/websocket"), "denied")]).await;
    assert!(forbidden.logs().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let forbidden = echo().await;
    let server = probe().start().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let target = format!(
        "ws://{}/websocket?prepare=redirect:http://{}/websocket",
        server.address(),
        forbidden.address()
    );
    says(&mut client, &[(&format!("dial {target}"), "http 302")]).await;
    assert!(forbidden.logs().is_empty());
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_named() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let url = url(&server);
    for (command, answer) in [
        ("dial http://example.com".to_owned(), "invalid "),
        ("dial nonsense".to_owned(), "invalid "),
        (format!("dial {url} header=host:example.com"), "protocol the header `host` is the handshake's own"),
        (format!("dial {url} header=a b:c"), "protocol a header cannot be sent"),
        (format!("dial {url} sub="), "protocol `` is no subprotocol"),
    ] {
        // Options stand between spaces.
        let command = command.replace("a b:c", "a\u{e9}:c");
        let said = client.say(&command).await;
        assert!(said.starts_with(answer), "{command}: {said}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_network_error_and_an_answer_that_never_comes_a_timeout() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let silent = listener.local_addr().expect("an address");
    let (_socket, closed) = bound();
    let host = dialling(&[silent, closed]).start().await;
    let mut client = host.connect("/websocket").await;
    let said = client.say(format!("dial ws://{closed}")).await;
    assert!(said.starts_with("network ") && said.contains("nobody listens"), "{said}");
    says(&mut client, &[(&format!("dial ws://{silent} timeout=20"), "timeout")]).await;
}

#[tokio::test]
async fn a_connect_may_take_longer_than_an_event_but_not_where_others_wait_with_it() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let silent = listener.local_addr().expect("an address");
    let limits = |limits: &mut waterspout::Limits| {
        limits.wall_per_event = Duration::from_millis(300);
        limits.shared_wait = Duration::from_millis(50);
    };
    let dial = format!("dial ws://{silent}");
    let host = dialling(&[silent]).limits(limits).start().await;
    let mut client = host.connect("/websocket").await;
    let began = std::time::Instant::now();
    says(&mut client, &[(&format!("{dial} timeout=600"), "timeout"), ("count", "1")]).await;
    assert!(began.elapsed() >= Duration::from_millis(600));
    let host = rooms().connects_to(&[silent.to_string()]).limits(limits).start().await;
    let mut client = host.connect("/rooms/blue").await;
    says(&mut client, &[(&dial, "timeout"), ("count", "1")]).await;
}

// Limits.

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

// Ends.

#[tokio::test]
async fn when_a_handlers_own_connection_ends_so_do_those_that_it_opened() {
    for (open, how) in [("count", "left"), ("timer 1 20", "trapped")] {
        let server = probe().start().await;
        let mut witness = Witness::of(&server).await;
        let host = dialling(&[server.address()]).start().await;
        let target = format!("ws://{}{}", server.address(), reporting(&[]));
        let script = [("open", format!("dial {target}")), ("open", open.into()), ("timer", "trap".into())];
        let script: Vec<(&str, &str)> =
            script.iter().map(|(name, command)| (*name, command.as_str())).collect();
        let client = host.connect(&crate::witness::target("/websocket", &script)).await;
        witness.sees_open().await;
        if how == "left" {
            client.leave().await;
        }
        witness.sees(["1 on-close 1001 going away", "1 drop"]).await;
    }
}

#[tokio::test]
async fn dropping_a_handle_closes_nothing() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let dial = format!("dial {}", url(&server));
    says(&mut client, &[(&dial, "ok")]).await;
    let id = client.say("up-id").await;
    says(&mut client, &[("up-forget", "ok"), (&format!("up-get {id}"), "ok")]).await;
}

#[tokio::test]
async fn a_host_that_goes_away_says_so_to_the_servers_of_its_handlers() {
    let server = probe().start().await;
    let mut witness = Witness::of(&server).await;
    let mut host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial ws://{}{}", server.address(), reporting(&[])), "ok")]).await;
    witness.sees_open().await;
    host.shut_down();
    assert_eq!(client.recv_close().await.0, 1001);
    client.ends().await;
    assert_eq!(host.gone().await, 0);
    assert!(witness.line().await.starts_with("1 on-close 1001"));
}

// A proxy.

async fn proxy(server: SocketAddr, path: &str) -> TestHost {
    let upstream = format!("ws://{server}{path}");
    TestHost::new(Guest::named("proxy"))
        .connects_to(&[server.to_string()])
        .route(|route| route.config = [("upstream".to_owned(), upstream)].into())
        .start()
        .await
}

#[tokio::test]
async fn a_proxy_passes_on_both_ways_and_closes_the_other_side_with_the_same_code() {
    let server = probe().start().await;
    let host = proxy(server.address(), "/websocket").await;
    // The peer closes.
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("say hello").await, "hello");
    client.send_binary([1, 2, 3]).await;
    assert_eq!(client.recv_binary().await, [1, 2, 3]);
    client.close(4001, "enough").await;
    assert_eq!(client.recv_close().await, (4001, "enough".into()));
    assert_eq!(server.connection_ends().await, "peer_closed");
    // The server closes, after a last word.
    let mut client = host.connect("/websocket").await;
    client.send_text("say last words\nclose 4002 go away").await;
    assert_eq!(client.recv_text().await, "last words");
    assert_eq!(client.recv_close().await, (4002, "go away".into()));
    client.ends().await;
}

#[tokio::test]
async fn a_proxy_whose_server_cannot_be_reached_says_so() {
    let (_socket, gone) = bound();
    let host = proxy(gone, "/websocket").await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.recv_close().await, (1011, "the server cannot be reached".into()));
    host.guest_prints("no connection to the server").await;
}

#[tokio::test]
async fn a_proxy_under_load_loses_nothing_and_keeps_the_order() {
    let server = echo().await;
    let host = proxy(server.address(), "/websocket").await;
    const MESSAGES: usize = 300;
    let mut tasks = tokio::task::JoinSet::new();
    for peer in 0..8 {
        let mut client = host.connect("/websocket").await;
        tasks.spawn(async move {
            let text = |number: usize| format!("{peer} {number} {}", "x".repeat(number % 3_000));
            let mut received = 0;
            for number in 0..MESSAGES {
                client.send_text(text(number)).await;
                // So many are on their way at once.
                if number >= 100 {
                    assert_eq!(client.recv_text().await, text(received));
                    received += 1;
                }
            }
            while received < MESSAGES {
                assert_eq!(client.recv_text().await, text(received));
                received += 1;
            }
            client.leave().await;
        });
    }
    while let Some(ended) = within("all peers", tasks.join_next()).await {
        ended.expect("no peer fails");
    }
}

#[tokio::test]
async fn a_proxy_under_load_passes_on_a_close_from_the_servers_side_too() {
    let server = probe().start().await;
    let target = crate::witness::target(
        "/websocket",
        &[("message", "echo"), ("open", "timer 1 300"), ("timer", "close 4002 enough")],
    );
    let host = proxy(server.address(), &target).await;
    let mut tasks = tokio::task::JoinSet::new();
    for peer in 0..4 {
        let mut client = host.connect("/websocket").await;
        tasks.spawn(async move {
            let text = |number: usize| format!("{peer} {number} {}", "x".repeat(number % 500));
            for number in 0.. {
                client.send_text(text(number)).await;
                match client.recv().await {
                    Message::Text(echo) => assert_eq!(echo.as_str(), text(number)),
                    Message::Close(frame) => return u16::from(frame.expect("a code").code),
                    other => panic!("{other:?}"),
                }
            }
            unreachable!("it ends with the close")
        });
    }
    while let Some(code) = within("all peers", tasks.join_next()).await {
        assert_eq!(code.expect("no peer fails"), 4002);
    }
}

/// A proxy with small queues to a server that sends so many messages of 64 KiB at once.
async fn proxied_flood(messages: u32) -> (TestHost, TestHost) {
    let server = probe().start().await;
    let target = crate::witness::target("/websocket", &[("open", &format!("write {messages} x 64KiB"))]);
    let upstream = format!("ws://{}{target}", server.address());
    let host = TestHost::new(Guest::named("proxy"))
        .connects_to(&[server.address().to_string()])
        .route(|route| route.config = [("upstream".to_owned(), upstream)].into())
        .limits(|limits| {
            limits.max_message_bytes = 1 << 20;
            limits.max_queue_bytes = 1 << 20;
        })
        .start()
        .await;
    (server, host)
}

#[tokio::test]
async fn a_proxy_keeps_what_a_slow_peer_does_not_take_yet() {
    let (_server, host) = proxied_flood(60).await;
    let (_, mut raw) = host.request("/websocket").receive_buffer(64 << 10).upgrade().await;
    for _ in 0..60 {
        assert_eq!(raw.frame().await.payload.len(), 64 << 10);
    }
}

#[tokio::test]
async fn a_proxy_gives_up_a_peer_that_is_much_too_slow() {
    let (server, host) = proxied_flood(200).await;
    let (_, raw) = host.request("/websocket").receive_buffer(64 << 10).upgrade().await;
    assert_eq!(server.connection_ends().await, "peer_closed");
    host.logged("the end", |record| record.message == "closed").await;
    drop(raw);
}
