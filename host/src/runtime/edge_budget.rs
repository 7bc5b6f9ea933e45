//! The bytes that may wait between the subtasks of one edge.
//!
//! The channels of an edge share a budget. A sender waits until its element fits. So a slow receiver bounds the memory of all its
//! senders, however large their records are.
//!
//! One element at a time may exceed the budget, the *overdraft*. Without it an element that is larger than the budget would wait for
//! ever. So would two subtasks during an alignment: records behind a barrier could fill the budget, while the records before that barrier
//! wait for it in another channel. Therefore only a sender that is not ahead of its receiver's newest barrier may use the overdraft. Its
//! element is in a channel that is read, so the overdraft becomes free again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::wakeup::Wakeup;

/// The budget of one edge.
pub(crate) struct EdgeBudget {
    limit: usize,
    used: AtomicUsize,
    is_overdrawn: AtomicBool,
    /// Wakes the senders that wait for the budget.
    waiting: Mutex<Vec<Wakeup>>,
    has_waiting: AtomicBool,
}

/// What an element in a channel takes of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BudgetCharge {
    /// This many bytes.
    Bytes(usize),
    Overdraft,
}

impl Default for EdgeBudget {
    fn default() -> EdgeBudget {
        EdgeBudget::new(usize::MAX)
    }
}

impl EdgeBudget {
    pub(crate) fn new(limit: usize) -> EdgeBudget {
        EdgeBudget {
            limit,
            used: AtomicUsize::new(0),
            is_overdrawn: AtomicBool::new(false),
            waiting: Mutex::default(),
            has_waiting: AtomicBool::new(false),
        }
    }

    /// Takes `bytes` of the budget if they are left, or else the overdraft if that is allowed and free.
    pub(super) fn try_take(&self, bytes: usize, may_overdraw: bool) -> Option<BudgetCharge> {
        let add = |used: usize| used.checked_add(bytes).filter(|sum| bytes == 0 || *sum <= self.limit);
        if self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok() {
            return Some(BudgetCharge::Bytes(bytes));
        }
        (may_overdraw && !self.is_overdrawn.swap(true, Ordering::SeqCst)).then_some(BudgetCharge::Overdraft)
    }

    /// Takes `bytes` of the budget, whether or not they are left.
    pub(super) fn take(&self, bytes: usize) -> BudgetCharge {
        self.used.fetch_add(bytes, Ordering::SeqCst);
        BudgetCharge::Bytes(bytes)
    }

    /// Returns what an element has taken, and wakes the senders that wait for it.
    pub(super) fn put_back(&self, charge: BudgetCharge) {
        match charge {
            BudgetCharge::Bytes(0) => return,
            BudgetCharge::Bytes(bytes) => drop(self.used.fetch_sub(bytes, Ordering::SeqCst)),
            BudgetCharge::Overdraft => self.is_overdrawn.store(false, Ordering::SeqCst),
        }
        self.wake_waiting();
    }

    /// Wakes a sender when the budget changes. It must check the budget once more before it waits.
    pub(super) fn wake_on_change(&self, sender: &Wakeup) {
        let mut waiting = self.waiting.lock();
        if !waiting.iter().any(|other| other.is_same(sender)) {
            waiting.push(sender.clone());
        }
        self.has_waiting.store(true, Ordering::SeqCst);
    }

    /// Wakes the senders that wait for the budget.
    pub(super) fn wake_waiting(&self) {
        if self.has_waiting.load(Ordering::SeqCst) && self.has_waiting.swap(false, Ordering::SeqCst) {
            std::mem::take(&mut *self.waiting.lock()).iter().for_each(Wakeup::wake);
        }
    }

    /// Returns the bytes that wait between the subtasks of the edge, without those of the overdraft.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Returns the share of the budget that is taken.
    pub(crate) fn fill(&self) -> f64 {
        match self.is_overdrawn.load(Ordering::Relaxed) {
            true => 1.0,
            false => (self.used() as f64 / self.limit.max(1) as f64).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_element_at_a_time_exceeds_the_budget() {
        let budget = EdgeBudget::new(100);
        assert_eq!(budget.try_take(60, true), Some(BudgetCharge::Bytes(60)));
        assert_eq!(budget.try_take(60, false), None);
        assert_eq!(budget.try_take(60, true), Some(BudgetCharge::Overdraft));
        assert_eq!(budget.try_take(1000, true), None, "the overdraft is in use");
        assert_eq!(budget.try_take(40, true), Some(BudgetCharge::Bytes(40)));
        assert_eq!(budget.try_take(0, false), Some(BudgetCharge::Bytes(0)), "an element without bytes needs no budget");
        budget.put_back(BudgetCharge::Overdraft);
        assert_eq!(budget.try_take(1000, true), Some(BudgetCharge::Overdraft));
        assert_eq!(budget.used(), 100);
    }

    #[test]
    fn a_waiting_sender_is_woken_once_by_what_is_put_back() {
        let (budget, sender) = (EdgeBudget::new(10), Wakeup::default());
        assert_eq!(budget.take(25), BudgetCharge::Bytes(25));
        budget.put_back(BudgetCharge::Bytes(5));
        assert!(!sender.is_woken());
        budget.wake_on_change(&sender);
        budget.wake_on_change(&sender);
        budget.put_back(BudgetCharge::Bytes(5));
        assert!(sender.is_woken() && budget.waiting.lock().is_empty());
    }
}
