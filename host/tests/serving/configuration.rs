//! Configuration files: what they say is served, and where a mistake is.

use std::fs;
use std::net::TcpListener;

use tokio_tungstenite::tungstenite::Message;

use crate::support::{Folder, Program, answer_to, client, get, handlers, run};

#[test]
fn a_configuration_file_has_several_routes() {
    let folder = Folder::new();
    let module = handlers::echo_module();
    folder.write("echo.wasm", handlers::component_of(&module));
    folder.write("binary.wasm", handlers::binary_echo());
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
        assert_eq!(answer_to(&mut client, "hé"), expected);
    }
    // With a configuration file there is no page unless it asks for one.
    assert_eq!(get(address, "/").0, 404);
}

#[test]
fn listen_and_page_of_the_command_line_stand_over_the_files() {
    let folder = Folder::new();
    folder.write("echo.wasm", handlers::echo());
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
