//! The `waterspout` program, as a person or a script runs it: what it prints, what it serves, how it ends.

mod checking;
mod compiling;
mod connect;
mod deploying;
mod projects;
#[cfg(target_os = "linux")]
mod sandbox;
mod serving;
mod sources;
mod support;
mod takeover;

use std::fs;
use std::path::Path;

use support::{Folder, run};

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

#[test]
fn wit_writes_the_interface_as_it_is() {
    let folder = Folder::new();
    let ended = run(folder.command().args(["wit", "new/wit"]));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    for entry in fs::read_dir(ours).expect("the interface") {
        let file = entry.expect("a file").path();
        if file.extension().is_some_and(|extension| extension == "wit") {
            let name = file.file_name().expect("a name");
            let written = fs::read(folder.path("new/wit").join(name)).expect("it is written");
            assert_eq!(written, fs::read(&file).expect("it is there"), "{}", file.display());
        }
    }
    folder.write("taken", "a file");
    let ended = run(folder.command().args(["wit", "taken"]));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("cannot write taken"), "{}", ended.stderr);
}

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
                "wit",
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
