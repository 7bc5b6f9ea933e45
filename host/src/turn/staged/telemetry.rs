//! Metrics and log lines of a function. Metrics take effect with the commit of the turn; log lines always do.

use crate::model::{Histogram, LogLevel, MetricKind, UserMetrics};
use crate::turn::shared_limits::{METRIC_NAMES_MAX, SharedLimits};

/// Maximum length of the name of a metric, in bytes.
const METRIC_NAME_BYTES_MAX: usize = 128;
/// Maximum number of log lines per turn. Further lines are dropped.
pub const LOG_LINES_MAX: usize = 1024;
/// Number of log lines for which memory is kept between turns.
const LOG_LINES_KEPT: usize = 16;
/// Maximum length of a log line or panic message. The rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// Maximum number of frames of a guest's backtrace.
pub const BACKTRACE_FRAMES_MAX: usize = 32;
/// Maximum length of one frame of a guest's backtrace, in characters. The component chooses the text.
pub const FRAME_CHARS_MAX: usize = 256;

/// A log line of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Severity.
    pub level: LogLevel,
    /// Whether the line is the message of a panic.
    pub is_panic: bool,
    /// The sanitized text; see `sanitize_text`.
    pub message: String,
    /// Index in the batch of the record that the line is about.
    pub record: Option<u32>,
    /// Number of lines that were dropped before this one.
    pub dropped_before: u64,
}

/// A panic that a guest reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPanic {
    /// The sanitized message.
    pub message: String,
    /// The guest's own backtrace, sanitized and cut off. Empty if it reported none.
    pub backtrace: Vec<String>,
}

/// A staged change of a metric.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::turn) enum MetricChange {
    Add(u64),
    Set(f64),
    Observe(Histogram),
}

impl MetricChange {
    fn kind(&self) -> MetricKind {
        match self {
            MetricChange::Add(_) => MetricKind::Counter,
            MetricChange::Set(_) => MetricKind::Gauge,
            MetricChange::Observe(_) => MetricKind::Histogram,
        }
    }

    /// Adds a later change of the same kind.
    fn merge(&mut self, later: MetricChange) {
        match (self, later) {
            (MetricChange::Add(sum), MetricChange::Add(more)) => *sum = sum.saturating_add(more),
            (MetricChange::Observe(histogram), MetricChange::Observe(more)) => histogram.add(&more),
            (earlier, later) => *earlier = later,
        }
    }
}

/// Metrics and log lines, staged and committed.
#[derive(Default)]
pub(in crate::turn) struct TurnTelemetry {
    staged_metrics: Vec<(String, MetricChange)>,
    metrics: UserMetrics,
    log: Vec<LogLine>,
    panic: Option<GuestPanic>,
}

impl TurnTelemetry {
    /// Stages a change of a metric, merged with earlier changes of the turn. Logs a warning instead if the name is too long, if
    /// the operator has too many names, or if the name belongs to a metric of another kind.
    pub fn stage_metric(&mut self, name: String, change: MetricChange, shared: &SharedLimits) {
        if name.len() > METRIC_NAME_BYTES_MAX {
            shared.note_dropped_metric();
            let start = &name[..name.floor_char_boundary(METRIC_NAME_BYTES_MAX)];
            let message = format!("metric `{start}…` dropped: a name has at most {METRIC_NAME_BYTES_MAX} bytes");
            return self.write_line(LogLevel::Warn, message, None, shared);
        }
        let name = sanitize_text(name);
        let staged = self.staged_metrics.iter_mut().find(|(other, _)| *other == name);
        let known = staged.as_ref().map(|(_, change)| change.kind()).or_else(|| self.metrics.kind_of(&name));
        match (known, staged) {
            (Some(known), _) if known != change.kind() => {
                let (known, kind) = (known.as_str(), change.kind().as_str());
                let message = format!("metric `{name}` was not changed: it is a {known}, not a {kind}");
                self.write_line(LogLevel::Warn, message, None, shared);
            }
            (_, Some((_, earlier))) => earlier.merge(change),
            (None, None) if !shared.admit_metric(&name) => {
                shared.note_dropped_metric();
                let message = format!("metric `{name}` dropped: an operator can have {METRIC_NAMES_MAX} metrics");
                self.write_line(LogLevel::Warn, message, None, shared);
            }
            (_, None) => self.staged_metrics.push((name, change)),
        }
    }

    /// Stages an observation. Merges it in place if the turn has observed the metric before.
    pub fn stage_observation(&mut self, name: String, value: f64, shared: &SharedLimits) {
        let staged = self.staged_metrics.iter_mut().find(|(other, _)| *other == name);
        if let Some((_, MetricChange::Observe(histogram))) = staged {
            return histogram.observe(value);
        }
        let mut histogram = Histogram::default();
        histogram.observe(value);
        self.stage_metric(name, MetricChange::Observe(histogram), shared);
    }

    /// Stages an addition to a counter of the host, which has no limits.
    pub fn stage_host_counter(&mut self, name: &str, more: u64) {
        self.staged_metrics.push((name.to_owned(), MetricChange::Add(more)));
    }

    /// Applies the staged changes of metrics.
    pub fn commit_metrics(&mut self) {
        for (name, change) in std::mem::take(&mut self.staged_metrics) {
            match change {
                MetricChange::Add(more) => {
                    let counter = self.metrics.counters.entry(name).or_default();
                    *counter = counter.saturating_add(more);
                }
                MetricChange::Set(value) => drop(self.metrics.gauges.insert(name, value)),
                MetricChange::Observe(histogram) => self.metrics.histograms.entry(name).or_default().add(&histogram),
            }
        }
    }

    /// Discards staged metrics and the panic message. Keeps the log lines.
    pub fn discard_staged(&mut self) {
        self.staged_metrics.clear();
        self.panic = None;
    }

    /// Appends a log line if lines of its level are written. Drops and counts it if the turn has too many lines, or if the operator or
    /// its job writes too many of them.
    pub fn write_line(&mut self, level: LogLevel, message: String, record: Option<u32>, shared: &SharedLimits) {
        if !shared.log().is_enabled(level) {
            return;
        }
        if self.log.len() >= LOG_LINES_MAX {
            shared.note_dropped_line();
        } else if shared.admit_line(message.len().min(LOG_LINE_BYTES_MAX)) {
            self.push_line(level, sanitize_text(message), record, shared);
        }
    }

    fn push_line(&mut self, level: LogLevel, message: String, record: Option<u32>, shared: &SharedLimits) {
        let dropped_before = if shared.has_dropped_lines() { shared.take_dropped_lines() } else { 0 };
        self.log.push(LogLine { level, is_panic: false, message, record, dropped_before });
    }

    /// Stores a panic, and logs its message. A turn has at most one.
    pub fn record_panic(
        &mut self,
        message: String,
        record: Option<u32>,
        backtrace: Vec<String>,
        shared: &SharedLimits,
    ) {
        let message = sanitize_text(message);
        if self.panic.is_none() && shared.log().is_enabled(LogLevel::Error) {
            self.push_line(LogLevel::Error, message.clone(), record, shared);
            if let Some(line) = self.log.last_mut() {
                line.is_panic = true;
            }
        }
        self.panic = Some(GuestPanic { message, backtrace: sanitize_backtrace(backtrace) });
    }

    /// Removes all log lines.
    pub fn clear_log(&mut self) {
        self.log.clear();
        if self.log.capacity() > LOG_LINES_KEPT {
            self.log.shrink_to(LOG_LINES_KEPT);
        }
    }

    pub fn log_lines(&self) -> &[LogLine] {
        &self.log
    }

    pub fn metrics(&self) -> &UserMetrics {
        &self.metrics
    }

    pub fn take_panic(&mut self) -> Option<GuestPanic> {
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

/// Returns a guest's backtrace as the host stores and shows it: at most [`BACKTRACE_FRAMES_MAX`] frames of one line and
/// [`FRAME_CHARS_MAX`] characters.
pub(crate) fn sanitize_backtrace(frames: impl IntoIterator<Item = String>) -> Vec<String> {
    let sanitize = |frame: String| {
        let cut: String = frame.chars().take(FRAME_CHARS_MAX).collect();
        sanitize_text(cut).replace(['\n', '\t'], " ")
    };
    frames.into_iter().take(BACKTRACE_FRAMES_MAX).map(sanitize).collect()
}
