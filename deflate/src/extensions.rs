//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1).

/// One extension of a list, with its parameters in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Extension {
    /// Lower-case: the registry has no names that differ in case only.
    pub(crate) name: String,
    pub(crate) parameters: Vec<(String, Option<String>)>,
}

/// The header does not follow the grammar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads the values of all `Sec-WebSocket-Extensions` headers of one message as the one list that they are.
pub(crate) fn parse<V: AsRef<[u8]>>(
    values: impl IntoIterator<Item = V>,
) -> Result<Vec<Extension>, Malformed> {
    let mut list = Vec::new();
    for value in values {
        let mut rest = Rest(value.as_ref());
        // Empty elements of a list are allowed (RFC 9110 section 5.6.1).
        loop {
            rest.skip_spaces();
            if rest.0.is_empty() {
                break;
            }
            if !rest.take(b',') {
                list.push(rest.extension()?);
                if !rest.0.is_empty() && !rest.take(b',') {
                    return Err(Malformed);
                }
            }
        }
    }
    Ok(list)
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    /// Whether `byte` stood here, spaces around it or not.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        let Some(rest) = self.0.strip_prefix(&[byte]) else { return false };
        self.0 = rest;
        self.skip_spaces();
        true
    }

    fn extension(&mut self) -> Result<Extension, Malformed> {
        let mut extension = Extension { name: self.token()?.to_ascii_lowercase(), parameters: Vec::new() };
        while self.take(b';') {
            let name = self.token()?.to_ascii_lowercase();
            let value = if self.take(b'=') { Some(self.value()?) } else { None };
            extension.parameters.push((name, value));
        }
        Ok(extension)
    }

    fn token(&mut self) -> Result<String, Malformed> {
        let end = self.0.iter().position(|&byte| !is_token(byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        self.skip_spaces();
        if token.is_empty() { Err(Malformed) } else { Ok(String::from_utf8_lossy(token).into_owned()) }
    }

    /// A token, or a quoted string that is one when its quotes and backslashes are gone.
    fn value(&mut self) -> Result<String, Malformed> {
        let Some(mut rest) = self.0.strip_prefix(b"\"") else { return self.token() };
        let mut value = String::new();
        loop {
            let (&byte, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            match byte {
                b'"' if value.is_empty() => return Err(Malformed),
                b'"' => break,
                b'\\' => {
                    let (&escaped, after) =
                        rest.split_first().filter(|(byte, _)| is_token(**byte)).ok_or(Malformed)?;
                    rest = after;
                    value.push(char::from(escaped));
                }
                byte if is_token(byte) => value.push(char::from(byte)),
                _ => return Err(Malformed),
            }
        }
        self.0 = rest;
        self.skip_spaces();
        Ok(value)
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: &str) -> Result<Vec<Extension>, Malformed> {
        parse([value])
    }

    fn extension(name: &str, parameters: &[(&str, Option<&str>)]) -> Extension {
        let parameters = parameters.iter().map(|(name, value)| (name.to_string(), value.map(str::to_owned)));
        Extension { name: name.into(), parameters: parameters.collect() }
    }

    #[test]
    fn a_list_is_read_over_commas_and_over_headers() {
        let expected = vec![extension("a", &[("x", Some("1")), ("y", None)]), extension("b", &[])];
        assert_eq!(one("a; x=1; y, b"), Ok(expected));
        assert_eq!(parse(["a", "b; c"]), Ok(vec![extension("a", &[]), extension("b", &[("c", None)])]));
    }

    #[test]
    fn spaces_empty_elements_and_case_do_not_matter() {
        assert_eq!(one(" ,\tA ;X = 1 ,, "), Ok(vec![extension("a", &[("x", Some("1"))])]));
        assert_eq!(one(""), Ok(vec![]));
    }

    #[test]
    fn a_quoted_value_is_the_token_within() {
        assert_eq!(one("a; x=\"1\\0\"; y"), Ok(vec![extension("a", &[("x", Some("10")), ("y", None)])]));
    }

    #[test]
    fn what_breaks_the_grammar_is_malformed() {
        for value in [
            "a b",
            "a;",
            "a; x=",
            "a; =1",
            "a; x=\"1",
            "a; x=\"\"",
            "a; x=\"1,2\"",
            "a/b",
            ";",
            "a; x=\"1\"2",
            "é",
        ] {
            assert_eq!(one(value), Err(Malformed), "{value}");
        }
    }
}
