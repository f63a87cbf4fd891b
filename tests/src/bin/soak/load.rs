//! Those who behave well: whatever goes wrong for them is an error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::http::Request;
use tungstenite_deflate::Settings;
use waterspout::client::{self, ConnectOptions, Resolver, Resolving};

use crate::peer::{PATIENCE, Peer};
use crate::program::GOOD;
use crate::tally::Tally;

/// Connections of each kind.
const STEADY: u32 = 20;
const COMPRESSED: u32 = 4;
const LARGE: u32 = 2;
const ROOMS: u32 = 4;
const TICKERS: u32 = 4;
const CHURNERS: u32 = 4;

/// Of a large message.
const LARGE_BYTES: usize = 1 << 20;
/// People who meet in one room.
const MEMBERS: usize = 3;
/// What each of them says before they leave.
const LINES: u32 = 10;

/// One client, that does its work again and again.
#[derive(Clone)]
struct Client {
    address: SocketAddr,
    tally: Arc<Tally>,
    stopped: watch::Receiver<bool>,
    number: u32,
}

/// One connection of each route: what is opened once for a handler, such as the image of its memory, is opened by its first instance.
pub(crate) async fn first(address: SocketAddr) -> Result<()> {
    let tally = Arc::default();
    for path in ["/echo", "/chat/first", "/ticker"] {
        Peer::good(address, path, &tally).await?.leave().await?;
    }
    for path in ["/own", "/shared/first"] {
        Peer::stranger(address, path, &tally).await?.leave().await?;
    }
    Ok(())
}

/// Starts them all. They end soon after `stopped` says so.
pub(crate) fn start(
    clients: &mut JoinSet<()>,
    address: SocketAddr,
    tally: &Arc<Tally>,
    stopped: &watch::Receiver<bool>,
) {
    let client = |number| Client { address, tally: tally.clone(), stopped: stopped.clone(), number };
    for number in 0..STEADY {
        clients.spawn(client(number).repeat("a steady echo", Client::steady));
    }
    for number in 0..COMPRESSED {
        clients.spawn(client(number).repeat("a compressed echo", Client::compressed));
    }
    for number in 0..LARGE {
        clients.spawn(client(number).repeat("a large echo", Client::large));
    }
    for number in 0..ROOMS {
        clients.spawn(client(number).repeat("a room", Client::room));
    }
    for number in 0..TICKERS {
        clients.spawn(client(number).repeat("a ticker", Client::ticker));
    }
    for number in 0..CHURNERS {
        clients.spawn(client(number).repeat("one who comes and goes", Client::churn));
    }
}

impl Client {
    async fn repeat<F: Future<Output = Result<()>>>(
        self,
        who: &'static str,
        work: impl Fn(Client, u64) -> F,
    ) {
        let mut turn = 0;
        while !self.is_over() {
            if let Err(error) = work(self.clone(), turn).await {
                self.tally.failed(who, &error);
                // Not as fast as it can.
                self.pause(Duration::from_secs(1)).await;
            }
            turn += 1;
        }
    }

    fn is_over(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Ends early when all is over.
    async fn pause(&self, time: Duration) {
        let mut stopped = self.stopped.clone();
        let _ = tokio::time::timeout(time, stopped.wait_for(|stopped| *stopped)).await;
    }

    /// 50 messages a second, for as long as the soak lasts.
    async fn steady(self, _: u64) -> Result<()> {
        let mut peer = Peer::good(self.address, "/echo", &self.tally).await?;
        let mut sent = 0_u64;
        while !self.is_over() {
            peer.echo(Message::text(format!("{} {sent} {}", self.number, "x".repeat(50)))).await?;
            sent += 1;
            self.pause(Duration::from_millis(20)).await;
        }
        peer.leave().await
    }

    async fn large(self, turn: u64) -> Result<()> {
        let mut peer = Peer::good(self.address, "/echo", &self.tally).await?;
        for _ in 0..10 {
            peer.echo(Message::binary(vec![turn as u8; LARGE_BYTES])).await?;
            self.pause(Duration::from_millis(200)).await;
        }
        peer.leave().await
    }

    async fn compressed(self, turn: u64) -> Result<()> {
        let request = Request::get(format!("ws://{GOOD}:{}/echo", self.address.port())).body(())?;
        let options = ConnectOptions {
            compression: Some(Settings { server_no_context_takeover: turn % 2 == 1, ..Settings::default() }),
            resolver: Some(Arc::new(Loopback(self.address))),
            ..ConnectOptions::default()
        };
        let mut connection = client::connect(request, options).await?;
        self.tally.opened();
        let done = async {
            for line in 0..100 {
                let text = format!("{turn} {line} ").repeat(200);
                connection.write_message(Message::text(text.clone())).await?;
                let answer = tokio::time::timeout(PATIENCE, connection.read_message()).await;
                match answer.context("no answer")? {
                    Some(Message::Text(answer)) if answer.as_str() == text => self.tally.answered(),
                    other => bail!("something else came back: {other:?}"),
                }
                self.pause(Duration::from_millis(10)).await;
            }
            connection.close(None, None).await?;
            while connection.read_message().await.is_some() {}
            Ok(())
        };
        let done = done.await;
        self.tally.closed();
        done
    }

    /// People join a room that nobody has been in, say something that all hear, and leave.
    async fn room(self, turn: u64) -> Result<()> {
        let path = format!("/chat/room-{}-{turn}", self.number);
        let mut people = Vec::new();
        for member in 0..MEMBERS {
            let mut peer = Peer::good(self.address, &path, &self.tally).await?;
            peer.send(Message::text(format!(r#"{{"type":"join","name":"p{member}"}}"#))).await?;
            peer.recv_until("\"welcome\"").await?;
            people.push(peer);
        }
        for line in 0..LINES {
            let text = format!("line-{line}-of-{turn}");
            people[line as usize % MEMBERS]
                .send(Message::text(format!(r#"{{"type":"say","text":"{text}"}}"#)))
                .await?;
            for peer in &mut people {
                peer.recv_until(&text).await?;
                self.tally.answered();
            }
            self.pause(Duration::from_millis(10)).await;
        }
        for peer in people {
            peer.leave().await?;
        }
        Ok(())
    }

    async fn ticker(self, turn: u64) -> Result<()> {
        let mut peer = Peer::good(self.address, "/ticker", &self.tally).await?;
        peer.send(Message::text(format!("subscribe news-{turn}"))).await?;
        peer.send(Message::text("every 20")).await?;
        for _ in 0..50 {
            peer.recv_until("\"tick\"").await?;
            self.tally.answered();
        }
        peer.send(Message::text("stop")).await?;
        peer.leave().await
    }

    /// Comes, says one thing, and leaves; every second time without a word.
    async fn churn(self, turn: u64) -> Result<()> {
        let mut peer = Peer::good(self.address, "/echo", &self.tally).await?;
        peer.echo(Message::text("hello")).await?;
        if turn.is_multiple_of(2) {
            peer.leave().await?;
        } else {
            peer.reset();
        }
        self.pause(Duration::from_millis(20)).await;
        Ok(())
    }
}

/// All names lead to the program.
#[derive(Debug)]
struct Loopback(SocketAddr);

impl Resolver for Loopback {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> Resolving<'a> {
        Box::pin(async { Ok(vec![self.0]) })
    }
}
