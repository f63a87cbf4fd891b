//! A route's `compression`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::mistake::Mistake;
use crate::connection::compression::CompressionPolicy;
use crate::units::Written;

/// `compression = false`, or a table.
pub(super) enum CompressionValue {
    OnOff(bool),
    Table(CompressionTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct CompressionTable {
    context_takeover: Option<bool>,
    // Wider than they may be, so that a mistake is told in our words.
    max_window_bits: Option<i64>,
    max_level: Option<i64>,
    threshold: Option<Written<usize>>,
}

/// By hand rather than untagged, so that a mistake in the table is told as anywhere else.
impl<'de> Deserialize<'de> for CompressionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnOffOrTable;
        impl<'de> Visitor<'de> for OnOffOrTable {
            type Value = CompressionValue;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`compression` to be true, false or a table")
            }

            fn visit_bool<E>(self, on: bool) -> Result<CompressionValue, E> {
                Ok(CompressionValue::OnOff(on))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<CompressionValue, A::Error> {
                CompressionTable::deserialize(MapAccessDeserializer::new(table)).map(CompressionValue::Table)
            }
        }
        deserializer.deserialize_any(OnOffOrTable)
    }
}

/// A number of the file as what it stands for.
fn narrow<T: TryFrom<u8>>(key: &'static str, value: i64, range: &str) -> Result<T, Mistake> {
    let narrow = u8::try_from(value).ok().and_then(|value| T::try_from(value).ok());
    narrow.ok_or_else(|| Mistake::new(key, value, format!("it is {range}")))
}

impl CompressionTable {
    pub(super) fn into_policy(self) -> Result<CompressionPolicy, Mistake> {
        let default = CompressionPolicy::default();
        let max_window_bits = match self.max_window_bits {
            None => default.max_window_bits,
            Some(bits) => narrow("max-window-bits", bits, "9 to 15")?,
        };
        let max_level = match self.max_level {
            None => default.max_level,
            Some(level) => narrow("max-level", level, "0 to 9")?,
        };
        Ok(CompressionPolicy {
            context_takeover: self.context_takeover.unwrap_or(default.context_takeover),
            max_window_bits,
            max_level,
            threshold: self.threshold.map(|Written(bytes)| bytes),
        })
    }
}
