//! Whom the process becomes, and what it gives up for that.

use std::ffi::CString;
use std::io;

use nix::unistd::{self, Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::sandbox::SandboxError;

/// A user to become, by name and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: Uid,
    gid: Gid,
    /// Supplementary groups.
    groups: Vec<Gid>,
}

impl User {
    /// The user of this name (`passwd(5)` or whatever the system asks), if this process has to become it: none if it is
    /// unprivileged already.
    ///
    /// # Errors
    /// Root without a name, or with its own; a name that nobody has; another than our own, if we are not root.
    pub fn to_become(name: Option<&str>) -> Result<Option<Self>, SandboxError> {
        let ours = unistd::geteuid();
        let Some(name) = name else {
            return if ours.is_root() { Err(SandboxError::RootStays) } else { Ok(None) };
        };
        let found = unistd::User::from_name(name)
            .map_err(|error| {
                SandboxError::system(format!("user `{name}` cannot be looked up"))(error.into())
            })?
            .ok_or_else(|| SandboxError::NoSuchUser(name.into()))?;
        if found.uid.is_root() {
            return Err(SandboxError::Privileged(name.into()));
        }
        if !ours.is_root() {
            return if found.uid == ours { Ok(None) } else { Err(SandboxError::NotRoot(name.into())) };
        }
        let groups = CString::new(name)
            .map_err(io::Error::from)
            .and_then(|name| Ok(unistd::getgrouplist(&name, found.gid)?))
            .map_err(SandboxError::system(format!("the groups of user `{name}` cannot be looked up")))?;
        Ok(Some(Self { name: name.into(), uid: found.uid, gid: found.gid, groups }))
    }

    /// User and group, by number.
    pub fn ids(&self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }
}

/// Becomes the user, and gives up every capability: those of now (permitted, effective), those for programs that are executed
/// (inheritable, ambient), and, where we may, those that any such program could gain (bounding).
pub(super) fn give_up_privileges(user: Option<&User>) -> Result<(), SandboxError> {
    forget_bounding_set()?;
    if let Some(user) = user {
        let cannot = |what: &str| format!("cannot become user `{}`: {what}", user.name);
        let failed = |what| move |error: nix::Error| SandboxError::system(what)(error.into());
        unistd::setgroups(&user.groups).map_err(failed(cannot("supplementary groups")))?;
        unistd::setresgid(user.gid, user.gid, user.gid).map_err(failed(cannot("group")))?;
        unistd::setresuid(user.uid, user.uid, user.uid).map_err(failed(cannot("user")))?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    let capabilities = || SandboxError::system("capabilities cannot be given up");
    // Kernels before 4.3 know no ambient ones.
    match rustix::thread::clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(capabilities()(error.into())),
    }
    let left = || rustix::thread::capabilities(None).map_err(|error| capabilities()(error.into()));
    // A filter of system calls, as systemd has, may forbid to change what is fine already.
    if left()? != none {
        rustix::thread::set_capabilities(None, none).map_err(|error| capabilities()(error.into()))?;
    }
    // Asked, not trusted.
    let left = left()?;
    if left != none {
        return Err(capabilities()(io::Error::other(format!("{:?} are left", left.permitted))));
    }
    if unistd::geteuid().is_root() || unistd::getuid().is_root() {
        return Err(SandboxError::RootStays);
    }
    Ok(())
}

fn forget_bounding_set() -> Result<(), SandboxError> {
    for number in 0..u64::BITS {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        )) {
            Ok(()) => {}
            // Past the last one; or we may not, and then `no_new_privs` sees to it that nobody gains any.
            Err(Errno::INVAL | Errno::PERM) => return Ok(()),
            Err(error) => {
                return Err(SandboxError::system("the bounding set cannot be emptied")(error.into()));
            }
        }
    }
    Ok(())
}
