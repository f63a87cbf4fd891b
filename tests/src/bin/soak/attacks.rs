//! Those who do not behave well. Nothing is expected of what they are answered: only that others do not notice, and that nothing of it
//! stays.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::peer::{Peer, strangers_socket};
use crate::program::STRANGER;
use crate::tally::Tally;

/// What is done, by its name.
#[derive(Clone, Copy)]
enum Attack {
    /// The guest traps.
    Trap,
    /// It never returns.
    Spin,
    /// It takes what it is allowed, and the peer vanishes.
    Hoard,
    /// It writes more than the peer ever reads.
    SlowReader,
    /// It prints.
    Print,
    /// Rooms that nobody has been in, some of which trap.
    Rooms,
    /// Half a handshake, or what is none.
    HalfHandshake,
    /// Frames that are none.
    BadFrames,
}

const ATTACKS: [Attack; 8] = [
    Attack::Trap,
    Attack::Spin,
    Attack::Hoard,
    Attack::SlowReader,
    Attack::Print,
    Attack::Rooms,
    Attack::HalfHandshake,
    Attack::BadFrames,
];

impl Attack {
    fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Spin => "spin",
            Self::Hoard => "hoard",
            Self::SlowReader => "slow-reader",
            Self::Print => "print",
            Self::Rooms => "rooms",
            Self::HalfHandshake => "half-handshake",
            Self::BadFrames => "bad-frames",
        }
    }

    /// How many do this at once.
    fn attackers(self) -> usize {
        match self {
            Self::SlowReader | Self::Hoard => 4,
            _ => 2,
        }
    }

    /// Between two of them: what costs ports or processors is bounded.
    fn pause(self) -> Duration {
        Duration::from_millis(match self {
            Self::Spin | Self::Print => 200,
            _ => 50,
        })
    }

    async fn run(self, address: SocketAddr, tally: &Arc<Tally>, turn: u64) -> Result<()> {
        let own = || Peer::stranger(address, "/own", tally);
        match self {
            Self::Trap => {
                let mut peer = own().await?;
                peer.send(Message::text(["trap", "recurse", "panic soak"][turn as usize % 3])).await?;
                peer.end().await;
            }
            Self::Spin => {
                let mut peer = own().await?;
                peer.send(Message::text("spin")).await?;
                peer.end().await;
            }
            Self::Hoard => {
                let mut peer = own().await?;
                for line in ["grow 24MiB", "timers 64", "topics 64", "handles 500", "subscribe hoard"] {
                    peer.send(Message::text(line)).await?;
                    peer.recv().await?;
                }
                peer.send(Message::text("publish-large hoard 256KiB")).await?;
                peer.reset();
            }
            Self::SlowReader => {
                let mut peer = own().await?;
                peer.send(Message::text("write 2000 x 8KiB")).await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
                if turn.is_multiple_of(2) { peer.reset() } else { peer.end_unread() }
            }
            Self::Print => {
                let mut peer = own().await?;
                for _ in 0..20 {
                    peer.send(Message::text("print-long 20000")).await?;
                    peer.recv().await?;
                }
                peer.leave().await?;
            }
            Self::Rooms => {
                let mut peer = Peer::stranger(address, &format!("/shared/{}", turn % 1000), tally).await?;
                peer.send(Message::text("count")).await?;
                peer.recv().await?;
                if turn.is_multiple_of(3) {
                    peer.send(Message::text("trap")).await?;
                }
                if turn.is_multiple_of(2) {
                    peer.end_unread();
                } else {
                    peer.reset();
                }
            }
            Self::HalfHandshake => {
                let mut socket = strangers_socket(address).await?;
                let beginning = format!("GET /own HTTP/1.1\r\nHost: {STRANGER}\r\nUpgrade: websoc");
                match turn % 3 {
                    0 => socket.write_all(beginning.as_bytes()).await?,
                    1 => socket.write_all(&[0xff; 4096]).await?,
                    _ => {}
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Self::BadFrames => {
                let mut peer = own().await?;
                // Unmasked, reserved bits, a length of 2^63, or half a frame.
                let frames: [&[u8]; 4] = [
                    b"\x81\x05hello",
                    b"\xf1\x80\0\0\0\0",
                    b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0",
                    b"\x81\x85\0\0\0\0he",
                ];
                peer.write_raw(frames[turn as usize % 4]).await?;
                if turn % 4 == 3 { peer.reset() } else { peer.end().await }
            }
        }
        Ok(())
    }
}

/// Starts them all. They end soon after `stopped` says so.
pub(crate) fn start(
    clients: &mut JoinSet<()>,
    address: SocketAddr,
    tally: &Arc<Tally>,
    stopped: &watch::Receiver<bool>,
) {
    for attack in ATTACKS {
        for _ in 0..attack.attackers() {
            let (tally, mut stopped) = (tally.clone(), stopped.clone());
            clients.spawn(async move {
                let mut turn = 0;
                while !*stopped.borrow() {
                    // Refused, closed, ended: as the host likes.
                    let _ = attack.run(address, &tally, turn).await;
                    tally.attacked(attack.name());
                    turn += 1;
                    let _ = tokio::time::timeout(attack.pause(), stopped.wait_for(|stopped| *stopped)).await;
                }
            });
        }
    }
}
