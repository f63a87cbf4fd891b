//! What a request's target says: the path's segments, and the query's keys, each of which an endpoint must know.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::answers::Problem;

/// The path's segments, decoded.
pub(super) fn segments(path: &str) -> Result<Vec<String>, Problem> {
    path.trim_start_matches('/').split('/').map(decoded).collect()
}

fn decoded(text: &str) -> Result<String, Problem> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| Problem::bad_request("The target is not UTF-8."))
}

/// A query's keys and values.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Every key must be one of `known`, and there once.
    pub(super) fn parse(text: &str, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decoded(key)?, decoded(&value.replace('+', " "))?);
            if !known.contains(&key.as_str()) {
                let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
                return Err(Problem::bad_request(format!(
                    "There is no `{key}` here, but {}.",
                    known.join(", ")
                )));
            }
            if pairs.iter().any(|(other, _)| *other == key) {
                return Err(Problem::bad_request(format!("`{key}` is there twice.")));
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str())
    }

    pub(super) fn number<N: FromStr>(&self, key: &str) -> Result<Option<N>, Problem> {
        let parse = |value: &str| {
            value.parse().map_err(|_| {
                Problem::bad_request(format!("`{key}={value}`: that is no number in its range."))
            })
        };
        self.text(key).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_decoded() {
        let query = Query::parse("reason=too%20much+of%2Bit&code=1008", &["code", "reason"]).expect("known");
        assert_eq!(query.text("reason"), Some("too much of+it"));
        assert_eq!(query.number::<u16>("code").expect("a number"), Some(1008));
        assert_eq!(query.number::<u16>("other").expect("none"), None);
        assert!(query.number::<u16>("reason").is_err());
    }

    #[test]
    fn what_is_unknown_or_there_twice_is_refused() {
        for text in ["cod=1", "code=1&code=2", "code=%ff"] {
            assert!(Query::parse(text, &["code"]).is_err(), "{text}");
        }
    }
}
