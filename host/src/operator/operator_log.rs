//! The log of one operator: failed records, failed batches, and the lines that its function writes.
//!
//! All subtasks of an operator share one log. Each kind of line has a rate limit, and suppressed lines are counted. Each line goes
//! to the log of the process, and is kept by the log of the job.
//! Invariant: the number of suppressed lines is always logged, at the latest when the log is dropped.
//! Must not escape text: the subscriber that writes the log escapes what records and guests put into a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::{SharedClock, SystemClock};
use crate::job_log::KeptLine;
use crate::log_limit::LogLimit;
use crate::model::{Fault, LogLevel};
use crate::pipeline::FaultPolicy;
use crate::turn::{LogLine, SharedLimits};

/// Writes the log lines of one operator, within rate limits.
pub struct OperatorLog {
    job: String,
    operator: String,
    function: String,
    clock: SharedClock,
    /// Limits the lines about failed records.
    faults: LogLimit,
    /// Limits the lines about batches that are searched for the failing record.
    searches: LogLimit,
    panics: LogLimit,
    /// Limits the lines about dropped lines of the function.
    drops: LogLimit,
    /// Limits the lines of the function, which count as dropped there. Has the level of the operator.
    limits: Arc<SharedLimits>,
    /// Whether lines were suppressed that have not been reported yet.
    has_suppressed: AtomicBool,
}

/// What a line is about.
#[derive(Clone, Copy, Default)]
struct LineSubject {
    subtask: Option<u32>,
    /// Index of the record in its batch.
    record: Option<u64>,
    /// Number of records in the batch.
    records: Option<usize>,
    /// Code of the fault.
    code: Option<&'static str>,
    on_fault: Option<FaultPolicy>,
    /// Number of lines of this kind that were suppressed before. Not 0.
    suppressed: Option<u64>,
}

impl OperatorLog {
    /// `clock` measures the rate limits.
    pub fn new(
        job: &str,
        operator: &str,
        function: &str,
        limits: Arc<SharedLimits>,
        clock: SharedClock,
    ) -> OperatorLog {
        let once_a_second = || LogLimit::new(1, 1);
        OperatorLog {
            job: job.to_owned(),
            operator: operator.to_owned(),
            function: function.to_owned(),
            clock,
            faults: once_a_second(),
            searches: once_a_second(),
            panics: once_a_second(),
            drops: once_a_second(),
            limits,
            has_suppressed: AtomicBool::new(false),
        }
    }

    /// Writes a line to the log of the process and keeps it, if lines of this level are written.
    fn write(&self, level: LogLevel, subject: LineSubject, message: &str) {
        if !self.limits.log().is_enabled(level) {
            return;
        }
        let OperatorLog { job, operator, function, .. } = self;
        let LineSubject { subtask, record, records, code, on_fault, suppressed } = subject;
        let on_fault = on_fault.map(tracing::field::debug);
        macro_rules! event {
            ($event:ident) => {
                tracing::$event!(
                    target: "guest",
                    %job, %operator, %function, subtask, record, records, code, on_fault, suppressed, "{message}"
                )
            };
        }
        match level {
            LogLevel::Off => return,
            LogLevel::Error => event!(error),
            LogLevel::Warn => event!(warn),
            LogLevel::Info => event!(info),
            LogLevel::Debug => event!(debug),
            LogLevel::Trace => event!(trace),
        }
        let at_ms = self.clock.wall_ms();
        let suppressed = suppressed.unwrap_or(0);
        let line = KeptLine { at_ms, level, subtask, record, code, suppressed, ..KeptLine::default() };
        self.limits.log().keep(line, message);
    }

    /// Returns `None` if a line must be suppressed now. Otherwise returns the number of lines suppressed before it, if any.
    fn admit(&self, limit: &LogLimit) -> Option<Option<u64>> {
        let admitted = limit.admit(self.clock.monotonic_ns());
        if admitted.is_none() {
            self.has_suppressed.store(true, Ordering::Relaxed);
        }
        admitted.map(|suppressed| Some(suppressed).filter(|suppressed| *suppressed > 0))
    }

    /// Logs that a function failed on a record, a timer or a window.
    pub(super) fn record_failed(&self, subtask: u32, record: u64, fault: &Fault, on_fault: FaultPolicy) {
        let Some(suppressed) = self.admit(&self.faults) else { return };
        let (subtask, record, code) = (Some(subtask), Some(record), Some(fault.code.as_str()));
        let subject =
            LineSubject { subtask, record, code, on_fault: Some(on_fault), suppressed, ..LineSubject::default() };
        self.write(LogLevel::Warn, subject, fault.message.trim_end());
    }

    /// Logs that a batch failed and is being searched. The search can take one deadline per halving, so the line explains the delay.
    pub(super) fn search_started(&self, records: usize, fault: &Fault) {
        let Some(suppressed) = self.admit(&self.searches) else { return };
        let (records, code) = (Some(records), Some(fault.code.as_str()));
        let message = format!("a batch failed; searching for the failing record: {}", fault.message.trim_end());
        self.write(LogLevel::Warn, LineSubject { records, code, suppressed, ..LineSubject::default() }, &message);
    }

    /// Warns that timers are dropped, which timers have registered at the end of the input.
    pub(super) fn timers_dropped(&self) {
        let message = "timers that are registered by timers at the end of the input are dropped";
        self.write(LogLevel::Warn, LineSubject::default(), message);
    }

    /// The limits that the subtasks of the operator share.
    pub fn limits(&self) -> &Arc<SharedLimits> {
        &self.limits
    }

    /// Logs the lines that a guest wrote in one turn.
    pub(super) fn guest_lines(&self, subtask: u32, lines: &[LogLine]) {
        for LogLine { level, is_panic, message, record, dropped_before } in lines {
            let mut suppressed = Some(*dropped_before).filter(|dropped| *dropped > 0);
            if *is_panic {
                let Some(panics) = self.admit(&self.panics) else { continue };
                suppressed = panics.or(suppressed);
            }
            let record = record.map(u64::from);
            let subject = LineSubject { subtask: Some(subtask), record, suppressed, ..LineSubject::default() };
            self.write(*level, subject, message.trim_end());
        }
    }

    /// Returns whether lines were suppressed whose number has not been logged.
    pub(super) fn has_suppressed_lines(&self) -> bool {
        self.has_suppressed.load(Ordering::Relaxed) || self.limits.has_dropped_lines()
    }

    /// Logs how many lines were suppressed, if no later line has reported it for a while. Called periodically.
    pub(super) fn log_suppressed(&self) {
        if self.limits.has_dropped_lines() && self.drops.take_tokens(1, self.clock.monotonic_ns()) {
            self.report_dropped_lines();
        }
        if !self.has_suppressed.swap(false, Ordering::Relaxed) {
            return;
        }
        let now_ns = self.clock.monotonic_ns();
        for (limit, what) in self.rates() {
            if let Some(suppressed) = limit.overdue(now_ns) {
                self.report_suppressed(what, suppressed);
            }
        }
        if self.rates().iter().any(|(limit, _)| limit.is_suppressing()) {
            self.has_suppressed.store(true, Ordering::Relaxed);
        }
    }

    fn rates(&self) -> [(&LogLimit, &'static str); 3] {
        [(&self.faults, "records failed"), (&self.searches, "batches failed"), (&self.panics, "panics of the function")]
    }

    fn report_dropped_lines(&self) {
        match self.limits.take_dropped_lines() {
            0 => {}
            dropped => self.report_suppressed("lines of the function", dropped),
        }
    }

    fn report_suppressed(&self, what: &str, suppressed: u64) {
        let subject = LineSubject { suppressed: Some(suppressed), ..LineSubject::default() };
        self.write(LogLevel::Warn, subject, &format!("{suppressed} more {what}, not logged individually"));
    }
}

impl Drop for OperatorLog {
    fn drop(&mut self) {
        self.report_dropped_lines();
        for (limit, what) in self.rates() {
            let suppressed = limit.rest();
            if suppressed > 0 {
                self.report_suppressed(what, suppressed);
            }
        }
    }
}

/// A log for operators that run outside of a job.
impl Default for OperatorLog {
    fn default() -> OperatorLog {
        OperatorLog::new("", "", "", Arc::default(), SystemClock::shared())
    }
}
