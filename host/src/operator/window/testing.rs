//! Window operators for tests: functions that sum or list the elements of windows, and window settings.

use std::sync::Arc;

use super::definition::{WindowFunction, WindowOptions, window_states};
use super::native_aggregate::{AggregateKey, FieldExtractor, NativeAggregate};
use super::time_window::TimeWindow;
use super::window_operator::WindowOperator;
use crate::model::row::{RowSchema, write_json};
use crate::model::{Batch, Column, Counters, Fault, FaultCode, TimeDomain, WindowElements, Windows};
use crate::operator::testing::{OperatorFactory, OperatorStep, function_settings, play, play_rescaled};
use crate::pipeline::{Aggregate, FaultPolicy, KeySelector, NumericAggregate, WindowAssigner, WindowSettings};
use crate::state::{StateDescription, StateKind, StateLayout};
use crate::turn::{Guest, OutputBatch, OutputId, Turn, TurnFailure};

pub(super) const EVENT: TimeDomain = TimeDomain::Event;

/// A function that sums numbers in text: as an aggregate, or over all elements.
struct SumFunction;

fn number(bytes: &[u8]) -> i64 {
    if bytes.is_empty() { 0 } else { std::str::from_utf8(bytes).unwrap().parse().unwrap() }
}

/// The result of a window: `key=value [start,end)`.
pub(super) fn result_text(windows: &Windows, index: usize, value: impl std::fmt::Display) -> String {
    let key = std::str::from_utf8(windows.keys.distinct.value(windows.keys.key_of[index] as usize)).unwrap();
    format!("{key}={value} [{},{})", windows.starts[index], windows.ends[index])
}

/// The last millisecond of a window.
pub(super) fn max_timestamp(windows: &Windows, index: usize) -> i64 {
    let (start, end) = (windows.starts[index], windows.ends[index]);
    TimeWindow { start, end }.max_timestamp()
}

impl Guest for SumFunction {
    fn add(
        &mut self,
        _: &mut Turn,
        accumulators: &Column,
        accumulator_of: &[u32],
        values: &Column,
        _: &[i64],
    ) -> Result<Column, TurnFailure> {
        let mut sums: Vec<i64> = accumulators.iter().map(number).collect();
        for (value, &accumulator) in values.iter().zip(accumulator_of) {
            if value == b"bad" {
                return Err(Fault::new(FaultCode::GuestError, "a bad record").into());
            }
            sums[accumulator as usize] += number(value);
        }
        Ok(sums.iter().map(i64::to_string).collect())
    }

    fn merge(&mut self, _: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        Ok(left.iter().zip(right.iter()).map(|(left, right)| (number(left) + number(right)).to_string()).collect())
    }

    fn finish(&mut self, _: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        let sums: Vec<i64> = accumulators.iter().map(number).collect();
        if sums.contains(&-666) {
            return Err(Fault::new(FaultCode::GuestTrap, "a bad sum").into());
        }
        Ok(sums.iter().enumerate().map(|(index, sum)| result_text(windows, index, sum)).collect())
    }

    fn process_windows(
        &mut self,
        _: &mut Turn,
        windows: &Windows,
        inputs: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let (mut batch, mut start) = (Batch::default(), 0);
        for index in 0..windows.len() {
            let end = inputs[0].ends[index] as usize;
            let sum: i64 = (start..end).map(|element| number(inputs[0].values.value(element))).sum();
            batch.push(result_text(windows, index, sum).as_bytes(), max_timestamp(windows, index));
            start = end;
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch }])
    }
}

/// A native aggregate, whose results are JSON with the bounds of windows in milliseconds.
pub(super) struct JsonResults {
    guest: Box<dyn Guest>,
    schema: RowSchema,
}

impl JsonResults {
    pub(super) fn new(aggregate: &NativeAggregate) -> JsonResults {
        JsonResults { guest: aggregate.guest(), schema: aggregate.result_schema().unwrap() }
    }

    /// An aggregate of records that are a number each.
    pub(super) fn of_values(aggregate: &Aggregate) -> Box<dyn Guest> {
        let extract: FieldExtractor = Arc::new(|value, _| Some(value));
        Box::new(JsonResults::new(&NativeAggregate::of_text(aggregate, extract, AggregateKey::Untyped, true)))
    }

    fn json(&self, row: &[u8]) -> serde_json::Value {
        let mut json = Vec::new();
        write_json(&self.schema, row, &mut json).unwrap();
        let mut result: serde_json::Value = serde_json::from_slice(&json).unwrap();
        for bound in ["start", "end"] {
            if let Some(text) = result.get(bound).and_then(serde_json::Value::as_str) {
                result[bound] = text.parse::<jiff::Timestamp>().unwrap().as_millisecond().into();
            }
        }
        if result.get("start") == Some(&i64::MIN.into()) {
            result.as_object_mut().unwrap().retain(|name, _| name != "start" && name != "end");
        }
        result
    }
}

impl Guest for JsonResults {
    fn add(
        &mut self,
        turn: &mut Turn,
        accumulators: &Column,
        accumulator_of: &[u32],
        values: &Column,
        timestamps: &[i64],
    ) -> Result<Column, TurnFailure> {
        self.guest.add(turn, accumulators, accumulator_of, values, timestamps)
    }

    fn merge(&mut self, turn: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        self.guest.merge(turn, left, right)
    }

    fn finish(&mut self, turn: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        let results = self.guest.finish(turn, accumulators, windows)?;
        Ok(results.iter().map(|row| self.json(row).to_string()).collect())
    }
}

/// A native sum, whose results have the same form as those of [`SumFunction`].
struct NativeSum(Box<dyn Guest>);

impl Guest for NativeSum {
    fn add(
        &mut self,
        turn: &mut Turn,
        accumulators: &Column,
        accumulator_of: &[u32],
        values: &Column,
        timestamps: &[i64],
    ) -> Result<Column, TurnFailure> {
        self.0.add(turn, accumulators, accumulator_of, values, timestamps)
    }

    fn merge(&mut self, turn: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        self.0.merge(turn, left, right)
    }

    fn finish(&mut self, turn: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        let results = self.0.finish(turn, accumulators, windows)?;
        let sum = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap()["sum"].to_string();
        Ok(results.iter().enumerate().map(|(index, json)| result_text(windows, index, sum(json))).collect())
    }
}

/// A function that lists the elements of each window, separated by spaces.
pub(super) struct ListFunction;

impl Guest for ListFunction {
    fn process_windows(
        &mut self,
        _: &mut Turn,
        windows: &Windows,
        inputs: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let (mut batch, mut start) = (Batch::default(), 0);
        for index in 0..windows.len() {
            let end = inputs[0].ends[index] as usize;
            let text = |element| String::from_utf8_lossy(inputs[0].values.value(element)).into_owned();
            let all = (start..end).map(text).collect::<Vec<_>>().join(" ");
            batch.push(result_text(windows, index, all).as_bytes(), max_timestamp(windows, index));
            start = end;
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch }])
    }
}

/// The functions that sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SumVariant {
    /// A native aggregate.
    Native,
    /// An aggregate that declares its accumulator.
    Aggregate,
    /// A function that sees all elements.
    AllElements,
}

pub(super) const SUM_VARIANTS: [SumVariant; 3] = [SumVariant::Native, SumVariant::Aggregate, SumVariant::AllElements];

fn sum_of_value() -> Aggregate {
    Aggregate::Numeric { function: NumericAggregate::Sum, field: KeySelector::Value }
}

pub(super) fn sum_guest(variant: SumVariant) -> Box<dyn Guest> {
    match variant {
        SumVariant::Native => Box::new(NativeSum(JsonResults::of_values(&sum_of_value()))),
        SumVariant::Aggregate | SumVariant::AllElements => Box::new(SumFunction),
    }
}

/// The state that an aggregate declares for its accumulator.
pub(super) fn accumulator_state() -> StateDescription {
    StateDescription::new("accumulator", StateKind::Aggregating, "raw", "sum")
}

/// The factory and the states of a window operator that runs the given guest. Late records go to output 1, dead letters to output 2.
pub(super) fn window_operator(
    windows: &WindowSettings,
    function: WindowFunction,
    declared: StateLayout,
    guest: impl Fn() -> Box<dyn Guest> + 'static,
) -> (OperatorFactory, StateLayout) {
    window_operator_with(windows, function, declared, guest, (FaultPolicy::Fail, true))
}

pub(super) fn window_operator_with(
    windows: &WindowSettings,
    function: WindowFunction,
    mut layout: StateLayout,
    guest: impl Fn() -> Box<dyn Guest> + 'static,
    (on_fault, emits_late_records): (FaultPolicy, bool),
) -> (OperatorFactory, StateLayout) {
    layout.extend(window_states(windows, function == WindowFunction::Aggregate, &[]));
    let options = WindowOptions { windows: windows.clone(), function, emits_late_records, results: None };
    let make: OperatorFactory = Arc::new(move |turn, clock| {
        let settings = function_settings(on_fault, 1024, clock);
        Box::new(WindowOperator::new(guest(), turn, settings, options.clone(), Counters::default()).unwrap())
    });
    (make, layout)
}

/// A window operator whose function sums.
pub(super) fn sum_operator(windows: &WindowSettings, variant: SumVariant) -> (OperatorFactory, StateLayout) {
    let (function, declared, aggregate) = match variant {
        SumVariant::Native => (WindowFunction::Aggregate, vec![], Some(sum_of_value())),
        SumVariant::Aggregate => (WindowFunction::Aggregate, vec![accumulator_state()], None),
        SumVariant::AllElements => (WindowFunction::ProcessWindow, vec![], None),
    };
    window_operator(&WindowSettings { aggregate, ..windows.clone() }, function, declared, move || sum_guest(variant))
}

/// Plays a scenario with every function that sums: the native one with all schedules of restores, the others with one.
pub(super) fn play_sums(windows: &WindowSettings, steps: &[OperatorStep]) {
    for variant in SUM_VARIANTS {
        let (make, layout) = sum_operator(windows, variant);
        match variant {
            SumVariant::Native => play(&make, &layout, steps),
            SumVariant::Aggregate | SumVariant::AllElements => play_rescaled(&make, &layout, steps),
        }
    }
}

pub(super) fn tumbling(size_ms: i64) -> WindowSettings {
    WindowSettings::new(WindowAssigner::Tumbling { size_ms, offset_ms: 0 }, EVENT)
}

pub(super) fn sliding(size_ms: i64, slide_ms: i64) -> WindowSettings {
    WindowSettings::new(WindowAssigner::Sliding { size_ms, slide_ms, offset_ms: 0 }, EVENT)
}

pub(super) fn session(gap_ms: i64) -> WindowSettings {
    WindowSettings::new(WindowAssigner::Session { gap_ms }, EVENT)
}

/// Records with owned keys and values.
pub(super) fn owned(records: &[(&str, &str, i64)]) -> Vec<(String, String, i64)> {
    records.iter().map(|(key, value, at)| ((*key).into(), (*value).into(), *at)).collect()
}
