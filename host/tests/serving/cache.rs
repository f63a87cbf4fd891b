//! The cache of compiled handlers: kept for one user alone, and never trusted unsigned.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Ended, Folder, Program, answer_to, client, handlers};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// Serves the handler; what it makes of a text message.
fn echo_of(folder: &Folder, handler: &Path) -> (Message, Ended) {
    let program =
        Program::start(folder.command().arg("serve").arg(handler).args(["--listen", "127.0.0.1:0"]));
    let mut client = client(program.address(), "/websocket");
    let echo = answer_to(&mut client, "hé");
    drop(client);
    program.signal(Signal::TERM);
    (echo, program.wait())
}

#[test]
fn compiled_handlers_are_kept_for_this_user_alone_and_used_again() {
    let folder = Folder::new();
    let text = folder.write("text.wasm", handlers::echo());
    let binary = folder.write("binary.wasm", handlers::binary_echo());
    assert_eq!(echo_of(&folder, &text).0, Message::text("hé"));
    let of_text = folder.compiled();
    assert_eq!(of_text.len(), 1);
    assert_eq!(mode(&folder.path("cache/waterspout")), 0o700);
    assert_eq!(mode(&of_text[0]), 0o600);
    assert_eq!(mode(&folder.path("state/waterspout")), 0o700);
    assert_eq!(mode(&folder.path("state/waterspout/cache.key")), 0o600);

    // The same handler again adds nothing, another one does.
    assert_eq!(echo_of(&folder, &text).0, Message::text("hé"));
    assert_eq!(folder.compiled(), of_text);
    assert_eq!(echo_of(&folder, &binary).0, Message::binary("hé"));
    let both = folder.compiled();
    let of_binary = both.iter().find(|path| **path != of_text[0]).expect("a second one");

    // With the other's code in its place, well signed, the handler does what the other does: what is kept is what runs.
    let good = fs::read(&of_text[0]).expect("readable");
    let forged = folder.sign(&of_text[0], &fs::read(of_binary).expect("readable")[32..]);
    fs::write(&of_text[0], &forged).expect("writable");
    assert_eq!(echo_of(&folder, &text).0, Message::binary("hé"));

    // Not signed, as a copy or as a change of a bit: compiled again, with a warning.
    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    for bad in [fs::read(of_binary).expect("readable"), flipped, good[..good.len() / 2].to_vec(), Vec::new()]
    {
        fs::write(&of_text[0], &bad).expect("writable");
        let (echo, ended) = echo_of(&folder, &text);
        assert_eq!(echo, Message::text("hé"));
        if bad.len() >= 32 {
            assert!(ended.stderr.contains("does not verify"), "{ended:?}");
        }
        // Mended: the next start is silent again.
        assert_ne!(fs::read(&of_text[0]).expect("readable"), bad);
        assert_eq!(echo_of(&folder, &text).1.stderr.lines().filter(|line| line.contains("WARN")).count(), 0);
    }
}

#[test]
fn a_signed_artefact_that_is_none_is_compiled_again() {
    let folder = Folder::new();
    let handler = folder.write("text.wasm", handlers::echo());
    echo_of(&folder, &handler);
    let compiled = folder.compiled();
    let forged = folder.sign(&compiled[0], b"\x7fELF, but nothing more");
    fs::write(&compiled[0], forged).expect("writable");
    let (echo, ended) = echo_of(&folder, &handler);
    assert_eq!(echo, Message::text("hé"));
    assert!(ended.stderr.contains("compiled again"), "{ended:?}");
}

#[test]
fn a_cache_that_cannot_be_used_is_a_warning() {
    let folder = Folder::new();
    let handler = folder.write("text.wasm", handlers::echo());
    // The user's cache folder is a file.
    folder.write("cache", "");
    let (echo, ended) = echo_of(&folder, &handler);
    assert_eq!((echo, ended.code), (Message::text("hé"), 0));
    assert!(ended.stderr.contains("compiled handlers are not cached"), "{ended:?}");

    // Others may write to it.
    let folder = Folder::new();
    let handler = folder.write("text.wasm", handlers::echo());
    let cache = folder.path("cache/waterspout");
    fs::create_dir_all(&cache).expect("writable");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("ours");
    let (echo, ended) = echo_of(&folder, &handler);
    assert_eq!((echo, ended.code), (Message::text("hé"), 0));
    assert!(
        ended.stderr.contains("compiled handlers are not cached") && ended.stderr.contains("chmod 700"),
        "{ended:?}"
    );
    assert!(folder.compiled().is_empty());
}

#[test]
fn no_cache_keeps_nothing() {
    let folder = Folder::new();
    let program = Program::start(folder.command().args(["serve", "--no-cache", "--listen", "127.0.0.1:0"]));
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code, 0);
    assert!(!folder.path("cache/waterspout").exists() && !folder.path("state/waterspout").exists());
}
