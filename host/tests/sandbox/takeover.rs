//! A confined server is taken over by another version of its program, in the same sandbox.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tokio_tungstenite::tungstenite::Message;

use super::{NOBODY, is_root, make_open, open, open_folder};
use crate::support::{ECHO_ROUTE, Folder, client, echoes, get, handlers};
use crate::takeover::Line;

/// The program in a folder of its own, as `NAME/server`; what was there is replaced.
fn install(folder: &Folder, name: &str) -> PathBuf {
    let bin = make_open(folder, name);
    let (new, program) = (bin.join("new"), bin.join("server"));
    crate::takeover::install(folder.command().get_program().as_ref(), &new);
    fs::rename(new, &program).expect("the same disk");
    program
}

fn serve(folder: &Folder, program: &Path) -> Command {
    let mut command = folder.prepared(program);
    command.args(["serve", "--sandbox", "--config", "conf.toml"]);
    if is_root() {
        command.args(["--user", "nobody"]);
    }
    command
}

fn status_of(pid: Pid, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
}

#[test]
fn a_confined_server_is_replaced_by_a_new_file_and_stays_confined() {
    let Some(folder) = open_folder() else { return };
    let sockets = make_open(&folder, "run");
    let admin = format!("[admin]\nlisten = 'unix:{}'\n", sockets.join("admin.sock").display());
    folder.write("conf.toml", format!("{admin}{ECHO_ROUTE}"));
    folder.write("echo.wasm", handlers::echo_module());
    let program = install(&folder, "bin");
    let address = if is_root() {
        let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        format!("127.0.0.1:{}", (600..1024).find(is_free).expect("a privileged port is free"))
    } else {
        "127.0.0.1:0".into()
    };
    let mut line = Line::start(serve(&folder, &program).args(["--listen", &address]));
    let address = line.first.address();
    let mut stays = client(address, "/echo");
    // More of them than the kernel takes sandboxes on top of each other.
    for round in 0..18 {
        install(&folder, "bin");
        line.go_on();
        echoes(&mut stays, &format!("round {round}"));
        echoes(&mut client(address, "/echo"), "new");
        assert_eq!(status_of(line.last(), "NoNewPrivs"), "1");
        assert_eq!(status_of(line.last(), "CapPrm"), "0000000000000000");
        if is_root() {
            assert!(status_of(line.last(), "Uid").starts_with(&NOBODY.to_string()));
        }
    }
    // It compiles, in its child, what it has not seen before, and keeps it.
    let compiled = folder.compiled().len();
    folder.write("new.wasm", handlers::binary_echo_module());
    open(&folder.path("new.wasm"));
    folder
        .write("conf.toml", format!("{admin}{ECHO_ROUTE}[route.new]\npath = '/new'\nhandler = 'new.wasm'\n"));
    line.go_on();
    let mut new = client(address, "/new");
    new.send(Message::text("as binary")).expect("sent");
    assert_eq!(new.read().expect("an echo"), Message::binary("as binary"));
    assert_eq!(folder.compiled().len(), compiled + 1);
    echoes(&mut stays, "still here");
    drop((stays, new));
    let ended = line.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stderr.contains("WARN") && !ended.stderr.contains("ERROR"), "{ended:?}");
    assert!(!sockets.join("admin.sock").exists(), "the last one removes it");
}

#[test]
fn what_the_sandbox_does_not_grant_is_no_takeover() {
    let Some(folder) = open_folder() else { return };
    folder.write("conf.toml", ECHO_ROUTE);
    folder.write("echo.wasm", handlers::echo_module());
    let program = install(&folder, "bin");
    let mut line = Line::start(serve(&folder, &program).args(["--listen", "127.0.0.1:0"]));
    let address = line.first.address();
    // A folder that was not named at the start: the new configuration is for a restart.
    let elsewhere = Folder::new();
    let handler = elsewhere.write("echo.wasm", handlers::echo_module());
    folder.write("conf.toml", ECHO_ROUTE.replace("echo.wasm", &handler.display().to_string()));
    line.first.signal(Signal::USR2);
    line.first.record_with("cannot be read: Permission denied");
    line.first.record_with("there is no takeover; this process goes on");
    // Nor another program's file.
    folder.write("conf.toml", ECHO_ROUTE);
    fs::remove_file(&program).expect("ours");
    std::os::unix::fs::symlink("/bin/sh", &program).expect("ours");
    line.first.signal(Signal::USR2);
    let record = line.first.record_with("there is no takeover; this process goes on");
    assert!(record.contains("Permission denied") && record.contains("a folder of its own"), "{record}");
    assert_eq!(get(address, "/healthz"), (200, "ok\n".into()));
    fs::remove_file(&program).expect("ours");
    install(&folder, "bin");
    line.go_on();
    assert_eq!(get(address, "/healthz"), (200, "ok\n".into()));
}

#[test]
fn a_server_that_could_execute_what_it_writes_is_refused() {
    let Some(folder) = open_folder() else { return };
    folder.write("echo.wasm", handlers::echo_module());
    let program = install(&folder, "bin");
    for (key, state) in [("state-dir", "bin/state"), ("cache", "bin/cache"), ("state-dir", ".")] {
        // The last one contains the program.
        folder.write("conf.toml", format!("{key} = '{state}'\n{ECHO_ROUTE}"));
        let state = folder.path(state);
        fs::create_dir_all(&state).expect("ours");
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("ours");
        if is_root() {
            std::os::unix::fs::chown(&state, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        let ended = crate::support::run(serve(&folder, &program).args(["--listen", "127.0.0.1:0"]));
        assert_eq!(ended.code, 1, "{ended:?}");
        let sentence = ended.sentence();
        for wanted in ["may be executed", "be written", "/opt/waterspout/bin"] {
            assert!(sentence.contains(wanted), "{sentence}");
        }
    }
}

/// What the process that is asked says of itself.
fn of_process(admin: &Path) -> Vec<(String, f64)> {
    let metrics =
        crate::takeover::sockets::get_over_unix(admin, "/metrics").expect("the admin listener answers");
    let samples = metrics.lines().filter_map(|line| line.strip_prefix("process_")?.split_once(' '));
    samples.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

#[test]
fn a_confined_successor_tells_of_its_own_processor_time_and_descriptors() {
    let Some(folder) = open_folder() else { return };
    let admin = make_open(&folder, "run").join("admin.sock");
    folder.write("conf.toml", format!("[admin]\nlisten = 'unix:{}'\n{ECHO_ROUTE}", admin.display()));
    folder.write("echo.wasm", handlers::echo_module());
    let program = install(&folder, "bin");
    let mut line = Line::start(serve(&folder, &program).args(["--listen", "127.0.0.1:0"]));
    let first = of_process(&admin);
    line.go_on();
    let second = of_process(&admin);
    let value = |samples: &[(String, f64)], name: &str| {
        samples.iter().find(|(named, _)| named == name).map(|(_, value)| *value)
    };
    for name in ["cpu_seconds_total", "open_fds", "max_fds", "start_time_seconds"] {
        assert!(value(&first, name).is_some_and(|value| value > 0.0), "no {name}: {first:?}");
        assert!(value(&second, name).is_some_and(|value| value > 0.0), "no {name}: {second:?}");
    }
    let open =
        fs::read_dir(format!("/proc/{}/fd", line.last())).expect("root, or the same user").count() as f64;
    let said = value(&second, "open_fds").expect("told");
    // The connection that asks is one of them; what else comes and goes is a few.
    assert!((said - open).abs() <= 3.0, "{said} of {open}");
    assert!(value(&second, "start_time_seconds") > value(&first, "start_time_seconds"));
}

#[test]
fn a_program_that_lies_where_many_do_is_executed_alone_and_the_log_says_so() {
    let Some(folder) = open_folder() else { return };
    folder.write("conf.toml", ECHO_ROUTE);
    folder.write("echo.wasm", handlers::echo_module());
    let program = install(&folder, "bin");
    let mut command = serve(&folder, &program);
    command.args(["--listen", "127.0.0.1:0"]).env("HOME", folder.path("bin"));
    let mut line = Line::start(&mut command);
    let record = line.first.record_with("may not be read any more once another has replaced it");
    assert!(record.contains("bin/server"), "{record}");
    // The same file.
    line.go_on();
    install(&folder, "bin");
    kill_process(line.last(), Signal::USR2).expect("it runs");
    let record = line.first.record_with("there is no takeover; this process goes on");
    assert!(record.contains("in a folder of its own"), "{record}");
}
