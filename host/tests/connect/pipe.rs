//! In a pipe: lines go out, messages come in, and the exit code says how it ended.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept};

use super::{connect, echo, peer, server, told, until_closed, until_end};
use crate::support::{Ended, Folder, Program, run, run_for};

/// Sends everything back.
fn answering(mut socket: WebSocket<TcpStream>) {
    while let Ok(message) = socket.read() {
        if message.is_text() || message.is_binary() {
            socket.send(message).expect("the client reads");
        }
    }
}

/// Runs it with these lines as its input.
fn talk(folder: &Folder, url: &str, options: &[&str], input: &str) -> Ended {
    let input = File::open(folder.write("input", input)).expect("just written");
    run(connect(folder, url).args(options).stdin(input))
}

#[test]
fn lines_go_out_messages_come_in_and_the_end_of_input_closes() {
    let folder = Folder::new();
    for (input, output) in [
        ("hello\n", "hello\n"),
        ("", ""),
        ("one\r\n\nlast", "one\n\nlast\n"),
        ("//text\n/binary 00 ff\n/ping x\né\u{1b}\n", "/text\n00ff\né\u{1b}\n"),
    ] {
        let ended = talk(&folder, &peer(answering), &[], input);
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, output, ""), "{input:?}");
    }
}

#[test]
fn as_json_everything_that_arrives_is_one_object_a_line() {
    let folder = Folder::new();
    let url = peer(|mut socket| {
        socket.send(Message::Ping("a".into())).expect("open");
        for message in [Message::text("\u{1b}[2J\n\"é"), Message::binary(vec![0, 255])] {
            socket.send(message).expect("open");
        }
        socket.close(Some(CloseFrame { code: 1001.into(), reason: "later".into() })).expect("open");
        until_closed(socket);
    });
    let (stdin, _open) = std::io::pipe().expect("a pipe");
    let ended = run(connect(&folder, &url).arg("--json").stdin(stdin));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(
        lines[0].starts_with(r#"{"type":"open","subprotocol":null,"compressed":false,"headers":[["#),
        "{ended:?}"
    );
    assert_eq!(
        lines[1..],
        [
            r#"{"type":"ping","hex":"61"}"#,
            r#"{"type":"message","text":"\u001b[2J\n\"é"}"#,
            r#"{"type":"message","hex":"00ff"}"#,
            r#"{"type":"close","code":1001,"reason":"later"}"#,
        ]
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn the_exit_code_says_how_it_was_closed() {
    let folder = Folder::new();
    let (_program, url) = echo(&folder);
    for (line, code) in [
        ("/close", 0),
        ("/close 1000", 0),
        ("/close 1001 bye", 0),
        ("/close 1008", 1),
        ("/close 4000 good bye", 1),
    ] {
        let ended = talk(&folder, &url, &[], line);
        assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{line}: {ended:?}");
        assert_eq!(ended.stderr.is_empty(), code == 0, "{ended:?}");
    }
    let ended = talk(&folder, &url, &[], "/close 4000 good bye");
    assert_eq!(ended.sentence(), "waterspout: the server closed with 4000 good bye");
    let gone = peer(drop);
    let (stdin, _open) = std::io::pipe().expect("a pipe");
    let ended = run(connect(&folder, &gone).stdin(stdin));
    assert_eq!(
        (ended.code, ended.sentence()),
        (1, "waterspout: the server ended the connection without a close frame")
    );
    let large = peer(|mut socket| {
        socket.send(Message::text("x".repeat(11))).expect("open");
        until_closed(socket);
    });
    let (stdin, _open) = std::io::pipe().expect("a pipe");
    let ended = run(connect(&folder, &large).args(["--max-message-bytes", "10"]).stdin(stdin));
    assert_eq!(ended.code, 1);
    assert!(ended.sentence().contains("more than 10 bytes: --max-message-bytes"), "{ended:?}");
}

#[test]
fn a_line_that_is_wrong_is_told_and_the_others_are_sent() {
    let folder = Folder::new();
    let url = peer(answering);
    let ended =
        talk(&folder, &url, &["--max-message-bytes", "4"], "/nope\n/binary 0\n/close 999\n12345\n1234\n");
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "1234\n"), "{ended:?}");
    for told in
        ["no command /nope", "/binary takes pairs", "close code 999", "over the limit `max-message-bytes`"]
    {
        assert!(ended.stderr.contains(told), "{told}: {ended:?}");
    }
}

#[test]
fn verbose_tells_the_headers_the_pongs_and_the_close_and_keeps_stdout_clean() {
    let folder = Folder::new();
    let ended = talk(&folder, &peer(answering), &["--verbose"], "hello\n/ping still there?\n");
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "hello\n"));
    for told in ["upgrade: websocket", "pong< still there?", "closed: 1000"] {
        assert!(ended.stderr.contains(told), "{told}: {ended:?}");
    }
}

#[test]
fn compression_is_agreed_on_where_it_is_offered() {
    let folder = Folder::new();
    let (_program, url) = echo(&folder);
    for (options, compressed) in [(&["--json", "--compress"][..], true), (&["--json"], false)] {
        let ended = talk(&folder, &url, options, "");
        assert!(ended.stdout.contains(&format!("\"compressed\":{compressed},")), "{ended:?}");
        assert_eq!(ended.code, 0);
    }
}

#[test]
fn headers_subprotocols_and_origin_are_sent() {
    let folder = Folder::new();
    let (heard, hearing) = channel();
    let address = server(move |mut socket| {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("a request");
            request.push(byte[0]);
        }
        heard.send(String::from_utf8(request).expect("text")).expect("the test listens");
        let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 16\r\n\r\nnot\x1b you\nor you\n";
        socket.write_all(answer.as_bytes()).expect("the client reads");
    });
    let options = [
        "-H",
        "Authorization: Bearer x",
        "--header",
        "x-a:b",
        "--subprotocol",
        "v2",
        "--subprotocol",
        "v1",
        "--origin",
        "https://a.example",
        "--compress",
    ];
    let ended = talk(&folder, &format!("ws://{address}/a?b"), &options, "");
    let request = told(&hearing).to_ascii_lowercase();
    let lines: Vec<&str> = request.lines().collect();
    for line in [
        "get /a?b http/1.1",
        &format!("host: {address}"),
        "authorization: bearer x",
        "x-a: b",
        "sec-websocket-protocol: v2, v1",
        "origin: https://a.example",
        "sec-websocket-extensions: permessage-deflate; client_max_window_bits",
    ] {
        assert!(lines.contains(&line), "{line}: {request}");
    }
    // A stranger's words do not steer a terminal.
    let told = "waterspout: the server answered with status 403 Forbidden: not\\u{1b} you";
    assert_eq!((ended.code, ended.sentence()), (1, told));
}

#[test]
fn why_there_is_no_connection_is_one_sentence() {
    let folder = Folder::new();
    let (_program, url) = echo(&folder);
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let silent = server(until_end);
    for (url, options, told) in [
        (format!("ws://{nobody}/"), &[][..], "nobody listens at 127.0.0.1:"),
        (
            format!("ws://{silent}/"),
            &["--connect-timeout", "50ms"],
            "within 50ms: --connect-timeout waits longer",
        ),
        (url.replace("ws://", "wss://"), &[], "does not speak TLS"),
        (url.replace("/websocket", "/nowhere"), &[], "status 404 Not Found"),
        ("ws://nowhere.invalid/".into(), &[], "no address found for `nowhere.invalid`"),
        ("http://127.0.0.1/".into(), &[], "begins with ws:// or wss://"),
        ("no url".into(), &[], "a WebSocket's URL is like ws://"),
        (url.clone(), &["-H", "nonsense"], "--header: one has no colon"),
        (format!("ws://{nobody}/"), &["--ping-interval", "500000000000y"], "nobody listens at"),
        (url.clone(), &["-H", "Host: a"], "the header `host` is the handshake's own"),
        (url.clone(), &["--subprotocol", "a b"], "`a b` is no subprotocol"),
        (url.clone(), &["--ca", "nowhere.pem"], "--ca nowhere.pem: No such file"),
        (url.clone(), &["--ca", "input"], "--ca input: no `-----BEGIN CERTIFICATE-----`"),
    ] {
        let ended = talk(&folder, &url, options, "");
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{url}: {ended:?}");
        assert!(
            ended.sentence().starts_with("waterspout: ") && ended.sentence().contains(told),
            "{url}: {ended:?}"
        );
    }
}

#[test]
fn ctrl_c_closes_with_1001_and_a_second_one_does_not_wait() {
    let folder = Folder::new();
    let (code, closed) = channel();
    let url = peer(move |mut socket| {
        socket.send(Message::text("hello")).expect("open");
        while let Ok(message) = socket.read() {
            if let Message::Close(Some(frame)) = message {
                code.send(u16::from(frame.code)).expect("the test listens");
            }
        }
    });
    let (stdin, _open) = std::io::pipe().expect("a pipe");
    let program = Program::start(connect(&folder, &url).stdin(stdin));
    assert_eq!(program.first_line(), "hello");
    program.signal(Signal::INT);
    let ended = program.wait();
    assert_eq!((ended.code, ended.stderr.as_str(), told(&closed)), (0, "", 1001));

    // It has seen the close frame, and says nothing.
    let (begun, closing) = channel();
    let url = peer(move |mut socket| {
        socket.send(Message::text("hello")).expect("open");
        let mut socket = socket.get_ref();
        let _ = socket.read(&mut [0; 16]);
        begun.send(()).expect("the test listens");
        until_end(&mut socket);
    });
    let (stdin, _open) = std::io::pipe().expect("a pipe");
    let program = Program::start(connect(&folder, &url).stdin(stdin));
    program.signal(Signal::INT);
    told(&closing);
    program.signal(Signal::INT);
    assert_eq!(program.wait().code, 130);
}

#[test]
fn whoever_reads_the_messages_may_go_away() {
    let folder = Folder::new();
    let url = peer(|mut socket| {
        // Until the client closes.
        socket.get_ref().set_nonblocking(true).expect("a socket has the option");
        while !socket.read().is_ok_and(|message| message.is_close()) {
            // Where it takes nothing more, it is told later.
            let _ = socket.send(Message::text("tick"));
        }
        socket.get_ref().set_nonblocking(false).expect("a socket has the option");
        until_closed(socket);
    });
    let (stdin, _open) = std::io::pipe().expect("a pipe");
    let ended = run_for(connect(&folder, &url).stdin(stdin), 1);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "tick\n", ""));
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        return eprintln!("skipped: there is no /dev/full");
    };
    let folder = Folder::new();
    let url = peer(|mut socket| {
        let _ = socket.send(Message::text("lost"));
        until_closed(socket);
    });
    let (stdin, _open) = std::io::pipe().expect("a pipe");
    let mut command = connect(&folder, &url);
    let output =
        command.stdin(stdin).stdout(full).stderr(std::process::Stdio::piped()).output().expect("run");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("stdout cannot be written") && told.contains("messages are lost"), "{told}");
}

#[test]
fn a_server_over_tls_is_trusted_by_its_authority() {
    let folder = Folder::new();
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let file = folder.write("ca.pem", issued.cert.pem());
    let ca = file.to_str().expect("UTF-8");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.into())
        .expect("a certificate with its key");
    let config = Arc::new(config);
    let tls = move || {
        let config = config.clone();
        server(|socket| {
            let session = rustls::ServerConnection::new(config).expect("a session");
            let Ok(mut socket) = accept(rustls::StreamOwned::new(session, socket)) else { return };
            while let Ok(message) = socket.read() {
                if !message.is_close() {
                    socket.send(message).expect("the client reads");
                }
            }
        })
    };
    let ended = talk(&folder, &format!("wss://{}/", tls()), &["--ca", ca], "hello\n");
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "hello\n", ""));
    // Somebody else is trusted.
    let other = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("a certificate");
    let other = folder.write("other.pem", other.cert.pem());
    let other = other.to_str().expect("UTF-8");
    let ended = talk(&folder, &format!("wss://{}/", tls()), &["--ca", other], "hello\n");
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(
        ended.sentence().contains("the server cannot be trusted") && ended.sentence().contains("--ca FILE"),
        "{ended:?}"
    );
}
