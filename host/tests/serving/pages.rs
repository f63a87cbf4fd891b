//! The page of the server: its own, the operator's, or none.

use rustix::process::Signal;

use crate::support::{ECHO_ROUTE, Folder, Program, get};

#[test]
fn the_page_is_the_hosts_own_unless_told_otherwise() {
    let folder = Folder::new();
    let program = Program::start(&mut folder.serve());
    let address = program.address();
    assert_eq!(program.next_line(), format!("open http://{address}/ in a browser"));
    let (status, html) = get(address, "/");
    assert_eq!(status, 200);
    assert!(
        html.to_lowercase().contains("<!doctype html>") && html.contains("\"path\":\"/websocket\""),
        "{html}"
    );

    let page = folder.write("page.html", "<!doctype html><title>mine</title>");
    let program = Program::start(folder.serve().arg("--page").arg(page));
    assert_eq!(get(program.address(), "/"), (200, "<!doctype html><title>mine</title>".into()));

    let program = Program::start(folder.serve().arg("--no-page"));
    assert_eq!(get(program.address(), "/").0, 404);
    program.signal(Signal::TERM);
    assert!(!program.wait().stdout.contains("in a browser"));
}

#[test]
fn a_configuration_file_asks_for_its_page() {
    let folder = Folder::new();
    folder.write("page.html", "<!doctype html><title>mine</title>");
    for (page, wanted) in [("true", "/echo"), ("'page.html'", "mine")] {
        let text = format!("listen = '127.0.0.1:0'\npage = {page}\n{ECHO_ROUTE}");
        let program = Program::start(&mut folder.serve_configured(text));
        let (status, html) = get(program.address(), "/");
        assert_eq!(status, 200);
        assert!(html.contains(wanted), "{html}");
    }
}
