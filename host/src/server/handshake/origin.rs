//! Which pages may connect: the policy of Tornado's `check_origin`, and an operator's list.

use super::host::{Host, matches_wildcard};

/// Which origins an operator allows a route's pages to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Only the same host and port as the request's: Tornado's default. The handler's `check-origin` may decide otherwise.
    Same,
    /// Only these (`https://example.com`, `https://*.example.com`), whatever the handler says; it may only narrow.
    Listed(Vec<String>),
}

impl Origins {
    /// These origins.
    ///
    /// # Errors
    /// What is no origin, for a person.
    pub fn listed(origins: &[String]) -> Result<Self, String> {
        let check = |origin: &String| {
            let valid = origin.split_once("://").is_some_and(|(scheme, host)| {
                !scheme.is_empty() && !host.is_empty() && !host.contains(['/', '?', '#', '@'])
            });
            if valid {
                Ok(origin.to_ascii_lowercase())
            } else {
                Err(format!(
                    "`{origin}` is no origin: a scheme and a host such as `https://example.com` or \
                     `https://*.example.com`, without a path"
                ))
            }
        };
        Ok(Self::Listed(origins.iter().map(check).collect::<Result<_, _>>()?))
    }

    /// Whether the default policy or the operator's list allows `origin`.
    pub(crate) fn allow(&self, origin: &str, host: &Host) -> bool {
        let Some(netloc) = netloc(origin) else { return false };
        match self {
            Self::Same => netloc == host.with_port,
            Self::Listed(list) => {
                let scheme = origin.split("://").next().unwrap_or_default().to_ascii_lowercase();
                list.iter().any(|pattern| {
                    let (pattern_scheme, pattern_host) = pattern.split_once("://").unwrap_or(("", pattern));
                    pattern_scheme == scheme && matches_wildcard(pattern_host, &netloc)
                })
            }
        }
    }

    /// Whether `origin` is refused before the handler is asked.
    pub(crate) fn forbid(&self, origin: &str, host: &Host) -> bool {
        matches!(self, Self::Listed(_)) && !self.allow(origin, host)
    }
}

/// Host and port of an origin, lower-case; a path after it is ignored, as Tornado's `urlparse(origin).netloc` does.
fn netloc(origin: &str) -> Option<String> {
    let (_, rest) = origin.split_once("://")?;
    let netloc = rest.split(['/', '?', '#']).next().unwrap_or_default();
    (!netloc.is_empty()).then(|| netloc.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::handshake::host_of;

    fn host(text: &str) -> Host {
        host_of(text).expect("a host")
    }

    #[test]
    fn the_default_origin_policy_is_tornados() {
        let here = host("Localhost:8888");
        for (origin, allowed) in [
            ("http://localhost:8888", true),
            ("https://LOCALHOST:8888/some/path?x", true),
            ("localhost:8888", false),
            ("http://localhost", false),
            ("http://sub.localhost:8888", false),
            ("http://localhost:8888.evil.example", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(Origins::Same.allow(origin, &here), allowed, "{origin}");
        }
    }

    #[test]
    fn an_operators_list_allows_what_it_names_and_forbids_the_rest() {
        let list = Origins::Listed(vec!["https://example.com".into(), "https://*.example.org".into()]);
        let here = host("localhost");
        for (origin, allowed) in [
            ("https://example.com", true),
            ("http://example.com", false),
            ("https://a.example.com", false),
            ("https://a.b.example.org", true),
            ("https://example.org", false),
            ("https://evilexample.org", false),
            ("http://localhost", false),
        ] {
            assert_eq!(list.allow(origin, &here), allowed, "{origin}");
            assert_eq!(list.forbid(origin, &here), !allowed, "{origin}");
        }
        assert!(!Origins::Same.forbid("http://anything.example", &here));
    }
}
