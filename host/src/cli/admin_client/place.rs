//! Where an admin listener is, as one writes it: always on this machine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use waterspout::ListenAddress;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp {
        /// As it was written.
        name: String,
        /// Tried one after the other.
        addresses: Vec<SocketAddr>,
    },
    Unix(PathBuf),
}

/// The port of the documentation's examples.
const DEFAULT_PORT: u16 = 9090;

impl Default for Place {
    fn default() -> Self {
        Self::of_address((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into())
    }
}

/// Why a text is no [`Place`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlaceError {
    #[error("`{0}` is no address: `127.0.0.1:9090`, `http://localhost:9090` or `unix:/path/to.sock`")]
    Unknown(String),
    #[error(
        "`{0}` is not on this machine, and the token would go there unencrypted: forward the port (`ssh -L 9090:127.0.0.1:9090 HOST`) and \
         say `127.0.0.1:9090`"
    )]
    Elsewhere(String),
    #[error("`{0}` takes any port when the server starts: say by `--admin` which it has printed")]
    AnyPort(ListenAddress),
}

impl Place {
    fn of_address(address: SocketAddr) -> Self {
        Self::Tcp { name: address.to_string(), addresses: vec![address] }
    }

    /// Where a configuration has it.
    pub(super) fn of_listener(address: &ListenAddress) -> Result<Self, PlaceError> {
        match address {
            ListenAddress::Tcp(address) if address.port() != 0 => Ok(Self::of_address(*address)),
            ListenAddress::Tcp(_) | ListenAddress::Systemd(_) => Err(PlaceError::AnyPort(address.clone())),
            ListenAddress::Unix(path) => Ok(Self::Unix(path.clone())),
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let unknown = || PlaceError::Unknown(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(unknown()) } else { Ok(Self::Unix(path.into())) };
        }
        let name = text.strip_prefix("http://").unwrap_or(text);
        let name = name.strip_suffix('/').unwrap_or(name);
        let (host, port) = name.rsplit_once(':').ok_or_else(unknown)?;
        let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or_else(unknown)?;
        if host.eq_ignore_ascii_case("localhost") {
            // By definition (RFC 6761 section 6.3), whatever a resolver may say.
            let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
            let addresses = loopback.map(|ip| SocketAddr::new(ip, port)).to_vec();
            return Ok(Self::Tcp { name: name.to_owned(), addresses });
        }
        match name.parse::<SocketAddr>() {
            Ok(address) if address.ip().to_canonical().is_loopback() => Ok(Self::of_address(address)),
            Ok(_) => Err(PlaceError::Elsewhere(text.to_owned())),
            Err(_) if is_host_name(host) => Err(PlaceError::Elsewhere(text.to_owned())),
            Err(_) => Err(unknown()),
        }
    }
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// As one writes it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { name, .. } => f.write_str(name),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Place>().map_or_else(|error| format!("{error:?}"), |place| format!("{place:?}"))
    }

    #[test]
    fn an_address_a_url_localhost_and_a_socket_are_places() {
        let four = "Tcp { name: \"127.0.0.1:90\", addresses: [127.0.0.1:90] }";
        for text in ["127.0.0.1:90", "http://127.0.0.1:90", "http://127.0.0.1:90/"] {
            assert_eq!(shown(text), four, "{text}");
        }
        assert_eq!(shown("[::1]:90"), "Tcp { name: \"[::1]:90\", addresses: [[::1]:90] }");
        assert_eq!(
            shown("http://LocalHost:90"),
            "Tcp { name: \"LocalHost:90\", addresses: [127.0.0.1:90, [::1]:90] }"
        );
        assert_eq!(shown("unix:a b.sock"), "Unix(\"a b.sock\")");
        assert_eq!(Place::default().to_string(), "127.0.0.1:9090");
    }

    #[test]
    fn the_token_goes_to_no_other_machine() {
        for text in ["10.0.0.1:9090", "0.0.0.0:9090", "[2001:db8::1]:9090", "example.com:443"] {
            assert!(shown(text).starts_with("Elsewhere"), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in
            ["", "127.0.0.1", "localhost", "127.0.0.1:0", "https://localhost:1", "unix:", ":1", "a b:1"]
        {
            assert_eq!(shown(text), format!("Unknown({text:?})"));
        }
    }
}
