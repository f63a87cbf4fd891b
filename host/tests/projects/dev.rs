//! `waterspout dev`: what makes it build again, and what it serves.

use std::net::SocketAddr;
use std::process::Command;

use super::tools::Tools;
use crate::support::{Program, get, handlers, run};

/// In place of `make`: the echo, and a line in a log that lies in the project's folder.
const MAKE: &str = r#"
[ "$1" = --version ] && exit
echo built >> build.log
cp "$ECHO" tide.wasm.new && mv tide.wasm.new tide.wasm"#;

fn dev(tools: &Tools, arguments: &[&str]) -> Command {
    let mut command = tools.waterspout();
    command.args(["dev", "tide"]).args(arguments);
    command
}

/// What it prints until a line begins like this, with that.
fn lines_to(program: &Program, start: &str) -> Vec<String> {
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.starts_with(start)) {
        lines.push(program.next_line());
    }
    lines
}

/// Of `... ws://ADDRESS/...`.
fn address_in(line: &str) -> SocketAddr {
    let address = line.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no address: {line}"))
}

#[test]
fn a_log_in_the_projects_folder_does_not_have_it_built_again() {
    let tools = Tools::new().with("make", MAKE).with_project("c", "echo");
    let program = Program::start(&mut dev(&tools, &["--", "--listen", "127.0.0.1:0", "--no-page"]));
    lines_to(&program, "listening on ");
    for turn in 0..3 {
        tools.write("tide/echo.c", &format!("/* {turn} */"));
        assert_eq!(program.next_line(), "changed: echo.c; building tide");
        lines_to(&program, "built in ");
    }
}

#[test]
fn flags_of_the_servers_come_to_the_projects_configuration() {
    let tools = Tools::new().with("make", MAKE).with_project("c", "chat");
    let program = Program::start(&mut dev(&tools, &["--", "--listen", "127.0.0.1:0"]));
    let listening = lines_to(&program, "listening on ").pop().expect("a line");
    assert!(
        listening.starts_with("listening on ws://127.0.0.1:") && listening.ends_with("/chat/{room}"),
        "{listening}"
    );
    assert!(!listening.contains(":8888/"), "{listening}");
}

#[test]
fn another_configuration_is_served_instead_of_the_projects() {
    let tools = Tools::new().with("make", MAKE).with_project("c", "chat");
    tools.write(
        "other.toml",
        "listen = \"127.0.0.1:0\"\n[route.other]\npath = \"/other\"\nhandler = \"tide/tide.wasm\"\n",
    );
    let program = Program::start(&mut dev(&tools, &["--", "--config", "other.toml"]));
    let listening = lines_to(&program, "listening on ").pop().expect("a line");
    assert!(listening.ends_with("/other"), "{listening}");
}

#[test]
fn a_flag_that_the_configuration_stands_for_is_refused_before_anything_is_built() {
    let tools = Tools::new().with("make", MAKE).with_project("c", "chat");
    for (flag, value) in [("--path", "/chat"), ("--instance", "route"), ("--host", "example.com")] {
        let ended = run(&mut dev(&tools, &["--", flag, value]));
        assert_eq!(ended.code, 1, "{ended:?}");
        let sentence = ended.sentence();
        assert!(sentence.contains("tide/waterspout.toml says what is served"), "{sentence}");
        assert!(sentence.contains(&format!("write what `{flag} <")), "{sentence}");
    }
    for (flag, said) in [("--lissten", "'--listen'"), ("--no-watch", "cannot be used with")] {
        let ended = run(&mut dev(&tools, &["--", flag]));
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
    assert!(!tools.path("tide/build.log").exists());
}

#[test]
fn a_page_that_is_saved_is_served_without_a_build() {
    let tools = Tools::new().with("make", MAKE).with_project("c", "chat");
    let program = Program::start(&mut dev(&tools, &["--", "--listen", "127.0.0.1:0"]));
    let listening = lines_to(&program, "listening on ").pop().expect("a line");
    let address = address_in(&listening);
    assert!(get(address, "/").1.contains("<title>Chat</title>"));
    tools.write("tide/page.html", "<title>MyChat</title>");
    let record = program.record_with("another page is served");
    assert!(record.contains("page.html has changed"), "{record}");
    assert_eq!(get(address, "/"), (200, "<title>MyChat</title>".into()));
    // Another file is followed, too.
    tools.write("tide/other.html", "other");
    let configuration = std::fs::read_to_string(tools.path("tide/waterspout.toml")).expect("it is written");
    tools.write("tide/waterspout.toml", &configuration.replace("page.html", "other.html"));
    program.record_with("another page is served");
    program.record_with("the handlers are looked at");
    assert_eq!(get(address, "/").1, "other");
    tools.write("tide/other.html", "another");
    program.record_with("another page is served");
    assert_eq!(get(address, "/").1, "another");
    let built = std::fs::read_to_string(tools.path("tide/build.log")).expect("it was built");
    assert_eq!(built.lines().count(), 1, "{built}");
}

#[test]
fn a_mistake_in_the_configuration_is_told_when_it_is_saved_and_so_is_what_needs_a_new_start() {
    let tools = Tools::new().with("make", MAKE).with_project("c", "chat");
    let program = Program::start(&mut dev(&tools, &["--", "--listen", "127.0.0.1:0"]));
    lines_to(&program, "listening on ");
    let configuration = std::fs::read_to_string(tools.path("tide/waterspout.toml")).expect("it is written");
    tools.write("tide/waterspout.toml", &format!("{configuration}nonsense = 1\n"));
    let record = program.record_with("is not taken");
    assert!(record.contains("waterspout.toml has changed: the configuration is not taken"), "{record}");
    assert!(record.contains("waterspout.toml:7:") && record.contains("nonsense"), "{record}");
    tools.write("tide/waterspout.toml", &format!("{configuration}spare-instances = 1\nspread = \"0s\"\n"));
    let records = program.records_to("the handlers are looked at");
    let about = |key: &str| records.iter().find(|record| record.contains(key)).expect("told");
    let refused = about("route.chat.spare-instances");
    assert!(
        refused.contains("is not taken") && refused.contains("end `waterspout dev` by ctrl-c"),
        "{refused}"
    );
    assert!(about("route.chat.spread").contains("is taken"), "{records:#?}");
}

#[test]
fn a_mistake_in_the_configuration_is_told_before_anything_is_built() {
    let tools = Tools::new().with("make", MAKE).with_project("c", "chat");
    tools.write("tide/waterspout.toml", "nonsense = 1\n");
    let ended = run(&mut dev(&tools, &[]));
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.sentence().contains("waterspout.toml:1: "), "{ended:?}");
    assert!(!tools.path("tide/build.log").exists());
}

#[test]
fn an_address_in_use_is_told_before_anything_is_built() {
    let tools = Tools::new().with("make", MAKE).with_project("c", "echo");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let ended = run(&mut dev(&tools, &["--", "--listen", &address]));
    assert_eq!(ended.code, 1, "{ended:?}");
    let sentence = ended.sentence();
    assert!(sentence.contains(&format!("cannot listen on {address}: ")), "{sentence}");
    assert!(sentence.contains("`waterspout dev -- --listen 127.0.0.1:"), "{sentence}");
    assert!(!tools.path("tide/build.log").exists());
}

#[test]
fn what_was_built_is_told_in_a_line_at_each_save_and_what_is_the_same_is_said_to_be() {
    let tools = Tools::new().with("make", MAKE).with_project("c", "echo");
    let program = Program::start(&mut dev(&tools, &["--", "--listen", "127.0.0.1:0", "--no-page"]));
    assert_eq!(program.first_line(), "building tide");
    let first = lines_to(&program, "built in ");
    assert!(first.iter().any(|line| line.starts_with("imports ")), "{first:#?}");
    lines_to(&program, "listening on ");
    tools.write("tide/echo.c", "/* the same */");
    assert_eq!(program.next_line(), "changed: echo.c; building tide");
    let built = program.next_line();
    assert!(built.starts_with("built in ") && built.ends_with(" s: it is what it was"), "{built}");
    // Another component, of the same kind.
    std::fs::write(tools.path("echo.wasm"), handlers::binary_echo()).expect("writable");
    tools.write("tide/echo.c", "/* another */");
    assert_eq!(program.next_line(), "changed: echo.c; building tide");
    let built = program.next_line();
    assert!(built.starts_with("built in ") && built.ends_with(" bytes"), "{built}");
}

#[test]
fn the_embedded_echo_in_a_projects_folder_says_that_it_is_not_the_project() {
    for (template, is_built, command) in [
        ("chat", true, "waterspout serve --config waterspout.toml"),
        ("echo", true, "waterspout serve tide.wasm"),
        ("echo", false, "waterspout dev"),
    ] {
        let tools = Tools::new().with_project("c", template);
        if is_built {
            tools.write("tide/tide.wasm", "");
        }
        let mut serve = tools.waterspout();
        serve.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(tools.path("tide"));
        let record = Program::start(&mut serve).record_with("the embedded echo is served");
        assert!(record.ends_with(&format!("that does `{command}`\n")), "{record}");
    }
}
