//! `export!` as another crate uses it: a strict one, in which it must not raise a warning. Natively it exports
//! nothing, but what the handlers share works, and is moved, as in a component.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, unused)]

use std::panic::catch_unwind;

use serde::{Deserialize, Serialize};
use waterspout_guest::__private::SharedState;
use waterspout_guest::{Connection, Handler, Message, Shared};

mod alone {
    use super::*;

    #[derive(Default)]
    struct Echo;

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
        #[serde(skip)]
        pub(crate) people: Vec<Connection>,
    }

    #[derive(Default)]
    struct Chat;

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
    use std::collections::HashMap;

    use super::*;

    /// Serialisable, but not as JSON: its keys are no strings.
    #[derive(Default, Serialize, Deserialize)]
    pub(crate) struct Grid(pub(crate) HashMap<(u8, u8), u8>);

    #[derive(Default)]
    struct Player;

    impl Handler for Player {}

    waterspout_guest::export!(Player, shared = Grid);
}

// Each test has a thread of its own, and so, as an instance has, shared values of its own.

#[test]
fn what_is_shared_begins_as_default_and_stays() {
    assert_eq!(fixed::Room::shared().visits, 0);
    fixed::Room::shared().visits += 2;
    assert_eq!(fixed::Room::shared().visits, 2);
}

#[test]
fn a_room_that_can_be_serialised_moves_as_json() {
    movable::Room::shared().topic = "rain".into();
    let state = movable::Room::suspend().expect("it is Serialize");
    assert_eq!(state, br#"{"topic":"rain"}"#);
    assert_eq!(movable::Room::shared().topic, "rain", "suspending changes nothing");

    movable::Room::resume(br#"{"topic":"sun"}"#).unwrap();
    assert_eq!(movable::Room::shared().topic, "sun");
    assert!(movable::Room::shared().people.is_empty());
}

#[test]
fn a_room_that_does_not_fit_is_refused_and_nothing_has_happened() {
    movable::Room::shared().topic = "rain".into();
    let why = movable::Room::resume(br#"{"topic":7}"#).unwrap_err();
    assert!(why.contains("Room cannot be resumed") && why.contains("expected a string"), "{why}");
    assert_eq!(movable::Room::shared().topic, "rain");
}

#[test]
fn a_room_that_cannot_be_serialised_stays() {
    assert_eq!(fixed::Room::suspend(), None);
    assert!(fixed::Room::resume(b"{}").unwrap_err().contains("not Deserialize"));
}

#[test]
fn a_room_that_is_no_json_stays() {
    assert_eq!(unspeakable::Grid::suspend().as_deref(), Some(&b"{}"[..]));
    unspeakable::Grid::shared().0.insert((1, 2), 3);
    assert_eq!(unspeakable::Grid::suspend(), None);
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
