//! Where there is no Landlock: nothing is half done.

use super::{Confinement, Sandbox, SandboxError};

/// A user to become; elsewhere than on Linux there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    never: std::convert::Infallible,
}

impl User {
    /// The user of this name, if this process has to become it.
    ///
    /// # Errors
    /// Always: this is not Linux.
    pub fn to_become(_name: Option<&str>) -> Result<Option<Self>, SandboxError> {
        Err(SandboxError::Platform)
    }

    /// User and group, by number.
    pub fn ids(&self) -> (u32, u32) {
        match self.never {}
    }
}

pub(super) fn apply(_sandbox: &Sandbox, _user: Option<&User>) -> Result<Confinement, SandboxError> {
    Err(SandboxError::Platform)
}
