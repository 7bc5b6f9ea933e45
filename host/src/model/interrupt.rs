//! A flag that aborts long-running work when its job is cancelled or the server stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::error::{self, Result};
use crate::wakeup::Wakeup;

/// The flag. All clones share it. It is never reset.
#[derive(Clone, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    /// Woken when the flag is set.
    waiting: Arc<Mutex<Vec<Wakeup>>>,
}

impl Interrupt {
    /// Sets the flag, and wakes the subscribed threads.
    pub fn set(&self) {
        self.flag.store(true, Ordering::SeqCst);
        self.wake_subscribers();
    }

    /// Returns whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Wakes a thread when the flag is set, or now if it is set already.
    pub fn subscribe(&self, wakeup: &Wakeup) {
        self.waiting.lock().push(wakeup.clone());
        if self.flag.load(Ordering::SeqCst) {
            wakeup.wake();
        }
    }

    /// Wakes the subscribed threads, because of another signal that they check.
    pub fn wake_subscribers(&self) {
        self.waiting.lock().iter().for_each(Wakeup::wake);
    }

    /// Returns `interrupted` if the flag is set.
    #[inline]
    pub fn check(&self) -> Result<()> {
        match self.is_set() {
            true => Err(error::interrupted("the work was aborted: the job is cancelled, or the server stops")),
            false => Ok(()),
        }
    }

    /// Returns the flag itself, for libraries that poll it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_interrupt_ends_the_wait_of_its_subscribers() {
        let interrupt = Interrupt::default();
        let (early, late) = (Wakeup::default(), Wakeup::default());
        interrupt.subscribe(&early);
        interrupt.set();
        interrupt.subscribe(&late);
        early.wait(Duration::MAX);
        late.wait(Duration::MAX);
    }
}
