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
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let allowed = used <= self.limit;
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
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.memory.grow(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.table.grow(current, desired))
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
    }
}
