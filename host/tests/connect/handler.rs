//! With a handler on the client's side.

use std::sync::mpsc::channel;

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{connect, peer, told, until_closed};
use crate::support::{Folder, handlers, run};

#[test]
fn a_handler_on_the_clients_side_answers_the_server() {
    let folder = Folder::new();
    let handler = folder.write("echo.wasm", handlers::echo_module());
    for (code, exit) in [(1000, 0), (1001, 0), (4000, 1)] {
        let (heard, hears) = channel();
        let url = peer(move |mut socket| {
            socket.send(Message::text("are you an echo?")).expect("open");
            heard.send(socket.read().expect("an answer")).expect("the test waits");
            socket.close(Some(CloseFrame { code: code.into(), reason: "thanks".into() })).expect("open");
            until_closed(socket);
        });
        let ended = run(connect(&folder, &url).arg(&handler));
        assert_eq!(told(&hears), Message::text("are you an echo?"));
        assert_eq!((ended.code, ended.stdout.as_str()), (exit, ""), "{ended:?}");
        assert_eq!(ended.stderr.contains("the server closed with 4000 thanks"), exit == 1, "{ended:?}");
    }
}

#[test]
fn a_handler_that_is_none_is_named_and_nobody_is_called() {
    let folder = Folder::new();
    let handler = folder.write("handler.wasm", "no WebAssembly");
    let ended = run(connect(&folder, "ws://127.0.0.1:9/").arg(&handler));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("handler.wasm is not WebAssembly"), "{ended:?}");
}

#[test]
fn ctrl_c_closes_a_handlers_connection() {
    let folder = Folder::new();
    let handler = folder.write("echo.wasm", handlers::echo_module());
    let (heard, hears) = channel();
    let url = peer(move |mut socket| {
        socket.send(Message::text("hello")).expect("open");
        heard.send(socket.read().expect("the answer")).expect("the test waits");
        heard.send(socket.read().expect("the close")).expect("the test waits");
        until_closed(socket);
    });
    let mut child = connect(&folder, &url).arg(&handler).spawn().expect("it starts");
    assert_eq!(told(&hears), Message::text("hello"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).expect("it runs");
    let close = told(&hears);
    assert!(matches!(&close, Message::Close(Some(frame)) if u16::from(frame.code) == 1001), "{close:?}");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
