//! Numbers that look random and are the same in every run.

/// Xorshift: enough for content and masks.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_the_same_numbers_and_a_bound_is_kept() {
        let numbers = || {
            let mut random = Random::new();
            (0..1000).map(|_| random.below(7)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(), numbers());
        assert!(
            (0..7).all(|wanted| numbers().contains(&wanted)) && numbers().iter().all(|number| *number < 7)
        );
    }
}
