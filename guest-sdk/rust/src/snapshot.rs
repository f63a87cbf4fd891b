//! The bytes of a snapshot: a header, and a value with the names of its fields.
//!
//! A value is CBOR (RFC 8949), structs as maps. Names make it tolerant: fields may change places, a field that the reader does not know is
//! passed over, and one that the writer did not know is missing, which the reader's type decides about. It is not JSON because there a
//! NaN is null, keys are strings, and bytes are lists of numbers in decimal.

use std::convert::Infallible;
use std::fmt;

use cbor4ii::serde::DecodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The last byte is the number of this format.
const MAGIC: [u8; 4] = *b"WSS\x01";

const HEADER_BYTES: usize = MAGIC.len() + size_of::<u32>();

/// In CBOR, a map without entries.
const NO_FIELDS: u8 = 0xa0;

/// What an older version of a handler, or of what handlers [share](crate::Shared), left for this one: see
/// [`Migrate`](crate::Migrate).
#[derive(Clone, Copy)]
pub struct Snapshot<'s> {
    version: u32,
    value: &'s [u8],
}

impl<'s> Snapshot<'s> {
    /// The [`Migrate::VERSION`](crate::Migrate::VERSION) of the type that was suspended; 0 if it did not implement `Migrate`.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Reads it as a `T`: the type as it was then, or one with those of its fields that are wanted.
    ///
    /// # Errors
    /// [`SnapshotError::Value`]: it is no such value, or lacks a field that `T` must have, which is named.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SnapshotError> {
        cbor4ii::serde::from_slice(self.value).map_err(|error| SnapshotError::Value(why(error)))
    }

    pub(crate) fn parse(bytes: &'s [u8]) -> Result<Self, SnapshotError> {
        let (header, value) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(SnapshotError::Foreign)?;
        let [magic @ .., v3, v2, v1, v0] = header;
        let [name @ .., _] = &MAGIC;
        match magic {
            magic if *magic == MAGIC => Ok(Self { version: u32::from_be_bytes([*v3, *v2, *v1, *v0]), value }),
            [other @ .., format] if other == name => Err(SnapshotError::Format(*format)),
            _ => Err(SnapshotError::Foreign),
        }
    }
}

/// The snapshot of `value`.
pub(crate) fn write(version: u32, value: &impl Serialize) -> Result<Vec<u8>, String> {
    cbor4ii::serde::to_vec(header(version), value).map_err(|error| error.to_string())
}

/// The snapshot of a value that has no fields.
pub(crate) fn write_no_fields(version: u32) -> Vec<u8> {
    let mut bytes = header(version);
    bytes.push(NO_FIELDS);
    bytes
}

fn why(error: DecodeError<Infallible>) -> String {
    use cbor4ii::core::error::DecodeError as Core;

    match error {
        DecodeError::Custom(why) => why.into(),
        DecodeError::Core(Core::Mismatch { name, found })
            if found >> 5 <= 1 && name.starts_with(['u', 'i']) =>
        {
            format!("a whole number is no {name}")
        }
        DecodeError::Core(Core::Mismatch { name, found } | Core::Unsupported { name, found }) => {
            format!("expected {name} where there is {}", kind(found))
        }
        DecodeError::Core(Core::CastOverflow { name } | Core::ArithmeticOverflow { name, .. }) => {
            format!("a whole number is no {name}")
        }
        DecodeError::Core(Core::RequireLength { name, .. }) => format!("a {name} has another length"),
        DecodeError::Core(Core::DepthOverflow { .. }) => "it is nested too deeply".into(),
        DecodeError::Core(Core::Eof { .. }) => "it ends too early".into(),
        // Not its own text: that is Debug's, and a handler would carry 6 KB for it.
        DecodeError::Core(_) => "it is damaged".into(),
    }
}

/// What begins with this byte (RFC 8949, section 3).
fn kind(first: u8) -> &'static str {
    match first >> 5 {
        0 | 1 => "a whole number",
        2 => "bytes",
        3 => "text",
        4 => "a list",
        5 => "a map or struct",
        6 => "a large number",
        _ => match first {
            0xf4 | 0xf5 => "a bool",
            0xf6 => "nothing",
            0xfa | 0xfb => "a float",
            _ => "nothing that this crate writes",
        },
    }
}

fn header(version: u32) -> Vec<u8> {
    [MAGIC, version.to_be_bytes()].concat()
}

impl fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Why a [`Snapshot`] cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// Nothing that this crate wrote, in whatever version.
    Foreign,
    /// Written by a version of this crate with a newer format, whose number this is.
    Format(u8),
    /// No such value; it says why.
    Value(String),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("its state was not written by waterspout-guest"),
            Self::Format(format) => {
                write!(f, "its state has format {format} of a newer waterspout-guest, and this one writes 1")
            }
            Self::Value(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for SnapshotError {}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
    use std::fmt::Debug;
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;
    use crate::{CloseFrame, Message};

    /// What `new` makes of what `old` left.
    fn read<T: DeserializeOwned>(old: &impl Serialize) -> Result<T, SnapshotError> {
        let bytes = write(7, old).unwrap();
        let snapshot = Snapshot::parse(&bytes)?;
        assert_eq!(snapshot.version(), 7);
        snapshot.read()
    }

    fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        assert_eq!(read::<T>(&value).as_ref(), Ok(&value));
    }

    fn why<T: DeserializeOwned + Debug>(old: &impl Serialize) -> String {
        read::<T>(old).unwrap_err().to_string()
    }

    #[derive(Serialize, Deserialize, Debug, PartialEq, Clone, Default)]
    struct Old {
        count: u32,
        name: String,
    }

    #[test]
    fn a_removed_field_is_passed_over_whatever_was_in_it() {
        #[derive(Serialize)]
        struct Nest(Vec<Option<(Shape, HashMap<u8, f32>)>>);
        #[derive(Serialize)]
        struct Older {
            before: Nest,
            count: u32,
            between: i128,
            name: String,
            after: Message,
        }
        let nest = Nest(vec![None, Some((Shape::Corner { x: 1, y: -1 }, [(1, f32::NAN)].into()))]);
        let older =
            Older { before: nest, count: 3, between: -5, name: "Ada".into(), after: Message::from([1]) };
        assert_eq!(read(&older), Ok(Old { count: 3, name: "Ada".into() }));
    }

    #[test]
    fn an_added_field_takes_its_default_or_is_none_or_is_named_as_missing() {
        let old = Old { count: 3, name: "Ada".into() };

        #[derive(Deserialize, Debug, PartialEq)]
        struct WithDefault {
            count: u32,
            name: String,
            #[serde(default)]
            step: u32,
            colour: Option<String>,
        }
        assert_eq!(read(&old), Ok(WithDefault { count: 3, name: "Ada".into(), step: 0, colour: None }));

        #[derive(Deserialize, Debug, PartialEq)]
        #[serde(default)]
        struct AllDefault {
            count: u32,
            step: u32,
        }
        impl Default for AllDefault {
            fn default() -> Self {
                Self { count: 0, step: 10 }
            }
        }
        assert_eq!(read(&old), Ok(AllDefault { count: 3, step: 10 }));

        #[derive(Deserialize, Debug)]
        #[allow(dead_code)]
        struct Without {
            count: u32,
            step: u32,
        }
        assert_eq!(why::<Without>(&old), "missing field `step`");
    }

    #[test]
    fn fields_may_change_places_and_names() {
        #[derive(Deserialize, Debug, PartialEq)]
        struct New {
            #[serde(alias = "name")]
            title: String,
            count: u64,
        }
        let old = Old { count: 3, name: "Ada".into() };
        assert_eq!(read(&old), Ok(New { title: "Ada".into(), count: 3 }));
    }

    #[test]
    fn a_field_of_another_type_is_refused_and_says_of_which() {
        #[derive(Deserialize, Debug)]
        #[allow(dead_code)]
        struct New {
            count: String,
        }
        assert_eq!(why::<New>(&Old::default()), "expected str where there is a whole number");
        assert_eq!(why::<u8>(&300), "a whole number is no u8");
        assert_eq!(why::<u8>(&-1), "a whole number is no u8");
        assert_eq!(why::<(u8, u8)>(&(1, 2, 3)), "a tuple has another length");
        assert!(why::<Shape>(&"Circle").contains("unknown variant `Circle`"));
    }

    #[test]
    fn a_whole_number_may_become_wider_and_a_value_optional() {
        assert_eq!(read(&200u8), Ok(200u64));
        assert_eq!(read(&200u8), Ok(200i64));
        assert_eq!(read(&-7i8), Ok(-7i128));
        assert_eq!(read(&u64::MAX), Ok(u128::from(u64::MAX)));
        assert_eq!(read(&200u8), Ok(Some(200u8)));
    }

    #[derive(Serialize, Deserialize, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Clone)]
    enum Shape {
        Point,
        Circle3(u32),
        Pair(u8, i8),
        Corner { x: i32, y: i32 },
    }

    #[test]
    fn every_kind_of_value_comes_back() {
        comes_back(true);
        comes_back((u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX));
        comes_back((i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN));
        comes_back((i64::MAX, i128::MAX, u128::from(u64::MAX) + 1, i128::from(i64::MIN) - 1));
        comes_back((f32::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, -0.0_f32, 0.1_f32, 0.1_f64));
        assert!(read::<f32>(&f32::NAN).unwrap().is_nan());
        assert!(read::<f64>(&f64::NAN).unwrap().is_nan());
        comes_back(('ä', "hé\0\u{10ffff}".to_owned(), String::new()));
        comes_back((Some(1), None::<u8>, (), Some(())));
        comes_back(vec![Shape::Point, Shape::Circle3(1), Shape::Pair(1, -1), Shape::Corner { x: 1, y: -1 }]);
        comes_back(Some(Shape::Point));
        comes_back(vec![0u8, 127, 128, 255]);
        comes_back([[1.5f32; 3]; 2]);
        comes_back(VecDeque::from([Old::default()]));
        comes_back(HashSet::from(["a".to_owned()]));
        comes_back(Duration::new(3, 5));
        comes_back("127.0.0.1".parse::<std::net::IpAddr>().unwrap());
        comes_back(Box::new(Old { count: 1, name: "nested".into() }));
        comes_back(vec!["x".to_owned(); 70_000]);
    }

    #[test]
    fn keys_of_maps_are_anything() {
        comes_back(BTreeMap::from([((1u8, -1i8), "a".to_owned())]));
        comes_back(BTreeMap::from([(u64::MAX, 1)]));
        comes_back(BTreeMap::from([(Shape::Pair(1, 2), 1), (Shape::Point, 2)]));
        comes_back(HashMap::from([(Some('c'), vec![false])]));
    }

    #[test]
    fn serde_s_attributes_work() {
        #[derive(Serialize, Deserialize, Debug, PartialEq)]
        struct All {
            #[serde(flatten)]
            old: Old,
            #[serde(flatten)]
            others: BTreeMap<String, Vec<u8>>,
            #[serde(rename = "k")]
            kind: Tagged,
            either: Either,
            #[serde(skip)]
            skipped: u8,
            #[serde(skip_serializing_if = "Option::is_none")]
            left_out: Option<u8>,
        }
        #[derive(Serialize, Deserialize, Debug, PartialEq)]
        #[serde(tag = "type", rename_all = "kebab-case")]
        enum Tagged {
            UpDown { by: f32 },
            Still,
        }
        #[derive(Serialize, Deserialize, Debug, PartialEq)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
            Message(Message),
        }
        for (kind, either) in [
            (Tagged::UpDown { by: 0.5 }, Either::Number(u64::MAX)),
            (Tagged::Still, Either::Text("t".into())),
            (Tagged::Still, Either::Message(Message::from([0, 255]))),
        ] {
            let old = Old { count: 1, name: "n".into() };
            let others = [("o".to_owned(), vec![1, 200])].into();
            comes_back(All { old, others, kind, either, skipped: 0, left_out: None });
        }
    }

    #[test]
    fn messages_and_close_frames_can_be_kept_bytes_as_bytes() {
        comes_back(vec![Message::from("hé"), Message::from([0, 255]), Message::from("")]);
        comes_back(CloseFrame { code: 1000, reason: "bye".into() });
        let bytes = write(0, &Message::from([0xff; 1000])).unwrap();
        assert!(bytes.len() < 1030, "{}", bytes.len());
        let json = serde_json::to_string(&Message::from([0, 255])).unwrap();
        assert_eq!(json, r#"{"Binary":[0,255]}"#);
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), Message::from([0, 255]));
    }

    #[test]
    fn an_option_in_an_option_loses_the_inner_none_as_in_json() {
        assert_eq!(read(&Some(None::<u8>)), Ok(None::<Option<u8>>));
    }

    #[test]
    fn what_has_no_fields_is_read_by_what_has_defaults() {
        let bytes = write_no_fields(7);
        let snapshot = Snapshot::parse(&bytes).unwrap();
        #[derive(Deserialize, Default, Debug, PartialEq)]
        #[serde(default)]
        struct New {
            count: u32,
        }
        assert_eq!(snapshot.read(), Ok(New { count: 0 }));
        assert_eq!(snapshot.read::<Old>().unwrap_err().to_string(), "missing field `count`");
    }

    #[test]
    fn the_header_is_checked() {
        assert_eq!(write(0x0102_0304, &()).unwrap(), b"WSS\x01\x01\x02\x03\x04\x80");
        let parse = |bytes: &[u8]| Snapshot::parse(bytes).map(|snapshot| snapshot.version());
        assert_eq!(parse(b"WSS\x01\0\0\x01\0"), Ok(256));
        for foreign in [&b""[..], b"WSS\x01\0\0\0", b"{\"count\":1}", b"XSS\x01\0\0\0\0\x80"] {
            assert_eq!(parse(foreign), Err(SnapshotError::Foreign));
        }
        assert_eq!(parse(b"WSS\x02\0\0\0\0\x80"), Err(SnapshotError::Format(2)));
    }

    /// Everything at once, for what follows.
    #[derive(Serialize, Deserialize, Debug, Clone, Default)]
    struct Everything {
        old: Old,
        numbers: (u64, i64, f32, f64),
        large: Option<i128>,
        shapes: Vec<Shape>,
        keyed: BTreeMap<(u8, char), Option<String>>,
        messages: VecDeque<Message>,
        deep: Option<Box<Everything>>,
    }

    fn everything() -> Everything {
        let all = Everything {
            old: Old { count: 70_000, name: "Ada".into() },
            numbers: (u64::MAX, i64::MIN, f32::NAN, 0.1),
            large: Some(i128::MAX),
            shapes: vec![Shape::Point, Shape::Pair(200, -100), Shape::Corner { x: 1, y: 2 }],
            keyed: [((1, 'ä'), None), ((2, 'b'), Some("x".into()))].into(),
            messages: [Message::from("m"), Message::from([9; 40])].into(),
            deep: None,
        };
        Everything { deep: Some(Box::new(all.clone())), ..all }
    }

    #[test]
    fn whatever_is_cut_off_is_an_error() {
        let bytes = write(1, &everything()).unwrap();
        for length in 0..bytes.len() {
            let result = Snapshot::parse(&bytes[..length]).and_then(|cut| cut.read::<Everything>());
            assert!(result.is_err(), "the first {length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn damaged_bytes_are_a_value_or_an_error_and_never_a_panic() {
        let bytes = write(1, &everything()).unwrap();
        let try_all = |damaged: &[u8]| {
            let Ok(snapshot) = Snapshot::parse(damaged) else { return };
            let _ = snapshot.read::<Everything>();
            // Here every field is passed over.
            let _ = snapshot.read::<AllRemoved>();
            let _ = snapshot.read::<serde_json::Value>();
        };
        for position in 0..bytes.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = bytes.clone();
                damaged[position] = byte;
                try_all(&damaged);
            }
        }
        // Noise behind a good header: a linear congruential generator.
        let mut state = 1u64;
        for length in (0..200).cycle().take(100_000) {
            let mut noise = header(1);
            for _ in 0..length {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                noise.push((state >> 56) as u8);
            }
            try_all(&noise);
        }
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct AllRemoved {}

    #[test]
    fn lengths_that_lie_and_nesting_without_end_are_errors() {
        let read_all = |value: &[u8]| {
            let bytes = [&header(0), value].concat();
            let snapshot = Snapshot::parse(&bytes).unwrap();
            (
                snapshot.read::<Vec<u64>>().is_err(),
                snapshot.read::<String>().is_err(),
                snapshot.read::<serde_json::Value>().is_err(),
                snapshot.read::<Message>().is_err(),
                snapshot.read::<AllRemoved>().is_err(),
            )
        };
        for major in [0x40, 0x60, 0x80, 0xa0] {
            let mut lie = vec![major | 27];
            lie.extend([0xff; 8]);
            assert_eq!(read_all(&lie), (true, true, true, true, true), "{major:x}");
        }
        // A list in a list, and so on: also where a field is passed over.
        assert_eq!(read_all(&[0x81; 100_000]), (true, true, true, true, true));
        let passed_over = [&[0xa1, 0x61, b'x'][..], &[0x81; 100_000]].concat();
        assert!(read_all(&passed_over).4);
    }
}
