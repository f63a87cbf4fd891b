//! What a handler, and what connections share, keep over a swap: here from one instance of the same component to another.

use serde_json::json;
use waterspout_tests::{Client, Guest, TestHost};

use super::Language;

/// The same component, deployed again.
async fn swapped(host: &TestHost, language: Language) {
    let report = host.swap(&language.guest(), None).await.expect("a swap");
    assert_eq!((report.moved, report.failed), (report.connections, 0), "{report:?}");
}

pub(super) async fn a_handlers_state_survives_a_swap(language: Language) {
    let host = language.host().start().await;
    let (mut one, mut other) = (host.connect("/counter").await, host.connect("/counter").await);
    assert_eq!(one.say("a").await, "1");
    assert_eq!(one.say("b").await, "2");
    assert_eq!(other.say("c").await, "1");
    swapped(&host, language).await;
    assert_eq!(one.say("d").await, "3");
    swapped(&host, language).await;
    assert_eq!(other.say("e").await, "2");
}

pub(super) async fn values_of_every_kind_survive_a_swap(language: Language) {
    let host = language.host().start().await;
    let (mut one, mut other) = (host.connect("/keep").await, host.connect("/keep").await);
    let of_one = json!({
        "text": "grüß \"dich\" \0 🌍", "bytes": [0, 255, 10], "number": 0.1, "list": [true, null, false],
        "map": {"a": {"b": 7}, "ä": {"c": -1}}, "set": ["a", "b", "ü"],
    });
    let of_other = json!({"text": "", "bytes": [], "number": -2.5, "list": [], "map": {}, "set": []});
    for (client, values) in [(&mut one, &of_one), (&mut other, &of_other)] {
        client.send_text(format!("set {values}")).await;
    }
    for turn in 0..3 {
        for (client, values) in [(&mut one, &of_one), (&mut other, &of_other)] {
            client.send_text("check").await;
            assert_eq!(client.recv_json().await, *values, "after {turn} swaps");
        }
        swapped(&host, language).await;
    }
}

pub(super) async fn upstream_connections_go_over_a_swap(language: Language) {
    let server = TestHost::new(Guest::Echo).start().await;
    let host = language.host().connects_to(&[server.authority()]).start().await;
    let asking = json!({"url": format!("ws://{}/websocket", server.authority())}).to_string();
    let (mut told, mut reading) = (host.connect("/start").await, host.connect("/connect").await);
    assert_eq!(told.say(asking.as_str()).await, "opened");
    assert_eq!(reading.say(asking.as_str()).await, "connected none");
    reading.send_text("send before").await;
    reading.send_text("flush").await;
    for turn in ["once", "twice"] {
        swapped(&host, language).await;
        assert_eq!(told.say(format!("send {turn}")).await, format!("text {turn}"));
        assert_eq!(told.say("ping there?").await, "pong there?");
        assert_eq!(reading.say("id").await, "same");
    }
    // What came for the old version is read by the new one.
    assert_eq!(reading.say("read").await, "text before");
    assert_eq!(told.say("close 4004 enough").await, "closed 4004 enough");
    reading.send_text("close 4003 enough").await;
    assert_eq!(reading.say("read").await, "end 4003 enough");
}

pub(super) async fn a_state_may_be_refused(language: Language) {
    let host = language.host().start().await;
    let mut client = host.connect("/refuse").await;
    let outcome = host.swap(&language.guest(), None).await;
    let told = format!("{outcome:?} {:?}", host.logs());
    assert!(told.contains("not this state"), "{told}");
    // It goes on where it was.
    assert_eq!(client.say("still here").await, "still here");
}

/// Two in one room, which has counted two lines: each has said one, and so has come in.
async fn two_in_a_room(host: &TestHost) -> (Client, Client) {
    let mut one = host.connect("/a/room").await;
    assert_eq!(one.say("hello").await, "1 hello");
    let mut two = host.connect("/a/room").await;
    assert_eq!(two.say("hello, too").await, "2 hello, too");
    assert_eq!(one.recv_text().await, "2 hello, too");
    (one, two)
}

pub(super) async fn shared_state(language: Language) {
    let host = language.host().path("/{name}/{feature}").instance("{name}").start().await;
    let (mut one, mut two) = two_in_a_room(&host).await;
    let mut elsewhere = host.connect("/b/room").await;
    assert_eq!(elsewhere.say("alone").await, "1 alone");
    swapped(&host, language).await;
    assert_eq!(two.say("again").await, "3 again");
    assert_eq!(one.recv_text().await, "3 again");
    assert_eq!(elsewhere.say("alone").await, "2 alone");
}

pub(super) async fn shared_state_may_be_refused(language: Language) {
    for method in ["suspend", "resume"] {
        let host = language.host().path("/{name}/{feature}").instance("{name}").start().await;
        let (mut one, mut two) = two_in_a_room(&host).await;
        one.send_text(format!("refuse {method}")).await;
        assert_eq!(one.say("not us").await, "3 not us");
        assert_eq!(two.recv_text().await, "3 not us");
        let outcome = host.swap(&language.guest(), None).await;
        let told = format!("{outcome:?} {:?}", host.logs());
        match (method, outcome) {
            // The instance stays until its connections have left.
            ("suspend", Ok(report)) => assert_eq!((report.moved, report.unsupported), (0, 2), "{told}"),
            ("resume", _) => assert!(told.contains("not this room"), "{told}"),
            _ => panic!("{told}"),
        }
        // All go on where they were, with what they had in common.
        assert_eq!(two.say("again").await, "4 again");
        assert_eq!(one.recv_text().await, "4 again");
    }
}
