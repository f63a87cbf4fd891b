//! `waterspout dev`: what makes it build again.

use std::process::Command;

use super::tools::Tools;
use crate::support::Program;

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

#[test]
fn a_log_in_the_projects_folder_does_not_have_it_built_again() {
    let tools = Tools::new().with("make", MAKE).with_project("c", "echo");
    let program = Program::start(&mut dev(&tools, &["--", "--listen", "127.0.0.1:0", "--no-page"]));
    lines_to(&program, "listening on ");
    for turn in 0..3 {
        tools.write("tide/echo.c", &format!("/* {turn} */"));
        assert_eq!(program.next_line(), "changed: echo.c");
        lines_to(&program, "built in ");
    }
}
