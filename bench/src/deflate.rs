//! permessage-deflate (RFC 7692) from the load generator's side.
//!
//! The offer is a browser's, and every server must agree to the same: context takeover and the largest windows in
//! both directions. A client *may* then refer to its earlier messages; ours does not, so that a frame that was
//! compressed before the clock runs can be sent again and again, on any connection. The server inflates it into its
//! window all the same. What comes back refers to all that the server has sent before, so its bytes cannot be
//! compared; a connection's first answers are inflated instead.

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};
use tungstenite_deflate::{Agreed, DeflateStream, Settings, WindowBits, negotiation, ready_made};

/// What the handshakes must lead to.
const AGREED: Agreed = Agreed {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
    server_max_window_bits: WindowBits::MAX,
    client_max_window_bits: WindowBits::MAX,
};

/// The same of all that do not come from the handshake.
pub(crate) const PARAMETERS: &str = "level 6, memory level 8, windows of 15 bits, context takeover in both directions, no threshold that matters";

/// The value of the request's `Sec-WebSocket-Extensions`.
pub(crate) fn offer() -> String {
    negotiation::offer(&Settings::default())
}

/// Checks the values of the answer's `Sec-WebSocket-Extensions`.
///
/// # Errors
/// The server declined, or agreed to something else.
pub(crate) fn confirm<'a>(headers: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let agreed = negotiation::confirm(headers, &Settings::default())?
        .context("the server declined permessage-deflate; without it this is another measurement")?;
    ensure!(agreed == AGREED, "the server agreed to other terms than the ones compared: {agreed:?}");
    Ok(())
}

/// The payload of the frame that carries `message`.
pub(crate) fn compress(message: &[u8]) -> Vec<u8> {
    let compression = AGREED.compression(Role::Client, &Settings::default());
    match ready_made(&Message::binary(message.to_vec()), compression) {
        Message::Frame(frame) => frame.into_payload().into(),
        other => unreachable!("a binary message is compressed, not {other:?}"),
    }
}

/// The plain frames of a server's answers, from the first one on.
///
/// # Errors
/// Something cannot be inflated.
pub(crate) fn inflate(answers: &[u8]) -> Result<Vec<u8>> {
    let mut stream = DeflateStream::new(answers, Role::Client, &AGREED, &Settings::default());
    let mut plain = Vec::new();
    // What it waits for is only that others have their turn.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(stream.read_to_end(&mut plain)).context("an answer cannot be inflated")?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_terms_that_are_compared_are_accepted() {
        confirm(["permessage-deflate"]).unwrap();
        confirm(["permessage-deflate; server_max_window_bits=15; client_max_window_bits=15"]).unwrap();
        for (headers, hint) in [
            (&[][..], "declined"),
            (&["permessage-deflate; server_no_context_takeover"], "other terms"),
            (&["permessage-deflate; client_no_context_takeover"], "other terms"),
            (&["permessage-deflate; client_max_window_bits=12"], "other terms"),
            (&["permessage-bzip2"], "not offered"),
        ] {
            let error = format!("{:#}", confirm(headers.iter().copied()).unwrap_err());
            assert!(error.contains(hint), "{headers:?}: {error}");
        }
    }

    #[test]
    fn what_is_compressed_is_smaller_and_inflates() {
        let message = "so it is said, and said, and said again; ".repeat(5);
        let payload = compress(message.as_bytes());
        assert!(payload.len() < message.len() / 2);
        let frame = [&[0xc1, payload.len() as u8][..], &payload].concat();
        let plain = [&[0x81, 126, 0, message.len() as u8][..], message.as_bytes()].concat();
        assert_eq!(inflate(&frame).unwrap(), plain);
        // Twice: nothing in it depends on what was before.
        assert_eq!(inflate(&frame.repeat(2)).unwrap(), plain.repeat(2));
        inflate(&[0xc1, 0x02, 0xff, 0xff]).unwrap_err();
    }
}
