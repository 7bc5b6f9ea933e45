//! What a turn says of itself: the function's own metrics, which take effect with the turn, and its log, which always does.

use super::{HostCallError, Turn};

/// Metric names that one operator may have.
pub const METRIC_NAMES_MAX: usize = 64;
/// Log lines that one turn may write; further ones are counted and dropped.
pub const LOG_LINES_MAX: usize = 1024;
/// Bytes of one log line or panic message; the rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

/// Severity of a guest's log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    /// The last words of a panic.
    Panic,
}

/// A line that a guest wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub level: LogLevel,
    pub message: String,
    /// Index in the batch of the record that it is about.
    pub record: Option<u32>,
}

/// A change of a function's own metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum MetricChange {
    Add(u64),
    Set(f64),
}

impl Turn {
    /// `metrics.add` and `metrics.set`.
    pub fn metric_add(&mut self, name: String, value: u64) -> Result<(), HostCallError> {
        self.stage_metric(name, MetricChange::Add(value))
    }

    /// See [`Turn::metric_add`].
    pub fn metric_set(&mut self, name: String, value: f64) -> Result<(), HostCallError> {
        if !value.is_finite() {
            // JSON has no such number, and the job's record is JSON.
            self.log(
                LogLevel::Warn,
                format!("metric `{}` not set: {value} is no finite number", sanitize_text(name)),
                None,
            );
            return Ok(());
        }
        self.stage_metric(name, MetricChange::Set(value))
    }

    fn stage_metric(&mut self, name: String, change: MetricChange) -> Result<(), HostCallError> {
        self.charge(name.len())?;
        let name = sanitize_text(name);
        let staged = &mut self.staged_metrics;
        if let Some(at) = staged.iter().position(|(other, _)| *other == name) {
            staged[at].1 = match (staged[at].1, change) {
                (MetricChange::Add(before), MetricChange::Add(more)) => MetricChange::Add(before.saturating_add(more)),
                (MetricChange::Set(before), MetricChange::Add(more)) => MetricChange::Set(before + more as f64),
                (_, MetricChange::Set(value)) => MetricChange::Set(value),
            };
        } else if self.metrics.contains_key(&name) || self.metrics.len() + staged.len() < METRIC_NAMES_MAX {
            staged.push((name, change));
        } else {
            self.log(LogLevel::Warn, format!("metric `{name}` dropped: {METRIC_NAMES_MAX} names is the limit"), None);
        }
        Ok(())
    }

    /// `log.write`.
    pub fn log(&mut self, level: LogLevel, message: String, record: Option<u32>) {
        if self.log.len() < LOG_LINES_MAX {
            self.log.push(LogLine { level, message: sanitize_text(message), record });
        }
    }

    /// `log.panic`.
    pub fn record_panic(&mut self, message: String, record: Option<u32>) {
        let message = sanitize_text(message);
        self.log(LogLevel::Panic, message.clone(), record);
        self.panic = Some(message);
    }
}
/// A guest's text as the host keeps and shows it: cut at [`LOG_LINE_BYTES_MAX`], and without the control characters that
/// would steer a terminal. Line breaks stay.
pub(crate) fn sanitize_text(mut text: String) -> String {
    if text.len() > LOG_LINE_BYTES_MAX {
        // A copy: what is cut off must not keep its memory.
        text = format!("{}…", &text[..text.floor_char_boundary(LOG_LINE_BYTES_MAX)]);
    }
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(steers) {
        text = text.replace(steers, "\u{fffd}");
    }
    text
}
