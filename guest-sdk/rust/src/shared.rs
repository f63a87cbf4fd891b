//! What the handlers of one instance have in common.

use std::any::type_name;
use std::cell::{RefCell, RefMut};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// One value for all handlers of an instance: of a room, say, whose connections share one instance (the operator's
/// `--instance '{room}'`). With an instance for each connection, each has its own.
///
/// `export!(Handler, shared = Room)` implements this for `Room`, a type of your own that is [`Default`]. If it is
/// also [`Serialize`] and [`DeserializeOwned`], the host can move it into the next version of the component while
/// connections stay open; fields that cannot go along, such as [`Connection`](crate::Connection)s, are
/// `#[serde(skip)]`.
///
/// ```
/// use waterspout_guest::{Connection, Handler, Shared};
///
/// #[derive(Default)]
/// struct Room {
///     visits: u32,
/// }
///
/// #[derive(Default)]
/// struct Visitor;
///
/// impl Handler for Visitor {
///     fn open(&mut self, conn: &Connection) {
///         let mut room = Room::shared();
///         room.visits += 1;
///         let _ = conn.write_message(format!("You are visitor {}", room.visits));
///     }
/// }
///
/// waterspout_guest::export!(Visitor, shared = Room);
/// ```
pub trait Shared: Default + 'static {
    /// The value, for as long as the guard lives. An instance handles one event at a time, and no call to the host
    /// calls back, so nobody else holds it when an event begins.
    ///
    /// # Panics
    /// When an earlier guard of the same event is still alive: drop it first, or pass it on as `&mut Room`.
    #[track_caller]
    fn shared() -> RefMut<'static, Self>;
}

/// Storage for as long as the instance lives.
#[doc(hidden)]
pub fn leak<S: Default>() -> &'static RefCell<S> {
    Box::leak(Box::default())
}

#[doc(hidden)]
#[track_caller]
pub fn borrow<S>(cell: &'static RefCell<S>) -> RefMut<'static, S> {
    match cell.try_borrow_mut() {
        Ok(guard) => guard,
        Err(_) => {
            panic!("{0}::shared() while an earlier guard of {0}::shared() is still alive", type_name::<S>())
        }
    }
}

/// Asks at compile time whether `S` can be moved: `(&Probe::<S>::new()).suspend(state)` finds [`Movable`]'s if `S` is
/// serialisable, else, one reference further, [`Fixed`]'s.
#[doc(hidden)]
pub struct Probe<S>(PhantomData<S>);

impl<S> Probe<S> {
    #[doc(hidden)]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

#[doc(hidden)]
pub trait Movable<S> {
    fn suspend(&self, state: &S) -> Option<Vec<u8>>;
    fn resume(&self, bytes: &[u8]) -> Result<S, String>;
}

impl<S: Serialize + DeserializeOwned> Movable<S> for Probe<S> {
    fn suspend(&self, state: &S) -> Option<Vec<u8>> {
        // To the log, because the host can only see that this instance does not move.
        serde_json::to_vec(state)
            .inspect_err(|error| eprintln!("{} cannot be suspended: {error}", type_name::<S>()))
            .ok()
    }

    fn resume(&self, bytes: &[u8]) -> Result<S, String> {
        serde_json::from_slice(bytes)
            .map_err(|error| format!("{} cannot be resumed: {error}", type_name::<S>()))
    }
}

#[doc(hidden)]
pub trait Fixed<S> {
    fn suspend(&self, state: &S) -> Option<Vec<u8>>;
    fn resume(&self, bytes: &[u8]) -> Result<S, String>;
}

impl<S> Fixed<S> for &Probe<S> {
    fn suspend(&self, _: &S) -> Option<Vec<u8>> {
        None
    }

    fn resume(&self, _: &[u8]) -> Result<S, String> {
        Err(format!("{} cannot be resumed: it is not Deserialize", type_name::<S>()))
    }
}
