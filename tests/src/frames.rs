//! WebSocket frames made by hand (RFC 6455 section 5.2), right ones and wrong ones, and the socket to exchange them on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::within;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The last of its message.
    pub fin: bool,
    /// The three reserved bits, as a number.
    pub rsv: u8,
    /// What it is; see the constants of this module.
    pub opcode: u8,
    /// Unmasked.
    pub payload: Vec<u8>,
}

/// Continues a fragmented message.
pub const CONTINUATION: u8 = 0;
/// Begins a text message.
pub const TEXT: u8 = 1;
/// Begins a binary message.
pub const BINARY: u8 = 2;
/// Ends the connection.
pub const CLOSE: u8 = 8;
/// Asks for a pong.
pub const PING: u8 = 9;
/// Answers a ping.
pub const PONG: u8 = 10;

/// Any will do; a constant one makes failures reproducible.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

impl Frame {
    /// A whole message or a control frame.
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { fin: true, rsv: 0, opcode, payload: payload.as_ref().into() }
    }

    /// A text message in one frame; the bytes need not be UTF-8.
    pub fn text(payload: impl AsRef<[u8]>) -> Self {
        Self::new(TEXT, payload)
    }

    /// A binary message in one frame.
    pub fn binary(payload: impl AsRef<[u8]>) -> Self {
        Self::new(BINARY, payload)
    }

    /// The last frame of a fragmented message.
    pub fn continuation(payload: impl AsRef<[u8]>) -> Self {
        Self::new(CONTINUATION, payload)
    }

    /// A ping.
    pub fn ping(payload: impl AsRef<[u8]>) -> Self {
        Self::new(PING, payload)
    }

    /// A pong.
    pub fn pong(payload: impl AsRef<[u8]>) -> Self {
        Self::new(PONG, payload)
    }

    /// A close frame with a code and a reason.
    pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        Self::new(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
    }

    /// More of the message follows.
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// With reserved bits: 4 for RSV1, 2 for RSV2, 1 for RSV3.
    pub fn with_rsv(mut self, rsv: u8) -> Self {
        self.rsv = rsv;
        self
    }

    /// As a client sends it.
    pub fn masked(&self) -> Vec<u8> {
        self.masked_with(MASK)
    }

    /// As a client sends it that has chosen this mask.
    pub fn masked_with(&self, mask: [u8; 4]) -> Vec<u8> {
        self.encode(Some(mask))
    }

    /// As a server sends it.
    pub fn unmasked(&self) -> Vec<u8> {
        self.encode(None)
    }

    fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mask_bit = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        match self.payload.len() {
            length @ 0..=125 => bytes.push(mask_bit | length as u8),
            length @ 126..=0xffff => {
                bytes.push(mask_bit | 126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                bytes.push(mask_bit | 127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        match mask {
            None => bytes.extend_from_slice(&self.payload),
            Some(mask) => {
                bytes.extend_from_slice(&mask);
                bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            }
        }
        bytes
    }

    /// The first frame of `bytes`, with its length there; none if it is not complete.
    fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
        assert_eq!(second & 0x80, 0, "a server never masks (RFC 6455 section 5.1)");
        let (length, rest) = match second & 0x7f {
            126 => rest
                .split_first_chunk()
                .map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
            127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
            length => (u64::from(length), rest),
        };
        let payload = rest.get(..usize::try_from(length).expect("a length that fits into memory"))?;
        let frame = Self {
            fin: first & 0x80 != 0,
            rsv: first >> 4 & 7,
            opcode: first & 0xf,
            payload: payload.into(),
        };
        Some((frame, bytes.len() - rest.len() + payload.len()))
    }

    /// The code and the reason of a close frame; 1005 stands for none.
    ///
    /// # Panics
    /// It is no close frame, or not a valid one.
    pub fn close_code(&self) -> (u16, String) {
        assert_eq!(self.opcode, CLOSE, "this is no close frame: {self:?}");
        match self.payload.split_first_chunk::<2>() {
            None => {
                assert!(self.payload.is_empty(), "a close frame of one byte");
                (1005, String::new())
            }
            Some((code, reason)) => {
                let reason = String::from_utf8(reason.into()).expect("a reason is UTF-8");
                (u16::from_be_bytes(*code), reason)
            }
        }
    }
}

/// A socket, usually after the upgrade.
#[derive(Debug)]
pub struct Raw {
    pub(crate) socket: TcpStream,
    /// Read and not yet looked at.
    pub(crate) buffer: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(socket: TcpStream, buffer: Vec<u8>) -> Self {
        Self { socket, buffer }
    }

    /// Sends a frame as a client does.
    pub async fn send(&mut self, frame: Frame) {
        self.send_bytes(&frame.masked()).await;
    }

    /// The next frame.
    ///
    /// # Panics
    /// The connection ends instead.
    pub async fn frame(&mut self) -> Frame {
        match self.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => panic!("the host ended the connection; a frame was expected"),
            Err(error) => panic!("a frame was expected: {error}"),
        }
    }

    /// The next frame, which must be a close frame: its code, 1005 for none, and its reason.
    pub async fn close_frame(&mut self) -> (u16, String) {
        self.frame().await.close_code()
    }

    /// The next frame; none at the end of the stream.
    ///
    /// # Errors
    /// The socket was reset.
    pub async fn next(&mut self) -> std::io::Result<Option<Frame>> {
        within("a frame", async {
            loop {
                if let Some((frame, length)) = Frame::decode(&self.buffer) {
                    self.buffer.drain(..length);
                    return Ok(Some(frame));
                }
                if self.socket.read_buf(&mut self.buffer).await? == 0 {
                    assert!(self.buffer.is_empty(), "the connection ended within a frame: {:?}", self.buffer);
                    return Ok(None);
                }
            }
        })
        .await
    }

    /// Sends bytes and reads so many frames, at once: for more than the buffers of a socket hold.
    pub async fn exchange(&mut self, bytes: &[u8], frames: usize) -> Vec<Frame> {
        let Self { socket, buffer } = self;
        let (mut reader, mut writer) = socket.split();
        let write = async { writer.write_all(bytes).await.expect("the host takes bytes") };
        let read = async {
            let mut read = Vec::with_capacity(frames);
            while read.len() < frames {
                match Frame::decode(buffer) {
                    Some((frame, length)) => {
                        buffer.drain(..length);
                        read.push(frame);
                    }
                    None => {
                        let bytes = reader.read_buf(buffer).await.expect("the host sends frames");
                        assert!(bytes > 0, "the connection ended after {} frames of {frames}", read.len());
                    }
                }
            }
            read
        };
        within("an exchange of frames", async { tokio::join!(write, read).1 }).await
    }

    /// The host sends nothing more and ends its side in an orderly way (FIN).
    ///
    /// # Panics
    /// It sends a frame, or resets the connection.
    pub async fn ends(&mut self) {
        match self.next().await {
            Ok(None) => {}
            Ok(Some(frame)) => panic!("the connection was to end, and this came: {frame:?}"),
            Err(error) => panic!("the connection was to end in an orderly way: {error}"),
        }
    }

    /// The host sends nothing more: FIN or reset, whichever comes.
    ///
    /// # Panics
    /// It sends a frame.
    pub async fn is_dropped(&mut self) {
        if let Ok(Some(frame)) = self.next().await {
            panic!("the connection was to end, and this came: {frame:?}");
        }
    }

    /// Waits for something to read, and leaves it there.
    pub async fn first_byte(&mut self) {
        within("a byte", self.socket.readable()).await.expect("the socket is open");
    }

    /// Ends our side (FIN) and goes on reading.
    pub async fn finish(&mut self) {
        within("the end of our side", self.socket.shutdown()).await.expect("the socket is open");
    }

    /// Leaves with a reset (RST).
    pub fn reset(self) {
        self.socket.set_zero_linger().expect("a TCP socket has the option");
    }

    /// The socket, for a test that reads and writes at once; what was read and not looked at is lost.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }
}
