//! How windows call their function: two inputs, states of a window, faults, and records without a timestamp.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::definition::WindowFunction;
use super::testing::{
    EVENT, SumVariant, accumulator_state, max_timestamp, owned, result_text, session, sliding, sum_guest, sum_operator,
    tumbling, window_operator, window_operator_with,
};
use crate::model::{Batch, Column, NO_TIMESTAMP, WindowElements, Windows};
use crate::operator::testing::{OperatorHarness, OperatorStep, expect, play, records, records_of_input};
use crate::pipeline::{FaultPolicy, StateBackendKind, WindowAssigner, WindowSettings, WindowTrigger};
use crate::state::{StateDescription, StateKind};
use crate::turn::{Guest, OutputBatch, OutputId, Turn, TurnFailure};

/// Lists the elements of each input, separated by a bar.
struct CoGroupFunction;

impl Guest for CoGroupFunction {
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
            batch.push(result_text(windows, index, sides).as_bytes(), max_timestamp(windows, index));
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch }])
    }
}

#[test]
fn a_co_group_function_sees_both_inputs_in_order_of_arrival() {
    for (windows, end) in [(tumbling(1000), 1000), (session(600), 1500)] {
        let (make, layout) = window_operator(&windows, WindowFunction::CoGroup, vec![], || Box::new(CoGroupFunction));
        let both = format!("k=ba|xy [{},{end})", if end == 1000 { 0 } else { 100 });
        let alone = if end == 1000 { "m=|z [0,1000)" } else { "m=|z [5,605)" };
        let steps = [
            records_of_input(0, &[("k", "b", 900)]),
            records_of_input(1, &[("k", "x", 500), ("m", "z", 5)]),
            OperatorStep::Restore,
            records_of_input(0, &[("k", "a", 100)]),
            records_of_input(1, &[("k", "y", 400)]),
            OperatorStep::Watermark(2000),
            expect(&[(&both, end - 1), (alone, if end == 1000 { 999 } else { 604 })]),
        ];
        play(&make, &layout, &steps);
    }
}

/// Counts how often its window has fired, in a value state and a map state of the window.
struct FiringCounter;

impl Guest for FiringCounter {
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
            batch.push(result_text(windows, index, count).as_bytes(), max_timestamp(windows, index));
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch }])
    }
}

#[test]
fn each_window_has_its_own_states_and_they_are_removed_with_it() {
    let count = StateDescription::new("fired", StateKind::Value, "raw", "u8");
    let map = StateDescription { map_key: "raw".into(), ..StateDescription::new("map", StateKind::Map, "raw", "u8") };
    let windows = WindowSettings { allowed_lateness_ms: 1000, ..tumbling(1000) };
    let (make, layout) =
        window_operator(&windows, WindowFunction::ProcessWindow, vec![count, map], || Box::new(FiringCounter));
    let steps = [
        records(&[("k", "", 1), ("k", "", 1001)]),
        OperatorStep::Watermark(1500),
        expect(&[("k=1 [0,1000)", 999)]),
        records(&[("k", "", 2), ("k", "", 3)]),
        expect(&[("k=2 [0,1000)", 999), ("k=3 [0,1000)", 999)]),
        OperatorStep::Watermark(1999),
        expect(&[("k=1 [1000,2000)", 1999)]),
    ];
    play(&make, &layout, &steps);
    let mut harness = OperatorHarness::new(make, layout, StateBackendKind::Memory, 1);
    harness.records(0, &[("k".into(), String::new(), 1)]);
    harness.watermark(1000);
    assert!(harness.entries() > 0);
    harness.watermark(1999);
    assert_eq!(harness.entries(), 0);
}

/// Two records are in [0, 1000) when the definition of the windows changes. A third record is added to one of the new windows.
#[test]
fn windows_in_flight_fire_by_their_original_definition() {
    for (windows, later) in [
        (tumbling(2000), vec![("k=4 [0,2000)", 1999)]),
        (sliding(2000, 1000), vec![("k=4 [-1000,1000)", 999), ("k=4 [0,2000)", 1999)]),
        (session(1000), vec![("k=4 [600,1600)", 1599)]),
    ] {
        for backend in [StateBackendKind::Memory, StateBackendKind::RocksDb] {
            let (make, layout) = sum_operator(&tumbling(1000), SumVariant::Aggregate);
            let mut harness = OperatorHarness::new(make, layout, backend, 1);
            harness.records(0, &owned(&[("k", "1", 5), ("k", "2", 500)]));
            harness.change(sum_operator(&windows, SumVariant::Aggregate));
            harness.restore(backend, 1);
            harness.records(0, &owned(&[("k", "4", 600)]));
            harness.watermark(10_000);
            let mut expected = later.clone();
            expected.push(("k=3 [0,1000)", 999));
            expected.sort();
            let expected: Vec<_> = expected.into_iter().map(|(text, at)| (0, text.to_owned(), at)).collect();
            assert_eq!(harness.take_emitted(), expected, "{windows:?} {backend:?}");
        }
    }
}

fn harness_with_policy(on_fault: FaultPolicy) -> OperatorHarness {
    let guest = || sum_guest(SumVariant::Aggregate);
    let (function, late) = (WindowFunction::Aggregate, false);
    let (make, layout) =
        window_operator_with(&tumbling(1000), function, vec![accumulator_state()], guest, (on_fault, late));
    OperatorHarness::new(make, layout, StateBackendKind::Memory, 1)
}

#[test]
fn one_bad_record_costs_one_record() {
    let mut harness = harness_with_policy(FaultPolicy::DeadLetter);
    let all = [("a", "1", 1), ("a", "bad", 2), ("b", "2", 3), ("a", "4", NO_TIMESTAMP), ("a", "8", 5), ("b", "bad", 6)];
    harness.records(0, &owned(&all));
    let letters = harness.take_emitted();
    let code_of = |letter: &str| serde_json::from_str::<serde_json::Value>(letter).unwrap()["code"].to_string();
    let codes: Vec<_> = letters.iter().map(|(output, letter, _)| (*output, code_of(letter))).collect();
    assert_eq!(codes.iter().filter(|code| **code == (2, "\"guest-error\"".to_owned())).count(), 2);
    assert_eq!(codes.iter().filter(|code| **code == (2, "\"timestamp-missing\"".to_owned())).count(), 1);
    harness.watermark(999);
    let expected = [("a=9 [0,1000)", 999), ("b=2 [0,1000)", 999)];
    assert_eq!(harness.take_emitted(), expected.map(|(text, at)| (0, text.to_owned(), at)));
}

#[test]
fn a_window_that_its_function_fails_on_costs_one_window() {
    let mut harness = harness_with_policy(FaultPolicy::DeadLetter);
    let keys: Vec<String> = (0..20).map(|key| format!("k{key}")).collect();
    let mut all: Vec<_> = keys.iter().map(|key| (&key[..], "1", 5)).collect();
    all[7].1 = "-666";
    harness.records(0, &owned(&all));
    harness.watermark(999);
    let emitted = harness.take_emitted();
    assert_eq!(emitted.iter().filter(|(output, ..)| *output == 0).count(), 19);
    let letters: Vec<_> = emitted.iter().filter(|(output, ..)| *output == 2).collect();
    assert!(letters.len() == 1 && letters[0].1.contains("k7") && letters[0].1.contains("window_end"), "{letters:?}");
    assert_eq!(harness.entries(), 0, "the failed window is removed, too");
}

#[test]
fn late_records_are_counted_if_nothing_reads_them() {
    let mut harness = harness_with_policy(FaultPolicy::Fail);
    harness.watermark(5000);
    harness.records(0, &owned(&[("a", "1", 1), ("b", "1", 4999), ("b", "1", 5000)]));
    assert_eq!((harness.take_emitted(), harness.metric("numLateRecordsDropped")), (vec![], 2.0));
}

/// The clean-up timer of a window no longer matches its lateness.
#[test]
fn windows_are_removed_after_their_allowed_lateness_has_changed() {
    let windows_with = |lateness| WindowSettings {
        allowed_lateness_ms: lateness,
        trigger: WindowTrigger::Count { records: 10 },
        ..tumbling(1000)
    };
    for (before, after) in [(0, 500), (500, 0)] {
        let (make, layout) = sum_operator(&windows_with(before), SumVariant::Aggregate);
        let mut harness = OperatorHarness::new(make, layout, StateBackendKind::Memory, 1);
        harness.records(0, &owned(&[("k", "1", 5)]));
        harness.change(sum_operator(&windows_with(after), SumVariant::Aggregate));
        harness.restore(StateBackendKind::Memory, 1);
        harness.watermark(10_000);
        assert_eq!((harness.take_emitted(), harness.entries()), (vec![], 0), "from {before} to {after}");
    }
}

/// If its intervals were counted from the smallest timestamp, they would never end.
#[test]
fn a_continuous_trigger_rejects_a_record_without_a_timestamp() {
    let trigger = WindowTrigger::Continuous { interval_ms: 1000 };
    let windows = WindowSettings { trigger, ..WindowSettings::new(WindowAssigner::Global, EVENT) };
    let guest = || sum_guest(SumVariant::Aggregate);
    let (function, settings) = (WindowFunction::Aggregate, (FaultPolicy::Skip, false));
    let (make, layout) = window_operator_with(&windows, function, vec![accumulator_state()], guest, settings);
    let mut harness = OperatorHarness::new(make, layout, StateBackendKind::Memory, 1);
    harness.records(0, &owned(&[("a", "1", NO_TIMESTAMP), ("a", "2", 1500)]));
    harness.watermark(3999);
    let fired: Vec<_> = harness.take_emitted().into_iter().map(|(_, text, _)| text).collect();
    assert!(fired.len() == 1 && fired[0].starts_with("a=2 "), "{fired:?}");
}

/// Records the largest number of records that one call adds, and the largest number of bytes of elements in one call.
struct CallSizeRecorder(Arc<[AtomicUsize; 2]>);

impl CallSizeRecorder {
    fn note(&self, what: usize, size: usize) {
        self.0[what].fetch_max(size, Ordering::Relaxed);
    }
}

impl Guest for CallSizeRecorder {
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
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch }])
    }
}

/// Each record belongs to 4096 windows that do not share panes.
#[test]
fn a_turn_adds_records_to_a_bounded_number_of_windows() {
    let most: Arc<[AtomicUsize; 2]> = Arc::default();
    for trigger in [WindowTrigger::EventTime, WindowTrigger::Count { records: 1000 }] {
        let windows = WindowSettings { purge: true, trigger, ..sliding(65_536, 16) };
        let counted = most.clone();
        let guest = move || Box::new(CallSizeRecorder(counted.clone())) as Box<dyn Guest>;
        let (make, layout) = window_operator(&windows, WindowFunction::Aggregate, vec![accumulator_state()], guest);
        let mut harness = OperatorHarness::new(make, layout, StateBackendKind::Memory, 1);
        harness.records(0, &owned(&[("a", "1", 5); 40]));
        let added = most[0].load(Ordering::Relaxed);
        assert_eq!(added, 65_536, "{trigger:?}");
    }
}

/// 30 MB of elements in 300 windows that fire at once are not in memory at the same time.
#[test]
fn a_turn_fires_fewer_windows_if_they_are_large() {
    let most: Arc<[AtomicUsize; 2]> = Arc::default();
    let counted = most.clone();
    let guest = move || Box::new(CallSizeRecorder(counted.clone())) as Box<dyn Guest>;
    let (make, layout) = window_operator(&tumbling(1000), WindowFunction::ProcessWindow, vec![], guest);
    let mut harness = OperatorHarness::new(make, layout, StateBackendKind::Memory, 1);
    let (value, keys) = ("x".repeat(100_000), (0..300).map(|key| format!("k{key}")).collect::<Vec<_>>());
    let all: Vec<_> = keys.iter().map(|key| (key.clone(), value.clone(), 5)).collect();
    harness.records(0, &all);
    harness.watermark(999);
    assert_eq!((harness.take_emitted().len(), harness.entries()), (300, 0));
    let bytes = most[1].load(Ordering::Relaxed);
    assert!((1_000_000..=8 << 20).contains(&bytes), "{bytes}");
}
