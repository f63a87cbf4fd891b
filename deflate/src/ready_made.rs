//! A message that is compressed once for many connections.

use tungstenite::Bytes;
use tungstenite::Message;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use crate::budget::Budget;
use crate::context::{Compressor, Output};
use crate::settings::Compression;

/// Compresses a text or a binary message by itself, in a window that is empty before it. The result is a frame for every connection
/// that [agreed](crate::Agreed::compression) on this `compression`: its [`DeflateStream`](crate::DeflateStream) passes it as it is.
/// Clones share its bytes.
///
/// Give it to connections whose messages share no context: with any other it works, too, but costs the next message its context.
/// A connection that did not negotiate compression must get the plain message.
///
/// Any other kind of message comes back as it was. Text or binary is compressed whatever its size, and is larger by a few bytes if
/// it cannot be.
pub fn ready_made(message: &Message, compression: Compression) -> Message {
    let (opcode, plain) = match message {
        Message::Text(text) => (Data::Text, text.as_bytes()),
        Message::Binary(bytes) => (Data::Binary, &bytes[..]),
        other => return other.clone(),
    };
    let Some(mut compressor) = Compressor::new(compression, &Budget::unlimited()) else {
        return message.clone();
    };
    let mut output = Output::default();
    compressor.compress(plain, &mut output);
    compressor.finish(true, &mut output);
    let header = FrameHeader { rsv1: true, opcode: OpCode::Data(opcode), ..FrameHeader::default() };
    Message::Frame(Frame::from_payload(header, Bytes::copy_from_slice(output.filled())))
}
