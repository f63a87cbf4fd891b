//! Tenants and connections: what is listed of them, and who is kicked.

use serde_json::Value;
use waterspout_tests::Guest;

use super::{are_open, ask, json, metrics, refused, start, tenant};
use crate::probe::{history, probe, rooms};

#[tokio::test]
async fn tenants_are_listed_with_their_limits_and_what_they_use() {
    let host = probe()
        .route(|route| route.tenant = tenant("red", |total| total.max_connections = 7))
        .and_route(Guest::Echo, "/echo")
        .route(|route| route.tenant = tenant("blue", |_| {}));
    let (host, _folder) = start(host).await;
    let _client = host.connect("/websocket").await;
    are_open(&host, 1).await;
    let tenants = json(&host, "GET", "/tenants").await;
    let tenants = tenants["tenants"].as_array().expect("a list");
    let names: Vec<_> = tenants.iter().map(|tenant| tenant["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["red", "blue"]);
    assert_eq!(tenants[0]["limits"]["max-connections"], "7");
    assert_eq!(tenants[0]["used"]["connections"], 1);
    assert_eq!(tenants[0]["used"]["instances"], 1);
    assert!(tenants[0]["used"]["memory_bytes"].as_u64().expect("bytes") > 32 << 10);
    assert_eq!(tenants[1]["used"]["connections"], 0);
    assert_eq!(tenants[1]["routes"][0]["name"], "/echo");
    assert_eq!(tenants[1]["routes"][0]["path"], "/echo");
}

#[tokio::test]
async fn connections_are_listed_with_what_is_known_of_them() {
    let (host, _folder) = start(probe().and_route(Guest::Echo, "/echo")).await;
    let mut client = host.connect("/websocket").await;
    let id = client.say("id").await;
    let _other = host.connect("/echo").await;
    are_open(&host, 2).await;
    let page = json(&host, "GET", "/connections?route=test&tenant=default").await;
    let connections = page["connections"].as_array().expect("a list");
    assert_eq!((connections.len(), &page["next"]), (1, &Value::Null));
    let connection = &connections[0];
    assert_eq!(connection["id"], *id);
    assert_eq!((&connection["route"], &connection["tenant"]), (&"test".into(), &"default".into()));
    assert_eq!((&connection["peer"], &connection["http"]), (&"127.0.0.1".into(), &1.into()));
    assert_eq!(connection["received"], serde_json::json!({ "messages": 1, "bytes": 2 }));
    assert_eq!(connection["sent"], serde_json::json!({ "messages": 1, "bytes": 32 }));
    assert_eq!(connection["queue_bytes"], 0);
    assert!(connection["since"].as_str().expect("a time").ends_with('Z'));
    assert_eq!(json(&host, "GET", "/connections").await["connections"].as_array().expect("a list").len(), 2);
}

#[tokio::test]
async fn a_kick_closes_with_its_code_and_the_handler_hears_of_it() {
    let (host, _folder) = start(rooms()).await;
    let (mut kicked, mut stays) = (host.connect("/rooms/a").await, host.connect("/rooms/a").await);
    let id = kicked.say("id").await;
    let answer = json(&host, "DELETE", &format!("/connections/{id}?code=4003&reason=too%20loud")).await;
    assert_eq!(answer["kicked"], 1);
    assert_eq!(kicked.recv_close().await, (4003, "too loud".into()));
    kicked.ends().await;
    assert_eq!(host.connection_ends().await, "kicked");
    let last = loop {
        let calls = history(&mut stays).await;
        if let Some(close) = calls.iter().find(|call| call.contains("on-close")) {
            break close.clone();
        }
    };
    assert_eq!(last, "1 on-close 4003 too loud");
    let metrics = metrics(&host).await;
    assert_eq!(metrics.sum("waterspout_closes_total", &[("cause", "kicked")]), 1.0);
    let gone = ask(&host, "DELETE", &format!("/connections/{id}")).answer().await;
    assert_eq!(refused(&gone), (404, "No open connection has this id."));
}

#[tokio::test]
async fn a_route_or_a_tenant_is_kicked_as_a_whole_and_nobody_else() {
    let (host, _folder) = start(probe().and_route(Guest::Echo, "/echo")).await;
    let mut clients = [host.connect("/echo").await, host.connect("/echo").await];
    let mut other = host.connect("/websocket").await;
    are_open(&host, 3).await;
    assert_eq!(json(&host, "DELETE", "/connections?route=/echo").await["kicked"], 2);
    for client in &mut clients {
        assert_eq!(client.recv_close().await, (1008, String::new()));
    }
    assert_eq!(other.say("count").await, "1");
    assert_eq!(
        json(&host, "DELETE", "/connections?tenant=default&code=1001").await["kicked"]
            .as_u64()
            .map(|n| n >= 1),
        Some(true)
    );
    assert_eq!(other.recv_close().await.0, 1001);
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_nobody_is_kicked() {
    let (host, _folder) = start(probe()).await;
    let mut client = host.connect("/websocket").await;
    let id = client.say("id").await;
    let id = format!("/connections/{id}");
    for (method, target, status) in [
        ("DELETE", format!("{id}?code=1005"), 400),
        ("DELETE", format!("{id}?code=999"), 400),
        ("DELETE", format!("{id}?kode=1000"), 400),
        ("DELETE", format!("{id}?reason={}", "x".repeat(124)), 400),
        ("DELETE", "/connections/1".into(), 400),
        ("DELETE", format!("/connections/{}", "0".repeat(32)), 404),
        ("DELETE", "/connections".into(), 400),
        ("DELETE", "/connections?route=none".into(), 404),
        ("GET", "/connections?limit=0".into(), 400),
        ("GET", "/connections?limit=1001".into(), 400),
        ("GET", "/connections?after=x".into(), 400),
        ("GET", "/connections?tenant=none".into(), 404),
        ("GET", id.clone(), 405),
        ("POST", "/metrics".into(), 405),
        ("OPTIONS", "/connections".into(), 405),
        ("GET", "/".into(), 404),
        ("GET", "/metrics/".into(), 404),
    ] {
        let answer = ask(&host, method, &target).answer().await;
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{method} {target}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {target}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(client.say("count").await, "1");
    let head = ask(&host, "HEAD", "/metrics").answer().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}
