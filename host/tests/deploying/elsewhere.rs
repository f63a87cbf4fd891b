//! Where the server is that is asked: a socket's file, a configuration, the environment; and who may be there instead.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::{Host, folder};
use crate::support::{Folder, TOKEN, run};

#[test]
fn a_unix_socket_is_asked_and_a_configuration_says_where_it_is() {
    let folder = folder("");
    // Relative to where the server was started, as a shorter path than the folder's may be needed; the token's file is not.
    let config = std::fs::read_to_string(folder.path("waterspout.toml")).expect("ours");
    let config = config.replace("[admin]\nlisten = '127.0.0.1:0'", "[admin]\nlisten = 'unix:admin.sock'");
    folder.write("waterspout.toml", &config);
    let host = Host::start(&folder);
    assert_eq!(host.admin, "unix:admin.sock");
    assert!(host.says(&["deploy", "new.wasm", "--route", "chat"]).starts_with("version 2 ("));
    let ended = run(folder.command().args(["versions", "--config", "waterspout.toml"]));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert!(ended.stdout.contains("chat") && ended.stdout.contains("previous"), "{ended:?}");
    // The socket is its owner's, but this server wants its token all the same.
    let ended = run(folder.command().args(["versions", "--admin", "unix:admin.sock"]));
    assert!(ended.code == 1 && ended.sentence().contains("wants a token"), "{ended:?}");
}

#[test]
fn the_environment_says_where_the_server_is_unless_a_flag_does() {
    let folder = folder("");
    let host = Host::start(&folder);
    let variables = [("WATERSPOUT_ADMIN", host.admin.as_str()), ("WATERSPOUT_ADMIN_TOKEN_FILE", "token")];
    let ended = run(folder.command().arg("versions").envs(variables));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let ended = run(folder.command().args(["versions", "--admin", "127.0.0.1:1"]).envs(variables));
    assert!(ended.code == 2 && ended.sentence().contains("127.0.0.1:1 cannot be reached"), "{ended:?}");
    let ended = run(folder.command().arg("versions").env("WATERSPOUT_ADMIN", "example.com:80"));
    assert!(
        ended.code == 1
            && ended.sentence().contains("WATERSPOUT_ADMIN: `example.com:80` is not on this machine"),
        "{ended:?}"
    );
}

#[test]
fn a_configuration_without_a_known_place_says_so() {
    let folder = folder("");
    let ended = run(folder.command().args(["versions", "--config", "waterspout.toml"]));
    assert_eq!(ended.code, 1);
    assert!(ended.sentence().contains("in `[admin]`: `127.0.0.1:0` takes any port"), "{ended:?}");
    folder.write("bare.toml", "[route.chat]\npath = '/chat'\nhandler = 'chat.wasm'\n");
    let ended = run(folder.command().args(["versions", "--config", "bare.toml"]));
    assert_eq!(ended.code, 1);
    assert!(ended.sentence().contains("bare.toml: there is no `[admin]`"), "{ended:?}");
}

#[test]
fn a_server_that_is_not_there_is_exit_2_with_what_to_do() {
    let folder = folder("");
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    for admin in [free.to_string(), "unix:no-such.sock".into()] {
        let mut command = folder.command();
        command.args(["deploy", "new.wasm", "--route", "chat", "--token-file", "token", "--admin", &admin]);
        let ended = run(&mut command);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        let sentence = ended.sentence();
        assert!(
            sentence.starts_with(&format!("waterspout: the admin listener at {admin} cannot be reached: ")),
            "{ended:?}"
        );
        assert!(sentence.contains("start the server with an `[admin]`"), "{ended:?}");
    }
}

/// Asks a server that gives everybody this answer: how the command ends, and what it has asked.
fn asked(folder: &Folder, answer: &'static [u8], arguments: &[&str]) -> (crate::support::Ended, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let admin = listener.local_addr().expect("an address").to_string();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("a head");
            head.extend(byte);
        }
        socket.write_all(answer).expect("it reads");
        String::from_utf8(head).expect("text")
    });
    let mut command = folder.command();
    let ended = run(command.args(arguments).args(["--token-file", "token", "--admin", &admin]));
    (ended, server.join().expect("it was asked"))
}

#[test]
fn who_is_no_admin_listener_is_told_so() {
    let folder = folder("");
    for (answer, code, wanted) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"[..], 2, "is no admin listener of Waterspout"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 2, "is no admin listener of Waterspout"),
        (b"", 2, "ended the connection before it had answered"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<", 2, "ended the connection before it had answered"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", 2, "ended the connection before it had answered"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n\x1b[2Jno", 1, "answers 404: \\u{1b}[2Jno"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", 2, "answers 500: no"),
    ] {
        for arguments in
            [&["versions"][..], &["rollback", "--route", "chat"], &["unpin", "--json", "--route", "chat"]]
        {
            let (ended, _) = asked(&folder, answer, arguments);
            assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{ended:?}");
            assert!(ended.sentence().contains(wanted), "{wanted}: {ended:?}");
        }
    }
}

#[test]
fn every_command_asks_what_it_is_for() {
    let folder = folder("");
    const SWAPPED: &[u8] =
        b"HTTP/1.1 200 OK\r\n\r\n{\"version\":2,\"sha256\":\"ab\",\"on_swap\":\"drain\",\"connections\":1}";
    const PINNED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n{\"pinned\":2,\"kept\":false,\"note\":\"not for ever\"}";
    const UNPINNED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n{\"pinned\":null,\"kept\":true}\n";
    for (arguments, answer, target, told) in [
        (
            &["deploy", "new.wasm", "--route", "chat", "--on-swap", "drain"][..],
            SWAPPED,
            "PUT /routes/chat/handler?on-swap=drain ",
            "version 2 (ab) of chat is served\n1 connection stays with the old version until it ends, or `max-drain`\n",
        ),
        (
            &["promote", "--route", "chat", "--tenant", "acme"],
            SWAPPED,
            "POST /routes/chat/promote?tenant=acme ",
            "version 2 (ab) of chat is served\n1 connection stays with the old version until it ends, or `max-drain`\n",
        ),
        (
            &["pin", "2", "--route", "chat"],
            PINNED,
            "POST /routes/chat/pin?version=2 ",
            "version 2 of chat is pinned: it stays until `waterspout unpin --route chat`\nnote: not for ever\n",
        ),
        (
            &["pin", "--route", "it's one", "--tenant", "acme"],
            PINNED,
            "POST /routes/it%27s%20one/pin?tenant=acme ",
            "version 2 of it's one is pinned: it stays until `waterspout unpin --route 'it'\\''s one' --tenant acme`\nnote: not for ever\n",
        ),
        (
            &["unpin", "--route", "chat"],
            UNPINNED,
            "DELETE /routes/chat/pin ",
            "no version of chat is pinned\n",
        ),
        (
            &["unpin", "--route", "chat", "--json"],
            UNPINNED,
            "DELETE /routes/chat/pin ",
            "{\"pinned\":null,\"kept\":true}\n",
        ),
    ] {
        let (ended, head) = asked(&folder, answer, arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (0, told), "{arguments:?}: {ended:?}");
        assert!(head.starts_with(target), "{head}");
        assert!(
            head.contains("host: localhost\r\n")
                && head.contains(&format!("authorization: Bearer {TOKEN}\r\n")),
            "{head}"
        );
    }
}
