//! When a function's failed item is tried again (`on_fault = "retry"`).

use crate::pipeline::RetrySettings;
use crate::wakeup::Wakeup;

/// Metric: number of turns that tried a failed record, timer or window again.
pub(in crate::operator) const RETRIES: &str = "numRecordRetries";

/// Metric: number of records, timers and windows that succeeded in a retry.
pub(in crate::operator) const RETRIED: &str = "numRecordsRetried";

/// When a failed item is tried again.
#[derive(Clone)]
pub struct RetryPolicy {
    pub retry: RetrySettings,
    /// Woken when the job is cancelled.
    pub wakeup: Wakeup,
}
