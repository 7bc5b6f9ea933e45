//! Counted places: of instances, and of work that takes memory.
//!
//! Invariant: a place that was given is given back when its guard is dropped, whatever happened in between.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How often a wait for a place looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// A number of places. Cheap to clone.
#[derive(Clone)]
pub struct Slots {
    inner: Arc<SlotCounts>,
}

struct SlotCounts {
    total: usize,
    free: Mutex<usize>,
    freed: Condvar,
}

/// Places that are held; dropping it gives them back.
pub struct HeldSlots {
    inner: Arc<SlotCounts>,
    count: usize,
}

impl Slots {
    pub fn new(total: usize) -> Slots {
        Slots { inner: Arc::new(SlotCounts { total, free: Mutex::new(total), freed: Condvar::new() }) }
    }

    pub fn total(&self) -> usize {
        self.inner.total
    }

    /// Takes `count` places at once, or none: the error is how many are free.
    pub fn try_take(&self, count: usize) -> Result<HeldSlots, usize> {
        let mut free = self.inner.free.lock();
        match free.checked_sub(count) {
            Some(left) => *free = left,
            None => return Err(*free),
        }
        Ok(HeldSlots { inner: self.inner.clone(), count })
    }

    /// Waits for one place; none where `stopped` says that it is not wanted any more.
    pub fn take(&self, stopped: &dyn Fn() -> bool) -> Option<HeldSlots> {
        let mut free = self.inner.free.lock();
        while !stopped() {
            if let Some(left) = free.checked_sub(1) {
                *free = left;
                return Some(HeldSlots { inner: self.inner.clone(), count: 1 });
            }
            self.inner.freed.wait_for(&mut free, LOOK);
        }
        None
    }
}

impl Drop for HeldSlots {
    fn drop(&mut self) {
        *self.inner.free.lock() += self.count;
        self.inner.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_whole_or_not_at_all_and_come_back() {
        let slots = Slots::new(3);
        let two = slots.try_take(2).ok().unwrap();
        assert_eq!(slots.try_take(2).err(), Some(1));
        let one = slots.try_take(1).ok().unwrap();
        assert_eq!(slots.try_take(1).err(), Some(0));
        assert!(slots.take(&|| true).is_none(), "what is not wanted is not waited for");
        drop(two);
        assert!(slots.take(&|| false).is_some());
        drop(one);
        assert!(slots.try_take(3).is_ok());
    }
}
