//! The scenarios of Flink's own tests of windows, and some more: each by three functions (a native sum, an aggregate that declares
//! its accumulator, and one that sees all elements), which have to say the same.

use std::sync::Arc;

use super::*;
use crate::model::{Column, Fault, FaultCode, WindowElements, Windows};
use crate::operator::testing::{Harness, MakeOperator, Step, expect, play, play_everywhere, records, settings};
use crate::pipeline::{Aggregate, FaultPolicy, KeySelector, NumericAggregate, WindowAssigner};
use crate::turn::{OutputBatch, TurnFailure};

pub(super) const EVENT: TimeDomain = TimeDomain::Event;

/// Sums numbers in text, as an aggregate of a component or with all elements in hand.
struct Summing;

fn number(bytes: &[u8]) -> i64 {
    if bytes.is_empty() { 0 } else { std::str::from_utf8(bytes).unwrap().parse().unwrap() }
}

pub(super) fn result(windows: &Windows, index: usize, sum: impl std::fmt::Display) -> String {
    let key = std::str::from_utf8(windows.keys.distinct.value(windows.keys.key_of[index] as usize)).unwrap();
    format!("{key}={sum} [{},{})", windows.starts[index], windows.ends[index])
}

impl Guest for Summing {
    fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        panic!("no window function")
    }

    fn add(
        &mut self,
        _: &mut Turn,
        held: &Column,
        of: &[u32],
        values: &Column,
        _: &[i64],
    ) -> Result<Column, TurnFailure> {
        let mut sums: Vec<i64> = held.iter().map(number).collect();
        for (value, &at) in values.iter().zip(of) {
            if value == b"bad" {
                return Err(Fault::new(FaultCode::GuestError, "a bad record").into());
            }
            sums[at as usize] += number(value);
        }
        Ok(sums.iter().map(i64::to_string).collect())
    }

    fn merge(&mut self, _: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        Ok(left.iter().zip(right.iter()).map(|(left, right)| (number(left) + number(right)).to_string()).collect())
    }

    fn finish(&mut self, _: &mut Turn, held: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        let sums: Vec<i64> = held.iter().map(number).collect();
        if sums.contains(&-666) {
            return Err(Fault::new(FaultCode::GuestTrap, "a bad sum").into());
        }
        Ok(sums.iter().enumerate().map(|(index, sum)| result(windows, index, sum)).collect())
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
            let sum: i64 = (start..end).map(|at| number(inputs[0].values.value(at))).sum();
            batch.push(result(windows, index, sum).as_bytes(), last_of(windows, index));
            start = end;
        }
        Ok(vec![OutputBatch { index: 0, batch }])
    }
}

pub(super) fn last_of(windows: &Windows, index: usize) -> i64 {
    let (start, end) = (windows.starts[index], windows.ends[index]);
    span::Window { start, end }.max_timestamp()
}

/// A native sum, whose results are put as those of [`Summing`].
struct NativeSum(Box<dyn Guest>);

impl Guest for NativeSum {
    fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        panic!("no window function")
    }

    fn add(
        &mut self,
        turn: &mut Turn,
        held: &Column,
        of: &[u32],
        values: &Column,
        timestamps: &[i64],
    ) -> Result<Column, TurnFailure> {
        self.0.add(turn, held, of, values, timestamps)
    }

    fn merge(&mut self, turn: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        self.0.merge(turn, left, right)
    }

    fn finish(&mut self, turn: &mut Turn, held: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        let results = self.0.finish(turn, held, windows)?;
        let sum = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap()["sum"].to_string();
        Ok(results.iter().enumerate().map(|(index, json)| result(windows, index, sum(json))).collect())
    }
}

/// The functions that sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sums {
    Native,
    Guest,
    WindowElements,
}

pub(super) const ALL: [Sums; 3] = [Sums::Native, Sums::Guest, Sums::WindowElements];

fn sum_of_value() -> Aggregate {
    Aggregate::Numeric { function: NumericAggregate::Sum, field: KeySelector::Value }
}

pub(super) fn guest_of(sums: Sums) -> Box<dyn Guest> {
    match sums {
        Sums::Native => Box::new(NativeSum(native_aggregate(&sum_of_value(), Arc::new(|value, _| Some(value))))),
        Sums::Guest | Sums::WindowElements => Box::new(Summing),
    }
}

/// A window operator with a guest of the test's: how to make it, and its states. Late records go to output 1, dead letters to 2.
pub(super) fn operator(
    windows: &WindowSettings,
    function: WindowFunction,
    declared: StateLayout,
    guest: impl Fn() -> Box<dyn Guest> + 'static,
) -> (MakeOperator, StateLayout) {
    operator_with(windows, function, declared, guest, (FaultPolicy::Fail, true))
}

pub(super) fn operator_with(
    windows: &WindowSettings,
    function: WindowFunction,
    mut layout: StateLayout,
    guest: impl Fn() -> Box<dyn Guest> + 'static,
    (on_fault, emits_late_records): (FaultPolicy, bool),
) -> (MakeOperator, StateLayout) {
    layout.extend(window_states(windows, function == WindowFunction::Aggregate));
    let options = WindowOptions { windows: windows.clone(), function, emits_late_records };
    let make: MakeOperator = Arc::new(move |turn, clock| {
        let settings = settings(on_fault, 2, 1024, clock);
        Box::new(WindowOperator::new(guest(), turn, settings, options.clone(), Counters::default()).unwrap())
    });
    (make, layout)
}

pub(super) fn summing(windows: &WindowSettings, sums: Sums) -> (MakeOperator, StateLayout) {
    let accumulator = StateDescription::new("accumulator", StateKind::Aggregating, "raw", "sum");
    let (function, declared, aggregate) = match sums {
        Sums::Native => (WindowFunction::Aggregate, vec![], Some(sum_of_value())),
        Sums::Guest => (WindowFunction::Aggregate, vec![accumulator], None),
        Sums::WindowElements => (WindowFunction::ProcessWindow, vec![], None),
    };
    operator(&WindowSettings { aggregate, ..windows.clone() }, function, declared, move || guest_of(sums))
}

/// Plays a scenario with every function that sums, with one of them in every way.
pub(super) fn play_sums(windows: &WindowSettings, steps: &[Step]) {
    for sums in ALL {
        let (make, layout) = summing(windows, sums);
        match sums {
            Sums::Native => play(&make, &layout, steps),
            Sums::Guest | Sums::WindowElements => play_everywhere(&make, &layout, steps),
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

fn input_a() -> Step {
    records(&[
        ("key2", "1", 3999),
        ("key2", "1", 3000),
        ("key1", "1", 20),
        ("key1", "1", 0),
        ("key1", "1", 999),
        ("key2", "1", 1998),
        ("key2", "1", 1999),
        ("key2", "1", 1000),
    ])
}

#[test]
fn scenario_1_tumbling() {
    let steps = [
        input_a(),
        Step::Watermark(999),
        expect(&[]),
        Step::Watermark(1999),
        expect(&[]),
        Step::Restore,
        Step::Watermark(2999),
        expect(&[("key1=3 [0,3000)", 2999), ("key2=3 [0,3000)", 2999)]),
        Step::Watermark(3999),
        expect(&[]),
        Step::Watermark(5999),
        expect(&[("key2=2 [3000,6000)", 5999)]),
        Step::Watermark(6999),
        expect(&[]),
        Step::Watermark(7999),
        expect(&[]),
    ];
    play_sums(&tumbling(3000), &steps);
}

#[test]
fn scenario_2_sliding() {
    let steps = [
        input_a(),
        Step::Watermark(999),
        expect(&[("key1=3 [-2000,1000)", 999)]),
        Step::Watermark(1999),
        expect(&[("key1=3 [-1000,2000)", 1999), ("key2=3 [-1000,2000)", 1999)]),
        Step::Watermark(2999),
        expect(&[("key1=3 [0,3000)", 2999), ("key2=3 [0,3000)", 2999)]),
        Step::Restore,
        Step::Watermark(3999),
        expect(&[("key2=5 [1000,4000)", 3999)]),
        Step::Watermark(4999),
        expect(&[("key2=2 [2000,5000)", 4999)]),
        Step::Watermark(5999),
        expect(&[("key2=2 [3000,6000)", 5999)]),
        Step::Watermark(7999),
        expect(&[]),
    ];
    play_sums(&sliding(3000, 1000), &steps);
}

#[test]
fn scenario_3_sessions() {
    let steps = [
        records(&[("key2", "1", 0), ("key2", "2", 1000), ("key2", "3", 2500), ("key1", "1", 10), ("key1", "2", 1000)]),
        Step::Restore,
        records(&[
            ("key1", "3", 2500),
            ("key2", "4", 5501),
            ("key2", "5", 6000),
            ("key2", "5", 6000),
            ("key2", "6", 6050),
        ]),
        Step::Watermark(12_000),
        expect(&[("key1=6 [10,5500)", 5499), ("key2=6 [0,5500)", 5499), ("key2=20 [5501,9050)", 9049)]),
        records(&[("key2", "10", 15_000), ("key2", "20", 15_000)]),
        Step::Watermark(17_999),
        expect(&[("key2=30 [15000,18000)", 17_999)]),
    ];
    play_sums(&session(3000), &steps);
}

#[test]
fn scenario_4_processing_time() {
    let one = |key| (key, "1", i64::MAX);
    let windows = WindowSettings::new(WindowAssigner::Tumbling { size_ms: 3000, offset_ms: 0 }, TimeDomain::Processing);
    let steps = [
        Step::Clock(3),
        records(&[one("key2"), one("key2"), one("key2"), one("key1"), one("key1")]),
        Step::Clock(5000),
        expect(&[("key1=2 [0,3000)", 2999), ("key2=3 [0,3000)", 2999)]),
        records(&[one("key1"), one("key1"), one("key1")]),
        Step::Clock(7000),
        expect(&[("key1=3 [3000,6000)", 5999)]),
    ];
    play_sums(&windows, &steps);
}

/// What windows held goes with them: nothing is left in the backend once the last cleanup is over but the watermark.
#[test]
fn nothing_stays_of_windows_that_are_over() {
    for windows in [tumbling(3000), sliding(3000, 1000), session(3000)] {
        for sums in ALL {
            let (make, layout) = summing(&windows, sums);
            let mut harness = Harness::new(make, layout, crate::pipeline::StateBackendKind::Memory, 1);
            let Step::Records(_, all) = input_a() else { unreachable!() };
            harness.records(0, &all);
            assert!(harness.entries() > 0);
            harness.watermark(100_000);
            assert_eq!(harness.entries(), 0, "{windows:?} {sums:?}");
        }
    }
}
