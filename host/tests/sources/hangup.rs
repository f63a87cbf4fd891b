//! SIGHUP.

use std::fs;

use rustix::process::Signal;

use super::{Host, configure, folder};
use crate::support::{Folder, Program, client, echoes, handlers};

const DONE: &str = "SIGHUP: the handlers are looked at";

#[test]
fn a_mistake_in_the_configuration_keeps_everything() {
    let folder = folder();
    let host = Host::start(&folder, []);
    folder.write("chat.wasm", handlers::binary_echo());
    configure(&folder, "grace = 'soon'");
    host.program.signal(Signal::HUP);
    let record = host.program.record_with("SIGHUP: the configuration is not taken");
    assert!(record.contains("waterspout.toml:2: ") && record.contains("grace"), "{record}");
    assert!(!host.answers_binary());
    let version = &host.chat()["current"]["version"];
    assert_eq!(*version, 1);
    // Mended, the new handler comes with it.
    configure(&folder, "");
    host.program.signal(Signal::HUP);
    assert!(host.program.record_with(DONE).contains("replaced=1"));
    assert!(host.answers_binary());
}

#[test]
fn what_a_running_server_can_take_is_taken_and_each_other_key_is_named() {
    let folder = folder();
    let host = Host::start(&folder, []);
    folder.write("other.wasm", handlers::binary_echo());
    configure(&folder, "grace = '3s'");
    let config = fs::read_to_string(folder.path("waterspout.toml")).expect("text");
    let config =
        config.replace("handler = 'chat.wasm'", "handler = 'other.wasm'\non-swap = 'close'\nspread = '0s'");
    folder.write("waterspout.toml", config + "[route.new]\npath = '/new'\nhandler = 'other.wasm'\n");
    host.program.signal(Signal::HUP);
    let records = host.program.records_to(DONE);
    let about = |key: &str| {
        let key = format!("key=\"{key}\"");
        records.iter().find(|record| record.contains(&key)).unwrap_or_else(|| panic!("{key}: {records:#?}"))
    };
    for key in ["grace", "route.new"] {
        assert!(about(key).contains("is not taken") && about(key).contains("SIGUSR2"), "{}", about(key));
    }
    for key in ["route.chat.handler", "route.chat.on-swap", "route.chat.spread"] {
        assert!(about(key).contains("is taken"), "{}", about(key));
    }
    assert!(host.answers_binary());
    let chat = host.chat();
    assert_eq!(chat["on_swap"], "close");
    assert!(chat["current"]["file"].as_str().is_some_and(|file| file.ends_with("other.wasm")), "{chat}");
}

#[test]
fn a_handler_that_was_taken_back_is_tried_again_by_who_asks() {
    let folder = folder();
    for host in [Host::start(&folder, []), Host::keeping(&folder)] {
        folder.write("chat.wasm", handlers::echo());
        host.program.signal(Signal::HUP);
        host.program.record_with(DONE);
        let mut stays = client(host.program.address(), "/chat");
        folder.write("chat.wasm", handlers::component_of(&handlers::echo_module_that_does_not_resume()));
        for _ in 0..2 {
            host.program.signal(Signal::HUP);
            let records = host.program.records_to(DONE);
            let is_taken_back = |record: &String| record.contains("the handler is taken back");
            assert!(records.iter().any(is_taken_back), "{records:#?}");
            assert!(records.last().is_some_and(|record| record.contains("replaced=0")), "{records:#?}");
            echoes(&mut stays, "still there?");
        }
        // Nobody is left to wait for.
        drop(stays);
        host.end();
    }
}

#[test]
fn a_handler_that_does_not_load_keeps_the_old_one_and_without_watching_nothing_else_looks() {
    let folder = Folder::new();
    let handler = folder.write("chat.wasm", handlers::echo());
    let mut command = folder.command();
    let program =
        Program::start(command.arg("serve").arg(&handler).args(["--listen", "127.0.0.1:0", "--no-watch"]));
    for (content, replaced) in
        [(b"broken".to_vec(), 0), (handlers::binary_echo(), 1), (handlers::binary_echo(), 0)]
    {
        fs::write(&handler, content).expect("ours");
        program.signal(Signal::HUP);
        let records = program.records_to(DONE);
        assert!(
            records.last().is_some_and(|last| last.contains(&format!("replaced={replaced}"))),
            "{records:#?}"
        );
        assert_eq!(records.iter().any(|record| record.contains("the handler is replaced")), replaced == 1);
    }
}
