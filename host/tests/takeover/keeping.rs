//! What becomes of versions that are not the files' where nothing is kept.

use super::{Line, Signal};
use crate::support::{ECHO_ROUTE, Folder, TOKEN, answer_to, client, exchange, handlers, socket};

#[test]
fn without_a_folder_for_them_the_routes_are_named_whose_versions_are_lost() {
    let folder = Folder::new();
    folder.write_token("token", TOKEN);
    let admin = "[admin]\nlisten = '127.0.0.1:0'\ntoken-file = 'token'\n";
    let other = "[route.other]\npath = '/other'\nhandler = 'echo.wasm'\n";
    let configuration = format!("listen = '127.0.0.1:0'\n{admin}{ECHO_ROUTE}{other}");
    let mut line = Line::start(&mut folder.serve_configured(configuration));
    let (address, admin) = (line.first.address(), line.first.admin_address());
    let handler = handlers::binary_echo();
    let head = format!(
        "PUT /routes/echo/handler HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\r\n",
        handler.len()
    );
    let answer = exchange(socket(admin), &[head.as_bytes(), &handler].concat()).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer_to(&mut client(address, "/echo"), "before").is_binary());
    line.ask(Signal::USR2);
    let record = line.first.record_with("without `state-dir`");
    assert!(record.contains("WARN") && record.contains("routes=\"default/echo\""), "{record}");
    line.successor();
    assert!(answer_to(&mut client(address, "/echo"), "after").is_text());
}
