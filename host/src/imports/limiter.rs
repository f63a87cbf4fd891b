//! How much memory one instance may take, whatever it is made of.

use wasmtime::ResourceLimiter;

use crate::limits::Limits;

/// Sums the linear memories and tables of an instance. A refused growth fails inside the guest.
#[derive(Debug)]
pub(crate) struct InstanceLimiter {
    memory: Allowance,
    table: Allowance,
}

#[derive(Debug)]
struct Allowance {
    used: usize,
    limit: usize,
}

impl Allowance {
    /// `maximum` is the component's own: growth past it fails in any case, and is not charged.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let allowed = used <= self.limit && maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.used = used;
        }
        allowed
    }
}

impl InstanceLimiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory: Allowance { used: 0, limit: limits.max_memory_bytes },
            table: Allowance { used: 0, limit: limits.max_table_elements as usize },
        }
    }
}

impl ResourceLimiter for InstanceLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.memory.grow(current, desired, maximum))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.table.grow(current, desired, maximum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_memories_share_one_allowance() {
        let limits = Limits { max_memory_bytes: 100, ..Limits::default() };
        let mut limiter = InstanceLimiter::new(&limits);
        let mut grow = |current, desired| limiter.memory_growing(current, desired, None).expect("no trap");
        assert!(grow(0, 60));
        assert!(!grow(0, 41));
        assert!(grow(0, 40));
        assert!(!grow(60, 61));
        let mut limiter = InstanceLimiter::new(&limits);
        assert!(!limiter.memory_growing(0, 60, Some(50)).expect("no trap"));
        assert!(limiter.memory_growing(0, 100, None).expect("what failed was not charged"));
    }
}
