//! Offer, acceptance and confirmation (RFC 7692 sections 5 and 7.1), as pure functions over the values of
//! `Sec-WebSocket-Extensions`.
//!
//! A server answers an offer with [`accept`]. A client sends [`offer`] and reads the answer with [`confirm`].

use std::fmt::Write;

use tungstenite::protocol::Role;

use crate::extensions::{self, Extension};
use crate::settings::{Compression, Settings, WindowBits};

/// The extension's name (RFC 7692 section 7).
pub const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// What both sides will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Each of the server's messages is compressed by itself.
    pub server_no_context_takeover: bool,
    /// Each of the client's messages is compressed by itself.
    pub client_no_context_takeover: bool,
    /// The server's window is no larger.
    pub server_max_window_bits: WindowBits,
    /// The client's window is no larger.
    pub client_max_window_bits: WindowBits,
}

impl Agreed {
    /// Whether each message that `role` sends is compressed by itself.
    pub fn no_context_takeover(&self, role: Role) -> bool {
        match role {
            Role::Server => self.server_no_context_takeover,
            Role::Client => self.client_no_context_takeover,
        }
    }

    /// How `role`, with these settings of its own, compresses what it sends.
    pub fn compression(&self, role: Role, settings: &Settings) -> Compression {
        Compression {
            level: settings.level,
            mem_level: settings.mem_level,
            window_bits: match role {
                Role::Server => self.server_max_window_bits,
                Role::Client => self.client_max_window_bits,
            },
        }
    }
}

/// A server's answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accepted {
    /// What both sides will do.
    pub agreed: Agreed,
    /// The value of the answer's `Sec-WebSocket-Extensions`.
    pub response: String,
}

/// Why a server's answer cannot be lived with. A client fails the connection (RFC 7692 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// The header does not follow its grammar.
    #[error("the server's Sec-WebSocket-Extensions is malformed")]
    Malformed,
    /// An extension that was not offered.
    #[error("the server chose the extension `{0}`, which was not offered")]
    NotOffered(String),
    /// The extension more than once.
    #[error("the server chose {NAME} more than once")]
    Repeated,
    /// A parameter that is unknown, repeated, without or with a value against the rules, or against what was offered.
    #[error("the server chose {NAME} with a wrong parameter: `{0}`")]
    Parameter(String),
}

/// The parameters of one offer or answer, checked for everything that does not depend on the other side.
#[derive(Debug, Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<WindowBits>,
    /// Present, and with a value or not.
    client_max_window_bits: Option<Option<WindowBits>>,
}

impl Parameters {
    /// # Errors
    /// The parameter that is unknown, repeated, or has a value that it may not have.
    fn read(extension: &Extension) -> Result<Self, String> {
        let mut read = Self::default();
        for (name, value) in &extension.parameters {
            let wrong = || match value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            };
            let taken = match (name.as_str(), value) {
                (SERVER_NO_CONTEXT_TAKEOVER, None) => {
                    !std::mem::replace(&mut read.server_no_context_takeover, true)
                }
                (CLIENT_NO_CONTEXT_TAKEOVER, None) => {
                    !std::mem::replace(&mut read.client_no_context_takeover, true)
                }
                (SERVER_MAX_WINDOW_BITS, Some(value)) => {
                    let bits = window_bits(value).ok_or_else(wrong)?;
                    read.server_max_window_bits.replace(bits).is_none()
                }
                (CLIENT_MAX_WINDOW_BITS, None) => read.client_max_window_bits.replace(None).is_none(),
                (CLIENT_MAX_WINDOW_BITS, Some(value)) => {
                    let bits = window_bits(value).ok_or_else(wrong)?;
                    read.client_max_window_bits.replace(Some(bits)).is_none()
                }
                _ => false,
            };
            if !taken {
                return Err(wrong());
            }
        }
        Ok(read)
    }
}

/// A decimal number without leading zeroes (RFC 7692 section 7.1.2), in the range that can be had.
fn window_bits(value: &str) -> Option<WindowBits> {
    let canonical = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.starts_with('0');
    canonical.then(|| value.parse::<u8>().ok())?.and_then(|bits| WindowBits::try_from(bits).ok())
}

/// A server's part: the first of the client's offers that can be accepted, if there is one. `headers` are the values of the
/// request's `Sec-WebSocket-Extensions` headers, in order.
///
/// An offer with an unknown, repeated or contradictory parameter, or with a window of 8 bits, is declined; a malformed header is
/// no offer at all. None: answer without the header, and the connection goes uncompressed.
pub fn accept<V: AsRef<[u8]>>(headers: impl IntoIterator<Item = V>, settings: &Settings) -> Option<Accepted> {
    let offers = extensions::parse(headers).ok()?;
    let mut offers = offers.iter().filter(|offer| offer.name == NAME);
    offers.find_map(|offer| Some(accept_one(&Parameters::read(offer).ok()?, settings)))
}

fn accept_one(offer: &Parameters, settings: &Settings) -> Accepted {
    let server_window = offer.server_max_window_bits.unwrap_or_default().min(settings.server_max_window_bits);
    // Only a client that says so can be limited; our decompressor takes whatever comes.
    let client_window = offer
        .client_max_window_bits
        .map(|bits| bits.unwrap_or_default().min(settings.client_max_window_bits));
    let agreed = Agreed {
        server_no_context_takeover: offer.server_no_context_takeover || settings.server_no_context_takeover,
        client_no_context_takeover: offer.client_no_context_takeover || settings.client_no_context_takeover,
        server_max_window_bits: server_window,
        client_max_window_bits: client_window.unwrap_or_default(),
    };
    let response = header(
        agreed.server_no_context_takeover,
        agreed.client_no_context_takeover,
        // An offer that limits the window is accepted by saying so (RFC 7692 section 7.1.2.1).
        (offer.server_max_window_bits.is_some() || server_window < WindowBits::MAX).then_some(server_window),
        client_window.filter(|bits| *bits < WindowBits::MAX).map(Some),
    );
    Accepted { agreed, response }
}

/// A client's part: the value of the request's `Sec-WebSocket-Extensions`.
pub fn offer(settings: &Settings) -> String {
    let limit = |bits: WindowBits| (bits < WindowBits::MAX).then_some(bits);
    header(
        settings.server_no_context_takeover,
        settings.client_no_context_takeover,
        limit(settings.server_max_window_bits),
        // Always present: the server may then ask for a smaller window.
        Some(limit(settings.client_max_window_bits)),
    )
}

/// A client's part: what a server made of its [`offer`]. `headers` are the values of the answer's `Sec-WebSocket-Extensions`
/// headers. None: the server declined, and the connection goes uncompressed.
///
/// # Errors
/// See [`NegotiationError`]: fail the connection.
pub fn confirm<V: AsRef<[u8]>>(
    headers: impl IntoIterator<Item = V>,
    settings: &Settings,
) -> Result<Option<Agreed>, NegotiationError> {
    let chosen = extensions::parse(headers).map_err(|_| NegotiationError::Malformed)?;
    if let Some(other) = chosen.iter().find(|extension| extension.name != NAME) {
        return Err(NegotiationError::NotOffered(other.name.clone()));
    }
    let answer = match chosen.as_slice() {
        [] => return Ok(None),
        [answer] => Parameters::read(answer).map_err(NegotiationError::Parameter)?,
        _ => return Err(NegotiationError::Repeated),
    };
    let wrong = |parameter: &str| Err(NegotiationError::Parameter(parameter.into()));
    if settings.server_no_context_takeover && !answer.server_no_context_takeover {
        return wrong("no server_no_context_takeover");
    }
    // A server that accepts a limit says so (RFC 7692 section 7.1.2.1).
    let server_window = answer.server_max_window_bits.unwrap_or_default();
    if server_window > settings.server_max_window_bits {
        return wrong(&format!("{SERVER_MAX_WINDOW_BITS} over {}", settings.server_max_window_bits.get()));
    }
    let client_window = match answer.client_max_window_bits {
        None => settings.client_max_window_bits,
        Some(Some(bits)) if bits <= settings.client_max_window_bits => bits,
        Some(Some(_)) => {
            return wrong(&format!(
                "{CLIENT_MAX_WINDOW_BITS} over {}",
                settings.client_max_window_bits.get()
            ));
        }
        // In an answer it has a value (RFC 7692 section 7.1.2.2).
        Some(None) => return wrong(CLIENT_MAX_WINDOW_BITS),
    };
    Ok(Some(Agreed {
        server_no_context_takeover: answer.server_no_context_takeover,
        client_no_context_takeover: answer.client_no_context_takeover || settings.client_no_context_takeover,
        server_max_window_bits: server_window,
        client_max_window_bits: client_window,
    }))
}

fn header(
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<WindowBits>,
    client_max_window_bits: Option<Option<WindowBits>>,
) -> String {
    let mut text = String::from(NAME);
    let mut add = |name: &str, value: Option<WindowBits>| {
        let written = match value {
            Some(bits) => write!(text, "; {name}={}", bits.get()),
            None => write!(text, "; {name}"),
        };
        written.expect("a string takes everything");
    };
    if server_no_context_takeover {
        add(SERVER_NO_CONTEXT_TAKEOVER, None);
    }
    if client_no_context_takeover {
        add(CLIENT_NO_CONTEXT_TAKEOVER, None);
    }
    if server_max_window_bits.is_some() {
        add(SERVER_MAX_WINDOW_BITS, server_max_window_bits);
    }
    if let Some(value) = client_max_window_bits {
        add(CLIENT_MAX_WINDOW_BITS, value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(value: u8) -> WindowBits {
        WindowBits::try_from(value).expect("a window")
    }

    fn response(offer: &str, settings: &Settings) -> Option<String> {
        accept([offer], settings).map(|accepted| accepted.response)
    }

    fn answer_to(offer: &str) -> Option<String> {
        response(offer, &Settings::default())
    }

    #[test]
    fn a_plain_offer_is_accepted_plainly() {
        assert_eq!(answer_to("permessage-deflate").as_deref(), Some("permessage-deflate"));
        assert_eq!(
            answer_to("permessage-deflate; client_max_window_bits").as_deref(),
            Some("permessage-deflate")
        );
        assert_eq!(
            answer_to("x-webkit-deflate-frame, permessage-deflate").as_deref(),
            Some("permessage-deflate")
        );
    }

    #[test]
    fn what_an_offer_asks_for_is_promised() {
        for parameters in [
            "server_no_context_takeover",
            "client_no_context_takeover",
            "server_max_window_bits=10",
            "server_max_window_bits=15",
            "client_max_window_bits=9",
            "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=14",
        ] {
            let offer = format!("permessage-deflate; {parameters}");
            assert_eq!(answer_to(&offer), Some(offer));
        }
    }

    #[test]
    fn a_server_may_ask_for_less_but_limits_only_a_client_that_can_be_limited() {
        let settings = Settings {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: bits(11),
            client_max_window_bits: bits(12),
            ..Settings::default()
        };
        let ours = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11";
        assert_eq!(response("permessage-deflate", &settings).as_deref(), Some(ours));
        let unlimited = accept(["permessage-deflate"], &settings).expect("accepted").agreed;
        assert_eq!(unlimited.client_max_window_bits, WindowBits::MAX);
        assert_eq!(
            response("permessage-deflate; client_max_window_bits", &settings),
            Some(format!("{ours}; client_max_window_bits=12"))
        );
        let smaller = "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10";
        let agreed = accept([smaller], &settings).expect("accepted").agreed;
        assert_eq!((agreed.server_max_window_bits, agreed.client_max_window_bits), (bits(9), bits(10)));
    }

    #[test]
    fn an_offer_that_is_wrong_is_declined_and_the_next_one_taken() {
        for wrong in [
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; client_max_window_bits=256",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-bzip2",
        ] {
            assert_eq!(answer_to(wrong), None, "{wrong}");
            assert_eq!(
                accept([wrong, "permessage-deflate; server_max_window_bits=\"12\""], &Settings::default())
                    .map(|accepted| accepted.response)
                    .as_deref(),
                Some("permessage-deflate; server_max_window_bits=12"),
                "{wrong}"
            );
        }
        assert_eq!(answer_to("permessage-deflate;, permessage-deflate"), None);
        assert_eq!(accept::<&str>([], &Settings::default()), None);
    }

    #[test]
    fn an_offer_says_what_the_client_wants() {
        assert_eq!(offer(&Settings::default()), "permessage-deflate; client_max_window_bits");
        let settings = Settings {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: bits(9),
            client_max_window_bits: bits(10),
            ..Settings::default()
        };
        assert_eq!(
            offer(&settings),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=9; client_max_window_bits=10"
        );
    }

    #[test]
    fn a_client_takes_what_it_offered_or_less() {
        let defaults = Settings::default();
        assert_eq!(confirm::<&str>([], &defaults), Ok(None));
        let agreed =
            confirm(["permessage-deflate; client_max_window_bits=10; server_no_context_takeover"], &defaults)
                .expect("fine")
                .expect("accepted");
        assert!(agreed.server_no_context_takeover && !agreed.client_no_context_takeover);
        assert_eq!(agreed.client_max_window_bits, bits(10));
        let own = Settings {
            client_no_context_takeover: true,
            client_max_window_bits: bits(9),
            ..Settings::default()
        };
        let agreed = confirm(["permessage-deflate"], &own).expect("fine").expect("accepted");
        assert!(agreed.client_no_context_takeover);
        assert_eq!(agreed.client_max_window_bits, bits(9));
    }

    #[test]
    fn a_client_fails_on_what_it_did_not_offer() {
        let defaults = Settings::default();
        for wrong in [
            "permessage-deflate; unknown",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        ] {
            assert!(matches!(confirm([wrong], &defaults), Err(NegotiationError::Parameter(_))), "{wrong}");
        }
        assert_eq!(
            confirm(["permessage-deflate, permessage-deflate"], &defaults),
            Err(NegotiationError::Repeated)
        );
        assert_eq!(confirm(["x-other"], &defaults), Err(NegotiationError::NotOffered("x-other".into())));
        assert_eq!(confirm(["permessage-deflate;"], &defaults), Err(NegotiationError::Malformed));
        let strict = Settings {
            server_no_context_takeover: true,
            server_max_window_bits: bits(10),
            client_max_window_bits: bits(10),
            ..Settings::default()
        };
        for wrong in [
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=11",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits=11",
        ] {
            assert!(matches!(confirm([wrong], &strict), Err(NegotiationError::Parameter(_))), "{wrong}");
        }
    }

    #[test]
    fn every_answer_of_ours_is_confirmed_by_the_client_that_offered() {
        let choices =
            [false, true].into_iter().flat_map(|takeover| [9, 12, 15].map(|window| (takeover, window)));
        for ((client_takeover, client_window), (server_takeover, server_window)) in
            choices.clone().flat_map(|client| choices.clone().map(move |server| (client, server)))
        {
            let settings = |takeover, window| Settings {
                server_no_context_takeover: takeover,
                client_no_context_takeover: takeover,
                server_max_window_bits: bits(window),
                client_max_window_bits: bits(window),
                ..Settings::default()
            };
            let client = settings(client_takeover, client_window);
            let accepted =
                accept([offer(&client)], &settings(server_takeover, server_window)).expect("accepted");
            assert_eq!(
                confirm([&accepted.response], &client),
                Ok(Some(accepted.agreed)),
                "{}",
                accepted.response
            );
        }
    }
}
