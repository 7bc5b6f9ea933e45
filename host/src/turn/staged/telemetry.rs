//! Metrics and log lines of a function. Metrics take effect with the commit of the turn; log lines always do.

use std::collections::BTreeMap;

/// Maximum number of metric names per operator.
pub const METRIC_NAMES_MAX: usize = 64;
/// Maximum number of log lines per turn. Further lines are dropped.
pub const LOG_LINES_MAX: usize = 1024;
/// Maximum length of a log line or panic message. The rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Detailed tracing.
    Trace,
    /// Debugging information.
    Debug,
    /// Information.
    Info,
    /// A warning.
    Warn,
    /// An error.
    Error,
    /// The message of a panic.
    Panic,
}

/// A log line of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Severity.
    pub level: LogLevel,
    /// The sanitized text; see `sanitize_text`.
    pub message: String,
    /// Index in the batch of the record that the line is about.
    pub record: Option<u32>,
}

/// A staged change of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::turn) enum MetricChange {
    Add(u64),
    Set(f64),
}

/// Metrics and log lines, staged and committed.
#[derive(Default)]
pub(in crate::turn) struct TurnTelemetry {
    staged_metrics: Vec<(String, MetricChange)>,
    metrics: BTreeMap<String, f64>,
    log: Vec<LogLine>,
    panic: Option<String>,
}

impl TurnTelemetry {
    /// Stages a change of a metric, merged with earlier changes of the turn. If there are too many names, logs a warning
    /// instead.
    pub fn stage_metric(&mut self, name: String, change: MetricChange) {
        let name = sanitize_text(name);
        let staged = &mut self.staged_metrics;
        if let Some(index) = staged.iter().position(|(other, _)| *other == name) {
            staged[index].1 = match (staged[index].1, change) {
                (MetricChange::Add(before), MetricChange::Add(more)) => MetricChange::Add(before.saturating_add(more)),
                (MetricChange::Set(before), MetricChange::Add(more)) => MetricChange::Set(before + more as f64),
                (_, MetricChange::Set(value)) => MetricChange::Set(value),
            };
        } else if self.metrics.contains_key(&name) || self.metrics.len() + staged.len() < METRIC_NAMES_MAX {
            staged.push((name, change));
        } else {
            let message = format!("metric `{name}` dropped: an operator can have {METRIC_NAMES_MAX} metrics");
            self.write_line(LogLevel::Warn, message, None);
        }
    }

    /// Stages an addition to a counter of the host, which has no limits.
    pub fn stage_host_counter(&mut self, name: &str, more: u64) {
        self.staged_metrics.push((name.to_owned(), MetricChange::Add(more)));
    }

    /// Applies the staged changes of metrics.
    pub fn commit_metrics(&mut self) {
        for (name, change) in std::mem::take(&mut self.staged_metrics) {
            let metric = self.metrics.entry(name).or_insert(0.0);
            match change {
                MetricChange::Add(value) => *metric += value as f64,
                MetricChange::Set(value) => *metric = value,
            }
        }
    }

    /// Discards staged metrics and the panic message. Keeps the log lines.
    pub fn discard_staged(&mut self) {
        self.staged_metrics.clear();
        self.panic = None;
    }

    /// Appends a log line, unless there are too many.
    pub fn write_line(&mut self, level: LogLevel, message: String, record: Option<u32>) {
        if self.log.len() < LOG_LINES_MAX {
            self.log.push(LogLine { level, message: sanitize_text(message), record });
        }
    }

    /// Stores the message of a panic, and logs it.
    pub fn record_panic(&mut self, message: String, record: Option<u32>) {
        let message = sanitize_text(message);
        self.write_line(LogLevel::Panic, message.clone(), record);
        self.panic = Some(message);
    }

    /// Removes all log lines.
    pub fn clear_log(&mut self) {
        self.log.clear();
    }

    pub fn log_lines(&self) -> &[LogLine] {
        &self.log
    }

    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.metrics
    }

    pub fn take_panic(&mut self) -> Option<String> {
        self.panic.take()
    }
}

/// Returns a guest's text as the host stores and shows it: cut off at [`LOG_LINE_BYTES_MAX`], and without control characters
/// that could control a terminal. Line breaks and tabs stay.
pub(crate) fn sanitize_text(mut text: String) -> String {
    if text.len() > LOG_LINE_BYTES_MAX {
        // A copy, so that the memory of the rest is freed.
        text = format!("{}…", &text[..text.floor_char_boundary(LOG_LINE_BYTES_MAX)]);
    }
    let is_terminal_control = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(is_terminal_control) {
        text = text.replace(is_terminal_control, "\u{fffd}");
    }
    text
}
