//! Messages both ways.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::Language;

pub(super) async fn text_and_binary_messages(language: Language) {
    let host = language.host().start().await;
    let mut client = host.connect("/echo").await;
    for text in ["hello", "", "\0", "ÄÖÜ €", "日本語", "\u{10FFFF}\u{1F32A}\u{FE0F}", "line\r\nline"]
    {
        assert_eq!(client.say(text).await, text);
    }
    for bytes in [&b"\x00\xFF\xFE"[..], b"", b"plain"] {
        client.send_binary(bytes).await;
        assert_eq!(client.recv_binary().await, bytes);
    }
}

pub(super) async fn large_messages(language: Language) {
    let host = language.host().start().await;
    let mut client = host.connect("/echo").await;
    let text = "naïve ".repeat(1 << 20 >> 3);
    assert_eq!(client.say(&text).await, text);
    let bytes: Vec<u8> = (0..1 << 20).map(|index: u32| index.to_le_bytes()[1]).collect();
    client.send(Message::binary(bytes.clone())).await;
    assert_eq!(client.recv_binary().await, bytes);
}

/// What a language's collector leaves lying must not become more than an instance may have: 64 MiB, by default.
pub(super) async fn many_large_messages(language: Language) {
    let host = language.host().start().await;
    let text = "naïve! ".repeat(1 << 20 >> 3);
    assert_eq!(text.len(), 1 << 20);
    // Its handler makes a new text of each.
    let mut client = host.connect("/room").await;
    for count in 1..=50 {
        assert!(client.say(&text).await == format!("{count} {text}"), "text {count}");
    }
    let bytes = vec![0xFF; 1 << 20];
    let mut client = host.connect("/echo").await;
    for count in 1..=50 {
        client.send_binary(bytes.clone()).await;
        assert!(client.recv_binary().await == bytes, "message {count}");
    }
}

pub(super) async fn json(language: Language) {
    let host = language.host().start().await;
    let mut client = host.connect("/json").await;
    let sent =
        json!({"text": "ÄÖ\"\n", "list": [1, 2.5, -3], "none": null, "yes": true, "nested": {"a": {}}});
    client.send_text(sent.to_string()).await;
    let answer: Value = client.recv_json().await;
    assert_eq!(answer, json!({"got": sent, "kind": "json"}));
    assert_eq!(client.say("{not json").await, "not json");
}
