//! A connection on which something is said, and whatever comes back is an answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};

use crate::client::Endpoint;
use crate::frames::{Deck, Kind, Parser, Piece, Wire};

/// What is said.
const PAYLOAD_BYTES: usize = 16;

/// An open connection.
pub(crate) struct Talk {
    stream: TcpStream,
    parser: Parser,
    deck: Deck,
}

impl Talk {
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Self> {
        let (stream, early) = endpoint.open(Wire::Plain)?;
        ensure!(early.is_empty(), "the server spoke first: that is no answer");
        let deck = Deck::new(Wire::Plain, Kind::Text, PAYLOAD_BYTES, 1);
        Ok(Self { stream, parser: Parser::default(), deck })
    }

    /// Says so many texts at once, and waits for as many messages.
    pub(crate) fn say(&mut self, texts: usize) -> Result<()> {
        self.stream.write_all(&self.deck.frame(0).repeat(texts))?;
        let mut awaited = texts;
        let mut buffer = [0; 4096];
        while awaited > 0 {
            let read = self.stream.read(&mut buffer).context("waiting for an answer")?;
            ensure!(read > 0, "the server closed the connection");
            let mut input = &buffer[..read];
            while let Some(piece) = self.parser.next(&mut input)? {
                match piece {
                    Piece::Data(data) if data.last => {
                        ensure!(awaited > 0, "there are more answers than were asked for");
                        awaited -= 1;
                    }
                    Piece::Data(_) | Piece::Ping(_) | Piece::Pong => {}
                    Piece::Close { code, reason } => bail!("the server closed with {code} {reason:?}"),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native;

    #[test]
    fn as_many_answers_are_awaited_as_texts_were_said() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = Endpoint::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
        runtime.spawn(native::serve(listener));
        let mut talk = Talk::open(&endpoint).unwrap();
        talk.say(1).unwrap();
        talk.say(100).unwrap();
    }
}
