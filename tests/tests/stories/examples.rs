//! The examples, which are what `waterspout new` writes: each language's echo and chat, to the same clients. None of these stories knows
//! which language it talks to.

use serde_json::{Value, json};
use waterspout::Page;
use waterspout_tests::{Client, Guest, TestHost};

use crate::clients::{all_is_ok, installed, node, python, root};

/// A language, by the name of its folder in `example-guests`.
#[derive(Clone, Copy)]
struct Language(&'static str);

impl Language {
    /// As `cargo xtask guests` calls it.
    fn example(self, name: &str) -> Guest {
        match self.0 {
            "rust" => Guest::named(name),
            language => Guest::named(format!("{language}-{name}")),
        }
    }

    async fn echo(self) -> TestHost {
        TestHost::new(self.example("echo")).start().await
    }

    /// As the chat's configuration has it.
    async fn chat(self) -> TestHost {
        let page = Page::from_file(&root().join("example-guests/chat.html")).expect("the chat has a page");
        TestHost::new(self.example("chat")).path("/chat/{room}").instance("{room}").page(page).start().await
    }
}

/// The same example, deployed again.
async fn swapped(host: &TestHost, guest: &Guest) {
    let report = host.swap(guest, None).await.expect("a swap");
    assert_eq!((report.moved, report.failed), (report.connections, 0), "{report:?}");
    assert!(report.connections > 0, "{report:?}");
}

async fn an_echo_says_what_it_is_told_before_and_after_a_swap(language: Language) {
    let host = language.echo().await;
    let mut client = host.connect("/websocket").await;
    assert_eq!(client.say("hello ÄÖ 🌪").await, "You said: hello ÄÖ 🌪");
    host.guest_prints("WebSocket opened").await;
    swapped(&host, &language.example("echo")).await;
    assert_eq!(client.say("").await, "You said: ");
    client.close(1000, "").await;
    host.guest_prints("WebSocket closed").await;
}

/// Somebody in a room.
struct Person(Client);

impl Person {
    async fn arrives(host: &TestHost) -> Self {
        Self(host.connect("/chat/harbour").await)
    }

    async fn asks(&mut self, request: Value) {
        self.0.send_text(request.to_string()).await;
    }

    async fn says(&mut self, text: &str) {
        self.asks(json!({"type": "say", "text": text})).await;
    }

    /// Joins; what the room welcomes with, without the time of what was said.
    async fn joins(&mut self, name: &str) -> Value {
        self.asks(json!({"type": "join", "name": name})).await;
        let mut welcome = self.hears().await;
        let history = welcome["history"].as_array_mut().expect("a history");
        history.iter_mut().for_each(drop_time);
        welcome
    }

    /// The room's next event.
    async fn hears(&mut self) -> Value {
        self.0.recv_json().await
    }
}

/// A line of the history has the time, in whole seconds, whichever that was.
fn drop_time(line: &mut Value) {
    let time = line.as_object_mut().expect("a line").remove("at");
    assert!(time.as_ref().is_some_and(Value::is_u64), "{time:?}");
}

async fn all_hear(people: &mut [&mut Person], wanted: &Value) {
    for person in people {
        let mut event = person.hears().await;
        if event["type"] == "said" {
            drop_time(&mut event);
        }
        assert_eq!(event, *wanted);
    }
}

async fn a_chat_goes_on_over_a_swap_with_its_history_and_its_people(language: Language) {
    let host = language.chat().await;
    let (mut ada, mut bob) = (Person::arrives(&host).await, Person::arrives(&host).await);
    assert_eq!(ada.joins("Ada").await, json!({"type": "welcome", "name": "Ada", "history": []}));
    all_hear(&mut [&mut ada], &json!({"type": "joined", "name": "Ada", "people": ["Ada"]})).await;
    ada.says("  Hello, \"Bob\"! <b>\u{0}ÄÖ 🌪 ").await;
    let hello = json!({"name": "Ada", "text": "Hello, \"Bob\"! <b>\u{0}ÄÖ 🌪"});
    let said = |line: &Value| {
        let mut event = line.clone();
        event["type"] = "said".into();
        event
    };
    all_hear(&mut [&mut ada], &said(&hello)).await;
    assert_eq!(bob.joins(" Bob ").await, json!({"type": "welcome", "name": "Bob", "history": [hello]}));
    let joined = json!({"type": "joined", "name": "Bob", "people": ["Ada", "Bob"]});
    all_hear(&mut [&mut ada, &mut bob], &joined).await;
    // Somebody who is here and has not joined.
    let mut eve = Person::arrives(&host).await;
    let refuses = async |person: &mut Person, request: Value, text: &str| {
        person.asks(request).await;
        assert_eq!(person.hears().await, json!({"type": "error", "text": text}));
    };
    let early = json!({"type": "say", "text": "early"});
    refuses(&mut eve, early.clone(), "Join first.").await;

    swapped(&host, &language.example("chat")).await;
    bob.says("Still here?").await;
    let still = json!({"name": "Bob", "text": "Still here?"});
    all_hear(&mut [&mut ada, &mut bob], &said(&still)).await;
    refuses(&mut bob, json!({"type": "join", "name": "Bo"}), "You are here already.").await;
    refuses(&mut eve, early, "Join first.").await;
    refuses(&mut eve, json!({"type": "join", "name": "ADA"}), "Somebody here has that name.").await;
    refuses(&mut eve, json!({"type": "shout"}), "That was neither a join nor a say.").await;
    assert_eq!(eve.joins("Eve").await, json!({"type": "welcome", "name": "Eve", "history": [hello, still]}));
    let joined = json!({"type": "joined", "name": "Eve", "people": ["Ada", "Bob", "Eve"]});
    all_hear(&mut [&mut ada, &mut bob, &mut eve], &joined).await;

    swapped(&host, &language.example("chat")).await;
    bob.0.close(1000, "").await;
    let left = json!({"type": "left", "name": "Bob", "people": ["Ada", "Eve"]});
    all_hear(&mut [&mut ada, &mut eve], &left).await;
    ada.0.reset();
    all_hear(&mut [&mut eve], &json!({"type": "left", "name": "Ada", "people": ["Eve"]})).await;
}

async fn a_chat_takes_nonsense_and_tells_who_sent_it(language: Language) {
    let host = language.chat().await;
    let (mut ada, mut bob) = (Person::arrives(&host).await, Person::arrives(&host).await);
    ada.joins("Ada").await;
    ada.hears().await;
    let deep = "[".repeat(100_000);
    for nonsense in
        ["", "{", "[]", "null", "{\"type\":\"join\"}", "{\"type\":\"say\",\"text\":7}", deep.as_str()]
    {
        ada.0.send_text(nonsense).await;
        let answer = ada.hears().await;
        assert_eq!(answer["type"], "error", "{answer}");
        assert_eq!(answer["text"], "That was neither a join nor a say.");
    }
    for (text, answer) in [
        (" \n ".to_owned(), "A text has 1 to 500 characters."),
        ("Ä".repeat(501), "A text has 1 to 500 characters."),
    ] {
        ada.says(&text).await;
        assert_eq!(ada.hears().await["text"], answer);
    }
    ada.says(&"Ä".repeat(500)).await;
    assert_eq!(ada.hears().await["type"], "said");
    // Of more lines than a room keeps a newcomer is sent the last.
    for number in 0..55 {
        ada.says(&number.to_string()).await;
        assert_eq!(ada.hears().await["text"], number.to_string());
    }
    let welcome = bob.joins("Bob").await;
    let history = welcome["history"].as_array().expect("a history");
    assert_eq!((history.len(), &history[0]["text"], &history[49]["text"]), (50, &json!("5"), &json!("54")));
}

async fn pythons_and_nodes_clients_talk_in_a_chat(language: Language) {
    let host = language.chat().await;
    let url = format!("ws://{}/chat/{{room}}", host.address());
    all_is_ok(python().args(["--chat", &url])).await;
    all_is_ok(node("node/clients.mjs").args(["--chat", &url])).await;
}

async fn the_chats_page_talks_to_it_in_a_browser(language: Language) {
    let host = language.chat().await;
    let mut browser = node("browser/browser.mjs");
    browser.arg("--chromium").arg(installed("chromium/run")).args(["--chat", &format!("{}/", host.origin())]);
    all_is_ok(&mut browser).await;
}

/// Every story, in every language.
macro_rules! stories {
    ($($language:ident)+: $stories:tt) => {
        $(stories! { @ $language $stories })+
    };
    (@ $language:ident { $($story:ident)+ }) => {
        mod $language {
            $(#[tokio::test]
            async fn $story() {
                super::$story(super::Language(stringify!($language))).await;
            })+
        }
    };
}

stories! {
    rust javascript python c go: {
        an_echo_says_what_it_is_told_before_and_after_a_swap
        a_chat_goes_on_over_a_swap_with_its_history_and_its_people
        a_chat_takes_nonsense_and_tells_who_sent_it
        pythons_and_nodes_clients_talk_in_a_chat
        the_chats_page_talks_to_it_in_a_browser
    }
}
