//! What a handler has beside its connection.

use std::time::{SystemTime, UNIX_EPOCH};

use tracing::Level;

use super::Language;

pub(super) async fn output_is_logged(language: Language) {
    let host = language.host().start().await;
    let mut client = host.connect("/print").await;
    client.send_text("a line of Ünicode").await;
    let record = host.guest_prints("a line of Ünicode").await;
    assert_eq!((record.level, record.field("route")), (Level::INFO, "test"));
    assert!(!record.field("connection").is_empty(), "{record}");
    client.send_text("eprint a warning").await;
    assert_eq!(host.guest_prints("a warning").await.level, Level::WARN);
}

pub(super) async fn clocks_and_randomness(language: Language) {
    let host = language.host().start().await;
    let (mut one, mut other) = (host.connect("/clock").await, host.connect("/clock").await);
    let mut random = Vec::new();
    for client in [&mut one, &mut other] {
        for _ in 0..2 {
            client.send_text("?").await;
            let answer = client.recv_json().await;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
            let theirs = answer["now"].as_f64().expect("a number");
            assert!((now - 60.0..=now + 1.0).contains(&theirs), "{theirs} is not about {now}");
            random.push(answer["random"].as_f64().expect("a number").to_bits());
        }
    }
    random.sort_unstable();
    random.dedup();
    assert_eq!(random.len(), 4, "no two instances, and no two calls, give the same number");
}

pub(super) async fn configuration(language: Language) {
    let host = language
        .host()
        .route(|route| route.config = [("token".to_owned(), "sesame".to_owned())].into_iter().collect())
        .start()
        .await;
    let mut client = host.connect("/config").await;
    assert_eq!(client.say("token").await, "sesame");
    assert_eq!(client.say("nothing").await, "none");
}
