//! Connections that handlers open themselves: where to they may, what the two styles bring, and how they end. The servers are hosts of
//! this crate; servers that misbehave are in `client`, which is the same client.

mod destinations;
mod ends;
mod limits;
mod proxies;
mod styles;
mod waiting;

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;
use waterspout_tests::host::Builder;
use waterspout_tests::{Client, Guest, TestHost};

use crate::probe::probe;

/// A host with the probe, which may connect to these.
fn dialling(servers: &[SocketAddr]) -> Builder {
    probe().connects_to(&servers.iter().map(SocketAddr::to_string).collect::<Vec<_>>())
}

async fn echo() -> TestHost {
    TestHost::new(Guest::Echo).start().await
}

fn url(server: &TestHost) -> String {
    format!("ws://{}/websocket", server.address())
}

/// What the probe answers to each of these commands.
async fn says(client: &mut Client, conversation: &[(&str, &str)]) {
    for (command, answer) in conversation {
        assert_eq!(client.say(*command).await, *answer, "{command}");
    }
}

/// A port on which nobody listens, nor will as long as the socket is there.
pub(crate) fn bound() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}
