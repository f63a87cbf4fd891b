//! Where to a handler may connect, and what it is told when it may not or cannot.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use waterspout::client::{Resolver, Resolving};

use super::{bound, dialling, echo, says, url};
use crate::probe::{history, probe, rooms};

#[tokio::test]
async fn without_a_list_every_destination_is_denied() {
    let server = echo().await;
    let host = probe().start().await;
    let mut client = host.connect("/websocket").await;
    for verb in ["dial", "start"] {
        says(&mut client, &[(&format!("{verb} {}", url(&server)), "denied")]).await;
    }
}

#[tokio::test]
async fn before_open_every_destination_is_denied() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let dial = format!("dial {}", url(&server));
    let mut client = host
        .connect(&crate::witness::target("/websocket", &[("constructor", &dial), ("prepare", &dial)]))
        .await;
    let lines = history(&mut client).await;
    for function in ["constructor", "prepare"] {
        assert!(lines.contains(&format!("1 {function}: {dial} = denied")), "{lines:?}");
    }
}

/// Answers each name with a list of its own, and remembers how often it was asked.
#[derive(Debug, Default)]
struct Names {
    answers: Mutex<Vec<Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

impl Names {
    /// Answers with the first list, then the second, and so on; the last one stays.
    fn of(answers: &[&[SocketAddr]]) -> Arc<Self> {
        let answers = answers.iter().rev().map(|list| list.to_vec()).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolving<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().expect("no panic");
        let answer =
            if answers.len() > 1 { answers.pop().expect("more than one") } else { answers[0].clone() };
        Box::pin(async move { Ok(answer) })
    }
}

#[tokio::test]
async fn a_listed_name_that_leads_to_this_machine_is_denied() {
    let server = echo().await;
    let names = Names::of(&[&[server.address()]]);
    let name = format!("server.example:{}", server.address().port());
    let host = probe().connects_to(std::slice::from_ref(&name)).resolver(names).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial ws://{name}/websocket"), "denied")]).await;
    says(&mut client, &[(&format!("start ws://{name}/websocket"), "ok")]).await;
    assert_eq!(client.recv_text().await, "on-client-event failed denied");
    assert!(server.logs().is_empty());
}

#[tokio::test]
async fn of_a_name_with_a_listed_and_a_forbidden_address_only_the_listed_one_is_dialled() {
    let (listed, forbidden) = (echo().await, echo().await);
    let names = Names::of(&[&[forbidden.address(), listed.address()]]);
    let name = "server.example:80".to_owned();
    let host =
        probe().connects_to(&[name.clone(), listed.address().to_string()]).resolver(names).start().await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial ws://{name}/websocket"), "ok"), ("up-say hello\nup-read", "hello")])
        .await;
    assert!(forbidden.logs().is_empty());
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_dialled() {
    let (listed, forbidden) = (echo().await, echo().await);
    // A name that changes between check and dial, if there were two questions.
    let names = Names::of(&[&[listed.address()], &[forbidden.address()]]);
    let name = "server.example:80".to_owned();
    let host = probe()
        .connects_to(&[name.clone(), listed.address().to_string()])
        .resolver(names.clone())
        .start()
        .await;
    let mut client = host.connect("/websocket").await;
    says(&mut client, &[(&format!("dial ws://{name}/websocket"), "ok")]).await;
    assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    // The second time the name has moved.
    says(&mut client, &[(&format!("dial ws://{name}/websocket"), "denied")]).await;
    assert!(forbidden.logs().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let forbidden = echo().await;
    let server = probe().start().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let target = format!(
        "ws://{}/websocket?prepare=redirect:http://{}/websocket",
        server.address(),
        forbidden.address()
    );
    says(&mut client, &[(&format!("dial {target}"), "http 302")]).await;
    assert!(forbidden.logs().is_empty());
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_named() {
    let server = echo().await;
    let host = dialling(&[server.address()]).start().await;
    let mut client = host.connect("/websocket").await;
    let url = url(&server);
    for (command, answer) in [
        ("dial http://example.com".to_owned(), "invalid "),
        ("dial nonsense".to_owned(), "invalid "),
        (format!("dial {url} header=host:example.com"), "protocol the header `host` is the handshake's own"),
        (format!("dial {url} header=a b:c"), "protocol a header cannot be sent"),
        (format!("dial {url} sub="), "protocol `` is no subprotocol"),
    ] {
        // Options stand between spaces.
        let command = command.replace("a b:c", "a\u{e9}:c");
        let said = client.say(&command).await;
        assert!(said.starts_with(answer), "{command}: {said}");
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_network_error_and_an_answer_that_never_comes_a_timeout() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let silent = listener.local_addr().expect("an address");
    let (_socket, closed) = bound();
    let host = dialling(&[silent, closed]).start().await;
    let mut client = host.connect("/websocket").await;
    let said = client.say(format!("dial ws://{closed}")).await;
    assert!(said.starts_with("network ") && said.contains("nobody listens"), "{said}");
    says(&mut client, &[(&format!("dial ws://{silent} timeout=20"), "timeout")]).await;
}

#[tokio::test]
async fn a_connect_may_take_longer_than_an_event_but_not_where_others_wait_with_it() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let silent = listener.local_addr().expect("an address");
    let limits = |limits: &mut waterspout::Limits| {
        limits.wall_per_event = Duration::from_millis(300);
        limits.shared_wait = Duration::from_millis(50);
    };
    let dial = format!("dial ws://{silent}");
    let host = dialling(&[silent]).limits(limits).start().await;
    let mut client = host.connect("/websocket").await;
    let began = std::time::Instant::now();
    says(&mut client, &[(&format!("{dial} timeout=600"), "timeout"), ("count", "1")]).await;
    assert!(began.elapsed() >= Duration::from_millis(600));
    let host = rooms().connects_to(&[silent.to_string()]).limits(limits).start().await;
    let mut client = host.connect("/rooms/blue").await;
    says(&mut client, &[(&dial, "timeout"), ("count", "1")]).await;
}
