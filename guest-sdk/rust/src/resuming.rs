//! While a snapshot is read: whose it is, because that decides which handles there are.

use std::cell::Cell;

thread_local! {
    static READER: Cell<Option<Reader>> = const { Cell::new(None) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// What handlers share is resumed before them: none of their connections has a handle yet.
    Shared,
    /// One handler, which has its own connection, and the connections that it opened.
    Handler,
}

/// Whose snapshot is being read, if one is.
pub(crate) fn reader() -> Option<Reader> {
    READER.get()
}

pub(crate) fn of_shared<R>(read: impl FnOnce() -> R) -> R {
    during(Reader::Shared, read)
}

pub(crate) fn of_handler<R>(read: impl FnOnce() -> R) -> R {
    during(Reader::Handler, read)
}

fn during<R>(reader: Reader, read: impl FnOnce() -> R) -> R {
    struct Over;
    impl Drop for Over {
        fn drop(&mut self) {
            READER.set(None);
        }
    }
    READER.set(Some(reader));
    let _over = Over;
    read()
}
