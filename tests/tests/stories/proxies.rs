//! Proxies that name the peer, by headers and by the PROXY protocol; and how many connections one address may have.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use waterspout::server::proxies::TrustedProxies;
use waterspout_tests::host::Builder;
use waterspout_tests::{TestHost, within};

use crate::probe::probe;

fn trusting(proxies: &'static [&'static str]) -> Builder {
    probe().options(|options| {
        options.trusted_proxies = TrustedProxies::new(proxies).expect("networks");
    })
}

async fn peer_seen_by_the_handler(host: &TestHost, headers: &[(&str, &str)]) -> String {
    host.connect_with("/websocket", headers).await.say("remote-address").await
}

#[tokio::test]
async fn a_trusted_proxy_names_the_peer() {
    let host = trusting(&["127.0.0.0/8"]).start().await;
    for (header, value, expected) in [
        ("X-Forwarded-For", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("X-Forwarded-For", "203.0.113.9, 127.0.0.2", "203.0.113.9"),
        ("Forwarded", "for=6.6.6.6, for=\"[2001:db8::9]:4711\";proto=https;host=evil.example", "2001:db8::9"),
        ("Forwarded", "for=unknown", "127.0.0.1"),
    ] {
        assert_eq!(peer_seen_by_the_handler(&host, &[(header, value)]).await, expected, "{value}");
    }
    host.logged("the peer", |record| record.message == "open" && record.field("peer") == "203.0.113.9").await;
}

#[tokio::test]
async fn nobody_is_believed_unless_listed() {
    for proxies in [&[][..], &["10.0.0.0/8", "unix"][..]] {
        let host = trusting(proxies).start().await;
        let headers = [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.8")];
        assert_eq!(peer_seen_by_the_handler(&host, &headers).await, "127.0.0.1");
    }
}

#[tokio::test]
async fn two_headers_that_disagree_are_refused() {
    let host = trusting(&["127.0.0.1"]).start().await;
    let request = host.request("/websocket").header("Forwarded", "for=203.0.113.9");
    assert_eq!(request.clone().header("X-Forwarded-For", "6.6.6.6").answer().await.status, 400);
    request.header("X-Forwarded-For", "203.0.113.9").upgrade().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_one_more_when_one_ends() {
    let host = trusting(&["127.0.0.1"])
        .options(|options| {
            options.max_connections_per_address = 2;
            options.trusted_proxies = TrustedProxies::new(["127.0.0.1"]).expect("networks");
        })
        .start()
        .await;
    let from = |address: &str| host.request("/websocket").header("X-Forwarded-For", address);
    let (_, first) = from("2001:db8:1:2::1").upgrade().await;
    let _second = from("2001:db8:1:2::2").upgrade().await;
    // The same network of 64 bits.
    let answer = from("2001:db8:1:2:ffff::3").answer().await;
    assert_eq!((answer.status, answer.text()), (429, "Too many connections from this address."));
    assert_eq!(answer.header("retry-after"), Some("5"));
    from("2001:db8:1:3::1").upgrade().await;
    // Plain HTTP is not counted, and loopback neither.
    assert_eq!(from("2001:db8:1:2::1").plain().answer().await.status, 400);
    for _ in 0..3 {
        std::mem::forget(host.request("/websocket").upgrade().await);
    }
    first.reset();
    host.logged("its end", |record| record.message == "closed" && record.field("peer") == "2001:db8:1:2::1")
        .await;
    from("2001:db8:1:2::4").upgrade().await;
}

/// A PROXY header, version 2, of TCP over IPv4 from this address.
fn proxy_header(source: [u8; 4]) -> Vec<u8> {
    let addresses = [&source[..], &[127, 0, 0, 1, 0x12, 0x34, 0, 80], &[4, 0, 1, 0]].concat();
    let head = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x21, 0x11, 0, addresses.len() as u8]].concat();
    [head, addresses].concat()
}

fn behind_proxy(proxies: &'static [&'static str]) -> Builder {
    trusting(proxies).listen("127.0.0.1:0", |listener| listener.with_proxy_protocol())
}

/// Sends bytes to the listener that expects a PROXY header, and reads until it ends, or has answered with a status line.
async fn answer_to(host: &TestHost, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(host.second_address()).await.expect("a connection");
    socket.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    within("an answer or the end", async {
        while !answer.ends_with(b"\r\n\r\n") && socket.read_buf(&mut answer).await.is_ok_and(|read| read > 0)
        {
        }
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_proxy_header_names_the_peer_to_handler_and_log() {
    let host = behind_proxy(&[]).start().await;
    let request = host.second_request("/websocket").bytes();
    let answer = answer_to(&host, &[proxy_header([203, 0, 113, 9]), request].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    host.logged("the peer", |record| record.message == "open" && record.field("peer") == "203.0.113.9").await;
}

#[tokio::test]
async fn a_peer_that_a_proxy_header_names_is_believed_only_if_it_is_trusted_itself() {
    let host = behind_proxy(&["127.0.0.1", "203.0.113.9"]).start().await;
    let request = host.second_request("/websocket").header("X-Forwarded-For", "198.51.100.7").bytes();
    for (source, expected) in [([203, 0, 113, 9], "198.51.100.7"), ([203, 0, 113, 8], "203.0.113.8")] {
        let answer = answer_to(&host, &[proxy_header(source), request.clone()].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        host.logged(expected, |record| record.message == "open" && record.field("peer") == expected).await;
    }
}

#[tokio::test]
async fn only_a_proxy_may_connect_where_proxies_are_listed() {
    let host = behind_proxy(&["10.0.0.0/8"]).start().await;
    let request = host.second_request("/websocket").bytes();
    assert_eq!(answer_to(&host, &[proxy_header([203, 0, 113, 9]), request].concat()).await, "");
    host.logged("it", |record| record.message.starts_with("only `trusted-proxies` may connect")).await;
}

#[tokio::test]
async fn what_begins_otherwise_is_dropped_with_the_reason() {
    let host = behind_proxy(&[]).start().await;
    let request = host.second_request("/websocket").bytes();
    let version_one = [b"PROXY TCP4 203.0.113.9 127.0.0.1 4660 80\r\n", &request[..]].concat();
    let mut cut_off = proxy_header([203, 0, 113, 9]);
    cut_off[15] = 4;
    for (bytes, why) in [(request, "no PROXY header"), (version_one, "version 1"), (cut_off, "cut off")] {
        assert_eq!(answer_to(&host, &bytes).await, "");
        host.logged(why, |record| record.message == "dropped" && record.field("error").contains(why)).await;
    }
}

#[tokio::test]
async fn half_a_proxy_header_has_the_handshakes_time() {
    let host = behind_proxy(&[])
        .options(|options| options.handshake_timeout = Duration::from_millis(100))
        .start()
        .await;
    for length in [0, 1, 12, 20] {
        assert_eq!(answer_to(&host, &proxy_header([203, 0, 113, 9])[..length]).await, "");
    }
    host.logged("it", |record| record.message == "no PROXY header within `handshake-timeout`").await;
}

#[tokio::test]
async fn an_addresss_sockets_are_counted_whatever_is_asked_on_them_and_one_too_many_is_closed() {
    let host = behind_proxy(&[]).options(|options| options.max_connections_per_address = 1).start().await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(host.second_address()).await.expect("connected");
        socket.write_all(&proxy_header([203, 0, 113, 9])).await.expect("sent");
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        socket.write_all(request).await.expect("sent");
        let mut status = [0; 15];
        within("an answer", socket.read_exact(&mut status)).await.expect("answered");
        assert_eq!(&status, b"HTTP/1.1 200 OK");
        open.push(socket);
    }
    let request = host.second_request("/websocket").bytes();
    assert_eq!(answer_to(&host, &[proxy_header([203, 0, 113, 9]), request.clone()].concat()).await, "");
    host.logged("it", |record| record.message.starts_with("closed: the address has twice")).await;
    let answer = answer_to(&host, &[proxy_header([203, 0, 113, 8]), request].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "another address has its own: {answer}");
}
