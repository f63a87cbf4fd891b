//! The README's demonstration, by its own words: a chat runs, a line of its source is changed, it is rebuilt, and the people in the room notice
//! only what was changed.
//!
//! What differs: the program is the one of this profile, on a free port, and what is changed and built is a copy of the example. A binary of its
//! own, because it compiles, and nothing is to run beside that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use waterspout_tests::program::{Served, cargo, program, root, run};
use waterspout_tests::{Client, within};

const README: &str = include_str!("../../README.md");
const HEADING: &str = "## Replace it while people are connected";
/// What the README's server is started by, and its guests are built by.
const RUN: &str = "cargo run --release --";
const BUILD: &str = "cargo xtask guests";

/// Beneath the repository, and what of it the copy needs.
const COPIED: [&str; 6] = [
    "wit",
    "guest-sdk/rust",
    "example-guests/rust/chat",
    "example-guests/chat.html",
    "Cargo.lock",
    "rustfmt.toml",
];
const SOURCE: &str = "example-guests/rust/chat/src/lib.rs";
/// What the README has one change, and what by.
const BEFORE: &str = "text: text.to_owned()";
const AFTER: &str = "text: text.to_uppercase()";

/// The demonstration's part of the README.
fn section() -> &'static str {
    let (_, after) = README.split_once(HEADING).expect("the README's heading");
    after.split("\n## ").next().expect("a section")
}

/// What a person types.
fn commands() -> Vec<&'static str> {
    section().lines().filter_map(|line| line.strip_prefix("    $ ")).collect()
}

/// The words of a command line; none has a space in its quotes.
fn words(command: &str) -> impl Iterator<Item = &str> {
    command.split_whitespace().map(|word| word.trim_matches('\''))
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::create_dir_all(to.parent().expect("a folder")).expect("writable");
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        return;
    }
    for entry in fs::read_dir(from).expect("a folder") {
        let name = entry.expect("readable").file_name();
        if name != "target" {
            copy(&from.join(&name), &to.join(&name));
        }
    }
}

/// A workspace with nothing but the chat. What was compiled for it stays from run to run.
fn workspace() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demonstration");
    for part in COPIED {
        copy(&root().join(part), &folder.join(part));
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    let lines = manifest.lines().map(|line| match line.split(' ').next() {
        Some("members") => r#"members = ["guest-sdk/rust", "example-guests/rust/chat"]"#,
        Some("default-members") => "",
        _ => line,
    });
    fs::write(folder.join("Cargo.toml"), lines.collect::<Vec<_>>().join("\n")).expect("writable");
    folder
}

fn build_guests(workspace: &Path) {
    let mut cargo = cargo();
    cargo.args(words(BUILD).skip(1)).arg("--manifest-path").arg(workspace.join("example-guests/rust/chat"));
    run(&mut cargo);
}

/// Whatever the README shows of a record, but for what it leaves out.
fn is_as_shown(record: &str, message: &str) {
    let shown = section().lines().find(|line| line.contains(message)).expect("a record in the README");
    let fields = shown.split_whitespace().filter(|word| word.contains('=') && !word.contains("..."));
    for field in fields {
        assert!(record.contains(&format!(" {field}")), "no `{field}` in `{record}`");
    }
}

async fn is_told(client: &mut Client, event: &str, what: &[(&str, serde_json::Value)]) -> serde_json::Value {
    let told = within("what is told", client.hear()).await;
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["type"], event, "{told}");
    for (key, value) in what {
        assert_eq!(&told[*key], value, "{told}");
    }
    told
}

#[tokio::test]
async fn the_chat_of_the_readme_is_changed_and_the_people_in_the_room_notice_only_that() {
    let [first, serve, again] = commands()[..] else { panic!("three commands are typed: {:?}", commands()) };
    assert_eq!([first, again], [BUILD; 2]);
    for code in [BEFORE, AFTER] {
        assert!(section().contains(&format!("`{code}`")), "the README does not have {code} changed");
    }
    let arguments = serve.strip_prefix(RUN).expect("the README's way to run it");
    let workspace = workspace();
    build_guests(&workspace);
    let mut server = Command::new(program());
    server.args(words(arguments)).args(["--listen", "127.0.0.1:0"]).current_dir(&workspace);
    let mut server = Served::start(server, &workspace).await;
    let shown = server.listening.replace(server.authority(), "127.0.0.1:8888");
    assert!(section().contains(&shown), "{shown}");
    let address = server.address();

    let enters = async |name: &str| {
        let mut client = Client::connect(address, "/chat/tea", &[]).await.expect("open");
        client.send_text(format!(r#"{{"type":"join","name":"{name}"}}"#)).await;
        client
    };
    let say = async |client: &mut Client, text: &str| {
        client.send_text(format!(r#"{{"type":"say","text":"{text}"}}"#)).await;
    };
    let mut ada = enters("Ada").await;
    is_told(&mut ada, "welcome", &[]).await;
    is_told(&mut ada, "joined", &[]).await;
    let mut bob = enters("Bob").await;
    is_told(&mut bob, "welcome", &[]).await;
    for client in [&mut ada, &mut bob] {
        is_told(client, "joined", &[("people", serde_json::json!(["Ada", "Bob"]))]).await;
    }
    say(&mut ada, "Hello").await;
    for client in [&mut ada, &mut bob] {
        is_told(client, "said", &[("name", "Ada".into()), ("text", "Hello".into())]).await;
    }

    let source = fs::read_to_string(workspace.join(SOURCE)).expect("the chat");
    assert_eq!(source.matches(BEFORE).count(), 1, "the chat has changed: so must this");
    fs::write(workspace.join(SOURCE), source.replace(BEFORE, AFTER)).expect("writable");
    let rebuilt = async {
        let workspace = workspace.clone();
        tokio::task::spawn_blocking(move || build_guests(&workspace)).await.expect("it is built");
        for message in ["the handler is replaced", "open connections have been dealt with"] {
            is_as_shown(&server.record_with(message).await, message);
        }
    };
    tokio::select! {
        () = rebuilt => {}
        told = ada.hear() => panic!("Ada was told {told}"),
        told = bob.hear() => panic!("Bob was told {told}"),
    }

    say(&mut bob, "Still here").await;
    for client in [&mut ada, &mut bob] {
        is_told(client, "said", &[("name", "Bob".into()), ("text", "STILL HERE".into())]).await;
    }
    let mut cy = enters("Cy").await;
    let welcome = is_told(&mut cy, "welcome", &[]).await;
    let history = welcome["history"].as_array().expect("a list").iter().map(|line| line["text"].clone());
    assert_eq!(history.collect::<Vec<_>>(), ["Hello", "STILL HERE"]);
    for client in [&mut ada, &mut bob, &mut cy] {
        is_told(client, "joined", &[("people", serde_json::json!(["Ada", "Bob", "Cy"]))]).await;
    }
    server.end().await;
}
