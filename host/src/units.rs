//! How values are read from and shown to people: sizes ("64KiB", or a number of bytes), durations ("50ms") and counts in a
//! configuration file; a stranger's text in a log.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, Visitor};

/// A value of a limit: how it is read from a configuration file and how it is shown to a person.
pub(crate) trait Unit: Sized {
    /// What a file may say, for the reference page.
    const FORM: &'static str;
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
    fn show(&self) -> String;
    /// What `"unlimited"` stands for.
    fn unlimited() -> Self;
}

/// What one may write for [bytes](usize).
const A_SIZE: &str = "a size such as \"64KiB\", or a number of bytes";

/// Bytes.
impl Unit for usize {
    const FORM: &'static str = "size";

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = usize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(A_SIZE)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
                let size = text.parse::<bytesize::ByteSize>();
                let size = size.map_err(|_| E::custom(format!("`{text}` is not {A_SIZE}")))?;
                self.visit_u64(size.as_u64())
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<usize, E> {
                usize::try_from(bytes).map_err(|_| E::custom("larger than this machine's memory could be"))
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<usize, E> {
                let bytes = u64::try_from(bytes);
                self.visit_u64(
                    bytes.map_err(|_| E::custom(format!("a size is not less than nothing: {A_SIZE}")))?,
                )
            }
        }
        deserializer.deserialize_any(Written)
    }

    fn show(&self) -> String {
        match *self {
            usize::MAX => UNLIMITED.into(),
            n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{}MiB", n >> 20),
            n if n >= 1 << 10 && n % (1 << 10) == 0 => format!("{}KiB", n >> 10),
            n => n.to_string(),
        }
    }

    fn unlimited() -> Self {
        Self::MAX
    }
}

/// A count.
impl Unit for u32 {
    const FORM: &'static str = "count";

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = u64::deserialize(deserializer)
            .map_err(|_| D::Error::custom("a count is a whole number such as 100"))?;
        let count = u32::try_from(count).ok().filter(|count| *count != Self::unlimited());
        count.ok_or_else(|| D::Error::custom(format!("a count is at most {}", u32::MAX - 1)))
    }

    fn show(&self) -> String {
        if *self == Self::MAX { UNLIMITED.into() } else { self.to_string() }
    }

    fn unlimited() -> Self {
        Self::MAX
    }
}

impl Unit for Duration {
    const FORM: &'static str = "duration";

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"50ms\", \"5s\" or \"2min\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                humantime::parse_duration(text).map_err(|why| {
                    E::custom(format!("`{text}` is not a duration such as \"50ms\" or \"5s\": {why}"))
                })
            }
        }
        deserializer.deserialize_str(Written)
    }

    fn show(&self) -> String {
        if *self == Self::unlimited() {
            UNLIMITED.into()
        } else {
            humantime::format_duration(*self).to_string()
        }
    }

    /// Longer than any server runs, and far from where clocks overflow.
    fn unlimited() -> Self {
        Self::from_secs(10 * 365 * 24 * 3600)
    }
}

/// None has no end.
impl Unit for Option<Duration> {
    const FORM: &'static str = Duration::FORM;

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Duration::read(deserializer).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| UNLIMITED.into(), Unit::show)
    }

    fn unlimited() -> Self {
        None
    }
}

/// What an operator writes who wants no bound.
const UNLIMITED: &str = "unlimited";

/// How long a pong may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PongTimeout {
    /// As long as it is from one ping to the next.
    Interval,
    /// So long, if that is less; zero waits for no pong.
    Of(Duration),
}

impl PongTimeout {
    /// Between two pings that are so far apart.
    pub(crate) fn within(self, interval: Duration) -> Duration {
        match self {
            Self::Interval => interval,
            Self::Of(timeout) => timeout.min(interval),
        }
    }
}

impl Unit for PongTimeout {
    const FORM: &'static str = "duration";

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Duration::read(deserializer).map(Self::Of)
    }

    fn show(&self) -> String {
        match self {
            Self::Interval => "`ping-interval`".into(),
            Self::Of(timeout) => timeout.show(),
        }
    }

    fn unlimited() -> Self {
        Self::Of(Duration::unlimited())
    }
}

/// How much fuel something may use, in wasmtime's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FuelLimit {
    /// Nobody counts, and nobody pays for counting: `"off"`.
    Off,
    /// So many units; the largest number only counts.
    AtMost(u64),
}

impl FuelLimit {
    /// Whether the code must be compiled so that it counts.
    pub(crate) fn is_metered(self) -> bool {
        self != Self::Off
    }
}

/// What an operator writes who wants no fuel to be counted.
const OFF: &str = "off";

impl Unit for FuelLimit {
    const FORM: &'static str = "count or \"off\"";

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = FuelLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "units of fuel such as 10000000, or \"{OFF}\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<FuelLimit, E> {
                if text == OFF {
                    return Ok(FuelLimit::Off);
                }
                Err(E::custom(format!("`{text}` is no number of units such as 10000000; or \"{OFF}\"")))
            }

            fn visit_u64<E: Error>(self, units: u64) -> Result<FuelLimit, E> {
                Ok(FuelLimit::AtMost(units))
            }

            fn visit_i64<E: Error>(self, units: i64) -> Result<FuelLimit, E> {
                let less_than_nothing = |_| E::custom("units of fuel are a whole number such as 10000000");
                u64::try_from(units).map(FuelLimit::AtMost).map_err(less_than_nothing)
            }
        }
        deserializer.deserialize_any(Written)
    }

    fn show(&self) -> String {
        match self {
            Self::Off => OFF.into(),
            Self::AtMost(u64::MAX) => UNLIMITED.into(),
            Self::AtMost(units) => units.to_string(),
        }
    }

    /// Counted, and never too much.
    fn unlimited() -> Self {
        Self::AtMost(u64::MAX)
    }
}

/// Reads any [`Unit`]; what `serde` derives see.
pub(crate) struct Written<T>(pub(crate) T);

impl<'de, T: Unit> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Written)
    }
}

/// The same for a limit, which may also be `"unlimited"`.
pub(crate) struct Limit<T>(pub(crate) T);

impl<'de, T: Unit> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrNumber { needed: None, value: PhantomData }).map(Limit)
    }
}

/// The same for a limit that there must be: it cannot be `"unlimited"`, and the reason is told.
pub(crate) struct Needed<T, R>(pub(crate) T, PhantomData<R>);

/// Why a limit cannot be `"unlimited"`.
pub(crate) trait Reason {
    /// What follows `it cannot be "unlimited": `.
    const WHY: &'static str;
}

impl<'de, T: Unit, R: Reason> Deserialize<'de> for Needed<T, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = TextOrNumber { needed: Some(R::WHY), value: PhantomData };
        deserializer.deserialize_any(visitor).map(|value| Self(value, PhantomData))
    }
}

struct TextOrNumber<T> {
    /// Why there must be a limit, if it must.
    needed: Option<&'static str>,
    value: PhantomData<T>,
}

impl<T: Unit> Visitor<'_> for TextOrNumber<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.needed {
            None => write!(f, "a {} or \"{UNLIMITED}\"", T::FORM),
            Some(_) => write!(f, "a {}", T::FORM),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        match self.needed {
            None if text == UNLIMITED => Ok(T::unlimited()),
            Some(why) if text == UNLIMITED => Err(E::custom(format!("it cannot be \"{UNLIMITED}\": {why}"))),
            Some(_) => T::read(text.into_deserializer()),
            None => T::read(text.into_deserializer()).map_err(|error: E| {
                E::custom(format!("{}; or \"{UNLIMITED}\"", error.to_string().trim_end()))
            }),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::read(number.into_deserializer())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        T::read(number.into_deserializer())
    }
}

/// A stranger's text for a log or a terminal: it cannot steer the terminal, forge a second record or hide what it says, because control
/// characters but the tab, those that end lines and paragraphs, and all that only format (among them those that change the direction of
/// writing) are escaped.
pub fn printable(text: &[u8]) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in String::from_utf8_lossy(text).chars() {
        if (c.is_control() && c != '\t') || is_invisible(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The categories Zl, Zp and Cf of Unicode 17: what ends a line or a paragraph, and what is seen only by what it does to others.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{2028}'..='\u{2029}'
            | '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}'
    )
}

/// Bytes of a stranger's text that a record shows of it.
const SHOWN_BYTES: usize = 1 << 10;

/// A stranger's text for one field of a record: as [`printable`] makes it, and cut.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = printable(&text.as_bytes()[..text.floor_char_boundary(SHOWN_BYTES)]);
    if text.len() > SHOWN_BYTES {
        shown.push_str(&format!(" ... (cut: {} bytes)", text.len()));
    }
    shown
}

/// `; did you mean ...?` if one of the known names is near.
pub(crate) fn did_you_mean(unknown: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_forge_a_record_or_steer_a_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb\rc"), "a\\u{1b}[2Jb\\rc");
        for invisible in [
            '\u{202e}',
            '\u{2028}',
            '\u{2029}',
            '\u{61c}',
            '\u{85}',
            '\u{200b}',
            '\u{2066}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            assert_eq!(
                printable(format!("a{invisible}b").as_bytes()),
                format!("a{}b", invisible.escape_default())
            );
        }
        assert_eq!(printable("Grüße, 世界 🌀".as_bytes()), "Grüße, 世界 🌀");
        assert_eq!(printable(b"tab\there \xff"), "tab\there \u{fffd}");
    }

    #[test]
    fn a_field_shows_no_more_than_a_kibibyte_of_a_strangers_text() {
        assert_eq!(shown(&"x".repeat(SHOWN_BYTES)), "x".repeat(SHOWN_BYTES));
        let cut = shown(&"é".repeat(SHOWN_BYTES));
        assert_eq!(cut, format!("{} ... (cut: 2048 bytes)", "é".repeat(SHOWN_BYTES / 2)));
        assert!(shown(&format!("x{}", "é".repeat(SHOWN_BYTES))).starts_with("xé"));
    }
}
