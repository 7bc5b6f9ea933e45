//! A counting semaphore, for instances and for work that needs much memory.
//!
//! Invariant: a slot becomes free when its guard is dropped, whatever happened in between.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Interval at which a wait for a slot checks whether it should stop.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// A fixed number of slots. Cheap to clone.
#[derive(Clone)]
pub struct Slots {
    counts: Arc<SlotCounts>,
}

struct SlotCounts {
    total: usize,
    free: Mutex<usize>,
    freed: Condvar,
}

/// Slots that are held. Dropping the guard frees them.
pub struct HeldSlots {
    counts: Arc<SlotCounts>,
    count: usize,
}

impl Slots {
    /// Creates `total` free slots.
    pub fn new(total: usize) -> Slots {
        Slots { counts: Arc::new(SlotCounts { total, free: Mutex::new(total), freed: Condvar::new() }) }
    }

    /// Returns the number of slots, free or held.
    pub fn total(&self) -> usize {
        self.counts.total
    }

    /// Returns the number of slots that are held.
    pub fn held(&self) -> usize {
        self.counts.total.saturating_sub(*self.counts.free.lock())
    }

    /// Takes `count` slots at once. If fewer are free, takes none, and the error is the number of free ones.
    pub fn try_take(&self, count: usize) -> Result<HeldSlots, usize> {
        let mut free = self.counts.free.lock();
        match free.checked_sub(count) {
            Some(left) => *free = left,
            None => return Err(*free),
        }
        Ok(HeldSlots { counts: self.counts.clone(), count })
    }

    /// Waits for one slot. Returns `None` once `stopped` returns true.
    pub fn take(&self, stopped: &dyn Fn() -> bool) -> Option<HeldSlots> {
        let mut free = self.counts.free.lock();
        while !stopped() {
            if let Some(left) = free.checked_sub(1) {
                *free = left;
                return Some(HeldSlots { counts: self.counts.clone(), count: 1 });
            }
            self.counts.freed.wait_for(&mut free, STOP_CHECK);
        }
        None
    }
}

impl Drop for HeldSlots {
    fn drop(&mut self) {
        *self.counts.free.lock() += self.count;
        self.counts.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_taken_all_or_none_and_become_free_again() {
        let slots = Slots::new(3);
        let two = slots.try_take(2).ok().unwrap();
        assert_eq!(slots.try_take(2).err(), Some(1));
        let one = slots.try_take(1).ok().unwrap();
        assert_eq!(slots.try_take(1).err(), Some(0));
        assert!(slots.take(&|| true).is_none(), "a stopped wait takes no slot");
        drop(two);
        assert!(slots.take(&|| false).is_some());
        drop(one);
        assert!(slots.try_take(3).is_ok());
    }
}
