//! What is missing to build a project is told, with what to do: every tool of every language but Python's, whose tests are beside these.

use super::tools::Tools;
use crate::support::run;

/// What `waterspout build` says of the project `tide` with nothing of the system's on its PATH.
fn mistake(tools: &Tools) -> String {
    let ended = run(tools.waterspout_alone().args(["build", "tide"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (1, "building tide\n"), "{ended:?}");
    ended.sentence().to_owned()
}

#[test]
fn without_any_tools_each_language_says_what_to_install() {
    for (language, remedy) in [
        ("rust", "Rust is missing: install it from https://rustup.rs"),
        ("js", "Node.js is missing: install Node.js 20 or newer from https://nodejs.org"),
        ("python", "Python is missing: install Python 3.10 or newer"),
        ("c", "make is missing: install it (Debian: `apt-get install make`)"),
        ("go", "Go is missing: install Go 1.25 or newer from https://go.dev/dl"),
    ] {
        let sentence = mistake(&Tools::new().with_project(language, "echo"));
        assert!(sentence.contains(remedy), "{language}: {sentence}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_told_to_be_none() {
    let ended = run(Tools::new().waterspout().args(["build", "nosuch"]));
    assert_eq!((ended.code, ended.sentence()), (1, "waterspout: there is no folder nosuch"));
}

#[test]
fn a_rust_without_the_target_is_told_and_asked_in_the_projects_folder() {
    // One that is not rustup's names folders that are not there.
    let asked = r#"pwd > "${ECHO%echo.wasm}asked"; echo /nowhere/lib"#;
    let tools = Tools::new().with("cargo", "echo cargo").with("rustc", asked).with_project("rust", "echo");
    let sentence = mistake(&tools);
    assert!(sentence.contains("`rustup target add wasm32-wasip2` in tide"), "{sentence}");
    assert!(sentence.contains("https://rustup.rs"), "{sentence}");
    let folder = std::fs::read_to_string(tools.path("asked")).expect("rustc was asked");
    assert!(folder.trim().ends_with("/tide"), "{folder}");
}

#[test]
fn an_old_node_a_missing_npm_missing_packages_and_a_missing_script_are_told() {
    let with_node =
        |version: &str| Tools::new().with("node", &format!("echo {version}")).with_project("js", "echo");
    let sentence = mistake(&with_node("v18.19.0"));
    assert!(sentence.contains("Node.js v18.19.0 is too old: install Node.js 20 or newer"), "{sentence}");
    let tools = with_node("v20.0.0");
    let sentence = mistake(&tools);
    assert!(sentence.contains("npm is missing: install Node.js 20 or newer"), "{sentence}");
    let tools = tools.with("npm", "[ \"$1\" = --version ] || exit 127");
    std::fs::create_dir(tools.path("tide/node_modules")).expect("writable");
    let sentence = mistake(&tools);
    assert!(
        sentence.contains("what the project needs is not installed: `npm install` in tide"),
        "{sentence}"
    );
    tools.write("tide/package.json", "{\"name\": \"tide\", \"scripts\": {}}");
    let sentence = mistake(&tools);
    assert!(sentence.contains("tide/package.json has no script `build`"), "{sentence}");
    assert!(sentence.contains("-o tide.wasm"), "{sentence}");
}

#[test]
fn without_a_compiler_a_project_in_c_says_which_to_install() {
    // Real make, and a Python that has no zig.
    let tools = Tools::new().with("python3", "exit 1").with_project("c", "echo");
    let ended = run(tools.waterspout().args(["build", "tide"]));
    assert_eq!(ended.code, 1, "{ended:?}");
    for remedy in ["ziglang", "WASI_SDK_PATH"] {
        assert!(ended.stderr.contains(remedy), "{ended:?}");
    }
    assert!(ended.stderr.contains("make has failed"), "{ended:?}");
    assert!(!ended.stderr.contains("WASI_SDK_PATH is"), "{ended:?}");
    let ended = run(tools.waterspout().args(["build", "tide"]).env("WASI_SDK_PATH", "/nowhere"));
    assert!(ended.stderr.contains("WASI_SDK_PATH is /nowhere, where there is no bin/clang"), "{ended:?}");
}

#[test]
fn a_project_cannot_be_called_what_its_sdk_is() {
    let tools = Tools::new();
    for (language, name) in [("go", "waterspout"), ("rust", "waterspout-guest"), ("js", "waterspout-guest")] {
        let ended = run(tools.waterspout().args(["new", name, "--lang", language]));
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.sentence().contains("choose another name"), "{ended:?}");
        assert!(!tools.path(name).exists());
    }
}

#[test]
fn a_new_project_names_itself_and_its_sdk() {
    for (language, file, lines) in [
        ("go", "go.mod", &["module example.org/tide", "replace example.org/waterspout => ./sdk"][..]),
        ("c", "Makefile", &["NAME := tide", "SDK := ./sdk"]),
        ("python", "requirements.txt", &["-e ./sdk[build]"]),
    ] {
        let tools = Tools::new().with_project(language, "echo");
        let text = std::fs::read_to_string(tools.path("tide").join(file)).expect("it is written");
        for line in lines {
            assert!(text.lines().any(|written| written == *line), "{file} has no `{line}`:\n{text}");
        }
    }
}

#[test]
fn what_a_project_in_javascript_needs_is_installed_where_nothing_is() {
    let npm = r#"
case "$1" in
    --version) ;;
    install) mkdir node_modules && echo install >> told ;;
    run) [ -d node_modules ] && cp "$ECHO" tide.wasm && echo build >> told ;;
esac"#;
    let tools = Tools::new().with("node", "echo v20.0.0").with("npm", npm).with_project("js", "echo");
    for _ in 0..2 {
        let built = run(tools.waterspout().args(["build", "tide"]));
        assert_eq!(built.code, 0, "{built:?}");
    }
    let told = std::fs::read_to_string(tools.path("tide/told")).expect("npm was called");
    assert_eq!(told, "install\nbuild\nbuild\n");
    // One that cannot has said why.
    let tools = tools.with("npm", "[ \"$1\" = --version ] || { echo no network >&2; exit 1; }");
    std::fs::remove_dir(tools.path("tide/node_modules")).expect("ours");
    let failed = run(tools.waterspout().args(["build", "tide"]));
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stdout.ends_with("npm install in tide\n"), "{failed:?}");
    assert!(failed.stderr.contains("no network") && failed.stderr.contains("npm has failed"), "{failed:?}");
}
