//! Requests that are refused. Anybody can send them, so they must not fill the log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts refused requests of one kind.
pub struct Refusals(AtomicU64);

impl Refusals {
    /// Nothing is refused yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts a refused request. Returns the count once per doubling, when it is to be logged.
    pub fn count(&self) -> Option<u64> {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        count.is_power_of_two().then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_requests_are_logged_once_per_doubling() {
        let refusals = Refusals::new();
        let logged: Vec<_> = (0..100).filter_map(|_| refusals.count()).collect();
        assert_eq!(logged, [1, 2, 4, 8, 16, 32, 64]);
    }
}
