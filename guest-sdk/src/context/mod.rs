//! The contexts of a function, which it gets with each record, timer, window or pair.
//!
//! [`Context`] has the clocks, the config, the log and metrics. The other contexts add what their functions may use; a context has
//! no method for anything else. Invariant: metrics and timers stay here until `flush`, so a turn that fails changes nothing. Log lines go
//! out at once, because they are written even if the turn fails.

mod broadcast;
mod join;
mod keyed;
mod random;

use crate::attributes::Attributes;
use crate::bindings::cofferdam::function::context::TurnContext;
use crate::bindings::cofferdam::function::log::Level;
use crate::bindings::cofferdam::function::types::Column;
use crate::times::NO_TIMESTAMP;
use crate::turn_cursor::TurnCursor;
use crate::{FunctionError, Timestamp, column};
use random::Randomness;
use std::cell::{Cell, OnceCell};
use std::fmt::Display;
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
    observations: Vec<(&'static str, f64)>,
    /// The log levels of which the turn has asked whether they are written, one bit for each, and those that are.
    asked_levels: Cell<(u8, u8)>,
    /// The distinct keys of the turn.
    keys: Column,
    /// The attributes of the turn's records.
    attributes: Option<Column>,
    randomness: Randomness,
}

impl Context {
    pub(crate) fn new(cursor: Rc<TurnCursor>) -> Self {
        Context {
            cursor,
            turn: OnceCell::new(),
            config: OnceCell::new(),
            counters: Vec::new(),
            gauges: Vec::new(),
            observations: Vec::new(),
            asked_levels: Cell::new((0, 0)),
            keys: column::empty(),
            attributes: None,
            randomness: Randomness::default(),
        }
    }

    /// Returns the event timestamp of the record, the time of the event-time timer, the last millisecond of the window, or the later
    /// timestamp of the pair. Returns `None` for a record without a timestamp and for a processing-time timer.
    pub fn timestamp(&self) -> Option<Timestamp> {
        some_timestamp(self.cursor.timestamp())
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
        self.turn().watermark.map_or(Timestamp::MIN, Timestamp::from_millis)
    }

    /// Returns the wall clock at the start of the turn. It stands still during a turn.
    pub fn processing_time(&self) -> Timestamp {
        Timestamp::from_millis(self.turn().processing_time)
    }

    /// Returns the operator's id in the pipeline.
    pub fn operator_id(&self) -> &str {
        &self.turn().operator_id
    }

    /// Returns the headers of the record, and the topic, partition and offset that it came from. Timers, windows and pairs have none.
    pub fn attributes(&self) -> Attributes<'_> {
        let item = self.cursor.item.get() as usize;
        match &self.attributes {
            Some(attributes) if item < column::len(attributes) => Attributes::new(column::value(attributes, item)),
            _ => Attributes::default(),
        }
    }

    /// Returns a random number. Further calls return further numbers.
    ///
    /// The numbers depend on the job's seed, the operator, the key, and the position of the record in the input. A record that is handled
    /// again after a failure gets the same numbers. They are no secret.
    pub fn random(&mut self) -> u64 {
        let item = (self.cursor.turn(), self.cursor.item.get());
        if !self.randomness.is_of(item) {
            let keys = &self.keys;
            let key = self.cursor.key.get();
            let key = if key < column::len(keys) { column::value(keys, key) } else { &[] };
            self.randomness = Randomness::begin(item, self.turn(), self.cursor.stream.get(), key);
        }
        self.randomness.next()
    }

    /// Returns the operator, the clocks, the job's seed and the position of the turn.
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
    ///
    /// A message in `format_args!` costs nothing if the job's log has no lines of this level: `ctx.debug(format_args!("{flight:?}"))`.
    pub fn log(&self, level: Level, message: impl Display) {
        if self.is_logged(level) {
            self.cursor.host.log(level, &message.to_string(), self.cursor.record());
        }
    }

    /// Returns whether the job's log has lines of this level.
    pub fn is_logged(&self, level: Level) -> bool {
        let bit = 1 << level as u8;
        let (mut asked, mut enabled) = self.asked_levels.get();
        if asked & bit == 0 {
            asked |= bit;
            enabled |= if self.cursor.host.log_enabled(level) { bit } else { 0 };
            self.asked_levels.set((asked, enabled));
        }
        enabled & bit != 0
    }

    /// Writes a line to the log at level `debug`: see [`Context::log`].
    pub fn debug(&self, message: impl Display) {
        self.log(Level::Debug, message);
    }

    /// Writes a line to the log at level `info`: see [`Context::log`].
    pub fn info(&self, message: impl Display) {
        self.log(Level::Info, message);
    }

    /// Writes a line to the log at level `warn`: see [`Context::log`].
    pub fn warn(&self, message: impl Display) {
        self.log(Level::Warn, message);
    }

    /// Writes a line to the log at level `error`: see [`Context::log`].
    pub fn error(&self, message: impl Display) {
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

    /// Adds an observation to a histogram of the operator. It takes effect with the turn.
    pub fn observe(&mut self, metric: &'static str, value: f64) {
        self.observations.push((metric, value));
    }

    /// Forgets the last turn. `keys` are the distinct keys of this one.
    pub(crate) fn begin(&mut self, keys: Column) {
        self.keys = keys;
        self.attributes = None;
        self.asked_levels.set((0, 0));
        self.observations.clear();
        self.turn.take();
        self.config.take();
        self.counters.clear();
        self.gauges.clear();
    }

    /// Sets the attributes of the turn's records.
    pub(crate) fn set_attributes(&mut self, attributes: Option<Column>) {
        self.attributes = attributes;
    }

    /// Returns the bytes of the current key.
    #[inline]
    pub(crate) fn key_bytes(&self) -> &[u8] {
        column::value(&self.keys, self.cursor.key.get())
    }

    /// Hands the turn's metrics to the host.
    pub(crate) fn flush(&mut self) {
        for (name, by) in self.counters.drain(..) {
            self.cursor.host.metric_add(name, by);
        }
        for (name, value) in self.gauges.drain(..) {
            self.cursor.host.metric_set(name, value);
        }
        for (name, value) in self.observations.drain(..) {
            self.cursor.host.metric_observe(name, value);
        }
    }
}

/// Converts a timestamp of an item.
#[inline]
pub(crate) fn some_timestamp(timestamp: i64) -> Option<Timestamp> {
    (timestamp != NO_TIMESTAMP).then_some(Timestamp::from_millis(timestamp))
}
