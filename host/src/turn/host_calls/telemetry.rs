//! The host calls `metrics.*` and `log.*`.

use crate::model::LogLevel;
use crate::turn::error::HostCallError;
use crate::turn::staged::telemetry::{MetricChange, sanitize_text};
use crate::turn::transaction::Turn;

impl Turn {
    /// `metrics.add`: adds to a counter.
    pub fn metric_add(&mut self, name: String, value: u64) -> Result<(), HostCallError> {
        if !self.admit_write(name.len())? {
            return Ok(());
        }
        self.telemetry.stage_metric(name, MetricChange::Add(value), &self.shared);
        Ok(())
    }

    /// `metrics.set`: sets a gauge. Ignores a value that is not finite, with a warning, since JSON cannot represent it.
    pub fn metric_set(&mut self, name: String, value: f64) -> Result<(), HostCallError> {
        if !value.is_finite() {
            self.warn_of_ignored_value("set", name, value);
            return Ok(());
        }
        if !self.admit_write(name.len())? {
            return Ok(());
        }
        self.telemetry.stage_metric(name, MetricChange::Set(value), &self.shared);
        Ok(())
    }

    /// `metrics.observe`: adds an observation to a histogram. Ignores a value that is not finite, with a warning.
    pub fn metric_observe(&mut self, name: String, value: f64) -> Result<(), HostCallError> {
        if !value.is_finite() {
            self.warn_of_ignored_value("observed", name, value);
            return Ok(());
        }
        if !self.admit_write(name.len())? {
            return Ok(());
        }
        self.telemetry.stage_observation(name, value, &self.shared);
        Ok(())
    }

    fn warn_of_ignored_value(&mut self, done: &str, name: String, value: f64) {
        let message = format!("metric `{}` was not {done}: {value} is not a finite number", sanitize_text(name));
        self.log(LogLevel::Warn, message, None);
    }

    /// `log.enabled`: returns whether lines of this level are written now.
    pub fn is_log_enabled(&self, level: LogLevel) -> bool {
        self.shared.log().is_enabled(level)
    }

    /// `log.write`: writes a log line. `record` is the index of the record that it is about.
    pub fn log(&mut self, level: LogLevel, message: String, record: Option<u32>) {
        self.telemetry.write_line(level, message, record, &self.shared);
    }

    /// `log.panic`: records a panic. `record` is the index of the record that was being handled.
    pub fn record_panic(&mut self, message: String, record: Option<u32>, backtrace: Vec<String>) {
        self.telemetry.record_panic(message, record, backtrace, &self.shared);
    }
}
