//! Host names: which routes answer to which.

use waterspout::server::handshake::Hosts;
use waterspout_tests::frames::Frame;
use waterspout_tests::{Guest, TestHost};

use super::{MISDIRECTED, asking, refused};
use crate::probe::probe;

#[tokio::test]
async fn on_loopback_only_loopback_names_are_answered() {
    let host = TestHost::new(Guest::Echo).route(|route| route.hosts = Hosts::Loopback).start().await;
    for name in ["localhost", "LOCALHOST:80", "127.0.0.1", "127.9.9.9:1", "[::1]:8888"] {
        host.request("/websocket").replace("Host", name).upgrade().await;
    }
    for name in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]"] {
        refused(host.request("/websocket").replace("Host", name), 421, MISDIRECTED).await;
        refused(host.request("/nowhere").replace("Host", name).plain(), 421, MISDIRECTED).await;
    }
}

#[tokio::test]
async fn the_name_in_an_absolute_target_counts_and_not_the_host_header() {
    let host = TestHost::new(Guest::Echo).route(|route| route.hosts = Hosts::Loopback).start().await;
    refused(host.request("http://evil.example/websocket"), 421, MISDIRECTED).await;
    host.request("http://localhost/websocket").replace("Host", "evil.example").upgrade().await;
}

#[tokio::test]
async fn a_route_answers_to_its_own_hosts_only() {
    let hosts = |name: &str| Hosts::listed(&[name.to_owned()]).expect("a host");
    let host = probe()
        .route(|route| {
            route.hosts = hosts("one.example");
            route.config.insert("tenant".into(), "one".into());
        })
        .and_route(Guest::named("probe"), "/websocket")
        .route(|route| {
            route.hosts = hosts("*.two.example");
            route.config.insert("tenant".into(), "two".into());
        })
        .start()
        .await;
    let target = asking(&[("open", "config tenant"), ("message", "history")]);
    for (name, tenant) in [("one.example", "one"), ("ONE.EXAMPLE:99", "one"), ("a.two.example", "two")] {
        let (_, mut raw) = host.request(&target).replace("Host", name).upgrade().await;
        raw.send(Frame::text("")).await;
        let history = String::from_utf8(raw.frame().await.payload).expect("text");
        assert!(history.contains(&format!("config tenant = {tenant}")), "{name}: {history}");
    }
    for name in ["two.example", "three.example", "one.example.evil.example"] {
        refused(host.request(&target).replace("Host", name), 421, MISDIRECTED).await;
    }
}
