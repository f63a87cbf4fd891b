//! What the handlers of one instance have in common.

use std::any::type_name;
use std::cell::{RefCell, RefMut};

/// One value for all handlers of an instance: of a room, say, whose connections share one instance (the operator's
/// `--instance '{room}'`). With an instance for each connection, each has its own.
///
/// `export!(Handler, shared = Room)` implements this for `Room`, a type of your own that is [`Default`]. If it and the
/// handler are also `Serialize` and `Deserialize`, they [move](crate#surviving-a-swap) into the next version of the component
/// while connections stay open.
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
