//! The memory that the bodies of all requests may use together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of all bodies in progress.
pub(super) struct BodyBudget {
    used: AtomicUsize,
    max: usize,
}

/// The part of the budget that one request uses. Returned when it is dropped.
pub(super) struct BudgetShare {
    budget: Arc<BodyBudget>,
    bytes: usize,
}

impl BodyBudget {
    pub(super) fn new(max: usize) -> Arc<BodyBudget> {
        Arc::new(BodyBudget { used: AtomicUsize::new(0), max })
    }

    /// Returns an empty share.
    pub(super) fn share(self: &Arc<BodyBudget>) -> BudgetShare {
        BudgetShare { budget: self.clone(), bytes: 0 }
    }
}

impl BudgetShare {
    /// Uses more bytes. Returns false if the budget has not as many left.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= self.budget.max
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_requests_are_bounded_together() {
        let budget = BodyBudget::new(10);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(first.grow(6) && second.grow(4) && !second.grow(1));
        drop(second);
        assert!(first.grow(4) && !first.grow(1));
        drop(first);
        assert!(budget.share().grow(10));
    }
}
