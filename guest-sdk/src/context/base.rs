//! What every function can reach, whatever calls it: the clocks, the operator's config, the log and metrics.
//!
//! Invariant: metrics stay here until `flush`. Log lines go out at once, since they are written even when the turn fails.

use crate::FunctionError;
use crate::bindings::cofferdam::function::context::TurnContext;
use crate::bindings::cofferdam::function::log::Level;
use crate::host::Host;
use std::cell::OnceCell;
use std::rc::Rc;
use std::str::FromStr;

/// What every function can reach. Every other context has it as well; a function that has no key and no outputs, such as an
/// [`AggregateFunction`](crate::AggregateFunction), has nothing but this.
pub struct BaseContext {
    pub(crate) host: Rc<dyn Host>,
    pub(crate) function: &'static str,
    pub(crate) record: Option<u32>,
    pub(crate) timestamp: i64,
    turn: OnceCell<TurnContext>,
    config: OnceCell<Vec<(String, String)>>,
    counters: Vec<(&'static str, u64)>,
    gauges: Vec<(&'static str, f64)>,
}

impl BaseContext {
    pub(crate) fn new(function: &'static str, host: Rc<dyn Host>) -> Self {
        BaseContext {
            host,
            function,
            record: None,
            timestamp: i64::MIN,
            turn: OnceCell::new(),
            config: OnceCell::new(),
            counters: Vec::new(),
            gauges: Vec::new(),
        }
    }

    /// The event timestamp in milliseconds since the Unix epoch: of the record; the time of an event-time timer; of a window
    /// its last millisecond; of a pair the later one of its two. `None` for a record without one and for a processing-time
    /// timer.
    pub fn timestamp(&self) -> Option<i64> {
        some_timestamp(self.timestamp)
    }

    /// The event time that the input has reached, in milliseconds; `i64::MIN` before there is any.
    pub fn watermark(&self) -> i64 {
        self.turn().watermark
    }

    /// The wall clock at the start of the turn, in milliseconds since the Unix epoch. It stands still during a turn.
    pub fn processing_time(&self) -> i64 {
        self.turn().processing_time
    }

    /// Where the turn takes place: the operator, the subtask, and the job's seed.
    pub fn turn(&self) -> &TurnContext {
        self.turn.get_or_init(|| self.host.turn())
    }

    /// A value of the operator's `config` in the pipeline.
    pub fn config(&self, name: &str) -> Option<&str> {
        let config = self.config.get_or_init(|| self.host.config());
        config.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A value of the operator's `config`, parsed.
    ///
    /// # Errors
    /// Where there is a value that does not parse, with its name.
    pub fn config_as<T: FromStr>(&self, name: &str) -> Result<Option<T>, FunctionError> {
        let Some(value) = self.config(name) else { return Ok(None) };
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("config `{name}`: `{value}` is not what was expected").into()),
        }
    }

    /// Writes a line to the log, with the index of the record that is being handled. It is written even when the turn fails.
    pub fn log(&self, level: Level, message: impl AsRef<str>) {
        self.host.log(level, message.as_ref(), self.record);
    }

    /// Writes a line to the log at level `debug`: see [`BaseContext::log`].
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message);
    }

    /// Writes a line to the log at level `info`: see [`BaseContext::log`].
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message);
    }

    /// Writes a line to the log at level `warn`: see [`BaseContext::log`].
    pub fn warn(&self, message: impl AsRef<str>) {
        self.log(Level::Warn, message);
    }

    /// Writes a line to the log at level `error`: see [`BaseContext::log`].
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(Level::Error, message);
    }

    /// Adds to a counter of the operator's. It takes effect with the turn.
    pub fn count(&mut self, metric: &'static str, by: u64) {
        match self.counters.iter_mut().find(|(name, _)| *name == metric) {
            Some((_, value)) => *value += by,
            None => self.counters.push((metric, by)),
        }
    }

    /// Sets a gauge of the operator's. It takes effect with the turn; of several values in a turn the last one counts.
    pub fn gauge(&mut self, metric: &'static str, value: f64) {
        match self.gauges.iter_mut().find(|(name, _)| *name == metric) {
            Some((_, gauge)) => *gauge = value,
            None => self.gauges.push((metric, value)),
        }
    }

    /// Begins a turn.
    pub(crate) fn begin(&mut self) {
        self.record = None;
        self.timestamp = i64::MIN;
        self.turn.take();
        self.config.take();
        self.counters.clear();
        self.gauges.clear();
    }

    /// Hands the turn's metrics to the host.
    pub(crate) fn flush(&mut self) {
        self.record = None;
        for (name, by) in self.counters.drain(..) {
            self.host.metric_add(name, by);
        }
        for (name, value) in self.gauges.drain(..) {
            self.host.metric_set(name, value);
        }
    }
}

/// A timestamp as user code sees it.
#[inline]
pub(crate) fn some_timestamp(timestamp: i64) -> Option<i64> {
    (timestamp != i64::MIN).then_some(timestamp)
}
