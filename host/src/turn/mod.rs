//! A turn: one guest call and everything it asked for.
//!
//! Invariant: nothing that a guest asks for reaches the state backend before [`Turn::commit`]; [`Turn::abort`] leaves no
//! trace but log lines. The sandbox reaches keyed state through a turn only; it never sees the backend.

mod staged;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use staged::{Staged, StagedChange};

use crate::error::Error;
use crate::model::{Batch, Column, Fault, Keys, NO_TIMESTAMP};
use crate::state::{Change, Entries, StateBackend, StateId, StateKind, StateLayout, Write, list};

/// Metric names that one operator may have.
pub const METRIC_NAMES_MAX: usize = 64;
/// Log lines that one turn may write; further ones are counted and dropped.
pub const LOG_LINES_MAX: usize = 1024;
/// Bytes of one log line or panic message; the rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;

/// Bytes that one turn may write where nobody says otherwise.
const WRITE_BYTES_MAX: usize = 16 << 20;

/// What runs turns: a guest in the sandbox, or (in tests and benchmarks) a native function.
pub trait Guest: Send {
    /// Handles a batch within `turn`. On success the outputs wait for the caller to commit; after a failure the caller
    /// aborts the turn, and the next call finds a guest that remembers nothing.
    fn process(&mut self, turn: &mut Turn, batch: &Batch) -> Result<Vec<Output>, Failure>;
}

/// Records for one of a function's outputs: 0 is the main one, then its side outputs.
#[derive(Debug)]
pub struct Output {
    pub index: usize,
    pub batch: Batch,
}

/// Why a turn did not succeed: because of the guest, or because of us.
#[derive(Debug)]
pub enum Failure {
    Fault(Fault),
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::Fault(fault)
    }
}

/// Why a host function refused a guest's call.
#[derive(Debug)]
pub enum Refusal {
    /// The arguments make no sense: the fault `invalid-call`.
    InvalidCall(String),
    /// The turn writes more than its limit: the fault `output-exceeded`.
    TooMuch { limit: usize },
    /// The state backend failed.
    Error(Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::InvalidCall(message) => f.write_str(message),
            Refusal::TooMuch { limit } => write!(f, "the turn writes more than {limit} bytes of state and metrics"),
            Refusal::Error(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Error(error)
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::InvalidCall(message.into())
}

/// Severity of a guest's log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// A line that a guest wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub level: LogLevel,
    pub message: String,
    /// Index in the batch of the record that it is about.
    pub record: Option<u32>,
}

/// Where and when turns take place.
#[derive(Clone, Debug)]
pub struct TurnContext {
    pub operator: String,
    pub subtask: u32,
    pub parallelism: u32,
    /// Milliseconds since the Unix epoch; [`NO_TIMESTAMP`] before there is any.
    pub watermark: i64,
    /// Milliseconds since the Unix epoch, at the start of the turn.
    pub processing_time: i64,
    pub seed: u64,
    pub config: Arc<BTreeMap<String, String>>,
}

impl Default for TurnContext {
    fn default() -> Self {
        TurnContext {
            operator: String::new(),
            subtask: 0,
            parallelism: 1,
            watermark: NO_TIMESTAMP,
            processing_time: 0,
            seed: 0,
            config: Arc::default(),
        }
    }
}

/// A change of a function's own metric.
#[derive(Clone, Copy, Debug, PartialEq)]
enum MetricChange {
    Add(u64),
    Set(f64),
}

/// See the module. Used again for every turn of a subtask, so that its buffers stay.
#[derive(Default)]
pub struct Turn {
    pub context: TurnContext,
    backend: Option<Box<dyn StateBackend>>,
    layout: StateLayout,
    keys: Arc<Keys>,
    staged: Vec<Staged>,
    /// Bytes that this turn may still stage.
    budget: usize,
    write_bytes_max: usize,
    staged_metrics: Vec<(String, MetricChange)>,
    metrics: BTreeMap<String, f64>,
    log: Vec<LogLine>,
    panic: Option<String>,
}

impl Turn {
    /// A turn of a function without keyed state.
    pub fn stateless(context: TurnContext) -> Turn {
        Turn { context, write_bytes_max: WRITE_BYTES_MAX, ..Turn::default() }
    }

    /// A turn over a backend that keeps the states of `layout`.
    pub fn stateful(context: TurnContext, layout: StateLayout, backend: Box<dyn StateBackend>) -> Turn {
        let staged = layout.iter().map(|_| Staged::default()).collect();
        Turn { context, backend: Some(backend), layout, staged, write_bytes_max: WRITE_BYTES_MAX, ..Turn::default() }
    }

    /// Bounds what one turn may write to state and metrics, in bytes.
    pub fn limit_writes(&mut self, bytes: usize) {
        self.write_bytes_max = bytes;
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        // A fixed part for each write, so that empty ones cannot be had without end.
        match self.budget.checked_sub(bytes.saturating_add(16)) {
            Some(left) => self.budget = left,
            None => return Err(Refusal::TooMuch { limit: self.write_bytes_max }),
        }
        Ok(())
    }

    /// Begins a turn over a batch with these keys.
    pub fn begin(&mut self, keys: Option<&Arc<Keys>>, watermark: i64, processing_time: i64) {
        self.abort();
        self.log.clear();
        self.budget = self.write_bytes_max;
        self.keys = keys.cloned().unwrap_or_default();
        self.context.watermark = watermark;
        self.context.processing_time = processing_time;
    }

    /// Makes the state writes and metrics take effect. After an error the backend may hold none of them or all, so the
    /// subtask must not go on with it.
    pub fn commit(&mut self) -> Result<(), Error> {
        if let Some(backend) = self.backend.as_mut() {
            let keys = &self.keys;
            let mut writes = self.staged.iter().enumerate().flat_map(|(state, staged)| {
                staged.touched.iter().filter_map(move |&key| {
                    let (change, bytes) = staged.get(key as usize);
                    let change = match change {
                        StagedChange::None => return None,
                        StagedChange::Put => Change::Put(bytes),
                        StagedChange::Append => Change::Append(bytes),
                        StagedChange::Delete => Change::Delete,
                    };
                    let key = key as usize;
                    Some(Write {
                        sub_key: &[],
                        state: state as StateId,
                        group: keys.groups[key],
                        key: keys.distinct.value(key),
                        change,
                    })
                })
            });
            backend.apply(&mut writes)?;
        }
        for (name, change) in std::mem::take(&mut self.staged_metrics) {
            let metric = self.metrics.entry(name).or_insert(0.0);
            match change {
                MetricChange::Add(value) => *metric += value as f64,
                MetricChange::Set(value) => *metric = value,
            }
        }
        self.staged.iter_mut().for_each(Staged::reset);
        Ok(())
    }

    /// Forgets what the guest asked for. Log lines stay until the next turn begins.
    pub fn abort(&mut self) {
        self.staged.iter_mut().for_each(Staged::reset);
        self.staged_metrics.clear();
        self.panic = None;
    }

    /// The backend, for snapshots; None for a function without keyed state.
    pub fn backend(&mut self) -> Option<&mut (dyn StateBackend + 'static)> {
        self.backend.as_deref_mut()
    }

    /// The states of the operator.
    pub fn layout(&self) -> &StateLayout {
        &self.layout
    }

    /// The function's own metrics, as committed.
    pub fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.metrics
    }

    /// The lines that this turn wrote, whether it succeeded or not.
    pub fn log_lines(&self) -> &[LogLine] {
        &self.log
    }

    /// The last words of a guest that panicked.
    pub fn take_panic(&mut self) -> Option<String> {
        self.panic.take()
    }

    fn check_state(&self, state: u32, kind: StateKind) -> Result<StateId, Refusal> {
        match self.layout.get(state as usize) {
            Some(description) if description.kind == kind => Ok(state as StateId),
            Some(description) => {
                Err(invalid(format!("state `{}` is a {:?}, not a {kind:?}", description.name, description.kind)))
            }
            None => Err(invalid(format!("there is no state {state}: the function declares {}", self.layout.len()))),
        }
    }

    fn check_key(&self, key: u32) -> Result<(), Refusal> {
        if (key as usize) < self.keys.distinct.len() {
            return Ok(());
        }
        Err(invalid(format!("there is no key {key}: this turn has {}", self.keys.distinct.len())))
    }

    fn check_keys(&self, keys: &[u32], with: usize) -> Result<(), Refusal> {
        if keys.len() != with {
            return Err(invalid(format!("{} keys with {with} values", keys.len())));
        }
        keys.iter().try_for_each(|&key| self.check_key(key))
    }

    fn load(&mut self, state: StateId) -> Result<Entries, Refusal> {
        let backend = self.backend.as_mut().ok_or_else(|| invalid("the operator has no keyed state"))?;
        let entries = backend.load(state, &self.keys)?;
        let staged = &self.staged[state as usize];
        if staged.touched.is_empty() {
            return Ok(entries);
        }
        let mut merged =
            Entries { present: entries.present.clone(), values: Column::with_capacity(entries.values.len(), 0) };
        for (key, value) in entries.values.iter().enumerate() {
            match staged.get(key) {
                (StagedChange::None, _) => merged.values.push(value),
                (StagedChange::Put, bytes) => {
                    merged.values.push(bytes);
                    merged.present[key] = true;
                }
                (StagedChange::Append, bytes) => {
                    merged.values.push_with(|buffer| {
                        buffer.extend_from_slice(value);
                        buffer.extend_from_slice(bytes);
                    });
                    merged.present[key] = true;
                }
                (StagedChange::Delete, _) => {
                    merged.values.push(&[]);
                    merged.present[key] = false;
                }
            }
        }
        Ok(merged)
    }

    /// The bytes of one key's entry.
    fn load_one(&mut self, state: StateId, key: u32) -> Result<Option<Vec<u8>>, Refusal> {
        self.check_key(key)?;
        let at = key as usize;
        let (change, staged) =
            self.staged.get(state as usize).map_or((StagedChange::None, &[][..]), |staged| staged.get(at));
        match change {
            StagedChange::Put => return Ok(Some(staged.to_vec())),
            StagedChange::Delete => return Ok(None),
            StagedChange::None | StagedChange::Append => {}
        }
        let appended = staged.to_vec();
        let mut one = Keys { groups: vec![self.keys.groups[at]], key_of: vec![0], ..Keys::default() };
        one.distinct.push(self.keys.distinct.value(at));
        let backend = self.backend.as_mut().ok_or_else(|| invalid("the operator has no keyed state"))?;
        let entries = backend.load(state, &one)?;
        if !entries.present.first().copied().unwrap_or(false) && change == StagedChange::None {
            return Ok(None);
        }
        let mut bytes = entries.values.iter().next().unwrap_or(&[]).to_vec();
        bytes.extend_from_slice(&appended);
        Ok(Some(bytes))
    }

    /// `state.value-load`.
    pub fn value_load(&mut self, state: u32) -> Result<Entries, Refusal> {
        let state = self.check_state(state, StateKind::Value)?;
        self.load(state)
    }

    /// `state.value-store`.
    pub fn value_store(&mut self, state: u32, keys: &[u32], values: &Column) -> Result<(), Refusal> {
        let state = self.check_state(state, StateKind::Value)?;
        self.check_keys(keys, values.len())?;
        self.charge(values.bytes().len() + 16 * keys.len())?;
        let staged = &mut self.staged[state as usize];
        keys.iter().zip(values.iter()).for_each(|(&key, value)| staged.put(key, value));
        Ok(())
    }

    /// `state.value-clear`.
    pub fn value_clear(&mut self, state: u32, keys: &[u32]) -> Result<(), Refusal> {
        let state = self.check_state(state, StateKind::Value)?;
        self.check_keys(keys, keys.len())?;
        keys.iter().for_each(|&key| self.staged[state as usize].delete(key));
        Ok(())
    }

    /// `state.value-get`.
    pub fn value_get(&mut self, state: u32, key: u32) -> Result<Option<Vec<u8>>, Refusal> {
        let state = self.check_state(state, StateKind::Value)?;
        self.load_one(state, key)
    }

    /// `state.value-set`.
    pub fn value_set(&mut self, state: u32, key: u32, value: &[u8]) -> Result<(), Refusal> {
        let state = self.check_state(state, StateKind::Value)?;
        self.check_key(key)?;
        self.charge(value.len())?;
        self.staged[state as usize].put(key, value);
        Ok(())
    }

    /// `state.list-load`: all elements, and for each key the index behind its last one.
    pub fn list_load(&mut self, state: u32) -> Result<(Column, Vec<u32>), Refusal> {
        let state = self.check_state(state, StateKind::List)?;
        let entries = self.load(state)?;
        let mut elements = Column::with_capacity(entries.values.len() * 2, entries.values.bytes().len());
        let mut ends = Vec::with_capacity(entries.values.len());
        for encoded in entries.values.iter() {
            list::decode(encoded, &mut elements)?;
            ends.push(elements.len() as u32);
        }
        Ok((elements, ends))
    }

    /// `state.list-append`.
    pub fn list_append(&mut self, state: u32, keys: &[u32], elements: &Column) -> Result<(), Refusal> {
        let state = self.check_state(state, StateKind::List)?;
        self.check_keys(keys, elements.len())?;
        self.charge(elements.bytes().len() + 16 * keys.len())?;
        let staged = &mut self.staged[state as usize];
        keys.iter().zip(elements.iter()).for_each(|(&key, element)| list::push_element(staged.append(key), element));
        Ok(())
    }

    /// `state.list-replace`.
    pub fn list_replace(&mut self, state: u32, keys: &[u32], elements: &Column, ends: &[u32]) -> Result<(), Refusal> {
        let id = self.check_state(state, StateKind::List)?;
        self.check_keys(keys, ends.len())?;
        if !ends.is_sorted() || ends.last().copied().unwrap_or(0) as usize != elements.len() {
            return Err(invalid("the ends of the lists do not fit their elements"));
        }
        self.charge(elements.bytes().len() + 4 * elements.len() + 16 * keys.len())?;
        let staged = &mut self.staged[id as usize];
        let mut start = 0;
        for (&key, &end) in keys.iter().zip(ends) {
            replace_list(staged, key, (start..end).map(|index| elements.value(index as usize)));
            start = end;
        }
        Ok(())
    }

    /// `state.list-get`.
    pub fn list_get(&mut self, state: u32, key: u32) -> Result<Column, Refusal> {
        let state = self.check_state(state, StateKind::List)?;
        let mut elements = Column::new();
        if let Some(encoded) = self.load_one(state, key)? {
            list::decode(&encoded, &mut elements)?;
        }
        Ok(elements)
    }

    /// `state.list-add`.
    pub fn list_add(&mut self, state: u32, key: u32, element: &[u8]) -> Result<(), Refusal> {
        let state = self.check_state(state, StateKind::List)?;
        self.check_key(key)?;
        self.charge(element.len())?;
        list::push_element(self.staged[state as usize].append(key), element);
        Ok(())
    }

    /// `state.list-set`.
    pub fn list_set(&mut self, state: u32, key: u32, elements: &Column) -> Result<(), Refusal> {
        let state = self.check_state(state, StateKind::List)?;
        self.check_key(key)?;
        self.charge(elements.bytes().len() + 4 * elements.len())?;
        replace_list(&mut self.staged[state as usize], key, elements.iter());
        Ok(())
    }

    /// `metrics.add` and `metrics.set`.
    pub fn metric_add(&mut self, name: String, value: u64) -> Result<(), Refusal> {
        self.stage_metric(name, MetricChange::Add(value))
    }

    /// See [`Turn::metric_add`].
    pub fn metric_set(&mut self, name: String, value: f64) -> Result<(), Refusal> {
        if !value.is_finite() {
            // JSON has no such number, and the job's record is JSON.
            self.log(LogLevel::Warn, format!("metric `{}` not set: {value} is no finite number", cut(name)), None);
            return Ok(());
        }
        self.stage_metric(name, MetricChange::Set(value))
    }

    fn stage_metric(&mut self, name: String, change: MetricChange) -> Result<(), Refusal> {
        self.charge(name.len())?;
        let name = cut(name);
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
            self.log.push(LogLine { level, message: cut(message), record });
        }
    }

    /// `log.panic`.
    pub fn note_panic(&mut self, message: String, record: Option<u32>) {
        let message = cut(message);
        self.log(LogLevel::Error, message.clone(), record);
        self.panic = Some(message);
    }
}

fn replace_list<'a>(staged: &mut Staged, key: u32, elements: impl Iterator<Item = &'a [u8]>) {
    staged.delete(key);
    for element in elements {
        list::push_element(staged.append(key), element);
    }
}

/// A guest's text as the host keeps and shows it: cut at [`LOG_LINE_BYTES_MAX`], and without the control characters that
/// would steer a terminal. Line breaks stay.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > LOG_LINE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(LOG_LINE_BYTES_MAX));
        text.push('…');
    }
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(steers) {
        text = text.replace(steers, "\u{fffd}");
    }
    text
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
