//! What a handler, or what handlers share, leaves to its next version: whether there is anything, and which version it is.

use std::any::type_name;
use std::error::Error;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::snapshot::{self, Snapshot, SnapshotError};

/// For a handler, or what handlers [share](crate::Shared), whose fields came to mean something else: its snapshots have a number, and
/// a function reads those with another one.
///
/// As long as fields are only added and removed, `#[derive(Serialize, Deserialize)]` is enough, without this.
///
/// ```
/// use std::error::Error;
///
/// use serde::{Deserialize, Serialize};
/// use waterspout_guest::{Handler, Migrate, Snapshot};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Thermometer {
///     kelvin: f64,
/// }
///
/// /// As it was before there were numbers.
/// #[derive(Deserialize)]
/// struct Version0 {
///     celsius: f64,
/// }
///
/// impl Migrate for Thermometer {
///     const VERSION: u32 = 1;
///
///     fn migrate(old: Snapshot<'_>) -> Result<Self, Box<dyn Error>> {
///         match old.version() {
///             0 => Ok(Self { kelvin: old.read::<Version0>()?.celsius + 273.15 }),
///             newer => Err(format!("version {newer} is not known here").into()),
///         }
///     }
/// }
///
/// impl Handler for Thermometer {}
///
/// waterspout_guest::export!(Thermometer);
/// ```
pub trait Migrate: Serialize + DeserializeOwned {
    /// The number that snapshots of this type have. A type that does not implement `Migrate` has 0: begin with 1.
    const VERSION: u32;

    /// Makes this type of a snapshot with another number: of an older version, or, after a rollback, of a newer one.
    ///
    /// # Errors
    /// Any: then nothing has happened, the old version goes on, and whoever deployed this one reads why. By default all are refused.
    fn migrate(old: Snapshot<'_>) -> Result<Self, Box<dyn Error>> {
        Err(unknown_version(old.version(), Self::VERSION).into())
    }
}

fn unknown_version(theirs: u32, ours: u32) -> String {
    format!(
        "its state has version {theirs}, this is version {ours}, and there is no way from one to the other (`Migrate::migrate`)"
    )
}

/// Implemented by `export!`, which knows the type, and so which of the three [ways](Probe) is open to it.
#[doc(hidden)]
pub trait Movable: Sized {
    /// Whether `suspend` can give anything.
    fn is_movable() -> bool;
    fn suspend(&self) -> Option<Vec<u8>>;
    fn resume(snapshot: &[u8]) -> Result<Self, String>;
}

/// Asks at compile time how a `T` moves. `(&&&Probe::<T>::new()).way()` finds [`ByVersion`]'s if `T` is [`Migrate`]; one reference
/// further [`BySerde`]'s if it can be serialised; else [`Without`]'s.
#[doc(hidden)]
pub struct Probe<T>(PhantomData<T>);

impl<T> Probe<T> {
    #[doc(hidden)]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

#[doc(hidden)]
pub trait ByVersion<T> {
    fn way(&self) -> Way<T, Versioned>;
}

impl<T: Migrate> ByVersion<T> for &&Probe<T> {
    fn way(&self) -> Way<T, Versioned> {
        Way::new()
    }
}

#[doc(hidden)]
pub trait BySerde<T> {
    fn way(&self) -> Way<T, Derived>;
}

impl<T: Serialize + DeserializeOwned> BySerde<T> for &Probe<T> {
    fn way(&self) -> Way<T, Derived> {
        Way::new()
    }
}

#[doc(hidden)]
pub trait Without<T> {
    fn way(&self) -> Way<T, Fixed>;
}

impl<T> Without<T> for Probe<T> {
    fn way(&self) -> Way<T, Fixed> {
        Way::new()
    }
}

/// How a `T` moves: [`Versioned`], [`Derived`] or [`Fixed`].
#[doc(hidden)]
pub struct Way<T, W>(PhantomData<(T, W)>);

/// As its `Migrate` says.
#[doc(hidden)]
pub enum Versioned {}

/// As its `Serialize` and `Deserialize` say.
#[doc(hidden)]
pub enum Derived {}

/// Only if there is nothing to move.
#[doc(hidden)]
pub enum Fixed {}

impl<T, W> Way<T, W> {
    const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Migrate + Default> Way<T, Versioned> {
    #[doc(hidden)]
    pub fn is_movable(&self) -> bool {
        true
    }

    #[doc(hidden)]
    pub fn suspend(&self, value: &T) -> Option<Vec<u8>> {
        suspend(T::VERSION, value)
    }

    #[doc(hidden)]
    pub fn resume(&self, bytes: &[u8]) -> Result<T, String> {
        resume(bytes, T::VERSION, T::migrate)
    }
}

impl<T: Serialize + DeserializeOwned + Default> Way<T, Derived> {
    #[doc(hidden)]
    pub fn is_movable(&self) -> bool {
        true
    }

    #[doc(hidden)]
    pub fn suspend(&self, value: &T) -> Option<Vec<u8>> {
        suspend(0, value)
    }

    #[doc(hidden)]
    pub fn resume(&self, bytes: &[u8]) -> Result<T, String> {
        resume(bytes, 0, |old| match has_no_fields::<T>() {
            true => Ok(T::default()),
            false => Err(unknown_version(old.version(), 0).into()),
        })
    }
}

impl<T: Default> Way<T, Fixed> {
    #[doc(hidden)]
    pub fn is_movable(&self) -> bool {
        has_no_fields::<T>()
    }

    #[doc(hidden)]
    pub fn suspend(&self, _: &T) -> Option<Vec<u8>> {
        has_no_fields::<T>().then(|| snapshot::write_no_fields(0))
    }

    #[doc(hidden)]
    pub fn resume(&self, _: &[u8]) -> Result<T, String> {
        if has_no_fields::<T>() {
            return Ok(T::default());
        }
        Err(format!(
            "{} cannot be resumed: it has fields, and no #[derive(Serialize, Deserialize)]",
            type_name::<T>()
        ))
    }
}

/// Such a value is the same in all versions.
const fn has_no_fields<T>() -> bool {
    size_of::<T>() == 0
}

fn suspend<T: Serialize>(version: u32, value: &T) -> Option<Vec<u8>> {
    if has_no_fields::<T>() {
        // What a version with fields reads, if they all have defaults; a unit struct's own would be a list.
        return Some(snapshot::write_no_fields(version));
    }
    // To the log, because the host can only see that this one does not move.
    snapshot::write(version, value)
        .inspect_err(|error| eprintln!("{} cannot be suspended: {error}", type_name::<T>()))
        .ok()
}

fn resume<T: DeserializeOwned + Default>(
    bytes: &[u8],
    version: u32,
    migrate: impl FnOnce(Snapshot<'_>) -> Result<T, Box<dyn Error>>,
) -> Result<T, String> {
    let resumed = match Snapshot::parse(bytes) {
        Ok(old) if old.version() != version => migrate(old),
        Ok(_) if has_no_fields::<T>() => Ok(T::default()),
        Ok(same) => same.read().map_err(|error| with_hint(error).into()),
        Err(error) => Err(error.into()),
    };
    resumed.map_err(|error| format!("{} cannot be resumed: {error}", type_name::<T>()))
}

fn with_hint(error: SnapshotError) -> String {
    let is_missing = matches!(&error, SnapshotError::Value(why) if why.starts_with("missing field"));
    let hint = if is_missing { ", which its old version did not have: add #[serde(default)]" } else { "" };
    format!("{error}{hint}")
}
