//! Linux: how many handlers are compiled at once at the start, and in which order it tells of them.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal};

use super::children::{children_of, status, until};
use super::wasm;
use crate::support::{Folder, Program, handlers, run};

/// A host that has begun to compile. Killed when dropped.
struct Host(Child);

impl Host {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts"))
    }

    fn compilers(&self) -> Vec<Pid> {
        let confined = |pid: &Pid| status(*pid, "Seccomp").as_deref() == Some("2");
        children_of(Pid::from_child(&self.0)).into_iter().filter(confined).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// So many routes, each with a handler of its own that takes long.
fn slow_routes(folder: &Folder, count: usize, compile: &str) -> std::path::PathBuf {
    let mut text = format!("listen = '127.0.0.1:0'\n[compile]\n{compile}\n");
    for number in 0..count {
        let handler = wasm::with_custom_section(&wasm::slow(), number + 1);
        folder.write(&format!("{number}.wasm"), handler);
        text += &format!("[route.r{number}]\npath = '/{number}'\nhandler = '{number}.wasm'\n");
    }
    folder.write("waterspout.toml", text)
}

#[test]
fn so_many_handlers_are_compiled_at_once_and_the_next_one_waits() {
    let folder = Folder::new();
    let config = slow_routes(&folder, 3, "max-at-once = 2");
    let host = Host::start(folder.command().args(["serve", "--config"]).arg(config));
    let two = until(|| Some(host.compilers()).filter(|compilers| compilers.len() == 2));
    // The third one's turn comes when one of them has ended, however it does.
    rustix::process::kill_process(two[0], Signal::KILL).expect("it works");
    let next = until(|| {
        let now = host.compilers();
        assert!(now.len() <= 2, "{now:?}");
        now.into_iter().find(|pid| !two.contains(pid))
    });
    assert!(host.compilers().contains(&two[1]), "{next} came in the first one's place alone");
}

#[test]
fn handlers_that_fail_at_once_are_told_of_in_the_order_of_the_file() {
    let folder = Folder::new();
    let config = slow_routes(&folder, 3, "timeout = '1s'\nmax-at-once = 3");
    // The last one fails first.
    fs::write(folder.path("2.wasm"), "no handler").expect("ours");
    let ended = run(folder.command().args(["serve", "--config"]).arg(config));
    let routes: Vec<_> = ended.stderr.lines().filter_map(|line| line.split('`').nth(1)).collect();
    assert_eq!((ended.code, routes), (1, vec!["r0", "r1", "r2"]), "{ended:?}");
}

#[test]
fn a_file_of_several_routes_is_compiled_once_for_all_when_it_has_changed() {
    let folder = Folder::new();
    folder.write("shared.wasm", handlers::echo());
    let mut text = "listen = '127.0.0.1:0'\n[compile]\ntimeout = '1s'\nmax-at-once = 1\n".to_owned();
    for number in 0..9 {
        text += &format!("[route.r{number}]\npath = '/{number}'\nhandler = 'shared.wasm'\n");
    }
    let config = folder.write("waterspout.toml", text);
    let program = Program::start(folder.command().args(["serve", "--config"]).arg(config));
    folder.write("shared.wasm", wasm::slow());
    let began = Instant::now();
    program.signal(Signal::HUP);
    let records = program.records_to("SIGHUP: the handlers are looked at");
    assert_eq!(records.iter().filter(|record| record.contains("takes longer than 1s")).count(), 9);
    assert!(began.elapsed().as_secs() < 6, "each has waited for the time-out: {:?}", began.elapsed());
}
