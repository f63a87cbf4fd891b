//! The page of the server: its own, the operator's, or none.

use rustix::process::Signal;

use crate::support::{Folder, Program, get, handlers};

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
