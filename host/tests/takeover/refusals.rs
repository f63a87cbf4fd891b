//! Takeovers that do not happen, after which the old process goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, test_kill_process};

use super::{Line, install, serve};
use crate::support::{ECHO_ROUTE, Folder, client, echoes, get, handlers};

/// A program that is a script.
fn install_script(folder: &Folder, to: &Path, script: &str) {
    install(&folder.write("script", format!("#!/bin/sh\n{script}\n")), to);
}

/// The program under a name of its own, so that it can be replaced.
fn copied(folder: &Folder) -> (PathBuf, Command) {
    let program = folder.path("server");
    install(Path::new(folder.command().get_program()), &program);
    let command = folder.prepared(&program);
    (program, command)
}

#[test]
fn a_successor_that_cannot_serve_changes_nothing() {
    let folder = Folder::new();
    let other = "[route.other]\npath = '/other'\nhandler = 'other.wasm'\n";
    let good = format!("listen = '127.0.0.1:0'\ntakeover-timeout = '20s'\n{ECHO_ROUTE}{other}");
    folder.write("waterspout.toml", &good);
    folder.write("echo.wasm", handlers::echo_module());
    folder.write("other.wasm", handlers::binary_echo_module());
    let (program, mut command) = copied(&folder);
    let mut line = Line::start(command.args(["serve", "--config", "waterspout.toml"]));
    let address = line.first.address();
    let mut stays = client(address, "/echo");
    let mut refused = |why: &str, and: &str| {
        line.ask(Signal::USR2);
        if !and.is_empty() {
            line.first.record_with(and);
        }
        let record = line.first.record_with("there is no takeover; this process goes on");
        assert!(record.contains(why), "{record}");
        echoes(&mut stays, why);
        echoes(&mut client(address, "/echo"), why);
    };
    folder.write("waterspout.toml", "nonsense = 1\n");
    refused("exit status: 1", "unknown key `nonsense`");
    folder.write("waterspout.toml", &good);
    // One handler of two would start a server, but not one that takes this one's place.
    folder.write("other.wasm", "no handler");
    refused("exit status: 1", "in route `other`");
    folder.write("other.wasm", handlers::binary_echo_module());
    let aside = folder.path("aside");
    fs::rename(&program, &aside).expect("the same disk");
    refused("No such file", "");
    for (script, why) in [
        ("exit 7", "exit status: 7"),
        ("kill -SEGV $$", "signal: 11"),
        ("echo surprise >&0; exec sleep 1000", "does not answer as a version of this program does"),
    ] {
        install_script(&folder, &program, script);
        refused(why, "");
        fs::remove_file(&program).expect("ours");
    }
    let children =
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", line.first.pid())).unwrap_or_default();
    assert_eq!(children, "", "no child is left, not even a dead one");
    fs::rename(&aside, &program).expect("the same disk");
    line.go_on();
    echoes(&mut stays, "stays");
    echoes(&mut client(address, "/echo"), "goes on");
}

#[test]
fn a_successor_that_takes_too_long_is_ended() {
    let folder = Folder::new();
    folder.write(
        "waterspout.toml",
        format!("listen = '127.0.0.1:0'\ntakeover-timeout = '300ms'\n{ECHO_ROUTE}"),
    );
    folder.write("echo.wasm", handlers::echo_module());
    let (program, mut command) = copied(&folder);
    let line = Line::start(command.args(["serve", "--config", "waterspout.toml"]));
    fs::remove_file(&program).expect("ours");
    let note = folder.path("note");
    install_script(&folder, &program, &format!("echo $$ >{}\nexec sleep 1000", note.display()));
    line.ask(Signal::USR2);
    let record = line.first.record_with("there is no takeover");
    assert!(record.contains("not ready after `takeover-timeout` (300ms)"), "{record}");
    let pid: i32 = fs::read_to_string(note).expect("it has begun").trim().parse().expect("a number");
    assert!(test_kill_process(Pid::from_raw(pid).expect("a process")).is_err(), "it is still there");
    echoes(&mut client(line.first.address(), "/echo"), "goes on");
}

#[test]
fn a_server_that_is_to_end_ends_its_successor_that_is_not_ready() {
    let folder = Folder::new();
    let (program, mut command) = copied(&folder);
    let line = Line::start(command.args(["serve", "--listen", "127.0.0.1:0"]));
    fs::remove_file(&program).expect("ours");
    install_script(&folder, &program, "echo begun >&2\nexec sleep 1000");
    line.ask(Signal::USR2);
    line.first.record_with("begun");
    // Again, while it is under way.
    line.ask(Signal::USR2);
    line.first.record_with("a takeover is under way already");
    let ended = line.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("this process was told to end meanwhile"), "{ended:?}");
}

#[test]
fn a_successor_that_is_signalled_too_early_goes_on_and_says_so() {
    let folder = Folder::new();
    let (program, mut command) = copied(&folder);
    let mut line = Line::start(command.args(["serve", "--listen", "127.0.0.1:0"]));
    let real = folder.path("real");
    fs::rename(&program, &real).expect("the same disk");
    // As if whoever signals by the program's name had found it in its first moment.
    install_script(
        &folder,
        &program,
        &format!("kill -HUP $$\nkill -USR2 $$\nexec {} \"$@\"", real.display()),
    );
    line.ask(Signal::USR2);
    line.first.record_with("SIGUSR2: this process does not serve yet");
    line.successor();
    echoes(&mut client(line.first.address(), "/websocket"), "the new one");
    assert_eq!(line.end().code, 0);
}

#[test]
fn an_old_server_that_is_asked_again_names_the_new_one() {
    let folder = Folder::new();
    let mut line = Line::start(&mut serve(&folder));
    let mut stays = client(line.first.address(), "/websocket");
    let new = line.go_on();
    line.first.signal(Signal::USR2);
    let record = line.first.record_with("another process has taken over already");
    assert!(record.contains(&format!("pid={new}")), "{record}");
    // It ends as it always does.
    line.first.signal(Signal::TERM);
    assert!(stays.read().expect("a close frame").is_close());
    assert_eq!(get(line.first.address(), "/healthz"), (200, "ok\n".into()));
}
