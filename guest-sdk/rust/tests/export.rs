//! `export!` as another crate uses it: a strict one, in which it must not raise a warning. Natively it exports
//! nothing, but what the handlers share works, and what they leave to the next version is read, as in a component.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, unused)]

use std::panic::catch_unwind;

use serde::{Deserialize, Serialize};
use waterspout_guest::__private::Movable;
use waterspout_guest::{Connection, Handler, Message, Migrate, Shared, Snapshot};

mod alone {
    use super::*;

    #[derive(Default)]
    pub(crate) struct Echo;

    impl Handler for Echo {
        fn on_message(&mut self, conn: &Connection, message: Message) {
            let _ = conn.write_message(format!("You said: {message}"));
        }
    }

    waterspout_guest::export!(Echo);
}

mod movable {
    use super::*;

    #[derive(Default, Serialize, Deserialize)]
    pub(crate) struct Room {
        pub(crate) topic: String,
        pub(crate) people: Vec<Connection>,
    }

    #[derive(Default, Serialize, Deserialize)]
    pub(crate) struct Chat {
        pub(crate) messages: u32,
    }

    impl Handler for Chat {
        fn open(&mut self, conn: &Connection) {
            Room::shared().people.push(conn.clone());
        }
    }

    waterspout_guest::export!(Chat, shared = Room);
}

mod fixed {
    use super::*;

    #[derive(Default)]
    pub(crate) struct Room {
        pub(crate) visits: u32,
    }

    #[derive(Default)]
    struct Visitor;

    impl Handler for Visitor {
        fn open(&mut self, _conn: &Connection) {
            Room::shared().visits += 1;
        }
    }

    waterspout_guest::export!(Visitor, shared = Room,);
}

mod unspeakable {
    use serde::ser::Error;

    use super::*;

    #[derive(Default, Deserialize)]
    pub(crate) struct Secret {
        #[serde(default)]
        pub(crate) _key: u64,
    }

    impl Serialize for Secret {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("not to be told"))
        }
    }

    impl Handler for Secret {}

    waterspout_guest::export!(Secret);
}

mod renewed {
    use std::error::Error;

    use super::*;

    /// The next version of `movable`.
    #[derive(Default, Serialize, Deserialize, Debug, PartialEq)]
    pub(crate) struct Chat {
        pub(crate) messages: u32,
        pub(crate) words: u32,
    }

    #[derive(Deserialize)]
    struct Version0 {
        messages: u32,
    }

    impl Migrate for Chat {
        const VERSION: u32 = 2;

        fn migrate(old: Snapshot<'_>) -> Result<Self, Box<dyn Error>> {
            match old.version() {
                0 => {
                    let messages = old.read::<Version0>()?.messages;
                    Ok(Self { messages, words: messages * 2 })
                }
                version => Err(format!("what was version {version}?").into()),
            }
        }
    }

    #[derive(Default, Serialize, Deserialize)]
    pub(crate) struct Room {
        pub(crate) topic: String,
    }

    impl Migrate for Room {
        const VERSION: u32 = 1;
    }

    impl Handler for Chat {}

    waterspout_guest::export!(Chat, shared = Room);
}

mod half_derived {
    use super::*;

    #[derive(Default, Serialize)]
    pub(crate) struct Writer {
        lines: u32,
    }

    impl Handler for Writer {}

    waterspout_guest::export!(Writer);
}

mod empty {
    use super::*;

    #[derive(Default, Serialize, Deserialize)]
    pub(crate) struct Derived;

    impl Handler for Derived {}

    #[derive(Default)]
    pub(crate) struct Braces {}

    impl Handler for Braces {}

    waterspout_guest::export!(Derived, shared = Braces);
}

// Each test has a thread of its own, and so, as an instance has, shared values of its own.

#[test]
fn what_is_shared_begins_as_default_and_stays() {
    assert_eq!(fixed::Room::shared().visits, 0);
    fixed::Room::shared().visits += 2;
    assert_eq!(fixed::Room::shared().visits, 2);
}

#[test]
fn what_derives_serde_moves() {
    assert!(movable::Chat::is_movable() && movable::Room::is_movable());
    let state = movable::Chat { messages: 7 }.suspend().expect("it is Serialize");
    assert_eq!(movable::Chat::resume(&state).unwrap().messages, 7);

    movable::Room::shared().topic = "rain".into();
    let state = movable::Room::shared().suspend().expect("it is Serialize");
    assert_eq!(movable::Room::shared().topic, "rain", "suspending changes nothing");
    assert_eq!(movable::Room::resume(&state).unwrap().topic, "rain");
}

#[test]
fn what_derives_nothing_stays_and_says_why() {
    assert!(!fixed::Room::is_movable() && !half_derived::Writer::is_movable());
    assert_eq!(fixed::Room::shared().suspend(), None);
    assert_eq!(half_derived::Writer::default().suspend(), None);
    let state = movable::Chat::default().suspend().unwrap();
    let why = fixed::Room::resume(&state).err().unwrap();
    assert_eq!(
        why,
        "export::fixed::Room cannot be resumed: it has fields, and no #[derive(Serialize, Deserialize)]"
    );
}

#[test]
fn what_has_no_fields_moves_without_a_derive_also_to_and_from_what_has_some() {
    assert!(alone::Echo::is_movable() && empty::Derived::is_movable() && empty::Braces::is_movable());
    let empty = alone::Echo.suspend().unwrap();
    assert_eq!(empty::Derived.suspend(), Some(empty.clone()));
    assert_eq!(empty::Braces {}.suspend(), Some(empty.clone()));
    let full = movable::Chat { messages: 7 }.suspend().unwrap();
    let of_version_2 = renewed::Chat::default().suspend().unwrap();
    for state in [&empty, &full, &of_version_2] {
        assert!(alone::Echo::resume(state).is_ok());
        assert!(empty::Derived::resume(state).is_ok());
        assert!(empty::Braces::resume(state).is_ok());
    }
    let why = movable::Chat::resume(&empty).err().unwrap();
    assert!(why.contains("missing field `messages`"), "{why}");
}

#[test]
fn what_does_not_fit_is_refused_and_the_field_is_named() {
    let state = movable::Chat { messages: 7 }.suspend().unwrap();
    let why = movable::Room::resume(&state).err().unwrap();
    assert_eq!(
        why,
        "export::movable::Room cannot be resumed: missing field `topic`, which its old version did not have: \
         add #[serde(default)]"
    );
    let why = movable::Room::resume(br#"{"topic":"sun"}"#).err().unwrap();
    assert!(why.ends_with("its state was not written by waterspout-guest"), "{why}");
}

#[test]
fn a_version_is_migrated_by_its_function() {
    let old = movable::Chat { messages: 7 }.suspend().unwrap();
    assert_eq!(renewed::Chat::resume(&old), Ok(renewed::Chat { messages: 7, words: 14 }));
    let same = renewed::Chat { messages: 1, words: 9 }.suspend().unwrap();
    assert_eq!(renewed::Chat::resume(&same), Ok(renewed::Chat { messages: 1, words: 9 }));
    let other = renewed::Room::default().suspend().unwrap();
    let why = renewed::Chat::resume(&other).unwrap_err();
    assert_eq!(why, "export::renewed::Chat cannot be resumed: what was version 1?");
}

#[test]
fn a_version_without_a_way_from_the_other_is_refused() {
    // After a rollback the old version meets the newer one's state.
    let newer = renewed::Chat::default().suspend().unwrap();
    let why = movable::Chat::resume(&newer).err().unwrap();
    assert!(why.contains("its state has version 2, this is version 0, and there is no way"), "{why}");
    let older = movable::Room::default().suspend().unwrap();
    let why = renewed::Room::resume(&older).err().unwrap();
    assert!(why.contains("its state has version 0, this is version 1, and there is no way"), "{why}");
}

#[test]
fn what_cannot_be_written_stays() {
    assert!(unspeakable::Secret::is_movable());
    assert_eq!(unspeakable::Secret::default().suspend(), None);
}

#[test]
fn a_connection_comes_only_from_a_snapshot() {
    let why = serde_json::from_str::<Connection>("\"c1\"").unwrap_err();
    assert!(why.to_string().contains("only from a snapshot"), "{why}");
}

#[test]
fn two_guards_at_once_are_a_panic_that_says_so() {
    let panic = catch_unwind(|| {
        let _first = fixed::Room::shared();
        let _second = fixed::Room::shared();
    });
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(
        message,
        "export::fixed::Room::shared() while an earlier guard of export::fixed::Room::shared() is still alive"
    );
    fixed::Room::shared().visits += 1;
}
