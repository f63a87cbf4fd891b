//! Deploying, rolling back and pinning by the admin listener, for as long as the process lives.

use std::fs;
use std::io::Write;

use rustix::process::Signal;

use super::{Host, as_binary_too, folder, sha256};
use crate::support::{TOKEN, handlers, socket};

#[test]
fn each_version_is_shown_with_where_it_came_from() {
    let folder = folder();
    let host = Host::start(&folder, []);
    let chat = host.chat();
    assert_eq!(
        (&chat["current"]["source"], &chat["current"]["version"]),
        (&"file".into(), &1.into()),
        "{chat}"
    );
    assert!(chat["current"]["file"].as_str().is_some_and(|file| file.ends_with("chat.wasm")), "{chat}");
    assert_eq!(chat["current"]["sha256"], sha256(&handlers::echo()));
    let (status, answer) = host.deploy(&handlers::binary_echo());
    assert_eq!((status, &answer["kept"]), (200, &false.into()), "{answer}");
    assert!(answer["note"].as_str().is_some_and(|note| note.contains("state-dir")), "{answer}");
    let chat = host.chat();
    assert_eq!(
        (&chat["current"]["source"], &chat["rolled_back"]),
        (&"deployed".into(), &false.into()),
        "{chat}"
    );
    assert_eq!(host.ask("POST", "/routes/chat/rollback", b"").0, 200);
    let chat = host.chat();
    assert_eq!((&chat["current"]["source"], &chat["rolled_back"]), (&"file".into(), &true.into()), "{chat}");
    assert_eq!(chat["previous"]["source"], "deployed");
    host.end();
    // It lived as long as the process.
    assert!(!Host::start(&folder, []).answers_binary());
}

#[test]
fn a_pinned_version_stays_whoever_brings_another() {
    let folder = folder();
    let host = Host::start(&folder, ["--watch"]);
    let (status, answer) = host.ask("POST", "/routes/chat/pin?version=7", b"");
    assert_eq!((status, answer), (409, "Version 7 is not served, but version 1.\n".into()));
    let (status, answer) = host.ask("POST", "/routes/chat/pin", b"");
    assert_eq!((status, &answer["pinned"]), (200, &1.into()), "{answer}");
    assert_eq!(host.chat()["pinned"], true);
    let record = host.program.record_with("pinned");
    assert!(record.contains("tenant=\"default\" route=chat version=1"), "{record}");
    let refused = (409, "Version 1 is pinned: unpin it first.\n".into());
    assert_eq!(host.deploy(&handlers::binary_echo()), refused);
    folder.write("chat.wasm", handlers::binary_echo());
    let records = host.look_at_files();
    assert!(records.iter().any(|record| record.contains("is pinned: it stays")), "{records:#?}");
    host.program.signal(Signal::HUP);
    assert!(host.program.record_with("SIGHUP: the handlers are looked at").contains("replaced=0"));
    assert!(!host.answers_binary());
    assert_eq!(host.ask("DELETE", "/routes/chat/pin", b"").0, 200);
    host.program.signal(Signal::HUP);
    assert!(host.program.record_with("SIGHUP: the handlers are looked at").contains("replaced=1"));
    assert!(host.answers_binary());
    assert_eq!(host.ask("GET", "/routes/chat/pin", b"").0, 405);
    assert_eq!(host.ask("POST", "/routes/nobody/pin", b"").0, 404);
}

#[test]
fn what_was_put_back_stays_until_the_file_is_a_newer_one() {
    let folder = folder();
    let host = Host::start(&folder, []);
    let hang_up = |replaced: usize| {
        host.program.signal(Signal::HUP);
        let record = host.program.record_with("SIGHUP: the handlers are looked at");
        assert!(record.contains(&format!("replaced={replaced}")), "{record}");
    };
    folder.write("chat.wasm", handlers::binary_echo());
    hang_up(1);
    assert_eq!(host.ask("POST", "/routes/chat/rollback", b"").0, 200);
    hang_up(0);
    assert!(!host.answers_binary());
    // Touched, it is what it was.
    folder.write("chat.wasm", handlers::binary_echo());
    hang_up(0);
    folder.write("chat.wasm", as_binary_too());
    hang_up(1);
    assert!(host.answers_binary());
}

#[test]
fn an_upload_that_ends_before_it_is_whole_changes_nothing() {
    let folder = folder();
    let host = Host::keeping(&folder);
    let before = host.chat();
    let kept = || {
        let files = fs::read_dir(folder.path("kept/default.chat")).expect("there");
        let mut files: Vec<_> = files.map(|file| file.expect("readable").file_name()).collect();
        files.sort();
        files
    };
    let files = kept();
    let bytes = handlers::binary_echo();
    for part in [0, 1, bytes.len() - 1] {
        let mut socket = socket(host.admin);
        let head = format!(
            "PUT /routes/chat/handler HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n",
            bytes.len()
        );
        socket.write_all(&[head.as_bytes(), &bytes[..part]].concat()).expect("it reads");
        // As the kernel does for who is killed.
        drop(socket);
    }
    assert_eq!(host.chat(), before);
    assert_eq!(kept(), files);
    assert!(!host.answers_binary());
    assert_eq!(host.deploy(&bytes).0, 200);
}
