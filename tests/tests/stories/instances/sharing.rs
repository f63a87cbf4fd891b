//! Who shares an instance with whom, and what handlers of one do to each other's connections.

use std::collections::BTreeSet;

use waterspout_tests::{Client, within};

use crate::probe::{history, probe, read_until, rooms};

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
