//! Huge pages, which Linux gives in place of 512 ordinary ones where it is asked to.
//!
//! The allocator asks for them, for all that it has. Every thread has memory of its own there, a little in each of many places: with huge
//! pages some 2 MiB where 200 KiB are used, and little of it comes back when the thread ends, for a part of a huge page cannot. A tenant can
//! make the host have a hundred threads for a moment (long polls are made beside the runtime's own). Instances are many and small, too.

/// From now on there are none for this process, nor for those that it starts. A kernel that does not know how to is asked in vain.
pub(super) fn disable() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
}
