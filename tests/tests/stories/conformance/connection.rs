//! One connection, from open to close.

use tokio_tungstenite::tungstenite::Message;
use waterspout_tests::{Client, TestHost};

use super::Language;

pub(super) async fn open_and_id(language: Language) {
    let host = language.host().start().await;
    let (mut one, mut other) = (host.connect("/open").await, host.connect("/open").await);
    let mut ids = Vec::new();
    for client in [&mut one, &mut other] {
        let greeting = client.recv_text().await;
        let id = greeting.strip_prefix("opened ").unwrap_or_else(|| panic!("{greeting}")).to_owned();
        assert_eq!(client.say("id").await, id);
        ids.push(id);
    }
    assert!(ids[0].len() >= 16 && ids[0] != ids[1], "{ids:?}");
}

pub(super) async fn ping_and_pong(language: Language) {
    let host = language.host().start().await;
    let mut client = host.connect("/ping").await;
    client.send_text("ping are you there").await;
    assert_eq!(client.recv().await, Message::Ping("are you there".into()));
    assert_eq!(client.recv_text().await, "pong are you there");
    client.ping("I am").await;
    assert_eq!(client.recv().await, Message::Pong("I am".into()));
    assert_eq!(client.recv_text().await, "ping I am");
    assert_eq!(client.say("big").await, "invalid");
}

/// Who is told of what a handler cannot tell its own peer.
pub(super) async fn observer(host: &TestHost, topic: &str) -> Client {
    let mut observer = host.connect(&format!("/observe?topic={topic}")).await;
    assert_eq!(observer.recv_text().await, "ready");
    observer
}

pub(super) async fn close_by_the_handler(language: Language) {
    let host = language.host().start().await;
    let mut observer = observer(&host, "conformance-ends").await;
    let mut client = host.connect("/close").await;
    client.send_text("4001 that is all").await;
    assert_eq!(client.recv_close().await, (4001, "that is all".into()));
    client.ends().await;
    // To write behind one's own close is an error that a handler can catch.
    assert_eq!(observer.recv_text().await, "closed");
    assert_eq!(observer.recv_text().await, "closed 4001 that is all");

    let mut client = host.connect("/close").await;
    client.send_text("- ").await;
    assert_eq!(client.recv().await, Message::Close(None));
    client.ends().await;
    assert_eq!(observer.recv_text().await, "closed");
    assert_eq!(observer.recv_text().await, "closed 1005");
}

pub(super) async fn close_by_the_peer(language: Language) {
    let host = language.host().start().await;
    let mut observer = observer(&host, "conformance-ends").await;
    let mut client = host.connect("/close").await;
    client.close(4002, "grüße").await;
    assert_eq!(client.recv_close().await, (4002, "grüße".into()));
    assert_eq!(observer.recv_text().await, "closed 4002 grüße");

    let mut client = host.connect("/close").await;
    client.close_without_code().await;
    assert_eq!(client.recv().await, Message::Close(None));
    assert_eq!(observer.recv_text().await, "closed 1005");

    host.connect("/close").await.reset();
    assert_eq!(observer.recv_text().await, "closed none");
}

pub(super) async fn refused_codes_and_reasons(language: Language) {
    let host = language.host().start().await;
    let mut client = host.connect("/invalid").await;
    for question in ["code 1006", "code 999", "code 5000", "reason 124"] {
        assert_eq!(client.say(question).await, "invalid", "{question}");
    }
    client.send_text("reason 123").await;
    assert_eq!(client.recv_close().await, (1000, "r".repeat(123)));
}

pub(super) async fn flow_control(language: Language) {
    let host = language.host().limits(|limits| limits.max_queue_bytes = 256 << 10).start().await;
    let mut client = host.connect("/queue").await;
    assert_eq!(client.say("amount").await, "0");
    assert_eq!(client.say("flush").await, "flushed");
    // Nobody reads: sooner or later sockets and queue are full.
    let mut observer = observer(&host, "conformance-full").await;
    client.send_text("fill 65536").await;
    assert_eq!(observer.recv_text().await, "full");
    let mut filled = 0;
    loop {
        match client.recv().await {
            Message::Binary(bytes) => {
                assert_eq!(bytes.len(), 65_536);
                filled += 1;
            }
            Message::Text(text) => {
                assert_eq!(text.as_str(), "writable");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(filled >= 2, "{filled} messages fitted");
}

pub(super) async fn nodelay(language: Language) {
    let host = language.host().start().await;
    let mut client = host.connect("/nodelay").await;
    let peer = client.stream().get_ref().local_addr().expect("an address");
    for value in ["off", "on", "off"] {
        assert_eq!(client.say(value).await, "ok");
        #[cfg(target_os = "linux")]
        assert_eq!(socket_to(peer).nodelay().expect("a socket"), value == "on", "{value}");
    }
}

/// The host's socket, which is this process's, to a peer: another descriptor of it.
#[cfg(target_os = "linux")]
fn socket_to(peer: std::net::SocketAddr) -> std::net::TcpStream {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let process = pidfd_open(getpid(), PidfdFlags::empty()).expect("this process");
    let sockets = std::fs::read_dir("/proc/self/fd").expect("descriptors").flatten().filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|what| what.to_string_lossy().starts_with("socket:"))
    });
    sockets
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|number| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok())
        .map(std::net::TcpStream::from)
        .find(|socket| socket.peer_addr().is_ok_and(|address| address == peer))
        .expect("the host has this connection")
}
