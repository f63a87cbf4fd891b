//! Who is answered, and who is kept out.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use waterspout::{Admin, AdminOptions, Application};
use waterspout_tests::{Metrics, within};

use super::{Folder, TOKEN, are_open, ask, metrics, start};
use crate::probe::probe;

#[tokio::test]
async fn only_who_knows_the_token_is_answered() {
    let (host, folder) = start(probe()).await;
    let with = |authorization: &str| host.admin_request("/metrics").header("Authorization", authorization);
    let missing = host.admin_request("/metrics").answer().await;
    assert_eq!(
        (missing.status, missing.header("www-authenticate")),
        (401, Some("Bearer realm=\"waterspout\""))
    );
    for wrong in ["Bearer wrong-horse-battery-staple", "Bearer", "Basic correct-horse-battery-staple"] {
        assert_eq!(with(wrong).answer().await.status, 401, "{wrong}");
    }
    assert_eq!(with(&format!("Bearer {TOKEN}")).answer().await.status, 200);
    // What is unknown is not told to strangers either.
    assert_eq!(host.admin_request("/nowhere").answer().await.status, 401);
    folder.token("another-horse-battery-staple\n");
    assert_eq!(with(&format!("Bearer {TOKEN}")).answer().await.status, 401);
    assert_eq!(with("Bearer another-horse-battery-staple").answer().await.status, 200);
    folder.token("short");
    assert_eq!(with("Bearer another-horse-battery-staple").answer().await.status, 503);
    host.logged("why", |record| record.message.contains("the admin token cannot be used")).await;
    folder.token(TOKEN);
    assert_eq!(with(&format!("Bearer {TOKEN}")).answer().await.status, 200);
}

#[tokio::test]
async fn a_page_under_a_strangers_name_is_not_answered() {
    let (host, _folder) = start(probe()).await;
    let answer = ask(&host, "GET", "/metrics").replace("Host", "rebound.example").answer().await;
    assert_eq!(answer.status, 421, "{}", answer.text());
    for name in ["localhost", "127.0.0.1:1", "[::1]"] {
        assert_eq!(ask(&host, "GET", "/metrics").replace("Host", name).answer().await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused_and_so_is_a_port_without_a_token() {
    let folder = Folder::new();
    let application = || Application::new::<waterspout::Handler>([], None);
    let refuse = |address: &str, token_file: Option<PathBuf>| {
        let options = AdminOptions { address: address.parse().expect("an address"), mode: None, token_file };
        Admin::bind(&options, application()).expect_err("refused").to_string()
    };
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "systemd"] {
        let error = refuse(address, Some(folder.token(TOKEN)));
        assert!(
            error.contains("must not be reachable from elsewhere") && error.contains("loopback"),
            "{error}"
        );
    }
    let error = refuse("127.0.0.1:0", None);
    assert!(error.contains("token-file"), "{error}");
    let file = folder.token(TOKEN);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let error = refuse("127.0.0.1:0", Some(file));
    assert!(error.contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn a_unix_socket_is_its_owners_and_needs_no_token() {
    let folder = Folder::new();
    let path = folder.0.join("admin.sock");
    let options = AdminOptions {
        address: format!("unix:{}", path.display()).parse().expect("an address"),
        mode: None,
        token_file: None,
    };
    let _host = probe().admin(options).start().await;
    let mode = std::fs::metadata(&path).expect("the socket's file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut socket = tokio::net::UnixStream::connect(&path).await.expect("it listens");
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    within("the answer", socket.read_to_string(&mut answer)).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    Metrics::parse(answer.split_once("\r\n\r\n").expect("a body").1);
}

#[tokio::test]
async fn while_the_server_drains_its_operator_still_sees_it() {
    let (mut host, _folder) = start(probe()).await;
    let mut client = host.connect("/websocket").await;
    are_open(&host, 1).await;
    host.shut_down();
    host.logged("the drain", |record| record.message == "draining").await;
    assert_eq!(metrics(&host).await.sum("waterspout_connections_open", &[]), 1.0);
    assert_eq!(client.recv_close().await.0, 1001);
    client.ends().await;
    assert_eq!(host.gone().await, 0);
    assert_eq!(metrics(&host).await.sum("waterspout_closes_total", &[("cause", "going_away")]), 1.0);
}

#[tokio::test]
async fn who_says_nothing_keeps_nobody_from_asking() {
    let (host, _folder) = start(probe()).await;
    let mut silent = Vec::new();
    for _ in 0..15 {
        silent.push(tokio::net::TcpStream::connect(host.admin_address()).await.expect("it listens"));
    }
    assert_eq!(ask(&host, "GET", "/metrics").answer().await.status, 200);
}
