//! Arguments of a query string, decoded as Tornado's `get_query_arguments` decodes them.

/// The values of `name`, in order.
pub(crate) fn values<'q>(query: &'q str, name: &'q str) -> impl Iterator<Item = String> + 'q {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(move |(key, _)| decode(key) == name)
        .map(|(_, value)| clean(&decode(value)))
}

/// `+` is a space, `%XX` a byte; a `%` that no two digits follow stays; bytes that are no UTF-8 become U+FFFD.
fn decode(encoded: &str) -> String {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = if *first == b'%' { byte(tail) } else { None };
        decoded.push(match first {
            b'+' => b' ',
            _ => escaped.unwrap_or(*first),
        });
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The byte that two hexadecimal digits name.
fn byte(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    Some((digit(0)? << 4 | digit(1)?) as u8)
}

/// Control characters become spaces, and the ends are trimmed.
fn clean(value: &str) -> String {
    let is_control = |c| matches!(c, '\0'..='\x08' | '\x0e'..='\x1f');
    value.replace(is_control, " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::values;

    fn all(query: &str, name: &str) -> Vec<String> {
        values(query, name).collect()
    }

    #[test]
    fn values_come_in_order_and_decoded() {
        assert_eq!(all("a=1&b=2&a=3", "a"), ["1", "3"]);
        assert_eq!(all("greeting=gr%C3%BC%c3%9f+dich", "greeting"), ["grüß dich"]);
        assert_eq!(all("na%20me=x", "na me"), ["x"]);
        assert_eq!(all("a=b=c", "a"), ["b=c"]);
    }

    #[test]
    fn absent_is_not_empty() {
        assert!(all("a=1", "b").is_empty());
        assert!(all("", "").is_empty());
        assert_eq!(all("a", "a"), [""]);
        assert_eq!(all("a=&&b", "a"), [""]);
        assert_eq!(all("=x", ""), ["x"]);
    }

    #[test]
    fn broken_escapes_stay_and_broken_utf8_is_replaced() {
        assert_eq!(all("a=100%", "a"), ["100%"]);
        assert_eq!(all("a=%zz%4", "a"), ["%zz%4"]);
        assert_eq!(all("a=%+1", "a"), ["% 1"]);
        assert_eq!(all("a=%ff%C3%A9", "a"), ["\u{fffd}é"]);
    }

    #[test]
    fn control_characters_become_spaces_and_the_ends_are_trimmed() {
        assert_eq!(all("a=%20x%00y%1bz%20", "a"), ["x y z"]);
        assert_eq!(all("a=1%0A2", "a"), ["1\n2"]);
        assert_eq!(all("a=%00", "a"), [""]);
    }
}
