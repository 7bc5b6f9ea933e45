//! What an operator logs of its records and of its function: a limited number of lines per second, with a count of the rest.
//!
//! One log serves all subtasks of an operator. What a record or a guest put into a line is escaped where the log is written.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::{SharedClock, SystemClock};
use crate::log_limit::LogLimit;
use crate::model::Fault;
use crate::pipeline::FaultPolicy;
use crate::turn::{LogLevel, LogLine};

/// Lines of its own that a function may log at once, and per second.
const LINES_BURST: u64 = 1000;
const LINES_PER_SECOND: u64 = 100;

/// See the module.
pub struct OperatorLog {
    job: String,
    operator: String,
    function: String,
    clock: SharedClock,
    /// Records that failed.
    faults: LogLimit,
    /// Batches that failed, and are searched for the record.
    searches: LogLimit,
    panics: LogLimit,
    lines: LogLimit,
    /// Whether anything was suppressed since it was told last.
    suppresses: AtomicBool,
}

impl OperatorLog {
    pub fn new(job: &str, operator: &str, function: &str, clock: SharedClock) -> OperatorLog {
        let once_a_second = || LogLimit::new(1, 1);
        OperatorLog {
            job: job.to_owned(),
            operator: operator.to_owned(),
            function: function.to_owned(),
            clock,
            faults: once_a_second(),
            searches: once_a_second(),
            panics: once_a_second(),
            lines: LogLimit::new(LINES_BURST, LINES_PER_SECOND),
            suppresses: AtomicBool::new(false),
        }
    }

    /// Whether a line may be written now, and how many it stands for beside itself, where there are any.
    fn admit(&self, limit: &LogLimit) -> Option<Option<u64>> {
        let admitted = limit.admit(self.clock.monotonic_ns());
        if admitted.is_none() {
            self.suppresses.store(true, Ordering::Relaxed);
        }
        admitted.map(|suppressed| Some(suppressed).filter(|suppressed| *suppressed > 0))
    }

    /// A record failed, and meets the operator's disposition.
    pub(super) fn record_failed(&self, subtask: u32, record: u64, fault: &Fault, on_fault: FaultPolicy) {
        let Some(suppressed) = self.admit(&self.faults) else { return };
        let OperatorLog { job, operator, function, .. } = self;
        let (code, message) = (fault.code.as_str(), fault.message.trim_end());
        tracing::warn!(target: "guest", %job, %operator, %function, subtask, record, code, ?on_fault, suppressed, "{message}");
    }

    /// Isolating a record can take as many deadlines as there are halvings: says at once why nothing moves.
    pub(super) fn search_begins(&self, records: usize, fault: &Fault) {
        let Some(suppressed) = self.admit(&self.searches) else { return };
        let OperatorLog { job, operator, function, .. } = self;
        let (code, message) = (fault.code.as_str(), fault.message.trim_end());
        tracing::warn!(target: "guest", %job, %operator, %function, records, code, suppressed, "a batch failed, looking for the record: {message}");
    }

    /// Lines that a guest wrote in one turn.
    pub(super) fn guest_lines(&self, subtask: u32, lines: &[LogLine]) {
        let OperatorLog { job, operator, function, .. } = self;
        for LogLine { level, message, record } in lines {
            let limit = if *level == LogLevel::Panic { &self.panics } else { &self.lines };
            let Some(suppressed) = self.admit(limit) else { continue };
            let message = message.trim_end();
            match level {
                LogLevel::Trace => {
                    tracing::trace!(target: "guest", %job, %operator, %function, subtask, record, suppressed, "{message}")
                }
                LogLevel::Debug => {
                    tracing::debug!(target: "guest", %job, %operator, %function, subtask, record, suppressed, "{message}")
                }
                LogLevel::Info => {
                    tracing::info!(target: "guest", %job, %operator, %function, subtask, record, suppressed, "{message}")
                }
                LogLevel::Warn => {
                    tracing::warn!(target: "guest", %job, %operator, %function, subtask, record, suppressed, "{message}")
                }
                LogLevel::Error | LogLevel::Panic => {
                    tracing::error!(target: "guest", %job, %operator, %function, subtask, record, suppressed, "{message}")
                }
            }
        }
    }

    /// Tells how many lines were suppressed, where no further line has told it for a while. Called every now and then.
    pub(super) fn log_suppressed(&self) {
        if !self.suppresses.swap(false, Ordering::Relaxed) {
            return;
        }
        let now_ns = self.clock.monotonic_ns();
        for (limit, what) in self.limits() {
            if let Some(suppressed) = limit.overdue(now_ns) {
                self.tell(what, suppressed);
            }
        }
        if self.limits().iter().any(|(limit, _)| limit.is_suppressing()) {
            self.suppresses.store(true, Ordering::Relaxed);
        }
    }

    fn limits(&self) -> [(&LogLimit, &'static str); 4] {
        [
            (&self.faults, "records failed"),
            (&self.searches, "batches failed"),
            (&self.panics, "panics of the function"),
            (&self.lines, "lines of the function"),
        ]
    }

    fn tell(&self, what: &str, suppressed: u64) {
        let OperatorLog { job, operator, function, .. } = self;
        tracing::warn!(target: "guest", %job, %operator, %function, suppressed, "{suppressed} more {what}, not shown one by one");
    }
}

impl Drop for OperatorLog {
    fn drop(&mut self) {
        for (limit, what) in self.limits() {
            let suppressed = limit.rest();
            if suppressed > 0 {
                self.tell(what, suppressed);
            }
        }
    }
}

/// For operators outside of a job.
impl Default for OperatorLog {
    fn default() -> OperatorLog {
        OperatorLog::new("", "", "", SystemClock::shared())
    }
}
