//! The client's side of TLS: the handshake, and what a person is told when it fails.
//!
//! A server's certificate is checked against [`Roots`] and for the host of the URL, a name or an address; whether it was revoked is
//! not asked. A client has no certificate of its own.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use rustls::CertificateError;
use rustls::pki_types::{ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ConnectError;
use crate::client::roots::{Roots, RootsError};
use crate::connection::socket::Counted;
use crate::units::printable;

/// Shakes hands as a client of `host`.
pub(super) async fn handshake(
    roots: &Roots,
    host: &str,
    socket: Counted<TcpStream>,
) -> Result<TlsStream<Counted<TcpStream>>, ConnectError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| ConnectError::InvalidUrl(format!("`{host}`: no name that a certificate can have")))?;
    TlsConnector::from(roots.config()).connect(name, socket).await.map_err(|error| {
        match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
            Some(source) => ConnectError::Tls(TlsError::new(source, host)),
            None => ConnectError::Network(io::Error::new(
                error.kind(),
                format!("the connection broke in the TLS handshake: {error}"),
            )),
        }
    })
}

/// Why there is no TLS with a server.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Nobody that is trusted has signed the certificate. Trust its issuer ([`Roots`]), if you do.
    #[error("its certificate is from an issuer that is not trusted")]
    UnknownIssuer,
    /// Who is trusted has the name of the certificate's issuer, and another key: perhaps the issuer was made anew.
    #[error("its certificate's signature is not that of the trusted issuer of this name")]
    BadSignature,
    /// The certificate is another host's. Use a name that it has, or have it replaced.
    #[error("its certificate is for {}, not for {host}", list(names))]
    WrongName {
        /// The host of the URL.
        host: String,
        /// The certificate's.
        names: Vec<String>,
    },
    /// The certificate is too old, or either clock is wrong.
    #[error("its certificate has expired{}", dated(", on ", *on))]
    Expired {
        /// Its end, in seconds since 1970, if that is known.
        on: Option<u64>,
    },
    /// The certificate is too new, or either clock is wrong.
    #[error("its certificate is not valid yet{}", dated(", but from ", *from))]
    NotYetValid {
        /// Its beginning, in seconds since 1970, if that is known.
        from: Option<u64>,
    },
    /// The certificate is an authority's (`CA:TRUE`), as self-signed ones often are by mistake: a server's must not be.
    #[error("its certificate is an authority's own (CA:TRUE), which a server's may not be")]
    AuthorityAsServer,
    /// What answers does not speak TLS: perhaps it is a `ws://` server, or another port.
    #[error("it does not speak TLS: perhaps its URL begins with ws://")]
    NotTls,
    /// There is nobody to trust.
    #[error(transparent)]
    NoRoots(#[from] RootsError),
    /// Anything else: no protocol version in common, a signature that is wrong, an alert.
    #[error("{0}")]
    Other(#[source] rustls::Error),
}

impl TlsError {
    fn new(error: &rustls::Error, host: &str) -> Self {
        use CertificateError as Bad;
        let seconds = |time: &UnixTime| Some(time.as_secs());
        match error {
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::InvalidCertificate(bad) => match bad {
                Bad::UnknownIssuer => Self::UnknownIssuer,
                Bad::BadSignature => Self::BadSignature,
                Bad::NotValidForName => Self::WrongName { host: host.into(), names: Vec::new() },
                Bad::NotValidForNameContext { presented, .. } => Self::WrongName {
                    host: host.into(),
                    names: presented.iter().map(|name| plain(name)).collect(),
                },
                Bad::Expired => Self::Expired { on: None },
                Bad::ExpiredContext { not_after, .. } => Self::Expired { on: seconds(not_after) },
                Bad::NotValidYet => Self::NotYetValid { from: None },
                Bad::NotValidYetContext { not_before, .. } => Self::NotYetValid { from: seconds(not_before) },
                // webpki's own error is not to be had by its type.
                Bad::Other(other) if other.to_string() == "CaUsedAsEndEntity" => Self::AuthorityAsServer,
                _ => Self::Other(error.clone()),
            },
            _ => Self::Other(error.clone()),
        }
    }
}

/// rustls shows a certificate's names as `DnsName("example.com")`, `IpAddress(127.0.0.1)`. They are the server's text.
fn plain(shown: &str) -> String {
    let inside = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    printable(inside.unwrap_or(shown).trim_matches('"').as_bytes())
}

fn list(names: &[String]) -> String {
    /// A certificate may have hundreds.
    const SHOWN: usize = 5;
    match names {
        [] => "no name".into(),
        _ if names.len() <= SHOWN => names.join(", "),
        _ => format!("{} and {} more", names[..SHOWN].join(", "), names.len() - SHOWN),
    }
}

fn dated(before: &str, seconds: Option<u64>) -> String {
    let time = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    // humantime cannot write what comes after the year 9999.
    time.filter(|_| seconds < Some(253_402_300_800))
        .map(|time| format!("{before}{}", humantime::format_rfc3339_seconds(time)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_dates_are_told_as_a_person_writes_them() {
        let names: Vec<String> = (0..7).map(|n| plain(&format!("DnsName(\"n{n}.example\")"))).collect();
        let error = TlsError::WrongName { host: "a.example".into(), names };
        assert_eq!(
            error.to_string(),
            "its certificate is for n0.example, n1.example, n2.example, n3.example, n4.example and 2 more, not for a.example"
        );
        assert_eq!(
            TlsError::Expired { on: Some(1_000_000_000) }.to_string(),
            "its certificate has expired, on 2001-09-09T01:46:40Z"
        );
        assert_eq!(TlsError::Expired { on: Some(u64::MAX) }.to_string(), "its certificate has expired");
    }
}
