//! `waterspout connect`, in a pipe and on a terminal.

mod handler;
mod pipe;
mod pty;
mod terminal;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::thread;

use tokio_tungstenite::tungstenite::{WebSocket, accept};

use crate::support::{Folder, PATIENCE, Program};

/// The program's own server, an echo.
fn echo(folder: &Folder) -> (Program, String) {
    let program = Program::start(folder.command().args([
        "serve",
        "--no-page",
        "--no-cache",
        "--listen",
        "127.0.0.1:0",
    ]));
    let url = format!("ws://{}/websocket", program.address());
    (program, url)
}

/// A server for one connection, which does what it is told.
fn server(then: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || then(listener.accept().expect("a client").0));
    address
}

/// A server for one WebSocket, which does what it is told.
fn peer(then: impl FnOnce(WebSocket<TcpStream>) + Send + 'static) -> String {
    let address = server(|socket| then(accept(socket).expect("a handshake")));
    format!("ws://{address}/")
}

/// Reads until the end.
fn until_closed(mut socket: WebSocket<TcpStream>) {
    while socket.read().is_ok() {}
}

fn connect(folder: &Folder, url: &str) -> Command {
    let mut command = folder.command();
    command.args(["connect", url]);
    command
}

/// What a server has to say to a test.
fn told<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("the server says something")
}

fn until_end(mut socket: impl Read) {
    let _ = socket.read_to_end(&mut Vec::new());
}
