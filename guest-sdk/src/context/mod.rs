//! The contexts of a function, which it gets with each record, timer, window or pair.
//!
//! [`Context`] has the clocks, the config, the log and metrics. The other contexts add what their functions may use; a context has
//! no method for anything else. Invariant: metrics and timers stay here until `flush`, so a turn that fails changes nothing. Log lines go
//! out at once, because they are written even if the turn fails.

mod broadcast;
mod join;
mod keyed;

use crate::bindings::cofferdam::function::context::TurnContext;
use crate::bindings::cofferdam::function::log::Level;
use crate::turn_cursor::TurnCursor;
use crate::{FunctionError, Timestamp};
use std::cell::OnceCell;
use std::rc::Rc;
use std::str::FromStr;

pub use broadcast::BroadcastContext;
pub use join::JoinContext;
pub use keyed::KeyedContext;

/// The clocks, the operator's config, the log and metrics. Every function gets it; the other contexts include it.
pub struct Context {
    pub(crate) cursor: Rc<TurnCursor>,
    turn: OnceCell<TurnContext>,
    config: OnceCell<Vec<(String, String)>>,
    counters: Vec<(&'static str, u64)>,
    gauges: Vec<(&'static str, f64)>,
}

impl Context {
    pub(crate) fn new(cursor: Rc<TurnCursor>) -> Self {
        Context { cursor, turn: OnceCell::new(), config: OnceCell::new(), counters: Vec::new(), gauges: Vec::new() }
    }

    /// Returns the event timestamp of the record, the time of the event-time timer, the last millisecond of the window, or the later
    /// timestamp of the pair. Returns `None` for a record without a timestamp and for a processing-time timer.
    pub fn timestamp(&self) -> Option<Timestamp> {
        some_timestamp(self.cursor.timestamp.get())
    }

    /// Returns the event timestamp like [`Context::timestamp`].
    ///
    /// # Errors
    /// Returns an error if there is none. It says how a source gets timestamps.
    pub fn require_timestamp(&self) -> Result<Timestamp, FunctionError> {
        self.timestamp()
            .ok_or_else(|| "the record has no timestamp: give its source a `timestamp` in the pipeline".into())
    }

    /// Returns the event time that the input has reached. It is [`Timestamp::MIN`] before there is any, and [`Timestamp::MAX`] at the
    /// end of the input.
    pub fn watermark(&self) -> Timestamp {
        Timestamp::from_millis(self.turn().watermark)
    }

    /// Returns the wall clock at the start of the turn. It stands still during a turn.
    pub fn processing_time(&self) -> Timestamp {
        Timestamp::from_millis(self.turn().processing_time)
    }

    /// Returns the operator, the subtask and the job's seed.
    pub fn turn(&self) -> &TurnContext {
        self.turn.get_or_init(|| self.cursor.host.turn())
    }

    /// Returns a value of the operator's `config` in the pipeline.
    pub fn config(&self, name: &str) -> Option<&str> {
        let config = self.config.get_or_init(|| self.cursor.host.config());
        config.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns a value of the operator's `config`, parsed.
    ///
    /// # Errors
    /// Returns an error with the name and the value if the value does not parse.
    pub fn config_as<T: FromStr>(&self, name: &str) -> Result<Option<T>, FunctionError> {
        let Some(value) = self.config(name) else { return Ok(None) };
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("config `{name}`: `{value}` is not a valid value").into()),
        }
    }

    /// Writes a line to the log, with the index of the current record. The line is written even if the turn fails.
    pub fn log(&self, level: Level, message: impl AsRef<str>) {
        self.cursor.host.log(level, message.as_ref(), self.cursor.record.get());
    }

    /// Writes a line to the log at level `debug`: see [`Context::log`].
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message);
    }

    /// Writes a line to the log at level `info`: see [`Context::log`].
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message);
    }

    /// Writes a line to the log at level `warn`: see [`Context::log`].
    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(Level::Warn, message);
    }

    /// Writes a line to the log at level `error`: see [`Context::log`].
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(Level::Error, message);
    }

    /// Adds to a counter of the operator. It takes effect with the turn.
    pub fn count(&mut self, metric: &'static str, by: u64) {
        match self.counters.iter_mut().find(|(name, _)| *name == metric) {
            Some((_, value)) => *value += by,
            None => self.counters.push((metric, by)),
        }
    }

    /// Sets a gauge of the operator. It takes effect with the turn; the last value of a turn wins.
    pub fn gauge(&mut self, metric: &'static str, value: f64) {
        match self.gauges.iter_mut().find(|(name, _)| *name == metric) {
            Some((_, gauge)) => *gauge = value,
            None => self.gauges.push((metric, value)),
        }
    }

    /// Forgets the last turn.
    pub(crate) fn begin(&mut self) {
        self.turn.take();
        self.config.take();
        self.counters.clear();
        self.gauges.clear();
    }

    /// Hands the turn's metrics to the host.
    pub(crate) fn flush(&mut self) {
        for (name, by) in self.counters.drain(..) {
            self.cursor.host.metric_add(name, by);
        }
        for (name, value) in self.gauges.drain(..) {
            self.cursor.host.metric_set(name, value);
        }
    }
}

/// Converts a timestamp of the contract, in which the smallest number stands for none.
#[inline]
pub(crate) fn some_timestamp(timestamp: i64) -> Option<Timestamp> {
    (timestamp != i64::MIN).then_some(Timestamp::from_millis(timestamp))
}
