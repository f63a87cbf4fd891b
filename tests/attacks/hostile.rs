//! A server that means harm to whoever connects to it: what it does is the path's.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use waterspout_tests::Frame;

/// What it sends where it has no end of sending.
const GIGABYTE: usize = 1 << 30;

/// Starts it, on a thread of its own, for as long as the process lives.
pub(crate) fn start() -> std::io::Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        runtime.block_on(async {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Its victims leave when they like.
                    let _ = answer(socket).await;
                });
            }
        });
    });
    Ok(address)
}

async fn answer(mut socket: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let key = head.lines().find_map(|line| {
        line.to_ascii_lowercase().starts_with("sec-websocket-key:").then(|| line[18..].trim())
    });
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    let good = format!("{switching}{accept}\r\n");
    match path {
        "/accept" => {
            socket.write_all(format!("{switching}{}\r\n\r\n", accept.to_lowercase()).as_bytes()).await?
        }
        "/extension" => {
            socket.write_all(format!("{good}Sec-WebSocket-Extensions: x-own\r\n\r\n").as_bytes()).await?;
        }
        "/subprotocol" => {
            socket.write_all(format!("{good}Sec-WebSocket-Protocol: own\r\n\r\n").as_bytes()).await?;
        }
        "/open" => socket.write_all(format!("{good}\r\n").as_bytes()).await?,
        "/home" => {
            let here = socket.local_addr()?;
            let answer =
                format!("HTTP/1.1 302 Found\r\nLocation: ws://{here}/open\r\nContent-Length: 0\r\n\r\n");
            socket.write_all(answer.as_bytes()).await?;
        }
        "/redirect" => {
            socket
                .write_all(
                    b"HTTP/1.1 302 Found\r\nLocation: ws://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
                )
                .await?;
        }
        "/page" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n").await?;
            pour(&mut socket, b"<p>").await?;
        }
        "/headers" => {
            socket.write_all(good.as_bytes()).await?;
            pour(&mut socket, b"X-More: and more and more\r\n").await?;
        }
        "/interim" => pour(&mut socket, b"HTTP/1.1 100 Continue\r\n\r\n").await?,
        "/masked" => {
            socket.write_all(format!("{good}\r\n").as_bytes()).await?;
            socket.write_all(&Frame::text("masked").masked()).await?;
        }
        "/huge" => {
            socket.write_all(format!("{good}\r\n").as_bytes()).await?;
            socket.write_all(&[&[0x82, 127][..], &(GIGABYTE as u64).to_be_bytes()].concat()).await?;
            pour(&mut socket, b"x").await?;
        }
        _ => {}
    }
    // Until the victim ends it.
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.map(drop)
}

async fn pour(socket: &mut TcpStream, what: &[u8]) -> std::io::Result<()> {
    let many = what.repeat((1 << 16) / what.len());
    for _ in 0..GIGABYTE / many.len() {
        socket.write_all(&many).await?;
    }
    Ok(())
}
