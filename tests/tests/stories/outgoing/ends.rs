//! How connections of handlers end: with their handler, with the host, and not with a handle.

use super::{dialling, echo, says, url};
use crate::probe::probe;
use crate::witness::{Witness, reporting};

#[tokio::test]
async fn when_a_handlers_own_connection_ends_so_do_those_that_it_opened() {
    for (open, how) in [("count", "left"), ("timer 1 20", "trapped")] {
        let server = probe().start().await;
        let mut witness = Witness::of(&server).await;
        let host = dialling(&[server.address()]).start().await;
        let target = format!("ws://{}{}", server.address(), reporting(&[]));
        let script = [("open", format!("dial {target}")), ("open", open.into()), ("timer", "trap".into())];
        let script: Vec<(&str, &str)> =
            script.iter().map(|(name, command)| (*name, command.as_str())).collect();
        let mut client = host.connect(&crate::witness::target("/websocket", &script)).await;
        witness.sees_open().await;
        if how == "left" {
            // After its `open`: who leaves before the server's answer is there gives the dialling up, and no close frame is sent.
            client.say("id").await;
            client.leave().await;
        }
        witness.sees(["1 on-close 1001 going away", "1 drop"]).await;
    }
}

#[tokio::test]
async fn dropping_a_handle_closes_nothing() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let dial = format!("dial {}", url(&server));
    says(&mut client, &[(&dial, "ok")]).await;
    let id = client.say("up-id").await;
    says(&mut client, &[("up-forget", "ok"), (&format!("up-get {id}"), "ok")]).await;
}

#[tokio::test]
async fn a_host_that_goes_away_says_so_to_the_servers_of_its_handlers() {
    let server = probe().start().await;
    let mut witness = Witness::of(&server).await;
    let mut host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial ws://{}{}", server.address(), reporting(&[])), "ok")]).await;
    witness.sees_open().await;
    host.shut_down();
    assert_eq!(client.recv_close().await.0, 1001);
    client.ends().await;
    assert_eq!(host.gone().await, 0);
    assert!(witness.line().await.starts_with("1 on-close 1001"));
}
