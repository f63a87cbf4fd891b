//! Handlers that are none, as `serve` and `check` see them; and what `check` tells of good ones.

use std::net::TcpListener;

use crate::support::{Folder, handlers, run, run_for};

/// Every bad handler with what is to be said of it.
pub(crate) fn bad_handlers() -> Vec<(&'static str, Vec<u8>, &'static str)> {
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
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec(), "is a core module that implements no world"),
        ("core.wat", text("(module (func (export \"run\")))"), "is a core module that implements no world"),
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
        assert!(lines[4].starts_with("swaps    ") && lines[4].ends_with("no `shared-state`"), "{ended:?}");
        assert!(lines.iter().any(|line| line.contains("waterspout:websocket/connection@0.1.0")), "{ended:?}");
        assert_eq!(
            *lines.last().expect("a line"),
            format!("ok       `waterspout serve {}` runs it", file.display())
        );
    }
}

#[test]
fn check_takes_a_component_that_has_several_linear_memories() {
    let folder = Folder::new();
    let file = folder.write("memories.wasm", handlers::echo_with_memories(5));
    let ended = run(folder.command().arg("check").arg(&file));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
}

#[test]
fn check_tells_every_limit_that_a_configuration_comes_to() {
    let folder = Folder::new();
    let handler = folder.write("echo.wat", "(component)");
    let text = format!(
        "max-instances = 9\n[limits]\nmax-timers = 3\n[tenant.acme]\nhosts = ['a.example']\n\
         connect = ['api.example:443']\n[tenant.acme.total]\nmax-connections = 7\nmax-memory-bytes = 'unlimited'\n\
         [tenant.acme.route.chat]\npath = '/chat'\nhandler = '{}'\nspare-instances = 5\nlimits.life-time = 'unlimited'\nlimits.fuel-per-event = 5000\n",
        handler.display()
    );
    let file = folder.write("waterspout.toml", text);
    let ended = run_for(folder.command().arg("check").arg("--config").arg(&file), 200);
    for line in [
        "max-instances = 9",
        "max-handshakes-per-address = 100",
        "[tenant.acme.total]\nmax-connections = 7",
        "max-memory-bytes = \"unlimited\"\ncpu-share = 100",
        "# its handlers may connect to api.example:443\n[tenant.acme.route.chat]\npath = \"/chat\"\n",
        "spare-instances = 5\non-swap = \"migrate\"\nmax-drain = \"1h\"\n",
        "canary-addresses = 20\n[tenant.acme.route.chat.limits]\n",
        "takeover-timeout = ",
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
fn what_check_tells_of_a_configuration_is_one_itself_and_comes_to_the_same() {
    let folder = Folder::new();
    folder.write("echo.wasm", handlers::echo_module());
    let text = "[route.'my chat']\npath = '/chat/{room}'\nhandler = 'echo.wasm'\ninstance = '{room}'\nmax-drain = 'unlimited'\n\
                [route.one]\npath = '/one'\nhandler = 'echo.wasm'\ninstance = 'route'\non-swap = 'drain'\n\
                [tenant.acme]\nhosts = ['a.example']\n[tenant.acme.route.\"a.b\"]\npath = '/c'\nhandler = 'echo.wasm'\nlimits.max-timers = 3\n";
    let file = folder.write("waterspout.toml", text);
    let told = |file: &std::path::Path| {
        let ended = run_for(folder.command().arg("check").arg("--config").arg(file), 1000);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        ended.stdout
    };
    let first = told(&file);
    // Hosts are not told: they are no limit.
    let again = folder.write(
        "again.toml",
        first.replace("[tenant.acme.total]", "[tenant.acme]\nhosts = ['a.example']\n[tenant.acme.total]"),
    );
    let lines = |text: &str| {
        text.lines().filter(|line| !line.contains(".toml")).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(lines(&told(&again)), lines(&first));
}

#[test]
fn check_refuses_what_serve_refuses_before_it_listens() {
    let folder = Folder::new();
    folder.write("echo.wasm", handlers::echo_module());
    folder.write("plain", "a file");
    let route = "[route.echo]\npath = '/'\nhandler = 'echo.wasm'\n";
    for (keys, why) in [
        ("user = 'nobody'\n", "add `--sandbox`"),
        ("state-dir = 'plain'\n", "is no folder"),
        ("page = 'missing.html'\n", "missing.html cannot be read"),
        ("[admin]\nlisten = '127.0.0.1:0'\ntoken-file = 'missing'\n", "`token-file`"),
        (
            "[[listener]]\naddress = '127.0.0.1:0'\ntls = true\n[[certificate]]\ncertificate = 'missing.pem'\nkey = 'missing.pem'\n",
            "missing.pem",
        ),
        ("[route.'']\npath = '/x'\nhandler = 'echo.wasm'\n", "a route needs a name"),
        ("[tenant.'']\nhosts = ['a.example']\n", "a tenant needs a name"),
    ] {
        let file = folder.write("waterspout.toml", format!("{keys}{route}"));
        let ended = run_for(folder.command().arg("check").arg("--config").arg(&file), 1000);
        assert_eq!(ended.code, 1, "{keys}: {ended:?}");
        assert!(ended.stderr.contains(why), "{keys}: {ended:?}");
    }
}

#[test]
fn check_names_the_routes_whose_shared_instances_cannot_go_over() {
    let folder = Folder::new();
    folder.write("echo.wasm", handlers::echo_module());
    let route = |name: &str, keys: &str| {
        format!("[route.{name}]\npath = '/{name}/{{room}}'\nhandler = 'echo.wasm'\n{keys}\n")
    };
    let text = [
        route("alone", ""),
        route("rooms", "instance = '{room}'"),
        route("drained", "instance = 'route'\non-swap = 'drain'"),
    ];
    let file = folder.write("waterspout.toml", text.concat());
    let ended = run_for(folder.command().arg("check").arg("--config").arg(&file), 1000);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let notes: Vec<_> = ended.stdout.lines().filter(|line| line.contains("# note")).collect();
    let [note] = notes[..] else { panic!("{notes:?}") };
    assert!(note.contains("route.rooms") && note.contains("does not export `shared-state`"), "{note}");
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

#[test]
fn with_a_configuration_its_own_number_of_instances_counts() {
    let folder = Folder::new();
    folder.write("memories.wasm", handlers::echo_with_memories(5));
    let route = "[route.memories]\npath = '/'\nhandler = 'memories.wasm'";
    for (keys, code) in [("", 0), ("max-instances = 5", 1)] {
        let file = folder.write("waterspout.toml", format!("{keys}\n{route}\n"));
        let ended = run_for(folder.command().arg("check").arg("--config").arg(&file), 1000);
        assert_eq!(ended.code, code, "{keys}: {ended:?}");
        assert_eq!(ended.stderr.contains("raise `max-instances`"), code == 1, "{ended:?}");
    }
}
