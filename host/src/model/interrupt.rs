//! A flag that says that work which takes long is no longer wanted: a job is cancelled, or the server stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{self, Result};

/// Clones share one flag. It is never taken back.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
}

impl Interrupt {
    pub fn set(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Error: `interrupted` once the flag is set.
    #[inline]
    pub fn check(&self) -> Result<()> {
        match self.is_set() {
            true => Err(error::interrupted("it was given up: the job is cancelled, or the server stops")),
            false => Ok(()),
        }
    }

    /// The flag itself, for those that only look at it.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }
}
