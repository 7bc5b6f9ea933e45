//! The memory for the kept lines of all jobs of the process.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory for the kept lines of all jobs, in bytes.
const PROCESS_BYTES_MAX: usize = 256 << 20;

/// The memory of this process.
pub static PROCESS_LINES: LineMemory = LineMemory::new(PROCESS_BYTES_MAX);

/// A bound on the bytes that several owners use together.
pub struct LineMemory {
    used: AtomicUsize,
    max: usize,
}

impl LineMemory {
    /// Creates a memory of which nothing is used.
    pub const fn new(max: usize) -> LineMemory {
        LineMemory { used: AtomicUsize::new(0), max }
    }

    /// Takes bytes, and returns whether that many were free.
    pub fn take(&self, bytes: usize) -> bool {
        let taken = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// Gives bytes back that were taken before.
    pub fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns the bytes that are used.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}
