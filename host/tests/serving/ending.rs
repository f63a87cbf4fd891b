//! How a server ends: by a signal, in order, and at once.

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Folder, Program, client, echoes};

#[test]
fn ctrl_c_and_sigterm_close_connections_with_1001_and_exit_0() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = Folder::new();
        let program = Program::start(&mut folder.serve());
        let mut client = client(program.address(), "/websocket");
        echoes(&mut client, "open");
        program.signal(signal);
        let Message::Close(Some(frame)) = client.read().expect("a close frame") else {
            panic!("no close frame")
        };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1001, "going away"));
        // Reading on answers it.
        assert!(client.read().is_err());
        let ended = program.wait();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stdout.contains("closing connections"), "{ended:?}");
    }
}

#[test]
fn without_connections_ctrl_c_ends_it_at_once() {
    let folder = Folder::new();
    let program = Program::start(&mut folder.serve());
    program.signal(Signal::INT);
    assert_eq!(program.wait().code, 0);
}

#[test]
fn a_second_ctrl_c_drops_connections_that_do_not_close() {
    let folder = Folder::new();
    // Longer than this test waits: only the second signal can end it.
    let mut command = folder.serve_configured(
        "listen = '127.0.0.1:0'\ngrace = '10min'\n[limits]\nclose-timeout = '10min'\n\
         [route.echo]\npath = '/websocket'\nhandler = 'echo.wasm'\n",
    );
    let program = Program::start(&mut command);
    let mut client = client(program.address(), "/websocket");
    client.send(Message::text("open")).expect("sent");
    client.read().expect("an echo");
    program.signal(Signal::INT);
    // The frame is read and, as nothing is read or written after it, not answered.
    assert!(client.read().expect("a close frame").is_close());
    program.signal(Signal::INT);
    assert_eq!(program.wait().code, 130);
}

#[test]
fn connections_that_do_not_close_are_dropped_after_the_grace() {
    let folder = Folder::new();
    let mut command = folder.serve_configured(
        "listen = '127.0.0.1:0'\ngrace = '50ms'\n[limits]\nclose-timeout = '10min'\n\
         [route.echo]\npath = '/websocket'\nhandler = 'echo.wasm'\n",
    );
    let program = Program::start(&mut command);
    let mut client = client(program.address(), "/websocket");
    client.send(Message::text("open")).expect("sent");
    client.read().expect("an echo");
    program.signal(Signal::TERM);
    let ended = program.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("at most 50ms"), "{ended:?}");
    assert!(ended.stderr.contains("dropped at the end of the grace period"), "{ended:?}");
}
