//! Runs a function that windows call: a simple model of the host's window operator.
//!
//! Invariant: every window has all of its records, or an accumulator for each of its panes. A record that fails changes nothing.

use super::{Emitted, Harness, Items, Pushed, Windows, column_of, decode, timed};
use crate::bindings::cofferdam::function::types::{
    Column, Output, RecordValues, Timestamps, WindowBounds, Windows as WindowColumns,
};
use crate::bindings::exports::cofferdam::function::guest::FunctionKind;
use crate::bindings::exports::cofferdam::function::window::Elements;
use crate::codec::{Codec, Decode, Encode};
use crate::context::some_timestamp;
use crate::function::Function;
use crate::key::{EncodeKey, encoded};
use crate::turn_cursor::ItemStream;
use crate::{FunctionError, Timestamp, TwoInputs, column, kinds, times};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

/// Runs a function that windows call over the records that a test pushes: an [`AggregateFunction`](crate::AggregateFunction) or
/// [`ReduceFunction`](crate::ReduceFunction), a [`ProcessWindowFunction`](crate::ProcessWindowFunction), a
/// [`CoGroupFunction`](crate::CoGroupFunction) or a [`JoinFunction`](crate::JoinFunction).
///
/// Results are read with the methods of [`Harness`]. The states of a window have the key [`window_key`].
///
/// ```
/// # use cofferdam_sdk::prelude::*;
/// use cofferdam_sdk::testing::{WindowHarness, Windows};
/// # #[derive(Function)] struct Sum;
/// # #[function] impl ReduceFunction for Sum {
/// #     type In = Json<i64>;
/// #     fn reduce(&mut self, sum: i64, value: i64) -> Result<i64> { Ok(sum + value) }
/// # }
///
/// let second = Duration::from_secs(1);
/// let mut harness = WindowHarness::<Sum>::new(Windows::session(3 * second).allowed_lateness(second));
/// harness.push("a", 1, 0)?;
/// harness.push("a", 2, 1_000)?;
/// harness.advance_watermark(3_999)?;
/// harness.push("a", 4, 2_500)?;
/// harness.advance_watermark(5_499)?;
/// assert_eq!(harness.take_output()?, [3, 7]);
/// harness.advance_watermark(6_499)?;
/// harness.push("a", 9, 2_499)?;
/// assert_eq!(harness.take_late()?[0].value, 9);
/// # Ok::<(), FunctionError>(())
/// ```
pub struct WindowHarness<F> {
    harness: Harness<F>,
    windows: Windows,
    open: Vec<Open>,
    /// Number of records that have arrived.
    arrived: u64,
    /// The late records of each input.
    late: [Vec<Emitted<Vec<u8>>>; 2],
}

/// A kind of functions that windows call.
pub trait WindowKind {}

impl WindowKind for kinds::Aggregate {}
impl WindowKind for kinds::Reduce {}
impl WindowKind for kinds::ProcessWindow {}
impl WindowKind for kinds::CoGroup {}
impl WindowKind for kinds::Join {}

/// A window of a key that is not cleaned up yet.
#[derive(Clone, Serialize, Deserialize)]
struct Open {
    key: Vec<u8>,
    start: i64,
    end: i64,
    elements: Vec<Arrived>,
    /// The panes that have an accumulator.
    panes: BTreeSet<i64>,
    /// Number of records since the count trigger last fired.
    count: u64,
    /// Whether it fires at its end.
    waits: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct Arrived {
    /// Number of records that arrived before it.
    order: u64,
    input: usize,
    timestamp: i64,
    value: Vec<u8>,
}

impl Open {
    fn new(key: &[u8], (start, end): (i64, i64)) -> Open {
        Open { key: key.to_vec(), start, end, elements: Vec::new(), panes: BTreeSet::new(), count: 0, waits: false }
    }

    fn is_empty(&self) -> bool {
        self.elements.is_empty() && self.panes.is_empty()
    }

    /// Returns the key of the window's states.
    fn place(&self) -> Vec<u8> {
        window_key(&self.key, self.start, self.end)
    }

    /// Returns the timestamp of the window's results.
    fn last(&self) -> i64 {
        if self.end == i64::MAX { i64::MAX } else { self.end - 1 }
    }

    /// Returns the key of a pane's accumulator.
    fn pane_place(&self, pane: i64) -> Vec<u8> {
        [self.place(), pane.to_be_bytes().to_vec()].concat()
    }

    /// Returns the window in the form of the contract.
    fn column(&self) -> WindowColumns {
        let keys = column_of(std::slice::from_ref(&self.key));
        // A global window has no bounds.
        let is_global = (self.start, self.end) == (i64::MIN, i64::MAX);
        let bounds = WindowBounds { starts: vec![self.start], ends: vec![self.end] };
        WindowColumns { keys, key_of: vec![0], bounds: (!is_global).then_some(bounds) }
    }
}

/// Returns the key under which a [`WindowHarness`] stores the states of a window, for [`Harness::read_state`].
pub fn window_key(key: impl EncodeKey, start: impl Into<Timestamp>, end: impl Into<Timestamp>) -> Vec<u8> {
    let [start, end] = [start.into(), end.into()].map(|time| time.as_millis().to_be_bytes());
    [encoded(key).as_slice(), &start, &end].concat()
}

impl<F: Function<Kind: WindowKind>> WindowHarness<F> {
    /// A harness without records. The watermark is [`Timestamp::MIN`], and the wall clock is at 0.
    ///
    /// # Panics
    /// Panics for session windows if the function has states: windows that are merged cannot have states.
    pub fn new(windows: Windows) -> Self {
        WindowHarness::over(Harness::bare(), windows)
    }

    fn over(harness: Harness<F>, windows: Windows) -> Self {
        let has_states = !harness.description.states.is_empty() && !folds(&harness);
        assert!(!(has_states && windows.merge()), "session windows are merged, so they cannot have states");
        WindowHarness { harness, windows, open: Vec::new(), arrived: 0, late: Default::default() }
    }

    /// Sets a value of the operator's `config`.
    #[must_use]
    pub fn with_config(self, name: &str, value: &str) -> Self {
        self.harness.configure(name, value);
        self
    }

    /// Pushes one record, of the first input if there are two: its key, its value, and its event timestamp.
    ///
    /// # Errors
    /// Returns an error if the record has no timestamp and the windows are in event time, or if the function fails the record or a window
    /// that fires for it. The record changes nothing then.
    pub fn push<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F::In: Encode<V>,
    {
        self.push_input(0, Pushed::new::<F::In, V>(key, value, timestamp)?)
    }

    /// Pushes one record of the first of two inputs: the same as [`WindowHarness::push`].
    ///
    /// # Errors
    /// The same as of [`WindowHarness::push`].
    pub fn push_first<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F: TwoInputs,
        F::In: Encode<V>,
    {
        self.push(key, value, timestamp)
    }

    /// Pushes one record of the second input.
    ///
    /// # Errors
    /// The same as of [`WindowHarness::push`].
    pub fn push_second<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F: TwoInputs,
        F::Second: Encode<V>,
    {
        self.push_input(1, Pushed::new::<F::Second, V>(key, value, timestamp)?)
    }

    fn push_input(&mut self, input: usize, pushed: Pushed) -> Result<(), FunctionError> {
        let Pushed { key, value, timestamp, .. } = pushed;
        if !self.windows.processing {
            timed(timestamp)?;
        }
        let arrived = Arrived { order: self.arrived, input, timestamp, value };
        self.arrived += 1;
        self.all_or_nothing(|harness| harness.arrive(&key, arrived))
    }

    /// Advances the watermark and fires the windows whose end it reaches, in the order of their ends. Then drops the windows that are
    /// over.
    ///
    /// # Errors
    /// Returns the error if a window fails. That window and those after it fire with the next call, and the watermark has advanced.
    pub fn advance_watermark(&mut self, watermark: impl Into<Timestamp>) -> Result<(), FunctionError> {
        let watermark = watermark.into().as_millis();
        self.memory.with(|memory| memory.watermark = memory.watermark.max(watermark));
        if self.windows.processing { Ok(()) } else { self.advance() }
    }

    /// Advances the wall clock and fires windows of processing time, like [`WindowHarness::advance_watermark`] for event time.
    ///
    /// # Errors
    /// The same as of [`WindowHarness::advance_watermark`].
    pub fn advance_processing_time(&mut self, time: impl Into<Timestamp>) -> Result<(), FunctionError> {
        let time = time.into().as_millis();
        self.memory.with(|memory| memory.processing_time = memory.processing_time.max(time));
        if self.windows.processing { self.advance() } else { Ok(()) }
    }

    /// Takes the late records, with their timestamps and keys; of the first input if there are two.
    ///
    /// # Errors
    /// Returns an error if the codec cannot read what it wrote.
    pub fn take_late(&mut self) -> Result<Vec<Emitted<<F::In as Codec>::Owned>>, FunctionError> {
        decode::<F::In>(std::mem::take(&mut self.late[0]))
    }

    /// Takes the late records of the second input, with their timestamps and keys.
    ///
    /// # Errors
    /// Returns an error if the codec cannot read what it wrote.
    pub fn take_late_second(&mut self) -> Result<Vec<Emitted<<F::Second as Codec>::Owned>>, FunctionError>
    where
        F: TwoInputs,
        F::Second: Decode,
    {
        decode::<F::Second>(std::mem::take(&mut self.late[1]))
    }

    /// Returns the number of windows that are not cleaned up, of all keys.
    pub fn open_windows(&self) -> usize {
        self.open.len()
    }

    /// Returns everything that the next call can depend on, as bytes.
    ///
    /// # Panics
    /// Never: postcard can write every snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(&(self.save(), &self.open, self.arrived)).expect("a snapshot can be written")
    }

    /// Makes a harness from a snapshot, with the same windows. The function may be of another type: see [`Harness::restore`].
    ///
    /// # Errors
    /// The same as of [`Harness::restore`].
    pub fn restore(windows: Windows, bytes: &[u8]) -> Result<Self, FunctionError> {
        let (saved, open, arrived): (Vec<u8>, Vec<Open>, u64) = postcard::from_bytes(bytes)?;
        Ok(WindowHarness { open, arrived, ..WindowHarness::over(Harness::load(&saved)?, windows) })
    }

    /// Returns the time of the windows' clock.
    fn now(&self) -> i64 {
        self.memory.with(|memory| if self.windows.processing { memory.processing_time } else { memory.watermark })
    }

    fn all_or_nothing(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), FunctionError>,
    ) -> Result<(), FunctionError> {
        let (open, committed) = (self.open.clone(), self.memory.with(|memory| memory.before_turn()));
        let emitted: Vec<usize> = self.outputs.iter().map(Vec::len).collect();
        let result = step(self);
        if result.is_err() {
            self.open = open;
            self.memory.with(|memory| memory.roll_back(committed));
            self.outputs.iter_mut().zip(emitted).for_each(|(output, emitted)| output.truncate(emitted));
        }
        result
    }

    fn arrive(&mut self, key: &[u8], arrived: Arrived) -> Result<(), FunctionError> {
        let now = self.now();
        let time = if self.windows.processing { now } else { arrived.timestamp };
        let mut in_none = true;
        for window in self.windows.assign(time) {
            let Some(at) = self.open_window(key, window)? else { continue };
            in_none = false;
            self.put(at, &arrived, self.windows.pane(time))?;
            self.trigger(at)?;
        }
        if in_none && self.windows.is_late(time, now) {
            let Arrived { input, timestamp, value, .. } = arrived;
            let timestamp = some_timestamp(timestamp);
            self.late[input].push(Emitted { value, timestamp, key: Some(key.to_vec()), headers: Vec::new() });
        }
        Ok(())
    }

    /// Returns the position in `open` of the window that a record goes to, or `None` if that window is over.
    fn open_window(&mut self, key: &[u8], (start, end): (i64, i64)) -> Result<Option<usize>, FunctionError> {
        // The last millisecond of a window. A window that ends at `i64::MAX` contains that millisecond.
        let last = |end: i64| if end == i64::MAX { end } else { end - 1 };
        let joins = |open: &Open| match self.windows.merge() {
            true => open.start <= last(end) && start <= last(open.end),
            false => (open.start, open.end) == (start, end),
        };
        let (mut joined, others): (Vec<_>, Vec<_>) =
            self.open.iter().cloned().partition(|open| open.key == key && joins(open));
        joined.sort_by_key(|open| open.start);
        let start = joined.first().map_or(start, |first| first.start.min(start));
        let end = joined.iter().map(|open| open.end).fold(end, i64::max);
        let now = self.now();
        if self.windows.cleanup(end).is_some_and(|cleanup| cleanup <= now) {
            return Ok(None);
        }
        let grown = match &joined[..] {
            [open] if (open.start, open.end) == (start, end) => open.clone(),
            _ => self.grow(Open::new(key, (start, end)), &joined)?,
        };
        self.open = others;
        self.open.push(grown);
        Ok(Some(self.open.len() - 1))
    }

    /// Merges windows into a larger one.
    fn grow(&mut self, mut grown: Open, joined: &[Open]) -> Result<Open, FunctionError> {
        let mut accumulator: Option<Column> = None;
        for open in joined {
            grown.elements.extend(open.elements.iter().cloned());
            grown.count += open.count;
            if let Some(other) = self.accumulator(open)? {
                accumulator = Some(match accumulator {
                    Some(accumulator) => self.turn(&no_items(), |runner| runner.merge(accumulator, other))?,
                    None => other,
                });
            }
            self.forget(open);
        }
        grown.elements.sort_by_key(|element| element.order);
        grown.waits = !joined.is_empty() && self.now() < grown.end - 1;
        if let Some(accumulator) = accumulator {
            self.keep_accumulator(&mut grown, 0, &accumulator);
        }
        Ok(grown)
    }

    fn put(&mut self, at: usize, arrived: &Arrived, pane: i64) -> Result<(), FunctionError> {
        if !folds(&self.harness) {
            self.open[at].elements.push(arrived.clone());
            return Ok(());
        }
        let place = self.open[at].pane_place(pane);
        let held =
            self.memory.with(|memory| memory.committed.states.peek(0, &place, 0).next().map(|(_, b)| b.to_vec()));
        let (held, value) = (column_of(&[held.unwrap_or_default()]), column_of(std::slice::from_ref(&arrived.value)));
        let items = Items::keyless(ItemStream::FirstInput, vec![arrived.timestamp]);
        let (value, timestamps) = (RecordValues::Packed(value), times::to_contract(items.times.clone()));
        let added = self.turn(&items, |runner| runner.add(held, vec![0], value, timestamps))?;
        let mut open = self.open[at].clone();
        self.keep_accumulator(&mut open, pane, &added);
        self.open[at] = open;
        Ok(())
    }

    fn keep_accumulator(&mut self, open: &mut Open, pane: i64, accumulator: &Column) {
        open.panes.insert(pane);
        let place = (0, open.pane_place(pane));
        self.memory.with(|memory| memory.committed.states.put(place, &[], column::value(accumulator, 0), 0));
    }

    /// Merges the accumulators of a window's panes.
    fn accumulator(&mut self, open: &Open) -> Result<Option<Column>, FunctionError> {
        let mut accumulator: Option<Column> = None;
        for &pane in &open.panes {
            let held = self.memory.with(|memory| {
                let states = &memory.committed.states;
                states.peek(0, &open.pane_place(pane), 0).map(|(_, bytes)| bytes.to_vec()).collect::<Vec<_>>()
            });
            let held = column_of(&held);
            accumulator = Some(match accumulator {
                Some(accumulator) => self.turn(&no_items(), |runner| runner.merge(accumulator, held))?,
                None => held,
            });
        }
        Ok(accumulator)
    }

    /// Calls the trigger after a record was added to a window.
    fn trigger(&mut self, at: usize) -> Result<(), FunctionError> {
        let now = self.now();
        let open = &mut self.open[at];
        match self.windows.count {
            Some(count) => {
                open.count += 1;
                if open.count < count {
                    return Ok(());
                }
                open.count = 0;
            }
            None if now < open.end - 1 => {
                open.waits = true;
                return Ok(());
            }
            None => {}
        }
        self.fire(at)
    }

    fn advance(&mut self) -> Result<(), FunctionError> {
        let now = self.now();
        self.open.sort_by(|a, b| (a.end, &a.key, a.start).cmp(&(b.end, &b.key, b.start)));
        for at in 0..self.open.len() {
            let open = &self.open[at];
            if self.windows.count.is_none() && open.waits && open.end - 1 <= now {
                self.all_or_nothing(|harness| {
                    harness.open[at].waits = false;
                    harness.fire(at)
                })?;
            }
        }
        let is_over = |open: &Open| self.windows.cleanup(open.end).is_some_and(|cleanup| cleanup <= now);
        let (over, open): (Vec<_>, _) = self.open.iter().cloned().partition(is_over);
        self.open = open;
        over.iter().for_each(|open| self.forget(open));
        Ok(())
    }

    /// Calls the function for a window. A window without records does not fire.
    fn fire(&mut self, at: usize) -> Result<(), FunctionError> {
        let open = self.open[at].clone();
        if open.is_empty() {
            return Ok(());
        }
        let accumulator = self.accumulator(&open)?;
        let items = Items { keys: vec![open.place()], stream: ItemStream::Windows, times: vec![open.last()] };
        match accumulator {
            Some(accumulator) => self.emitting_turn(items, |runner| {
                let values = runner.finish(accumulator, open.column())?;
                let (timestamps, origins) = (Timestamps::Inherited, vec![0]);
                Ok(vec![Output { index: 0, values, timestamps, origins, keys: None, attributes: None }])
            })?,
            None => {
                let inputs = (0..self.description.inputs.len()).map(|input| elements(&open, input)).collect();
                self.emitting_turn(items, |runner| runner.process_windows(open.column(), inputs))?;
            }
        }
        if self.windows.purge {
            self.forget_accumulators(&open);
            self.open[at].elements.clear();
            self.open[at].panes.clear();
        }
        Ok(())
    }

    fn forget_accumulators(&mut self, open: &Open) {
        let places = open.panes.iter().map(|&pane| (0, open.pane_place(pane)));
        self.memory.with(|memory| places.for_each(|place| memory.committed.states.clear(&place)));
    }

    /// Removes all states of a window.
    fn forget(&mut self, open: &Open) {
        self.forget_accumulators(open);
        let states = 0..self.description.states.len() as u32;
        self.memory.with(|memory| states.for_each(|state| memory.committed.states.clear(&(state, open.place()))));
    }
}

/// Returns the elements of one input in a window.
fn elements(open: &Open, input: usize) -> Elements {
    let elements = || open.elements.iter().filter(|element| element.input == input);
    let values: Vec<_> = elements().map(|element| element.value.clone()).collect();
    let timestamps: Vec<_> = elements().map(|element| element.timestamp).collect();
    let ends = vec![timestamps.len() as u32];
    Elements { values: RecordValues::Packed(column_of(&values)), ends, timestamps: times::to_contract(timestamps) }
}

/// The items of a turn that only merges.
fn no_items() -> Items {
    Items::keyless(ItemStream::Windows, Vec::new())
}

fn folds<F>(harness: &Harness<F>) -> bool {
    harness.description.kind == FunctionKind::Aggregate
}

impl<F> Deref for WindowHarness<F> {
    type Target = Harness<F>;

    fn deref(&self) -> &Harness<F> {
        &self.harness
    }
}

impl<F> DerefMut for WindowHarness<F> {
    fn deref_mut(&mut self) -> &mut Harness<F> {
        &mut self.harness
    }
}
