//! What a handler, and what connections share, keep over a swap: here from one instance of the same component to another.

use serde_json::Value;
use waterspout_tests::TestHost;

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
    let mut client = host.connect("/keep").await;
    client.send_text("set").await;
    client.send_text("check").await;
    let before: Value = client.recv_json().await;
    assert!(before.as_object().is_some_and(|fields| fields.len() >= 4), "{before}");
    swapped(&host, language).await;
    client.send_text("check").await;
    assert_eq!(client.recv_json().await, before);
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

pub(super) async fn shared_state(language: Language) {
    let host = language.host().path("/{name}/{feature}").instance("{name}").start().await;
    let (mut one, mut two) = (host.connect("/a/room").await, host.connect("/a/room").await);
    let mut elsewhere = host.connect("/b/room").await;
    assert_eq!(one.say("hello").await, "1 hello");
    assert_eq!(two.recv_text().await, "1 hello");
    assert_eq!(elsewhere.say("alone").await, "1 alone");
    swapped(&host, language).await;
    assert_eq!(two.say("again").await, "2 again");
    assert_eq!(one.recv_text().await, "2 again");
}
