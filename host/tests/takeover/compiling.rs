//! Linux: who takes over serves while it compiles what has changed since the old process began.

use super::Line;
use crate::compiling::children::{children_of, until};
use crate::compiling::wasm;
use crate::support::{ECHO_ROUTE, Folder, TOKEN, client, echoes, request};

#[test]
fn a_file_that_takes_long_to_compile_keeps_nobody_waiting_after_a_takeover() {
    let folder = Folder::new();
    folder.write_token("token", TOKEN);
    let admin = "[admin]\nlisten = '127.0.0.1:0'\ntoken-file = 'token'\n";
    let configuration = format!("listen = '127.0.0.1:0'\nstate-dir = 'kept'\n{admin}{ECHO_ROUTE}");
    let mut line = Line::start(&mut folder.serve_configured(configuration));
    let (address, admin) = (line.first.address(), line.first.admin_address());
    folder.write("echo.wasm", wasm::slow());
    let successor = line.go_on();
    let compiler = until(|| children_of(successor).into_iter().next());
    echoes(&mut client(address, "/echo"), "what was kept is served");
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n");
    assert_eq!(request(admin, "/healthz", &headers).0, 200);
    assert!(children_of(successor).contains(&compiler), "it was answered before the file was compiled");
    // It ends at once, too.
    assert_eq!(line.end().code, 0);
}
