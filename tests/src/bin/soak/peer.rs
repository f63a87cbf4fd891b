//! One connection of a client: tokio-tungstenite's, counted while it is open.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::program::{GOOD, STRANGER};
use crate::tally::Tally;

/// How long anything may take on a machine that is busy with attacks.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Attackers come from an address of their own: what is held against them is not held against others.
const STRANGERS_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// See the module. Dropped, it is gone without a close frame.
pub(crate) struct Peer {
    stream: WebSocketStream<TcpStream>,
    tally: Arc<Tally>,
}

/// A TCP connection of an attacker's.
pub(crate) async fn strangers_socket(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Not every system has more than one loopback address.
    let _ = socket.bind((STRANGERS_ADDRESS, 0).into());
    Ok(within("a TCP connection", socket.connect(address)).await??)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .with_context(|| format!("waited {PATIENCE:?} in vain for {what}"))
}

impl Peer {
    /// Of the tenant who behaves well.
    pub(crate) async fn good(address: SocketAddr, path: &str, tally: &Arc<Tally>) -> Result<Self> {
        let socket = within("a TCP connection", TcpStream::connect(address)).await??;
        Self::open(socket, GOOD, path, tally).await
    }

    /// Of the other one.
    pub(crate) async fn stranger(address: SocketAddr, path: &str, tally: &Arc<Tally>) -> Result<Self> {
        Self::open(strangers_socket(address).await?, STRANGER, path, tally).await
    }

    async fn open(socket: TcpStream, host: &str, path: &str, tally: &Arc<Tally>) -> Result<Self> {
        socket.set_nodelay(true)?;
        let request = format!("ws://{host}{path}").into_client_request()?;
        let (stream, _) = within("the answer to a handshake", client_async(request, socket)).await??;
        tally.opened();
        Ok(Self { stream, tally: tally.clone() })
    }

    pub(crate) async fn send(&mut self, message: impl Into<Message>) -> Result<()> {
        Ok(within("the host to read", self.stream.send(message.into())).await??)
    }

    /// The next message that is text or binary.
    pub(crate) async fn recv(&mut self) -> Result<Message> {
        loop {
            match within("a message", self.stream.next()).await? {
                Some(Ok(message)) if message.is_text() || message.is_binary() => return Ok(message),
                Some(Ok(Message::Close(frame))) => bail!("closed: {frame:?}"),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => bail!("the connection has ended"),
            }
        }
    }

    pub(crate) async fn recv_text(&mut self) -> Result<String> {
        Ok(self.recv().await?.into_text()?.as_str().to_owned())
    }

    /// Reads until a text has `wanted` in it.
    pub(crate) async fn recv_until(&mut self, wanted: &str) -> Result<()> {
        while !self.recv_text().await?.contains(wanted) {}
        Ok(())
    }

    /// The answer must be the message.
    pub(crate) async fn echo(&mut self, message: Message) -> Result<()> {
        self.send(message.clone()).await?;
        let answer = self.recv().await?;
        if answer != message {
            bail!("{} bytes were sent, and {} others came back", message.len(), answer.len());
        }
        self.tally.answered();
        Ok(())
    }

    /// Both close frames, then the end.
    pub(crate) async fn leave(mut self) -> Result<()> {
        within("the host to read", self.stream.close(None)).await??;
        while let Some(message) = within("the end", self.stream.next()).await? {
            message?;
        }
        Ok(())
    }

    /// Reads until the end, whatever that is.
    pub(crate) async fn end(mut self) {
        while let Ok(Some(Ok(_))) = within("the end", self.stream.next()).await {}
    }

    /// Leaves with what it has not read (which is a reset, too, once more arrives).
    pub(crate) fn end_unread(self) {}

    /// Sends bytes as they are.
    pub(crate) async fn write_raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(within("the host to read", self.stream.get_mut().write_all(bytes)).await??)
    }

    /// Leaves with a reset (RST).
    pub(crate) fn reset(self) {
        let _ = self.stream.get_ref().set_zero_linger();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.tally.closed();
    }
}
