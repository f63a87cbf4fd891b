//! On a terminal: what is typed and what arrives do not garble each other.

use std::io::Read;
use std::sync::mpsc::channel;

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::pty::Pty;
use super::{connect, peer, told, until_closed, until_end};
use crate::support::Folder;

#[test]
fn a_message_that_arrives_while_a_line_is_typed_does_not_garble_it() {
    let folder = Folder::new();
    let (say, sayings) = channel::<&'static str>();
    let (heard, hearing) = channel();
    let url = peer(move |mut socket| {
        for text in sayings {
            socket.send(Message::text(text)).expect("open");
        }
        while let Ok(message) = socket.read() {
            heard.send(message).expect("the test listens");
        }
    });
    let mut pty = Pty::open();
    let before = pty.modes();
    let program = pty.run(connect(&folder, &url).env("TERM", "xterm"));
    pty.shows("connected to ws://");
    pty.takes_line(1);
    pty.types("hal");
    pty.shows("hal");
    say.send("\u{1b}[2Jnews").expect("the server listens");
    drop(say);
    pty.shows("< \\u{1b}[2Jnews");
    // It is there again, and goes on.
    pty.shows("> hal");
    pty.types("lo\r");
    pty.takes_line(2);
    assert_eq!(told(&hearing), Message::text("hallo"));
    // The history has it.
    pty.types("\u{1b}[A!\r");
    pty.takes_line(3);
    assert_eq!(told(&hearing), Message::text("hallo!"));
    pty.types("/nope\r");
    pty.takes_line(4);
    pty.shows("no command /nope");
    pty.types("\u{4}");
    assert!(told(&hearing).is_close());
    pty.shows("closed: 1000");
    assert_eq!(program.wait(), 0);
    assert_eq!(pty.modes(), before);
}

#[test]
fn what_is_typed_ahead_is_not_lost() {
    let folder = Folder::new();
    let (heard, hearing) = channel();
    let url = peer(move |mut socket| {
        while let Ok(message) = socket.read() {
            // Each has something to be shown while the next one is taken.
            let _ = socket.send(message.clone());
            heard.send(message).expect("the test listens");
        }
    });
    let mut pty = Pty::open();
    let program = pty.run(connect(&folder, &url).env("TERM", "xterm"));
    pty.takes_line(1);
    let lines: Vec<String> = (0..300).map(|number| format!("line {number}")).collect();
    pty.types(&(lines.join("\r") + "\r"));
    for line in &lines {
        assert_eq!(told(&hearing), Message::text(line));
    }
    pty.shows("< line 299");
    pty.takes_line(301);
    pty.types("\u{4}");
    pty.shows("closed: 1000");
    assert_eq!(program.wait(), 0);
}

#[test]
fn a_terminal_is_left_as_it_was_whoever_ends_the_connection() {
    let folder = Folder::new();
    let (typed, typing) = channel::<()>();
    let theirs = peer(move |mut socket| {
        told(&typing);
        socket.close(Some(CloseFrame { code: 4001.into(), reason: "go".into() })).expect("open");
        until_closed(socket);
    });
    let mut pty = Pty::open();
    let before = pty.modes();
    let program = pty.run(connect(&folder, &theirs).env("TERM", "xterm"));
    pty.takes_line(1);
    assert_ne!(pty.modes(), before);
    typed.send(()).expect("the server listens");
    pty.shows("closed: 4001 go");
    pty.shows("waterspout: the server closed with 4001 go");
    assert_eq!(program.wait(), 1);
    assert_eq!(pty.modes(), before);

    let ours = peer(until_closed);
    let program = pty.run(connect(&folder, &ours).env("TERM", "xterm"));
    pty.takes_line(2);
    pty.types("\u{3}");
    pty.shows("closed: 1001");
    assert_eq!(program.wait(), 0);
    assert_eq!(pty.modes(), before);
}

#[test]
fn a_second_ctrl_c_on_a_terminal_does_not_wait() {
    let folder = Folder::new();
    let (begun, closing) = channel();
    let url = peer(move |socket| {
        let mut socket = socket.get_ref();
        let _ = socket.read(&mut [0; 16]);
        begun.send(()).expect("the test listens");
        until_end(&mut socket);
    });
    let mut pty = Pty::open();
    let before = pty.modes();
    let program = pty.run(connect(&folder, &url).env("TERM", "xterm"));
    pty.takes_line(1);
    pty.types("\u{3}");
    told(&closing);
    pty.takes_line(2);
    pty.types("\u{3}");
    assert_eq!(program.wait(), 130);
    assert_eq!(pty.modes(), before);
}
