//! One message, text or binary: what the generated [`Message`] is given beyond its two variants.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Message;

impl Message {
    /// The value as JSON text.
    ///
    /// # Errors
    /// Where JSON cannot say it, as with a map whose keys are no strings.
    pub fn from_json(value: &(impl Serialize + ?Sized)) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Message::Text)
    }

    /// The value that this message is the JSON of, text or binary.
    ///
    /// # Errors
    /// Where it is no JSON, or none of a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.as_bytes())
    }

    /// The text, or none if this is binary.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// The bytes of either kind; a text's are its UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// The bytes of either kind, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Message::Text(text) => text.into_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The text; binary as far as it is UTF-8, and U+FFFD where it is not.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Text(text) => f.pad(text),
            Message::Binary(bytes) => f.pad(&String::from_utf8_lossy(bytes)),
        }
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Message::Text(text.into())
    }
}

impl From<&String> for Message {
    fn from(text: &String) -> Self {
        Message::Text(text.clone())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Message::Binary(bytes)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Message::Binary(bytes.into())
    }
}

impl<const N: usize> From<[u8; N]> for Message {
    fn from(bytes: [u8; N]) -> Self {
        Message::Binary(bytes.into())
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Self {
        Message::Binary(bytes.into())
    }
}

/// As JSON text, as Tornado's `write_message` sends a dict.
impl From<serde_json::Value> for Message {
    fn from(value: serde_json::Value) -> Self {
        Message::Text(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strings_become_text_and_bytes_become_binary() {
        assert_eq!(Message::from("hé"), Message::Text("hé".into()));
        assert_eq!(Message::from(String::from("hé")), Message::Text("hé".into()));
        assert_eq!(Message::from(&String::from("hé")), Message::Text("hé".into()));
        assert_eq!(Message::from(vec![0, 255]), Message::Binary(vec![0, 255]));
        assert_eq!(Message::from(&[0, 255][..]), Message::Binary(vec![0, 255]));
        assert_eq!(Message::from(b"ab"), Message::Binary(b"ab".to_vec()));
        assert_eq!(Message::from([0, 255]), Message::Binary(vec![0, 255]));
    }

    #[test]
    fn the_kinds_stay_apart() {
        assert_eq!(Message::from("hé").as_text(), Some("hé"));
        assert_eq!(Message::from(b"he").as_text(), None);
        assert_ne!(Message::from("he"), Message::from(b"he"));
    }

    #[test]
    fn length_is_counted_in_bytes() {
        assert_eq!(Message::from("hé").len(), 3);
        assert_eq!(Message::from("hé").into_bytes(), "hé".as_bytes());
        assert!(Message::from("").is_empty());
        assert!(!Message::from([0]).is_empty());
    }

    #[test]
    fn display_shows_text_as_it_is_and_binary_as_far_as_it_can() {
        assert_eq!(format!("You said: {}", Message::from("hé")), "You said: hé");
        assert_eq!(Message::from(b"hello \xe9").to_string(), "hello \u{fffd}");
        assert_eq!(format!("{:>4}", Message::from("ab")), "  ab");
    }

    #[test]
    fn json_goes_both_ways_and_is_text() {
        let message = Message::from_json(&json!({ "tick": 7 })).unwrap();
        assert_eq!(message, Message::Text(r#"{"tick":7}"#.into()));
        assert_eq!(message, Message::from(json!({ "tick": 7 })));
        assert_eq!(message.json::<serde_json::Value>().unwrap()["tick"], 7);
        assert_eq!(Message::from(b"[1,2]").json::<Vec<u8>>().unwrap(), [1, 2]);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        assert!(Message::from("{").json::<serde_json::Value>().is_err());
        assert!(Message::from([0xff]).json::<String>().is_err());
        assert!(Message::from_json(&std::collections::HashMap::from([((1, 2), 3)])).is_err());
    }
}
