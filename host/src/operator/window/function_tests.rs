//! What windows do with their function: two inputs, states of a window, faults, records without a time.

use std::sync::Arc;

use super::scenario_tests::*;
use super::*;
use crate::model::{Column, NO_TIMESTAMP, WindowElements, Windows};
use crate::operator::testing::{Harness, Step, expect, of_input, play, records};
use crate::pipeline::{FaultPolicy, StateBackendKind, WindowAssigner, WindowTrigger};
use crate::turn::{OutputBatch, TurnFailure};

/// Puts side by side what came by each input, in order.
struct CoGrouping;

impl Guest for CoGrouping {
    fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        panic!("no window function")
    }

    fn process_windows(
        &mut self,
        _: &mut Turn,
        windows: &Windows,
        inputs: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut batch = Batch::default();
        for index in 0..windows.len() {
            let of = |elements: &WindowElements| {
                let start = if index == 0 { 0 } else { elements.ends[index - 1] } as usize;
                let values = (start..elements.ends[index] as usize).map(|at| elements.values.value(at));
                values.map(|value| String::from_utf8(value.to_vec()).unwrap()).collect::<Vec<_>>().join("")
            };
            let sides = format!("{}|{}", of(&inputs[0]), of(&inputs[1]));
            batch.push(result(windows, index, sides).as_bytes(), last_of(windows, index));
        }
        Ok(vec![OutputBatch { index: 0, batch }])
    }
}

#[test]
fn a_co_group_sees_both_inputs_in_the_order_of_arrival() {
    for (windows, end) in [(tumbling(1000), 1000), (session(600), 1500)] {
        let (make, layout) = operator(&windows, WindowFunction::CoGroup, vec![], || Box::new(CoGrouping));
        let both = format!("k=ba|xy [{},{end})", if end == 1000 { 0 } else { 100 });
        let alone = if end == 1000 { "m=|z [0,1000)" } else { "m=|z [5,605)" };
        let steps = [
            of_input(0, &[("k", "b", 900)]),
            of_input(1, &[("k", "x", 500), ("m", "z", 5)]),
            Step::Restore,
            of_input(0, &[("k", "a", 100)]),
            of_input(1, &[("k", "y", 400)]),
            Step::Watermark(2000),
            expect(&[(&both, end - 1), (alone, if end == 1000 { 999 } else { 604 })]),
        ];
        play(&make, &layout, &steps);
    }
}

/// Counts how often its window has fired, in a value and in a map of the window.
struct Remembering;

impl Guest for Remembering {
    fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        panic!("no window function")
    }

    fn process_windows(
        &mut self,
        turn: &mut Turn,
        windows: &Windows,
        _: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut batch = Batch::default();
        for index in 0..windows.len() {
            let key = index as u32;
            let count = turn.value_get(0, key)?.map_or(1, |count| count[0] + 1);
            turn.value_set(0, key, &[count])?;
            turn.map_put(1, key, b"entry", b"")?;
            batch.push(result(windows, index, count).as_bytes(), last_of(windows, index));
        }
        Ok(vec![OutputBatch { index: 0, batch }])
    }
}

#[test]
fn the_states_of_a_window_are_its_own_and_go_with_it() {
    let count = StateDescription::new("fired", StateKind::Value, "raw", "u8");
    let map = StateDescription { map_key: "raw".into(), ..StateDescription::new("map", StateKind::Map, "raw", "u8") };
    let windows = WindowSettings { allowed_lateness_ms: 1000, ..tumbling(1000) };
    let (make, layout) = operator(&windows, WindowFunction::ProcessWindow, vec![count, map], || Box::new(Remembering));
    let steps = [
        records(&[("k", "", 1), ("k", "", 1001)]),
        Step::Watermark(1500),
        expect(&[("k=1 [0,1000)", 999)]),
        records(&[("k", "", 2), ("k", "", 3)]),
        expect(&[("k=2 [0,1000)", 999), ("k=3 [0,1000)", 999)]),
        Step::Watermark(1999),
        expect(&[("k=1 [1000,2000)", 1999)]),
    ];
    play(&make, &layout, &steps);
    let mut harness = Harness::new(make, layout, StateBackendKind::Memory, 1);
    harness.records(0, &[("k".into(), String::new(), 1)]);
    harness.watermark(1000);
    assert!(harness.entries() > 0);
    harness.watermark(1999);
    assert_eq!(harness.entries(), 0);
}

/// Two records in [0, 1000); then windows are cut otherwise, and a third comes into one of the new ones.
#[test]
fn windows_in_flight_fire_as_they_were_defined() {
    for (windows, later) in [
        (tumbling(2000), vec![("k=4 [0,2000)", 1999)]),
        (sliding(2000, 1000), vec![("k=4 [-1000,1000)", 999), ("k=4 [0,2000)", 1999)]),
        (session(1000), vec![("k=4 [600,1600)", 1599)]),
    ] {
        for backend in [StateBackendKind::Memory, StateBackendKind::RocksDb] {
            let (make, layout) = summing(&tumbling(1000), Sums::Guest);
            let mut harness = Harness::new(make, layout, backend, 1);
            harness.records(0, &owned(&[("k", "1", 5), ("k", "2", 500)]));
            harness.change(summing(&windows, Sums::Guest));
            harness.restore(backend, 1);
            harness.records(0, &owned(&[("k", "4", 600)]));
            harness.watermark(10_000);
            let mut expected = later.clone();
            expected.push(("k=3 [0,1000)", 999));
            expected.sort();
            let expected: Vec<_> = expected.into_iter().map(|(text, at)| (0, text.to_owned(), at)).collect();
            assert_eq!(harness.take(), expected, "{windows:?} {backend:?}");
        }
    }
}

fn failing(on_fault: FaultPolicy) -> Harness {
    let accumulator = StateDescription::new("accumulator", StateKind::Aggregating, "raw", "sum");
    let guest = || guest_of(Sums::Guest);
    let (function, late) = (WindowFunction::Aggregate, false);
    let (make, layout) = operator_with(&tumbling(1000), function, vec![accumulator], guest, (on_fault, late));
    Harness::new(make, layout, StateBackendKind::Memory, 1)
}

fn owned(records: &[(&str, &str, i64)]) -> Vec<(String, String, i64)> {
    records.iter().map(|(key, value, at)| ((*key).into(), (*value).into(), *at)).collect()
}

#[test]
fn one_bad_record_costs_one_record() {
    let mut harness = failing(FaultPolicy::DeadLetter);
    let all = [("a", "1", 1), ("a", "bad", 2), ("b", "2", 3), ("a", "4", NO_TIMESTAMP), ("a", "8", 5), ("b", "bad", 6)];
    harness.records(0, &owned(&all));
    let letters = harness.take();
    let code_of = |letter: &str| serde_json::from_str::<serde_json::Value>(letter).unwrap()["code"].to_string();
    let codes: Vec<_> = letters.iter().map(|(output, letter, _)| (*output, code_of(letter))).collect();
    assert_eq!(codes.iter().filter(|code| **code == (2, "\"guest-error\"".to_owned())).count(), 2);
    assert_eq!(codes.iter().filter(|code| **code == (2, "\"timestamp-missing\"".to_owned())).count(), 1);
    harness.watermark(999);
    let expected = [("a=9 [0,1000)", 999), ("b=2 [0,1000)", 999)];
    assert_eq!(harness.take(), expected.map(|(text, at)| (0, text.to_owned(), at)));
}

#[test]
fn a_window_whose_function_fails_costs_one_window() {
    let mut harness = failing(FaultPolicy::DeadLetter);
    let keys: Vec<String> = (0..20).map(|key| format!("k{key}")).collect();
    let mut all: Vec<_> = keys.iter().map(|key| (&key[..], "1", 5)).collect();
    all[7].1 = "-666";
    harness.records(0, &owned(&all));
    harness.watermark(999);
    let emitted = harness.take();
    assert_eq!(emitted.iter().filter(|(output, ..)| *output == 0).count(), 19);
    let letters: Vec<_> = emitted.iter().filter(|(output, ..)| *output == 2).collect();
    assert!(letters.len() == 1 && letters[0].1.contains("k7") && letters[0].1.contains("window_end"), "{letters:?}");
    assert_eq!(harness.entries(), 0, "it was cleaned up all the same");
}

#[test]
fn late_records_that_nobody_reads_are_counted() {
    let mut harness = failing(FaultPolicy::Fail);
    harness.watermark(5000);
    harness.records(0, &owned(&[("a", "1", 1), ("b", "1", 4999), ("b", "1", 5000)]));
    assert_eq!((harness.take(), harness.metric("numLateRecordsDropped")), (vec![], 2.0));
}

/// A timer that was to clean up comes when the windows do not end with it any more.
#[test]
fn windows_whose_lateness_was_changed_go_all_the_same() {
    let of = |lateness| WindowSettings {
        allowed_lateness_ms: lateness,
        trigger: WindowTrigger::Count { records: 10 },
        ..tumbling(1000)
    };
    for (before, behind) in [(0, 500), (500, 0)] {
        let (make, layout) = summing(&of(before), Sums::Guest);
        let mut harness = Harness::new(make, layout, StateBackendKind::Memory, 1);
        harness.records(0, &owned(&[("k", "1", 5)]));
        harness.change(summing(&of(behind), Sums::Guest));
        harness.restore(StateBackendKind::Memory, 1);
        harness.watermark(10_000);
        assert_eq!((harness.take(), harness.entries()), (vec![], 0), "from {before} to {behind}");
    }
}

/// Counted from the beginning of time, its intervals would have no end.
#[test]
fn a_continuous_trigger_has_no_place_for_a_record_without_a_time() {
    let accumulator = StateDescription::new("accumulator", StateKind::Aggregating, "raw", "sum");
    let trigger = WindowTrigger::Continuous { interval_ms: 1000 };
    let windows = WindowSettings { trigger, ..WindowSettings::new(WindowAssigner::Global, EVENT) };
    let guest = || guest_of(Sums::Guest);
    let (function, settings) = (WindowFunction::Aggregate, (FaultPolicy::Skip, false));
    let (make, layout) = operator_with(&windows, function, vec![accumulator], guest, settings);
    let mut harness = Harness::new(make, layout, StateBackendKind::Memory, 1);
    harness.records(0, &owned(&[("a", "1", NO_TIMESTAMP), ("a", "2", 1500)]));
    harness.watermark(3999);
    let fired: Vec<_> = harness.take().into_iter().map(|(_, text, _)| text).collect();
    assert!(fired.len() == 1 && fired[0].starts_with("a=2 "), "{fired:?}");
}

/// Counts what it gets in one call: the most records that it added, and the most bytes of elements.
struct Measuring(Arc<[std::sync::atomic::AtomicUsize; 2]>);

impl Measuring {
    fn note(&self, what: usize, size: usize) {
        self.0[what].fetch_max(size, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Guest for Measuring {
    fn process(&mut self, _: &mut Turn, _: u32, _: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        panic!("no window function")
    }

    fn add(&mut self, _: &mut Turn, held: &Column, of: &[u32], _: &Column, _: &[i64]) -> Result<Column, TurnFailure> {
        self.note(0, of.len());
        Ok(held.iter().map(|_| &b"1"[..]).collect())
    }

    fn process_windows(
        &mut self,
        _: &mut Turn,
        windows: &Windows,
        all: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.note(1, all[0].values.bytes().len());
        let mut batch = Batch::default();
        (0..windows.len()).for_each(|_| batch.push(b"", 0));
        Ok(vec![OutputBatch { index: 0, batch }])
    }
}

/// Each record falls into 4096 windows that share nothing.
#[test]
fn a_turn_adds_records_to_so_many_windows_only() {
    let accumulator = StateDescription::new("accumulator", StateKind::Aggregating, "raw", "sum");
    let most: Arc<[std::sync::atomic::AtomicUsize; 2]> = Arc::default();
    for trigger in [WindowTrigger::EventTime, WindowTrigger::Count { records: 1000 }] {
        let windows = WindowSettings { purge: true, trigger, ..sliding(65_536, 16) };
        let counted = most.clone();
        let guest = move || Box::new(Measuring(counted.clone())) as Box<dyn Guest>;
        let (make, layout) = operator(&windows, WindowFunction::Aggregate, vec![accumulator.clone()], guest);
        let mut harness = Harness::new(make, layout, StateBackendKind::Memory, 1);
        harness.records(0, &owned(&[("a", "1", 5); 40]));
        let added = most[0].load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(added, 65_536, "{trigger:?}");
    }
}

/// 30 MB of elements in 300 windows that fire at once: not all of them are in memory together.
#[test]
fn a_turn_fires_the_fewer_windows_the_larger_they_are() {
    let most: Arc<[std::sync::atomic::AtomicUsize; 2]> = Arc::default();
    let counted = most.clone();
    let guest = move || Box::new(Measuring(counted.clone())) as Box<dyn Guest>;
    let (make, layout) = operator(&tumbling(1000), WindowFunction::ProcessWindow, vec![], guest);
    let mut harness = Harness::new(make, layout, StateBackendKind::Memory, 1);
    let (value, keys) = ("x".repeat(100_000), (0..300).map(|key| format!("k{key}")).collect::<Vec<_>>());
    let all: Vec<_> = keys.iter().map(|key| (key.clone(), value.clone(), 5)).collect();
    harness.records(0, &all);
    harness.watermark(999);
    assert_eq!((harness.take().len(), harness.entries()), (300, 0));
    let bytes = most[1].load(std::sync::atomic::Ordering::Relaxed);
    assert!((1_000_000..=8 << 20).contains(&bytes), "{bytes}");
}
