//! A compiler of a confined server: it is as confined as the server and more, and still goes first where memory is short.

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::{open_folder, serve};
use crate::compiling::children::{children_of, status, until};
use crate::compiling::wasm;

#[test]
fn a_confined_servers_compiler_offers_itself_as_the_first_to_be_ended() {
    let Some(folder) = open_folder() else { return };
    folder.write("slow.wasm", wasm::slow());
    let mut command = serve(&folder, ["slow.wasm", "--listen", "127.0.0.1:0"]);
    let mut host = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let of_host = Pid::from_child(&host);
    let compiler = until(|| {
        let compiler = children_of(of_host).into_iter().next()?;
        (status(compiler, "Seccomp").as_deref() == Some("2")).then_some(compiler)
    });
    let score = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("readable");
    let (of_compiler, of_host_now) = (score(compiler), score(of_host));
    kill_process(of_host, Signal::KILL).expect("it runs");
    host.wait().expect("our own child");
    assert_eq!(of_compiler, "1000\n");
    assert_ne!(of_host_now, of_compiler, "the server is not the first");
}
