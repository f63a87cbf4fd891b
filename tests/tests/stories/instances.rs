//! What connections share: instances by connection, by route and by path captures; their beginnings, their ends, their bounds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_tungstenite::tungstenite::Error;
use waterspout::{Limits, Runtime, RuntimeOptions};
use waterspout_tests::{Client, TestHost, within};

use crate::probe::{history, probe, read_until, rooms};

const FOR_EVER: Duration = Duration::from_secs(3600);

/// The instance has gone: it had begun a line (`print-part`) that its end completes.
const LAST_WORDS: &str = "last words";

/// Connects, and lets the instance say when it ends.
async fn mortal(host: &TestHost, path: &str) -> Client {
    let mut client = host.connect(path).await;
    assert_eq!(client.say(format!("print-part {LAST_WORDS}")).await, "ok");
    client
}

/// The answer to a handshake that finds no room.
async fn is_full(host: &TestHost, path: &str) {
    let answer = host.request(path).answer().await;
    assert_eq!((answer.status, answer.text()), (503, "The server is full."), "{answer:?}");
    let seconds = answer.header("retry-after").expect("a Retry-After header");
    assert!(seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{seconds}");
}

/// Connects as soon as there is room: what has ended for its client still has to be taken apart.
async fn connect_when_there_is_room(host: &TestHost, path: &str) -> Client {
    within("room for an instance", async {
        loop {
            match host.try_connect(path, &[]).await {
                Ok(client) => break client,
                Err(Error::Http(answer)) => assert_eq!(answer.status(), 503),
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

/// Asks until this is the answer.
async fn asked_until(client: &mut Client, question: &str, answer: serde_json::Value) {
    within("the answer to change", async {
        loop {
            client.send_text(question).await;
            if client.recv_json().await == answer {
                break;
            }
        }
    })
    .await;
}

// Memory.

#[tokio::test]
async fn by_default_no_connection_sees_anothers_memory() {
    let host = probe().start().await;
    let (mut one, mut two) = (host.connect("/websocket").await, host.connect("/websocket").await);
    assert_eq!(one.say("count").await, "1");
    assert_eq!(one.say("count").await, "2");
    assert_eq!(two.say("count").await, "1");
    assert_eq!(two.say("peers").await, two.say("id").await);
}

#[tokio::test]
async fn one_instance_serves_all_of_a_route() {
    let host = probe().path("/rooms/{room}").instance("route").start().await;
    let (mut one, mut two) = (host.connect("/rooms/blue").await, host.connect("/rooms/red").await);
    assert_eq!(one.say("count").await, "1");
    assert_eq!(two.say("count").await, "2");
    let ids = BTreeSet::from([one.say("id").await, two.say("id").await]);
    assert_eq!(one.say("peers").await.split(' ').map(String::from).collect::<BTreeSet<_>>(), ids);
    assert_eq!(history(&mut two).await[0], "1 constructor");
}

#[tokio::test]
async fn two_routes_of_one_guest_share_nothing() {
    let host = probe()
        .path("/one")
        .instance("route")
        .and_route(waterspout_tests::Guest::named("probe"), "/two")
        .instance("route")
        .start()
        .await;
    let (mut one, mut two) = (host.connect("/one").await, host.connect("/two").await);
    assert_eq!(one.say("count").await, "1");
    assert_eq!(two.say("count").await, "1");
}

#[tokio::test]
async fn each_room_has_an_instance_that_its_connections_share() {
    let host = rooms().start().await;
    let mut blue = host.connect("/rooms/blue").await;
    let mut also_blue = host.connect("/rooms/blue").await;
    let mut red = host.connect("/rooms/red").await;
    assert_eq!(blue.say("count").await, "1");
    assert_eq!(also_blue.say("count").await, "2");
    assert_eq!(red.say("count").await, "1");
}

#[tokio::test]
async fn a_room_is_the_same_however_its_name_is_encoded() {
    let host = rooms().start().await;
    let mut plain = host.connect("/rooms/caf%C3%A9").await;
    let mut encoded = host.connect("/rooms/%63af%c3%a9").await;
    assert_eq!(plain.say("count").await, "1");
    assert_eq!(encoded.say("count").await, "2");
}

#[tokio::test]
async fn keys_of_several_captures_do_not_run_into_each_other() {
    let host = probe().path("/{game}/{table}").instance("{game}-{table}").start().await;
    let mut one = host.connect("/x-y/z").await;
    let mut other = host.connect("/x/y-z").await;
    let mut same = host.connect("/x/y-%7a").await;
    assert_eq!(one.say("count").await, "1");
    assert_eq!(other.say("count").await, "1");
    assert_eq!(same.say("count").await, "2");
}

#[tokio::test]
async fn a_key_of_128_bytes_finds_an_instance_and_a_longer_one_is_404() {
    let host = rooms().start().await;
    for name in ["k".repeat(128), "%C3%A9".repeat(64)] {
        let mut client = host.connect(&format!("/rooms/{name}")).await;
        assert_eq!(client.say("count").await, "1");
    }
    for name in ["k".repeat(129), "%C3%A9".repeat(64) + "k"] {
        let answer = host.request(&format!("/rooms/{name}")).answer().await;
        assert_eq!((answer.status, answer.text()), (404, "Not Found"));
    }
}

#[tokio::test]
async fn a_capture_that_matched_nothing_names_no_instance() {
    let host = probe().path("^/rooms/(?P<room>[a-z]+)?").instance("{room}").start().await;
    assert_eq!(host.request("/rooms/").answer().await.status, 404);
    assert_eq!(host.connect("/rooms/blue").await.say("count").await, "1");
}

// Beginnings and ends.

#[tokio::test]
async fn many_at_once_find_the_same_instance() {
    const CONNECTIONS: u32 = 40;
    let host = Arc::new(rooms().start().await);
    let mut counts = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let host = host.clone();
        counts.spawn(async move {
            let mut client = host.connect("/rooms/blue").await;
            let count: u32 = client.say("count").await.parse().expect("a number");
            (client, count)
        });
    }
    let all = within("all connections", counts.join_all()).await;
    let mut counts: Vec<u32> = all.iter().map(|(_, count)| *count).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=CONNECTIONS).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_key_has_one_live_instance_while_others_come_and_go() {
    let host = Arc::new(rooms().limits(|limits| limits.linger = Duration::ZERO).start().await);
    let mut stays = host.connect("/rooms/blue").await;
    let mut visits = tokio::task::JoinSet::new();
    for visitor in 0..4 {
        let host = host.clone();
        visits.spawn(async move {
            for visit in 0..25 {
                let mut client = host.connect("/rooms/blue").await;
                client.say("count").await;
                if (visitor + visit) % 2 == 0 { client.leave().await } else { client.reset() }
            }
        });
    }
    within("all visits", visits.join_all()).await;
    assert_eq!(stays.say("count").await, "101");
}

#[tokio::test]
async fn an_instance_lingers_after_its_last_connection() {
    let host = rooms().limits(|limits| limits.linger = FOR_EVER).start().await;
    for visit in 1..=3 {
        let mut client = host.connect("/rooms/blue").await;
        assert_eq!(client.say("count").await, visit.to_string());
        client.leave().await;
    }
}

#[tokio::test]
async fn an_instance_ends_when_it_has_lingered() {
    let host = rooms().limits(|limits| limits.linger = Duration::from_millis(10)).start().await;
    let mut client = mortal(&host, "/rooms/blue").await;
    assert_eq!(client.say("count").await, "1");
    client.leave().await;
    host.guest_prints(LAST_WORDS).await;
    assert_eq!(host.connect("/rooms/blue").await.say("count").await, "1");
}

#[tokio::test]
async fn an_instance_does_not_end_before_its_last_connection() {
    let host = rooms().limits(|limits| limits.linger = Duration::ZERO).start().await;
    let mut stays = mortal(&host, "/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    host.connect("/rooms/blue").await.leave().await;
    read_until(&mut stays, "history 2 drop").await;
    assert_eq!(stays.say("count").await, "1");
    assert_eq!(host.printed(), [""; 0]);
}

#[tokio::test]
async fn an_instance_that_nobody_entered_ends_at_once() {
    let host = rooms().limits(|limits| limits.linger = FOR_EVER).start().await;
    let refused =
        format!("/rooms/blue?prepare=print-part+{}&prepare=status:403", LAST_WORDS.replace(' ', "+"));
    assert_eq!(host.request(&refused).answer().await.status, 403);
    host.guest_prints(LAST_WORDS).await;
    let mut client = host.connect("/rooms/blue").await;
    assert_eq!(history(&mut client).await[0..2], ["1 constructor", "1 prepare"]);
}

#[tokio::test]
async fn who_is_refused_leaves_the_instance_to_those_in_it() {
    let host = rooms().start().await;
    let mut inside = host.connect("/rooms/blue").await;
    assert_eq!(inside.say("watch").await, "ok");
    assert_eq!(host.request("/rooms/blue?prepare=status:403").answer().await.status, 403);
    read_until(&mut inside, "history 2 drop").await;
    let lines = history(&mut inside).await;
    assert!(!lines.iter().any(|line| line.contains("2 open") || line.contains("2 on-close")), "{lines:?}");
    assert_eq!(inside.say("count").await, "1");
}

// Failures.

#[tokio::test]
async fn a_trap_ends_every_connection_of_its_instance_and_nothing_else() {
    let host = rooms().start().await;
    let mut other = host.connect("/rooms/red").await;
    assert_eq!(other.say("subscribe blue").await, "ok");
    let mut one = host.connect("/rooms/blue").await;
    let mut two = host.connect("/rooms/blue?report=blue").await;
    for (client, count) in [(&mut one, "1"), (&mut two, "2")] {
        // It has opened: the client may know of its 101 earlier.
        assert_eq!(client.say("count").await, count);
    }

    one.send_text("trap").await;
    for client in [&mut one, &mut two] {
        assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
        client.ends().await;
    }
    // Newcomers get an instance that remembers nothing.
    let mut newcomer = host.connect("/rooms/blue").await;
    assert_eq!(newcomer.say("count").await, "1");
    assert_eq!(history(&mut newcomer).await[0], "1 constructor");

    // Nobody asked the dead instance for its on-close.
    other.send_text("count").await;
    let reported = read_until(&mut other, "1").await;
    assert!(reported.contains(&"2 open".to_owned()), "{reported:?}");
    assert!(!reported.iter().any(|line| line.contains("on-close") || line.contains("drop")), "{reported:?}");
}

#[tokio::test]
async fn a_trap_is_logged_with_its_call_and_its_place() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    let id = client.say("id").await;
    client.send_text("trap").await;
    assert_eq!(client.recv_close().await.0, 1011);
    let record = host.logged("the trap", |record| record.message == "the handler trapped").await;
    assert_eq!(
        (record.field("call"), record.field("connection"), record.field("route")),
        ("on-message", id.as_str(), "test")
    );
    assert!(record.field("at").contains("probe"), "{record}");
    assert!(record.field("cause").contains("unreachable"), "{record}");
}

#[tokio::test]
async fn without_sharing_a_trap_ends_one_connection() {
    let host = probe().start().await;
    let (mut one, mut two) = (host.connect("/websocket").await, host.connect("/websocket").await);
    one.send_text("trap").await;
    assert_eq!(one.recv_close().await.0, 1011);
    assert_eq!(two.say("count").await, "1");
}

#[tokio::test]
async fn a_trap_in_a_newcomers_handshake_ends_the_instance_it_came_to() {
    for call in ["constructor", "prepare", "select", "compression"] {
        let host = rooms().start().await;
        let mut inside = host.connect("/rooms/blue").await;
        assert_eq!(inside.say("count").await, "1");
        let answer = host.request(&format!("/rooms/blue?{call}=trap")).answer().await;
        assert_eq!((answer.status, answer.text()), (500, "The handler failed."), "{call}");
        assert_eq!(inside.recv_close().await, (1011, "handler failed".into()), "{call}");
        assert_eq!(host.connect("/rooms/blue").await.say("count").await, "1", "{call}");
    }
}

#[tokio::test]
async fn calls_that_waited_behind_a_trap_end_with_their_connections() {
    let host = rooms().start().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(host.connect("/rooms/blue").await);
    }
    for client in &mut clients {
        client.send_text("trap").await;
    }
    for client in &mut clients {
        assert_eq!(client.recv_close().await, (1011, "handler failed".into()));
        client.ends().await;
    }
}

// Bounds.

#[tokio::test]
async fn a_route_has_at_most_max_instances() {
    let host = rooms()
        .limits(|limits| {
            limits.max_instances = 2;
            limits.linger = Duration::ZERO;
        })
        .start()
        .await;
    let mut blue = host.connect("/rooms/blue").await;
    let mut red = host.connect("/rooms/red").await;
    is_full(&host, "/rooms/green").await;
    // There is room where an instance lives.
    assert_eq!(host.connect("/rooms/red").await.say("count").await, "1");
    assert_eq!(blue.say("count").await, "1");

    blue.leave().await;
    assert_eq!(connect_when_there_is_room(&host, "/rooms/green").await.say("count").await, "1");
    assert_eq!(red.say("count").await, "2");
}

#[tokio::test]
async fn max_instances_counts_instances_of_single_connections_too() {
    let host = probe().limits(|limits| limits.max_instances = 1).start().await;
    let mut first = host.connect("/websocket").await;
    is_full(&host, "/websocket").await;
    assert_eq!(first.say("count").await, "1");
    first.leave().await;
    assert_eq!(connect_when_there_is_room(&host, "/websocket").await.say("count").await, "1");
}

#[tokio::test]
async fn all_routes_together_have_the_runtimes_instances() {
    let limits = Limits::default();
    let options = RuntimeOptions { max_instances: 2, ..RuntimeOptions::default() };
    let runtime = Runtime::new(&options, [&limits]).expect("address space for two instances");
    let host = probe()
        .path("/one")
        .and_route(waterspout_tests::Guest::named("probe"), "/rooms/{room}")
        .instance("{room}")
        .limits(|limits| limits.linger = Duration::ZERO)
        .runtime(Arc::new(runtime))
        .start()
        .await;
    let mut one = host.connect("/one").await;
    let mut blue = host.connect("/rooms/blue").await;
    is_full(&host, "/one").await;
    is_full(&host, "/rooms/red").await;
    assert_eq!(one.say("count").await, "1");
    one.leave().await;
    assert_eq!(connect_when_there_is_room(&host, "/rooms/red").await.say("count").await, "1");
    assert_eq!(blue.say("count").await, "1");
}

#[tokio::test]
async fn a_shared_instance_has_at_most_max_connections_per_instance() {
    let host = rooms().limits(|limits| limits.max_connections_per_instance = 2).start().await;
    let mut one = host.connect("/rooms/blue").await;
    let two = host.connect("/rooms/blue").await;
    is_full(&host, "/rooms/blue").await;
    assert_eq!(host.connect("/rooms/red").await.say("count").await, "1");

    two.leave().await;
    assert_eq!(connect_when_there_is_room(&host, "/rooms/blue").await.say("count").await, "1");
    assert_eq!(one.say("count").await, "2");
}

// Turns.

#[tokio::test]
async fn a_connection_that_floods_its_instance_does_not_keep_another_from_its_turn() {
    let host = rooms().start().await;
    let mut blocks = host.connect("/rooms/blue").await;
    let mut floods = host.connect("/rooms/blue").await;
    let mut waits = host.connect("/rooms/blue").await;
    for client in [&mut floods, &mut waits] {
        // It has opened: the client may know of its 101 earlier.
        client.say("id").await;
    }

    // The instance waits until `blocks` reads; what the others want queues up. Their pongs say that the host has read it.
    blocks.send_text("say begun\nwrite 100000 x 64KiB\nflush").await;
    assert_eq!(blocks.recv_text().await, "begun");
    for (client, messages) in [(&mut floods, 100), (&mut waits, 1)] {
        for _ in 0..messages {
            client.send_text("peers").await;
        }
        client.ping("read").await;
        assert!(client.recv().await.is_pong());
    }
    read_until(&mut blocks, "ok").await;
    assert_eq!(waits.recv_text().await.split(' ').count(), 3);
    assert_eq!(waits.recv_text().await, "on-ping read");

    let lines = history(&mut waits).await;
    let position = |wanted: &str| lines.iter().position(|line| line == wanted).expect(wanted);
    let asked = position("3 on-message text peers");
    let before =
        lines[position("2 open")..asked].iter().filter(|line| *line == "2 on-message text peers").count();
    assert!(before <= 1, "{before} messages of the flood went before: {lines:?}");
    let after = lines[asked..].iter().filter(|line| *line == "2 on-message text peers").count();
    assert!(after > 0, "the flood was over already: {lines:?}");
}

#[tokio::test]
async fn a_connection_that_vanishes_within_an_event_leaves_the_instance_to_the_others() {
    let host = rooms().start().await;
    let mut stays = host.connect("/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    let mut vanishes = host.connect("/rooms/blue?ping=fill+64KiB&close=say+hello").await;
    vanishes.ping("").await;
    assert!(vanishes.recv().await.is_pong());
    // The pong leaves before the event begins; what the event writes does not.
    assert_eq!(vanishes.recv_text().await.len(), 64 << 10);
    vanishes.reset();
    let lines = read_until(&mut stays, "history 2 drop").await;
    // The event that ran learnt that its connection was closed, and so did on-close.
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("history 2 ping: fill 64KiB = filled")).count(),
        1,
        "{lines:?}"
    );
    assert!(lines.iter().any(|line| line.ends_with(": closed")), "{lines:?}");
    let end = lines.iter().position(|line| line == "history 2 on-close none").expect("on-close");
    assert_eq!(lines[end + 1..], ["history 2 close: say hello = closed"]);
    assert_eq!(stays.say("count").await, "1");
}

#[tokio::test]
async fn a_connection_of_its_own_that_vanishes_within_an_event_is_told() {
    let host = probe().start().await;
    let mut observer = host.connect("/websocket").await;
    assert_eq!(observer.say("subscribe events").await, "ok");
    let mut vanishes = host.connect("/websocket?report=events&ping=fill+64KiB").await;
    vanishes.ping("").await;
    assert!(vanishes.recv().await.is_pong());
    vanishes.reset();
    let lines = read_until(&mut observer, "1 drop").await;
    let last: Vec<_> = lines.iter().rev().take(2).map(String::as_str).collect();
    assert_eq!(last[0], "1 on-close none");
    assert!(last[1].starts_with("1 ping: fill 64KiB = filled") && last[1].ends_with(": closed"), "{lines:?}");
}

// What handlers of one instance do to each other's connections.

#[tokio::test]
async fn handlers_write_to_each_others_connections() {
    let host = rooms().start().await;
    let (mut one, mut two) = (host.connect("/rooms/blue").await, host.connect("/rooms/blue").await);
    let id = two.say("id").await;
    assert_eq!(one.say(format!("write-to {id} from one")).await, "ok");
    assert_eq!(two.recv_text().await, "from one");
    assert_eq!(one.say(format!("close-peer {id} 4001 from one")).await, "ok");
    assert_eq!(two.recv_close().await, (4001, "from one".into()));
    assert_eq!(one.say(format!("write-to {id} too late")).await, "closed");
}

#[tokio::test]
async fn an_ended_connection_still_answers_what_it_was() {
    let host = rooms().start().await;
    let mut stays = host.connect("/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    let mut leaves =
        host.connect_with("/rooms/blue?select=v2", &[("sec-websocket-protocol", "v1, v2")]).await;
    let id = leaves.say("id").await;
    read_until(&mut stays, "history 2 on-message text id").await;
    let ask = format!("ask {id}");
    let answer = |uri: &str| serde_json::json!({ "id": id, "subprotocol": "v2", "buffered": 0, "uri": uri });
    // What is buffered counts until the host has noticed that it is gone.
    asked_until(&mut stays, &ask, answer("/rooms/blue?select=v2")).await;

    // Its on-close and its destructor have run; then the host lets go of the rest.
    leaves.leave().await;
    read_until(&mut stays, "history 2 drop").await;
    asked_until(&mut stays, &ask, answer("")).await;
    assert_eq!(stays.say(format!("write-to {id} late")).await, "closed");
    assert_eq!(stays.say(format!("close-peer {id} 1000")).await, "closed");
    assert_eq!(stays.say("peers").await, stays.say("id").await);
}

// Topics.

#[tokio::test]
async fn what_is_published_reaches_subscribers_in_every_instance_the_publisher_among_them() {
    let host = probe().start().await;
    let mut one = host.connect("/websocket").await;
    let mut two = host.connect("/websocket").await;
    let mut stranger = host.connect("/websocket").await;
    assert_eq!(one.say("subscribe news").await, "ok");
    assert_eq!(two.say("subscribe news").await, "ok");
    assert_eq!(stranger.say("subscribe other").await, "ok");
    // It is in the publisher's own queue before the call returns.
    assert_eq!(one.say("publish news it rains").await, "it rains");
    assert_eq!(one.recv_text().await, "ok");
    assert_eq!(two.recv_text().await, "it rains");
    assert_eq!(stranger.say("publish news it pours").await, "ok");
    assert_eq!(one.recv_text().await, "it pours");
    assert_eq!(two.recv_text().await, "it pours");
}

#[tokio::test]
async fn what_is_published_reaches_each_connection_of_a_shared_instance_that_subscribed() {
    let host = rooms().start().await;
    let mut one = host.connect("/rooms/blue").await;
    let mut two = host.connect("/rooms/blue").await;
    let mut red = host.connect("/rooms/red").await;
    assert_eq!(one.say("subscribe news").await, "ok");
    assert_eq!(red.say("subscribe news").await, "ok");
    assert_eq!(two.say("publish news it rains").await, "ok");
    assert_eq!(one.recv_text().await, "it rains");
    assert_eq!(red.recv_text().await, "it rains");
    assert_eq!(two.say("count").await, "1");
}

#[tokio::test]
async fn a_second_subscription_changes_nothing_and_one_unsubscription_ends_it() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("subscribe news").await, "ok");
    assert_eq!(client.say("subscribe news").await, "ok");
    client.send_text("publish news once\nunsubscribe news\npublish news never").await;
    for expected in ["once", "ok", "ok", "ok"] {
        assert_eq!(client.recv_text().await, expected);
    }
    assert_eq!(client.say("unsubscribe never-subscribed").await, "ok");
}

#[tokio::test]
async fn messages_published_by_one_arrive_in_order() {
    let host = probe().start().await;
    let mut subscriber = host.connect("/websocket").await;
    let mut publisher = host.connect("/websocket").await;
    assert_eq!(subscriber.say("subscribe news").await, "ok");
    let lines: Vec<_> = (0..500).map(|index| format!("publish news {index}")).collect();
    publisher.send_text(lines.join("\n")).await;
    for index in 0..500 {
        assert_eq!(subscriber.recv_text().await, index.to_string());
    }
}

// Timers.

#[tokio::test]
async fn a_timer_rings_once_with_its_token() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("timer 7 0\ntimer 8 30").await;
    for expected in ["ok", "ok", "on-timer 7", "on-timer 8"] {
        assert_eq!(client.recv_text().await, expected);
    }
    assert_eq!(client.say("count").await, "1");
    let lines = history(&mut client).await;
    assert_eq!(lines.iter().filter(|line| line.contains("on-timer")).count(), 2, "{lines:?}");
}

#[tokio::test]
async fn timers_ring_in_the_order_of_their_times() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("timer 1 90\ntimer 2 60\ntimer 3 30").await;
    for expected in ["ok", "ok", "ok", "on-timer 3", "on-timer 2", "on-timer 1"] {
        assert_eq!(client.recv_text().await, expected);
    }
}

#[tokio::test]
async fn a_timer_with_the_same_token_replaces_the_earlier_one() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    // Replaced by a sooner one, and by a later one.
    client.send_text("timer 1 3600000\ntimer 1 1\ntimer 2 1\ntimer 2 3600000\ntimer 3 50").await;
    for expected in ["ok", "ok", "ok", "ok", "ok", "on-timer 1", "on-timer 3"] {
        assert_eq!(client.recv_text().await, expected);
    }
}

#[tokio::test]
async fn a_cleared_timer_does_not_ring() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    client.send_text("timer 1 5\nclear-timer 1\nclear-timer 99\ntimer 2 50").await;
    for expected in ["ok", "ok", "ok", "ok", "on-timer 2"] {
        assert_eq!(client.recv_text().await, expected);
    }
}

#[tokio::test]
async fn a_timer_can_be_set_again_as_it_rings() {
    let host = probe().start().await;
    let mut client = host.connect("/websocket?timer=say+tick&timer=timer:1+1&open=timer:1+0").await;
    for _ in 0..5 {
        assert_eq!(client.recv_text().await, "tick");
    }
}

#[tokio::test]
async fn timers_of_a_shared_instance_belong_to_their_connections() {
    let host = rooms().start().await;
    let mut one = host.connect("/rooms/blue").await;
    let mut two = host.connect("/rooms/blue").await;
    assert_eq!(one.say("timer 1 30").await, "ok");
    assert_eq!(two.say("timer 1 3600000").await, "ok");
    assert_eq!(one.recv_text().await, "on-timer 1");
    assert_eq!(two.say("clear-timer 1").await, "ok");
}

#[tokio::test]
async fn a_timer_does_not_ring_after_its_connection_has_ended() {
    let host = rooms().start().await;
    let mut stays = host.connect("/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    let mut leaves = host.connect("/rooms/blue").await;
    assert_eq!(leaves.say("timer 1 100").await, "ok");
    leaves.leave().await;
    read_until(&mut stays, "history 2 drop").await;
    assert_eq!(stays.say("timer 2 200").await, "ok");
    assert_eq!(stays.recv_text().await, "on-timer 2");
}

// Order.

#[tokio::test]
async fn no_message_comes_before_open_has_returned() {
    let host = rooms().start().await;
    let mut stays = host.connect("/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    // While its open waits, the instance serves nobody, and messages that came already queue.
    let mut client = host.connect("/rooms/blue?open=sleep+200").await;
    client.send_text("count").await;
    assert_eq!(client.recv_text().await, "1");
    let lines = read_until(&mut stays, "history 2 on-message text count").await;
    assert_eq!(lines.last().map(String::as_str), Some("history 2 open: sleep 200 = ok"));
}

#[tokio::test]
async fn a_life_is_told_in_order() {
    let host = rooms().start().await;
    let mut stays = host.connect("/rooms/blue").await;
    assert_eq!(stays.say("watch").await, "ok");
    let mut client = host
        .connect_with(
            "/rooms/blue?select=v2",
            &[("origin", &host.origin()), ("sec-websocket-protocol", "v1, v2")],
        )
        .await;
    assert_eq!(client.subprotocol(), Some("v2"));
    assert_eq!(client.say("id").await.len(), 32);
    client.leave().await;
    let lines = read_until(&mut stays, "history 2 drop").await;
    let origin = format!("history 2 check-origin {}", host.origin());
    assert_eq!(
        lines,
        [
            "history 2 constructor",
            "history 2 prepare",
            &origin,
            "history 2 select-subprotocol v1,v2",
            "history 2 get-compression-options",
            "history 2 open",
            "history 2 on-message text id",
            "history 2 on-close 1000",
        ]
    );
}
