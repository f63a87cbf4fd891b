//! docs/any-language.md, literally: its commands are run in the order in which they stand there, by the tools that it names, and what they
//! say is what it says. A handler in Zig comes out of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use waterspout_tests::Client;
use waterspout_tests::program::{Served, as_a_person, program, root, run};

const PAGE: &str = include_str!("../../docs/any-language.md");

/// Where the tools are told; the rest of the page uses them.
const TOOLS: &str = "## What it takes";

/// One command of the page, and what it says there.
#[derive(Debug, Default, PartialEq)]
struct Told {
    command: String,
    output: Vec<String>,
}

/// The commands in a text's indented blocks: each behind a `$`, with its output below; in a block without any `$` every line is one.
fn commands(text: &str) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    let mut lines = text.lines().peekable();
    let mut in_fence = false;
    let mut has_prompt = false;
    while let Some(line) = lines.next() {
        in_fence ^= line.starts_with("```");
        let Some(line) = line.strip_prefix("    ").filter(|_| !in_fence) else {
            has_prompt = false;
            continue;
        };
        let prompted = line.strip_prefix("$ ");
        has_prompt |= prompted.is_some();
        match (prompted, all.last_mut()) {
            (None, Some(told)) if has_prompt => told.output.push(line.to_owned()),
            _ => {
                let mut command = prompted.unwrap_or(line).to_owned();
                while let Some(begun) = command.strip_suffix('\\') {
                    command = format!("{begun}{}", lines.next().unwrap_or_default().trim_start());
                }
                all.push(Told { command, output: Vec::new() });
            }
        }
    }
    all
}

/// Sizes are the linker's and the generator's affair.
fn without_numbers(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect()
}

fn shell(folder: &Path, command: &str) -> Command {
    let languages = root().join("target/languages");
    let generator = languages.join("bindings/bin");
    assert!(generator.is_dir(), "{} is missing: `cargo xtask bindings` brings it", generator.display());
    let mut programs: Vec<PathBuf> = vec![generator];
    programs.push(program().parent().expect("it lies in a folder").to_owned());
    let path = std::env::var_os("PATH").unwrap_or_default();
    programs.extend(std::env::split_paths(&path));
    let mut shell = Command::new("sh");
    as_a_person(&mut shell);
    shell.args(["-e", "-c", command]).current_dir(folder);
    shell.env("PATH", std::env::join_paths(programs).expect("folders"));
    shell.env("XDG_CACHE_HOME", folder.join("cache")).env("XDG_STATE_HOME", folder.join("state"));
    shell
}

#[tokio::test]
async fn the_page_on_any_other_language_leads_from_the_interface_to_a_running_handler() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("any-language");
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("writable");
    }
    fs::create_dir_all(&folder).expect("writable");
    // As the page installs it.
    let zig = root().join("target/languages/c");
    assert!(zig.is_dir(), "{} is missing: `cargo xtask setup --lang c` brings it", zig.display());
    symlink(zig, folder.join(".venv")).expect("writable");
    let (_, rest) = PAGE.split_once(TOOLS).expect("the page says what it takes");
    let (tools, rest) = rest.split_once("\n## ").expect("and goes on");

    let generator = run(&mut shell(&folder, "wit-bindgen --version"));
    let compiler = run(&mut shell(&folder, ".venv/bin/python -m pip show ziglang"));
    let version = |text: &str| text.split_whitespace().last().unwrap_or_default().to_owned();
    let zig = compiler.lines().find(|line| line.starts_with("Version:")).map(version).expect("a version");
    assert!(tools.contains(&format!("wit-bindgen-cli --version {}", version(&generator))), "{tools}");
    assert!(tools.contains(&format!("ziglang=={zig}")), "{tools}");

    let (_, handler) = rest.split_once("```zig\n").expect("the page has a handler");
    let (handler, _) = handler.split_once("```\n").expect("which ends");
    fs::write(folder.join("echo.zig"), handler).expect("writable");
    let mut all = commands(rest);
    let serve = all.pop().expect("commands").command;
    assert_eq!(all.len(), 5, "{all:#?}");
    for Told { command, output } in all {
        let said = run(&mut shell(&folder, &format!("{command} 2>&1")));
        let said: Vec<_> = said.lines().map(without_numbers).collect();
        let told: Vec<_> = output.iter().map(|line| without_numbers(line)).collect();
        assert_eq!(said, told, "{command}");
    }

    let server = Served::start(shell(&folder, &format!("exec {serve} --listen 127.0.0.1:0")), &folder).await;
    let mut client = Client::connect(server.address(), "/websocket", &[]).await.expect("open");
    assert_eq!(client.say("hello from Zig").await, "hello from Zig");
    server.end().await;
}

#[test]
fn of_a_pages_blocks_the_commands_are_found_with_what_they_say() {
    let text = "Words:\n\n    $ one \\\n        two\n    said\n    $ three\n\n    four > five\n\n```zig\n    code\n```\n";
    let told = |command: &str, output: &[&str]| Told {
        command: command.into(),
        output: output.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(commands(text), [told("one two", &["said"]), told("three", &[]), told("four > five", &[])]);
}
