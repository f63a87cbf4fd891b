//! Files that are watched.

use std::fs;
use std::os::unix::fs::symlink;

use tokio_tungstenite::tungstenite::Message;

use super::{Host, folder};
use crate::support::{Folder, Program, client, echoes, handlers};

const REPLACED: &str = "the handler is replaced";

#[test]
fn without_a_configuration_a_file_that_is_renamed_into_its_place_is_deployed_and_connections_stay() {
    let folder = Folder::new();
    let handler = folder.write("chat.wasm", handlers::echo());
    let program =
        Program::start(folder.command().arg("serve").arg(&handler).args(["--listen", "127.0.0.1:0"]));
    let mut early = client(program.address(), "/websocket");
    echoes(&mut early, "one");
    fs::rename(folder.write("chat.new", handlers::binary_echo()), &handler).expect("the same disk");
    program.record_with(REPLACED);
    let mut late = client(program.address(), "/websocket");
    late.send(Message::text("two")).expect("sent");
    assert_eq!(late.read().expect("an echo"), Message::binary("two"));
    // Who was there goes over, on the same socket.
    early.send(Message::text("three")).expect("open");
    assert_eq!(early.read().expect("an echo"), Message::binary("three"));
}

#[test]
fn a_copy_in_pieces_is_deployed_when_it_is_whole_and_nothing_is_said_before() {
    let folder = folder();
    let host = Host::start(&folder, ["--watch"]);
    let whole = handlers::binary_echo();
    for part in [0, 6, 8, whole.len() / 2, whole.len() - 1] {
        fs::write(folder.path("chat.wasm"), &whole[..part]).expect("ours");
        let records = host.look_at_files();
        assert!(!records.iter().any(|record| record.contains("route=chat")), "{part}: {records:#?}");
        assert!(!host.answers_binary());
    }
    fs::write(folder.path("chat.wasm"), &whole).expect("ours");
    host.program.record_with(REPLACED);
    assert!(host.answers_binary());
}

#[test]
fn a_file_that_does_not_load_is_told_once_and_deployed_when_it_is_mended() {
    let folder = folder();
    let host = Host::start(&folder, ["--watch"]);
    folder.write("chat.wasm", "(component \"no\")");
    let record = host.program.record_with("the old one goes on");
    assert!(
        record.contains("route=chat") && record.contains("is WebAssembly text with a mistake"),
        "{record}"
    );
    for _ in 0..2 {
        let records = host.look_at_files();
        assert!(!records.iter().any(|record| record.contains("route=chat")), "{records:#?}");
    }
    assert!(!host.answers_binary());
    folder.write("chat.wasm", handlers::binary_echo());
    host.program.record_with(REPLACED);
    assert!(host.answers_binary());
}

#[test]
fn a_file_that_is_away_for_a_while_is_no_mistake_and_a_link_may_be_switched() {
    let folder = folder();
    let file = folder.path("chat.wasm");
    let host = Host::start(&folder, ["--watch"]);
    fs::remove_file(&file).expect("ours");
    let records = host.look_at_files();
    assert!(!records.iter().any(|record| record.contains("WARN")), "{records:#?}");
    fs::create_dir(folder.path("releases")).expect("ours");
    for (release, handler) in
        [("releases/1.wasm", handlers::binary_echo()), ("releases/2.wasm", handlers::echo())]
    {
        let aside = folder.path("aside");
        folder.write(release, handler);
        symlink(release, &aside).expect("ours");
        fs::rename(&aside, &file).expect("the same disk");
        host.program.record_with(REPLACED);
        assert_eq!(host.answers_binary(), release == "releases/1.wasm");
    }
}

#[test]
fn several_routes_may_share_a_file_and_one_without_a_handler_gets_its_when_it_comes() {
    let folder = folder();
    let config = fs::read_to_string(folder.path("waterspout.toml")).expect("text");
    folder.write(
        "waterspout.toml",
        config
            + "[route.same]\npath = '/same'\nhandler = 'chat.wasm'\n[route.late]\npath = '/late'\nhandler = 'late.wasm'\n",
    );
    let host = Host::start(&folder, ["--watch"]);
    folder.write("chat.wasm", handlers::binary_echo());
    let mut replaced = [host.program.record_with(REPLACED), host.program.record_with(REPLACED)];
    replaced.sort_by_key(|record| record.contains("route=same"));
    assert!(replaced[0].contains("route=chat") && replaced[1].contains("route=same"), "{replaced:?}");
    folder.write("late.wasm", handlers::echo());
    assert!(host.program.record_with(REPLACED).contains("route=late"));
    let mut client = client(host.program.address(), "/late");
    echoes(&mut client, "hé");
}
