//! Which host a request is for, and which a route answers to (RFC 9112 section 3.2, RFC 9113 section 8.3.1).

use std::net::IpAddr;

use http::header;
use http::{Request, StatusCode, Version};

use super::refusal::Refusal;

/// Bytes allowed in a request's target: more is 414.
const MAX_TARGET_BYTES: usize = 8 << 10;

/// The host name that a request is for: lower-case, without port.
///
/// # Errors
/// 400 if there is not exactly one Host (RFC 9112 section 3.2), or it is no host. Over HTTP/2 `:authority` is Host, and a Host
/// header beside it must be the same (RFC 9113 section 8.3.1).
pub(crate) fn host_name<B>(request: &Request<B>) -> Result<Host, Refusal> {
    let mut values = request.headers().get_all(header::HOST).iter();
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let is_http2 = request.version() == Version::HTTP_2;
    let header = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (None, None) if is_http2 => authority.unwrap_or_default(),
        _ => return Err(Refusal::bad_request("Exactly one Host header is required.")),
    };
    if request.uri().to_string().len() > MAX_TARGET_BYTES {
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, "The request's target is too long."));
    }
    let text = authority.unwrap_or(header);
    if is_http2 && !text.eq_ignore_ascii_case(header) {
        return Err(Refusal::bad_request("Host and :authority must be the same."));
    }
    host_of(text).ok_or_else(|| Refusal::bad_request("The Host header is not a host."))
}

/// The host that an authority names; none if it names none, or a user.
pub(crate) fn host_of(authority: &str) -> Option<Host> {
    authority
        .parse::<http::uri::Authority>()
        .ok()
        .filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty())
        .map(|authority| Host {
            name: authority.host().to_ascii_lowercase(),
            with_port: authority.as_str().to_ascii_lowercase(),
        })
}

/// A request's Host, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    /// As the peer sent it, lower-case: with the port, if it named one.
    pub(crate) with_port: String,
}

/// Which host names a route answers to. Others get 421.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// Every name: what a listener on a public address has by default.
    Any,
    /// localhost and the loopback addresses: the default on loopback, against DNS rebinding.
    Loopback,
    /// Lower-case names without port; `*.example.com` stands for every name below example.com.
    Listed(Vec<String>),
}

impl Hosts {
    /// `local`: only this machine can reach what is listened on. Then loopback names are answered; else any.
    pub fn default_for(local: bool) -> Self {
        if local { Self::Loopback } else { Self::Any }
    }

    /// These names.
    ///
    /// # Errors
    /// What is no host name without port, for a person.
    pub fn listed(names: &[String]) -> Result<Self, String> {
        let check = |host: &String| {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let is_ipv6 = name.starts_with('[') && name.ends_with(']');
            if !name.is_empty() && !name.contains(['/', '*', '@']) && (is_ipv6 || !name.contains(':')) {
                Ok(host.to_ascii_lowercase())
            } else {
                Err(format!(
                    "`{host}` is no host: a name without port such as `example.com` or `*.example.com`"
                ))
            }
        };
        Ok(Self::Listed(names.iter().map(check).collect::<Result<_, _>>()?))
    }

    pub(crate) fn allow(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => {
                let address = name.trim_start_matches('[').trim_end_matches(']');
                name == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            Self::Listed(names) => names.iter().any(|pattern| matches_wildcard(pattern, name)),
        }
    }
}

impl Hosts {
    /// A name that both answer to, as an operator would write it.
    pub(crate) fn common(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Any, Self::Any) => Some("any name".into()),
            (Self::Any, hosts) | (hosts, Self::Any) => hosts.any_name(),
            (Self::Loopback, Self::Loopback) => Some("localhost".into()),
            (Self::Loopback, Self::Listed(names)) | (Self::Listed(names), Self::Loopback) => {
                let listed = Self::Listed(names.clone());
                let loopback = |name: &&String| Self::Loopback.allow(name);
                names
                    .iter()
                    .find(loopback)
                    .cloned()
                    .or_else(|| listed.allow("localhost").then(|| "localhost".into()))
            }
            (Self::Listed(ours), Self::Listed(theirs)) => ours.iter().find_map(|our| {
                Some(
                    theirs
                        .iter()
                        .find(|their| overlap(our, their))
                        .map(|their| narrower(our, their))?
                        .to_owned(),
                )
            }),
        }
    }

    fn any_name(&self) -> Option<String> {
        match self {
            Self::Any => Some("any name".into()),
            Self::Loopback => Some("localhost".into()),
            Self::Listed(names) => names.first().cloned(),
        }
    }
}

/// Whether there is a name that matches both patterns.
fn overlap(one: &str, other: &str) -> bool {
    match (one.strip_prefix("*."), other.strip_prefix("*.")) {
        (Some(_), Some(_)) => narrower(one, other).ends_with(&wider(one, other)[1..]),
        (Some(_), None) => matches_wildcard(one, other),
        (None, _) => matches_wildcard(other, one),
    }
}

fn narrower<'a>(one: &'a str, other: &'a str) -> &'a str {
    if one.len() >= other.len() { one } else { other }
}

fn wider<'a>(one: &'a str, other: &'a str) -> &'a str {
    if one.len() >= other.len() { other } else { one }
}

pub(super) fn matches_wildcard(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => name.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        host_of(text).expect("a host")
    }

    #[test]
    fn on_loopback_only_loopback_names_are_answered() {
        for (name, allowed) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("evil.example", false),
            ("192.168.0.1", false),
            ("127.0.0.1.evil.example", false),
        ] {
            assert_eq!(Hosts::Loopback.allow(name), allowed, "{name}");
        }
        assert_eq!(host("[::1]:8888").name, "[::1]");
    }
}
