//! Huge pages are Linux's.

/// There is nothing to do.
pub(super) fn disable() {}
