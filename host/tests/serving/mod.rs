//! `waterspout serve`: what it serves, and where.

mod cache;
mod configuration;
mod ending;
mod listeners;
mod log;
mod pages;

use std::net::TcpListener;

use tokio_tungstenite::tungstenite::Message;

use crate::support::{Folder, Program, client, echoes, get, handlers, request, run};

#[test]
fn serve_without_a_handler_is_the_echo_on_the_address_that_it_prints() {
    let folder = Folder::new();
    let program = Program::start(&mut folder.serve());
    let address = program.address();
    assert_ne!(address.port(), 0);
    assert_eq!(program.first_line(), format!("listening on ws://{address}/websocket"));
    let mut client = client(address, "/websocket");
    for message in [Message::text("hé"), Message::binary(vec![0, 255]), Message::text("")] {
        client.send(message.clone()).expect("sent");
        assert_eq!(client.read().expect("an echo"), message);
    }
    assert_eq!(get(address, "/healthz"), (200, "ok\n".into()));
}

#[test]
fn a_component_a_core_module_and_text_are_all_served() {
    let folder = Folder::new();
    let module = handlers::echo_module();
    for (name, bytes) in [
        ("component.wasm", handlers::component_of(&module)),
        ("module.wasm", module.clone()),
        ("text.wat", handlers::text_of(&module)),
        // Told apart by content, not by name.
        ("text.wasm", handlers::text_of(&module)),
    ] {
        let handler = folder.write(name, bytes);
        let program =
            Program::start(folder.command().arg("serve").arg(&handler).args(["--listen", "127.0.0.1:0"]));
        let mut client = client(program.address(), "/websocket");
        echoes(&mut client, name);
    }
}

#[test]
fn path_instance_host_and_origin_are_taken() {
    let folder = Folder::new();
    let program = Program::start(folder.serve().args(["--path", "/chat/{room}"]).args([
        "--instance",
        "{room}",
        "--host",
        "127.0.0.1",
        "--origin",
        "https://example.com",
    ]));
    let address = program.address();
    assert_eq!(program.first_line(), format!("listening on ws://{address}/chat/{{room}}"));
    client(address, "/chat/blue").send(Message::text("hello")).expect("sent");
    let handshake = |host: &str, origin: &str| {
        let headers = format!(
            "Host: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        request(address, "/chat/blue", &headers).0
    };
    assert_eq!(handshake("127.0.0.1", "https://example.com"), 101);
    assert_eq!(handshake("127.0.0.1", "http://127.0.0.1"), 403);
    assert_eq!(handshake("localhost", "https://example.com"), 421);
    assert_eq!(get(address, "/websocket").0, 404);
}

#[test]
fn an_address_in_use_is_named() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = run(folder.command().args(["serve", "--listen", &address]));
    assert_eq!(ended.code, 1);
    assert!(ended.sentence().starts_with(&format!("waterspout: cannot listen on {address}: ")), "{ended:?}");
}

#[test]
fn the_embedding_example_echoes() {
    let folder = Folder::new();
    let program = Program::start(&mut folder.example("embed"));
    let mut client = client(program.address(), "/websocket");
    echoes(&mut client, "hello");
}
