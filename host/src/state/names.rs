//! Names of folders: an operator's names may have anything in them, and a file system may not.

use crate::handler::sha256;

/// Longer names are shortened, so that both fit into what every file system has for one (255 bytes).
const MAX_BYTES: usize = 100;

/// The name of a route's folder. No two routes have the same, on no file system.
pub(super) fn folder_name(tenant: &str, route: &str) -> String {
    format!("{}.{}", safe(tenant), safe(route))
}

/// Lower-case letters, digits, `-` and `_` as they are, everything else as `%` with two hexadecimal digits: there are file systems that do
/// not tell upper case from lower case.
fn safe(name: &str) -> String {
    if name.is_empty() {
        // Nothing else has it alone.
        return "%".into();
    }
    let mut safe = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => safe.push(char::from(byte)),
            _ => safe.push_str(&format!("%{byte:02x}")),
        }
    }
    if safe.len() > MAX_BYTES {
        safe.truncate(MAX_BYTES - 33);
        // Nothing else has a tilde.
        safe.push('~');
        safe.push_str(&sha256(name.as_bytes())[..32]);
    }
    safe
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_leaves_the_folder_and_no_two_are_one() {
        let long = "x".repeat(300);
        let longer = "x".repeat(301);
        let odd = ["", ".", "..", "a/b", "a\\b", "A", "a", "%41", "ä", "a.b", "a b", "\0", &long, &longer];
        let mut names = BTreeSet::new();
        for (tenant, route) in odd.iter().flat_map(|tenant| odd.iter().map(move |route| (tenant, route))) {
            let name = folder_name(tenant, route);
            assert!(name.len() < 255 && name != "." && name != "..", "{name}");
            assert_eq!(name.matches('.').count(), 1, "{name}");
            assert!(!name.contains(['/', '\\', '\0', ' ']) && name.is_ascii(), "{name}");
            assert!(names.insert(name.to_lowercase()), "{tenant:?} {route:?}: {name} is there twice");
        }
        assert_eq!(folder_name("default", "chat"), "default.chat");
    }
}
