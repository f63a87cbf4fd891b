//! The `waterspout` program, as a person or a script runs it: what it prints, what it serves, how it ends.

mod compiling;
mod connect;
mod deploying;
#[cfg(target_os = "linux")]
mod sandbox;
mod sources;
mod support;
mod takeover;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use support::{Folder, Program, client, get, handlers, run, run_for};

// Serving.

#[test]
fn serve_without_a_handler_is_the_echo_on_the_address_that_it_prints() {
    let folder = Folder::new();
    let program = Program::start(folder.command().args(["serve", "--listen", "127.0.0.1:0"]));
    let address = program.address();
    assert_ne!(address.port(), 0);
    assert_eq!(program.first_line(), format!("listening on ws://{address}/websocket"));
    let mut client = client(address, "/websocket");
    for message in [Message::text("hé"), Message::binary(vec![0, 255]), Message::text("")] {
        client.send(message.clone()).expect("sent");
        assert_eq!(client.read().expect("an echo"), message);
    }
    assert_eq!(get(address, "/healthz"), (200, "ok\n".into()));
}

#[test]
fn a_component_a_core_module_and_text_are_all_served() {
    let folder = Folder::new();
    let module = handlers::echo_module();
    for (name, bytes) in [
        ("component.wasm", handlers::component_of(&module)),
        ("module.wasm", module.clone()),
        ("text.wat", handlers::text_of(&module)),
        // Told apart by content, not by name.
        ("text.wasm", handlers::text_of(&module)),
    ] {
        let handler = folder.write(name, bytes);
        let program =
            Program::start(folder.command().arg("serve").arg(&handler).args(["--listen", "127.0.0.1:0"]));
        let mut client = client(program.address(), "/websocket");
        client.send(Message::text(name)).expect("sent");
        assert_eq!(client.read().expect("an echo"), Message::text(name));
    }
}

#[test]
fn path_instance_host_and_origin_are_taken() {
    let folder = Folder::new();
    let program = Program::start(
        folder.command().args(["serve", "--listen", "127.0.0.1:0", "--path", "/chat/{room}"]).args([
            "--instance",
            "{room}",
            "--host",
            "127.0.0.1",
            "--origin",
            "https://example.com",
        ]),
    );
    let address = program.address();
    assert_eq!(program.first_line(), format!("listening on ws://{address}/chat/{{room}}"));
    client(address, "/chat/blue").send(Message::text("hello")).expect("sent");
    let handshake = |host: &str, origin: &str| {
        let headers = format!(
            "Host: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        support::request(address, "/chat/blue", &headers).0
    };
    assert_eq!(handshake("127.0.0.1", "https://example.com"), 101);
    assert_eq!(handshake("127.0.0.1", "http://127.0.0.1"), 403);
    assert_eq!(handshake("localhost", "https://example.com"), 421);
    assert_eq!(get(address, "/websocket").0, 404);
}

#[test]
fn an_address_in_use_is_named() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = run(folder.command().args(["serve", "--listen", &address]));
    assert_eq!(ended.code, 1);
    assert!(ended.sentence().starts_with(&format!("waterspout: cannot listen on {address}: ")), "{ended:?}");
}

// Bad input.

/// Every bad handler with what is to be said of it.
fn bad_handlers() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let module = handlers::echo_module();
    let component = handlers::component_of(&module);
    let truncated = |bytes: &[u8], part: usize| bytes[..bytes.len() / part].to_vec();
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("empty.wasm", Vec::new(), "is not WebAssembly"),
        ("letter.wasm", text("Dear Sir or Madam,\n"), "is not WebAssembly"),
        ("noise.wasm", vec![0xfe; 1000], "is not WebAssembly"),
        ("truncated-component.wasm", truncated(&component, 2), "does not compile: unexpected end"),
        ("truncated-module.wasm", truncated(&module, 2), "does not compile: unexpected end"),
        ("header.wasm", component[..8].to_vec(), "is a component of another world: it exports nothing"),
        ("half-a-header.wasm", component[..6].to_vec(), "does not compile"),
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec(), "is a core module without a `component-type` section"),
        (
            "core.wat",
            text("(module (func (export \"run\")))"),
            "is a core module without a `component-type` section",
        ),
        (
            "incomplete.wasm",
            handlers::module_of("(module (memory (export \"memory\") 1))"),
            "is a core module that cannot be made a component",
        ),
        (
            "other.wat",
            text("(component (instance $i) (export \"acme:db/store@1.0.0\" (instance $i)))"),
            "is a component of another world: it exports `acme:db/store@1.0.0`, not `waterspout:websocket/handler@0.1.0`",
        ),
        (
            "unmet.wat",
            text(
                "(component (import \"acme:db/store@1.0.0\" (instance (export \"get\" (func)))) \
                 (instance $i) (export \"waterspout:websocket/handler@0.1.0\" (instance $i)))",
            ),
            "imports what this host does not offer",
        ),
        (
            "unlike.wat",
            text("(component (instance $i) (export \"waterspout:websocket/handler@0.1.0\" (instance $i)))"),
            "does not export `waterspout:websocket/handler@0.1.0` as this host knows it",
        ),
        (
            "forged.wasm",
            [b"\x7fELF".as_slice(), &[0; 200]].concat(),
            "precompiled artefacts are never loaded",
        ),
        ("forged.cwasm", forged_artefact(&component), "precompiled artefacts are never loaded"),
        ("mistake.wat", text("(module (func (export \"run\")"), "is WebAssembly text with a mistake"),
        ("typo.wat", text("(component\n  (imprt \"a\" (func)))"), "is WebAssembly text with a mistake"),
    ]
}

/// What wasmtime's own `compile` makes of a component.
fn forged_artefact(component: &[u8]) -> Vec<u8> {
    wasmtime::Engine::default().precompile_component(component).expect("a component")
}

#[test]
fn a_bad_handler_is_one_sentence_and_exit_1_before_the_port_opens() {
    let folder = Folder::new();
    // Whoever tried to listen would say so instead.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    for (name, bytes, wanted) in bad_handlers() {
        let file = folder.write(name, bytes);
        let ended = run(folder.command().arg("serve").arg(&file).args(["--listen", &address]));
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{name}: {ended:?}");
        let sentence = ended.sentence();
        assert!(
            sentence.starts_with(&format!("waterspout: {} {}", file.display(), before_space(wanted))),
            "{sentence}"
        );
        assert!(sentence.contains(wanted), "{name}: {sentence}");
    }
}

fn before_space(text: &str) -> &str {
    // `precompiled artefacts...` stands within its sentence.
    if text.starts_with("precompiled") {
        "is not WebAssembly"
    } else {
        text.split(' ').next().unwrap_or_default()
    }
}

#[test]
fn the_import_that_is_not_met_and_the_place_of_a_mistake_are_named() {
    let folder = Folder::new();
    let said_of = |name: &str| {
        let (_, bytes, _) =
            bad_handlers().into_iter().find(|(other, ..)| *other == name).expect("a bad handler");
        let file = folder.write(name, bytes);
        run(folder.command().arg("serve").arg(file).args(["--listen", "127.0.0.1:0"])).stderr
    };
    assert!(said_of("unmet.wat").contains("acme:db/store@1.0.0"));
    let mistake = said_of("typo.wat");
    assert!(mistake.contains("line 2, column") && mistake.contains("imprt"), "{mistake}");
}

#[test]
fn a_missing_file_and_a_folder_are_named() {
    let folder = Folder::new();
    for file in [folder.path("no-such.wasm"), folder.path("")] {
        for command in ["serve", "check"] {
            let ended = run(folder.command().arg(command).arg(&file));
            assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
            let sentence = ended.sentence();
            assert!(
                sentence.starts_with(&format!("waterspout: {} cannot be read: ", file.display())),
                "{sentence}"
            );
        }
    }
}

#[test]
fn mistaken_arguments_are_exit_1_and_named() {
    let folder = Folder::new();
    for (arguments, wanted) in [
        (&["serve", "--lissten", "127.0.0.1:0"][..], "'--listen'"),
        (&["serve", "--listen", "nowhere"], "nowhere"),
        (&["serve", "--path", "chat"], "--path chat: a path begins with `/`"),
        (&["serve", "--path", "/{room}", "--instance", "{rom}"], "did you mean `room`?"),
        (
            &["serve", "--instance", "each"],
            "--instance each: `each` is neither `connection`, `route` nor a template",
        ),
        (&["serve", "--origin", "example.com"], "https://example.com"),
        (&["serve", "--host", "example.com:80"], "without port"),
        (&["serve", "--page", "no-such.html"], "no-such.html"),
        (&["serve", "--page", "--no-page"], "--no-page"),
        (&["serve", "--config", "no-such.toml"], "no-such.toml: cannot be read"),
        (&["serve", "handler.wasm", "--config", "a.toml"], "--config"),
        (&["--log", "info,=", "serve", "--listen", "127.0.0.1:0"], "--log info,="),
        (&["sevre"], "sevre"),
    ] {
        let ended = run(folder.command().args(arguments));
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(wanted), "{arguments:?}: {}", ended.stderr);
    }
}

// Checking.

#[test]
fn check_tells_what_a_good_handler_is() {
    let folder = Folder::new();
    let module = handlers::echo_module();
    for (name, bytes, form) in [
        ("component.wasm", handlers::component_of(&module), "component"),
        ("module.wasm", module.clone(), "core module"),
        ("text.wat", handlers::text_of(&module), "WebAssembly text"),
    ] {
        let file = folder.write(name, bytes);
        let ended = run(folder.command().arg("check").arg(&file));
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        let lines: Vec<_> = ended.stdout.lines().collect();
        assert_eq!(lines[0], file.display().to_string());
        assert!(lines[1].starts_with(&format!("form     {form}, ")), "{ended:?}");
        assert_eq!(lines[2], "world    waterspout:websocket/websocket-app@0.1.0");
        assert_eq!(lines[3], "exports  waterspout:websocket/handler@0.1.0");
        assert!(lines.iter().any(|line| line.contains("waterspout:websocket/connection@0.1.0")), "{ended:?}");
        assert_eq!(
            *lines.last().expect("a line"),
            format!("ok       `waterspout serve {}` runs it", file.display())
        );
    }
}

#[test]
fn check_tells_every_limit_that_a_configuration_comes_to() {
    let folder = Folder::new();
    let handler = folder.write("echo.wat", "(component)");
    let text = format!(
        "max-instances = 9\n[limits]\nmax-timers = 3\n[tenant.acme]\nhosts = ['a.example']\n\
         connect = ['api.example:443']\n[tenant.acme.total]\nmax-connections = 7\nmax-memory-bytes = 'unlimited'\n\
         [tenant.acme.route.chat]\npath = '/chat'\nhandler = '{}'\nlimits.life-time = 'unlimited'\nlimits.fuel-per-event = 5000\n",
        handler.display()
    );
    let file = folder.write("waterspout.toml", text);
    let ended = run_for(folder.command().arg("check").arg("--config").arg(&file), 200);
    for line in [
        "max-instances = 9",
        "max-handshakes-per-address = 100",
        "[tenant.acme.total]\nmax-connections = 7",
        "max-memory-bytes = \"unlimited\"\ncpu-share = 100",
        "# its handlers may connect to api.example:443",
        "max-timers = 3",
        "cpu-per-event = \"50ms\"\nfuel-per-event = 5000\nwall-per-event",
        "life-time = \"unlimited\"",
    ] {
        assert!(ended.stdout.contains(line), "no `{line}`: {ended:?}");
    }
    // The handler is looked at, too.
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.sentence().contains("in route `chat`") && ended.sentence().contains("another world"),
        "{ended:?}"
    );
    for arguments in [&["check"][..], &["check", "a.wasm", "--config", "b.toml"]] {
        assert_eq!(run(folder.command().args(arguments)).code, 1);
    }
}

#[test]
fn check_tells_what_is_wrong_with_a_bad_one() {
    let folder = Folder::new();
    for (name, bytes, wanted) in bad_handlers() {
        let file = folder.write(name, bytes);
        let ended = run(folder.command().arg("check").arg(&file));
        assert_eq!(ended.code, 1, "{name}: {ended:?}");
        let sentence = ended.sentence();
        assert!(
            sentence.contains(&file.display().to_string()) && sentence.contains(wanted),
            "{name}: {sentence}"
        );
        assert!(!ended.stdout.contains("runs it"), "{name}: {ended:?}");
    }
}

#[test]
fn check_shows_which_import_is_missing_and_which_world_it_is() {
    let folder = Folder::new();
    for (name, wanted) in
        [("unmet.wat", "acme:db/store@1.0.0  (MISSING"), ("other.wat", "world    another one")]
    {
        let (_, bytes, _) =
            bad_handlers().into_iter().find(|(other, ..)| *other == name).expect("a bad handler");
        let ended = run(folder.command().arg("check").arg(folder.write(name, bytes)));
        assert!(ended.stdout.contains(wanted), "{name}: {ended:?}");
    }
}

// Configuration.

#[test]
fn a_configuration_file_has_several_routes() {
    let folder = Folder::new();
    let module = handlers::echo_module();
    folder.write("echo.wasm", handlers::component_of(&module));
    folder.write("binary.wasm", handlers::component_of(&handlers::binary_echo_module()));
    let config = folder.write(
        "waterspout.toml",
        "listen = '127.0.0.1:0'\n\
         [route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n\
         [route.binary]\npath = '/binary/{room}'\nhandler = 'binary.wasm'\ninstance = '{room}'\n",
    );
    let program = Program::start(folder.command().arg("serve").arg("--config").arg(config));
    let address = program.address();
    assert_eq!(program.first_line(), format!("listening on ws://{address}/echo"));
    assert_eq!(program.next_line(), format!("listening on ws://{address}/binary/{{room}}"));
    for (path, expected) in [("/echo", Message::text("hé")), ("/binary/blue", Message::binary("hé"))] {
        let mut client = client(address, path);
        client.send(Message::text("hé")).expect("sent");
        assert_eq!(client.read().expect("an echo"), expected);
    }
    // With a configuration file there is no page unless it asks for one.
    assert_eq!(get(address, "/").0, 404);
}

#[test]
fn listen_and_page_of_the_command_line_stand_over_the_files() {
    let folder = Folder::new();
    folder.write("echo.wasm", handlers::component_of(&handlers::echo_module()));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let text = format!(
        "listen = '{}'\npage = true\n[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n",
        taken.local_addr().expect("an address")
    );
    let config = folder.write("waterspout.toml", text);
    let program = Program::start(folder.command().arg("serve").arg("--config").arg(config).args([
        "--listen",
        "127.0.0.1:0",
        "--no-page",
    ]));
    assert_eq!(get(program.address(), "/").0, 404);
}

#[test]
fn a_mistake_in_the_configuration_names_file_line_key_and_the_nearest_right_one() {
    const ROUTE: &str = "[route.chat]\npath = '/chat/{room}'\nhandler = 'chat.wasm'\n";
    let folder = Folder::new();
    let file = folder.path("waterspout.toml");
    for (text, line, wanted) in [
        (format!("{ROUTE}instanse = 'route'\n"), 4, "unknown key `instanse`; did you mean `instance`?"),
        (format!("listne = '127.0.0.1:0'\n{ROUTE}"), 1, "unknown key `listne`; did you mean `listen`?"),
        (
            format!("{ROUTE}[route.chat.limits]\nmax-timer = 1\n"),
            5,
            "unknown key `max-timer`; did you mean `max-timers`?",
        ),
        (format!("{ROUTE}[route.chat.limits]\ncpu-per-event = 'soon'\n"), 5, "`cpu-per-event = 'soon'`: "),
        (format!("[limits]\nmax-message-bytes = 'big'\n{ROUTE}"), 2, "`max-message-bytes = 'big'`: "),
        (format!("listen = 'here'\n{ROUTE}"), 1, "`listen = 'here'`: "),
        (
            format!("{ROUTE}instance = '{{rom}}'\n"),
            4,
            "`instance = \"{rom}\"`: the path captures no `{rom}`; did you mean `room`?",
        ),
        (
            "[route.chat]\npath = 'chat'\nhandler = 'x'\n".into(),
            2,
            "`path = \"chat\"`: a path begins with `/`",
        ),
        ("[route.chat]\npath = '/chat'\n".into(), 1, "the route has no `handler`"),
        ("[route.chat\n".into(), 1, ""),
    ] {
        fs::write(&file, &text).expect("writable");
        let ended = run(folder.command().arg("serve").arg("--config").arg(&file));
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{text}: {ended:?}");
        let sentence = ended.sentence();
        assert!(
            sentence.starts_with(&format!("waterspout: {}:{line}: ", file.display())),
            "{text}: {sentence}"
        );
        assert!(sentence.contains(wanted), "{text}: {sentence}");
    }
}

#[test]
fn a_configuration_without_a_route_or_with_a_missing_handler_says_so() {
    let folder = Folder::new();
    let file = folder.write("waterspout.toml", "");
    let ended = run(folder.command().arg("serve").arg("--config").arg(&file));
    assert_eq!(ended.code, 1);
    assert!(ended.sentence().contains("there is no route"), "{ended:?}");
    fs::write(&file, "[route.chat]\npath = '/chat'\nhandler = 'no-such.wasm'\n").expect("writable");
    let ended = run(folder.command().arg("serve").arg("--config").arg(&file));
    assert_eq!(ended.code, 1);
    // Relative to the file's folder.
    let handler = folder.path("no-such.wasm");
    let sentence = ended.sentence();
    assert!(
        sentence.contains(&format!(
            "{}: in route `chat`: {} cannot be read",
            file.display(),
            handler.display()
        )),
        "{sentence}"
    );
}

// The page.

#[test]
fn the_page_is_the_hosts_own_unless_told_otherwise() {
    let folder = Folder::new();
    let serve = || {
        let mut command = folder.command();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command
    };
    let program = Program::start(&mut serve());
    let address = program.address();
    assert_eq!(program.next_line(), format!("open http://{address}/ in a browser"));
    let (status, html) = get(address, "/");
    assert_eq!(status, 200);
    assert!(
        html.to_lowercase().contains("<!doctype html>") && html.contains("\"path\":\"/websocket\""),
        "{html}"
    );

    let page = folder.write("page.html", "<!doctype html><title>mine</title>");
    let program = Program::start(serve().arg("--page").arg(page));
    assert_eq!(get(program.address(), "/"), (200, "<!doctype html><title>mine</title>".into()));

    let program = Program::start(serve().arg("--no-page"));
    assert_eq!(get(program.address(), "/").0, 404);
    program.signal(Signal::TERM);
    assert!(!program.wait().stdout.contains("in a browser"));
}

#[test]
fn a_configuration_file_asks_for_its_page() {
    let folder = Folder::new();
    folder.write("echo.wasm", handlers::component_of(&handlers::echo_module()));
    folder.write("page.html", "<!doctype html><title>mine</title>");
    for (page, wanted) in [("true", "/echo"), ("'page.html'", "mine")] {
        let text = format!(
            "listen = '127.0.0.1:0'\npage = {page}\n[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n"
        );
        let config = folder.write("waterspout.toml", text);
        let program = Program::start(folder.command().arg("serve").arg("--config").arg(&config));
        let (status, html) = get(program.address(), "/");
        assert_eq!(status, 200);
        assert!(html.contains(wanted), "{html}");
    }
}

// The end.

#[test]
fn ctrl_c_and_sigterm_close_connections_with_1001_and_exit_0() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = Folder::new();
        let program = Program::start(folder.command().args(["serve", "--listen", "127.0.0.1:0"]));
        let mut client = client(program.address(), "/websocket");
        client.send(Message::text("open")).expect("sent");
        assert_eq!(client.read().expect("an echo"), Message::text("open"));
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
    let program = Program::start(folder.command().args(["serve", "--listen", "127.0.0.1:0"]));
    program.signal(Signal::INT);
    assert_eq!(program.wait().code, 0);
}

#[test]
fn a_second_ctrl_c_drops_connections_that_do_not_close() {
    let folder = Folder::new();
    folder.write("echo.wasm", handlers::component_of(&handlers::echo_module()));
    // Longer than this test waits: only the second signal can end it.
    let config = folder.write(
        "waterspout.toml",
        "listen = '127.0.0.1:0'\ngrace = '10min'\n[limits]\nclose-timeout = '10min'\n\
         [route.echo]\npath = '/websocket'\nhandler = 'echo.wasm'\n",
    );
    let program = Program::start(folder.command().arg("serve").arg("--config").arg(config));
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
    folder.write("echo.wasm", handlers::component_of(&handlers::echo_module()));
    let config = folder.write(
        "waterspout.toml",
        "listen = '127.0.0.1:0'\ngrace = '50ms'\n[limits]\nclose-timeout = '10min'\n\
         [route.echo]\npath = '/websocket'\nhandler = 'echo.wasm'\n",
    );
    let program = Program::start(folder.command().arg("serve").arg("--config").arg(config));
    let mut client = client(program.address(), "/websocket");
    client.send(Message::text("open")).expect("sent");
    client.read().expect("an echo");
    program.signal(Signal::TERM);
    let ended = program.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("at most 50ms"), "{ended:?}");
    assert!(ended.stderr.contains("dropped at the end of the grace period"), "{ended:?}");
}

// The cache of compiled handlers.

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

/// Serves the handler; what it makes of a text message.
fn echo_of(folder: &Folder, handler: &Path) -> (Message, support::Ended) {
    let program =
        Program::start(folder.command().arg("serve").arg(handler).args(["--listen", "127.0.0.1:0"]));
    let mut client = client(program.address(), "/websocket");
    client.send(Message::text("hé")).expect("sent");
    let echo = client.read().expect("an echo");
    drop(client);
    program.signal(Signal::TERM);
    (echo, program.wait())
}

#[test]
fn compiled_handlers_are_kept_for_this_user_alone_and_used_again() {
    let folder = Folder::new();
    let text = folder.write("text.wasm", handlers::component_of(&handlers::echo_module()));
    let binary = folder.write("binary.wasm", handlers::component_of(&handlers::binary_echo_module()));
    assert_eq!(echo_of(&folder, &text).0, Message::text("hé"));
    let of_text = folder.compiled();
    assert_eq!(of_text.len(), 1);
    assert_eq!(mode(&folder.path("cache/waterspout")), 0o700);
    assert_eq!(mode(&of_text[0]), 0o600);
    assert_eq!(mode(&folder.path("state/waterspout")), 0o700);
    assert_eq!(mode(&folder.path("state/waterspout/cache.key")), 0o600);

    // The same handler again adds nothing, another one does.
    assert_eq!(echo_of(&folder, &text).0, Message::text("hé"));
    assert_eq!(folder.compiled(), of_text);
    assert_eq!(echo_of(&folder, &binary).0, Message::binary("hé"));
    let both = folder.compiled();
    let of_binary = both.iter().find(|path| **path != of_text[0]).expect("a second one");

    // With the other's code in its place, well signed, the handler does what the other does: what is kept is what runs.
    let good = fs::read(&of_text[0]).expect("readable");
    let forged = folder.sign(&of_text[0], &fs::read(of_binary).expect("readable")[32..]);
    fs::write(&of_text[0], &forged).expect("writable");
    assert_eq!(echo_of(&folder, &text).0, Message::binary("hé"));

    // Not signed, as a copy or as a change of a bit: compiled again, with a warning.
    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    for bad in [fs::read(of_binary).expect("readable"), flipped, good[..good.len() / 2].to_vec(), Vec::new()]
    {
        fs::write(&of_text[0], &bad).expect("writable");
        let (echo, ended) = echo_of(&folder, &text);
        assert_eq!(echo, Message::text("hé"));
        if bad.len() >= 32 {
            assert!(ended.stderr.contains("does not verify"), "{ended:?}");
        }
        // Mended: the next start is silent again.
        assert_ne!(fs::read(&of_text[0]).expect("readable"), bad);
        assert_eq!(echo_of(&folder, &text).1.stderr.lines().filter(|line| line.contains("WARN")).count(), 0);
    }
}

#[test]
fn a_signed_artefact_that_is_none_is_compiled_again() {
    let folder = Folder::new();
    let handler = folder.write("text.wasm", handlers::component_of(&handlers::echo_module()));
    echo_of(&folder, &handler);
    let compiled = folder.compiled();
    let forged = folder.sign(&compiled[0], b"\x7fELF, but nothing more");
    fs::write(&compiled[0], forged).expect("writable");
    let (echo, ended) = echo_of(&folder, &handler);
    assert_eq!(echo, Message::text("hé"));
    assert!(ended.stderr.contains("compiled again"), "{ended:?}");
}

#[test]
fn a_cache_that_cannot_be_used_is_a_warning() {
    let folder = Folder::new();
    let handler = folder.write("text.wasm", handlers::component_of(&handlers::echo_module()));
    // The user's cache folder is a file.
    folder.write("cache", "");
    let (echo, ended) = echo_of(&folder, &handler);
    assert_eq!((echo, ended.code), (Message::text("hé"), 0));
    assert!(ended.stderr.contains("compiled handlers are not cached"), "{ended:?}");

    // Others may write to it.
    let folder = Folder::new();
    let handler = folder.write("text.wasm", handlers::component_of(&handlers::echo_module()));
    let cache = folder.path("cache/waterspout");
    fs::create_dir_all(&cache).expect("writable");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("ours");
    let (echo, ended) = echo_of(&folder, &handler);
    assert_eq!((echo, ended.code), (Message::text("hé"), 0));
    assert!(
        ended.stderr.contains("compiled handlers are not cached") && ended.stderr.contains("chmod 700"),
        "{ended:?}"
    );
    assert!(folder.compiled().is_empty());
}

#[test]
fn no_cache_keeps_nothing() {
    let folder = Folder::new();
    let program = Program::start(folder.command().args(["serve", "--no-cache", "--listen", "127.0.0.1:0"]));
    program.signal(Signal::TERM);
    assert_eq!(program.wait().code, 0);
    assert!(!folder.path("cache/waterspout").exists() && !folder.path("state/waterspout").exists());
}

// The log.

fn one_connection(folder: &Folder, options: &[&str]) -> support::Ended {
    let program = Program::start(folder.command().args(["serve", "--listen", "127.0.0.1:0"]).args(options));
    let mut client = client(program.address(), "/websocket");
    client.send(Message::text("hello")).expect("sent");
    client.read().expect("an echo");
    client.close(None).expect("open");
    while client.read().is_ok() {}
    program.signal(Signal::TERM);
    program.wait()
}

#[test]
fn as_json_every_record_is_one_object_with_its_fields() {
    let folder = Folder::new();
    let ended = one_connection(&folder, &["--log", "waterspout=debug", "--log-format", "json"]);
    let records: Vec<Value> = ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for record in &records {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(record[key].is_string(), "{record}");
        }
    }
    let of = |message: &str| records.iter().find(|record| record["message"] == message).expect(message);
    assert_eq!(of("open")["route"], "echo");
    assert_eq!(of("open")["connection"].as_str().map(str::len), Some(32));
    assert_eq!(of("closed")["cause"], "peer_closed");
    assert_eq!(of("closed")["connection"], of("open")["connection"]);
}

#[test]
fn text_in_a_pipe_has_no_colours_and_the_filter_decides_what_there_is() {
    let folder = Folder::new();
    let ended = one_connection(&folder, &["--log", "waterspout=debug"]);
    assert!(ended.stderr.contains("DEBUG") && ended.stderr.contains("cause=\"peer_closed\""), "{ended:?}");
    assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
    assert_eq!(one_connection(&folder, &["--log", "off"]).stderr, "");
}

#[test]
fn nobody_has_to_read_to_the_end() {
    let folder = Folder::new();
    // As `waterspout check FILE | head -1`, and as a supervisor that closes what it does not want.
    for max_lines in [0, 1] {
        let handler = folder.write("echo.wasm", handlers::component_of(&handlers::echo_module()));
        let ended = run_for(folder.command().arg("check").arg(handler), max_lines);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    }
    let program = Program::start_for(folder.command().args(["serve", "--listen", "127.0.0.1:0"]), 1);
    let mut client = client(program.address(), "/websocket");
    client.send(Message::text("hello")).expect("sent");
    assert_eq!(client.read().expect("an echo"), Message::text("hello"));
    program.signal(Signal::TERM);
    assert!(client.read().expect("a close frame").is_close());
    assert!(client.read().is_err());
    let ended = program.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
}

// Help.

#[test]
fn help_mentions_every_command_and_every_flag() {
    let folder = Folder::new();
    for (arguments, mentioned) in [
        (
            &["--help"][..],
            &[
                "serve",
                "check",
                "connect",
                "deploy",
                "versions",
                "rollback",
                "promote",
                "pin",
                "unpin",
                "--log",
                "--log-format",
                "--help",
                "--version",
                "echo",
            ][..],
        ),
        (
            &["serve", "--help"],
            &[
                "[HANDLER]",
                "--listen",
                "--path",
                "--instance",
                "--host",
                "--origin",
                "--config",
                "--page",
                "--no-page",
                "--no-cache",
                "--watch",
                "--no-watch",
                "--state-dir",
                "--sandbox",
                "--user",
                "--log",
                "--log-format",
                "127.0.0.1:8888",
                "/websocket",
                "connection",
                "route",
                "{room}",
            ],
        ),
        (
            &["deploy", "--help"],
            &[
                "<HANDLER>",
                "--route",
                "--tenant",
                "--on-swap",
                "migrate, drain, close",
                "--canary",
                "--json",
                "--admin",
                "WATERSPOUT_ADMIN",
                "127.0.0.1:9090",
                "--token-file",
                "WATERSPOUT_ADMIN_TOKEN_FILE",
                "--config",
            ],
        ),
        (&["versions", "--help"], &["--route", "--tenant", "--json", "--admin", "--token-file", "--config"]),
        (&["pin", "--help"], &["[VERSION]", "--route", "--tenant", "--json", "--admin"]),
        (&["check", "--help"], &["[HANDLER]", "--config <FILE>", "--log", "--log-format"]),
        (
            &["connect", "--help"],
            &[
                "<URL>",
                "wss://",
                "--header",
                "--subprotocol",
                "--origin",
                "--ca",
                "--compress",
                "--connect-timeout",
                "--max-message-bytes",
                "--json",
                "--verbose",
            ],
        ),
    ] {
        let ended = run(folder.command().args(arguments));
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        for word in mentioned {
            assert!(
                ended.stdout.contains(word),
                "`{}` does not mention {word}:\n{}",
                arguments.join(" "),
                ended.stdout
            );
        }
    }
    let version = run(folder.command().arg("--version"));
    assert_eq!((version.code, version.stdout), (0, format!("waterspout {}\n", env!("CARGO_PKG_VERSION"))));
}

// The library in another program.

#[test]
fn the_embedding_example_echoes() {
    let folder = Folder::new();
    let program = Program::start(&mut folder.example("embed"));
    let mut client = client(program.address(), "/websocket");
    client.send(Message::text("hello")).expect("sent");
    assert_eq!(client.read().expect("an echo"), Message::text("hello"));
}

// Listeners and TLS.

/// A self-made certificate and its key for localhost, in the folder's `chain.pem` and `key.pem`; returns the certificate.
fn renew(folder: &Folder) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    folder.write("chain.pem", made.cert.pem());
    folder.write("key.pem", made.signing_key.serialize_pem());
    made.cert.der().clone()
}

/// Asks for `/healthz` over TLS; fails unless the certificate is this one.
fn get_over_tls(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites")
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = rustls::StreamOwned::new(session, support::socket(address));
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn tls_needs_two_flags_and_a_hangup_takes_new_certificates() {
    let folder = Folder::new();
    let old = renew(&folder);
    let program =
        Program::start(
            folder
                .command()
                .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn,waterspout=info"])
                .args(["--tls-certificate", "chain.pem", "--tls-key", "key.pem"]),
        );
    let address = program.address();
    assert_eq!(program.first_line(), format!("listening on wss://{address}/websocket"));
    assert_eq!(program.next_line(), format!("open https://{address}/ in a browser"));
    assert!(get_over_tls(address, &old).expect("served").ends_with("ok\n"));
    let new = renew(&folder);
    program.signal(Signal::HUP);
    // When the signal has been handled cannot be seen from outside but by asking.
    let taken = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        get_over_tls(address, &new).is_ok()
    });
    assert!(taken, "the new certificate is served");
    assert!(get_over_tls(address, &old).is_err());
    program.signal(Signal::TERM);
    let ended = program.wait();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("SIGHUP: the certificates are reloaded"), "{ended:?}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_before_the_port_opens() {
    let folder = Folder::new();
    renew(&folder);
    folder.write("empty.pem", "");
    let serve = |certificate: &str, key: &str| {
        let flags = ["--tls-certificate", certificate, "--tls-key", key];
        run(folder.command().args(["serve", "--listen", "127.0.0.1:0"]).args(flags))
    };
    let ended = serve("empty.pem", "key.pem");
    assert_eq!(ended.code, 1);
    assert!(ended.sentence().contains("empty.pem: holds no certificate"), "{ended:?}");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    folder.write("other.pem", other.signing_key.serialize_pem());
    let ended = serve("chain.pem", "other.pem");
    assert!(ended.sentence().contains("other.pem: is not the key of the certificate chain.pem"), "{ended:?}");
    let ended = run(folder.command().args(["serve", "--tls-key", "key.pem"]));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("--tls-certificate"), "{ended:?}");
}

#[test]
fn systemds_sockets_are_taken_by_name() {
    let folder = Folder::new();
    folder.write(
        "waterspout.toml",
        "[[listener]]\naddress = 'systemd:web'\n[route.echo]\npath = '/echo'\nhandler = 'echo.wasm'\n",
    );
    folder.write("echo.wasm", handlers::echo_module());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    // As systemd does: descriptors from 3 on, and variables that name them; LISTEN_PID is the shell's, which becomes the program.
    let program = folder.command().get_program().to_owned();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" serve --config waterspout.toml"])
        .arg(program)
        .current_dir(folder.path("."))
        .envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "web")])
        .env("XDG_CACHE_HOME", folder.path("cache"))
        .env("XDG_STATE_HOME", folder.path("state"))
        .stdin(OwnedFd::from(listener));
    let program = Program::start(&mut shell);
    assert_eq!(program.first_line(), format!("listening on ws://{address}/echo"));
    assert_eq!(get(address, "/healthz"), (200, "ok\n".into()));
    let ended = run(folder.command().args(["serve", "--config", "waterspout.toml"]));
    assert!(ended.sentence().contains("systemd has given no socket"), "{ended:?}");
}
