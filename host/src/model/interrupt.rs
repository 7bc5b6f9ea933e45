//! A flag that aborts long-running work when its job is cancelled or the server stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{self, Result};

/// The flag. All clones share it. It is never reset.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    /// Sets the flag.
    pub fn set(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Returns whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
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
