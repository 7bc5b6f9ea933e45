//! The limit of records per second of a source subtask.

/// Allows a number of records per second, counted from the start.
pub(crate) struct RateLimiter {
    records_per_s: u64,
    started_ns: u64,
    /// Records read since the start.
    records: u64,
}

impl RateLimiter {
    /// Creates a limiter that starts at `now_ns`, in monotonic nanoseconds. The limit is at least 1.
    pub(crate) fn new(records_per_s: u64, now_ns: u64) -> RateLimiter {
        RateLimiter { records_per_s: records_per_s.max(1), started_ns: now_ns, records: 0 }
    }

    /// Returns how many records may be read now.
    pub(super) fn allowed(&self, now_ns: u64) -> u64 {
        let elapsed = u128::from(now_ns.saturating_sub(self.started_ns));
        let due = elapsed * u128::from(self.records_per_s) / 1_000_000_000;
        u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(self.records)
    }

    /// Counts records that were read.
    pub(super) fn count(&mut self, records: usize) {
        self.records += records as u64;
    }
}
