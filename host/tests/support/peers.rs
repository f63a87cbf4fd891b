//! Clients of the program: WebSockets, and requests of HTTP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use tokio_tungstenite::tungstenite::{Message, WebSocket, client as connect};

use super::PATIENCE;

pub(crate) fn socket(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect_timeout(&address, PATIENCE).expect("the program listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket has the option");
    socket.set_write_timeout(Some(PATIENCE)).expect("a TCP socket has the option");
    socket
}

/// A WebSocket connection.
pub(crate) fn client(address: SocketAddr, path: &str) -> WebSocket<TcpStream> {
    match connect(format!("ws://{address}{path}"), socket(address)) {
        Ok((client, _)) => client,
        Err(error) => panic!("{path} was refused: {error}"),
    }
}

/// Sends a text message, and takes it back.
pub(crate) fn echoes<S: Read + Write>(client: &mut WebSocket<S>, text: &str) {
    client.send(Message::text(text)).expect("sent");
    assert_eq!(client.read().expect("an echo"), Message::text(text));
}

/// Sends a text message; what comes back.
pub(crate) fn answer_to(client: &mut WebSocket<TcpStream>, text: &str) -> Message {
    client.send(Message::text(text)).expect("sent");
    client.read().expect("an answer")
}

/// A request after whose answer the server closes.
pub(crate) fn last_request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// Sends a request, and reads until the server closes: all that it answers.
pub(crate) fn exchange(mut socket: impl Read + Write, request: &[u8]) -> io::Result<String> {
    socket.write_all(request)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Status and body of a GET.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    request(address, path, &format!("Host: {address}\r\nConnection: close\r\n"))
}

/// Status and body of a GET with these headers; the body only if the server closes after it.
pub(crate) fn request(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut socket = socket(address);
    socket.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).expect("the program reads");
    let mut reader = BufReader::new(socket);
    let mut status = String::new();
    reader.read_line(&mut status).expect("an answer");
    let code =
        status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{status:?}"));
    let mut rest = String::new();
    if headers.contains("Connection: close") {
        reader.read_to_string(&mut rest).expect("a body of text");
    }
    (code, rest.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
