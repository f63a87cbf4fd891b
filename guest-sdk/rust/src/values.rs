//! Values of the interface that a handler may keep, and so leave to its next version: [`Message`] and [`CloseFrame`] for serde.

use std::borrow::Cow;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{CloseFrame, Message};

/// What serde writes of a [`Message`].
#[derive(Serialize, Deserialize)]
#[serde(rename = "Message")]
enum Kept<'m> {
    Text(Cow<'m, str>),
    Binary(Bytes<'m>),
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => Kept::Text(text.into()),
            Self::Binary(bytes) => Kept::Binary(Bytes(bytes.into())),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Kept::deserialize(deserializer).map(|kept| match kept {
            Kept::Text(text) => Self::Text(text.into()),
            Kept::Binary(Bytes(bytes)) => Self::Binary(bytes.into()),
        })
    }
}

/// Bytes as such: serde takes a `Vec<u8>` for a list of numbers.
struct Bytes<'b>(Cow<'b, [u8]>);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfBytes;
        impl<'de> Visitor<'de> for OfBytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.into())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }

            // As JSON has them.
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(OfBytes).map(|bytes| Self(bytes.into()))
    }
}

/// What serde writes of a [`CloseFrame`].
#[derive(Serialize, Deserialize)]
#[serde(rename = "CloseFrame")]
struct KeptFrame<'f> {
    code: u16,
    reason: Cow<'f, str>,
}

impl Serialize for CloseFrame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        KeptFrame { code: self.code, reason: (&self.reason).into() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CloseFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let KeptFrame { code, reason } = KeptFrame::deserialize(deserializer)?;
        Ok(Self { code, reason: reason.into() })
    }
}
