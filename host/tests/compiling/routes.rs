//! Several routes, of which some have a handler that cannot be loaded: the others are served.

use std::time::Instant;

use rustix::process::Signal;

use super::{echo, wasm};
use crate::support::{Folder, Program, TOKEN, handlers, request, run};

/// Four tenants: one with a good handler, one with none, and two that share a file which takes too long to compile.
fn configuration(folder: &Folder) -> std::path::PathBuf {
    folder.write("good.wasm", echo());
    folder.write("slow.wasm", wasm::slow());
    folder.write("text.wat", "(component \u{1b}[2J");
    folder.write_token("token", TOKEN);
    let mut text = "listen = '127.0.0.1:0'\n[compile]\ntimeout = '1s'\n\
                    [admin]\nlisten = '127.0.0.1:0'\ntoken-file = 'token'\n"
        .to_owned();
    for (name, handler) in
        [("good", "good"), ("gone", "gone"), ("slow", "slow"), ("same", "slow"), ("odd", "text")]
    {
        let ending = if handler == "text" { "wat" } else { "wasm" };
        text += &format!(
            "[tenant.{name}-inc]\nhosts = ['{name}.example']\n[tenant.{name}-inc.route.{name}]\n\
             path = '/{name}'\nhandler = '{handler}.{ending}'\n"
        );
    }
    folder.write("waterspout.toml", text)
}

/// Status of a handshake with a tenant's route, and body where the server is to close after it.
fn handshake(program: &Program, name: &str, connection: &str) -> (u16, String) {
    let headers = format!(
        "Host: {name}.example\r\nConnection: {connection}\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    request(program.address(), &format!("/{name}"), &headers)
}

#[test]
fn routes_whose_handlers_cannot_be_loaded_answer_503_and_everybody_else_is_served() {
    let folder = Folder::new();
    let config = configuration(&folder);
    let began = Instant::now();
    let program = Program::start(folder.command().args(["serve", "--config"]).arg(&config));
    assert!(began.elapsed().as_secs() < 10, "who shares a file must not wait for its time-out again");
    assert_eq!(program.first_line(), format!("listening on ws://{}/good", program.address()));
    assert_eq!(handshake(&program, "good", "Upgrade").0, 101);
    for name in ["gone", "slow", "same", "odd"] {
        let answer = handshake(&program, name, "close, Upgrade");
        assert_eq!((answer.0, answer.1.as_str()), (503, "The handler is not loaded."), "{name}");
    }
    // One record for each route, with everything that is needed to mend it.
    for (name, file, why) in [
        ("gone", "gone.wasm", "cannot be read: No such file or directory"),
        ("slow", "slow.wasm", "takes longer than 1s to compile: raise `timeout` of `[compile]`"),
        ("same", "slow.wasm", "takes longer than 1s to compile"),
        ("odd", "text.wat", "is WebAssembly text with a mistake"),
    ] {
        let record = program.record_with(&format!("route={name} "));
        for wanted in ["ERROR", &format!("tenant=\"{name}-inc\""), file, why, "remedy="] {
            assert!(record.contains(wanted), "no `{wanted}`: {record}");
        }
        assert!(!record.contains('\u{1b}'), "{record:?}");
    }
    // The operator sees it where he looks.
    let admin = program.admin_address();
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n");
    let ask = |path| request(admin, path, &headers);
    let (status, health) = ask("/healthz");
    let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
    assert_eq!((status, &health["routes"]), (503, &5.into()), "{health}");
    let named = health["not_loaded"].as_array().expect("a list").iter().map(|missing| &missing["route"]);
    assert_eq!(named.collect::<Vec<_>>(), ["gone", "slow", "same", "odd"]);
    assert_eq!(health["not_loaded"][0]["tenant"], "gone-inc");
    let (_, metrics) = ask("/metrics");
    for (name, value) in [("good", 0), ("gone", 1), ("same", 1)] {
        let sample =
            format!("waterspout_routes_not_loaded{{tenant=\"{name}-inc\",route=\"{name}\"}} {value}\n");
        assert!(metrics.contains(&sample), "no {sample}");
    }
    let refused = "waterspout_handshakes_total{tenant=\"gone-inc\",route=\"gone\",status=\"503\"} 1\n";
    assert!(metrics.contains(refused), "no {refused}");
}

#[test]
fn what_cannot_be_loaded_at_the_start_is_told_once_and_tried_again_only_when_somebody_asks() {
    let folder = Folder::new();
    let config = configuration(&folder);
    let program = Program::start(folder.command().args(["serve", "--watch", "--config"]).arg(&config));
    // Who watches has looked at the other files before it deploys this one.
    folder.write("good.wasm", handlers::binary_echo());
    let mut records = program.records_to("open connections have been dealt with");
    records.retain(|record| record.contains("ERROR") || record.contains("WARN"));
    let routes = |records: &[String]| -> Vec<String> {
        let routes = records.iter().filter_map(|record| record.split("route=").nth(1));
        routes.filter_map(|rest| rest.split_whitespace().next()).map(str::to_owned).collect()
    };
    assert_eq!(routes(&records), ["gone", "slow", "same", "odd"], "{records:#?}");
    program.signal(Signal::HUP);
    let mut records = program.records_to("SIGHUP: the handlers are looked at");
    records.retain(|record| record.contains("WARN"));
    let mut told = routes(&records);
    told.sort();
    assert_eq!(told, ["gone", "odd", "same", "slow"], "{records:#?}");
    for record in &records {
        assert!(record.contains("answers 503") && !record.contains("goes on"), "{record}");
    }
}

/// Two tenants, one of them with a handler that takes too long before one that does not; one compiler, and little patience.
fn hurried(folder: &Folder) -> std::path::PathBuf {
    folder.write("slow.wasm", wasm::slow());
    folder.write("other.wasm", handlers::binary_echo());
    folder.write("good.wasm", echo());
    folder.write_token("token", TOKEN);
    let mut text = "listen = '127.0.0.1:0'\n[admin]\nlisten = '127.0.0.1:0'\ntoken-file = 'token'\n\
                    [compile]\ntimeout = '5s'\nmax-at-once = 1\nmax-start-wait = '1s'\n"
        .to_owned();
    for (tenant, names) in [("slow", ["slow", "other"].as_slice()), ("good", &["good"])] {
        let hosts: Vec<String> = names.iter().map(|name| format!("'{name}.example'")).collect();
        text += &format!("[tenant.{tenant}-inc]\nhosts = [{}]\n", hosts.join(", "));
        for name in names {
            text +=
                &format!("[tenant.{tenant}-inc.route.{name}]\npath = '/{name}'\nhandler = '{name}.wasm'\n");
        }
    }
    folder.write("waterspout.toml", text)
}

#[test]
fn what_is_not_compiled_when_the_start_has_waited_long_enough_is_served_as_soon_as_it_is() {
    let folder = Folder::new();
    let config = hurried(&folder);
    let start = || Program::start(folder.command().args(["serve", "--config"]).arg(&config));
    let program = start();
    let address = program.address();
    for name in ["slow", "other", "good"] {
        let record = program.record_with(&format!("route={name} "));
        assert!(record.contains("WARN") && record.contains("until its handler is compiled"), "{record}");
    }
    assert_eq!(handshake(&program, "good", "close, Upgrade").0, 503);
    let records = program.records_to("takes longer than 5s to compile");
    let replaced = records.iter().filter(|record| record.contains("the handler is replaced"));
    assert_eq!(replaced.count(), 0, "{records:#?}");
    let mut served = [(); 2].map(|()| program.record_with("the handler is replaced"));
    served.sort_by_key(|record| record.contains("route=other "));
    assert!(served[0].contains("route=good ") && served[1].contains("route=other "), "{served:?}");
    assert_eq!(handshake(&program, "good", "Upgrade").0, 101);
    let admin = program.admin_address();
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n");
    let (_, health) = request(admin, "/healthz", &headers);
    let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
    assert_eq!(health["not_loaded"].as_array().map(Vec::len), Some(1), "{health}");
    assert!(
        health["not_loaded"][0]["error"].as_str().is_some_and(|why| why.contains("takes longer")),
        "{health}"
    );
    // What is kept is there at once, whoever is before it.
    drop(program);
    let program = start();
    assert_ne!(program.address(), address);
    for name in ["good", "other"] {
        assert_eq!(handshake(&program, name, "Upgrade").0, 101);
    }
    assert_eq!(handshake(&program, "slow", "close, Upgrade").0, 503);
}

#[test]
fn check_names_every_route_whose_handler_cannot_be_loaded() {
    let folder = Folder::new();
    let config = configuration(&folder);
    let ended = run(folder.command().args(["check", "--config"]).arg(&config));
    assert_eq!(ended.code, 1, "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{ended:?}");
    for (line, name) in lines.iter().zip(["gone", "slow", "same", "odd"]) {
        let wanted = format!("waterspout: {}: in route `{name}`: ", config.display());
        assert!(line.starts_with(&wanted), "{line}");
    }
    assert!(!ended.stdout.contains("# ok"), "{ended:?}");
}

#[test]
fn without_a_single_handler_the_program_ends_and_names_every_route() {
    let folder = Folder::new();
    let text = "listen = '127.0.0.1:0'\n[route.one]\npath = '/one'\nhandler = 'one.wasm'\n\
                [route.two]\npath = '/two'\nhandler = 'two.wasm'\n";
    let config = folder.write("waterspout.toml", text);
    let ended = run(folder.command().args(["serve", "--config"]).arg(&config));
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ended:?}");
    assert!(lines[0].contains("in route `one`: ") && lines[1].contains("in route `two`: "), "{ended:?}");
}
